//! `gateway.yaml` under a gateway that runs: routes, live prices, the log.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tollgate::{
    config::{self, Faults, Options, Watch},
    domain::settings::{LogLevel, Settings},
};

use crate::support::{
    Setup, json_in, refusal,
    reload::{reading, status},
    scripted_with,
    settings::{GATEWAY, Home, check_prices, limit},
    text, within,
};

/// What the watch of this process reads once the file has changed.
async fn reloaded(
    home: &Home,
    before: &Settings,
    watch: &mut Watch,
    text: &str,
) -> Result<Settings, Faults> {
    fs::write(home.dir.path().join(GATEWAY), text).unwrap();
    let reload = tokio::time::timeout(Duration::from_secs(30), watch.next(&before.sources));
    Ok(config::following(before, reload.await.expect("a change is seen").outcome?))
}

#[tokio::test]
async fn prices_and_limits_reload_but_the_store_stays() {
    let home = Home::of(&[(GATEWAY, "tools: {costs: {x: 3}}\nstore: {path: a.db}\n")]);
    let mut watch = Watch::new(Options::default(), home.env.clone()).unwrap();
    let before = home.load().unwrap();
    let text = "tools: {costs: {x: 5}}\nbudget: {limit: 9}\nstore: {path: a.db}\n";
    let after = reloaded(&home, &before, &mut watch, text).await.unwrap();
    check_prices(&after, "s", &[("x", 5)]);
    assert_eq!(after.budgeting.limit, limit(9));
    let text = "server: {name: n, version: v}\nlogging: {level: warn, json: true}\nbudget: {backend: memory}\nstore: {path: b.db, durability: power}\n";
    let mixed = reloaded(&home, &after, &mut watch, text).await.unwrap();
    let told: Vec<&str> = mixed.warnings().collect();
    for place in [
        "server.name",
        "server.version",
        "logging.json",
        "budget.backend",
        "store.path",
        "store.durability",
    ] {
        let says = format!("gateway.yaml: `{place}` has changed, which takes a restart");
        assert!(told.iter().any(|told| told.contains(&says)), "{told:?}");
    }
    assert_eq!(mixed.budgeting.store, after.budgeting.store);
    assert_eq!((&mixed.presented_as, mixed.logging.json), (&after.presented_as, false));
    assert_eq!((mixed.logging.level, mixed.budgeting.limit), (Some(LogLevel::Warn), None));
    let text = "store: {path: a.db}\ntools: {costs: {x: -5}}\n";
    let faults = reloaded(&home, &after, &mut watch, text).await.unwrap_err().to_string();
    assert!(faults.contains("`tools.costs.x` must be"), "{faults}");
    fs::remove_file(home.dir.path().join(GATEWAY)).unwrap();
    let reload = tokio::time::timeout(Duration::from_secs(30), watch.next(&after.sources));
    let faults = reload.await.unwrap().outcome.unwrap_err().to_string();
    assert!(faults.contains("gateway.yaml: is in use and has gone"), "{faults}");
}

/// Servers `a` and `b`, which tell themselves apart in what `env` answers.
fn two_servers(gateway: &str) -> Setup {
    let server = |name: &str, tools: &[&str]| {
        let mut entry = scripted_with(tools);
        entry["env"] = json!({ "WHO": name });
        entry
    };
    let servers = json!({"a": server("a", &["env", "a_only"]), "b": server("b", &["env"])});
    let setup = Setup::new(servers, None);
    fs::write(setup.path().join(GATEWAY), gateway).unwrap();
    setup
}

