//! The commands that read accounts and records, over a gateway's own store.

use std::{fs, path::PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Setup, scripted_with, within};

/// A gateway with a budget, that has served: an agent made two calls, and was refused three.
fn served() -> Setup {
    let rules = json!({"agents": {
        "reader": {"allow": {"servers": ["s"]}, "deny": {"tools": {"s": ["drop_*"]}},
            "budget": {"limit": 5, "period": "day"}},
        "writer": {"allow": {"servers": ["s"]}},
    }});
    let setup = Setup::new(json!({"s": scripted_with(&["get", "drop_it"])}), Some(&rules));
    let yaml = "budget:\n  limit: 100\ntools:\n  costs:\n    get: 2\n";
    fs::write(setup.path().join("gateway.yaml"), yaml).unwrap();
    let audit = setup.path().join("audit.jsonl");
    let setup = setup.env("GATEWAY_AUDIT_LOG", audit.to_str().unwrap());
    let mut client = setup.connect();
    let mut call = |tool: &str| {
        let arguments = json!({"server": "s", "tool": tool, "args": {}, "agent_id": "reader"});
        let id = client.begin("execute_tool", arguments);
        client.response(id)
    };
    for tool in ["get", "get", "get", "drop_it", "drop_it"] {
        call(tool);
    }
    let (status, _, stderr) = client.finish();
    assert!(status.success(), "{stderr}");
    setup
}

fn json_of(setup: &Setup, args: &[&str]) -> Value {
    let (code, out, err) = setup.run(&[args, &["--json"]].concat());
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn lines_of(setup: &Setup, args: &[&str]) -> Vec<Value> {
    let (code, out, err) = setup.run(&[&["audit", "log", "--json"], args].concat());
    assert_eq!(code, 0, "{args:?}: {err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn database(setup: &Setup) -> Connection {
    let path: PathBuf = setup.path().join(".local/state/tollgate/ledger.db");
    let db = Connection::open(path).unwrap();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    drop(names);
    for trigger in triggers {
        db.execute_batch(&format!("DROP TRIGGER \"{trigger}\"")).unwrap();
    }
    db
}

#[test]
fn ended_gateways_actions_can_be_read() {
    let setup = served();
    let usage = json_of(&setup, &["usage"]);
    let reader = &usage["usage"][0];
    assert_eq!((&reader["agent"], &reader["calls"]), (&json!("reader"), &json!(2)));
    assert_eq!((&reader["credits"], &reader["refusals"]), (&json!(4), &json!(3)));
    assert_eq!((&reader["errors"], &usage["total"]["calls"]), (&json!(0), &json!(2)));
    assert!(reader["p95_us"].as_u64().is_some_and(|us| us > 0), "{usage}");
    assert!(json_of(&setup, &["usage", "writer"])["usage"].as_array().unwrap().is_empty());
    let by = json_of(&setup, &["usage", "read*", "--by", "tool,day", "--since", "1h"]);
    assert_eq!(by["usage"][1]["tool"], "get");
    assert_eq!(setup.run(&["usage", "--by", "colour"]).0, 2);
    assert_eq!(setup.run(&["usage", "--since", "yesterday"]).0, 2);

    assert_eq!(lines_of(&setup, &["--event", "post", "--agent", "reader"]).len(), 2);
    let refused = lines_of(&setup, &["--decision", "refused", "--tool", "drop_*"]);
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0]["code"], "DENIED_BY_POLICY");
    let last = lines_of(&setup, &["--limit", "2"]);
    let all = lines_of(&setup, &[]);
    assert_eq!(last, all[all.len() - 2..]);
    let places: Vec<u64> = all.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(places.is_sorted() && places.len() >= 8, "{places:?}");
    let (_, out, _) = setup.run(&["audit", "log"]);
    assert!(out.contains("s/get") && out.contains("refusal"), "{out}");

    let stats = json_of(&setup, &["audit", "stats"]);
    assert_eq!((&stats["events"]["post"], &stats["tools"]["s/drop_it"]), (&json!(2), &json!(2)));
    assert_eq!(stats["records"], json!(places.len()));
    let (code, out, _) = setup.run(&["audit", "stats"]);
    assert!(code == 0 && out.contains("calls      2, of which 0 failed"), "{out}");
}

