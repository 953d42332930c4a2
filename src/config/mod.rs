//! Floor 3: settings as written, then as checked.
//!
//! - [`locate`]: which files.
//! - [`document`]: a file as a tree in which every value knows its place. [`jsonc`]: JSON files.
//! - [`reader`], [`expand`]: values taken out of the tree; every fault is kept, none ends the check.
//! - [`servers`]: `.mcp.json`. [`rules`]: `.mcp-gateway-rules.json`. [`gateway`]: `gateway.yaml`,
//!   with [`auth`], [`money`] and [`upstreams`].
//! - [`entry`]: a server, in whichever file it stands. [`book`]: whose accounts are used.
//! - [`fixed`]: what a reload cannot change.
//! - [`watch`]: when files change, they are read again. [`watched_paths`]: the ways to them.
//!
//! [`load`] reads everything, checks everything, and answers either whole settings or every fault.

mod auth;
mod book;
mod document;
mod entry;
mod expand;
mod fault;
mod fixed;
mod gateway;
mod jsonc;
mod locate;
mod money;
mod reader;
mod rules;
mod servers;
mod upstreams;
mod watch;
mod watched_paths;

use std::path::PathBuf;

pub use fault::{Fault, Faults};
pub use fixed::following;
pub use watch::{Reload, Watch};

use upstreams::Others;

use crate::domain::{
    budget::Budgeting,
    call::AgentId,
    identity::{Identities, IdentityMode},
    redact::Redactor,
    settings::{Settings, SettingsFile, SettingsSource, Sources},
};
use crate::host::{clock, environment::Environment};

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config-dir`: all files are looked for here and nowhere else.
    pub config_dir: Option<PathBuf>,
    /// `--mcp-config`.
    pub mcp_config: Option<PathBuf>,
    /// `--rules`.
    pub rules: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--as`: the one agent that this gateway serves.
    pub act_as: Option<String>,
    /// `--debug`.
    pub debug: bool,
}

/// Reads and checks all settings anew. A file that is in use and has gone is a fault, where at the
/// start it would be none: rules must not end because somebody moved a file.
///
/// # Errors
/// Every fault there is, each with its place.
pub fn reload(options: &Options, env: &Environment, in_use: &Sources) -> Result<Settings, Faults> {
    let outcome = load(options, env);
    let mut gone = Faults::default();
    for (file, source) in [
        (SettingsFile::McpConfig, &in_use.mcp_config),
        (SettingsFile::Rules, &in_use.rules),
        (SettingsFile::Gateway, &in_use.gateway),
    ] {
        let known = outcome.as_ref().is_err_and(|faults| faults.about(file).next().is_some());
        if let (false, Some(path)) = (known, &source.path)
            && !locate::is_there(path)
        {
            gone.push(Fault {
                about: Some(file),
                file: Some(path.clone()),
                position: None,
                place: String::new(),
                message: "is in use and has gone; put it back, or restart the gateway".into(),
            });
        }
    }
    match outcome {
        outcome if gone.is_empty() => outcome,
        Ok(_) => Err(gone),
        Err(faults) => Err(faults.and(gone)),
    }
}

/// The files that settings are read from.
pub fn files(options: &Options, env: &Environment) -> Vec<(SettingsFile, PathBuf)> {
    let all = [SettingsFile::McpConfig, SettingsFile::Rules, SettingsFile::Gateway];
    let found = |file| Some((file, locate::locate(file, options, env, &mut Faults::default())?));
    all.into_iter().filter_map(found).collect()
}