#[test]
fn call_without_server_follows_routes_and_default() {
    let who = |result: &Value| json_in(result)["WHO"].as_str().unwrap().to_owned();
    let both = "routing:\n- {tools: [no*, e?v], upstream: b}\n- {tools: [env], upstream: a}\ndefaultUpstream: a\n";
    for (gateway, expected) in
        [(both, "b"), ("defaultUpstream: a", "a"), ("defaultUpstream: b", "b")]
    {
        let mut client = two_servers(gateway).connect();
        let call = json!({"tool": "env"});
        assert_eq!(who(&client.call("execute_tool", call.clone())), expected, "nothing is known");
        client.call("get_server_tools", json!({"server": "*"}));
        assert_eq!(who(&client.call("execute_tool", call)), expected, "all is known");
        assert_eq!(who(&client.call("env", json!({}))), expected, "called by its own name");
        // The one server that has it goes before the default.
        assert_eq!(text(&client.call("execute_tool", json!({"tool": "a_only"}))), "{}");
    }
    let mut client = two_servers("defaultUpstream: b").connect();
    let error = refusal(&client.call("execute_tool", json!({"tool": "nothing"})));
    assert_eq!(error["code"], "TOOL_NOT_FOUND", "{error}");
}

#[test]
fn route_is_no_way_around_the_rules() {
    let setup = two_servers("routing: [{tools: [env], upstream: b}]\ndefaultUpstream: b");
    let rules = json!({"agents": {"default": {"allow": {"servers": ["a"]}}}, "defaults": {"deny_on_missing_agent": false}});
    fs::write(setup.path().join(".mcp-gateway-rules.json"), rules.to_string()).unwrap();
    let mut client = setup.connect();
    let error = refusal(&client.call("execute_tool", json!({"tool": "env"})));
    assert_eq!(error["code"], "DENIED_BY_POLICY", "{error}");
    let error = refusal(&client.call("execute_tool", json!({"tool": "other"})));
    assert_eq!(error["code"], "TOOL_NOT_FOUND", "the only server that it may use: {error}");
    assert!(client.request("tools/call", json!({"name": "env"})).get("error").is_some());
}

#[test]
fn gateway_status_reports_the_file_and_its_changes() {
    let setup = two_servers("server: {name: toll, version: 9.9.9}").arg("--debug");
    let mut client = setup.start();
    let us = client.handshake("2025-11-25")["serverInfo"].clone();
    assert_eq!((&us["name"], &us["version"]), (&json!("toll"), &json!("9.9.9")));
    let path = status(&mut client)["config_paths"]["gateway"].clone();
    assert!(Path::new(path.as_str().unwrap()).ends_with(GATEWAY), "{path}");
    assert_eq!(reading(&mut client, "gateway")["success_count"], 1);
    let write = |text: &str| fs::write(setup.path().join(GATEWAY), text).unwrap();
    let mut failed = |says: &str| {
        within(Duration::from_secs(30), || {
            reading(&mut client, "gateway")["last_error"].to_string().contains(says)
        })
    };
    write("server: {name: toll, version: 9.9.9}\nupstreams: {a: {command: x}}\n");
    assert!(failed("has a name that is taken by"));
    write("server: {name: toll, version: 9.9.9}\nbudget: {limit: 5}\ntools: {defaultCost: 2}\n");
    let mut succeeded = |times: u64| {
        within(Duration::from_secs(30), || {
            reading(&mut client, "gateway")["success_count"] == times
        })
    };
    assert!(succeeded(2));
    // A reload is reported before the next begins.
    write("server: {name: toll, version: 9.9.9}\nbudget: {limit: 6}\ntools: {defaultCost: 2}\n");
    assert!(succeeded(3));
    let (_, _, stderr) = client.finish();
    assert!(
        stderr.contains("settings reloaded (gateway.yaml): prices changed; budget changed"),
        "{stderr}"
    );
}

#[test]
fn json_log_goes_to_stderr_and_hides_secrets() {
    let secret = r#"pa"ss\word-17"#;
    let setup = two_servers(&format!(
        "logging: {{json: true, level: debug}}
upstreams:
  c: {{command: [sh, -c, 'echo \"so $TOKEN it is\" >&2; exit 1'], env: {{TOKEN: '{secret}'}}}}
"
    ));
    let mut client = setup.connect();
    client.execute("c", "x", json!({}));
    client.execute("a", "env", json!({}));
    let (_, _, stderr) = client.finish();
    assert!(stderr.contains("so [redacted] it is"), "{stderr}");
    for line in stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["level"].is_string() && line["fields"]["message"].is_string(), "{line}");
        assert!(!line.to_string().contains("word-17"), "{line}");
    }
}
