//! What happens in the middle of a call to a server over HTTP.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup,
    calls::{begin, until},
    http::{ANSWER, AT_ONCE, beside_ok, echoes, recovers},
    http_server::{ERAS, Era, Form, HttpServer, Reply},
    text, within,
};

/// A client that takes questions, over this server.
fn asked(server: &HttpServer) -> Client {
    let mut entry = server.entry();
    entry["elicitation"] = json!("allow");
    let mut client = Setup::new(json!({ "s": entry }), None).start();
    client.capabilities = json!({"elicitation": {}});
    client.handshake("2025-11-25");
    client
}

/// A question as a server may write it: a number that does not fit, unknown members, key order.
const QUESTION: &str = r#"{"message":"which?","x":{"z":1,"a":123456789012345678901234567890},"requestedSchema":{"type":"object","properties":{"b":{"type":"string","x-vendor":1},"a":{"type":"integer"}}}}"#;

fn question(id: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"elicitation/create","params":{params}}}"#)
}

#[test]
fn http_progress_arrives_in_order_before_the_answer() {
    let step = |n: usize| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":$token,"progress":{n},"vendor":1e400}}}}"#
        )
    };
    let vendor: Value = serde_json::from_str("1e400").unwrap();
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let stream = (1..=500).fold(Reply::sse(), |reply, n| reply.event(&step(n)));
        server.on("odd", stream.event(ANSWER));
        let setup = Setup::new(json!({"s": server.entry()}), None);
        for mut client in [setup.connect(), setup.connect_stateless()] {
            let id = begin(&mut client, "odd", json!({}), "mine");
            let (before, answer) = until(&mut client, id);
            assert_eq!(text(&answer["result"]), "mine");
            let told: Vec<u64> = before
                .iter()
                .filter(|message| message["method"] == "notifications/progress")
                .map(|message| {
                    assert_eq!(message["params"]["progressToken"], "mine");
                    assert_eq!(message["params"]["vendor"], vendor);
                    message["params"]["progress"].as_u64().unwrap()
                })
                .collect();
            assert_eq!(told, (1..=500).collect::<Vec<_>>(), "{era:?}");
        }
    }
}

#[test]
fn http_questions_and_answers_pass_unchanged() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = asked(&server);
    let stream = Reply::sse().event(&question("q", QUESTION)).wait(Duration::from_millis(700));
    server.on("odd", stream.event(ANSWER));
    let id = begin(&mut client, "odd", json!({}), "t");
    let mut asked = client.next(AT_ONCE).unwrap();
    assert_eq!(asked["method"], "elicitation/create", "{asked}");
    // Belongs to the hop between us and the client.
    asked["params"].as_object_mut().unwrap().shift_remove("_meta");
    let expected: Value = serde_json::from_str(QUESTION).unwrap();
    assert_eq!(asked["params"].to_string(), expected.to_string(), "order and numbers");
    let answer = r#"{"action":"accept","content":{"b":"x","a":98765432109876543210},"_meta":{"z":1,"a":1e400}}"#;
    client.send_bytes(
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{answer}}}\n", asked["id"]).as_bytes(),
    );
    assert_eq!(text(&until(&mut client, id).1["result"]), "mine");
    let answered = || server.seen().into_iter().map(|r| r.body).find(|body| body["id"] == "q");
    assert!(within(AT_ONCE, || answered().is_some()));
    let expected: Value = serde_json::from_str(answer).unwrap();
    assert_eq!(answered().unwrap()["result"].to_string(), expected.to_string());
}

#[test]
fn http_questions_need_permission() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = Setup::new(json!({"s": server.entry()}), None).start();
    client.capabilities = json!({"elicitation": {}});
    client.handshake("2025-11-25");
    let stream = Reply::sse().event(&question("q", QUESTION)).wait(Duration::from_millis(300));
    server.on("odd", stream.event(ANSWER));
    let id = begin(&mut client, "odd", json!({}), "t");
    let (before, answer) = until(&mut client, id);
    assert_eq!(text(&answer["result"]), "mine");
    assert!(before.is_empty(), "{before:?}");
    let answered = || server.seen().into_iter().map(|r| r.body).find(|body| body["id"] == "q");
    assert!(within(AT_ONCE, || answered().is_some()));
    assert_eq!(answered().unwrap()["result"]["action"], "decline");
}

