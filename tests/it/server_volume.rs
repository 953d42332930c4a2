//! One message of a server, of 16 MB and made of small values: it costs little memory, whatever it
//! says. Results of calls are in `volume`.

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    http::{ANSWER, echoes},
    http_server::{Era, Form, HttpServer, Reply},
    peak_kib, scripted, text,
};

/// What one message may cost, with a margin for what the machine keeps back.
const MOST_KIB: u64 = 80 * 1024;

/// What a message begins with, what it repeats, how often, and what it ends with; `$id` and `$token`
/// are those of a call in flight.
type Message = (&'static str, &'static str, usize, &'static str);

const MESSAGES: [Message; 9] = [
    (
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":$token,"progress":1,"x":[0"#,
        ",0",
        7_900_000,
        "]}}",
    ),
    (r#"{"jsonrpc":"2.0","method":"notifications/message","params":[0"#, ",0", 7_900_000, "]}"),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"a":{}"#,
        r#","a":{}"#,
        2_200_000,
        "}}",
    ),
    (
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"q","x":[{}"#,
        ",{}",
        5_200_000,
        "]}}",
    ),
    (
        r#"{"jsonrpc":"2.0","id":"q1","method":"elicitation/create","params":{"message":"?","x":[0"#,
        ",0",
        7_900_000,
        "]}}",
    ),
    (r#"{"jsonrpc":"2.0","id":"q2","method":"ping","params":{"x":[0"#, ",0", 7_900_000, "]}}"),
    (
        r#"{"jsonrpc":"2.0","id":"q3","method":"sampling/createMessage","params":{"x":[0"#,
        ",0",
        7_900_000,
        "]}}",
    ),
    (r#"{"jsonrpc":"2.0","id":987654,"result":{"x":[0"#, ",0", 7_900_000, "]}}"),
    (r#"{"jsonrpc":"2.0","x":[0"#, ",0", 7_900_000, r#"],"y":1}"#),
];

fn asked(entry: Value) -> Client {
    let mut entry = entry;
    entry["elicitation"] = json!("allow");
    let mut client = Setup::new(json!({ "s": entry }), None).start();
    client.capabilities = json!({"elicitation": {}});
    client.handshake("2025-11-25");
    echoes(&mut client, "s");
    client
}

#[track_caller]
fn costs_little(client: &Client, before: u64, head: &str) {
    let cost = peak_kib(client.pid()) - before;
    eprintln!("{cost} KiB: {head}");
    assert!(cost < MOST_KIB, "{cost} KiB: {head}");
}

#[test]
fn no_message_over_pipes_costs_much_memory() {
    for (head, unit, count, tail) in MESSAGES {
        let server = scripted(&["--tools", r#"["echo", "say"]"#, "--era", "legacy"]);
        let mut client = asked(server);
        let before = peak_kib(client.pid());
        let args = json!({"head": head, "unit": unit, "count": count, "tail": tail});
        assert_eq!(text(&client.execute("s", "say", args)), "said", "{head}");
        costs_little(&client, before, head);
    }
}

#[test]
fn no_message_over_http_costs_much_memory() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    for (head, unit, count, tail) in MESSAGES {
        let mut client = asked(server.entry());
        let before = peak_kib(client.pid());
        let event = Reply::sse().text(&format!("data: {head}")).repeat(unit, count);
        server.on("odd", event.text(&format!("{tail}\n\n")).event(ANSWER));
        assert_eq!(text(&client.execute("s", "odd", json!({}))), "mine", "{head}");
        costs_little(&client, before, head);
    }
}

#[test]
fn no_answer_to_ours_costs_much_memory() {
    let of_id = r#"{"jsonrpc":"2.0","id":$id,"#;
    let answers = [
        ("tools/list", r#""result":{"tools":[{}"#, ",{}", 5_200_000, "]}}"),
        ("tools/list", r#""result":{"tools":[],"x":[0"#, ",0", 7_900_000, "]}}"),
        (
            "tools/list",
            r#""result":{"tools":[{"name":"x","inputSchema":{"type":"object","enum":[0"#,
            ",0",
            7_900_000,
            "]}}]}}",
        ),
        ("initialize", r#""result":{"x":[0"#, ",0", 7_900_000, "]}}"),
        ("odd", r#""error":{"code":1,"message":"m","data":[0"#, ",0", 7_900_000, "]}}"),
    ];
    for (key, head, unit, count, tail) in answers {
        let server = HttpServer::start(Era::Legacy, Form::Json);
        let setup = Setup::new(json!({"s": server.entry()}), None);
        let mut client = setup.connect();
        if key == "odd" {
            echoes(&mut client, "s");
        }
        let before = peak_kib(client.pid());
        let reply = Reply::json(200, &format!("{of_id}{head}")).repeat(unit, count).text(tail);
        server.on(key, reply);
        let call = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
        client.response(call);
        costs_little(&client, before, head);
    }
}
