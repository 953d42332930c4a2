//! The records, seen from outside through the built binary: what they tell, what they never hold,
//! and that no one alters them unnoticed.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Setup,
    credits::paid,
    journal::{contents, records, state},
    refusal, scripted, within,
};

fn rules() -> Value {
    let agent = |deny: Value| json!({"allow": {"servers": ["*"]}, "deny": deny});
    let mut poor = agent(json!({}));
    poor["budget"] = json!({"limit": 1});
    let agents = json!({
        "default": agent(json!({"tools": {"s": ["die"]}})),
        "elsewhere": {"allow": {"servers": ["other"]}}, "poor": poor,
    });
    json!({"agents": agents, "defaults": {"explain_denials": true, "deny_on_missing_agent": false}})
}

/// With a server `s` whose tool `strict` is particular, and a server `gone` that never starts.
fn with_faults(gateway: &Value) -> Setup {
    let setup = paid(&[], gateway, Some(&rules()));
    let any = json!({"type": "object"});
    let tools = json!([
        {"name": "echo", "inputSchema": any}, {"name": "die", "inputSchema": any},
        {"name": "strict", "inputSchema": {"type": "object", "required": ["x"]}},
    ]);
    let calls = setup.path().join("calls");
    let server = scripted(&["--tools", &tools.to_string(), "--calls", calls.to_str().unwrap()]);
    let servers = json!({"s": server, "gone": {"command": "/no/such/program"}});
    let servers = json!({ "mcpServers": servers });
    fs::write(setup.path().join(".mcp.json"), servers.to_string()).unwrap();
    setup
}

#[test]
fn every_refusal_is_recorded_with_code_and_rule() {
    let setup = with_faults(&json!({"tools": {"costs": {"strict": 2}}}));
    let mut client = setup.connect();
    let some = "agents.default.allow.servers[0]";
    // The call, then its record: code, rule, agent, server, tool.
    for (asked, code, rule, agent) in [
        (json!(["s", "die", {}]), "DENIED_BY_POLICY", "agents.default.deny.tools.s[0]", "default"),
        (
            json!(["s", "echo", {}, "elsewhere"]),
            "DENIED_BY_POLICY",
            "agents.elsewhere.allow.servers",
            "elsewhere",
        ),
        (json!(["s", "echo", {}, "nobody"]), "INVALID_AGENT_ID", "", "nobody"),
        (json!(["none", "echo", {}]), "SERVER_NOT_FOUND", "", "default"),
        (json!(["s", "none", {}]), "TOOL_NOT_FOUND", some, "default"),
        (json!(["s", "strict", {}]), "INVALID_ARGUMENTS", some, "default"),
        (json!(["gone", "echo", {}]), "SERVER_UNAVAILABLE", some, "default"),
        (
            json!(["s", "strict", {"x": 1}, "poor"]),
            "insufficient_budget",
            "agents.poor.allow.servers[0]",
            "poor",
        ),
    ] {
        let before = records(&setup, &[]).len();
        let mut arguments = json!({"server": asked[0], "tool": asked[1], "args": asked[2]});
        if let Some(agent) = asked.get(3) {
            arguments["agent_id"] = agent.clone();
        }
        let params = json!({"name": "execute_tool", "arguments": arguments});
        let answer = client.request("tools/call", params);
        match answer.get("error") {
            Some(error) => assert_eq!(error["data"]["error"], code, "{answer}"),
            None => assert_eq!(refusal(&answer["result"])["code"], code, "{answer}"),
        }
        // Recorded before it is answered.
        let found = records(&setup, &[]);
        assert_eq!(found.len(), before + 1, "{asked}: {found:#?}");
        let record = found.last().unwrap();
        let what = format!("{asked}: {record:#}");
        assert_eq!(record["event"], "refusal", "{what}");
        assert_eq!(record["decision"], "refused", "{what}");
        assert_eq!(record["code"], code, "{what}");
        assert_eq!(record["agent"], agent, "{what}");
        assert_eq!(record["server"], asked[0], "{what}");
        assert_eq!(record["tool"], asked[1], "{what}");
        assert_eq!(record.get("rule").map_or("", |rule| rule.as_str().unwrap()), rule, "{what}");
    }
    // By the tool's own name, of no server that is known.
    client.request("tools/call", json!({"name": "no_such_tool", "arguments": {}}));
    let last = records(&setup, &["--event", "refusal"]).pop().unwrap();
    assert_eq!(
        (&last["tool"], &last["code"]),
        (&json!("no_such_tool"), &json!("SERVER_NOT_FOUND"))
    );
    assert_eq!(records(&setup, &["--event", "hold"]), Vec::<Value>::new());
}

