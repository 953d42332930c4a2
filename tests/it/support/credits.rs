//! What a call cost, and which calls reached the server.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Setup, scripted};

/// A gateway over one scripted server `s` whose calls are written to the file `calls`.
pub fn paid(tools: &[&str], gateway: &Value, rules: Option<&Value>) -> Setup {
    let setup = Setup::new(json!({}), rules).gateway(gateway);
    let calls = setup.path().join("calls");
    let tools = json!(tools).to_string();
    let server = scripted(&["--tools", &tools, "--calls", calls.to_str().unwrap()]);
    let servers = json!({"mcpServers": {"s": server}});
    fs::write(setup.path().join(".mcp.json"), servers.to_string()).unwrap();
    setup
}

/// How many calls reached the server.
pub fn reached(setup: &Setup) -> usize {
    fs::read_to_string(setup.path().join("calls")).unwrap_or_default().lines().count()
}
