//! What calls cost: prices, what each outcome is charged, refusals, modes, limits that change.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE,
    credits::{paid, reached},
    json_in, refusal, text, within,
};

/// What `budget` answers: remaining, reserved, spent.
#[track_caller]
fn budget(client: &mut Client) -> (Value, Value, Value) {
    let budget = json_in(&client.execute("gateway", "budget", json!({})));
    let part = |name: &str| budget[name].clone();
    (part("remaining"), part("reserved"), part("spent"))
}

#[track_caller]
fn refused(answer: &Value, word: &str, remaining: u64, cost: u64, account: &str) {
    let error = &answer["error"];
    assert_eq!(error["code"], -32000, "{answer}");
    assert!(error["message"].as_str().unwrap().starts_with("Budget exhausted"), "{answer}");
    let data = &error["data"];
    assert_eq!(data["error"], word, "{answer}");
    assert_eq!(data["remaining_credits"], remaining, "{answer}");
    assert_eq!(data["cost_credits"], cost, "{answer}");
    assert_eq!(data["account"], account, "{answer}");
}

/// Calls a tool of `s` and answers the whole response.
fn call(client: &mut Client, tool: &str, args: Value) -> Value {
    let arguments = json!({"server": "s", "tool": tool, "args": args});
    client.request("tools/call", json!({"name": "execute_tool", "arguments": arguments}))
}

#[test]
fn budget_is_spent_to_the_last_credit() {
    let costs = json!({"budget": {"limit": 12}, "tools": {"defaultCost": 5, "costs": {"free": 0}}});
    let setup = paid(&["echo", "free"], &costs, None);
    let mut client = setup.connect();
    let first = call(&mut client, "echo", json!({}));
    assert_eq!(first["result"]["_meta"], json!({"tollgate/cost": 5, "tollgate/remaining": 7}));
    call(&mut client, "echo", json!({}));
    refused(&call(&mut client, "echo", json!({})), "insufficient_budget", 2, 5, "root");
    let free = call(&mut client, "free", json!({}));
    assert_eq!(free["result"]["_meta"], json!({"tollgate/cost": 0, "tollgate/remaining": 2}));
    assert_eq!(reached(&setup), 3, "a refused call goes nowhere");
    assert!(within(PATIENCE, || budget(&mut client) == (json!(2), json!(0), json!(10))));
    // Called by its own name, and by the method of credit gateways.
    let direct = client.request("tools/call", json!({"name": "echo", "arguments": {}}));
    refused(&direct, "insufficient_budget", 2, 5, "root");
    for method in ["tollgate/budget", "satgate/budget"] {
        let budget = client.request(method, json!({}));
        assert_eq!(budget["result"]["remaining"], 2, "{budget}");
        assert_eq!(budget["result"]["budgetId"], "root");
        assert_eq!(budget["result"]["limit"], 12);
    }
}

#[test]
fn nothing_left_is_another_word_than_too_little_left() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 1}}), None);
    let mut client = setup.connect();
    call(&mut client, "echo", json!({}));
    refused(&call(&mut client, "echo", json!({})), "budget_exhausted", 0, 1, "root");
}