#[cfg(unix)]
#[test]
fn accepted_and_refused_reloads_are_recorded() {
    let setup = with_faults(&json!({"budget": {"limit": 100}}));
    let client = setup.connect();
    // Commands want settings that are right.
    let calm = setup.path().join("calm");
    fs::create_dir(&calm).unwrap();
    fs::write(calm.join(".mcp.json"), r#"{"mcpServers": {}}"#).unwrap();
    let calm = calm.to_str().unwrap();
    let reloads = || records(&setup, &["--event", "reload", "--config-dir", calm]);
    let rules = setup.path().join(".mcp-gateway-rules.json");
    fs::write(&rules, json!({"agents": {"only": {}}}).to_string()).unwrap();
    assert!(within(PATIENCE, || reloads().len() == 1), "{:#?}", reloads());
    assert_eq!(reloads()[0]["decision"], "allowed");
    fs::write(&rules, "{").unwrap();
    assert!(within(PATIENCE, || reloads().len() == 2), "{:#?}", reloads());
    let refused = reloads().remove(1);
    assert_eq!(refused["decision"], "refused");
    let note = refused["note"].as_str().unwrap();
    assert!(note.contains(".mcp-gateway-rules.json:1"), "{note}");
    drop(client);
}

const ENV_SECRET: &str = "env-S3cr3t\"with\\quotes";
const HEADER_SECRET: &str = "header-S3cr3t-héé";

/// A caller that puts secrets of the settings everywhere it can.
fn indiscreet(full: bool) -> (Setup, String) {
    let arguments = if full { "full" } else { "digest" };
    let setup = with_faults(&json!({"audit": {"arguments": arguments}}));
    let mcp = setup.path().join(".mcp.json");
    let mut servers: Value = serde_json::from_str(&fs::read_to_string(&mcp).unwrap()).unwrap();
    servers["mcpServers"]["s"]["env"] = json!({"KEY": ENV_SECRET});
    servers["mcpServers"]["far"] =
        json!({"url": "https://127.0.0.1:9/mcp", "headers": {"X-Key": HEADER_SECRET}});
    fs::write(&mcp, servers.to_string()).unwrap();
    let log = setup.path().join("audit.jsonl");
    let setup = setup.env("GATEWAY_AUDIT_LOG", log.to_str().unwrap());
    let mut client = setup.connect();
    for secret in [ENV_SECRET, HEADER_SECRET] {
        // One that is cut where names are.
        let long = format!("{}{secret}", "x".repeat(120));
        for name in [secret, &long] {
            for (server, tool, agent) in
                [(name, "echo", "default"), ("s", name, "default"), ("s", "echo", name)]
            {
                let named = json!({"server": server, "tool": tool, "args": {}, "agent_id": agent});
                client.request("tools/call", json!({"name": "execute_tool", "arguments": named}));
            }
            client.request("tools/call", json!({"name": name, "arguments": {}}));
        }
        let args = json!({"a": secret, secret: [secret]});
        for tool in ["echo", "strict"] {
            client.execute("s", tool, args.clone());
        }
    }
    let bytes: Vec<u8> = ["ledger.db", "ledger.db-wal"]
        .iter()
        .flat_map(|name| fs::read(state(&setup).join(name)).unwrap_or_default())
        .collect();
    let (.., stderr) = client.finish();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("echo"), "{log}");
    let all = String::from_utf8_lossy(&bytes).into_owned() + &log + &stderr;
    assert!(all.contains("record_stays"), "the store is among it");
    (setup, all)
}

