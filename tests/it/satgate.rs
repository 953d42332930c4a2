//! Requests of satgate clients, and the answers that they expect.

use std::fs;

use serde_json::{Value, json};

use crate::support::{PATIENCE, Setup, within};

const QUICKSTART: &str = include_str!("data/satgate-quickstart.yaml");

/// The documented quickstart, over a server of ours and with this limit.
fn quickstart(limit: u64) -> Setup {
    let setup = Setup::new(json!({}), None);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripted.py");
    let tools = r#"["web_search","gpt4_summarize","dalle_generate","other"]"#;
    let command = json!(["python3", script, "--tools", tools]).to_string();
    let settings = QUICKSTART
        .replace(r#"["python3", "my_mcp_server.py"]"#, &command)
        .replace("limit: 1000", &format!("limit: {limit}"));
    assert!(settings.contains(script) && settings.contains(&format!("limit: {limit}\n")));
    fs::write(setup.path().join("gateway.yaml"), settings).unwrap();
    setup
}

#[test]
fn documented_requests_answer_as_documented() {
    let setup = quickstart(60);
    let mut client = setup.connect();
    let search = json!({"name": "web_search", "arguments": {"query": "test"}});
    let answer = client.request("tools/call", search.clone());
    assert_eq!(answer["result"]["content"][0]["text"], r#"{"query": "test"}"#, "{answer}");
    let mut left =
        |params: Value| client.request("satgate/budget", params)["result"]["remaining"].clone();
    assert!(within(PATIENCE, || left(json!({})) == 55));

    // 25, then 50: the prices of the quickstart.
    let call = |name: &str| json!({"name": name, "arguments": {}});
    let answer = client.request("tools/call", call("gpt4_summarize"));
    assert_eq!(answer["result"]["_meta"]["tollgate/cost"], 25, "{answer}");
    let refused = client.request("tools/call", call("dalle_generate"));
    assert_eq!(
        refused["error"]["data"],
        json!({
            "error": "insufficient_budget", "remaining_credits": 30, "cost_credits": 50,
            "tool": "dalle_generate", "account": "root",
            "_meta": {"tollgate/refusal": "BUDGET_EXHAUSTED"},
        })
    );
    for _ in 0..6 {
        let answer = client.request("tools/call", call("other"));
        assert_eq!(answer["result"]["_meta"]["tollgate/cost"], 5, "{answer}");
    }
    let message = json!({"jsonrpc": "2.0", "id": 42, "method": "tools/call", "params": search});
    client.send(&message);
    let refused = client.response(42);
    assert_eq!(refused["error"]["code"], -32000);
    let message = refused["error"]["message"].as_str().unwrap();
    for part in ["Budget exhausted", "web_search", "5 credits", "0 are left", "root"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let data = &refused["error"]["data"];
    assert_eq!(data["error"], "budget_exhausted");
    assert_eq!((&data["remaining_credits"], &data["cost_credits"]), (&json!(0), &json!(5)));
}

#[test]
fn shell_and_client_get_the_same_refusal() {
    let setup = quickstart(4);
    let mut client = setup.connect();
    let arguments = json!({"server": "my-tools", "tool": "web_search", "args": {}});
    let params = json!({"name": "execute_tool", "arguments": arguments});
    let refused = client.request("tools/call", params)["error"].clone();
    let (status, out, _) = setup.run(&["call", "my-tools", "web_search", "{}", "--json"]);
    assert_eq!(status, 3, "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["error"], refused);
    let (status, _, err) = setup.run(&["call", "my-tools", "web_search", "{}"]);
    assert_eq!(status, 3);
    assert!(err.contains(refused["message"].as_str().unwrap()), "{err}");
}
