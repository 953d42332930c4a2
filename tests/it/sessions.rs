//! What a client hears in each state of its session: before it has begun, after a handshake, and in
//! a session of requests that speak for themselves.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Setup, scripted, scripted_with, text, within};

const QUIET: Duration = Duration::from_millis(700);

fn meta(version: &str) -> Value {
    json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    }})
}

fn code(client: &mut Client, method: &str, params: Value) -> Value {
    client.request(method, params)["error"]["code"].clone()
}

#[test]
fn a_new_session_takes_pings_and_asks_for_metadata() {
    let mut client = Setup::new(json!({}), None).start();
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
    for method in ["tools/list", "server/discover", "tools/call", "nope"] {
        assert_eq!(code(&mut client, method, json!({})), -32602, "{method}");
    }
    assert_eq!(code(&mut client, "initialize", json!({})), -32602);
    assert_eq!(client.handshake("2024-11-05")["protocolVersion"], "2024-11-05");
}

#[test]
fn metadata_of_a_request_beats_the_handshake() {
    let mut client = Setup::new(json!({}), None).connect();
    let list = |client: &mut Client, params| client.request("tools/list", params)["result"].clone();
    assert_eq!(list(&mut client, json!({}))["resultType"], Value::Null);
    assert_eq!(list(&mut client, meta("2026-07-28"))["resultType"], "complete");
    assert_eq!(list(&mut client, meta("2025-06-18"))["resultType"], Value::Null);
    assert_eq!(code(&mut client, "tools/list", meta("2030-01-01")), -32022);
    assert_eq!(code(&mut client, "ping", meta("2026-07-28")), -32601);
    let mut incomplete = meta("2026-07-28");
    incomplete["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!(5);
    assert_eq!(code(&mut client, "tools/list", incomplete), -32602);
}

#[test]
fn after_a_stateless_request_all_need_metadata() {
    let mut client = Setup::new(json!({}), None).start();
    assert!(client.request("tools/list", meta("2026-07-28"))["result"]["tools"].is_array());
    for _ in 0..2 {
        assert_eq!(code(&mut client, "tools/list", json!({})), -32602);
        assert_eq!(code(&mut client, "ping", json!({})), -32602);
        assert_eq!(code(&mut client, "ping", meta("2026-07-28")), -32601);
        // A late handshake is answered and changes nothing.
        assert_eq!(client.handshake("2025-11-25")["protocolVersion"], "2025-11-25");
    }
}

#[test]
fn withdrawn_call_gets_no_answer_and_frees_its_id() {
    let setup = Setup::new(json!({"s": scripted_with(&["echo", "slow"])}), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let call = |tool: &str, args: Value| {
        let arguments = json!({"server": "s", "tool": tool, "args": args});
        json!({"jsonrpc": "2.0", "id": "mine", "method": "tools/call",
            "params": {"name": "execute_tool", "arguments": arguments}})
    };
    client.send(&call("slow", json!({"ms": 500})));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": "mine"}}));
    let unanswered = client.next(QUIET);
    assert!(unanswered.is_none(), "{unanswered:?}");
    let answered = within(PATIENCE, || {
        client.send(&call("echo", json!({"n": 1})));
        let answer = client.response("mine");
        answer["error"].is_null() && text(&answer["result"]) == r#"{"n": 1}"#
    });
    assert!(answered);
}

#[test]
fn answer_may_write_a_numeric_id_as_text() {
    let mut server = scripted(&["--tools", r#"["ask"]"#, "--era", "legacy"]);
    server["elicitation"] = json!("allow");
    let mut client = Setup::new(json!({ "s": server }), None).start();
    client.capabilities = json!({"elicitation": {}});
    client.handshake("2025-11-25");
    let args = json!({"message": "?", "requestedSchema": {"type": "object"}});
    let call = client.begin("execute_tool", json!({"server": "s", "tool": "ask", "args": args}));
    let question = client.next(PATIENCE).unwrap();
    assert!(question["id"].is_i64(), "{question}");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"].to_string(), "result": {"action": "decline"}});
    client.send(&answer);
    assert!(text(&client.response(call)["result"]).contains("decline"));
}

#[test]
fn answers_that_are_no_answers_are_rejected() {
    let mut client = Setup::new(json!({}), None).connect();
    for (line, id) in [
        (r#"{"jsonrpc":"2.0","id":1}"#, json!(1)),
        (r#"{"jsonrpc":"2.0","id":2,"error":{"code":"x"}}"#, json!(2)),
        (r#"{"id":3,"error":{"code":1,"message":"x"}}"#, json!(3)),
        (r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#, json!(1.5)),
        (r#"{"jsonrpc":"2.0","id":5,"method":"ping","result":{}}"#, json!(5)),
    ] {
        client.send_bytes(format!("{line}\n").as_bytes());
        let answer = client.next(PATIENCE).unwrap();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(-32600), &id), "{line}");
    }
    for line in [r#"{"jsonrpc":"2.0","id":4,"result":{}}"#, r#"{"jsonrpc":"2.0","error":{}}"#] {
        client.send_bytes(format!("{line}\n").as_bytes());
    }
    assert!(client.next(QUIET).is_none());
}
