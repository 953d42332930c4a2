//! Ways to credits and rights that no one gave: narrowed tokens, shadows, sums without end.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    credits::{paid, reached},
    json_in, within,
};

const MOST: u64 = (1 << 53) - 1;

fn mint(setup: &Setup, args: &[&str]) -> String {
    let (status, token, err) = setup.run(&[&["token", "mint"], args].concat());
    assert_eq!(status, 0, "{err}");
    token.trim().to_owned()
}

fn narrow(setup: &Setup, token: &str, args: &[&str]) -> String {
    let mut command = setup.command(&[&["token", "narrow"], args].concat());
    let out = command.env("TOLLGATE_TOKEN", token).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A call of `search`; answers what is left, or the code of the error.
fn search(client: &mut Client, token: &str) -> Value {
    let arguments = json!({"server": "s", "tool": "search"});
    let params = json!({"name": "execute_tool", "arguments": arguments, "_meta": {"token": token}});
    let answer = client.request("tools/call", params);
    match answer.get("error") {
        Some(error) => error["code"].clone(),
        None => answer["result"]["_meta"]["tollgate/remaining"].clone(),
    }
}

fn ask(client: &mut Client, method: &str, params: Value) -> Value {
    let answer = client.request(method, params);
    answer.get("result").or(answer.get("error")).cloned().unwrap_or(answer)
}

#[track_caller]
fn proved(setup: &Setup) {
    let (status, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn narrowed_token_spends_nothing_of_the_named_agent() {
    let all = json!({"servers": ["*"]});
    let rules = json!({"agents": {
        "poor": {"allow": all, "budget": {"limit": 5}},
        "rich": {"allow": all, "budget": {"limit": 500}},
    }});
    let settings = json!({"auth": {"mode": "header"}, "tools": {"defaultCost": 5}});
    let setup = paid(&["search"], &settings, Some(&rules));
    let poor = mint(&setup, &["--agent", "poor"]);
    let narrowed = narrow(&setup, &poor, &["--agent", "rich"]);
    let mut client = setup.connect();
    assert_eq!(search(&mut client, &narrowed), 0, "the poor one's");
    assert_eq!(search(&mut client, &narrowed), -32000);
    assert_eq!(search(&mut client, &poor), -32000);
    let given = json!({"budget": 5, "_meta": {"token": narrowed}});
    assert_eq!(ask(&mut client, "tollgate/delegate", given)["code"], -32000);
    let rich = mint(&setup, &["--agent", "rich"]);
    assert_eq!(search(&mut client, &rich), 495);
    proved(&setup);
}

#[test]
fn unlimited_account_still_calls_after_delegating() {
    let setup = paid(&["search"], &json!({"tools": {"defaultCost": 5}}), None);
    let mut client = setup.connect();
    for budget in [MOST, MOST / 2 + 1] {
        let refused = ask(&mut client, "tollgate/delegate", json!({"budget": budget}));
        assert!(refused["message"].as_str().unwrap().contains("without a limit"), "{refused}");
    }
    let half = ask(&mut client, "tollgate/delegate", json!({"budget": MOST / 2}));
    assert_eq!(half["budget"], MOST / 2, "{half}");
    let refused = ask(&mut client, "tollgate/delegate", json!({"budget": 1}));
    assert_eq!(refused["code"], -32000, "{refused}");
    let answer = client.execute("s", "search", json!({}));
    assert_eq!(answer["_meta"]["tollgate/cost"], 5, "{answer}");
    ask(&mut client, "tollgate/revoke", json!({"tokenId": half["tokenId"]}));
    let again = ask(&mut client, "tollgate/delegate", json!({"budget": MOST / 2}));
    assert_eq!(again["budget"], MOST / 2, "{again}");
    proved(&setup);
}

fn mode(mode: &str) -> Value {
    json!({
        "budget": {"limit": 1000}, "enforcement": {"mode": mode}, "tools": {"defaultCost": 5},
    })
}

#[track_caller]
fn change(setup: &Setup, client: &mut Client, to: &str, account: &str) {
    fs::write(setup.path().join("gateway.yaml"), mode(to).to_string()).unwrap();
    let mut is = || ask(client, "tollgate/budget", json!({}))["budgetId"] == account;
    assert!(within(PATIENCE, &mut is), "the settings are not in force");
}

/// What the call answers, of `search` under a handle.
fn by_handle(client: &mut Client, handle: &Value) -> Value {
    let arguments = json!({"server": "s", "tool": "search", "agent_id": handle});
    client.call("execute_tool", arguments)
}

#[test]
fn credits_of_a_shadow_pay_for_nothing_real() {
    let setup = paid(&["search"], &mode("shadow"), None);
    let mut client = setup.connect();
    let child = ask(&mut client, "tollgate/delegate", json!({"budget": 500}));
    assert_eq!(by_handle(&mut client, &child["agent_id"])["_meta"]["tollgate/remaining"], 495);
    change(&setup, &mut client, "hard", "root");
    let refused = by_handle(&mut client, &child["agent_id"]);
    assert_eq!(json_in(&refused)["error"]["code"], "AUTH_REQUIRED", "{refused}");
    let params = json!({"agent_id": child["agent_id"], "budget": 1});
    assert_eq!(ask(&mut client, "tollgate/delegate", params)["code"], -32000);
    let params = json!({"agent_id": child["agent_id"]});
    assert_eq!(ask(&mut client, "tollgate/budget", params)["code"], -32001);
    assert_eq!(reached(&setup), 1);
    proved(&setup);
}

#[test]
fn a_shadow_spends_nothing_real() {
    let setup = paid(&["search"], &mode("hard"), None);
    let mut client = setup.connect();
    let child = ask(&mut client, "tollgate/delegate", json!({"budget": 500}));
    change(&setup, &mut client, "shadow", "shadow/root");
    let answer = by_handle(&mut client, &child["agent_id"]);
    assert_eq!(answer["_meta"]["tollgate/remaining"], 995, "{answer}");
    change(&setup, &mut client, "hard", "root");
    let params = json!({"agent_id": child["agent_id"]});
    assert_eq!(ask(&mut client, "tollgate/budget", params)["remaining"], 500);
    proved(&setup);
}

#[test]
fn the_first_call_under_a_ceiling_is_no_refusal() {
    let settings = json!({
        "auth": {"mode": "header"}, "budget": {"limit": 100}, "tools": {"defaultCost": 5},
    });
    let setup = paid(&["search"], &settings, None);
    let token = mint(&setup, &["--budget", "50"]);
    let capped = narrow(&setup, &token, &["--ceiling", "20"]);
    let mut client = setup.connect();
    assert_eq!(search(&mut client, &capped), 15);
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "refusal"]);
    assert_eq!(out, "");
    proved(&setup);
}

#[test]
fn child_scope_cannot_be_bypassed_by_spelling() {
    let settings = json!({"auth": {"mode": "header"}, "budget": {"limit": 100}});
    let setup = paid(&["search"], &settings, None);
    let token = mint(&setup, &[]);
    let mut client = setup.connect();
    let mut delegate = |token: &Value, mut params: Value| {
        params["_meta"] = json!({"token": token});
        ask(&mut client, "tollgate/delegate", params)
    };
    let token = Value::from(token);
    let leaf = delegate(&token, json!({"budget": 10.0, "depth": 0.0, "expiresIn": 60.0}));
    assert_eq!(leaf["budget"], 10, "{leaf}");
    assert!(leaf["expires_at"].is_string(), "{leaf}");
    assert_eq!(delegate(&leaf["token"], json!({"budget": 1}))["code"], -32000);
    let careful = delegate(&token, json!({"budget": 20, "maxDelegation": 5.0}));
    assert_eq!(delegate(&careful["token"], json!({"budget": 6}))["code"], -32000);
    for wrong in [
        json!({"budget": 1e30}),
        json!({"budget": 1, "maxDelegation": 1e30}),
        json!({"budget": 1, "expiresIn": 1e30}),
        json!({"budget": 1, "expiresIn": "1ms"}),
    ] {
        assert_eq!(delegate(&token, wrong.clone())["code"], -32602, "{wrong}");
    }
    proved(&setup);
}

#[test]
fn refused_discovery_is_recorded_with_its_caller() {
    let rules = json!({"agents": {"a": {"allow": {"servers": ["other"]}}}});
    let settings = json!({"auth": {"mode": "header"}});
    let setup = paid(&["search"], &settings, Some(&rules));
    let token = mint(&setup, &["--agent", "a"]);
    let mut client = setup.connect();
    for (tool, arguments) in
        [("get_server_tools", json!({"server": "s"})), ("list_servers", json!({"agent_id": "b"}))]
    {
        let meta = json!({"token": token});
        client.request("tools/call", json!({"name": tool, "arguments": arguments, "_meta": meta}));
    }
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "refusal"]);
    let records: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [denied, unknown] = records.as_slice() else { panic!("{out}") };
    for (part, expected) in [
        ("code", "DENIED_BY_POLICY"),
        ("rule", "agents.a.allow.servers"),
        ("server", "s"),
        ("tool", "get_server_tools"),
        ("agent", "a"),
        ("assurance", "token"),
    ] {
        assert_eq!(denied[part], expected, "{denied}");
    }
    assert!(denied["token"].is_string(), "{denied}");
    assert_eq!((&unknown["tool"], &unknown["agent"]), (&json!("list_servers"), &json!("b")));
    assert_eq!((&unknown["assurance"], &unknown["token"]), (&json!("token"), &denied["token"]));
}

