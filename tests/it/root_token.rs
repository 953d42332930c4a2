//! The root token: made or taken over at the start, and what it opens.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Client, Setup, credits::paid, refusal};

const KEY: &str = "the first root key of this test";

fn settings(auth: Value) -> Value {
    json!({"auth": auth, "defaultUpstream": "s", "budget": {"limit": 5_000}, "tools": {"defaultCost": 3}})
}

/// The settings of a gateway that is set up already, changed.
fn change(setup: &Setup, auth: Value) {
    fs::write(setup.path().join("gateway.yaml"), settings(auth).to_string()).unwrap();
}

/// What a gateway tells at its start: the token and its id.
#[track_caller]
fn told(setup: &Setup) -> (String, String) {
    let mut client = setup.connect();
    client.close_stdin();
    let (status, _, stderr) = client.finish();
    assert!(status.success(), "{stderr}");
    let line = |name: &str| {
        let found: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix(name)).collect();
        assert_eq!(found.len(), 1, "{stderr}");
        found[0].to_owned()
    };
    (line("ROOT_TOKEN="), line("TOKEN_ID="))
}

fn budget(client: &mut Client, token: &str) -> Value {
    client.request("satgate/budget", json!({"_meta": {"token": token}}))
}

#[test]
fn root_token_is_minted_at_start_and_works() {
    let auth = json!({"mode": "header", "rootKey": KEY, "autoMintRoot": true});
    let setup = paid(&["echo"], &settings(auth), None);
    let (token, id) = told(&setup);
    let mut client = setup.connect();
    let shown = budget(&mut client, &token);
    assert_eq!(
        (&shown["result"]["tokenId"], &shown["result"]["budgetId"], &shown["result"]["remaining"]),
        (&json!(id), &json!("root"), &json!(5_000)),
        "{shown}"
    );
    for token in [token.clone(), format!("Bearer {token}"), format!("bearer  {token} ")] {
        let call = json!({"name": "echo", "arguments": {}, "_meta": {"token": token}});
        let answer = client.request("tools/call", call);
        assert_eq!(answer["result"]["_meta"]["tollgate/cost"], 3, "{answer}");
    }
    // The next start makes another; this one stays good.
    let (other, other_id) = told(&setup);
    assert!(other != token && other_id != id);

    // A token given by settings is printed unchanged.
    change(&setup, json!({"mode": "header", "rootKey": KEY, "rootToken": token}));
    assert_eq!(told(&setup), (token.clone(), id.clone()));

    // Another key verifies it as long as the old one is named, and signs new ones.
    let keys = json!(["the second root key of this test", KEY]);
    change(&setup, json!({"mode": "header", "rootKey": keys, "autoMintRoot": true}));
    let (newer, _) = told(&setup);
    let mut client = setup.connect();
    assert!(budget(&mut client, &token)["result"].is_object());
    change(&setup, json!({"mode": "header", "rootKey": "the second root key of this test"}));
    let mut client = setup.connect();
    assert_eq!(budget(&mut client, &token)["error"]["code"], -32001);
    assert!(budget(&mut client, &newer)["result"].is_object());

    // Revoked, it opens nothing, at no start.
    change(&setup, json!({"mode": "header", "rootKey": KEY}));
    let (status, _, err) = setup.run(&["token", "revoke", &id]);
    assert_eq!(status, 0, "{err}");
    let mut client = setup.connect();
    assert_eq!(budget(&mut client, &token)["error"]["code"], -32001);
    change(&setup, json!({"mode": "header", "rootKey": KEY, "rootToken": token}));
    let (status, out, err) = setup.run(&["serve"]);
    assert_eq!(status, 2, "{out}{err}");
    assert!(err.contains("auth.rootToken") && err.contains("revoked"), "{err}");
    assert!(!err.contains(&token), "{err}");
}

