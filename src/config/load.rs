//! Reads all three files, checks everything, and answers either whole settings or every fault.

use std::path::PathBuf;

use super::{
    auth::{self, KnownAgents},
    fault::{Faults, SettingsFault},
    findings::Findings,
    gateway,
    locate::{self, Options},
    namespace::{self, namespace},
    routing::Others,
    rules, servers,
    values::PRESENTED,
};
use crate::{
    domain::{
        auth::Auth,
        budget::Budgeting,
        call::AgentId,
        identity::{Identities, IdentityMode},
        redact::Redactor,
        settings::{PerFile, Settings, SettingsFile, SettingsSource, Sources},
    },
    host::{clock, environment::Environment},
};

/// Reads and checks all settings again. Unlike at the start, a missing file that is in use is a fault:
/// rules must not end because a file was moved.
///
/// # Errors
/// Every fault there is, each with its place.
pub fn reload(options: &Options, env: &Environment, in_use: &Sources) -> Result<Settings, Faults> {
    let outcome = load(options, env);
    let mut gone = Vec::new();
    for file in SettingsFile::ALL {
        let known = outcome.as_ref().is_err_and(|faults| faults.about(file).next().is_some());
        if let (false, Some(path)) = (known, &in_use.of(file).path)
            && !locate::is_there(path)
        {
            let message = "is in use and has gone; put it back, or restart the gateway";
            let fault = SettingsFault::general(Some(file), message);
            gone.push(SettingsFault { file: Some(path.clone()), ..fault });
        }
    }
    match outcome {
        outcome if gone.is_empty() => outcome,
        Ok(_) => Err(Faults(gone)),
        Err(Faults(faults)) => Err(Faults([faults, gone].concat())),
    }
}

/// The files that settings are read from.
pub fn files(options: &Options, env: &Environment) -> Vec<(SettingsFile, PathBuf)> {
    let mut unused = Findings::new(env);
    let found = |file| Some((file, locate::locate(file, options, &mut unused)?));
    SettingsFile::ALL.into_iter().filter_map(found).collect()
}

/// What the three files say, before it is put together.
struct LoadedFiles {
    paths: PerFile<Option<PathBuf>>,
    servers: servers::LoadedServers,
    gateway: gateway::LoadedGateway,
    rules: rules::LoadedRules,
    identities: Identities,
    auth: Auth,
}

/// Reads the files one after the other: each is checked against those before it.
fn read(options: &Options, found: &mut Findings<'_>) -> LoadedFiles {
    let mcp_config = locate::locate(SettingsFile::McpConfig, options, found);
    let servers = servers::load(mcp_config.as_deref(), found);

    let gateway_file = locate::locate(SettingsFile::Gateway, options, found);
    let others = Others {
        servers: &servers,
        complete: found.is_sound(SettingsFile::McpConfig) || !servers.entries.is_empty(),
        stray: locate::is_named(SettingsFile::Gateway, options, found.env)
            && !locate::is_named(SettingsFile::McpConfig, options, found.env),
    };
    let mut gateway = gateway::load(gateway_file.as_deref(), others, found);

    let rules_file = locate::locate(SettingsFile::Rules, options, found);
    let rules_exist = rules_file.is_some();
    let names = servers.entries.keys().chain(gateway.servers.entries.keys());
    let known: Vec<&str> = names.map(String::as_str).collect();
    let mut rules = rules::load(rules_file.as_deref(), &known, found);
    if let (false, Some(dir)) = (rules_exist, &options.config_dir) {
        found.warn_of_all(format!(
            "there is no .mcp-gateway-rules.json in {}: every call may use every server",
            dir.display()
        ));
    }
    let identities = identities(options, &mut rules, rules_exist, found);
    rules.fill_up(&gateway, found);

    // Keys name agents, so `auth` of gateway.yaml is checked after the rules.
    let sound = found.is_sound(SettingsFile::Rules);
    let agents = KnownAgents { rules: sound.then_some(&rules.rules), rules_exist };
    found.begin(SettingsFile::Gateway, gateway_file.as_deref());
    let auth = auth::load(std::mem::take(&mut gateway.auth), agents, found);
    let paths = PerFile { mcp_config, rules: rules_file, gateway: gateway_file };
    LoadedFiles { paths, servers, gateway, rules, identities, auth }
}

