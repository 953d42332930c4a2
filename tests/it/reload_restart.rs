//! What a reload changes at once, what waits for a restart, and how often it is asked for.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup, reload::reading, scripted_with, settings::GATEWAY, text, within,
};

fn setup(gateway: &str) -> Setup {
    let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), None).arg("--debug");
    write(&setup, gateway);
    setup
}

fn write(setup: &Setup, gateway: &str) {
    fs::write(setup.path().join(GATEWAY), gateway).unwrap();
}

#[track_caller]
fn reloaded(client: &mut Client, times: u64) -> Value {
    let mut found = Value::Null;
    let done = within(PATIENCE, || {
        found = reading(client, "gateway");
        found["success_count"] == times
    });
    assert!(done, "{found}");
    found
}

/// The price that an answer says.
fn price(client: &mut Client) -> Value {
    client.execute("s", "echo", json!({}))["_meta"]["tollgate/cost"].clone()
}

#[test]
fn changed_log_level_is_applied_by_a_reload() {
    let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), None);
    write(&setup, "logging: {level: error}");
    let mut client = setup.connect();
    write(&setup, "logging: {level: debug}\ntools: {defaultCost: 7}");
    assert!(within(PATIENCE, || price(&mut client) == 7));
    write(&setup, "logging: {level: debug}\ntools: {defaultCost: 8}\nupstreams: {t: {command: x}}");
    assert!(within(PATIENCE, || price(&mut client) == 8));
    client.execute("t", "echo", json!({}));
    write(&setup, "logging: {level: error}\ntools: {defaultCost: 9}\nupstreams: {u: {command: x}}");
    assert!(within(PATIENCE, || price(&mut client) == 9));
    client.execute("u", "echo", json!({}));
    let (_, _, log) = client.finish();
    assert!(log.contains("DEBUG") && log.contains("server=t"), "{log}");
    assert!(log.contains("logging changed") && !log.contains("server=u"), "{log}");
}

#[test]
fn rust_log_overrides_the_level_across_reloads() {
    let setup = setup("logging: {level: error}").env("RUST_LOG", "tollgate=info");
    let mut client = setup.connect();
    write(&setup, "logging: {level: debug}");
    reloaded(&mut client, 2);
    client.execute("s", "echo", json!({}));
    let (_, _, log) = client.finish();
    assert!(log.contains("settings reloaded") && !log.contains("DEBUG"), "{log}");
}

#[test]
fn empty_rust_log_is_as_unset() {
    for (filter, says) in [("", "settings reloaded"), ("a=b=c", "RUST_LOG has no effect")] {
        let setup = setup("").env("RUST_LOG", filter);
        let mut client = setup.connect();
        write(&setup, "tools: {defaultCost: 7}");
        reloaded(&mut client, 2);
        let (_, _, log) = client.finish();
        assert!(log.contains(says) && log.contains("settings reloaded"), "{log}");
    }
}

#[test]
fn reload_names_what_needs_a_restart() {
    let setup = setup("store: {path: a.db}");
    let mut client = setup.connect();
    assert_eq!(price(&mut client), 1);
    let named = |reading: &Value| {
        let warnings = reading["last_warnings"].to_string();
        warnings.contains("`store.path` has changed, which takes a restart of the gateway")
    };
    write(&setup, "store: {path: b.db}\ntools: {defaultCost: 7}");
    let reading = reloaded(&mut client, 2);
    assert!(named(&reading), "{reading}");
    assert_eq!(price(&mut client), 7);
    // It goes on to be named, until it is taken back.
    write(&setup, "store: {path: b.db}\ntools: {defaultCost: 8}");
    let reading = reloaded(&mut client, 3);
    assert!(named(&reading), "{reading}");
    assert!(setup.path().join("a.db").is_file() && !setup.path().join("b.db").exists());
    write(&setup, "store: {path: a.db}\ntools: {defaultCost: 8}");
    let reading = reloaded(&mut client, 4);
    assert!(!named(&reading), "{reading}");
    let (_, _, log) = client.finish();
    assert!(log.contains("WARN") && log.contains("`store.path` has changed"), "{log}");
}

#[test]
fn accounts_of_a_new_file_wait_for_restart() {
    let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), None).arg("--debug");
    let mut client = setup.connect();
    assert_eq!(price(&mut client), 1);
    for (times, cost) in [(0, 7), (1, 8)] {
        write(&setup, &format!("budget: {{limit: 1}}\ntools: {{defaultCost: {cost}}}"));
        let reading = reloaded(&mut client, times + 1);
        let warnings = reading["last_warnings"].to_string();
        assert!(
            warnings
                .contains("brings accounts of its own, and their `budget.limit`, which takes a"),
            "{reading}"
        );
        assert_eq!(price(&mut client), cost, "no limit is in force yet");
    }
    drop(client);
    let mut client = setup.connect();
    let params = json!({"name": "execute_tool", "arguments": {"server": "s", "tool": "echo"}});
    let refused = client.request("tools/call", params);
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
}

#[test]
fn hangups_are_coalesced() {
    let setup = setup("");
    let mut client = setup.connect();
    let script = "import os, sys, time\nfor i in range(2000):\n    os.kill(int(sys.argv[1]), 1)\n    time.sleep(0.001)";
    let mut sender = Command::new("python3");
    assert!(sender.args(["-c", script, &client.pid().to_string()]).status().unwrap().success());
    let shell = Setup { dir: setup.dir.clone(), args: Vec::new(), env: Vec::new() };
    let found = || {
        let (status, out, err) =
            shell.run(&["audit", "log", "--json", "--limit", "5000", "--event", "reload"]);
        assert_eq!(status, 0, "{err}");
        out.matches("settings reloaded").count()
    };
    assert!(within(PATIENCE, || found() > 1), "the last one is answered as well");
    let before = reading(&mut client, "gateway")["attempt_count"].as_u64().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let after = reading(&mut client, "gateway")["attempt_count"].as_u64().unwrap();
    assert!(after <= before + 1, "nothing is left to answer: {before} {after}");
    // The signals took 2 s and more.
    assert!(found() < 200, "{}", found());
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
}
