//! How callers prove who they are, as the settings say it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    call::AgentId,
    record::hex,
    secret::{Secret, same_bytes},
};

/// How callers prove who they are (`auth`).
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// What a call must show.
    pub mode: AuthMode,
    /// What this process was given to show for its calls that show nothing (`TOLLGATE_TOKEN`).
    pub presented: Option<SecretString>,
}

/// What a call must show (`auth.mode`).
#[derive(Clone, Debug, Default)]
pub enum AuthMode {
    /// Nothing.
    #[default]
    None,
    /// One token, which the settings hold (`auth.token`).
    Config(SecretString),
    /// A Tollgate token.
    Header(Tokens),
    /// An API key: one of these, or one of the store's.
    ApiKey(Vec<ApiKey>),
}

impl AuthMode {
    /// The words of settings for modes that this version enforces.
    pub const WORDS: [&str; 4] = ["none", "config", "header", "api-key"];

    /// The word of settings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Config(_) => "config",
            Self::Header(_) => "header",
            Self::ApiKey(_) => "api-key",
        }
    }

    /// Whether the settings of two modes take the same credentials.
    pub fn takes_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Config(one), Self::Config(other)) => same(one, other),
            (Self::Header(Tokens { root_keys: keys, .. }), Self::Header(other)) => {
                let pairs = || keys.iter().zip(&other.root_keys);
                keys.len() == other.root_keys.len() && pairs().all(|(key, other)| same(key, other))
            }
            (Self::ApiKey(keys), Self::ApiKey(others)) => keys == others,
            _ => false,
        }
    }
}

/// In constant time.
fn same(one: &SecretString, other: &SecretString) -> bool {
    same_bytes(one.expose_secret().as_bytes(), other.expose_secret().as_bytes())
}

/// An API key as kept: never the key itself.
#[derive(Clone, Serialize, Deserialize)]
pub struct ApiKey {
    /// Names it, and begins it; no secret.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// The SHA-256 of the whole key, which is random: nobody can guess it.
    pub digest: Secret,
    /// The agents that it may act as; the first acts for calls that name none, if it is the only one.
    pub agents: Vec<AgentId>,
    /// Its roles, for role policies.
    pub roles: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires: Option<i64>,
    /// Whether it was taken back, or is not enabled.
    pub revoked: bool,
}

impl ApiKey {
    /// Whether this is the key of a digest; in constant time.
    pub fn is_of(&self, digest: &Secret) -> bool {
        self.digest.same_as(digest)
    }

    /// Whether it may be shown at a moment, in milliseconds since 1970.
    pub fn usable(&self, now: i64) -> bool {
        !self.revoked && self.expires.is_none_or(|expires| now < expires)
    }

    /// Why it cannot be used at a moment, in one word; None if it can. A key that the settings hold
    /// is not revoked but disabled.
    pub fn obstacle(&self, now: i64, of_settings: bool) -> Option<&'static str> {
        match self.usable(now) {
            true => None,
            false if self.revoked && of_settings => Some("disabled"),
            false if self.revoked => Some("revoked"),
            false => Some("expired"),
        }
    }

    /// Whether it may act as an agent.
    pub fn may_act_as(&self, agent: &AgentId) -> bool {
        self.agents.contains(agent)
    }

    /// Who acts for calls that name no agent: its only one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self.agents.as_slice() {
            [agent] => Some(agent),
            _ => None,
        }
    }
}

/// Its digest stays out of sight: a key that was thought up can be guessed by it.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ApiKey");
        shown.field("id", &self.id).field("agents", &self.agents).finish_non_exhaustive()
    }
}

/// Digests are compared in constant time.
impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, name, digest, agents, roles, created, expires, revoked } = self;
        other.is_of(digest)
            && (id, name, agents, roles) == (&other.id, &other.name, &other.agents, &other.roles)
            && (created, expires, revoked) == (&other.created, &other.expires, &other.revoked)
    }
}

impl Eq for ApiKey {}

/// The id of a key that none is written for. It stays when other keys are added or removed, so what
/// was delegated with the key is never taken for another key's.
pub fn named_by(digest: &Secret) -> String {
    let digits = hex(&Sha256::new_with_prefix(b"tollgate key id\0")
        .chain_update(digest.expose())
        .finalize());
    format!("config-{}", digits.chars().take(8).collect::<String>())
}

/// What is kept of a key: its SHA-256.
pub fn digest(key: &str) -> Secret {
    Secret::from(<[u8; 32]>::from(Sha256::digest(key.as_bytes())))
}

