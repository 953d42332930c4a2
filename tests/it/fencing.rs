//! Calls that waited too long, or whose credits went meanwhile, are never sent.

use std::{path::PathBuf, time::Duration};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    credits::{paid, reached},
    json_in, within,
};

/// A gateway over one server that takes one call at a time, and writes down which ones it got.
fn one_at_a_time(gateway: &Value, rules: Option<&Value>) -> Setup {
    let setup = paid(&["slow", "echo"], gateway, rules);
    let path = setup.path().join(".mcp.json");
    let mut servers: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    servers["mcpServers"]["s"]["maxConcurrency"] = json!(1);
    std::fs::write(path, servers.to_string()).unwrap();
    setup
}

fn ledger(setup: &Setup) -> PathBuf {
    setup.path().join(".local/state/tollgate/ledger.db")
}

/// The tools of open holds.
fn open(setup: &Setup) -> Vec<String> {
    let read = || {
        let db = Connection::open(ledger(setup))?;
        let mut sql = db.prepare("SELECT tool FROM hold WHERE state = 0 ORDER BY tool")?;
        sql.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()
    };
    read().unwrap_or_default()
}

fn set_deadlines(setup: &Setup, to: i64) {
    let db = Connection::open(ledger(setup)).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    assert!(db.execute("UPDATE hold SET deadline = ?1 WHERE state = 0", [to]).unwrap() > 0);
}

fn begin(client: &mut Client, tool: &str, agent: Option<&Value>, meta: &Value, args: Value) -> u64 {
    let mut arguments = json!({"server": "s", "tool": tool, "args": args});
    if let Some(agent) = agent {
        arguments["agent_id"] = agent.clone();
    }
    client.ask("tools/call", json!({"name": "execute_tool", "arguments": arguments, "_meta": meta}))
}