#[test]
fn accounts_show_grants_and_refunds_from_the_start() {
    let rules = json!({"agents": {"reader": {"budget": {"limit": 5, "period": "day"}}}});
    let setup = Setup::new(json!({}), Some(&rules));
    fs::write(setup.path().join("gateway.yaml"), "budget:\n  limit: 100\n").unwrap();
    let shown = json_of(&setup, &["budget", "show"]);
    let names: Vec<&str> =
        shown.as_array().unwrap().iter().map(|a| a["account"].as_str().unwrap()).collect();
    assert_eq!(names, ["agent/reader/day", "root"], "{shown}");
    let (code, out, _) = setup.run(&["budget", "show", "root"]);
    assert!(code == 0 && out.contains("REMAINING") && out.contains("100"), "{out}");
    let (code, _, err) = setup.run(&["budget", "show", "agent/raeder/day"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is `agent/reader/day`"), "{err}");

    let granted = json_of(&setup, &["budget", "grant", "root", "50", "--note", "more"]);
    assert_eq!(granted["remaining"], 150);
    assert_eq!(lines_of(&setup, &["--event", "grant"])[0]["note"], "more");
    assert_eq!(setup.run(&["budget", "grant", "nobody", "50"]).0, 1);
    assert_eq!(setup.run(&["budget", "grant", "root", "0"]).0, 2);
    assert_eq!(setup.run(&["budget", "grant", "root", "9007199254740991"]).0, 1);

    let setup = served();
    let post = &lines_of(&setup, &["--event", "post"])[0];
    let hold = post["hold"].as_str().unwrap();
    let first = |digits: usize| hold.get(..digits).unwrap();
    let refunded = json_of(&setup, &["budget", "refund", first(20), "1", "--note", "sorry"]);
    assert_eq!(
        (&refunded["credits"], &refunded["account"]),
        (&json!(1), &json!("agent/reader/day"))
    );
    let usage = json_of(&setup, &["usage"]);
    assert_eq!(usage["usage"][0]["credits"], json!(3), "{usage}");
    assert_eq!(json_of(&setup, &["budget", "refund", hold])["credits"], json!(1));
    for (wrong, expected) in [
        (hold, "nothing posted"),
        (first(7), "8 to 32"),
        ("not-a-hold", "8 to 32"),
        ("ffffffffff", "no hold begins with"),
    ] {
        let (code, _, err) = setup.run(&["budget", "refund", wrong]);
        assert_eq!(code, 1, "{err}");
        assert!(err.contains(expected), "{wrong}: {err}");
    }
    // Both calls were made within the time that eight digits tell.
    let (code, _, err) = setup.run(&["budget", "refund", first(8)]);
    assert!(code == 1 && err.contains("more than one hold begins with"), "{err}");
    let (code, out, err) = setup.run(&["budget", "prove"]);
    assert!(code == 0 && out.contains("everything adds up"), "{out}{err}");
}

#[test]
fn verification_tells_altered_records_from_missing_ones() {
    let setup = served();
    let check = |code: i32, verdict: &str, first_bad: Option<u64>| {
        let (found, out, err) = setup.run(&["audit", "verify", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        assert_eq!((found, &report["verdict"]), (code, &json!(verdict)), "{report}");
        assert_eq!(report["first_bad"], json!(first_bad), "{report}");
    };
    check(0, "ok", None);
    let db = database(&setup);
    db.execute("UPDATE record SET line = replace(line, 'reader', 'writer') WHERE seq = 3", [])
        .unwrap();
    check(4, "broken", Some(3));
    db.execute("UPDATE record SET line = replace(line, 'writer', 'reader') WHERE seq = 3", [])
        .unwrap();
    check(0, "ok", None);
    db.execute("DELETE FROM record WHERE seq = (SELECT max(seq) FROM record)", []).unwrap();
    check(5, "incomplete", None);
    db.execute("DELETE FROM record WHERE seq = 2", []).unwrap();
    check(4, "broken", Some(2));
    let (code, out, _) = setup.run(&["audit", "verify"]);
    assert!(code == 4 && out.contains("record 2 is missing"), "{out}");
    // What can still be read is shown, even if the end says that there is much more.
    db.execute("UPDATE head SET seq = 9000000000000000", []).unwrap();
    assert!(!lines_of(&setup, &["--event", "post"]).is_empty());
    assert_eq!(setup.run(&["budget", "prove"]).0, 1);
}

#[test]
fn new_store_verifies_and_an_emptied_one_does_not() {
    let setup = Setup::new(json!({"s": scripted_with(&["get"])}), None);
    let verify = |status: i32, expected: &str| {
        let (code, out, err) = setup.run(&["audit", "verify"]);
        assert!(code == status && out.contains(expected), "{code}: {out}{err}");
    };
    verify(0, "holds no record yet");
    setup.connect().execute("s", "get", json!({}));
    verify(0, "records are what they were");
    database(&setup).execute("DELETE FROM record", []).unwrap();
    verify(5, "records end at 0");
}

#[test]
fn audit_log_follows_the_store_and_verifies_alone() {
    let setup = served();
    let audit = setup.path().join("audit.jsonl");
    let (_, kept, _) = setup.run(&["audit", "log", "--json", "--limit", "1000"]);
    assert_eq!(fs::read_to_string(&audit).unwrap(), kept);
    let verify = |code: i32, expected: &str| {
        let (found, out, err) = setup.run(&["audit", "verify", "--file", audit.to_str().unwrap()]);
        assert_eq!(found, code, "{out}{err}");
        assert!(format!("{out}{err}").contains(expected), "{out}{err}");
    };
    verify(0, "records are what they were");
    fs::write(&audit, kept.replacen("drop_it", "drop_at", 1)).unwrap();
    verify(4, "was altered");
    fs::write(&audit, kept.trim_end()).unwrap();
    verify(5, "within a record");
    fs::remove_file(&audit).unwrap();
    verify(1, "No such file");

    // While it serves, the file grows; a path that cannot be written is reported at once.
    let mut client = setup.connect();
    client.call("execute_tool", json!({"server": "s", "tool": "drop_it", "agent_id": "reader"}));
    let written =
        || fs::read_to_string(&audit).is_ok_and(|t| t.len() > kept.len() && t.starts_with(&kept));
    assert!(within(PATIENCE, written), "the file does not follow");
    drop(client);
    let nowhere = setup.env("GATEWAY_AUDIT_LOG", ".mcp.json/audit.jsonl");
    let (code, _, err) = nowhere.run(&["serve"]);
    assert_eq!(code, 2);
    assert!(err.contains("GATEWAY_AUDIT_LOG: "), "{err}");
}

#[test]
fn unusable_store_is_reported() {
    let setup = Setup::new(json!({}), None);
    let yaml = |text: &str| fs::write(setup.path().join("gateway.yaml"), text).unwrap();
    let check = |args: &[&str], expected: &str| {
        let (code, _, err) = setup.run(args);
        assert_eq!(code, 1, "{args:?}: {err}");
        assert!(err.contains(expected), "{args:?}: {err}");
    };
    let all: [&[&str]; 6] = [
        &["usage"],
        &["audit", "log"],
        &["audit", "stats"],
        &["audit", "verify"],
        &["budget", "show"],
        &["budget", "prove"],
    ];
    yaml("budget:\n  backend: memory\n");
    all.iter().for_each(|args| check(args, "where no command can see them; use `sqlite`"));
    let dir = setup.path().to_str().unwrap();
    yaml(&format!("store:\n  path: {dir}\n"));
    all.iter().for_each(|args| check(args, "cannot be used"));
}

#[test]
fn killed_gateways_leave_a_complete_audit_log() {
    const CALL: &str = r#"{"server": "s", "tool": "get", "args": {}}"#;
    let setup = Setup::new(json!({"s": scripted_with(&["get"])}), None);
    let audit = setup.path().join("audit.jsonl");
    let setup = setup.env("GATEWAY_AUDIT_LOG", audit.to_str().unwrap());
    let mut followed = 0;
    for _ in 0..4 {
        let mut clients: Vec<Client> = (0..3).map(|_| setup.connect()).collect();
        for _ in 0..10 {
            let asked: Vec<u64> = clients
                .iter_mut()
                .map(|client| client.begin("execute_tool", serde_json::from_str(CALL).unwrap()))
                .collect();
            for (client, id) in clients.iter_mut().zip(asked) {
                client.response(id);
            }
        }
        // Killed while they write, all but the first at once.
        clients.drain(1..).for_each(|client| client.signal("-KILL"));
        let length = || fs::read(&audit).map_or(0, |text| text.len());
        assert!(within(PATIENCE, || length() > followed), "the file does not follow");
        followed = length();
        clients.iter().for_each(|client| client.signal("-KILL"));
    }
    let (status, _, stderr) = setup.connect().finish();
    assert!(status.success(), "{stderr}");
    let (_, kept, _) = setup.run(&["audit", "log", "--json", "--limit", "1000000"]);
    assert!(kept.lines().count() > 100, "{kept}");
    assert_eq!(fs::read_to_string(&audit).unwrap(), kept);
    assert_eq!(setup.run(&["audit", "verify"]).0, 0);
    assert_eq!(setup.run(&["audit", "verify", "--file", "audit.jsonl"]).0, 0);
    let (code, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(code, 0, "{out}{err}");
}