#[test]
fn list_changed_on_the_stream_refreshes_tools() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let stream = Reply::sse().wait(Duration::from_secs(2)).event(changed);
    server.on("GET", stream.wait(Duration::from_secs(600)));
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    echoes(&mut client, "s");
    echoes(&mut client, "s");
    assert_eq!(server.count("tools/list"), 1, "nothing has been announced yet");
    let listed = || {
        echoes(&mut client, "s");
        server.count("tools/list") == 2
    };
    assert!(within(AT_ONCE, listed));
}

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

#[test]
fn failed_tool_list_ends_no_call_in_flight() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    echoes(&mut client, "s");
    let stream = Reply::sse().event(CHANGED).wait(Duration::from_secs(5));
    server.on("odd", stream.event(ANSWER));
    server.on("tools/list", Reply::status(500));
    let odd = begin(&mut client, "odd", json!({}), "t");
    assert!(within(AT_ONCE, || server.count("tools/list") > 1));
    let other = client.execute("s", "echo", json!({}));
    assert_eq!(other["isError"], true, "{other}");
    assert_eq!(text(&client.response(odd)["result"]), "mine");
}

#[test]
fn http_server_questions_are_limited_in_number() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = asked(&server);
    let questions = (0..1000).fold(Reply::sse(), |reply, n| {
        reply.event(&question(&format!("q{n}"), r#"{"message":"?"}"#))
    });
    server.on("odd", questions.wait(Duration::from_secs(2)).event(ANSWER));
    let id = begin(&mut client, "odd", json!({}), "t");
    let (before, answer) = until(&mut client, id);
    assert_eq!(text(&answer["result"]), "mine");
    let asked = before.iter().filter(|message| message["method"] == "elicitation/create");
    assert!((1..=64).contains(&asked.clone().count()), "{}", asked.count());
}

#[test]
fn hanging_tool_list_delays_no_unrouted_call() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = beside_ok(server.entry()).connect();
    echoes(&mut client, "s");
    client.execute("ok", "echo", json!({}));
    client.call("get_server_tools", json!({"server": "*"}));
    server.on("tools/list", Reply::mute());
    server.on("odd", Reply::sse().event(CHANGED).wait(Duration::from_secs(600)));
    begin(&mut client, "odd", json!({}), "t");
    assert!(within(AT_ONCE, || server.count("tools/list") > 1));
    let begun = Instant::now();
    let call = json!({"tool": "ok__echo", "args": {}});
    assert_eq!(text(&client.call("execute_tool", call)), "{}");
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
}

#[test]
fn missing_tool_list_blocks_at_most_one_timeout() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut entry = server.entry();
    entry["timeout"] = json!("3s");
    let mut client = Setup::new(json!({ "s": entry }), None).connect();
    echoes(&mut client, "s");
    server.on("tools/list", Reply::mute());
    server.on("odd", Reply::sse().event(CHANGED).event(ANSWER));
    let id = begin(&mut client, "odd", json!({}), "t");
    assert_eq!(text(&client.response(id)["result"]), "mine");
    assert!(within(AT_ONCE, || server.count("tools/list") > 1));
    server.behave();
    recovers(&mut client, "s");
}

#[test]
fn tools_changed_while_unsubscribed_are_listed_again() {
    let server = HttpServer::start(Era::Modern, Form::Json);
    let tells = r#"{"jsonrpc":"2.0","id":$id,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"listChanged":true}},"ttlMs":0,"cacheScope":"private"}}"#;
    server.on("server/discover", Reply::json(200, tells));
    let noted = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/subscriptionId":$id}}}"#;
    server.on("subscriptions/listen", Reply::sse().event(noted).wait(Duration::from_millis(200)));
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    echoes(&mut client, "s");
    assert!(within(AT_ONCE, || server.count("subscriptions/listen") > 1));
    assert!(within(AT_ONCE, || {
        echoes(&mut client, "s");
        server.count("tools/list") > 1
    }));
}

#[test]
fn abandoned_tool_lists_free_their_slots() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut entry = server.entry();
    entry["timeout"] = json!("1s");
    let mut client = Setup::new(json!({ "s": entry }), None).connect();
    echoes(&mut client, "s");
    server.on("tools/list", Reply::mute());
    server.on("odd", Reply::sse().event(CHANGED).event(ANSWER));
    let id = begin(&mut client, "odd", json!({}), "t");
    assert_eq!(text(&client.response(id)["result"]), "mine");
    // More than there are places for requests.
    let call = json!({"server": "s", "tool": "echo", "timeout_ms": 40});
    assert!(within(PATIENCE, || {
        client.call("execute_tool", call.clone());
        server.count("tools/list") > 300
    }));
    server.behave();
    recovers(&mut client, "s");
}
