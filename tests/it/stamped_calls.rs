//! Calls that the client's hook signed, as the gateway takes them: from recorded events through
//! `tollgate hook claude-code` to the record of the call.

use std::{collections::BTreeSet, io::Write as _, process::Stdio};

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    hook::{events, outcome, updated},
    json_in, refusal, scripted,
};

/// A gateway whose rules know every agent of the recorded events, each with a server of its own.
fn gateway(defaults: Value) -> Setup {
    let agents: BTreeSet<String> = events().into_iter().map(|(agent, _)| agent).collect();
    let server = scripted(&["--tools", r#"["query"]"#]);
    let mut servers = json!({"db": server, "guests": server});
    let mut rules = json!({"guest": {"allow": {"servers": ["guests"]}}});
    for agent in &agents {
        servers[agent] = server.clone();
        rules[agent] = json!({"allow": {"servers": ["db", agent]}});
    }
    Setup::new(servers, Some(&json!({"agents": rules, "defaults": defaults})))
}

/// The input of a call as the hook rewrites it.
fn signed(setup: &Setup, event: &Value) -> Value {
    let mut command = setup.command(&["hook", "claude-code"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(event.to_string().as_bytes()).unwrap();
    Value::Object(updated(&outcome(child)))
}

/// A call of the main thread's, to list its servers.
fn listing(setup: &Setup) -> Value {
    let (_, mut event) = events().into_iter().find(|(agent, _)| agent == "main").unwrap();
    event["tool_name"] = "mcp__tollgate__list_servers".into();
    event["tool_input"] = json!({"agent_id": "guest", "include_metadata": false});
    signed(setup, &event)
}

#[track_caller]
fn refused(client: &mut Client, tool: &str, arguments: &Value) {
    let result = client.call(tool, arguments.clone());
    assert_eq!(refusal(&result)["code"], "INVALID_AGENT_ID", "{arguments}: {result}");
}

#[test]
fn each_call_is_recorded_as_whose_it_was() {
    let setup = gateway(json!({"identity": "stamped", "unstamped_agent": "guest"}));
    let mut client = setup.connect();
    let mut expected = Vec::new();
    let asked: Vec<u64> = events()
        .into_iter()
        .map(|(agent, event)| {
            expected.push((agent, event["agent_id"].as_str().map(str::to_owned)));
            client.begin("execute_tool", signed(&setup, &event))
        })
        .collect();
    for id in asked {
        let answer = client.response(id);
        assert!(answer["result"]["content"].is_array(), "{answer}");
    }
    // One without a signature, which names somebody who may do more.
    let unsigned = client.call("list_servers", json!({"agent_id": "main"}));
    assert_eq!(json_in(&unsigned), json!([{"name": "guests", "description": ""}]));
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "hold", "--limit", "100"]);
    let mut found: Vec<(String, Option<String>)> = out
        .lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            assert_eq!(record["assurance"], "stamped", "{record}");
            let instance = record["instance"].as_str().map(str::to_owned);
            (record["agent"].as_str().unwrap().to_owned(), instance)
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn signature_is_valid_once_for_its_own_call() {
    let setup = gateway(json!({}));
    let (mut client, mut other) = (setup.connect(), setup.connect());
    let call = listing(&setup);
    let listed = json_in(&client.call("list_servers", call.clone()));
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    // Neither this gateway nor another of the user's takes it again.
    for client in [&mut client, &mut other] {
        refused(client, "list_servers", &call);
    }
    let call = listing(&setup);
    let stamp = call["agent_id"].as_str().unwrap();
    let agent = stamp.split('~').next().unwrap();
    refused(&mut client, "get_server_tools", &json!({"agent_id": stamp, "server": "db"}));
    for edited in [
        json!({"agent_id": stamp, "include_metadata": true}),
        json!({"agent_id": stamp}),
        json!({"agent_id": stamp.replacen(agent, "explorer", 1), "include_metadata": false}),
        json!({"agent_id": stamp.to_uppercase(), "include_metadata": false}),
        json!({"agent_id": format!("{stamp}~"), "include_metadata": false}),
        json!({"agent_id": "main~", "include_metadata": false}),
        json!({"agent_id": "main~~~1~x~y", "include_metadata": false}),
    ] {
        refused(&mut client, "list_servers", &edited);
    }
    // None of that used it up.
    assert!(client.call("list_servers", call.clone())["isError"].is_null());
    for _ in 0..200 {
        refused(&mut client, "list_servers", &call);
    }
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--limit", "1000"]);
    assert!(!out.contains('~'), "no record shows a signature");
}

#[test]
fn unsigned_ids_are_refused_without_an_unstamped_agent() {
    let setup = gateway(json!({"identity": "stamped"}));
    let mut client = setup.connect();
    for arguments in [json!({}), json!({"agent_id": "main"}), json!({"agent_id": "nobody"})] {
        refused(&mut client, "list_servers", &arguments);
    }
    assert!(client.call("list_servers", listing(&setup))["isError"].is_null());
}

#[test]
fn hooked_subagent_spends_its_handles_credits() {
    let defaults = json!({"identity": "stamped", "unstamped_agent": "guest"});
    let setup = gateway(defaults).gateway(&json!({"budget": {"limit": 100}}));
    let mut client = setup.connect();
    let of = |agent: &str| events().into_iter().find(|(whose, _)| whose == agent).unwrap().1;
    let mut ask = of("main");
    ask["tool_input"] = json!({"server": "gateway", "tool": "delegate", "args": {"budget": 10}});
    let given = json_in(&client.call("execute_tool", signed(&setup, &ask)));
    let handle = given["agent_id"].as_str().unwrap_or_else(|| panic!("{given}"));
    let mut ask = of("explorer");
    ask["tool_input"] = json!({"server": "db", "tool": "query", "args": {}, "agent_id": handle});
    let result = client.call("execute_tool", signed(&setup, &ask));
    assert_eq!(result["_meta"]["tollgate/remaining"], 9, "{result}");
    // What main may use and the explorer may not stays closed, and the other way round.
    for server in ["main", "explorer"] {
        ask["tool_input"]["server"] = server.into();
        let result = client.call("execute_tool", signed(&setup, &ask));
        assert_eq!(result["isError"], true, "{server}: {result}");
    }
    // Without a signature the same handle reaches what a guest may.
    let call = json!({"server": "db", "tool": "query", "args": {}, "agent_id": handle});
    assert_eq!(client.call("execute_tool", call)["isError"], true);
}
