//! `auth` of `gateway.yaml`: what a call must show.

use std::path::Path;

use secrecy::SecretString;

use super::{
    document::Value,
    fault::{Fault, Faults},
    reader::{At, Object, Reader, Refused},
};
use crate::{
    domain::{
        auth::{ApiKey, Auth, AuthMode, Tokens, digest, named_by},
        call::AgentId,
        period::moment,
        rules::Rules,
    },
    host::{clock::now, environment::Environment},
};

/// The variable with what this process shows for calls that show nothing. It is a credential for
/// this gateway, and no server ever gets it.
pub(super) const PRESENTED: &str = "TOLLGATE_TOKEN";

/// What to say of it where it would go to one.
pub(super) const NOT_PASSED_ON: &str =
    "`TOLLGATE_TOKEN`, which is the credential for this gateway, and is not passed on to servers";

/// How Tollgate tokens begin.
const PREFIX: &str = "gwt1.";

/// Shorter secrets can be guessed.
const SHORTEST: usize = 16;

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

const NOT_ENFORCED: &str = "which this version cannot enforce yet, and therefore it does not start; use `header`, `api-key` or `config`";

/// Why `roles` of a key are refused: no policy looks at them, so that whoever holds the key could do
/// more than they say.
const ROLES: &str = "is not enforced by this version, so the key could do all that its agents may; restrict those in .mcp-gateway-rules.json, then remove `roles`";

const REFUSED: [Refused; 2] = [("jwt", NOT_ENFORCED), ("oidc", NOT_ENFORCED)];

/// What the file says, before the rules are known.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    mode: AuthMode,
    keys: Vec<Written>,
}

/// An entry of `auth.keys`.
#[derive(Debug)]
struct Written {
    key: ApiKey,
    /// Whether it says which agents it may act as.
    listed: bool,
    consumer: Option<String>,
    position: (u64, u64),
    place: String,
    whereabouts: String,
}

/// Reads `auth`. Identity that is asked for is enforced, or the gateway does not start. With
/// `policies` a fault keeps it from starting already.
pub(super) fn load(at: &At<'_>, policies: bool, reader: &mut Reader<'_>) -> Loaded {
    let mut loaded = Loaded::default();
    let (refused, enforced): (Vec<_>, Vec<_>) = BELONGS
        .into_iter()
        .partition(|(_, belongs)| REFUSED.iter().any(|(word, _)| word == belongs));
    let keys_of = |pairs: Vec<(&'static str, _)>| pairs.into_iter().map(|(key, _)| key);
    let known: Vec<&'static str> = ["mode", "type"].into_iter().chain(keys_of(enforced)).collect();
    let quiet: Vec<&'static str> = keys_of(refused).collect();
    let Some(object) = reader.object_with(at, &known, &quiet, &[]) else { return loaded };
    // What is said beside a mode that is none is told with that.
    let Some(mode) = mode(&object, reader) else { return loaded };
    refuse_of_others(&object, mode, reader);
    match mode {
        "config" => {
            let Some(at) = object.even_null("token") else {
                reader.fault(
                    at,
                    "has the mode `config` and no `token`; give the one that calls must show",
                );
                return loaded;
            };
            loaded.mode = secret(&at, reader).map(AuthMode::Config).unwrap_or_default();
        }
        "header" => loaded.mode = AuthMode::Header(tokens(&object, reader)),
        "api-key" => {
            loaded.mode = AuthMode::ApiKey(Vec::new());
            if let Some(at) = object.get("keys") {
                loaded.keys = keys(&at, policies, reader);
            }
        }
        _ => {}
    }
    loaded
}

/// The mode, under either of its names. A slip must not leave it open.
fn mode(object: &Object<'_>, reader: &mut Reader<'_>) -> Option<&'static str> {
    let words = AuthMode::WORDS.map(|word| (word, word));
    let said: Vec<_> =
        ["mode", "type"].into_iter().filter_map(|key| object.even_null(key)).collect();
    let mut found = Some("none");
    for (index, at) in said.iter().enumerate() {
        let word = reader.choice_but(at, &words, &REFUSED);
        if let (1.., Some(first), Some(word)) = (index, found, word)
            && first != word
        {
            reader
                .fault(at, format!("is `{word}`, and `auth.mode` is `{first}`; keep one of them"));
            return None;
        }
        found = word.filter(|_| found.is_some());
    }
    found
}

