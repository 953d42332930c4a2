//! Look-ups of servers and tools are on record, and are no calls.

use serde_json::{Value, json};

use crate::support::{Client, Setup, refusal, scripted_with};

fn setup(audit: &Value) -> Setup {
    let rules = json!({"agents": {
        "reader": {"allow": {"servers": ["s"]}},
        "default": {"allow": {"servers": []}},
    }});
    let servers = json!({"s": scripted_with(&["read_it", "write_it"]), "t": scripted_with(&["x"])});
    Setup::new(servers, Some(&rules)).gateway(&json!({"audit": audit}))
}

/// Records as they are, with what was known of the caller.
fn records(setup: &Setup, event: &str) -> Vec<Value> {
    let (code, out, err) = setup.run(&["audit", "log", "--json", "--event", event]);
    assert_eq!(code, 0, "{err}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn look_up(client: &mut Client, query: &str) -> Value {
    client.call(
        "get_server_tools",
        json!({"server": "s", "query": query, "agent_id": "reader", "detail": "names"}),
    )
}

#[test]
fn each_look_up_is_one_record_and_no_call() {
    let setup = setup(&json!({}));
    let mut client = setup.connect();
    client.call("list_servers", json!({"agent_id": "reader"}));
    look_up(&mut client, "write save");
    client.finish();
    let found = records(&setup, "discovery");
    assert_eq!(found.len(), 2, "{found:?}");
    let said = |record: &Value| {
        let said = ["agent", "server", "tool", "query", "found", "assurance"];
        said.map(|name| record[name].clone())
    };
    let [list, tools] = [&found[0], &found[1]].map(said);
    let (null, asserted) = (Value::Null, json!("asserted"));
    let [reader, one] = [json!("reader"), json!(1)];
    let expected =
        [reader.clone(), null.clone(), json!("list_servers"), null, one.clone(), asserted.clone()];
    assert_eq!(list, expected);
    let query = json!("query write save");
    assert_eq!(tools, [reader, json!("s"), json!("get_server_tools"), query, one, asserted]);
    assert!(found.iter().all(|record| record["tokens"].as_u64() > Some(0)), "{found:?}");
    assert!(setup.run(&["usage"]).1.contains("there are no calls"));
    let stats: Value = serde_json::from_str(&setup.run(&["audit", "stats", "--json"]).1).unwrap();
    assert_eq!(stats["usage"]["calls"], 0, "{stats}");
    assert_eq!(setup.run(&["audit", "verify"]).0, 0);
}

#[test]
fn settings_say_which_look_ups_are_recorded() {
    for (discovery, expected) in [(json!("each"), 7), (json!(3), 3), (json!("off"), 0)] {
        let setup = setup(&json!({"discovery": discovery}));
        let mut client = setup.connect();
        for _ in 0..7 {
            look_up(&mut client, "read");
        }
        // Refusals are on record whatever is said of the rest.
        client.call("get_server_tools", json!({"server": "none", "agent_id": "reader"}));
        client.finish();
        let found = records(&setup, "discovery");
        assert_eq!(found.len(), expected, "{discovery}: {found:?}");
        let sampled = found.iter().all(|record| record["note"] == "one in 3 is recorded");
        assert_eq!(sampled, discovery != "each", "{found:?}");
        assert_eq!(records(&setup, "refusal").len(), 1);
    }
    let setup = setup(&json!({"discovery": "some"}));
    let (code, out, _) = setup.run(&["check"]);
    assert!(code == 2 && out.contains("audit.discovery"), "{out}");
}

#[test]
fn refused_discovery_and_calls_record_agent_server_tool() {
    let setup = setup(&json!({}));
    let mut client = setup.connect();
    let long = "x".repeat(5_000);
    let calls = [
        (
            "get_server_tools",
            json!({"server": "none"}),
            "SERVER_NOT_FOUND",
            "none",
            "get_server_tools",
        ),
        (
            "get_server_tools",
            json!({"server": "s", "detail": 5}),
            "INVALID_ARGUMENTS",
            "s",
            "get_server_tools",
        ),
        ("list_servers", json!({"include_metadata": "?"}), "INVALID_ARGUMENTS", "", "list_servers"),
        ("execute_tool", json!({"server": "none", "tool": "x"}), "SERVER_NOT_FOUND", "none", "x"),
        (
            "execute_tool",
            json!({"server": "s", "tool": "read_it", "args": 5}),
            "INVALID_ARGUMENTS",
            "s",
            "read_it",
        ),
        ("execute_tool", json!({"server": "s", "tool": "y"}), "TOOL_NOT_FOUND", "s", "y"),
        (
            "execute_tool",
            json!({"server": long, "tool": "x", "no": 1}),
            "INVALID_ARGUMENTS",
            long.get(..128).unwrap(),
            "x",
        ),
    ];
    for (tool, arguments, code, ..) in &calls {
        let mut arguments = arguments.clone();
        arguments["agent_id"] = "reader".into();
        assert_eq!(refusal(&client.call(tool, arguments))["code"], *code, "{tool}");
    }
    client.finish();
    let found = records(&setup, "refusal");
    // Those of look-ups are written some time after their answer.
    for (_, arguments, code, server, tool) in calls {
        let is_it = |record: &&Value| {
            let text = |name: &str| record[name].as_str().unwrap_or_default();
            (text("code"), text("server"), text("tool"), text("agent"))
                == (code, server, tool, "reader")
        };
        assert_eq!(found.iter().filter(is_it).count(), 1, "{arguments} {code}: {found:?}");
    }
    assert_eq!(found.len(), 7);
}

#[test]
fn queries_on_record_are_short_and_masked() {
    let mut servers = json!({"s": scripted_with(&["read_it"])});
    servers["s"]["env"] = json!({"API_TOKEN": "sesame-open-now"});
    let setup = Setup::new(servers, None);
    let mut client = setup.connect();
    let query = format!("find sesame-open-now {}", "w".repeat(5_000));
    client.call("get_server_tools", json!({"server": "s", "query": query}));
    client.call("get_server_tools", json!({"server": "s", "names": "read_it,b"}));
    client.finish();
    let found = records(&setup, "discovery");
    let said = found[0]["query"].as_str().unwrap();
    assert!(said.starts_with("query find ") && !said.contains("sesame"), "{said}");
    assert_eq!(said.chars().count(), 256);
    assert_eq!(found[1]["query"], "names read_it,b");
}
