//! Credits and rights handed on: by tokens, by handles, and what comes back.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    credits::{paid, reached},
    json_in, refusal, within,
};

/// A gateway with two tools at 5 and 1 credits, that asks for Tollgate tokens, and a root token.
fn with_tokens(limit: u64) -> (Setup, String) {
    let setup = paid(&["search", "other"], &settings(limit, "header"), None);
    let (status, token, err) = setup.run(&["token", "mint"]);
    assert_eq!(status, 0, "{err}");
    (setup, token.trim().to_owned())
}

fn settings(limit: u64, mode: &str) -> Value {
    json!({
        "auth": {"mode": mode},
        "defaultUpstream": "s",
        "budget": {"limit": limit},
        "tools": {"defaultCost": 1, "costs": {"search": 5}},
    })
}

/// One of the gateway's own methods, with a token.
#[track_caller]
fn method(client: &mut Client, method: &str, token: &str, mut params: Value) -> Value {
    params["_meta"] = json!({"token": token});
    client.request(method, params)
}

#[track_caller]
fn delegate(client: &mut Client, token: &str, params: Value) -> Value {
    let answer = method(client, "satgate/delegate", token, params);
    answer.get("result").unwrap_or_else(|| panic!("{answer}")).clone()
}

#[track_caller]
fn left(client: &mut Client, token: &str) -> u64 {
    let answer = method(client, "satgate/budget", token, json!({}));
    answer["result"]["remaining"].as_u64().unwrap_or_else(|| panic!("{answer}"))
}

/// A direct call, as clients of credit gateways make it.
fn call(client: &mut Client, token: &str, tool: &str) -> Value {
    let meta = json!({"token": token});
    client.request("tools/call", json!({"name": tool, "arguments": {}, "_meta": meta}))
}

/// A call with `execute_tool` under an `agent_id`.
fn execute(client: &mut Client, agent: &str, server: &str, tool: &str, args: Value) -> Value {
    let arguments = json!({"server": server, "tool": tool, "args": args, "agent_id": agent});
    let answer =
        client.request("tools/call", json!({"name": "execute_tool", "arguments": arguments}));
    answer.get("result").cloned().unwrap_or(answer)
}

#[track_caller]
fn proved(setup: &Setup) {
    let (status, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(status, 0, "{out}{err}");
}

fn token(answer: &Value) -> String {
    answer["token"].as_str().unwrap().to_owned()
}

#[test]
fn child_account_spends_no_more_than_it_got() {
    let (setup, root) = with_tokens(500);
    let mut client = setup.connect();
    let child = delegate(&mut client, &root, json!({"budget": 200, "label": "research-agent"}));
    assert_eq!((&child["budget"], &child["parentRemaining"]), (&json!(200), &json!(300)));
    assert_eq!(left(&mut client, &root), 300);
    let child = token(&child);
    for n in 1..=40 {
        let answer = call(&mut client, &child, "search");
        assert_eq!(answer["result"]["_meta"]["tollgate/cost"], 5, "{n}: {answer}");
    }
    let refused = call(&mut client, &child, "search");
    assert_eq!(refused["error"]["code"], -32000, "{refused}");
    assert_eq!(refused["error"]["data"]["error"], "budget_exhausted");
    assert_eq!(reached(&setup), 40);
    assert_eq!(left(&mut client, &root), 300);
    assert_eq!(call(&mut client, &root, "search")["result"]["_meta"]["tollgate/remaining"], 295);
    proved(&setup);
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "delegate"]);
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&record["label"], &record["cost"], &record["assurance"]),
        (&json!("research-agent"), &json!(200), &json!("token"))
    );
}

