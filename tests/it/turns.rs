//! Turns of calls on a server with `maxConcurrency`: in order, and not for calls that were cancelled.

use std::fs;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Setup, scripted, within};

/// The scripted server with one turn at a time, and the file in which it notes calls.
fn one_at_a_time(setup: &str, tools: &[&str]) -> Value {
    let mut server = scripted(&["--tools", &json!(tools).to_string(), "--calls", setup]);
    server["maxConcurrency"] = json!(1);
    server
}

#[test]
fn turns_are_first_come_first_served() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    let names: Vec<String> = (0..40).map(|n| format!("t{n}")).collect();
    let mut tools: Vec<&str> = names.iter().map(String::as_str).collect();
    tools.push("slow");
    let setup = Setup::new(json!({"s": one_at_a_time(calls.to_str().unwrap(), &tools)}), None);
    let mut client = setup.connect();
    client.execute("s", "t0", json!({}));
    fs::write(&calls, "").unwrap();
    let slow = json!({"server": "s", "tool": "slow", "args": {"ms": 1_500}});
    client.begin("execute_tool", slow);
    assert!(within(PATIENCE, || fs::read_to_string(&calls).unwrap().contains("slow")));
    let waiting: Vec<u64> = names
        .iter()
        .map(|name| client.begin("execute_tool", json!({"server": "s", "tool": name})))
        .collect();
    for id in waiting {
        client.response(id);
    }
    let order = fs::read_to_string(&calls).unwrap();
    let order: Vec<&str> = order.lines().skip(1).collect();
    assert_eq!(order, names.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn cancelled_waiting_call_is_never_sent() {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    let server = one_at_a_time(calls.to_str().unwrap(), &["hang", "withdrawn", "echo"]);
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    let count = |name: &str| {
        let calls = fs::read_to_string(&calls).unwrap_or_default();
        calls.lines().filter(|line| *line == name).count()
    };
    for round in 1..=40 {
        let running = client.begin("execute_tool", json!({"server": "s", "tool": "hang"}));
        assert!(within(PATIENCE, || count("hang") == round));
        let waits = json!({"server": "s", "tool": "withdrawn"});
        let waiting: Vec<u64> =
            (0..8).map(|_| client.begin("execute_tool", waits.clone())).collect();
        let cancel = |id: &u64| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        // All at once: the turn comes free as its takers go.
        let all: Vec<String> =
            waiting.iter().chain([&running]).map(|id| cancel(id).to_string()).collect();
        client.send_bytes(format!("{}\n", all.join("\n")).as_bytes());
        // It came last, so no call waits before it.
        client.execute("s", "echo", json!({}));
    }
    assert_eq!(count("withdrawn"), 0, "sent though cancelled");
}