#[track_caller]
fn proved(setup: &Setup) {
    let (status, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn a_call_whose_hold_was_swept_is_not_sent() {
    let setup = one_at_a_time(&json!({"budget": {"limit": 9}}), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let slow = begin(&mut client, "slow", None, &json!({}), json!({"ms": 4_000}));
    assert!(within(PATIENCE, || open(&setup) == ["slow"] && reached(&setup) == 2));
    let waits = begin(&mut client, "echo", None, &json!({}), json!({}));
    assert!(within(PATIENCE, || open(&setup) == ["echo", "slow"]));
    // As if it were stopped for longer than its holds live.
    client.signal("-STOP");
    set_deadlines(&setup, 0);
    assert_eq!(setup.run(&["budget", "show"]).0, 0);
    assert_eq!(open(&setup), [""; 0], "both are swept");
    client.signal("-CONT");
    client.response(slow);
    let answer = client.response(waits);
    let error = json_in(&answer["result"])["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("not sent"), "{answer}");
    assert_eq!(reached(&setup), 2, "the call was sent all the same");
    // What the sweep charged for it is back; the one in flight stays charged.
    assert!(within(PATIENCE, || {
        let budget = json_in(&client.execute("gateway", "budget", json!({})));
        (&budget["remaining"], &budget["reserved"]) == (&json!(7), &json!(0))
    }));
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "refund"]);
    assert!(out.contains(r#""status":"not_sent""#), "{out}");
    proved(&setup);
}

#[test]
fn waiting_call_is_dropped_when_its_delegation_ends() {
    let setup = one_at_a_time(&json!({"budget": {"limit": 20}}), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let child = client.request("tollgate/delegate", json!({"budget": 5}))["result"].clone();
    let slow = begin(&mut client, "slow", None, &json!({}), json!({"ms": 3_000}));
    assert!(within(PATIENCE, || open(&setup) == ["slow"]));
    let waits = begin(&mut client, "echo", Some(&child["agent_id"]), &json!({}), json!({}));
    assert!(within(PATIENCE, || open(&setup) == ["echo", "slow"]));
    let ended = client.request("tollgate/revoke", json!({"tokenId": child["tokenId"]}));
    assert_eq!(ended["result"]["returned"], 4, "{ended}");
    client.response(slow);
    let answer = client.response(waits);
    assert_eq!(json_in(&answer["result"])["error"]["code"], "AUTH_REQUIRED", "{answer}");
    assert_eq!(reached(&setup), 2);
    let budget = json_in(&client.execute("gateway", "budget", json!({})));
    assert_eq!((&budget["remaining"], &budget["reserved"]), (&json!(18), &json!(0)), "{budget}");
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "void"]);
    assert!(out.contains(r#""status":"not_sent""#), "{out}");
    proved(&setup);
}

#[test]
fn waiting_call_is_dropped_when_its_credential_is_revoked() {
    let setup = one_at_a_time(&json!({"auth": {"mode": "header"}, "budget": {"limit": 20}}), None);
    let mint = || setup.run(&["token", "mint"]).1.trim().to_owned();
    let (mine, theirs) = (json!({"token": mint()}), json!({"token": mint()}));
    let mut client = setup.connect();
    let slow = begin(&mut client, "slow", None, &mine, json!({"ms": 3_000}));
    assert!(within(PATIENCE, || open(&setup) == ["slow"]));
    let waits = begin(&mut client, "echo", None, &theirs, json!({}));
    assert!(within(PATIENCE, || open(&setup) == ["echo", "slow"]));
    let (status, out, err) = setup.run(&["token", "revoke", theirs["token"].as_str().unwrap()]);
    assert_eq!(status, 0, "{out}{err}");
    client.response(slow);
    let answer = client.response(waits);
    assert_eq!(json_in(&answer["result"])["error"]["code"], "AUTH_REQUIRED", "{answer}");
    assert_eq!(reached(&setup), 1);
    assert!(within(PATIENCE, || open(&setup).is_empty()));
    proved(&setup);
}

#[test]
fn command_leaves_holds_of_possibly_suspended_gateways() {
    let setup = one_at_a_time(&json!({"budget": {"limit": 9}}), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let slow = begin(&mut client, "slow", None, &json!({}), json!({"ms": 3_000}));
    assert!(within(PATIENCE, || open(&setup) == ["slow"]));
    let just_now = tollgate::host::clock::now() - Duration::from_secs(15).as_millis() as i64;
    set_deadlines(&setup, just_now);
    for command in [["budget", "show"], ["budget", "prove"]] {
        assert_eq!(setup.run(&command).0, 0);
        assert_eq!(open(&setup), ["slow"], "{command:?} swept what a gateway still uses");
    }
    client.response(slow);
    assert!(within(PATIENCE, || open(&setup).is_empty()));
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "post"]);
    assert!(!out.contains("lost"), "{out}");
    proved(&setup);
}

#[test]
fn an_operator_releases_a_hold_that_is_stuck() {
    let setup = one_at_a_time(&json!({"budget": {"limit": 9}}), None);
    let mut client = setup.connect();
    let slow = begin(&mut client, "slow", None, &json!({}), json!({"ms": 3_000}));
    assert!(within(PATIENCE, || open(&setup) == ["slow"]));
    let db = Connection::open(ledger(&setup)).unwrap();
    let id = "SELECT lower(hex(id)) FROM hold WHERE state = 0";
    let id: String = db.query_row(id, [], |row| row.get(0)).unwrap();
    let (status, out, err) = setup.run(&["budget", "release", &id, "--note", "stuck"]);
    assert_eq!((status, out.trim()), (0, "1 credit went back to root"), "{err}");
    assert_eq!(open(&setup), [""; 0]);
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "void"]);
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&record["hold"], &record["status"]), (&json!(id), &json!("released")), "{out}");
    assert_eq!((&record["note"], &record["tool"]), (&json!("stuck"), &json!("slow")), "{out}");
    client.response(slow);
    let (status, _, err) = setup.run(&["budget", "release", &id]);
    assert!(status == 1 && err.contains("has ended"), "{err}");
    let budget = json_in(&client.execute("gateway", "budget", json!({})));
    assert_eq!((&budget["remaining"], &budget["reserved"]), (&json!(9), &json!(0)), "{budget}");
    proved(&setup);
}