#[test]
fn each_outcome_is_charged_as_documented() {
    let error = |code: i64| json!({"error": {"code": code, "message": "no"}});
    let failed = json!({"json": r#"{"content":[],"isError":true}"#});
    for (tool, args, charged) in [
        ("echo", json!({}), 1),
        ("raw", failed.clone(), 1),
        ("rpc_error", error(-32603), 1),
        ("rpc_error", error(-32601), 0),
        ("rpc_error", error(-32602), 0),
        ("die", json!({}), 1),
    ] {
        let tools = ["echo", "raw", "rpc_error", "die"];
        let setup = paid(&tools, &json!({"budget": {"limit": 10}}), None);
        let mut client = setup.connect();
        call(&mut client, tool, args.clone());
        let expected = (json!(10 - charged), json!(0), json!(charged));
        let ended = within(PATIENCE, || budget(&mut client) == expected);
        assert!(ended, "{tool} {args}: {:?}", budget(&mut client));

        let never = json!({"toolError": false, "serverError": false, "lost": false});
        let free = json!({"budget": {"limit": 10, "chargeOn": never}});
        let setup = paid(&tools, &free, None);
        let mut client = setup.connect();
        call(&mut client, tool, args.clone());
        let charged = i32::from(tool == "echo");
        let expected = (json!(10 - charged), json!(0), json!(charged));
        let ended = within(PATIENCE, || budget(&mut client) == expected);
        assert!(ended, "{tool} {args}, charged for success only: {:?}", budget(&mut client));
    }
}

#[test]
fn timed_out_and_cancelled_calls_are_charged_by_default() {
    for (charge, charged) in [(json!({}), 2), (json!({"timeout": false, "cancelled": false}), 0)] {
        let settings = json!({"budget": {"limit": 10, "chargeOn": charge}});
        let setup = paid(&["hang", "echo"], &settings, None);
        let mut client = setup.connect();
        // The time of a call includes the start of its server.
        client.call("get_server_tools", json!({"server": "s"}));
        let arguments = json!({"server": "s", "tool": "hang", "args": {}, "timeout_ms": 300});
        assert_eq!(refusal(&client.call("execute_tool", arguments))["code"], "TIMEOUT");
        let begun = setup.path().join("begun");
        let id = client.begin(
            "execute_tool",
            json!({"server": "s", "tool": "hang", "args": {"path": begun.to_str().unwrap()}}),
        );
        assert!(within(PATIENCE, || begun.exists()));
        assert_eq!(budget(&mut client).1, 1, "held while it runs");
        let params = json!({"requestId": id});
        client.send(
            &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}),
        );
        let expected = (json!(10 - charged), json!(0), json!(charged));
        assert!(within(PATIENCE, || budget(&mut client) == expected), "{:?}", budget(&mut client));
    }
}

#[test]
fn a_call_that_is_never_sent_is_not_charged() {
    let rules = json!({"agents": {"default": {
        "allow": {"servers": ["*"]}, "deny": {"tools": {"s": ["die"]}}
    }}, "defaults": {"deny_on_missing_agent": false}});
    let setup = paid(&["echo", "die"], &json!({"budget": {"limit": 10}}), Some(&rules));
    let mcp = setup.path().join(".mcp.json");
    let mut servers: Value = serde_json::from_str(&fs::read_to_string(&mcp).unwrap()).unwrap();
    servers["mcpServers"]["gone"] = json!({"command": "/no/such/program"});
    servers["mcpServers"]["s"]["args"][2] = json!(
        json!([
            {"name": "echo", "inputSchema": {"type": "object", "required": ["x"]}},
            {"name": "die", "inputSchema": {"type": "object"}},
        ])
        .to_string()
    );
    fs::write(&mcp, servers.to_string()).unwrap();
    let mut client = setup.connect();
    for (server, tool, code) in [
        ("s", "echo", "INVALID_ARGUMENTS"),
        ("s", "die", "DENIED_BY_POLICY"),
        ("s", "none", "TOOL_NOT_FOUND"),
        ("none", "echo", "SERVER_NOT_FOUND"),
        ("gone", "echo", "SERVER_UNAVAILABLE"),
    ] {
        assert_eq!(refusal(&client.execute(server, tool, json!({})))["code"], code);
    }
    assert_eq!(budget(&mut client), (json!(10), json!(0), json!(0)));
    assert_eq!(reached(&setup), 0);
}

