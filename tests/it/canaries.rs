//! Credentials go no further than the gateway: placed wherever a client can place them, they appear
//! in nothing that a server receives, nor in anything that the gateway writes or says.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    http_server::{Era, Form, HttpServer},
};

/// A server that keeps its environment and every line it receives, and one over HTTP.
fn watched(auth: &Value) -> (Setup, HttpServer) {
    let http = HttpServer::start(Era::Modern, Form::Json);
    let setup = Setup::new(json!({}), None)
        .gateway(&json!({"auth": auth, "audit": {"arguments": "full"}}))
        .env("RUST_LOG", "trace")
        .env("GATEWAY_AUDIT_LOG", "mirror.jsonl");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripted.py");
    let seen = setup.path().join("seen");
    let watch = "env > \"$1\"; tee -a \"$1\" | python3 \"$0\"";
    let args = json!(["-c", watch, script, seen]);
    let servers = json!({"mcpServers": {
        "watch": {"command": "sh", "args": args},
        "far": {"url": http.url(), "allowPrivate": true},
    }});
    fs::write(setup.path().join(".mcp.json"), servers.to_string()).unwrap();
    (setup, http)
}

/// Shows the canary in every place that a request has, good or not.
fn show_everywhere(client: &mut Client, canary: &str, said: &mut Vec<Value>) {
    let mut ask = |method: &str, params: Value| said.push(client.request(method, params));
    let meta = json!({"token": canary});
    let with = |mut params: Value| {
        params["_meta"] = meta.clone();
        params
    };
    ask("ping", with(json!({})));
    ask("tools/list", with(json!({})));
    ask("no/such", with(json!({"token": canary})));
    for method in ["satgate/budget", "tollgate/budget", "satgate/delegate", "tollgate/revoke"] {
        ask(method, with(json!({})));
        ask(method, with(json!({"agent_id": canary, "tokenId": canary, "budget": 1})));
        ask(method, with(json!({canary: canary})));
    }
    for server in ["watch", "far"] {
        let call =
            |tool: &str, arguments: Value| with(json!({"name": tool, "arguments": arguments}));
        let fine = json!({"server": server, "tool": "echo", "args": {"a": 1}});
        ask("tools/call", call("execute_tool", fine));
        for arguments in [
            json!({"server": server, "tool": "echo", "args": {"a": canary}}),
            json!({"server": server, "tool": "echo", "args": {"a": {"b": [format!("Bearer {canary}")]}}}),
            json!({"server": server, "tool": "echo", "args": {canary: 1}}),
            json!({"server": server, "tool": "echo", "agent_id": canary}),
            json!({"server": server, "tool": "echo", "agent_id": format!("a~{canary}~b")}),
            json!({"server": server, "tool": canary}),
            json!({"server": canary, "tool": "echo"}),
            json!({"server": server, "tool": "echo", canary: 1}),
            json!({"server": server, "tool": "echo", "timeout_ms": canary}),
            json!({"server": "gateway", "tool": "delegate", "args": {"budget": 1, "label": canary}}),
            json!({"server": "gateway", "tool": "revoke", "args": {"tokenId": canary}}),
        ] {
            ask("tools/call", call("execute_tool", arguments));
        }
        let fine = json!({"server": server, "tool": "echo", "args": {"a": 1}});
        for (place, value) in [
            ("note", json!(canary)),
            ("authorization", json!(format!("Bearer {canary}"))),
            ("deep", json!({"er": [canary]})),
            (canary, json!(1)),
        ] {
            let mut params = call("execute_tool", fine.clone());
            params["_meta"][place] = value.clone();
            ask("tools/call", params);
            let meta = json!({place: value});
            ask("tools/call", json!({"name": "execute_tool", "arguments": fine, "_meta": meta}));
        }
        let mut params = call("execute_tool", fine.clone());
        params["requestState"] = json!(canary);
        ask("tools/call", params);
        let mut params = call("execute_tool", fine);
        params["inputResponses"] = json!({"q": {"action": "accept", "content": {"a": canary}}});
        ask("tools/call", params);
        for arguments in [
            json!({"server": server, "query": canary, "agent_id": canary}),
            json!({"server": server, "names": canary}),
            json!({"server": canary}),
        ] {
            ask("tools/call", call("get_server_tools", arguments));
        }
    }
    ask("tools/call", with(json!({"name": "list_servers", "arguments": {"agent_id": canary}})));
    ask("tools/call", with(json!({"name": canary, "arguments": {}})));
    ask("tools/call", with(json!({"name": "echo", "arguments": {"a": canary}})));
    ask("tools/call", json!({"name": "echo", "arguments": {}, "_meta": {"token": [canary]}}));
}

