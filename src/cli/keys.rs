//! `tollgate keys`: API keys, which the store keeps by their digest only.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    Exit,
    args::SettingsArgs,
    output::{Output, note},
    records::{self, answer, plain, returned},
};
use crate::{
    app::wiring,
    domain::{
        auth::{ApiKey, AuthMode, KEY_PREFIX, digest, make_key},
        budget::Backend,
        call::AgentId,
        identity::IdentityMode,
        near::near,
        period::{moment, timestamp},
        record::Draft,
        settings::Settings,
    },
    host::clock::now,
    ledger::{Ledger, keys::random},
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysArgs {
    /// Make a key and print it, this once
    Create(CreateArgs),
    /// List all keys, those of gateway.yaml among them; never the keys themselves
    List,
    /// Take a key back, at once and for good
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// What it is for, such as `ci` or `laptop`
    #[arg(long, value_parser = one_line)]
    name: String,
    /// An agent that it may act as; with several, calls say as which
    #[arg(long = "agent", value_name = "AGENT")]
    agents: Vec<String>,
    /// A role of who holds it
    #[arg(long = "role", value_name = "ROLE", value_parser = one_line)]
    roles: Vec<String>,
    /// When it ends: 90d, 12h, 2027-01-31 or 2027-01-31T00:00:00Z (default: never)
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    expires: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// Its id, as `keys list` shows it
    id: String,
}

pub(super) fn run(args: &SettingsArgs, asked: &KeysArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    if settings.budgeting.store.backend == Backend::Memory {
        bail!(
            "keys are kept in the store, and that of these settings is in the memory of each gateway (`budget.backend: memory`), which forgets them: use `sqlite`, or write keys into `auth.keys` of gateway.yaml"
        );
    }
    let ledger = records::ledger(&settings)?;
    let desk = Desk { settings: &settings, ledger: &ledger, output };
    wiring::runtime()?.block_on(async {
        match asked {
            KeysArgs::Create(asked) => desk.create(asked).await,
            KeysArgs::List => desk.list().await,
            KeysArgs::Revoke(asked) => desk.revoke(asked).await,
        }
    })
}

/// What the commands work with.
struct Desk<'a> {
    settings: &'a Settings,
    ledger: &'a Arc<dyn Ledger>,
    output: &'a Output,
}

