//! The debug tool `get_gateway_status`.

use std::time::SystemTime;

use humantime::format_rfc3339_millis;
use serde_json::{Value, json};

use super::{facade, fields::Fields, result::Answer};
use crate::domain::{
    json::RawJson,
    readings::{Reading, Readings},
    refusal::Refusal,
    settings::Settings,
};

/// How the gateway stands. Not subject to policy: it is offered only under `--debug`.
pub(super) fn status(
    settings: &Settings,
    readings: &Readings,
    arguments: &RawJson,
) -> Result<Answer, Refusal> {
    let mut fields = Fields::new(facade::GET_GATEWAY_STATUS, arguments)?;
    fields.optional_text("agent_id")?;
    fields.finish()?;
    let sources = &settings.sources;
    let agents: Vec<&str> = settings.rules.agents.keys().map(|agent| agent.as_str()).collect();
    let servers: Vec<&str> = settings.servers.iter().map(|server| server.name.as_str()).collect();
    let status = json!({
        "reload_status": {
            "mcp_config": history(&readings.mcp_config),
            "gateway_rules": history(&readings.rules),
            "gateway": history(&readings.gateway),
        },
        "policy_state": {
            "total_agents": agents.len(),
            "agent_ids": agents,
            "defaults": {
                "deny_on_missing_agent": settings.identities.deny_on_missing_agent,
                "precedence": settings.rules.precedence.as_str(),
                "explain_denials": settings.rules.explain_denials,
            },
        },
        "available_servers": servers,
        "config_paths": {"mcp_config": sources.mcp_config.path, "gateway_rules": sources.rules.path, "gateway": sources.gateway.path},
        "message": "settings are live: these files are read again when they change, and a change that has a fault changes nothing",
    });
    Ok(Answer::json(status))
}

fn history(reading: &Reading) -> Value {
    let time = |at: Option<SystemTime>| at.map(|at| format_rfc3339_millis(at).to_string());
    json!({
        "last_attempt": time(reading.last_attempt),
        "last_success": time(reading.last_success),
        "last_error": reading.last_error,
        "attempt_count": reading.attempts,
        "success_count": reading.successes,
        "last_warnings": reading.last_warnings,
    })
}
