//! Calls with progress, and all that arrives before their answers.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::Client;

/// Begins a tool call on server `s` with that progress token.
pub fn begin(client: &mut Client, tool: &str, args: Value, token: &str) -> u64 {
    let arguments = json!({"server": "s", "tool": tool, "args": args});
    let params =
        json!({"name": "execute_tool", "arguments": arguments, "_meta": {"progressToken": token}});
    client.ask("tools/call", params)
}

/// Everything that arrives up to the answer to `id`, and the answer.
pub fn until(client: &mut Client, id: u64) -> (Vec<Value>, Value) {
    let mut before = Vec::new();
    loop {
        let message = client.next(Duration::from_secs(60)).expect("an answer");
        if message["id"] == id && message.get("method").is_none() {
            return (before, message);
        }
        before.push(message);
    }
}
