//! Limits that are lowered below what agents have taken: the rules come into force all the same.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    credits::{paid, reached},
    json_in, within,
};

const MOST: u64 = (1 << 53) - 1;

fn rules(deny: &Value, budget: &Value) -> Value {
    let allow = json!({"servers": ["*"]});
    let mut dev = json!({"allow": allow, "deny": {"tools": deny}});
    if !budget.is_null() {
        dev["budget"] = budget.clone();
    }
    json!({"agents": {"dev": dev}, "defaults": {"explain_denials": true}})
}

fn put(setup: &Setup, file: &str, value: &Value) {
    let (beside, path) = (setup.path().join("new"), setup.path().join(file));
    fs::write(&beside, value.to_string()).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn call(client: &mut Client) -> Value {
    let arguments = json!({"server": "s", "tool": "echo", "args": {}, "agent_id": "dev"});
    client.request("tools/call", json!({"name": "execute_tool", "arguments": arguments}))
}

fn is_denied(client: &mut Client) -> bool {
    let answer = call(client);
    answer["result"]["isError"] == true
        && json_in(&answer["result"])["error"]["code"] == "DENIED_BY_POLICY"
}

fn budget(client: &mut Client) -> Value {
    client.request("tollgate/budget", json!({"agent_id": "dev"}))["result"].clone()
}

fn delegate(client: &mut Client, budget: u64) {
    let given = client.request("tollgate/delegate", json!({"budget": budget, "agent_id": "dev"}));
    assert_eq!(given["result"]["budget"], budget, "{given}");
}

#[track_caller]
fn proved(setup: &Setup) {
    let (status, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn delegated_credits_block_no_reload_or_start() {
    let open = rules(&json!({}), &Value::Null);
    let setup = paid(&["echo"], &json!({"budget": {"limit": 20}}), Some(&open));
    let debug = Setup { dir: setup.dir.clone(), args: vec!["--debug".into()], env: Vec::new() };
    let mut client = debug.connect();
    delegate(&mut client, 15);
    // In this order: the limit that cannot be lowered is asked for first.
    put(&setup, "gateway.yaml", &json!({"budget": {"limit": 5}, "tools": {"defaultCost": 2}}));
    put(&setup, ".mcp-gateway-rules.json", &rules(&json!({"s": ["echo"]}), &Value::Null));
    assert!(within(PATIENCE, || is_denied(&mut client)), "the rules are not in force");
    assert_eq!(budget(&mut client)["limit"], 20, "the old limit stays");
    let status = json_in(&client.call("get_gateway_status", json!({"agent_id": "dev"})));
    let warnings = status["reload_status"]["gateway"]["last_warnings"].to_string();
    assert!(warnings.contains("cannot be 5"), "{status}");
    client.close_stdin();
    let (_, _, log) = client.ended();
    assert!(log.contains("cannot be 5") && log.contains("root"), "{log}");
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "reload"]);
    assert!(out.contains("cannot be 5") && !out.contains("refused"), "{out}");

    // Some calls may have been made before the rules changed.
    let made = reached(&setup);
    let mut client = debug.connect();
    assert!(is_denied(&mut client));
    let status = json_in(&client.call("get_gateway_status", json!({"agent_id": "dev"})));
    let warnings = status["reload_status"]["gateway"]["last_warnings"].to_string();
    assert!(warnings.contains("cannot be 5"), "{status}");
    client.close_stdin();
    let (_, _, log) = client.ended();
    assert!(log.contains("cannot be 5"), "{log}");
    assert_eq!(reached(&setup), made);
    proved(&setup);
}

#[test]
fn a_ceiling_is_lowered_below_what_is_taken() {
    for period in [Value::Null, json!("day")] {
        let limited = |limit: u64| match period.is_null() {
            true => json!({"limit": limit}),
            false => json!({"limit": limit, "period": period}),
        };
        let settings = json!({"budget": {"limit": 100}});
        let setup = paid(&["echo"], &settings, Some(&rules(&json!({}), &limited(20))));
        let mut client = setup.connect();
        delegate(&mut client, 15);
        assert_eq!(call(&mut client)["result"]["_meta"]["tollgate/remaining"], 4);
        put(&setup, ".mcp-gateway-rules.json", &rules(&json!({}), &limited(5)));
        assert!(
            within(PATIENCE, || budget(&mut client)["limit"] == 5),
            "the limit is not in force"
        );
        assert_eq!(budget(&mut client)["remaining"], 0);
        assert_eq!(call(&mut client)["error"]["data"]["error"], "budget_exhausted");
        client.close_stdin();
        let (_, _, log) = client.ended();
        assert!(!log.contains("cannot be"), "{log}");
        let mut client = setup.connect();
        assert_eq!(budget(&mut client)["limit"], 5);
        assert_eq!(reached(&setup), 1);
        proved(&setup);
    }
}

#[test]
fn a_limit_that_cannot_be_counted_ends_no_account() {
    let rules = rules(&json!({}), &Value::Null);
    let setup = paid(&["echo"], &json!({"budget": {"limit": 20}}), Some(&rules));
    let mut client = setup.connect();
    call(&mut client);
    let grant = (MOST - 20).to_string();
    let (status, out, err) = setup.run(&["budget", "grant", "root", &grant]);
    assert_eq!(status, 0, "{out}{err}");
    put(&setup, "gateway.yaml", &json!({"budget": {"limit": 30}, "tools": {"defaultCost": 3}}));
    let mut cost = || call(&mut client)["result"]["_meta"]["tollgate/cost"].clone();
    assert!(within(PATIENCE, || cost() == 3), "the prices are not in force");
    client.close_stdin();
    let (_, _, log) = client.ended();
    assert!(log.contains("cannot be 30"), "{log}");
    let mut client = setup.connect();
    assert_eq!(call(&mut client)["result"]["_meta"]["tollgate/cost"], 3);
    proved(&setup);
}