#[test]
fn what_was_not_spent_comes_back() {
    let (setup, root) = with_tokens(1_000);
    let mut client = setup.connect();
    let children: Vec<Value> =
        (0..3).map(|_| delegate(&mut client, &root, json!({"budget": 200}))).collect();
    assert_eq!(left(&mut client, &root), 400);
    for _ in 0..12 {
        call(&mut client, &token(&children[0]), "search");
    }
    assert_eq!(left(&mut client, &token(&children[1])), 200, "spending in one changes no other");
    let ended = json!({"tokenId": children[0]["tokenId"]});
    let ended = method(&mut client, "tollgate/revoke", &root, ended);
    assert_eq!(ended["result"]["returned"], 140, "{ended}");
    assert_eq!(left(&mut client, &root), 540);
    let refused = call(&mut client, &token(&children[0]), "search");
    assert_eq!(refused["error"]["code"], -32001, "{refused}");
    proved(&setup);

    // Without any call, when its time is over.
    let short = delegate(&mut client, &root, json!({"budget": 100, "expiresIn": 1}));
    assert_eq!(left(&mut client, &root), 440);
    assert!(within(PATIENCE * 2, || left(&mut client, &root) == 540));
    assert_eq!(call(&mut client, &token(&short), "other")["error"]["code"], -32001);
    proved(&setup);
}

#[test]
fn unspent_credits_return_to_the_nearest_open_ancestor() {
    let (setup, root) = with_tokens(1_000);
    let mut client = setup.connect();
    let child = delegate(&mut client, &root, json!({"budget": 500}));
    let grandchild = delegate(&mut client, &token(&child), json!({"budget": 300}));
    assert_eq!(grandchild["parentRemaining"], 200);
    for _ in 0..4 {
        call(&mut client, &token(&grandchild), "search");
    }
    // The grandchild's goes to the child, whose goes to the root.
    let ended = json!({"tokenId": grandchild["tokenId"]});
    let ended = method(&mut client, "tollgate/revoke", &token(&child), ended);
    assert_eq!(
        ended["result"],
        json!({"tokenId": grandchild["tokenId"], "returned": 280, "remaining": 480})
    );
    let next = delegate(&mut client, &token(&child), json!({"budget": 80}));
    let ended = json!({"budgetId": child["budgetId"]});
    let ended = method(&mut client, "tollgate/revoke", &root, ended);
    assert_eq!(ended["result"]["returned"], 480, "{ended}");
    assert_eq!(left(&mut client, &root), 980);
    // With its parent, the child of the child is closed as well.
    assert_eq!(call(&mut client, &token(&next), "other")["error"]["code"], -32001);
    proved(&setup);
}

#[test]
fn child_is_limited_to_its_scope_and_expiry() {
    let (setup, root) = with_tokens(1_000);
    let mut client = setup.connect();
    let child =
        json!({"budget": 100, "scope": "oth*", "label": "research-agent", "expiresIn": 3600});
    let child = token(&delegate(&mut client, &root, child));
    assert!(call(&mut client, &child, "other")["result"].is_object());
    let refused = call(&mut client, &child, "search");
    assert!(refused["error"].is_object(), "{refused}");
    let arguments = json!({"server": "s"});
    let params =
        json!({"name": "get_server_tools", "arguments": arguments, "_meta": {"token": child}});
    let listed = json_in(&client.request("tools/call", params)["result"]);
    assert_eq!(listed["total_available"], 1, "{listed}");
    // Its own child gets no further.
    let wider = token(&delegate(&mut client, &child, json!({"budget": 10, "scope": "*"})));
    assert!(call(&mut client, &wider, "search")["error"].is_object());
    assert_eq!(reached(&setup), 1);
    // Depth and caps.
    let held = json!({"budget": 50, "depth": 1, "maxDelegation": 20});
    let held = token(&delegate(&mut client, &root, held));
    let last = token(&delegate(&mut client, &held, json!({"budget": 20})));
    for (from, budget) in [(&held, 21), (&last, 1)] {
        let refused = method(&mut client, "tollgate/delegate", from, json!({"budget": budget}));
        assert_eq!(refused["error"]["data"]["error"], "delegation_failed", "{refused}");
    }
}