#[test]
fn client_that_hangs_up_still_pays() {
    let setup = paid(&["slow"], &json!({"budget": {"limit": 10}}), None);
    let mut client = setup.connect();
    client.begin("execute_tool", json!({"server": "s", "tool": "slow", "args": {"ms": 700}}));
    assert!(within(PATIENCE, || reached(&setup) == 1));
    client.close_stdin();
    let (status, ..) = client.ended();
    assert!(status.success());
    let mut client = setup.connect();
    assert_eq!(budget(&mut client), (json!(9), json!(0), json!(1)));
}

#[test]
fn soft_allows_and_warns_and_shadow_only_counts() {
    let settings = |mode: &str| json!({"budget": {"limit": 2}, "enforcement": {"mode": mode}});
    let setup = paid(&["echo"], &settings("soft"), None);
    let mut client = setup.connect();
    for (left, warned) in [(1, false), (0, false), (0, true), (0, true)] {
        let meta = &call(&mut client, "echo", json!({}))["result"]["_meta"];
        assert_eq!(meta["tollgate/remaining"], left, "{meta}");
        assert_eq!(meta.get("tollgate/warning").is_some(), warned, "{meta}");
    }
    assert!(within(PATIENCE, || budget(&mut client) == (json!(0), json!(0), json!(4))));
    drop(client);

    let setup = paid(&["echo"], &settings("shadow"), None);
    let mut client = setup.connect();
    for warned in [false, false, true, true] {
        let meta = &call(&mut client, "echo", json!({}))["result"]["_meta"];
        assert_eq!(meta["tollgate/mode"], "shadow", "{meta}");
        assert_eq!(meta.get("tollgate/warning").is_some(), warned, "{meta}");
    }
    assert_eq!(reached(&setup), 4);
    drop(client);
    // Spending counted in shadow mode is not charged when the mode becomes hard.
    let setup = setup.gateway(&settings("hard"));
    let mut client = setup.connect();
    assert_eq!(budget(&mut client), (json!(2), json!(0), json!(0)));
}

#[test]
fn agents_have_own_limits_within_the_common_budget() {
    let agent = |limit: u64| json!({"allow": {"servers": ["*"]}, "budget": {"limit": limit, "period": "day"}});
    let rules = json!({"agents": {
        "small": agent(2), "large": agent(100), "free": {"allow": {"servers": ["*"]}}
    }});
    let setup = paid(&["echo"], &json!({"budget": {"limit": 5}}), Some(&rules));
    let mut client = setup.connect();
    let mut ask = |agent: &str| {
        let arguments = json!({"server": "s", "tool": "echo", "args": {}, "agent_id": agent});
        client.request("tools/call", json!({"name": "execute_tool", "arguments": arguments}))
    };
    assert_eq!(ask("small")["result"]["_meta"]["tollgate/remaining"], 1);
    assert_eq!(ask("small")["result"]["_meta"]["tollgate/remaining"], 0);
    let short = ask("small");
    refused(&short, "budget_exhausted", 0, 1, "agent/small/day");
    let resets_at = short["error"]["data"]["resets_at"].as_str().unwrap();
    assert!(resets_at.ends_with("T00:00:00.000Z"), "{short}");
    assert!(short["error"]["message"].as_str().unwrap().ends_with(resets_at), "{short}");
    assert_eq!(ask("large")["result"]["_meta"]["tollgate/remaining"], 2, "the root has 2 left");
    assert_eq!(ask("free")["result"]["_meta"]["tollgate/remaining"], 1);
    ask("large");
    refused(&ask("large"), "budget_exhausted", 0, 1, "root");
    refused(&ask("free"), "budget_exhausted", 0, 1, "root");
}