/// What belongs to another mode would be passed over.
fn refuse_of_others(object: &Object<'_>, mode: &str, reader: &mut Reader<'_>) {
    for (key, belongs) in BELONGS.into_iter().filter(|(_, belongs)| *belongs != mode) {
        let Some(at) = object.even_null(key) else { continue };
        let choose = match REFUSED.iter().any(|(word, _)| *word == belongs) {
            true => "which this version cannot enforce yet; remove it".to_owned(),
            false => format!("so set `auth.mode` to `{belongs}`, or remove it"),
        };
        reader.fault(
            &at,
            format!("asks for what is not enforced under the mode `{mode}`; it belongs to the mode `{belongs}`, {choose}"),
        );
    }
}

/// A text that nothing may show, even where it stands in the file as it is.
fn secret_text(at: &At<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(at)?;
    reader.secrets.push(text.clone());
    match text.trim().chars().count() {
        0 => {
            reader.fault(at, "is empty");
            return None;
        }
        1..SHORTEST => reader.warn(
            at,
            "has fewer than 16 characters and may be guessed; `openssl rand -hex 32` makes a better one",
        ),
        _ => {}
    }
    Some(text)
}

fn secret(at: &At<'_>, reader: &mut Reader<'_>) -> Option<SecretString> {
    secret_text(at, reader).map(SecretString::from)
}

/// What `header` takes: keys of tokens, and what is done about root tokens.
fn tokens(object: &Object<'_>, reader: &mut Reader<'_>) -> Tokens {
    let root_keys = object.even_null("rootKey").map(|at| root_keys(&at, reader));
    let auto_mint = object.get("autoMintRoot");
    let auto_mint_root = auto_mint.as_ref().and_then(|at| reader.flag(at)).unwrap_or(false);
    let root_token = object.even_null("rootToken").and_then(|at| {
        let token = secret_text(&at, reader)?;
        if token.starts_with(PREFIX) {
            return Some(SecretString::from(token));
        }
        reader.fault(
            &at,
            format!("is a token of another system, which cannot be used here: those of this one begin with `{PREFIX}`; `tollgate token mint` makes one, or remove it"),
        );
        None
    });
    if let (true, Some(at), Some(_)) = (auto_mint_root, auto_mint, &root_token) {
        reader.warn(&at, "has no effect beside `rootToken`");
    }
    Tokens { root_keys: root_keys.unwrap_or_default(), auto_mint_root, root_token }
}

/// One key, or several: the first signs, all verify.
fn root_keys(at: &At<'_>, reader: &mut Reader<'_>) -> Vec<SecretString> {
    let Value::List(_) = &at.node.value else { return secret(at, reader).into_iter().collect() };
    let items = reader.list(at).unwrap_or_default();
    if items.is_empty() {
        reader.fault(at, "has no key; give one, or leave it out for the key of this installation");
    }
    items.iter().filter_map(|at| secret(at, reader)).collect()
}

fn keys(at: &At<'_>, policies: bool, reader: &mut Reader<'_>) -> Vec<Written> {
    let mut keys: Vec<Written> = Vec::new();
    for at in &reader.list(at).unwrap_or_default() {
        let Some(written) = key(at, policies, reader) else { continue };
        // Keys that are the same have the same digest, and so the same id where none is written.
        if let Some(first) = keys.iter().find(|w| w.key.is_of(&written.key.digest)) {
            reader.fault(at, format!("has the `key` of `{}`", first.place));
        } else if let Some(first) = keys.iter().find(|first| first.key.id == written.key.id) {
            reader.fault(at, format!("has the `id` of `{}`", first.place));
        }
        keys.push(written);
    }
    keys
}

/// An entry; kept without its key.
fn key(at: &At<'_>, policies: bool, reader: &mut Reader<'_>) -> Option<Written> {
    let known = ["key", "id", "name", "consumerId", "enabled", "agents", "expires"];
    let object = reader.object_with(at, &known, &["roles"], &[])?;
    let key = match object.even_null("key") {
        Some(at) => secret_text(&at, reader),
        None => {
            reader.fault(at, "has no `key`");
            None
        }
    };
    let mut text = |key: &str| object.get(key).and_then(|at| line(&at, reader));
    let (id, name, consumer) = (text("id"), text("name"), text("consumerId"));
    let agents = object.even_null("agents").map(|at| agents(&at, reader));
    if let (Some(at), false) = (object.get("roles"), policies) {
        reader.fault(&at, ROLES);
    }
    // A switch that cannot be read is a fault, so what it would have said is no matter.
    let enabled = object.even_null("enabled").map(|at| reader.flag(&at));
    let expires = object.even_null("expires").and_then(|at| expires(&at, reader));
    let digest = digest(&key?);
    let id = id.unwrap_or_else(|| named_by(&digest));
    let listed = agents.is_some();
    Some(Written {
        listed,
        key: ApiKey {
            name: name.or(consumer.clone()).unwrap_or_else(|| id.clone()),
            id,
            digest,
            agents: agents.unwrap_or_default(),
            roles: Vec::new(),
            created: 0,
            expires,
            revoked: enabled == Some(Some(false)),
        },
        consumer,
        position: at.node.position,
        place: at.place.clone(),
        whereabouts: reader.whereabouts(at),
    })
}