/// The key of a digest. How long it takes does not tell which one it is.
pub fn find_key<'a>(keys: &'a [ApiKey], digest: &Secret) -> Option<&'a ApiKey> {
    keys.iter().fold(None, |found, key| if key.is_of(digest) { Some(key) } else { found })
}

/// A new key, and the id that it begins with: `tgk_<id>_<secret>`. Both are only as good as the
/// bytes are random.
pub fn make_key(id: [u8; 4], secret: [u8; 32]) -> (String, SecretString) {
    let id = hex(&id);
    let key = format!("{KEY_PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    (id, SecretString::from(key))
}

/// How keys begin that are made here.
pub const KEY_PREFIX: &str = "tgk_";

/// Keys of Tollgate tokens, and what is done about root tokens (`auth.mode: header`).
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// `auth.rootKey`: the first signs, all verify. If empty, the installation's key does both.
    pub root_keys: Vec<SecretString>,
    /// Whether a root token is made at the start.
    pub auto_mint_root: bool,
    /// A root token that was made before.
    pub root_token: Option<SecretString>,
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::{ApiKey, AuthMode, Tokens, digest, find_key, make_key};

    fn key(id: &str, key: &str) -> ApiKey {
        ApiKey {
            id: id.into(),
            name: "laptop".into(),
            digest: digest(key),
            agents: vec!["clerk".into()],
            roles: Vec::new(),
            created: 0,
            expires: None,
            revoked: false,
        }
    }

    #[test]
    fn a_key_begins_with_its_id() {
        let (id, made) = make_key([0, 1, 0xab, 0xff], [0xfb; 32]);
        assert_eq!(id, "0001abff");
        let made = made.expose_secret();
        assert_eq!(made.strip_prefix("tgk_0001abff_").unwrap().len(), 43);
        assert_ne!(made, make_key([0, 1, 0xab, 0xff], [0xfa; 32]).1.expose_secret());
    }

    #[test]
    fn a_key_is_found_by_its_whole_text_only() {
        let keys = [key("a", "first-of-two-keys"), key("b", "second-of-two-keys")];
        let found = |text: &str| find_key(&keys, &digest(text)).map(|key| key.id.as_str());
        assert_eq!(found("first-of-two-keys"), Some("a"));
        assert_eq!(found("second-of-two-keys"), Some("b"));
        for other in ["", "first-of-two-key", "first-of-two-keys ", "First-of-two-keys"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn key_is_usable_until_it_expires_or_is_revoked() {
        let open = key("a", "k");
        assert!(open.usable(i64::MAX));
        let ends = ApiKey { expires: Some(1_000), ..open.clone() };
        assert!(ends.usable(999) && !ends.usable(1_000) && !ends.usable(1_001));
        let revoked = ApiKey { revoked: true, ..open };
        assert!(!revoked.usable(0));
    }

    #[test]
    fn key_with_several_agents_has_no_default_agent() {
        let one = key("a", "k");
        assert_eq!(one.agent(), Some(&"clerk".into()));
        assert!(one.may_act_as(&"clerk".into()) && !one.may_act_as(&"boss".into()));
        let two = ApiKey { agents: vec!["clerk".into(), "boss".into()], ..one.clone() };
        assert_eq!(two.agent(), None);
        assert!(two.may_act_as(&"boss".into()));
        assert_ne!(one, two);
        assert_ne!(one, key("a", "other"));
        assert_eq!(one, key("a", "k"));
    }

    #[test]
    fn the_digest_of_a_key_is_not_shown() {
        let shown = format!("{:?}", key("a", "k"));
        assert_eq!(shown, r#"ApiKey { id: "a", agents: ["clerk"], .. }"#);
    }

    #[test]
    fn modes_are_equal_if_their_secrets_are_equal() {
        let config = |text: &str| AuthMode::Config(text.into());
        let header = |keys: &[&str]| {
            let root_keys = keys.iter().map(|key| (*key).into()).collect();
            AuthMode::Header(Tokens { root_keys, ..Tokens::default() })
        };
        let modes = [
            AuthMode::None,
            config("a"),
            config("b"),
            header(&[]),
            header(&["a"]),
            header(&["b"]),
            header(&["a", "b"]),
            AuthMode::ApiKey(Vec::new()),
        ];
        for (at, one) in modes.iter().enumerate() {
            for (there, other) in modes.iter().enumerate() {
                assert_eq!(one.takes_the_same(other), at == there, "{at} {there}");
            }
        }
    }
}
