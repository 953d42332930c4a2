//! `tollgate keys`: API keys, of which the store keeps only digests.

use anyhow::bail;
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    context::{CommandContext, OpenStore, answer, configured_keys, known_agent, missing},
    exit::Exit,
    output::{Report, note},
    parse::{expires, one_line},
    records::{Returned, plain},
};
use crate::{
    domain::{
        auth::{ApiKey, AuthMode, KEY_PREFIX, digest, make_key},
        call::AgentId,
        identity::IdentityMode,
        period::timestamp,
        record::Draft,
    },
    host::clock::now,
    ledger::keys::random,
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysArgs {
    /// Create a key and print it, this once
    #[command(alias = "mint")]
    Create(CreateArgs),
    /// List all keys, including those of gateway.yaml; never the secrets
    List,
    /// Revoke a key, at once and for good
    Revoke(RevokeKeyArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What the key is for, such as `ci` or `laptop`
    #[arg(long, value_parser = one_line)]
    name: String,
    /// An agent that the key may act as; with several, each call says which
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<String>,
    /// A role (not supported by this version)
    #[arg(long = "role", value_name = "ROLE", value_parser = one_line)]
    roles: Vec<String>,
    /// When the key expires: 90d, 12h, 2027-01-31 or 2027-01-31T00:00:00Z (default: never)
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    expires: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeKeyArgs {
    /// The key's id, as `keys list` shows it
    id: String,
}

pub(super) async fn run(context: &CommandContext, asked: &KeysArgs) -> anyhow::Result<Exit> {
    let store =
        context.store_of("API keys", "or write keys into `auth.keys` of gateway.yaml instead")?;
    match asked {
        KeysArgs::Create(asked) => {
            let (key, secret) = create(&store, asked).await?;
            let row = KeyRow::of_store(key);
            let remedy = format!("; take it back: `tollgate keys revoke {}`", row.id);
            context.show_once(&row.created(&secret), &remedy)
        }
        KeysArgs::List => context.show(&list(&store).await?),
        KeysArgs::Revoke(asked) => context.show(&revoke(&store, asked).await?),
    }
}

/// A key as it is listed, without its secret.
#[derive(Serialize)]
struct KeyRow {
    id: String,
    name: String,
    agents: Vec<AgentId>,
    roles: Vec<String>,
    created: Option<String>,
    expires: Option<String>,
    state: &'static str,
    from: &'static str,
}

impl KeyRow {
    fn of_store(key: ApiKey) -> Self {
        Self { created: Some(timestamp(key.created)), ..Self::of(key, "store") }
    }

    fn of_settings(key: &ApiKey) -> Self {
        Self::of(key.clone(), "gateway.yaml")
    }

    fn of(key: ApiKey, from: &'static str) -> Self {
        Self {
            state: key.obstacle(now(), from != "store").unwrap_or("usable"),
            id: key.id,
            name: key.name,
            agents: key.agents,
            roles: key.roles,
            created: None,
            expires: key.expires.map(timestamp),
            from,
        }
    }

    fn agents(&self) -> String {
        self.agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ")
    }

    fn cells(&self) -> Vec<String> {
        let or = |text: &Option<String>, none: &str| text.as_deref().unwrap_or(none).to_owned();
        vec![
            plain(&self.id),
            plain(&self.name),
            self.agents(),
            plain(&self.roles.join(", ")),
            or(&self.created, "-"),
            or(&self.expires, "never"),
            self.state.into(),
            self.from.into(),
        ]
    }

    /// Shows a new key, this once.
    fn created(&self, secret: &SecretString) -> Report {
        let mut json = json!(self);
        if let Value::Object(members) = &mut json {
            members.insert("key".into(), secret.expose_secret().into());
        }
        let until =
            self.expires.as_ref().map_or("without expiry".into(), |at| format!("until {at}"));
        Report::new(json)
            .note(format!(
                "key {} for {}, {until}. It is shown this once: put it into TOLLGATE_TOKEN of the client's entry for this gateway.",
                self.id,
                self.agents()
            ))
            .line(secret.expose_secret())
    }
}

async fn create(store: &OpenStore, asked: &CreateArgs) -> anyhow::Result<(ApiKey, SecretString)> {
    if !asked.roles.is_empty() {
        bail!(
            "--role: roles are not enforced by this version, so the key could do all that its agents may; restrict those in .mcp-gateway-rules.json, and leave --role out"
        );
    }
    let wanted = ApiKey {
        id: String::new(),
        name: asked.name.clone(),
        digest: [0; 32].into(),
        agents: agents(store, &asked.agents)?,
        roles: Vec::new(),
        created: now(),
        expires: asked.expires,
        revoked: false,
    };
    let created = add(store, wanted).await?;
    match &store.settings.auth.mode {
        AuthMode::ApiKey(_) => {}
        other => note(&format!(
            "note: `auth.mode` is `{}`, so no call is asked for an API key; write `auth: {{mode: api-key}}` into gateway.yaml",
            other.as_str()
        )),
    }
    Ok(created)
}

/// Stores a key under an id that no other key has.
async fn add(store: &OpenStore, wanted: ApiKey) -> anyhow::Result<(ApiKey, SecretString)> {
    const TRIES: usize = 8;
    for _ in 0..TRIES {
        let (id, secret) = make_key(random()?, random()?);
        if configured_keys(&store.settings).iter().any(|key| key.id == id) {
            continue;
        }
        let key = ApiKey { id, digest: digest(secret.expose_secret()), ..wanted.clone() };
        if answer(store.ledger.add_api_key(key.clone(), Draft::default())).await? {
            return Ok((key, secret));
        }
    }
    bail!("no unused id was found for the key; try again")
}

/// The agents of a new key, all of which must have rules.
fn agents(store: &OpenStore, names: &[String]) -> anyhow::Result<Vec<AgentId>> {
    let mut agents: Vec<AgentId> = Vec::new();
    for name in names {
        let agent = known_agent(&store.settings, name)?;
        if !agents.contains(&agent) {
            agents.push(agent);
        }
    }
    match (agents.is_empty(), &store.settings.identities.mode) {
        (false, _) => Ok(agents),
        (true, IdentityMode::SingleUser) => Ok(vec![AgentId::fallback()]),
        (true, _) => bail!("--agent is missing: name the agents that the key may act as"),
    }
}

async fn list(store: &OpenStore) -> anyhow::Result<Report> {
    let stored = answer(store.ledger.api_keys()).await?;
    let configured = configured_keys(&store.settings).iter().map(KeyRow::of_settings);
    let keys: Vec<KeyRow> = configured.chain(stored.into_iter().map(KeyRow::of_store)).collect();
    let report = Report::new(json!(keys));
    Ok(match keys.is_empty() {
        true => report.note(
            "there are no keys; `tollgate keys create --name NAME --agent AGENT` creates one",
        ),
        false => {
            let header = ["ID", "NAME", "AGENTS", "ROLES", "CREATED", "EXPIRES", "STATE", "FROM"];
            report.table(header, keys.iter().map(KeyRow::cells))
        }
    })
}

async fn revoke(store: &OpenStore, asked: &RevokeKeyArgs) -> anyhow::Result<Report> {
    let id = id_of(&asked.id);
    let stored = answer(store.ledger.api_keys()).await?;
    let Some(key) = stored.iter().find(|key| key.id == id) else {
        if configured_keys(&store.settings).iter().any(|key| key.id == id) {
            bail!(
                "key `{id}` stands in gateway.yaml: remove it there, or write `enabled: false`; a running gateway follows at once"
            );
        }
        // Without what was typed, which may be a secret.
        let known = stored.iter().map(|key| key.id.as_str());
        return Err(missing("key of that id", known, id, "`tollgate keys list` lists the keys"));
    };
    let closed = answer(store.ledger.revoke_api_key(id.to_owned(), Draft::default())).await?;
    let returned = Returned::from(store, closed.as_deref().unwrap_or_default()).await?;
    let mut json = json!({"id": id, "revoked": true, "changed": closed.is_some()});
    let mut back = String::new();
    if let (Some(returned), Value::Object(members)) = (&returned, &mut json) {
        members.insert("returned".into(), json!(returned.amount));
        back = format!("; {}", returned.in_words());
    }
    Ok(Report::new(json).line(match closed {
        Some(_) => format!("key {id} ({}) is revoked{back}", plain(&key.name)),
        None => format!("key {id} was revoked before"),
    }))
}

/// The id of a key; also of a whole key, so that who finds one can revoke it.
fn id_of(text: &str) -> &str {
    let key = text.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_'));
    key.map_or(text, |(id, _)| id)
}
