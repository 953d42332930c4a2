//! The debug tool `get_gateway_status`.

use serde_json::{Map, Value, json};

use super::{Answer, Snapshot, facade, fields::Fields, text_result};
use crate::domain::{refusal::Refusal, settings::Source};

/// How the gateway stands. Not subject to policy: it is offered only under `--debug`.
pub(super) fn status(
    snapshot: &Snapshot,
    arguments: Map<String, Value>,
) -> Result<Answer, Refusal> {
    let mut fields = Fields::new(facade::GET_GATEWAY_STATUS, arguments);
    fields.optional_text("agent_id")?;
    fields.finish()?;
    let settings = &snapshot.settings;
    let sources = &settings.sources;
    let agents: Vec<&str> = settings.rules.agents.keys().map(|agent| agent.as_str()).collect();
    let servers: Vec<&str> = settings.servers.iter().map(|server| server.name.as_str()).collect();
    let status = json!({
        "reload_status": {
            "mcp_config": loaded(&sources.mcp_config),
            "gateway_rules": loaded(&sources.rules),
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
        "config_paths": {"mcp_config": sources.mcp_config.path, "gateway_rules": sources.rules.path},
        "message": "settings are read at start; restart to apply changes",
    });
    Ok(Answer::Result(text_result(&status.to_string())))
}

/// A file that is in use was read once, without a fault.
fn loaded(source: &Source) -> Value {
    let count = u8::from(source.path.is_some());
    let at =
        source.path.as_ref().map(|_| humantime::format_rfc3339_millis(source.read_at).to_string());
    json!({
        "last_attempt": at,
        "last_success": at,
        "last_error": null,
        "attempt_count": count,
        "success_count": count,
        "last_warnings": source.warnings,
    })
}
