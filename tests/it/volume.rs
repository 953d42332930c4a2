//! Large messages and many of them: what they cost is bounded in bytes.

use serde_json::json;

use crate::support::{Client, Setup, peak_kib, scripted_with, text};

/// What one message of 8 MB may cost; as trees of values they took more than 400 MiB.
const MOST_KIB: u64 = 48 * 1024;

fn connected(tools: &[&str]) -> Client {
    let mut server = scripted_with(tools);
    server["timeout"] = json!("120s");
    let mut client = Setup::new(json!({ "s": server }), None).connect();
    client.execute(
        "s",
        tools[0],
        json!({"values": [], "head": "{", "unit": "", "count": 0, "tail": "}"}),
    );
    // Its tools are counted in the background, which takes memory once.
    client.call("get_server_tools", json!({"server": "s"}));
    client
}

/// Text of nearly 8 MB: values of the same length in brackets.
fn filled(open: char, value: impl Fn(usize) -> String, close: char) -> String {
    let mut text = String::from(open);
    let mut number = 0;
    while text.len() < 7_900_000 {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&value(number));
        number += 1;
    }
    text.push(close);
    text
}

#[test]
fn arguments_of_small_values_cost_little_memory() {
    let shapes = [
        filled('[', |_| "0".into(), ']'),
        filled('[', |_| "{\"a\":0}".into(), ']'),
        filled('{', |n| format!("\"k{n}\":{{}}"), '}'),
    ];
    for values in shapes {
        let mut client = connected(&["count"]);
        let before = peak_kib(client.pid());
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":"big","method":"tools/call","params":{{"name":"execute_tool","arguments":{{"server":"s","tool":"count","args":{{"values":{values}}}}}}}}}"#
        );
        client.send_bytes(line.as_bytes());
        client.send_bytes(b"\n");
        let commas = values.bytes().filter(|b| *b == b',').count();
        assert_eq!(text(&client.response("big")["result"]), (commas + 1).to_string());
        let cost = peak_kib(client.pid()) - before;
        eprintln!("{cost} KiB");
        assert!(cost < MOST_KIB, "{cost} KiB");
    }
}

#[test]
fn a_result_of_small_values_costs_little_memory() {
    for (head, unit, count, tail) in [
        ("{\"content\":[],\"x\":[0", ",0", 3_900_000, "]}"),
        ("{\"content\":[],\"x\":[{}", ",{\"a\":{}}", 850_000, "]}"),
        ("{\"content\":[]", ",\"a\":{}", 1_100_000, "}"),
        ("{\"content\":[],\"_meta\":{\"a\":0", ",\"a\":0", 1_250_000, "}}"),
    ] {
        let mut client = connected(&["repeat"]);
        let before = peak_kib(client.pid());
        let args = json!({"head": head, "unit": unit, "count": count, "tail": tail});
        let call = json!({"server": "s", "tool": "repeat", "args": args});
        let id = client.begin("execute_tool", call);
        let line = client.next_line();
        let cost = peak_kib(client.pid()) - before;
        eprintln!("{cost} KiB");
        let text = String::from_utf8(line).unwrap();
        assert!(text.starts_with(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{head}")));
        assert_eq!(text.matches(unit).count(), count);
        assert!(text.ends_with("\"tollgate/remaining\":null}}}\n"), "{head}");
        assert!(cost < MOST_KIB, "{cost} KiB");
    }
}
