//! Settings that load, and that a person most likely did not mean.

use serde_json::{Value, json};

use crate::support::Setup;

/// The warnings that `check` and the start of the gateway give; both give the same.
fn warnings(servers: Value) -> Vec<String> {
    let setup = Setup::new(servers, None);
    let (status, stdout, _) = setup.run(&["check", "--json"]);
    assert_eq!(status, 0, "{stdout}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let warnings: Vec<String> = serde_json::from_value(report["warnings"].clone()).unwrap();
    let (_, _, stderr) = setup.connect().finish();
    for warning in &warnings {
        assert!(stderr.contains(warning.as_str()), "{warning} at the start: {stderr}");
    }
    warnings
}

#[test]
fn private_addresses_cause_a_warning_with_the_fix() {
    let hosts = ["localhost:3000", "127.0.0.1:3000", "[::1]:3000", "192.168.1.7", "mcp.localhost"];
    for host in hosts {
        let url = format!("http://{host}/mcp");
        let [warning] = warnings(json!({"x": { "url": url }})).try_into().unwrap();
        assert!(warning.contains("`mcpServers.x.url`"), "{warning}");
        assert!(warning.contains(r#"add `"allowPrivate": true`"#), "{warning}");
        assert_eq!(warnings(json!({"x": {"url": url, "allowPrivate": true}})), [""; 0]);
    }
    let allowed = json!({"url": "http://localhost:3000/mcp", "allowPrivate": ["127.0.0.0/8"]});
    assert_eq!(warnings(json!({ "x": allowed })), [""; 0]);
    assert_eq!(warnings(json!({"x": {"url": "https://example.com/mcp"}})), [""; 0]);
}

#[test]
fn a_timeout_below_a_second_is_warned_of() {
    for timeout in [json!(60), json!("999"), json!("200ms")] {
        let entry = json!({"command": "true", "timeout": timeout});
        let [warning] = warnings(json!({ "x": entry })).try_into().unwrap();
        assert!(warning.contains("`mcpServers.x.timeout` is only"), "{warning}");
        assert!(warning.contains(r#"milliseconds; write seconds as "60s""#), "{warning}");
    }
    for timeout in [json!(1000), json!("1s"), json!(60_000)] {
        let entry = json!({"command": "true", "timeout": timeout});
        assert_eq!(warnings(json!({ "x": entry })), [""; 0]);
    }
}