/// Reads and checks all settings.
///
/// # Errors
/// Every fault there is, each with its place.
pub fn load(options: &Options, env: &Environment) -> Result<Settings, Faults> {
    let mut faults = Faults::default();
    refuse_what_is_not_built(env, &mut faults);

    let mut found = Faults::default();
    let mcp_config = locate::locate(SettingsFile::McpConfig, options, env, &mut found);
    let mut servers = servers::load(mcp_config.as_deref(), env, &mut found);
    let complete = found.is_empty() || !servers.entries.is_empty();
    faults.take(SettingsFile::McpConfig, found);

    let mut found = Faults::default();
    let file = locate::locate(SettingsFile::Gateway, options, env, &mut found);
    let others = Others {
        servers: &servers,
        complete,
        stray: locate::is_named(SettingsFile::Gateway, options, env)
            && !locate::is_named(SettingsFile::McpConfig, options, env),
    };
    let mut gateway = gateway::load(file.as_deref(), others, env, &mut found);
    let mut of_gateway = found;

    let mut found = Faults::default();
    let rules_file = locate::locate(SettingsFile::Rules, options, env, &mut found);
    let names = servers.entries.keys().chain(gateway.servers.entries.keys());
    let known: Vec<&str> = names.map(String::as_str).collect();
    let mut rules = rules::load(rules_file.as_deref(), &known, env, &mut found);
    if let (None, Some(dir)) = (&rules_file, &options.config_dir) {
        rules.warnings.push(format!(
            "there is no .mcp-gateway-rules.json in {}: every call may use every server",
            dir.display()
        ));
    }
    let identities = identities(options, env, &mut rules, rules_file.is_some(), &mut found);
    let sound = found.is_empty();
    rules.fill_up(&gateway);
    let auth = auth::Settling {
        file: file.as_deref(),
        rules: sound.then_some(&rules.rules),
        rules_exist: rules_file.is_some(),
        env,
    };
    let auth = auth.settle(
        std::mem::take(&mut gateway.auth),
        &mut of_gateway,
        &mut gateway.servers.warnings,
    );
    faults.take(SettingsFile::Gateway, of_gateway);
    faults.take(SettingsFile::Rules, found);

    // Names are told to agents, who give them back; a value that is also a name is no secret.
    let names: Vec<&str> = rules.rules.agents.keys().map(AgentId::as_str).chain(known).collect();
    gateway.servers.secrets.extend(env.get(auth::PRESENTED).map(str::to_owned));
    let secrets = [&mut servers.secrets, &mut gateway.servers.secrets, &mut rules.secrets];
    let mut secrets: Vec<String> = secrets.into_iter().flat_map(std::mem::take).collect();
    secrets.retain(|value| !names.contains(&value.as_str()));
    let redactor = Redactor::new(secrets);
    if !faults.is_empty() {
        return Err(faults.masked(&redactor));
    }
    let source = |path: Option<PathBuf>, servers: usize, warnings: &[String]| {
        let masked = |warning: &String| redactor.redact(warning).into_owned();
        let warnings = warnings.iter().map(masked).collect();
        SettingsSource { path, read_at: clock::system(), servers, warnings }
    };
    let book = book::book(file.as_deref(), rules_file.as_deref(), env);
    let agents = book::of_agents(file.as_deref(), rules_file.as_deref(), env);
    let own = gateway.servers;
    Ok(Settings {
        sources: Sources {
            mcp_config: source(mcp_config, servers.specs.len(), &servers.warnings),
            rules: source(rules_file, 0, &rules.warnings),
            gateway: source(file, own.specs.len(), &own.warnings),
        },
        servers: servers.specs.into_iter().chain(own.specs).collect(),
        rules: rules.rules,
        identities,
        auth,
        budgeting: Budgeting { namespace: book, agents, ..gateway.budgeting },
        routing: gateway.routing,
        presented_as: gateway.presented_as,
        logging: gateway.logging,
        audit_log: env.get("GATEWAY_AUDIT_LOG").map(|path| env.path(path)),
        debug: options.debug || env.says_yes("GATEWAY_DEBUG"),
        redactor,
    })
}

impl Sources {
    /// Every warning there is, in the order of the files.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let Self { mcp_config, rules, gateway } = self;
        let all = [mcp_config, rules, gateway].into_iter().flat_map(|source| &source.warnings);
        all.map(String::as_str)
    }
}

