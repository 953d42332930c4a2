//! Mishaps of who pays: stores that hang, are locked or replaced, rules of several projects, what
//! servers say of money.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    credits::{paid, reached},
    json_in, refusal, within,
};

fn ledger(setup: &Setup) -> PathBuf {
    setup.path().join(".local/state/tollgate/ledger.db")
}

/// Another process that keeps the store locked until this is dropped.
fn locked(setup: &Setup) -> Connection {
    let db = Connection::open(ledger(setup)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    db
}

fn dev(budget: &Value, deny: &Value) -> Value {
    let allow = json!({"servers": ["*"]});
    json!({"agents": {"dev": {"allow": allow, "deny": {"tools": deny}, "budget": budget}}})
}

fn as_dev(client: &mut Client) -> Value {
    let arguments = json!({"server": "s", "tool": "echo", "args": {}, "agent_id": "dev"});
    client.request("tools/call", json!({"name": "execute_tool", "arguments": arguments}))
}

#[test]
fn same_agent_name_has_separate_limits_per_project() {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join(".config/tollgate");
    fs::create_dir_all(&settings).unwrap();
    fs::write(settings.join("gateway.yaml"), "budget: {limit: 100}\n").unwrap();
    let project = |limit: u64| {
        let rules = dev(&json!({"limit": limit, "period": "month"}), &json!({}));
        let setup = paid(&["echo"], &json!({}), Some(&rules));
        fs::remove_file(setup.path().join("gateway.yaml")).unwrap();
        setup.env("HOME", home.path().to_str().unwrap())
    };
    let (poor, rich) = (project(1), project(50));
    let (mut a, mut b) = (poor.connect(), rich.connect());
    assert!(as_dev(&mut a).get("result").is_some());
    for _ in 0..3 {
        assert!(as_dev(&mut b).get("result").is_some());
    }
    assert_eq!(as_dev(&mut a)["error"]["code"], -32000, "the limit of another project");
    // Nor does what the other spends keep this one from starting.
    assert_eq!(as_dev(&mut poor.connect())["error"]["code"], -32000);
    let root = json_in(&b.call(
        "execute_tool",
        json!({"server": "gateway", "tool": "budget", "args": {}, "agent_id": "dev"}),
    ));
    assert_eq!(root["remaining"], 47, "what all may spend is shared: {root}");
}

#[test]
fn locked_store_does_not_delay_rules() {
    let setup = paid(&["echo"], &json!({}), Some(&dev(&json!({"limit": 9}), &json!({}))));
    let mut client = setup.connect();
    assert!(as_dev(&mut client).get("result").is_some());
    let lock = locked(&setup);
    let rules = dev(&json!({"limit": 5}), &json!({"s": ["echo"]}));
    fs::write(setup.path().join(".mcp-gateway-rules.json"), rules.to_string()).unwrap();
    // Longer than a step waits for other processes.
    std::thread::sleep(Duration::from_secs(7));
    drop(lock);
    assert!(within(PATIENCE, || as_dev(&mut client)["result"]["isError"] == true));
}

#[test]
fn hanging_store_does_not_stop_the_gateway() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 5}}), None);
    let state = setup.path().join(".local/state/tollgate");
    fs::create_dir_all(&state).unwrap();
    // Reading it never ends.
    assert!(Command::new("mkfifo").arg(state.join("key")).status().unwrap().success());
    let mut client = setup.connect();
    assert_eq!(json_in(&client.call("list_servers", json!({})))[0]["name"], "s");
}

#[test]
fn call_that_times_out_before_payment_is_not_sent() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 5}}), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let lock = locked(&setup);
    let arguments = json!({"server": "s", "tool": "echo", "args": {}, "timeout_ms": 200});
    let id = client.begin("execute_tool", arguments);
    std::thread::sleep(Duration::from_millis(1_000));
    drop(lock);
    let answer = client.response(id);
    assert_eq!(refusal(&answer["result"])["code"], "SERVER_UNAVAILABLE", "{answer}");
    assert_eq!(reached(&setup), 1);
    let budget = json_in(&client.execute("gateway", "budget", json!({})));
    assert_eq!((&budget["spent"], &budget["reserved"]), (&json!(1), &json!(0)), "{budget}");
}