#[test]
fn prices_and_limits_reload_but_never_below_spending() {
    let settings =
        |limit: u64, cost: u64| json!({"budget": {"limit": limit}, "tools": {"defaultCost": cost}});
    let setup = paid(&["echo"], &settings(4, 2), None);
    let mut client = setup.connect();
    call(&mut client, "echo", json!({}));
    call(&mut client, "echo", json!({}));
    refused(&call(&mut client, "echo", json!({})), "budget_exhausted", 0, 2, "root");
    let setup = setup.gateway(&settings(30_000, 3));
    // The limit is raised before the prices change, so a call in between costs what it did.
    let mut cost =
        || call(&mut client, "echo", json!({}))["result"]["_meta"]["tollgate/cost"].clone();
    assert!(within(PATIENCE, || cost() == 3));
    // The price of these comes into force, the limit does not.
    let setup = setup.gateway(&settings(6, 1));
    let mut cost =
        || call(&mut client, "echo", json!({}))["result"]["_meta"]["tollgate/cost"].clone();
    assert!(within(PATIENCE, || cost() == 1));
    let (left, _, spent) = budget(&mut client);
    assert_eq!(left.as_u64().unwrap() + spent.as_u64().unwrap(), 30_000);
    client.close_stdin();
    let (_, _, log) = client.ended();
    assert!(log.contains("cannot be 6") && log.contains("root"), "{log}");
    drop(setup);
}

#[test]
fn built_in_server_is_open_unless_denied_by_name() {
    let rules = json!({"agents": {
        "one": {"allow": {"servers": ["nothing"]}},
        "two": {"allow": {"servers": ["*"]}, "deny": {"tools": {"gateway": ["budget"]}}},
    }, "defaults": {"explain_denials": true}});
    let setup = paid(&["echo"], &json!({}), Some(&rules));
    let mut client = setup.connect();
    let mut ask = |agent: &str, tool: &str| {
        let arguments = json!({"server": "gateway", "tool": tool, "args": {}, "agent_id": agent});
        client.call("execute_tool", arguments)
    };
    assert_eq!(text(&ask("one", "ping")), r#"{"ok":true}"#);
    let budget = json_in(&ask("one", "budget"));
    assert_eq!((&budget["remaining"], &budget["budgetId"]), (&Value::Null, &json!("unmetered")));
    let denied = refusal(&ask("two", "budget"));
    assert_eq!(denied["rule"], "agents.two.deny.tools.gateway[0]", "{denied}");
    assert_eq!(text(&ask("two", "ping")), r#"{"ok":true}"#);
    let unknown = refusal(&ask("one", "audit_log"));
    assert_eq!(unknown["code"], "TOOL_NOT_FOUND", "{unknown}");
    let listed = json_in(&client.call("list_servers", json!({"agent_id": "two"})));
    assert_eq!(listed, json!([{"name": "s", "description": ""}]));
}

#[test]
fn replaced_store_gets_its_accounts_declared() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 10}}), None);
    let mut client = setup.connect();
    assert_eq!(call(&mut client, "echo", json!({}))["result"]["_meta"]["tollgate/remaining"], 9);
    let state = setup.path().join(".local/state/tollgate");
    for file in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        // The last two are there or not.
        let _ = fs::remove_file(state.join(file));
    }
    let answer = call(&mut client, "echo", json!({}));
    assert_eq!(answer["result"]["_meta"]["tollgate/remaining"], 9, "{answer}");
    let (status, out, _) = setup.run(&["audit", "verify"]);
    assert_eq!(status, 0, "{out}");
}

#[test]
fn explain_knows_the_built_in_server() {
    let rules = json!({"agents": {"one": {"deny": {"tools": {"gateway": ["ping"]}}}}});
    let setup = paid(&["echo"], &json!({"tools": {"defaultCost": 7}}), Some(&rules));
    let (status, out, _) = setup.run(&["explain", "one", "gateway", "budget"]);
    assert_eq!(status, 0, "{out}");
    assert!(out.contains("0 credits (built in)") && !out.contains("paid by"), "{out}");
    let (status, out, _) = setup.run(&["explain", "one", "gateway", "ping"]);
    assert_eq!(status, 3, "{out}");
    let (_, out, err) = setup.run(&["check"]);
    assert!(!(out + &err).contains("refers to server"), "the built-in server needs no entry");
}
