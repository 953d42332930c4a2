//! Reads all three files, checks everything, and answers either whole settings or every fault.

use std::path::{Path, PathBuf};

use super::{
    fault::{Faults, SettingsFault},
    findings::FileFindings,
    gateway,
    locate::{self, Options},
    namespace::{self, namespace},
    routing::Others,
    rules, servers,
    values::PRESENTED,
};
use crate::domain::{
    auth::Auth,
    budget::Budgeting,
    call::AgentId,
    identity::{Identities, IdentityMode},
    redact::Redactor,
    settings::{Settings, SettingsFile, SettingsSource, Sources},
};
use crate::host::{clock, environment::Environment};

/// Reads and checks all settings again. Unlike at the start, a missing file that is in use is a fault:
/// rules must not end because somebody moved a file.
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
            gone.push(SettingsFault {
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

/// What the three files say, before it is put together.
struct LoadedFiles {
    mcp_config: Option<PathBuf>,
    servers: servers::LoadedServers,
    file: Option<PathBuf>,
    gateway: gateway::LoadedGateway,
    rules_file: Option<PathBuf>,
    rules: rules::LoadedRules,
    identities: Identities,
    auth: Auth,
}

/// Reads the files one after the other: each is checked against those before it.
fn read(options: &Options, env: &Environment, faults: &mut Faults) -> LoadedFiles {
    let mut found = Faults::default();
    let mcp_config = locate::locate(SettingsFile::McpConfig, options, env, &mut found);
    let servers = servers::load(mcp_config.as_deref(), env, &mut found);
    let complete = found.is_empty() || !servers.entries.is_empty();
    faults.take(SettingsFile::McpConfig, found);

    let mut of_gateway = Faults::default();
    let file = locate::locate(SettingsFile::Gateway, options, env, &mut of_gateway);
    let others = Others {
        servers: &servers,
        complete,
        stray: locate::is_named(SettingsFile::Gateway, options, env)
            && !locate::is_named(SettingsFile::McpConfig, options, env),
    };
    let mut gateway = gateway::load(file.as_deref(), others, env, &mut of_gateway);

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
    let rules_exist = rules_file.is_some();
    let identities = identities(options, env, &mut rules, rules_exist, &mut found);
    let sound = found.is_empty();
    rules.fill_up(&gateway);
    let path = file.as_deref().unwrap_or(Path::new(""));
    let mut findings = FileFindings::new(path, env, &mut of_gateway);
    let known_rules = sound.then_some(&rules.rules);
    let auth = std::mem::take(&mut gateway.auth).settle(known_rules, rules_exist, &mut findings);
    gateway.servers.warnings.extend(findings.warnings);
    faults.take(SettingsFile::Gateway, of_gateway);
    faults.take(SettingsFile::Rules, found);
    LoadedFiles { mcp_config, servers, file, gateway, rules_file, rules, identities, auth }
}

/// Reads and checks all settings.
///
/// # Errors
/// Every fault there is, each with its place.
pub fn load(options: &Options, env: &Environment) -> Result<Settings, Faults> {
    let mut faults = Faults::default();
    refuse_what_is_not_built(env, &mut faults);
    let read = read(options, env, &mut faults);
    let LoadedFiles { mcp_config, mut servers, file, mut gateway, rules_file, mut rules, .. } =
        read;
    let (identities, auth) = (read.identities, read.auth);
    let known = servers.entries.keys().chain(gateway.servers.entries.keys()).map(String::as_str);

    // Agents see names and send them back; a value that is also a name is no secret.
    let names: Vec<&str> = rules.rules.agents.keys().map(AgentId::as_str).chain(known).collect();
    let presented = env.get(PRESENTED).map(str::to_owned);
    let secrets = [&mut servers.secrets, &mut gateway.servers.secrets, &mut rules.secrets];
    let secrets = secrets.into_iter().flat_map(std::mem::take).chain(presented);
    let redactor =
        Redactor::new(secrets.filter(|value| !names.contains(&value.as_str())).collect::<Vec<_>>());
    if !faults.is_empty() {
        return Err(faults.masked(&redactor));
    }
    let source = |path: &Option<PathBuf>, servers: usize, warnings: &[String]| {
        let masked = |warning: &String| redactor.redact(warning).into_owned();
        let warnings = warnings.iter().map(masked).collect();
        SettingsSource { path: path.clone(), read_at: clock::system(), servers, warnings }
    };
    let own = &gateway.servers;
    let sources = Sources {
        mcp_config: source(&mcp_config, servers.specs.len(), &servers.warnings),
        rules: source(&rules_file, 0, &rules.warnings),
        gateway: source(&file, own.specs.len(), &own.warnings),
    };
    let accounts = (
        namespace(file.as_deref(), rules_file.as_deref(), env),
        namespace::of_agents(file.as_deref(), rules_file.as_deref(), env),
    );
    Ok(Settings {
        sources,
        servers: servers.specs.into_iter().chain(gateway.servers.specs).collect(),
        rules: rules.rules,
        identities,
        auth,
        budgeting: Budgeting { namespace: accounts.0, agents: accounts.1, ..gateway.budgeting },
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

impl rules::LoadedRules {
    /// Takes from `gateway.yaml` what the rules leave open, and checks their limits beside its own.
    fn fill_up(&mut self, gateway: &gateway::LoadedGateway) {
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
    rules: &mut rules::LoadedRules,
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
    rules: &mut rules::LoadedRules,
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
