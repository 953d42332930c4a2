//! The server behind everything: MCP by hand on raw lines, in one thread, as fast as that goes, so
//! that what is measured is what stands before it.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::Era;

pub(super) const ROLE: &str = "echo";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    /// Goes back as it came.
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    bytes: Option<usize>,
}

/// Answers `echo {text}`, `record {text, rows}` and `payload {bytes}` until its input ends.
pub(super) fn serve(era: Era) {
    let mut input = BufReader::with_capacity(64 * 1024, io::stdin().lock());
    let mut output = io::stdout().lock();
    let mut payloads = HashMap::new();
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line).unwrap() > 0 {
        let message: Message = serde_json::from_slice(&line).unwrap();
        answer(&message, era, &mut payloads, &mut answers);
        line.clear();
        // What has arrived together is answered together.
        if !input.buffer().contains(&b'\n') {
            output.write_all(&answers).unwrap();
            output.flush().unwrap();
            answers.clear();
        }
    }
}

fn answer(message: &Message, era: Era, payloads: &mut HashMap<usize, Vec<u8>>, into: &mut Vec<u8>) {
    let (Some(id), Some(method)) = (message.id, &message.method) else { return };
    write!(into, r#"{{"jsonrpc":"2.0","id":{id},"#).unwrap();
    match (&**method, &message.params) {
        ("tools/call", Some(params)) => {
            let complete = if era == Era::Stateless { r#""resultType":"complete","# } else { "" };
            write!(into, r#""result":{{{complete}"content":[{{"type":"text","text":"#).unwrap();
            call(params, payloads, into);
            into.extend_from_slice(b"}]}}\n");
        }
        (other, _) => match result(other, era) {
            Some(result) => writeln!(into, r#""result":{result}}}"#).unwrap(),
            None => {
                writeln!(into, r#""error":{{"code":-32601,"message":"no such method"}}}}"#).unwrap()
            }
        },
    }
}

fn call(params: &Params, payloads: &mut HashMap<usize, Vec<u8>>, into: &mut Vec<u8>) {
    match (params.name.as_deref(), &params.arguments) {
        (Some("echo" | "record"), Some(Arguments { text: Some(text), .. })) => {
            into.extend_from_slice(text.get().as_bytes());
        }
        (Some("payload"), Some(Arguments { bytes: Some(bytes), .. })) => {
            into.extend_from_slice(payloads.entry(*bytes).or_insert_with(|| payload(*bytes)));
        }
        _ => into.extend_from_slice(br#""no such tool, or it lacks an argument""#),
    }
}

/// A JSON string of about this number of bytes: source code, with as many quotes and line ends as that has.
fn payload(bytes: usize) -> Vec<u8> {
    const LINE: &str = "    let name = names.get(\"first\").map(String::as_str).unwrap_or(\"nobody\"); // as before\n";
    let text: String = LINE.chars().cycle().take(bytes).collect();
    serde_json::to_vec(&text).unwrap()
}

fn result(method: &str, era: Era) -> Option<serde_json::Value> {
    let us = json!({"name": "echo", "version": "1"});
    match (method, era) {
        ("initialize", Era::Handshake) => Some(json!({
            "protocolVersion": era.version(), "capabilities": {"tools": {}}, "serverInfo": us,
        })),
        ("server/discover", Era::Stateless) => Some(json!({
            "resultType": "complete", "supportedVersions": [era.version()],
            "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": us},
        })),
        ("tools/list", Era::Handshake) => Some(json!({"tools": tools()})),
        ("tools/list", Era::Stateless) => Some(json!({
            "resultType": "complete", "tools": tools(), "ttlMs": 0, "cacheScope": "public",
        })),
        ("ping", Era::Handshake) => Some(json!({})),
        _ => None,
    }
}

fn tools() -> serde_json::Value {
    let tool = |name: &str, what: &str, argument: &str, kind: &str| {
        let properties = json!({argument: {"type": kind}});
        json!({"name": name, "description": what, "inputSchema":
            {"type": "object", "properties": properties, "required": [argument]}})
    };
    let row = json!({"type": "object", "required": ["id", "name"], "properties": {
        "id": {"type": "integer"}, "name": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "score": {"type": "number"}, "open": {"type": "boolean"}}});
    let mut record = tool("record", "Gives the text back and takes rows.", "text", "string");
    record["inputSchema"]["properties"]["rows"] = json!({"type": "array", "items": row});
    json!([
        record,
        tool("echo", "Gives the text back.", "text", "string"),
        tool("payload", "Answers a text of that number of bytes.", "bytes", "integer"),
    ])
}
