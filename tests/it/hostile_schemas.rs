//! Schemas that are written to make the gateway stand still: whatever they are, others are answered,
//! memory stays bounded, and the call goes on.

use std::{fs, time::Duration};

use serde_json::{Map, Value, json};

use crate::support::{Client, Setup, refusal, resident_mib, scripted, text};

/// More than a gateway needs, and less than any of these schemas took before.
const MOST_MIB: u64 = 350;

/// A chain of definitions, each of which applies the next twice.
fn doubled(levels: usize, leaf: &Value, how: &str) -> Value {
    let definition = |level: usize| match level {
        0 => leaf.clone(),
        _ => {
            let next = json!({"$ref": format!("#/$defs/d{}", level - 1)});
            json!({how: [next, next]})
        }
    };
    let all: Map<_, _> = (0..=levels).map(|n| (format!("d{n}"), definition(n))).collect();
    json!({"type": "object", "allOf": [{"$ref": format!("#/$defs/d{levels}")}], "$defs": all})
}

/// The number of parameters, each with a schema of its own.
fn parameters(count: usize, each: impl Fn(usize) -> Value) -> Value {
    let all: Map<_, _> = (0..count).map(|n| (format!("p{n}"), each(n))).collect();
    json!({"type": "object", "properties": all})
}

/// Schemas and arguments that cost seconds and gigabytes, or never end.
fn attacks() -> Vec<(&'static str, Value, Value)> {
    let never = json!({"required": ["never"]});
    let within = |next: &str| json!({"properties": {"a": {"$ref": next}}});
    let deep = (0..60).fold(json!({}), |value, _| json!({"a": value}));
    vec![
        ("all_of", doubled(40, &json!({}), "allOf"), json!({})),
        ("any_of", doubled(24, &never, "anyOf"), json!({})),
        ("one_of", doubled(24, &never, "oneOf"), json!({})),
        ("failing_leaf", doubled(30, &never, "allOf"), json!({})),
        ("within", json!({"type": "object", "allOf": [within("#"), within("#")]}), deep),
        (
            "sixty_patterns",
            parameters(60, |n| json!({"pattern": format!("^({n}(a{{1,99}}){{1,99}}){{1,9}}$")})),
            json!({"p0": "a".repeat(5_000)}),
        ),
        (
            "two_thousand_patterns",
            parameters(2_000, |n| json!({"pattern": format!("^{n}([a-z0-9]{{1,60}}.){{1,60}}$")})),
            json!({}),
        ),
        (
            "pattern_of_each_item",
            json!({"type": "object", "properties": {"a": {"items": {"pattern": "^(a|b)*a(a|b){999}$"}}}}),
            json!({"a": vec!["ab".repeat(500); 1_000]}),
        ),
        ("chain", doubled(20_000, &json!({}), "allOf"), json!({})),
    ]
}

/// A gateway with a server that offers these schemas, and one that behaves.
fn served(attacks: &[(&str, Value, Value)]) -> Setup {
    let setup = Setup::new(json!({}), None);
    let plain = [("plain", json!({"type": "object"}), json!({}))];
    let tools: Vec<Value> = attacks
        .iter()
        .chain(&plain)
        .map(|(name, schema, _)| json!({"name": name, "inputSchema": schema}))
        .collect();
    let file = setup.path().join("tools.json");
    fs::write(&file, Value::from(tools).to_string()).unwrap();
    let hostile = scripted(&["--tools-file", file.to_str().unwrap()]);
    let servers = json!({"mcpServers": {"hostile": hostile, "ok": scripted(&[])}});
    fs::write(setup.path().join(".mcp.json"), servers.to_string()).unwrap();
    setup
}

/// What records say of the calls that were made.
fn holds(setup: &Setup) -> Vec<Value> {
    let args = ["audit", "log", "--json", "--limit", "1000", "--event", "hold"];
    let (status, out, err) = setup.run(&args);
    assert_eq!(status, 0, "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn peak_mib(client: &Client) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", client.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

#[test]
fn hostile_schemas_hold_up_nobody_and_stay_unchecked() {
    let attacks = attacks();
    let setup = served(&attacks);
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("ok", "echo", json!({}))), "{}");
    for round in 0..2 {
        for (tool, _, args) in &attacks {
            let arguments = json!({"server": "hostile", "tool": tool, "args": args});
            let attack = client.begin("execute_tool", arguments);
            assert!(client.request("ping", json!({})).get("result").is_some());
            assert_eq!(
                text(&client.execute("ok", "echo", json!({"r": round}))),
                format!("{{\"r\": {round}}}")
            );
            let result = client.response(attack)["result"].clone();
            assert_eq!(serde_json::from_str::<Value>(text(&result)).unwrap(), *args, "{tool}");
        }
    }
    let peak = peak_mib(&client);
    assert!(peak < MOST_MIB, "{peak} MiB at most, {} now", resident_mib(client.pid()));
    let (status, took, log) = client.finish();
    assert!(status.success() && took < Duration::from_secs(5), "{took:?}");
    let records = holds(&setup);
    for (tool, ..) in &attacks {
        let of_tool: Vec<&Value> = records.iter().filter(|one| one["tool"] == *tool).collect();
        assert_eq!(of_tool.len(), 2, "{tool}");
        let noted = |one: &Value| one["note"].as_str().is_some_and(|n| n.contains("not checked"));
        assert!(of_tool.into_iter().all(noted), "{tool}: {records:?}");
        let lines = log.lines().filter(|line| line.contains("not checked") && line.contains(tool));
        assert_eq!(lines.count(), 1, "{tool}: {log}");
    }
}

#[test]
fn signal_ends_the_gateway_during_a_hostile_check() {
    let setup = served(&attacks());
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("hostile", "plain", json!({}))), "{}");
    client.begin("execute_tool", json!({"server": "hostile", "tool": "all_of", "args": {}}));
    std::thread::sleep(Duration::from_millis(300));
    client.signal("-TERM");
    let (status, took, _) = client.ended();
    assert!(status.success() && took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn checks_within_the_budget_still_refuse() {
    let levels = doubled(8, &json!({"required": ["never"]}), "allOf");
    let tree =
        json!({"type": "object", "properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}});
    let pattern = parameters(50, |n| json!({"pattern": format!("^{n}-[a-zA-Z0-9_-]{{1,64}}$")}));
    let wrong = [
        ("levels", levels, json!({}), "never"),
        ("tree", tree, json!({"next": {"next": {"n": "x"}}}), "args/next/next/n"),
        ("patterns", pattern, json!({"p7": "8-x"}), "args/p7"),
    ];
    let tools: Vec<_> =
        wrong.iter().map(|(tool, schema, args, _)| (*tool, schema.clone(), args.clone())).collect();
    let mut client = served(&tools).connect();
    for (tool, _, args, fault) in wrong {
        // The second time, what was compiled is there.
        for _ in 0..2 {
            let error = refusal(&client.execute("hostile", tool, args.clone()));
            assert_eq!(error["code"], "INVALID_ARGUMENTS");
            assert!(error["message"].as_str().unwrap().contains(fault), "{error}");
        }
    }
}