impl Settings {
    /// Every warning there is, in the order of the files.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.sources.warnings()
    }
}

impl rules::Loaded {
    /// Takes from `gateway.yaml` what the rules leave open, and checks their limits beside its own.
    fn fill_up(&mut self, gateway: &gateway::Loaded) {
        self.rules.context = self.rules.context.or(gateway.context);
        self.rules.encoding = self.encoding.or(gateway.encoding).unwrap_or_default();
        let Some(of_all) = gateway.budgeting.limit else { return };
        for (agent, rules) in &self.rules.agents {
            let Some(own) = rules.budget else { continue };
            let comparable = of_all.period.is_none() || of_all.period == own.period;
            if comparable && own.credits > of_all.credits {
                self.warnings.push(format!(
                    "agent `{agent}` has a limit of {}, which is never reached: all agents together have {}",
                    own.credits.in_words(),
                    of_all.credits
                ));
            }
        }
    }
}

/// What the contract names and this version cannot do is refused, never passed over in silence.
fn refuse_what_is_not_built(env: &Environment, faults: &mut Faults) {
    if let Some(transport) = env.get("GATEWAY_TRANSPORT").filter(|value| *value != "stdio") {
        faults.general(format!(
            "GATEWAY_TRANSPORT is `{transport}`; this version serves `stdio` only"
        ));
    }
    for name in ["GATEWAY_HTTP_HOST", "GATEWAY_HTTP_PORT", "GATEWAY_PORT"] {
        if env.get(name).is_some() {
            faults.general(format!("{name} is set, but this version serves stdio only; unset it"));
        }
    }
    if let Some(strategy) =
        env.get("GATEWAY_INIT_STRATEGY").filter(|s| !["lazy", "eager"].contains(s))
    {
        faults
            .general(format!("GATEWAY_INIT_STRATEGY is `{strategy}`; it may be `lazy` or `eager`"));
    }
}

fn identities(
    options: &Options,
    env: &Environment,
    rules: &mut rules::Loaded,
    rules_exist: bool,
    faults: &mut Faults,
) -> Identities {
    let default_agent = env.get("GATEWAY_DEFAULT_AGENT").map(AgentId::from);
    if let Some(agent) = &default_agent {
        warn_about_default_agent(agent, options, rules, rules_exist);
    }
    let mode = match &options.act_as {
        Some(agent) if rules.rules.agents.contains_key(agent.as_str()) => {
            IdentityMode::Pinned(AgentId::from(agent.as_str()))
        }
        Some(agent) => {
            let known: Vec<&str> = rules.rules.agents.keys().map(AgentId::as_str).collect();
            faults
                .general(format!("--as `{agent}`: no such agent; the rules have {}", list(&known)));
            IdentityMode::Asserted
        }
        None if rules_exist => IdentityMode::Asserted,
        None => IdentityMode::SingleUser,
    };
    Identities {
        mode,
        deny_on_missing_agent: rules.deny_on_missing_agent,
        default_agent,
        stamped_only: rules.stamped_only,
        unstamped_agent: rules.unstamped_agent.take(),
    }
}

fn warn_about_default_agent(
    agent: &AgentId,
    options: &Options,
    rules: &mut rules::Loaded,
    rules_exist: bool,
) {
    let unused = if options.act_as.is_some() {
        Some("the gateway is pinned to one agent by --as")
    } else if !rules_exist {
        Some("there is no rules file")
    } else if rules.deny_on_missing_agent {
        Some("`defaults.deny_on_missing_agent` is true, so a call without an id is refused")
    } else {
        None
    };
    if let Some(reason) = unused {
        rules.warnings.push(format!("GATEWAY_DEFAULT_AGENT is `{agent}` but never used: {reason}"));
    } else if !rules.rules.agents.contains_key(agent) {
        rules.warnings.push(format!(
            "GATEWAY_DEFAULT_AGENT is `{agent}`, which has no rules: calls without an id will fail"
        ));
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