/// All files below a directory, but for those that hold the canary because the test put it there.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.ends_with("gateway.yaml") => {}
            false => found.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
}

fn check(setup: Setup, http: &HttpServer, canary: &str) {
    let mut client = setup.start();
    let hello = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "_meta": {"token": canary},
        "clientInfo": {"name": "t", "version": "1"},
    });
    let mut said = vec![client.request("initialize", hello)];
    client.notify("notifications/initialized");
    show_everywhere(&mut client, canary, &mut said);
    let (_, _, stderr) = client.finish();
    let clean = |place: &str, text: &[u8]| {
        let needle = canary.as_bytes();
        let at = text.windows(needle.len()).position(|window| window == needle);
        let around = at.map(|at| String::from_utf8_lossy(&text[at.saturating_sub(200)..at]));
        assert!(at.is_none(), "{place} shows the credential after {around:?}");
    };
    said.iter().for_each(|answer| clean("an answer", answer.to_string().as_bytes()));
    clean("stderr", stderr.as_bytes());
    let seen = fs::read_to_string(setup.path().join("seen")).unwrap();
    assert!(seen.contains("PATH=") && seen.contains("tools/call"), "{seen}");
    assert!(!seen.contains("TOLLGATE_TOKEN"), "{seen}");
    let requests = http.seen();
    assert!(requests.iter().any(|request| request.rpc() == "tools/call"));
    for request in requests {
        clean("a request", format!("{request:?}").as_bytes());
    }
    let mut kept = Vec::new();
    files(setup.path(), &mut kept);
    assert!(kept.iter().any(|(name, _)| name.contains("ledger.db")), "no store");
    assert!(kept.iter().any(|(name, _)| name.ends_with("mirror.jsonl")), "no mirror");
    kept.iter().for_each(|(name, text)| clean(name, text));
    for args in [
        &["audit", "log", "--json", "--limit", "1000"][..],
        &["budget", "show"],
        &["explain", "default", "watch", "echo"],
    ] {
        let (_, out, err) = setup.run(args);
        clean("a command", (out + &err).as_bytes());
    }
}

#[test]
fn the_token_of_the_settings_stays_inside() {
    let canary = "static-canary-6f1c0a";
    let (setup, http) = watched(&json!({"mode": "config", "token": canary}));
    let setup = setup.env("TOLLGATE_TOKEN", canary);
    check(setup, &http, canary);
}

#[test]
fn tollgate_tokens_stay_inside() {
    let (setup, http) =
        watched(&json!({"mode": "header", "rootKey": "a root key of the canaries"}));
    let (status, token, err) = setup.run(&["token", "mint"]);
    assert_eq!(status, 0, "{err}");
    // Not in the environment: nothing but its form tells what is to be masked.
    check(setup, &http, token.trim());
}

#[test]
fn api_keys_stay_inside() {
    let canary = "tgk_canary00_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let keys = json!([{"id": "canary", "key": canary, "agents": ["default"]}]);
    let (setup, http) = watched(&json!({"mode": "api-key", "keys": keys}));
    let setup = setup.env("TOLLGATE_TOKEN", canary);
    check(setup, &http, canary);
}