#[test]
fn repeated_secrets_reach_no_record_and_no_log() {
    for full in [false, true] {
        let (setup, all) = indiscreet(full);
        // Not even the beginning, of those that are cut.
        for secret in ["env-S3c", "header-S3c"] {
            let found = all.find(secret).map(|at| {
                let text = all.get(at.saturating_sub(300)..at + 40);
                text.map_or_else(|| at.to_string(), str::to_owned)
            });
            assert_eq!(found, None, "arguments in full: {full}");
        }
        let holds = records(&setup, &["--event", "hold", "--tool", "echo"]);
        assert_eq!(holds.len(), 2, "{holds:#?}");
        for hold in holds {
            let masked = r#"{"a":"[redacted]","[redacted]":["[redacted]"]}"#;
            assert_eq!(hold.get("args"), full.then(|| json!(masked)).as_ref());
            assert!(hold["args_mac"].as_str().is_some_and(|mac| mac.len() == 32), "{hold}");
        }
    }
}

#[test]
fn equal_arguments_have_equal_digests_and_others_have_not() {
    let setup = with_faults(&json!({}));
    let mut client = setup.connect();
    for args in [json!({"n": 1}), json!({"n": 1}), json!({"n": 2}), json!({"n": "1"})] {
        client.execute("s", "echo", args);
    }
    client.execute("s", "echo", json!({"p": 1, "q": {"p": [{"q": 2, "p": 3}], "r": null}}));
    client.execute("s", "echo", json!({"q": {"r": null, "p": [{"p": 3, "q": 2}]}, "p": 1}));
    let macs: Vec<Value> =
        records(&setup, &["--event", "hold"]).iter().map(|hold| hold["args_mac"].clone()).collect();
    assert_eq!(macs.len(), 6);
    assert_eq!(macs[0], macs[1]);
    assert!(macs[0] != macs[2] && macs[0] != macs[3] && macs[2] != macs[3], "{macs:?}");
    assert_eq!(macs[4], macs[5], "the order of names means nothing");
    // Another installation has another key.
    let other = with_faults(&json!({}));
    other.connect().execute("s", "echo", json!({"n": 1}));
    assert!(records(&other, &["--event", "hold"])[0]["args_mac"] != macs[0]);
}

/// Changes a store as someone does who has the file.
fn tamper(path: &Path, sql: &str) {
    const SCRIPT: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript('DROP TRIGGER record_stays; DROP TRIGGER record_remains;' + sys.argv[2])
db.commit(); db.close()";
    let mut python = Command::new("python3");
    let out = python.args(["-c", SCRIPT, path.to_str().unwrap(), sql]).output().unwrap();
    assert!(out.status.success(), "{sql}: {}", String::from_utf8_lossy(&out.stderr));
}

fn verified(setup: &Setup) -> (i32, Value) {
    let (status, stdout, stderr) = setup.run(&["audit", "verify", "--json"]);
    (status, serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}")))
}

