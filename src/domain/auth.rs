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
    /// The credential that a call must carry.
    pub mode: AuthMode,
    /// The credential of this process (`TOLLGATE_TOKEN`), for calls that carry none.
    pub presented: Option<SecretString>,
}

/// The credential that a call must carry (`auth.mode`).
#[derive(Clone, Debug, Default)]
pub enum AuthMode {
    /// Nothing.
    #[default]
    None,
    /// The one token of the settings (`auth.token`).
    Config(SecretString),
    /// A Tollgate token.
    Header(Tokens),
    /// An API key, of the settings (these) or of the store.
    ApiKey(Vec<ApiKey>),
}

impl AuthMode {
    /// The word of settings.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Config(_) => "config",
            Self::Header(_) => "header",
            Self::ApiKey(_) => "api-key",
        }
    }

    /// Whether both accept the same credentials.
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

fn same(one: &SecretString, other: &SecretString) -> bool {
    same_bytes(one.expose_secret().as_bytes(), other.expose_secret().as_bytes())
}

/// An API key as stored: never the key itself.
#[derive(Clone, Serialize, Deserialize)]
pub struct ApiKey {
    /// The beginning of the key, which names it; no secret.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// The SHA-256 of the whole key. Keys are random, so it cannot be guessed.
    pub digest: Secret,
    /// The agents that it may act as. A single one acts for calls that name none.
    pub agents: Vec<AgentId>,
    /// For role policies.
    pub roles: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires: Option<i64>,
    /// Whether it was revoked, or is disabled in the settings.
    pub revoked: bool,
}

impl ApiKey {
    /// Whether this is the key with that digest; in constant time.
    pub fn is_of(&self, digest: &Secret) -> bool {
        self.digest.same_as(digest)
    }

    /// Whether it is valid at a time, in milliseconds since 1970.
    pub fn usable(&self, now: i64) -> bool {
        !self.revoked && self.expires.is_none_or(|expires| now < expires)
    }

    /// Why it is not valid at a time, in one word. A key of the settings is not revoked but disabled.
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

    /// The agent of calls that name none: its only one.
    pub fn agent(&self) -> Option<&AgentId> {
        match self.agents.as_slice() {
            [agent] => Some(agent),
            _ => None,
        }
    }
}

/// Hides the digest: a key that a person made up could be guessed from it.
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

/// The id of a key that is written without one. It does not depend on other keys, so delegations
/// made with the key stay its own when keys are added or removed.
pub fn named_by(digest: &Secret) -> String {
    let digits = hex(&Sha256::new_with_prefix(b"tollgate key id\0")
        .chain_update(digest.expose())
        .finalize());
    format!("config-{}", digits.chars().take(8).collect::<String>())
}

/// The SHA-256 of a key, which is stored in its place.
pub fn digest(key: &str) -> Secret {
    Secret::from(<[u8; 32]>::from(Sha256::digest(key.as_bytes())))
}

/// The key with that digest, in constant time.
pub fn find_key<'a>(keys: &'a [ApiKey], digest: &Secret) -> Option<&'a ApiKey> {
    keys.iter().fold(None, |found, key| if key.is_of(digest) { Some(key) } else { found })
}

/// A new key `tgk_<id>_<secret>`, and its id. The bytes must be random.
pub fn make_key(id: [u8; 4], secret: [u8; 32]) -> (String, SecretString) {
    let id = hex(&id);
    let key = format!("{KEY_PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    (id, SecretString::from(key))
}

/// The beginning of every key made here.
pub const KEY_PREFIX: &str = "tgk_";

/// Keys of Tollgate tokens, and root tokens (`auth.mode: header`).
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// `auth.rootKey`: the first signs, all verify. If empty, the installation's key signs and
    /// verifies.
    pub root_keys: Vec<SecretString>,
    /// Whether the gateway mints a root token when it starts.
    pub auto_mint_root: bool,
    /// A root token minted earlier.
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
