//! The three tools as clients see them: hand-written JSON, the same bytes for every caller on every
//! connection. Every word here is paid for by every agent in every session.

use serde_json::Value;

/// Lists the servers that the caller may use.
pub const LIST_SERVERS: &str = "list_servers";
/// Lists the tools of a server that the caller may use.
pub const GET_SERVER_TOOLS: &str = "get_server_tools";
/// Calls a tool of a server.
pub const EXECUTE_TOOL: &str = "execute_tool";
/// Tells how the gateway stands; only with `--debug`.
pub const GET_GATEWAY_STATUS: &str = "get_gateway_status";

/// Told to the client's model in the handshake.
pub const INSTRUCTIONS: &str = "A gateway to several MCP servers. Call list_servers, then get_server_tools for the server you need (with query, names or pattern; server * searches all), then execute_tool. If you were given an agent name, pass it as agent_id in every call.";

/// The elements of the `tools` array, between its brackets.
const TOOLS: &str = concat!(
    r#"{"name":"list_servers","description":"List the MCP servers you may use. Start here.","#,
    r#""inputSchema":{"type":"object","properties":{"#,
    r#""agent_id":{"type":"string","description":"your agent name, if you have one"},"#,
    r#""include_metadata":{"type":"boolean"}}},"#,
    r#""_meta":{"anthropic/alwaysLoad":true}},"#,
    r#"{"name":"get_server_tools","description":"List a server's tools as name(required: type, optional?: type = default) — purpose. Shown by name only? Ask again with names.","#,
    r#""inputSchema":{"type":"object","properties":{"#,
    r#""server":{"type":"string","description":"* searches all"},"#,
    r#""agent_id":{"type":"string"},"#,
    r#""query":{"type":"string","description":"task keywords and synonyms"},"#,
    r#""names":{"type":"string","description":"comma-separated; full detail"},"#,
    r#""pattern":{"type":"string","description":"e.g. get_*"},"#,
    r#""detail":{"type":"string","enum":["auto","names","summary","signature","full"]},"#,
    r#""max_schema_tokens":{"type":"integer","description":"default 1000"}},"required":["server"]},"#,
    r#""_meta":{"anthropic/alwaysLoad":true}},"#,
    r#"{"name":"execute_tool","description":"Call a tool. Invalid args return its signature; nothing runs.","#,
    r#""inputSchema":{"type":"object","properties":{"server":{"type":"string"},"tool":{"type":"string"},"#,
    r#""args":{"type":"object","description":"per signature"},"#,
    r#""agent_id":{"type":"string"},"timeout_ms":{"type":"integer"}},"required":["server","tool"]},"#,
    r#""_meta":{"anthropic/alwaysLoad":true}}"#,
);

const DEBUG_TOOL: &str = r#"{"name":"get_gateway_status","description":"How the gateway stands: settings, agents, servers.","inputSchema":{"type":"object","properties":{"agent_id":{"type":"string"}}}}"#;

/// The `tools` array as text.
pub fn tools_json(debug: bool) -> String {
    if debug { format!("[{TOOLS},{DEBUG_TOOL}]") } else { format!("[{TOOLS}]") }
}

/// The `tools` array. Objects keep their order, so it is sent as the bytes of [`tools_json`].
pub(crate) fn tools(debug: bool) -> Value {
    serde_json::from_str(&tools_json(debug)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{INSTRUCTIONS, tools, tools_json};
    use crate::domain::tokens;

    #[test]
    fn facade_is_sent_verbatim_within_its_token_budget() {
        for debug in [false, true] {
            assert_eq!(tools(debug).to_string(), tools_json(debug));
        }
        assert_eq!(tools(false).as_array().unwrap().len(), 3);
        assert_eq!(tools(true).as_array().unwrap().len(), 4);
        assert!(tokens::count(&tools_json(false)) <= 350);
        assert!(tokens::count(INSTRUCTIONS) <= 120);
    }
}