#[test]
fn credits_that_are_not_there_cannot_be_given() {
    let (setup, root) = with_tokens(100);
    let mut client = setup.connect();
    for (params, code) in [
        (json!({"budget": 500}), -32000),
        (json!({"budget": 0}), -32602),
        (json!({"budget": -5}), -32602),
        (json!({"budget": 1.5}), -32602),
        (json!({"budget": 9_007_199_254_740_992_u64}), -32602),
        (json!({}), -32602),
        (json!({"budget": 5, "expiresIn": 0}), -32602),
        (json!({"budget": 5, "expiresIn": "soon"}), -32602),
        (json!({"budget": 5, "scope": " , "}), -32602),
        (json!({"budget": 5, "scope": "[ab]*"}), -32602),
        (json!({"budget": 5, "agent": "nobody"}), -32000),
        (json!({"budget": 5, "agent": "default"}), -32000),
        (json!({"budget": 5, "bonus": 5}), -32602),
    ] {
        let refused = method(&mut client, "satgate/delegate", &root, params.clone());
        assert_eq!(refused["error"]["code"], code, "{params}: {refused}");
    }
    assert_eq!(left(&mut client, &root), 100);
    // Level by level, until accounts are as deep as they can be.
    let mut token = root.clone();
    let refused = loop {
        let answer = method(&mut client, "satgate/delegate", &token, json!({"budget": 50}));
        match answer["result"]["token"].as_str() {
            Some(child) => token = child.to_owned(),
            None => break answer,
        }
    };
    assert_eq!(refused["error"]["data"]["error"], "delegation_failed", "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("levels"), "{refused}");
    proved(&setup);
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "refusal"]);
    assert!(out.contains("DELEGATION_FAILED"), "{out}");
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--event", "delegate"]);
    let levels = out.lines().count();
    assert!((2..8).contains(&levels), "{out}");
}

/// Two agents behind one client that shows no credentials, and a lead.
fn rules() -> Value {
    let of = |tools: Value| json!({"allow": {"servers": ["s"], "tools": {"s": tools}}});
    json!({"agents": {
        "lead": {"allow": {"servers": ["s"]}, "budget": {"limit": 300}},
        "other": of(json!(["other"])),
        "search": of(json!(["search"])),
    }})
}

#[test]
fn bare_agent_id_can_delegate_and_be_delegated_to() {
    let setup = paid(&["search", "other"], &settings(1_000, "none"), Some(&rules()));
    let mut client = setup.connect();
    let listed = client.call("get_server_tools", json!({"server": "gateway", "agent_id": "lead"}));
    assert!(json_in(&listed)["tools"].to_string().contains("delegate"), "{listed}");
    let given = execute(
        &mut client,
        "lead",
        "gateway",
        "delegate",
        json!({"budget": 12, "agent": "search"}),
    );
    let given = json_in(&given);
    assert_eq!(
        (&given["token"], &given["parentRemaining"]),
        (&Value::Null, &json!(288)),
        "{given}"
    );
    let handle = given["agent_id"].as_str().unwrap();
    let result = execute(&mut client, handle, "s", "search", json!({}));
    assert_eq!(result["_meta"]["tollgate/remaining"], 7, "{result}");
    let result = execute(&mut client, handle, "s", "other", json!({}));
    assert_eq!(refusal(&result)["code"], "DENIED_BY_POLICY", "{result}");
    execute(&mut client, handle, "s", "search", json!({}));
    let answer = execute(&mut client, handle, "s", "search", json!({}));
    assert_eq!(answer["error"]["data"]["error"], "insufficient_budget", "{answer}");
    let budget = json_in(&execute(&mut client, handle, "gateway", "budget", json!({})));
    assert_eq!(
        (&budget["tokenId"], &budget["remaining"]),
        (&given["tokenId"], &json!(2)),
        "{budget}"
    );

    // No one else takes it back, neither an agent beside it nor itself.
    for agent in ["other", handle] {
        let args = json!({"agent_id": handle});
        let refused = execute(&mut client, agent, "gateway", "revoke", args);
        assert_eq!(refusal(&refused)["code"], "HANDLE_NOT_FOUND", "{agent}: {refused}");
    }
    let ended = execute(&mut client, "lead", "gateway", "revoke", json!({"agent_id": handle}));
    assert_eq!(json_in(&ended)["returned"], 2, "{ended}");
    let refused = execute(&mut client, handle, "s", "search", json!({}));
    assert_eq!(refusal(&refused)["code"], "HANDLE_NOT_FOUND", "{refused}");
    proved(&setup);
    // The records say on whose behalf.
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--limit", "100"]);
    assert!(out.contains(given["tokenId"].as_str().unwrap()), "{out}");
    assert!(!out.contains(handle), "a handle is a secret");
}