/// Text that can be shown in a table.
fn line(at: &At<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(at)?;
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        reader.fault(at, "must be text in one line");
    }
    Some(text)
}

fn agents(at: &At<'_>, reader: &mut Reader<'_>) -> Vec<AgentId> {
    let Some(items) = reader.list(at) else { return Vec::new() };
    if items.is_empty() {
        reader.fault(at, "names no agent; a key that is not to be used is `enabled: false`");
    }
    let mut agents = Vec::new();
    for at in &items {
        let Some(text) = reader.text(at) else { continue };
        if !AgentId::is_well_formed(&text) {
            reader.fault(at, "is not an agent name: 1 to 128 of A-Z a-z 0-9 _ . : -");
        }
        agents.push(AgentId::from(text.as_str()));
    }
    agents
}

fn expires(at: &At<'_>, reader: &mut Reader<'_>) -> Option<i64> {
    let text = reader.text(at)?;
    let moment = moment(&text);
    match moment {
        Some(moment) if moment <= now() => {
            reader.warn(at, "is in the past: the key cannot be used");
        }
        Some(_) => {}
        None => reader.fault(
            at,
            "must be a moment as in RFC 3339, such as \"2027-01-31T00:00:00Z\", or a day, such as \"2027-01-31\", at whose beginning (UTC) the key ends",
        ),
    }
    moment
}

/// What it takes to say what is in force.
pub(super) struct Settling<'a> {
    pub(super) file: Option<&'a Path>,
    /// None if they could not be read.
    pub(super) rules: Option<&'a Rules>,
    pub(super) rules_exist: bool,
    pub(super) env: &'a Environment,
}

impl Settling<'_> {
    /// What calls must show, and what this process shows for those that show nothing.
    pub(super) fn settle(
        self,
        said: Loaded,
        faults: &mut Faults,
        warnings: &mut Vec<String>,
    ) -> Auth {
        let Loaded { mut mode, keys } = said;
        if let AuthMode::ApiKey(settled) = &mut mode {
            settled.extend(keys.into_iter().filter_map(|key| self.key(key, faults, warnings)));
        }
        let presented = self.env.get(PRESENTED);
        if let (Some(_), AuthMode::None) = (presented, &mode) {
            warnings.push(format!("{PRESENTED} is set but never used: `auth.mode` is `none`"));
        }
        Auth { mode, presented: presented.map(SecretString::from) }
    }

    /// A key with its agents.
    fn key(
        &self,
        written: Written,
        faults: &mut Faults,
        warnings: &mut Vec<String>,
    ) -> Option<ApiKey> {
        let Written { mut key, listed, consumer, position, place, whereabouts } = written;
        let has_rules = |agent: &str| Some(self.rules?.agents.contains_key(agent));
        if listed {
            let none = key.agents.iter().filter(|agent| has_rules(agent.as_str()) == Some(false));
            warnings.extend(none.map(|agent| {
                format!(
                    "{whereabouts} may act as `{agent}`, which has no rules: such calls are refused"
                )
            }));
            return Some(key);
        }
        let meant = consumer.filter(|agent| has_rules(agent) == Some(true));
        key.agents = match meant {
            Some(agent) => vec![agent.as_str().into()],
            None if !self.rules_exist => vec![AgentId::fallback()],
            // Their faults come first.
            None if self.rules.is_none() => return None,
            None => {
                faults.push(Fault {
                    about: None,
                    file: self.file.map(Path::to_owned),
                    position: Some(position),
                    place,
                    message: "does not say which agents it may act as; list them in `agents`"
                        .into(),
                });
                return None;
            }
        };
        Some(key)
    }
}
