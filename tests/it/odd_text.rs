//! Text that is not quite JSON, and JSON that means something to a library.

use serde_json::{Value, json};

use crate::support::{PATIENCE, Setup, json_in, refusal, scripted, scripted_with, text};

const PRIVATE: [&str; 3] = [
    "$serde_json::private::RawValue",
    "$serde_json::private::Number",
    "\\u0024serde_json::private::R\\u0061wValue",
];

#[test]
fn half_a_surrogate_pair_becomes_the_replacement_character() {
    let tools = r#"[{"name": "cut", "description": "Cut \ud83d here."}, "raw", "echo"]"#;
    let setup = Setup::new(json!({"s": scripted(&["--tools", tools])}), None);
    let mut client = setup.connect();
    let tools = client.call("get_server_tools", json!({"server": "s", "detail": "full"}));
    assert_eq!(json_in(&tools)["tools"][0]["description"], "Cut \u{fffd} here.");
    let result = r#"{"content":[{"type":"text","text":"\ud83d\ude00 \ude00\\ud83d"}]}"#;
    let result = client.execute("s", "raw", json!({"json": result}));
    assert_eq!(text(&result), "😀 \u{fffd}\\ud83d");
    let call = r#"{"jsonrpc":"2.0","id":"\ud800!","method":"tools/call","params":{"name":"execute_tool","arguments":{"server":"s","tool":"echo","args":{"x":"\udfff"}}}}"#;
    client.send_bytes(format!("{call}\n").as_bytes());
    let answer = client.response("\u{fffd}!");
    assert_eq!(json_in(&answer["result"]), json!({"x": "\u{fffd}"}));
}

#[test]
fn unusable_requests_are_answered_under_their_id() {
    let mut client = Setup::new(json!({}), None).connect();
    let many = format!("[{}0]", "0,".repeat(100_000));
    for (id, request, code) in [
        (51, "\"method\":\"ping\",\"params\":{\"a\":tru}".to_owned(), -32700),
        (52, "\"method\":\"ping\",\"params\":{\"a\":\"\\x\"}".to_owned(), -32700),
        (53, format!("\"method\":\"ping\",\"params\":{{\"a\":{many}}}"), -32600),
        (
            54,
            format!(
                "\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"_meta\":{{\"a\":{many}}}}}"
            ),
            -32602,
        ),
        (
            55,
            format!("\"method\":\"tools/call\",\"params\":{{\"name\":[\"echo\"],\"a\":{many}}}"),
            -32600,
        ),
    ] {
        client.send_bytes(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{request}}}\n").as_bytes());
        let answer = client.next(PATIENCE).unwrap();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(id), &json!(code)),
            "{answer}"
        );
    }
}

#[test]
fn private_names_of_the_json_library_are_never_unpacked() {
    let setup = Setup::new(json!({"s": scripted_with(&["raw", "echo"])}), None);
    let mut client = setup.connect();
    for name in PRIVATE {
        let object = format!(r#"{{"{name}":"[[1]]"}}"#);
        // A result passes as it is.
        let result = format!(r#"{{"content":[],"structuredContent":{object}}}"#);
        client
            .begin("execute_tool", json!({"server": "s", "tool": "raw", "args": {"json": result}}));
        let line = String::from_utf8(client.next_line()).unwrap();
        assert!(line.contains(&format!(r#""structuredContent":{object}"#)), "{line}");
        // What has to be read is refused.
        let request = |id: u32, method: &str, params: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#) + "\n"
        };
        let call = format!(
            r#"{{"name":"execute_tool","arguments":{{"server":"s","tool":"echo","args":{object}}}}}"#
        );
        client.send_bytes(request(91, "tools/call", &call).as_bytes());
        let error = refusal(&client.response(91)["result"]);
        assert_eq!(error["code"], "INVALID_ARGUMENTS");
        for (id, params) in [(92, object.clone()), (93, format!(r#"{{"_meta":{object}}}"#))] {
            client.send_bytes(request(id, "tools/list", &params).as_bytes());
            assert_eq!(client.response(id)["error"]["code"], -32600);
        }
    }
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
}

#[test]
fn private_name_does_not_lift_the_nesting_limit() {
    let mut client = Setup::new(json!({}), None).connect();
    let mut deep = "[".repeat(100) + &"]".repeat(100);
    for _ in 0..4 {
        deep = format!(r#"{{"$serde_json::private::RawValue":{}}}"#, Value::from(deep));
    }
    let line = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"ping","params":{deep}}}"#);
    client.send_bytes(format!("{line}\n").as_bytes());
    assert_eq!(client.response(7)["error"]["code"], -32600);
}