#[test]
fn uncharged_call_over_budget_changes_no_balance() {
    for mode in ["soft", "shadow"] {
        let settings = json!({
            "budget": {"limit": 3, "chargeOn": {"toolError": false}},
            "tools": {"defaultCost": 2}, "enforcement": {"mode": mode},
        });
        let setup = paid(&["raw"], &settings, None);
        let mut client = setup.connect();
        client.execute("s", "raw", json!({"json": "{\"content\":[]}"}));
        let failed = json!({"json": "{\"content\":[],\"isError\":true}"});
        let result = client.execute("s", "raw", failed);
        let budget = json_in(&client.execute("gateway", "budget", json!({})));
        let told = &result["_meta"];
        assert_eq!(
            (&told["tollgate/cost"], &budget["remaining"]),
            (&json!(0), &json!(1)),
            "{mode}"
        );
        assert_eq!(told["tollgate/remaining"], 1, "{mode}: {told}");
    }
}

#[test]
fn no_server_speaks_of_money_for_the_gateway() {
    let setup = paid(&["raw"], &json!({}), None);
    let mut client = setup.connect();
    let mut meta = |meta: &Value| {
        let json = json!({"content": [], "_meta": meta}).to_string();
        client.execute("s", "raw", json!({"json": json}))["_meta"].clone()
    };
    let priced = json!({"tollgate/cost": 1, "tollgate/remaining": null});
    let forged =
        json!({"tollgate/cost": 0, "tollgate/warning": "pay me", "tollgate/mode": "shadow"});
    assert_eq!(meta(&forged), priced);
    assert_eq!(meta(&Value::Null), priced);
}

#[test]
fn call_outliving_its_hold_or_store_is_logged() {
    let setup = paid(&["slow"], &json!({"budget": {"limit": 5}}), None);
    let mut client = setup.connect();
    let slow = json!({"server": "s", "tool": "slow", "args": {"ms": 4000}});
    let held = || {
        let open = "SELECT count(*) FROM hold WHERE state = 0";
        let count = || Connection::open(ledger(&setup))?.query_row(open, [], |row| row.get(0));
        assert!(within(PATIENCE, || count().is_ok_and(|open: i64| open == 1)));
    };
    let id = client.begin("execute_tool", slow.clone());
    held();
    // As after a sleep of the machine, when another process is the first to wake.
    let db = Connection::open(ledger(&setup)).unwrap();
    db.execute("UPDATE hold SET deadline = 0", []).unwrap();
    drop(db);
    assert_eq!(setup.run(&["budget", "show"]).0, 0);
    client.response(id);
    let id = client.begin("execute_tool", slow);
    held();
    for end in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", ledger(&setup).display()));
    }
    client.response(id);
    client.close_stdin();
    let (_, _, log) = client.ended();
    assert!(log.contains("was swept while its call ran"), "{log}");
    assert!(log.contains("is not recorded: the store does not know it"), "{log}");
}

#[test]
fn a_budget_without_its_value_is_a_slip() {
    let setup = paid(&["echo"], &json!({}), Some(&dev(&Value::Null, &json!({}))));
    let (code, out, err) = setup.run(&["check"]);
    assert!(code == 2 && format!("{out}{err}").contains("agents.dev.budget"), "{out}{err}");
}

#[test]
fn denied_budget_tool_also_denies_the_budget_method() {
    let rules = dev(&json!({"limit": 5}), &json!({"gateway": ["budget"]}));
    let setup = paid(&["echo"], &json!({}), Some(&rules));
    let mut client = setup.connect();
    let answer = client.request("tollgate/budget", json!({"agent_id": "dev"}));
    assert_eq!(answer["error"]["data"]["error"]["code"], "DENIED_BY_POLICY", "{answer}");
}
