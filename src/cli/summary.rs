//! The settings in a few plain lines: printed at the start of `serve` and by `check`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{
    domain::{
        auth::AuthMode,
        budget::Limit,
        identity::IdentityMode,
        settings::{Settings, SettingsSource, Sources},
    },
    gateway::facade,
};

/// At most this many names are listed.
const NAMES: usize = 12;

/// The lines for people, secrets masked.
pub(super) fn lines(settings: &Settings) -> Vec<String> {
    let rows = facts(settings).into_iter().map(|(label, text)| row(label, &text));
    masked(rows.collect(), settings).into_iter().chain(warnings(settings)).collect()
}

/// The same in one line, without the warnings.
pub(super) fn line(settings: &Settings) -> String {
    let facts = facts(settings).into_iter().map(|(label, text)| format!("{label} {text}"));
    masked(vec![facts.collect::<Vec<_>>().join("; ")], settings).concat()
}

/// A line for each warning.
pub(super) fn warnings(settings: &Settings) -> Vec<String> {
    masked(settings.warnings().map(|warning| row("warning", warning)).collect(), settings)
}

fn facts(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("servers", servers(settings)),
        ("agents", agents(settings)),
        ("policy", policy(settings)),
        ("tools", tools(settings).join(", ")),
    ];
    facts.extend(auth(settings).map(|text| ("auth", text)));
    facts.extend(budget(settings).map(|text| ("budget", text)));
    facts
}

fn masked(lines: Vec<String>, settings: &Settings) -> Vec<String> {
    lines.iter().map(|line| settings.redactor.redact(line).into_owned()).collect()
}

/// The same for programs.
pub(super) fn json(settings: &Settings) -> Value {
    let Settings { sources, budgeting, .. } = settings;
    let servers: Vec<&str> = settings.servers.iter().map(|server| server.name.as_str()).collect();
    let agents: Vec<&str> = settings.rules.agents.keys().map(|agent| agent.as_str()).collect();
    json!({
        "mcp_config": sources.mcp_config.path,
        "rules": sources.rules.path,
        "gateway": sources.gateway.path,
        "servers": servers,
        "agents": agents,
        "policy": policy(settings),
        "auth": settings.auth.mode.as_str(),
        "tools": tools(settings),
        "budget": {
            "limit": budgeting.limit.map(|limit| limit.credits),
            "period": budgeting.limit.and_then(|limit| limit.period),
            "mode": budgeting.mode.as_str(),
            "prices": budgeting.tariff.entries.len(),
            "default_cost": budgeting.tariff.default,
        },
        "warnings": settings.warnings().collect::<Vec<_>>(),
    })
}

fn row(label: &str, text: &str) -> String {
    format!("  {label:<8} {text}")
}

fn servers(settings: &Settings) -> String {
    let names: Vec<&str> = settings.servers.iter().map(|server| server.name.as_str()).collect();
    let Sources { mcp_config, gateway, .. } = &settings.sources;
    let from = [mcp_config, gateway].into_iter().filter(|source| source.servers > 0);
    let from: Vec<String> = from.filter_map(|s| Some(path(s)?.display().to_string())).collect();
    match path(mcp_config) {
        _ if !names.is_empty() => {
            format!("{} from {}: {}", names.len(), from.join(" and "), listed(&names))
        }
        Some(path) => format!("none in {}", path.display()),
        None => "none: there is no .mcp.json here; write one, or name one with --mcp-config".into(),
    }
}

/// The credential that calls must show, if any.
fn auth(settings: &Settings) -> Option<String> {
    let mode = &settings.auth.mode;
    let what = match mode {
        AuthMode::None => return None,
        AuthMode::Config(_) => "the token of `auth.token`".to_owned(),
        AuthMode::Header(_) => "a Tollgate token".to_owned(),
        AuthMode::ApiKey(keys) if keys.is_empty() => "an API key".to_owned(),
        AuthMode::ApiKey(keys) => {
            format!("an API key: {} of the settings, and those of the store", keys.len())
        }
    };
    Some(format!("{}: calls must show {what}", mode.as_str()))
}

/// None if no settings mention money.
fn budget(settings: &Settings) -> Option<String> {
    path(&settings.sources.gateway)?;
    let budgeting = &settings.budgeting;
    let limit = match budgeting.limit {
        Some(Limit { credits, period: Some(period) }) => {
            format!("{} every {}, {}", credits.in_words(), period.as_str(), budgeting.mode.as_str())
        }
        Some(Limit { credits, period: None }) => {
            format!("{}, {}", credits.in_words(), budgeting.mode.as_str())
        }
        None => "no limit".to_owned(),
    };
    let default = budgeting.tariff.default;
    Some(match budgeting.tariff.entries.len() {
        0 => format!("{limit}; every call costs {default}"),
        1 => format!("{limit}; 1 price, default {default}"),
        count => format!("{limit}; {count} prices, default {default}"),
    })
}

fn agents(settings: &Settings) -> String {
    let names: Vec<&str> = settings.rules.agents.keys().map(|agent| agent.as_str()).collect();
    match path(&settings.sources.rules) {
        Some(path) if names.is_empty() => {
            format!("none in {}: every call is refused", path.display())
        }
        Some(path) => format!("{} from {}: {}", names.len(), path.display(), listed(&names)),
        None => "one user, all servers: there is no .mcp-gateway-rules.json".into(),
    }
}

fn policy(settings: &Settings) -> String {
    let identities = &settings.identities;
    let missing = match (&identities.mode, &identities.default_agent) {
        (IdentityMode::SingleUser, _) => "every call acts as `default`".to_owned(),
        (IdentityMode::Pinned(agent), _) => format!("pinned to `{agent}`"),
        _ if identities.deny_on_missing_agent => "a call without agent_id is refused".to_owned(),
        (_, Some(agent)) => format!("a call without agent_id acts as `{agent}`"),
        _ => "a call without agent_id acts as `default`".to_owned(),
    };
    format!("{}; {missing}", settings.rules.precedence.as_str())
}

fn tools(settings: &Settings) -> Vec<&'static str> {
    let mut tools = vec![facade::LIST_SERVERS, facade::GET_SERVER_TOOLS, facade::EXECUTE_TOOL];
    tools.extend(settings.debug.then_some(facade::GET_GATEWAY_STATUS));
    tools
}

fn path(source: &SettingsSource) -> Option<&PathBuf> {
    source.path.as_ref()
}

fn listed(names: &[&str]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).copied().collect();
    match names.len().checked_sub(NAMES) {
        Some(more) if more > 0 => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}