impl Desk<'_> {
    async fn create(&self, asked: &CreateArgs) -> anyhow::Result<Exit> {
        if !asked.roles.is_empty() {
            bail!(
                "--role: roles are not enforced by this version, so the key could do all that its agents may; restrict those in .mcp-gateway-rules.json, and leave --role out"
            );
        }
        let now = now();
        let wanted = ApiKey {
            id: String::new(),
            name: asked.name.clone(),
            digest: [0; 32],
            agents: self.agents(&asked.agents)?,
            roles: Vec::new(),
            created: now,
            expires: asked.expires,
            revoked: false,
        };
        let (key, secret) = self.add(wanted).await?;
        self.warn();
        if !self.output.json {
            let agents = listed(&key.agents);
            let ends = key
                .expires
                .map_or("without an end".to_owned(), |at| format!("until {}", timestamp(at)));
            note(&format!(
                "key {} for {agents}, {ends}. It is shown this once: put it into TOLLGATE_TOKEN of the client's entry for this gateway.",
                key.id
            ));
        }
        let printed = self.output.secret("key", secret.expose_secret(), json(&key, now, STORE));
        printed.with_context(|| format!("take it back: `tollgate keys revoke {}`", key.id))?;
        Ok(Exit::Done)
    }

    /// Keeps a key of these properties, under an id that no other has.
    async fn add(&self, wanted: ApiKey) -> anyhow::Result<(ApiKey, SecretString)> {
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let (id, secret) = make_key(random()?, random()?);
            if self.of_settings().iter().any(|key| key.id == id) {
                continue;
            }
            let key = ApiKey { id, digest: digest(secret.expose_secret()), ..wanted.clone() };
            if answer(self.ledger.add_api_key(key.clone(), Draft::default())).await? {
                return Ok((key, secret));
            }
        }
        bail!("no id was found for the key that no other key has; try again")
    }

    /// The agents that are meant, all of which have rules.
    fn agents(&self, names: &[String]) -> anyhow::Result<Vec<AgentId>> {
        let rules = &self.settings.rules.agents;
        let mut agents: Vec<AgentId> = Vec::new();
        for name in names {
            if !rules.contains_key(name.as_str()) {
                match near(name, rules.keys().map(AgentId::as_str)).join("`, `") {
                    near if !near.is_empty() => {
                        bail!("there is no agent `{name}`; there is `{near}`")
                    }
                    _ if self.settings.identities.mode == IdentityMode::SingleUser => bail!(
                        "there is no agent `{name}`: without rules there is only `{}`",
                        AgentId::fallback()
                    ),
                    _ => {
                        bail!("there is no agent `{name}`; `tollgate check` lists those there are")
                    }
                }
            }
            let agent = AgentId::from(name.as_str());
            if !agents.contains(&agent) {
                agents.push(agent);
            }
        }
        match agents.is_empty() {
            false => Ok(agents),
            true if self.settings.identities.mode == IdentityMode::SingleUser => {
                Ok(vec![AgentId::fallback()])
            }
            true => bail!("--agent is missing: say which agents the key may act as"),
        }
    }

    /// What a new key does not do, though it may be expected.
    fn warn(&self) {
        match &self.settings.auth.mode {
            AuthMode::ApiKey(_) => {}
            other => note(&format!(
                "note: `auth.mode` is `{}`, so no call is asked for an API key; write `auth: {{mode: api-key}}` into gateway.yaml",
                other.as_str()
            )),
        }
    }

    fn of_settings(&self) -> &[ApiKey] {
        match &self.settings.auth.mode {
            AuthMode::ApiKey(keys) => keys,
            _ => &[],
        }
    }

    async fn list(&self) -> anyhow::Result<Exit> {
        let now = now();
        let kept = answer(self.ledger.api_keys()).await?;
        let of_settings = self.of_settings().iter().map(|key| (key, SETTINGS));
        let all: Vec<_> = of_settings.chain(kept.iter().map(|key| (key, STORE))).collect();
        if self.output.json {
            self.output.value(&all.iter().map(|(key, from)| json(key, now, from)).collect());
            return Ok(Exit::Done);
        }
        if all.is_empty() {
            note("there are no keys; `tollgate keys create --name NAME --agent AGENT` makes one");
            return Ok(Exit::Done);
        }
        let row = |(key, from): &(&ApiKey, &str)| {
            let created = if *from == STORE { timestamp(key.created) } else { "-".to_owned() };
            vec![
                plain(&key.id),
                plain(&key.name),
                listed(&key.agents),
                plain(&key.roles.join(", ")),
                created,
                ends(key),
                state(key, now, from).to_owned(),
                (*from).to_owned(),
            ]
        };
        let header = ["ID", "NAME", "AGENTS", "ROLES", "CREATED", "EXPIRES", "STATE", "FROM"];
        self.output.table(&header, all.iter().map(row).collect());
        Ok(Exit::Done)
    }

    async fn revoke(&self, asked: &RevokeArgs) -> anyhow::Result<Exit> {
        let id = id_of(&asked.id);
        let kept = answer(self.ledger.api_keys()).await?;
        let Some(key) = kept.iter().find(|key| key.id == id) else {
            return self.not_kept(id, &kept);
        };
        let revoked = self.ledger.revoke_api_key(id.to_owned(), Draft::default());
        let closed = answer(revoked).await?;
        let returned = returned(self.ledger, closed.as_deref().unwrap_or_default()).await?;
        if self.output.json {
            let mut told = json!({"id": id, "revoked": true, "changed": closed.is_some()});
            if let (Some((amount, _)), Value::Object(told)) = (&returned, &mut told) {
                told.insert("returned".into(), json!(amount));
            }
            self.output.value(&told);
        } else if closed.is_some() {
            let back = returned.map(|(amount, to)| {
                let to = to.map_or_else(String::new, |to| format!(" to {to}"));
                format!("; {} went back{to}", amount.in_words())
            });
            let back = back.unwrap_or_default();
            self.output.line(&format!("key {id} ({}) is revoked{back}", plain(&key.name)));
        } else {
            self.output.line(&format!("key {id} was revoked before"));
        }
        Ok(Exit::Done)
    }

    fn not_kept(&self, id: &str, kept: &[ApiKey]) -> anyhow::Result<Exit> {
        if self.of_settings().iter().any(|key| key.id == id) {
            bail!(
                "key `{id}` stands in gateway.yaml: remove it there, or write `enabled: false`; a gateway that runs follows at once"
            );
        }
        // Who mistook something else for an id may have written a secret.
        match near(id, kept.iter().map(|key| key.id.as_str())).join("`, `") {
            near if near.is_empty() => {
                bail!("there is no key of that id; `tollgate keys list` lists those there are")
            }
            near => bail!("there is no key of that id; there is `{near}`"),
        }
    }
}

/// Where keys stand.
const STORE: &str = "store";
const SETTINGS: &str = "gateway.yaml";

/// The id of a key, also of one that is written out: who found it wants it to end.
fn id_of(text: &str) -> &str {
    let key = text.strip_prefix(KEY_PREFIX).and_then(|rest| rest.split_once('_'));
    key.map_or(text, |(id, _)| id)
}

/// The longest name, role or label. The tool `delegate` takes labels as long.
const LONGEST: usize = 200;

/// Text that tables can show.
pub(super) fn one_line(text: &str) -> Result<String, String> {
    let shown = !text.trim().is_empty() && !text.chars().any(char::is_control);
    match shown && text.chars().count() <= LONGEST {
        true => Ok(text.to_owned()),
        false => Err(format!("must be text in one line, of at most {LONGEST} characters")),
    }
}

/// From now on so long, or the moment that is named.
pub(super) fn expires(text: &str) -> Result<i64, String> {
    let now = now();
    let after = |span: Duration| now.checked_add(i64::try_from(span.as_millis()).ok()?);
    let found = moment(text).or_else(|| after(humantime::parse_duration(text).ok()?));
    match found {
        Some(at) if at > now => Ok(at),
        Some(_) => Err(format!("`{text}` is not in the future")),
        None => {
            Err(format!("`{text}` is no time; write 90d, 12h, 2027-01-31 or 2027-01-31T00:00:00Z"))
        }
    }
}

fn listed(agents: &[AgentId]) -> String {
    agents.iter().map(AgentId::as_str).collect::<Vec<_>>().join(", ")
}

fn ends(key: &ApiKey) -> String {
    key.expires.map_or_else(|| "never".to_owned(), timestamp)
}

fn state(key: &ApiKey, now: i64, from: &str) -> &'static str {
    key.obstacle(now, from == SETTINGS).unwrap_or("usable")
}

/// All but the key, which nobody has.
fn json(key: &ApiKey, now: i64, from: &str) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "agents": key.agents,
        "roles": key.roles,
        "created": (from == STORE).then(|| timestamp(key.created)),
        "expires": key.expires.map(timestamp),
        "state": state(key, now, from),
        "from": from,
    })
}