#[test]
fn a_handle_of_other_settings_is_none() {
    let settings = |limit| {
        json!({
            "auth": {"mode": "config", "token": "one-token-for-both"},
            "budget": {"limit": limit}, "tools": {"defaultCost": 5},
        })
    };
    let rich = paid(&["search"], &settings(500), None);
    let poor = paid(&["search"], &settings(5), None);
    let home = rich.path().to_str().unwrap().to_owned();
    let poor = poor.env("HOME", &home).env("TOLLGATE_TOKEN", "one-token-for-both");
    let rich = rich.env("TOLLGATE_TOKEN", "one-token-for-both");
    let mut client = rich.connect();
    let child = ask(&mut client, "tollgate/delegate", json!({"budget": 100}));
    assert_eq!(by_handle(&mut client, &child["agent_id"])["_meta"]["tollgate/remaining"], 95);
    let mut client = poor.connect();
    let refused = by_handle(&mut client, &child["agent_id"]);
    assert_eq!(json_in(&refused)["error"]["code"], "HANDLE_NOT_FOUND", "{refused}");
    assert_eq!(reached(&poor), 0);
    proved(&rich);
}

#[test]
fn denied_built_in_tool_is_not_suggested() {
    let rules = json!({
        "agents": {"default": {"deny": {"tools": {"gateway": ["delegate"]}}}},
        "defaults": {"deny_on_missing_agent": false, "explain_denials": false},
    });
    let setup = paid(&["search"], &json!({}), Some(&rules));
    let mut client = setup.connect();
    for tool in ["delegate", "delegat"] {
        let answer = client.execute("gateway", tool, json!({"budget": 1}));
        let refused = &json_in(&answer)["error"];
        assert_eq!(refused["code"], "TOOL_NOT_FOUND", "{refused}");
        assert!(!refused["hint"].as_str().unwrap().contains("delegate"), "{refused}");
    }
}

#[test]
fn delegate_cannot_end_a_delegation_by_name() {
    let all = json!({"servers": ["*"]});
    let rules = json!({"agents": {
        "lead": {"allow": all, "may_act_as": ["worker"]},
        "worker": {"allow": all},
    }});
    let setup = paid(&["search"], &json!({"budget": {"limit": 100}}), Some(&rules));
    let mut client = setup.connect();
    let given = json!({"budget": 10, "agent": "worker", "agent_id": "lead"});
    let child = ask(&mut client, "tollgate/delegate", given);
    let mut revoke = |agent: &str| {
        let params = json!({"tokenId": child["tokenId"], "agent_id": agent});
        ask(&mut client, "tollgate/revoke", params)
    };
    assert_eq!(revoke("worker")["code"], -32000);
    assert_eq!(revoke("lead")["returned"], 10);
    proved(&setup);
}
