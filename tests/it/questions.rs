//! Questions of servers: each under an id of its own, and no more at a time than may be open.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    http::{echoes, stays_modest},
    http_server::{Era, Form, HttpServer, Reply},
    json_in, scripted, scripted_with,
};

/// A client that takes questions and answers none, of a server that may ask.
fn asked(mut entry: Value) -> Client {
    entry["elicitation"] = json!("allow");
    let mut client = Setup::new(json!({"s": entry, "ok": scripted(&[])}), None).start();
    client.capabilities = json!({"elicitation": {}});
    client.handshake("2025-11-25");
    echoes(&mut client, "ok");
    client
}

fn question(id: &str) -> Value {
    let params = json!({"message": "?", "requestedSchema": {"type": "object"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params})
}

/// How many questions reach the client while it answers none.
fn questions_to(client: &mut Client) -> usize {
    stays_modest(client, "ok");
    let messages = std::iter::from_fn(|| client.next(Duration::from_millis(200)));
    messages.filter(|message| message["method"] == "elicitation/create").count()
}

#[test]
fn questions_under_one_id_are_open_once() {
    let mut client = asked(scripted(&["--tools", r#"["notes"]"#, "--era", "legacy"]));
    let args = json!({"count": 20_000, "note": question("same")});
    client.begin("execute_tool", json!({"server": "s", "tool": "notes", "args": args}));
    assert_eq!(questions_to(&mut client), 1);
}

#[test]
fn questions_over_http_under_one_id_are_open_once() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = asked(server.entry());
    echoes(&mut client, "s");
    let event = format!("data: {}\n\n", question("same"));
    server.on("odd", Reply::sse().repeat(&event, 20_000).wait(Duration::from_secs(600)));
    client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
    assert_eq!(questions_to(&mut client), 1);
}

#[test]
fn questions_that_are_withdrawn_while_answered_take_no_memory() {
    let asks = scripted_with(&["interrogate"]);
    let mut client = Setup::new(json!({"asks": asks, "ok": scripted(&[])}), None).connect();
    let args = json!({"count": 3_000_000, "id": "same", "withdraw": true});
    let arguments = json!({"server": "asks", "tool": "interrogate", "args": args});
    client.begin("execute_tool", arguments);
    stays_modest(&mut client, "ok");
}

#[test]
fn a_question_under_an_open_id_is_refused() {
    let mut server = scripted(&["--tools", r#"["ask_twice"]"#, "--era", "legacy"]);
    server["elicitation"] = json!("allow");
    let mut client = Setup::new(json!({ "s": server }), None).start();
    client.capabilities = json!({"elicitation": {}});
    client.handshake("2025-11-25");
    let call = client.begin("execute_tool", json!({"server": "s", "tool": "ask_twice"}));
    let reply = json_in(&client.response(call)["result"]);
    assert_eq!(reply["error"]["code"], -32600, "{reply}");
    assert!(reply["error"]["message"].as_str().unwrap().contains("still open"), "{reply}");
    let asked = client.next(PATIENCE).unwrap();
    assert_eq!(asked["params"]["message"], "question 0", "{asked}");
}
