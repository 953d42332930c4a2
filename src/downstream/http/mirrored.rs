//! Tools that want arguments repeated as HTTP headers (`x-mcp-header`), which rmcp's worker does.

use std::sync::Arc;

use rmcp::model::{ListToolsResult, Tool};
use serde_json::Value;

/// The tools that name HTTP headers for their arguments, as rmcp's type; None if there are none.
pub(super) fn header_tools(list: &Value) -> Option<ListToolsResult> {
    let tools = list.get("tools")?.as_array()?;
    let tools: Vec<Tool> =
        tools.iter().filter(|tool| names_headers(tool)).filter_map(typed).collect();
    (!tools.is_empty()).then(|| ListToolsResult::with_all_items(tools))
}

fn typed(tool: &Value) -> Option<Tool> {
    let name = tool.get("name")?.as_str()?.to_owned();
    let schema = tool.get("inputSchema")?.as_object()?.clone();
    Some(Tool::new(name, "", Arc::new(schema)))
}

/// Whether a tool wants arguments repeated as HTTP headers (`x-mcp-header`).
pub(super) fn names_headers(tool: &Value) -> bool {
    match tool {
        Value::Object(members) => {
            members.contains_key("x-mcp-header") || members.values().any(names_headers)
        }
        Value::Array(items) => items.iter().any(names_headers),
        _ => false,
    }
}