/// Reads and checks all settings.
///
/// # Errors
/// Every fault there is, each with its place.
pub fn load(options: &Options, env: &Environment) -> Result<Settings, Faults> {
    let mut found = Findings::new(env);
    refuse_what_is_not_built(&mut found);
    let LoadedFiles { paths, servers, gateway, rules, identities, auth } =
        read(options, &mut found);
    let known = servers.entries.keys().chain(gateway.servers.entries.keys()).map(String::as_str);

    // Agents see names and send them back; a value that is also a name is no secret.
    let names: Vec<&str> = rules.rules.agents.keys().map(AgentId::as_str).chain(known).collect();
    let presented = env.get(PRESENTED).map(str::to_owned);
    let secrets = found.secrets.into_iter().chain(presented);
    let secrets = secrets.filter(|value| !names.contains(&value.as_str()));
    let redactor = Redactor::new(secrets.collect::<Vec<_>>());
    if !found.faults.0.is_empty() {
        let mut faults = found.faults.masked(&redactor);
        faults.0.sort_by_key(|fault| fault.about);
        return Err(faults);
    }
    let counts =
        PerFile { mcp_config: servers.specs.len(), rules: 0, gateway: gateway.servers.specs.len() };
    let masked = |warning: &String| redactor.redact(warning).into_owned();
    let sources = PerFile::each(|file| SettingsSource {
        path: paths.of(file).clone(),
        read_at: clock::system(),
        servers: *counts.of(file),
        warnings: found.warnings.of(file).iter().map(masked).collect(),
    });
    let (of_gateway, of_rules) = (paths.gateway.as_deref(), paths.rules.as_deref());
    Ok(Settings {
        sources,
        servers: servers.specs.into_iter().chain(gateway.servers.specs).collect(),
        rules: rules.rules,
        identities,
        auth,
        budgeting: Budgeting {
            namespace: namespace(of_gateway, of_rules, env),
            agents: namespace::of_agents(of_gateway, of_rules, env),
            ..gateway.budgeting
        },
        routing: gateway.routing,
        presented_as: gateway.presented_as,
        logging: gateway.logging,
        audit_log: env.get("GATEWAY_AUDIT_LOG").map(|path| env.path(path)),
        debug: options.debug || env.says_yes("GATEWAY_DEBUG"),
        redactor,
    })
}

impl rules::LoadedRules {
    /// Takes from `gateway.yaml` what the rules leave open, and checks their limits beside its own.
    fn fill_up(&mut self, gateway: &gateway::LoadedGateway, findings: &mut Findings<'_>) {
        self.rules.context = self.rules.context.or(gateway.context);
        self.rules.encoding = self.encoding.or(gateway.encoding).unwrap_or_default();
        let Some(of_all) = gateway.budgeting.limit else { return };
        for (agent, rules) in &self.rules.agents {
            let Some(own) = rules.budget else { continue };
            let comparable = of_all.period.is_none() || of_all.period == own.period;
            if comparable && own.credits > of_all.credits {
                findings.warn_of_all(format!(
                    "agent `{agent}` has a limit of {}, which is never reached: all agents together have {}",
                    own.credits.in_words(),
                    of_all.credits
                ));
            }
        }
    }
}

/// What the contract names and this version cannot do is refused, never passed over in silence.
fn refuse_what_is_not_built(findings: &mut Findings<'_>) {
    let env = findings.env;
    if let Some(transport) = env.get("GATEWAY_TRANSPORT").filter(|value| *value != "stdio") {
        findings.general(format!(
            "GATEWAY_TRANSPORT is `{transport}`; this version serves `stdio` only"
        ));
    }
    for name in ["GATEWAY_HTTP_HOST", "GATEWAY_HTTP_PORT", "GATEWAY_PORT"] {
        if env.get(name).is_some() {
            findings
                .general(format!("{name} is set, but this version serves stdio only; unset it"));
        }
    }
    if let Some(strategy) =
        env.get("GATEWAY_INIT_STRATEGY").filter(|s| !["lazy", "eager"].contains(s))
    {
        findings
            .general(format!("GATEWAY_INIT_STRATEGY is `{strategy}`; it may be `lazy` or `eager`"));
    }
}

fn identities(
    options: &Options,
    rules: &mut rules::LoadedRules,
    rules_exist: bool,
    findings: &mut Findings<'_>,
) -> Identities {
    let default_agent = findings.env.get("GATEWAY_DEFAULT_AGENT").map(AgentId::from);
    if let Some(agent) = &default_agent {
        warn_about_default_agent(agent, options, rules, rules_exist, findings);
    }
    let mode = match &options.act_as {
        Some(agent) if rules.rules.agents.contains_key(agent.as_str()) => {
            IdentityMode::Pinned(AgentId::from(agent.as_str()))
        }
        Some(agent) => {
            let known: Vec<&str> = rules.rules.agents.keys().map(AgentId::as_str).collect();
            findings
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
    rules: &rules::LoadedRules,
    rules_exist: bool,
    findings: &mut Findings<'_>,
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
        findings
            .warn_of_all(format!("GATEWAY_DEFAULT_AGENT is `{agent}` but never used: {reason}"));
    } else if !rules.rules.agents.contains_key(agent) {
        findings.warn_of_all(format!(
            "GATEWAY_DEFAULT_AGENT is `{agent}`, which has no rules: calls without an id will fail"
        ));
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
