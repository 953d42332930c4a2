//! `auth` of `gateway.yaml`: what a call must show.

use secrecy::SecretString;

use super::{
    findings::Findings,
    values::PRESENTED,
    written::{At, AuthSection, AuthWord, KeyEntry, Location, OneOrMany},
};
use crate::{
    domain::{
        auth::{ApiKey, Auth, AuthMode, Tokens, digest, named_by},
        call::AgentId,
        period::moment,
        rules::Rules,
    },
    host::clock::now,
};

/// How Tollgate tokens begin.
const PREFIX: &str = "gwt1.";

/// Which mode each key belongs to.
const BELONGS: [(&str, &str); 7] = [
    ("token", "config"),
    ("rootKey", "header"),
    ("autoMintRoot", "header"),
    ("rootToken", "header"),
    ("keys", "api-key"),
    ("jwt", "jwt"),
    ("oidc", "oidc"),
];

/// Why `roles` of a key are refused: no policy looks at them, so the key could do more than they say.
const ROLES: &str = "is not enforced by this version, so the key could do all that its agents may; restrict those in .mcp-gateway-rules.json, then remove `roles`";

/// Reads `auth`: what calls must show, and what this process shows for those that show nothing. An
/// identity that is asked for is enforced, or the gateway does not start.
pub(super) fn load(
    At { place, value: written }: At<AuthSection>,
    agents: KnownAgents<'_>,
    findings: &mut Findings<'_>,
) -> Auth {
    let word = mode(&place, &written, findings);
    if let Some(word) = word {
        refuse_other_modes(&place, word, findings);
    }
    let mode = match word {
        None | Some(AuthWord::None) => AuthMode::None,
        Some(AuthWord::Config) => match written.token {
            Some(token) => AuthMode::Config(token.into()),
            None => {
                if place.even_null("token").is_none() {
                    let message =
                        "has the mode `config` and no `token`; give the one that calls must show";
                    findings.fault(&place, message);
                }
                AuthMode::None
            }
        },
        Some(AuthWord::Header) => AuthMode::Header(tokens(written, findings)),
        Some(AuthWord::ApiKey) => {
            AuthMode::ApiKey(keys(written.keys.unwrap_or_default(), agents, findings))
        }
    };
    let presented = findings.env.get(PRESENTED);
    if let (Some(_), AuthMode::None) = (presented, &mode) {
        let message = format!("{PRESENTED} is set but never used: `auth.mode` is `none`");
        findings.warn_of_all(message);
    }
    Auth { mode, presented: presented.map(SecretString::from) }
}

/// The agents that keys may act as.
#[derive(Clone, Copy)]
pub(super) struct KnownAgents<'a> {
    /// None if they could not be read.
    pub(super) rules: Option<&'a Rules>,
    /// Whether there is a file of rules.
    pub(super) rules_exist: bool,
}

impl KnownAgents<'_> {
    /// Whether an agent has rules; None if that is unknown.
    fn has_rules(self, agent: &str) -> Option<bool> {
        Some(self.rules?.agents.contains_key(agent))
    }
}

/// The mode, under either of its names; None if one of them is faulty. A slip must not leave it open.
fn mode(place: &Location, written: &AuthSection, findings: &mut Findings<'_>) -> Option<AuthWord> {
    let faulty = |key: &str, read: bool| !read && place.even_null(key).is_some();
    if faulty("mode", written.mode.is_some()) || faulty("type", written.kind.is_some()) {
        return None;
    }
    match (&written.mode, &written.kind) {
        (Some(mode), Some(kind)) if mode.value != kind.value => {
            let (mode, word) = (mode.as_str(), kind.as_str());
            let message = format!("is `{word}`, and `auth.mode` is `{mode}`; keep one of them");
            findings.refuse(&kind.place, message)
        }
        (Some(word), _) | (None, Some(word)) => Some(word.value),
        (None, None) => Some(AuthWord::None),
    }
}

impl AuthWord {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Config => "config",
            Self::Header => "header",
            Self::ApiKey => "api-key",
        }
    }
}

/// What belongs to another mode would be passed over.
fn refuse_other_modes(place: &Location, mode: AuthWord, findings: &mut Findings<'_>) {
    let mode = mode.as_str();
    for (key, belongs) in BELONGS.into_iter().filter(|(_, belongs)| *belongs != mode) {
        let Some(at) = place.even_null(key) else { continue };
        let choose = match belongs {
            "jwt" | "oidc" => "which this version cannot enforce yet; remove it".to_owned(),
            _ => format!("so set `auth.mode` to `{belongs}`, or remove it"),
        };
        findings.fault(
            &at,
            format!("asks for what is not enforced under the mode `{mode}`; it belongs to the mode `{belongs}`, {choose}"),
        );
    }
}

