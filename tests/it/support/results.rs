//! Tool results of every shape, and that they pass through unchanged.

use serde_json::{Value, json};

use crate::support::{Client, unpriced};

/// Results as a server may write them: unknown members and content types, numbers that do not fit,
/// key order, shapes that look like other results.
pub const RESULTS: [&str; 12] = [
    r#"{"content":[{"type":"text","text":"hi"}]}"#,
    r#"{"content":[{"type":"text","text":"é\u0000\ud83d\ude00","annotations":{"audience":["user"],"x":1}}],"isError":true}"#,
    r#"{"content":[{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png"},{"type":"text","text":"b"}],"isError":false}"#,
    r#"{"content":[{"type":"video","url":"x","deep":{"a":[1,{"b":null}]}}],"unknown":{"z":1,"a":2}}"#,
    r#"{"content":[],"structuredContent":{"big":123456789012345678901234567890,"float":1.10,"exp":1e400,"neg":-0.0,"int":18446744073709551615}}"#,
    r#"{"content":[],"tools":[],"resources":[],"action":"accept","nextCursor":"x"}"#,
    r#"{"content":[{"type":"resource","resource":{"uri":"a://b","text":"t","annotations":{"p":0.5}}}],"_meta":{"k":"v","vendor/x":[1.0]}}"#,
    r#"{"content":[{"type":"resource_link","uri":"a://b","name":"n","size":3}]}"#,
    r#"{"content":[{"type":"audio","data":"AA==","mimeType":"audio/wav"}]}"#,
    r#"{}"#,
    r#"{"toolResult":{"old":true}}"#,
    r#"{"content":[{"type":"text","text":"x"}],"structuredContent":null,"isError":null}"#,
];

/// Compares after parsing, numbers by their text; 2026-07-28 adds its `resultType`.
pub fn passes(client: &mut Client, tool: &str, result: &str) {
    let mut expected: Value = serde_json::from_str(result).unwrap();
    if client.stateless {
        expected["resultType"] = json!("complete");
    }
    let found = unpriced(client.execute("s", tool, json!({ "json": result })), &expected);
    assert_eq!(found, expected);
    assert_eq!(found.to_string(), expected.to_string(), "order and numbers");
}
