//! Tools that want arguments repeated as HTTP headers (`x-mcp-header`), which rmcp's worker does.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use rmcp::model::{ListToolsResult, RequestId, Tool};
use serde_json::Value;

use crate::host::mutex::Mutex;

/// Lists of tools that wait until the worker has judged the headers that they name.
#[derive(Debug, Default)]
pub(super) struct Judged(Mutex<HashMap<RequestId, Value>>);

impl Judged {
    pub(super) fn put(&self, id: RequestId, list: Value) {
        self.0.lock().entry(id).or_insert(list);
    }

    pub(super) fn take(&self, id: &RequestId) -> Option<Value> {
        self.0.lock().remove(id)
    }
}

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

/// A list without the tools that name HTTP headers wrongly, which rmcp's worker took out of `left`:
/// they may not be called.
pub(super) fn without_rejected(mut list: Value, left: &ListToolsResult) -> Value {
    let left: HashSet<&str> = left.tools.iter().map(|tool| tool.name.as_ref()).collect();
    if let Some(Value::Array(tools)) = list.get_mut("tools") {
        tools.retain(|tool| {
            !names_headers(tool)
                || tool.get("name").and_then(Value::as_str).is_some_and(|name| left.contains(name))
        });
    }
    list
}

/// Whether a tool wants arguments repeated as HTTP headers (`x-mcp-header`).
fn names_headers(tool: &Value) -> bool {
    match tool {
        Value::Object(members) => {
            members.contains_key("x-mcp-header") || members.values().any(names_headers)
        }
        Value::Array(items) => items.iter().any(names_headers),
        _ => false,
    }
}