/// What `header` takes: keys of tokens, and what is done about root tokens.
fn tokens(written: AuthSection, findings: &mut Findings<'_>) -> Tokens {
    let root_keys = match written.root_key {
        Some(At { value: OneOrMany::One(key), .. }) => vec![key],
        Some(At { place, value: OneOrMany::Many(keys) }) => {
            if keys.is_empty() {
                let message =
                    "has no key; give one, or leave it out for the key of this installation";
                findings.fault(&place, message);
            }
            keys
        }
        None => Vec::new(),
    };
    let root_token = written.root_token.and_then(|At { place, value: token }| {
        if token.starts_with(PREFIX) {
            return Some(SecretString::from(token));
        }
        findings.refuse(
            &place,
            format!("is a token of another system, which cannot be used here: those of this one begin with `{PREFIX}`; `tollgate token mint` makes one, or remove it"),
        )
    });
    let auto_mint_root = written.auto_mint_root.as_ref().is_some_and(|at| at.value);
    if let (true, Some(at), Some(_)) = (auto_mint_root, written.auto_mint_root, &root_token) {
        findings.warn(&at.place, "has no effect beside `rootToken`");
    }
    let root_keys = root_keys.into_iter().map(SecretString::from).collect();
    Tokens { root_keys, auto_mint_root, root_token }
}

fn keys(
    written: Vec<At<KeyEntry>>,
    agents: KnownAgents<'_>,
    findings: &mut Findings<'_>,
) -> Vec<ApiKey> {
    let mut keys: Vec<(ApiKey, Location)> = Vec::new();
    let mut usable = Vec::new();
    for At { place, value } in written {
        let (key, consumer) = key(&place, value, findings);
        // Keys that are the same have the same digest, and so the same id where none is written.
        if let Some((_, first)) = keys.iter().find(|(first, _)| first.is_of(&key.digest)) {
            findings.fault(&place, format!("has the `key` of `{}`", first.path));
        } else if let Some((_, first)) = keys.iter().find(|(first, _)| first.id == key.id) {
            findings.fault(&place, format!("has the `id` of `{}`", first.path));
        }
        usable.extend(with_agents(key.clone(), consumer, &place, agents, findings));
        keys.push((key, place));
    }
    usable
}

/// A key, and the consumer that its entry names.
fn key(
    place: &Location,
    written: KeyEntry,
    findings: &mut Findings<'_>,
) -> (ApiKey, Option<String>) {
    let agents = written.agents.map(|at| agents(at, findings)).unwrap_or_default();
    // Beside policies, which are refused themselves, one fault is enough.
    let policies = findings.faults.iter().any(|fault| fault.place == "policies");
    if let (true, false, Some(at)) = (place.has("roles"), policies, place.even_null("roles")) {
        findings.fault(&at, ROLES);
    }
    let expires = written.expires.and_then(|at| {
        let moment = moment(&at)?;
        if moment <= now() {
            findings.warn(&at.place, "is in the past: the key cannot be used");
        }
        Some(moment)
    });
    let digest = digest(&written.key);
    let id = written.id.unwrap_or_else(|| named_by(&digest));
    let consumer = written.consumer_id;
    let key = ApiKey {
        name: written.name.or(consumer.clone()).unwrap_or_else(|| id.clone()),
        id,
        digest,
        agents,
        roles: Vec::new(),
        created: 0,
        expires,
        revoked: written.enabled == Some(false),
    };
    (key, consumer)
}

fn agents(At { place, value }: At<Vec<At<String>>>, findings: &mut Findings<'_>) -> Vec<AgentId> {
    if value.is_empty() {
        let message = "names no agent; a key that is not to be used is `enabled: false`";
        findings.fault(&place, message);
    }
    for at in value.iter().filter(|name| !AgentId::is_well_formed(name)) {
        findings.fault(&at.place, "is not an agent name: 1 to 128 of A-Z a-z 0-9 _ . : -");
    }
    value.iter().map(|name| AgentId::from(name.as_str())).collect()
}

/// A key with its agents.
fn with_agents(
    mut key: ApiKey,
    consumer: Option<String>,
    place: &Location,
    agents: KnownAgents<'_>,
    findings: &mut Findings<'_>,
) -> Option<ApiKey> {
    if place.even_null("agents").is_some() {
        let unknown = |agent: &&AgentId| agents.has_rules(agent.as_str()) == Some(false);
        for agent in key.agents.iter().filter(unknown) {
            let message =
                format!("may act as `{agent}`, which has no rules: such calls are refused");
            findings.warn(place, &message);
        }
        return Some(key);
    }
    key.agents = match consumer.filter(|agent| agents.has_rules(agent) == Some(true)) {
        Some(agent) => vec![agent.as_str().into()],
        None if !agents.rules_exist => vec![AgentId::fallback()],
        // Their faults come first.
        None if agents.rules.is_none() => return None,
        None => {
            let message = "does not say which agents it may act as; list them in `agents`";
            return findings.refuse(place, message);
        }
    };
    Some(key)
}