#[test]
fn altered_and_truncated_records_are_detected() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 100}}), None);
    let mut client = setup.connect();
    for n in 0..4 {
        client.execute("s", "echo", json!({ "n": n }));
    }
    client.finish();
    let path = state(&setup).join("ledger.db");
    let (status, whole) = verified(&setup);
    assert_eq!((status, &whole["verdict"]), (0, &json!("ok")));
    let count = whole["records"].as_u64().unwrap();
    assert_eq!(count, 9, "accounts opened, and four calls");
    let untouched = contents(&path);
    // By the hash that it had, so that only the signature can tell.
    let end_at = |seq: u64| {
        format!("UPDATE head SET seq = {seq}, hash = (SELECT hash FROM record WHERE seq = {seq});")
    };
    let cut = |seq: u64| format!("DELETE FROM record WHERE seq > {seq};");
    let swap = "UPDATE record SET seq = 100 WHERE seq = 5; UPDATE record SET seq = 5 WHERE seq = 6;
        UPDATE record SET seq = 6 WHERE seq = 100;";
    let repeat = "UPDATE record SET seq = seq + 1000 WHERE seq > 5;
        INSERT INTO record SELECT 6, line, hash FROM record WHERE seq = 5;
        UPDATE record SET seq = seq - 999 WHERE seq > 1000;";
    let mut cases: Vec<(String, i32, Option<u64>)> = vec![
        ("DELETE FROM record WHERE seq = 5;".into(), 4, Some(5)),
        ("DELETE FROM record WHERE seq = 1;".into(), 4, Some(1)),
        (
            "DELETE FROM record WHERE seq = 5; UPDATE record SET seq = seq - 1 WHERE seq > 5;"
                .into(),
            4,
            Some(5),
        ),
        (swap.into(), 4, Some(5)),
        (repeat.into(), 4, Some(6)),
        ("UPDATE record SET hash = zeroblob(32) WHERE seq = 5;".into(), 4, Some(5)),
        (
            "UPDATE record SET line = CAST(line || char(10) AS TEXT) WHERE seq = 5;".into(),
            4,
            Some(5),
        ),
        ("INSERT INTO record SELECT 10, line, hash FROM record WHERE seq = 9;".into(), 4, Some(10)),
        (cut(8), 5, None),
        (cut(3), 5, None),
        ("DELETE FROM record;".into(), 5, None),
        (cut(7) + &end_at(7), 4, Some(7)),
        (end_at(7), 4, None),
        ("UPDATE head SET hash = zeroblob(32);".into(), 4, Some(9)),
        ("UPDATE head SET mac = zeroblob(32);".into(), 4, Some(9)),
        ("UPDATE head SET chain = 'other';".into(), 4, Some(1)),
        ("DELETE FROM head;".into(), 4, Some(1)),
    ];
    for seq in 1..=count {
        for at in [2, 30, 90] {
            let flip = format!(
                "UPDATE record SET line = substr(line, 1, {at} - 1) || char(unicode(substr(line, {at}, 1)) + 1) || substr(line, {at} + 1) WHERE seq = {seq};"
            );
            cases.push((flip, 4, Some(seq)));
        }
    }
    for (sql, status, first_bad) in cases {
        for name in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = fs::remove_file(state(&setup).join(name));
        }
        fs::write(&path, &untouched).unwrap();
        tamper(&path, &sql);
        let (found, told) = verified(&setup);
        assert_eq!(found, status, "{sql}: {told}");
        if let Some(first_bad) = first_bad {
            assert_eq!(told["first_bad"], first_bad, "{sql}: {told}");
        }
        let (found, text, _) = setup.run(&["audit", "verify"]);
        assert_eq!(found, status);
        let word = if status == 4 { "broken: " } else { "incomplete: " };
        assert!(text.starts_with(word), "{text}");
    }
}

#[test]
fn killed_gateway_leaves_every_record_once_in_shared_log() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 100_000}}), None);
    let log = setup.path().join("audit.jsonl");
    let setup = setup.env("GATEWAY_AUDIT_LOG", log.to_str().unwrap());
    let mut lives = setup.connect();
    for _ in 0..4 {
        let mut killed = setup.connect();
        for n in 0..30 {
            for client in [&mut lives, &mut killed] {
                client.begin(
                    "execute_tool",
                    json!({"server": "s", "tool": "echo", "args": {"n": n}}),
                );
            }
        }
        for id in 2..12_u64 {
            killed.response(id);
        }
        killed.signal("-KILL");
        killed.ended();
    }
    let answered: u64 = 120;
    for id in 2..2 + answered {
        lives.response(id);
    }
    lives.finish();
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<u64> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    let all: Vec<u64> = (1..=lines.len() as u64).collect();
    assert_eq!(places, all, "every record once, in order");
    assert_eq!(lines.len(), records(&setup, &[]).len());
    let out = setup
        .command(&["audit", "verify", "--json", "--file", log.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
}
