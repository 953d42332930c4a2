//! The server `gateway`, which is built in: its tools as agents see them. They are free of charge, and
//! open to every agent unless its rules deny them by name.

use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::arguments::{DelegateInput, Nothing, RevokeInput, schema_of};
use crate::domain::{
    call::{ServerName, ToolName},
    catalog::{Catalogue, Tool},
};

/// The name of the built-in server. No other server can have it.
pub(super) const SERVER: &str = ServerName::BUILT_IN;

/// Its tools by name, as agents see them.
static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let tools = [
        (
            "budget",
            "What you may still spend: limit, remaining, reserved, spent.",
            schema_of::<Nothing>(),
        ),
        (
            "delegate",
            "Give part of your budget to a subagent. It passes the agent_id of the answer as its own agent_id in every call; it has your rights within scope. What it does not spend comes back when you revoke it or its time is over.",
            schema_of::<DelegateInput>(),
        ),
        (
            "delegations",
            "Your delegations that have not ended: what they were given, and what they have left.",
            schema_of::<Nothing>(),
        ),
        ("ping", "Whether the gateway answers.", schema_of::<Nothing>()),
        (
            "revoke",
            "End a delegation of yours and all below it; what is unspent comes back to you.",
            schema_of::<RevokeInput>(),
        ),
    ];
    let tools = tools.into_iter().filter_map(|(name, description, schema)| {
        let tool = json!({"name": name, "description": description, "inputSchema": schema});
        Tool::parse(tool).ok()
    });
    Arc::new(Catalogue::new(tools))
});

/// The built-in tool of that bare name.
pub(super) fn bare(tool: &ToolName) -> Option<ToolName> {
    CATALOGUE.tool(tool).map(|tool| tool.name().clone())
}

/// The built-in tool that a name with the server's in front means.
pub(super) fn qualified(tool: &ToolName) -> Option<ToolName> {
    let rest = tool.as_str().strip_prefix(SERVER)?;
    rest.strip_prefix("__").or_else(|| rest.strip_prefix('/')).map(ToolName::from)
}

pub(super) fn catalogue() -> Arc<Catalogue> {
    CATALOGUE.clone()
}

/// The names of all built-in tools.
pub(super) fn names() -> impl Iterator<Item = &'static ToolName> {
    CATALOGUE.tools().iter().map(|tool| tool.name())
}

pub(super) fn tool(name: &ToolName) -> Option<&'static Arc<Tool>> {
    CATALOGUE.tool(name)
}

/// The tool that a JSON-RPC method of the gateway's own stands for; the second prefix is what
/// clients of an older gateway know.
pub(crate) fn of_method(method: &str) -> Option<&'static str> {
    let tool = method.strip_prefix("tollgate/").or_else(|| method.strip_prefix("satgate/"))?;
    ["budget", "delegate", "delegations", "revoke"].into_iter().find(|known| *known == tool)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::CATALOGUE;

    #[test]
    fn own_tools_are_shown_as_they_are_read() {
        let schema = |tool: &str| CATALOGUE.tool(&tool.into()).unwrap().input_schema();
        let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
        for (tool, expected) in [
            ("ping", nothing.clone()),
            ("budget", nothing),
            (
                "delegate",
                json!({"type": "object", "properties": {
                    "budget": {"type": "integer", "minimum": 1, "description": "credits"},
                    "scope": {"type": "string", "description": "tools it may call: comma-separated patterns of tool or server/tool"},
                    "label": {"type": "string", "maxLength": 200},
                    "expiresIn": {"type": ["integer", "string"], "description": "seconds, or 30m, 24h"},
                    "agent": {"type": "string", "description": "an agent whose rules narrow it as well"},
                    "depth": {"type": "integer", "minimum": 0, "maximum": 255, "description": "how many levels it may delegate further"},
                    "maxDelegation": {"type": "integer", "minimum": 1, "description": "most credits it may give in one delegation"},
                    "key": {"type": "string", "maxLength": 200, "description": "a name of your choice; asked again with it, the answer is the same delegation, and no more credits go"}},
                    "required": ["budget"], "additionalProperties": false}),
            ),
            (
                "revoke",
                json!({"type": "object", "properties": {
                    "tokenId": {"type": "string", "description": "as delegate answered"},
                    "budgetId": {"type": "string"},
                    "agent_id": {"type": "string", "description": "instead: the agent_id that delegate answered"}},
                    "minProperties": 1, "maxProperties": 1, "additionalProperties": false}),
            ),
        ] {
            // Byte for byte: every word is paid for, and none is there by chance.
            assert_eq!(schema(tool).to_string(), Value::to_string(&expected), "{tool}");
        }
    }
}