#[test]
fn a_child_has_no_right_that_its_parent_lacks() {
    let setup = paid(&["search", "other"], &settings(1_000, "none"), Some(&rules()));
    let mut client = setup.connect();
    // `lead` may use both tools, and `other`, who names it, one of them.
    let args = json!({"budget": 10, "agent": "lead"});
    let given = json_in(&execute(&mut client, "other", "gateway", "delegate", args));
    let handle = given["agent_id"].as_str().unwrap();
    assert!(execute(&mut client, handle, "s", "other", json!({}))["isError"].is_null());
    let refused = refusal(&execute(&mut client, handle, "s", "search", json!({})));
    assert_eq!(
        (&refused["code"], &refused["rule"]),
        (&json!("DENIED_BY_POLICY"), &json!("token.agent"))
    );
    let arguments = json!({"server": "s", "agent_id": handle});
    let listed = json_in(&client.call("get_server_tools", arguments));
    assert_eq!(listed["total_available"], 1, "{listed}");
}

#[test]
fn a_handle_is_good_behind_its_own_client_only() {
    let setup = paid(&["search", "other"], &settings(1_000, "none"), Some(&rules()));
    let (mut client, mut stranger) = (setup.connect(), setup.connect());
    let given = execute(&mut client, "lead", "gateway", "delegate", json!({"budget": 10}));
    let given = json_in(&given);
    let handle = given["agent_id"].as_str().unwrap();
    assert!(execute(&mut client, handle, "s", "other", json!({}))["isError"].is_null());
    let refused = execute(&mut stranger, handle, "s", "other", json!({}));
    assert_eq!(refusal(&refused)["code"], "HANDLE_NOT_FOUND");
    let guessed = handle.replace(|c: char| c.is_ascii_digit(), "x").replacen('_', "_A", 1);
    let guessed: String = guessed.chars().take(handle.len()).collect();
    assert_ne!(guessed, handle);
    let refused = execute(&mut client, &guessed, "s", "other", json!({}));
    assert_eq!(refusal(&refused)["code"], "HANDLE_NOT_FOUND");
    // It ends by itself, as the client may be gone without taking it back.
    assert!(given["expires_at"].is_string(), "{given}");
    assert!(!fs::read_dir(setup.path()).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.is_file() && String::from_utf8_lossy(&fs::read(path).unwrap()).contains(handle)
    }));
}

#[test]
fn with_a_credential_ends_what_was_delegated_by_it() {
    let (setup, root) = with_tokens(1_000);
    let mut client = setup.connect();
    let child = delegate(&mut client, &root, json!({"budget": 300}));
    let grandchild = token(&delegate(&mut client, &token(&child), json!({"budget": 100})));
    call(&mut client, &grandchild, "search");
    let (status, other, _) = setup.run(&["token", "mint"]);
    assert_eq!(status, 0);
    assert_eq!(left(&mut client, other.trim()), 700);
    let id = method(&mut client, "satgate/budget", &root, json!({}))["result"]["tokenId"].clone();
    let (status, _, err) = setup.run(&["token", "revoke", id.as_str().unwrap()]);
    assert_eq!(status, 0, "{err}");
    for ended in [&root, &token(&child), &grandchild] {
        assert_eq!(call(&mut client, ended, "other")["error"]["code"], -32001);
    }
    assert_eq!(left(&mut client, other.trim()), 995);
    proved(&setup);

    // The same of an API key.
    let setup = paid(&["search", "other"], &settings(1_000, "api-key"), Some(&rules()));
    let make = &["keys", "create", "--name", "t", "--agent", "lead", "--json"];
    let (status, out, err) = setup.run(make);
    assert_eq!(status, 0, "{err}");
    let made: Value = serde_json::from_str(&out).unwrap();
    let key = made["key"].as_str().unwrap();
    let mut client = setup.connect();
    let given = delegate(&mut client, key, json!({"budget": 50}));
    assert_eq!((&given["token"], &given["parentRemaining"]), (&Value::Null, &json!(250)));
    let (status, _, err) = setup.run(&["keys", "revoke", made["id"].as_str().unwrap()]);
    assert_eq!(status, 0, "{err}");
    let refused = method(&mut client, "satgate/budget", key, json!({}));
    assert_eq!(refused["error"]["code"], -32001, "{refused}");
    let (_, out, _) = setup.run(&["budget", "show", "agent/lead", "--json"]);
    assert!(out.contains("300"), "{out}");
    proved(&setup);
}