#[test]
fn only_the_tool_list_works_without_a_token() {
    let auth = json!({"mode": "header", "rootKey": KEY});
    let setup = paid(&["echo"], &settings(auth), None);
    let foreign = "eyJ2IjoxLCJsIjoiaHR0cHM6Ly9zYXRnYXRlLmlvIn0";
    let altered = format!("gwt1.{}", "A".repeat(120));
    let shown = [
        json!({}),
        json!({"token": null}),
        json!({"token": ""}),
        json!({"token": 5}),
        json!({"token": ["x"]}),
        json!({"token": "garbage"}),
        json!({"token": foreign}),
        json!({"token": altered}),
        json!({"token": "x".repeat(5_000)}),
    ];
    let setup = setup.arg("--debug");
    let mut client = setup.connect();
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    assert_eq!(tools.as_array().unwrap().len(), 4);
    for meta in shown {
        let direct = json!({"name": "echo", "arguments": {}, "_meta": meta});
        let refused = client.request("tools/call", direct);
        assert_eq!(refused["error"]["code"], -32001, "{meta}: {refused}");
        assert_eq!(refused["error"]["data"]["error"]["code"], "AUTH_REQUIRED");
        for (tool, arguments) in [
            ("list_servers", json!({})),
            ("get_server_tools", json!({"server": "*"})),
            ("execute_tool", json!({"server": "s", "tool": "echo", "args": {}})),
            ("execute_tool", json!({"server": "gateway", "tool": "ping"})),
            ("get_gateway_status", json!({})),
        ] {
            let call = json!({"name": tool, "arguments": arguments, "_meta": meta});
            let result = client.request("tools/call", call)["result"].clone();
            assert_eq!(refusal(&result)["code"], "AUTH_REQUIRED", "{tool} {meta}: {result}");
        }
        for method in ["satgate/budget", "satgate/delegate", "tollgate/revoke"] {
            let refused = client.request(method, json!({"budget": 1, "_meta": meta}));
            assert_eq!(refused["error"]["code"], -32001, "{method} {meta}: {refused}");
        }
    }
    assert_eq!(crate::support::credits::reached(&setup), 0);
    let setup = Setup { args: Vec::new(), ..setup };
    let (_, out, _) = setup.run(&["audit", "log", "--json", "--limit", "1000"]);
    assert!(out.lines().all(|line| line.contains("AUTH_REQUIRED") || line.contains("declare")));
}

#[test]
fn configured_token_is_required_of_every_call() {
    let setup =
        paid(&["echo"], &settings(json!({"mode": "config", "token": "one-token-for-all"})), None);
    let call = |token: Value| json!({"name": "echo", "arguments": {}, "_meta": {"token": token}});
    let mut client = setup.connect();
    for wrong in [json!(null), json!(""), json!("one-token-for-al"), json!("one-token-for-all2")] {
        let refused = client.request("tools/call", call(wrong.clone()));
        assert_eq!(refused["error"]["code"], -32001, "{wrong}: {refused}");
    }
    for right in ["one-token-for-all", "Bearer one-token-for-all"] {
        assert!(client.request("tools/call", call(right.into()))["result"].is_object());
    }
    // By the environment of the client's entry.
    let setup = setup.env("TOLLGATE_TOKEN", "one-token-for-all");
    let mut client = setup.connect();
    assert!(client.execute("s", "echo", json!({}))["isError"].is_null());
    assert_eq!(client.request("tools/call", call("wrong".into()))["error"]["code"], -32001);
}

#[test]
fn a_token_of_another_system_is_no_root_token() {
    let auth = json!({"mode": "header", "rootKey": KEY, "rootToken": "eyJ2IjoxLCJsIjoi"});
    let setup = paid(&["echo"], &settings(auth), None);
    let (status, _, err) = setup.run(&["serve"]);
    assert_eq!(status, 2, "{err}");
    assert!(err.contains("rootToken") && err.contains("tollgate token mint"), "{err}");
}
