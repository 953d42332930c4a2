//! The three tools on the wire, in every era, and bad input from the client.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Setup, json_in, refusal, scripted, scripted_with, text};

/// The array as it is sent, byte for byte; a change here is a change for every agent.
const TOOLS: &str = include_str!("data/tools.json");

fn echo() -> Setup {
    Setup::new(json!({"s": scripted_with(&["echo", "slow"])}), None)
}

#[test]
fn tools_array_is_identical_in_every_era() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = echo().start();
        let initialized = client.handshake(version);
        assert_eq!(initialized["protocolVersion"], version);
        assert_eq!(initialized["serverInfo"]["name"], "tollgate");
        assert_eq!(initialized["capabilities"], json!({"tools": {}}));
        let result = client.request("tools/list", json!({}))["result"].clone();
        assert_eq!(result.to_string(), format!("{{\"tools\":{}}}", TOOLS.trim()), "{version}");
    }
    let mut client = echo().connect_stateless();
    let result = client.request("tools/list", json!({}))["result"].clone();
    assert_eq!(result["tools"].to_string(), TOOLS.trim());
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["cacheScope"], "public");
    assert!(result["ttlMs"].as_u64().unwrap() > 0);
}

#[test]
fn server_discover_names_all_versions_and_fixes_none() {
    let setup = echo();
    let mut client = setup.connect_stateless();
    let discovered = client.request("server/discover", json!({}))["result"].clone();
    for version in ["2024-11-05", "2025-11-25", "2026-07-28"] {
        assert!(discovered["supportedVersions"].as_array().unwrap().contains(&version.into()));
    }
    assert!(discovered["instructions"].as_str().unwrap().contains("list_servers"));
    client.stateless = false;
    client.handshake("2025-06-18");
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
}

#[test]
fn an_unsupported_version_is_refused_with_those_that_work() {
    let mut client = echo().start();
    let meta = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2030-01-01",
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let error = client.request("tools/list", meta)["error"].clone();
    assert_eq!(error["code"], -32022);
    assert!(error["data"]["supported"].as_array().unwrap().contains(&"2026-07-28".into()));
    // A handshake that names a version without one gets the newest that has one.
    assert_eq!(client.handshake("2026-07-28")["protocolVersion"], "2025-11-25");
}

#[test]
fn what_is_not_offered_is_an_unknown_method() {
    let mut client = echo().connect();
    for method in ["prompts/list", "resources/list", "resources/templates/list", "nope/nope"] {
        assert_eq!(client.request(method, json!({}))["error"]["code"], -32601, "{method}");
    }
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
}

#[test]
fn handshake_starts_none_of_seventy_servers() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let starts = starts.to_str().unwrap();
    let mut servers = serde_json::Map::new();
    for i in 0..20 {
        servers.insert(format!("good{i}"), scripted(&["--starts", starts]));
    }
    for i in 0..25 {
        servers.insert(format!("hangs{i}"), scripted(&["--silent", "--starts", starts]));
        servers.insert(format!("broken{i}"), json!({"command": "/no/such/program"}));
    }
    let setup = Setup::new(Value::Object(servers), None);
    let mut client = setup.connect_stateless();
    client.request("server/discover", json!({}));
    client.stateless = false;
    client.handshake("2025-11-25");
    client.request("tools/list", json!({}));
    assert_eq!(json_in(&client.call("list_servers", json!({}))).as_array().unwrap().len(), 70);
    assert!(!std::path::Path::new(starts).exists(), "a server was started");

    let hanging: Vec<u64> = (0..25)
        .map(|i| {
            let server = format!("hangs{i}");
            client.begin("execute_tool", json!({"server": server, "tool": "echo"}))
        })
        .collect();
    assert_eq!(text(&client.execute("good0", "echo", json!({"n": 1}))), r#"{"n": 1}"#);
    let broken = refusal(&client.execute("broken3", "echo", json!({})));
    assert_eq!(broken["code"], "SERVER_UNAVAILABLE");
    assert!(broken["message"].as_str().unwrap().contains("command was not found"));
    assert!(client.next(Duration::ZERO).is_none(), "a hanging call was answered");
    drop(hanging);
}

/// Sends bytes and compares the code and the id of the answer.
fn check_bad(client: &mut Client, bytes: &[u8], code: i64, id: Value) {
    client.send_bytes(bytes);
    client.send_bytes(b"\n");
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    let answer = client.next(PATIENCE).unwrap_or_else(|| panic!("no answer to {shown}"));
    assert_eq!(answer["error"]["code"], code, "{shown} -> {answer}");
    assert_eq!(answer["id"], id, "{shown} -> {answer}");
}

#[test]
fn invalid_input_is_answered_and_disturbs_no_call() {
    let mut client = echo().connect();
    let slow = json!({"server": "s", "tool": "slow", "args": {"ms": 1500}});
    let slow = client.begin("execute_tool", slow);
    bad_input(&mut client);
    assert_eq!(text(&client.response(slow)["result"]), "slow");
    assert_eq!(
        text(&client.execute("s", "echo", json!({"still": "here"}))),
        r#"{"still": "here"}"#
    );
    assert!(client.finish().0.success());
}

#[test]
fn invalid_input_is_answered_before_the_handshake() {
    let mut client = echo().start();
    // Neither a notification nor a response may begin a session; both are passed over.
    client.notify("notifications/cancelled");
    client.send(&json!({"jsonrpc": "2.0", "id": 99, "result": {}}));
    bad_input(&mut client);
    client.handshake("2025-11-25");
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
}

fn bad_input(client: &mut Client) {
    check_bad(client, b"{not json", -32700, Value::Null);
    check_bad(client, br#"{"jsonrpc":"2.0","id":1,"method":"#, -32700, json!(1));
    check_bad(client, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\xfe\"}", -32700, json!(1));
    check_bad(client, br#"{"jsonrpc":"2.0","id":1,"result":"#, -32700, Value::Null);
    check_bad(client, b"[]", -32600, Value::Null);
    check_bad(client, br#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600, Value::Null);
    check_bad(client, b"42", -32600, Value::Null);
    check_bad(client, br#"{"id":7,"method":"ping"}"#, -32600, json!(7));
    check_bad(client, br#"{"jsonrpc":"1.0","id":"a","method":"ping"}"#, -32600, json!("a"));
    check_bad(client, br#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600, json!(1.5));
    check_bad(client, br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, Value::Null);
    check_bad(client, br#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, -32600, Value::Null);
    let deep = format!(
        r#"{{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{}1{}}}"#,
        "[".repeat(5000),
        "]".repeat(5000)
    );
    check_bad(client, deep.as_bytes(), -32600, json!(5));
    let long = "x".repeat(17 * 1024 * 1024);
    let long = format!(r#"{{"jsonrpc":"2.0","method":"ping","params":{{"x":"{long}"}},"id":"L"}}"#);
    check_bad(client, long.as_bytes(), -32600, json!("L"));
    // These get no answer.
    client.send_bytes(b"\n   \n\r\n");
    client.send_bytes(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/unknown\"}\n");
    client.send_bytes(b"{\"jsonrpc\":\"2.0\",\"id\":31,\"result\":{}}\n");
}

#[test]
fn malformed_params_of_a_known_method_are_bad_params() {
    let mut client = echo().connect();
    for params in [json!({"name": 5}), json!({}), json!({"name": "list_servers", "arguments": "x"})]
    {
        let error = client.request("tools/call", params.clone())["error"].clone();
        assert_eq!(error["code"], -32602, "{params}");
    }
    let error = client.request("tools/call", json!({"name": "no_such_tool"}))["error"].clone();
    assert_eq!(error["code"], -32602);
    assert!(error.to_string().contains("get_server_tools"), "{error}");
}

#[test]
fn wrong_arguments_are_tool_errors_with_a_hint() {
    let mut client = echo().connect();
    let cases = [
        ("list_servers", json!({"agent": "x"}), "did you mean `agent_id`"),
        ("list_servers", json!({"agent_id": 5}), "`agent_id` must be a string"),
        ("list_servers", json!({"include_metadata": "yes"}), "must be true or false"),
        ("get_server_tools", json!({}), "`server` is missing"),
        ("get_server_tools", json!({"server": null}), "`server` is missing"),
        ("get_server_tools", json!({"server": ["s"]}), "`server` must be a string"),
        ("get_server_tools", json!({"server": "s", "max_schema_tokens": -1}), "integer from 0 up"),
        ("get_server_tools", json!({"server": "s", "max_schema_tokens": 1.5}), "integer from 0 up"),
        ("get_server_tools", json!({"server": "s", "max_schema_tokens": "9"}), "integer from 0 up"),
        ("get_server_tools", json!({"server": "s", "detail": "all"}), "auto, names, summary"),
        ("get_server_tools", json!({"server": "s", "query": 5}), "`query` must be a string"),
        ("get_server_tools", json!({"server": "x".repeat(600)}), "600 bytes long"),
        ("get_server_tools", json!({"server": "s", "pattern": "[ab]"}), "character class"),
        ("execute_tool", json!({"server": "s"}), "`tool` is missing"),
        ("execute_tool", json!({"server": "s", "tool": "echo", "args": "[]"}), "must be an object"),
        (
            "execute_tool",
            json!({"server": "s", "tool": "echo", "args": {}, "arguments": {}}),
            "give one",
        ),
        (
            "execute_tool",
            json!({"server": "s", "tool": "echo", "timeout_ms": 0}),
            "positive integer",
        ),
        (
            "execute_tool",
            json!({"server": "s", "tool": "echo", "timeout_ms": -1}),
            "positive integer",
        ),
        (
            "execute_tool",
            json!({"server": "s", "tool": "echo", "timeout_ms": 1.5}),
            "positive integer",
        ),
        (
            "execute_tool",
            json!({"server": "s", "tool": "echo", "extra": 1}),
            "unknown argument `extra`",
        ),
        (
            "execute_tool",
            json!({"server": "s", "tool": "echo", "max_result_tokens": 1}),
            "not supported",
        ),
    ];
    for (tool, arguments, expected) in cases {
        let error = refusal(&client.call(tool, arguments.clone()));
        assert_eq!(error["code"], "INVALID_ARGUMENTS", "{tool} {arguments}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(expected), "{tool} {arguments}: {message}");
    }
    let result =
        client.call("execute_tool", json!({"server": "s", "tool": "echo", "arguments": {"a": 1}}));
    assert_eq!(text(&result), r#"{"a": 1}"#);
}

#[test]
fn schema_violations_show_the_signature_and_send_nothing() {
    let tool = json!({"name": "add", "inputSchema": {"type": "object", "required": ["a"],
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 0}}}});
    let tools = json!([tool, "heard"]).to_string();
    let setup = Setup::new(json!({"s": scripted(&["--tools", &tools])}), None);
    let mut client = setup.connect();
    let error = refusal(&client.execute("s", "add", json!({"a": "one"})));
    assert_eq!(error["code"], "INVALID_ARGUMENTS");
    assert_eq!(error["signature"], "add(a: integer, b?: integer = 0)");
    assert!(error["message"].as_str().unwrap().contains("`args/a`"));
    assert_eq!(text(&client.execute("s", "add", json!({"a": 1}))), r#"{"a": 1}"#);
    let heard = text(&client.execute("s", "heard", json!({}))).to_owned();
    assert!(!heard.contains("one"), "{heard}");
}

#[test]
fn unknown_servers_and_tools_offer_names_like_them() {
    let mut client = echo().connect();
    let error = refusal(&client.execute("s_", "echo", json!({})));
    assert_eq!(error["code"], "SERVER_NOT_FOUND");
    assert_eq!(error["hint"], "did you mean `s`?");
    let error = refusal(&client.execute("elsewhere", "echo", json!({})));
    assert!(error["hint"].as_str().unwrap().contains("list_servers"));
    let error = refusal(&client.execute("s", "ecko", json!({})));
    assert_eq!(error["code"], "TOOL_NOT_FOUND");
    assert_eq!(error["hint"], "did you mean `echo`?");
}

#[test]
fn get_server_tools_filters_and_keeps_server_order() {
    let names = ["get_user", "delete_user", "get_item", "create_user", "list_items"];
    let setup = Setup::new(json!({"s": scripted_with(&names)}), None);
    let mut client = setup.connect();
    let mut check = |arguments: Value, expected: &[&str]| {
        let mut all = json!({"server": "s"});
        all.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
        let result = client.call("get_server_tools", all);
        assert!(result.get("structuredContent").is_none());
        let found = json_in(&result);
        let names: Vec<&str> = found["tools"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{arguments}");
        assert_eq!(found["total_available"], 5);
        assert_eq!(found["returned"], expected.len());
        assert_eq!(found["tokens_used"].as_u64().unwrap() > 0, !expected.is_empty());
    };
    check(json!({}), &names);
    check(json!({"names": "delete_user,get_user"}), &["get_user", "delete_user"]);
    check(json!({"names": " get_user , list_items "}), &["get_user", "list_items"]);
    check(json!({"names": " , "}), &names);
    check(json!({"names": "nope"}), &[]);
    check(json!({"pattern": "get_*"}), &["get_user", "get_item"]);
    check(json!({"pattern": "*_user"}), &["get_user", "delete_user", "create_user"]);
    check(json!({"pattern": "*"}), &names);
    check(json!({"pattern": "none*"}), &[]);
    check(json!({"pattern": "*_user", "names": "get_user,get_item"}), &["get_user"]);
}

#[test]
fn list_servers_shows_no_arguments_headers_or_environment() {
    let mut server = scripted_with(&["echo"]);
    server["env"] = json!({"API_KEY": "sk-very-secret"});
    server["description"] = json!("for tests");
    let remote = json!({"url": "http://user:hunter22@127.0.0.1:9/mcp?key=query-secret",
        "headers": {"Authorization": "Bearer header-secret"}});
    let setup = Setup::new(json!({"s": server, "remote": remote}), None);
    let mut client = setup.connect();
    let plain = json_in(&client.call("list_servers", json!({})));
    assert_eq!(plain[0], json!({"name": "s", "description": "for tests"}));
    let metadata = json!({"include_metadata": true});
    let full = json_in(&client.call("list_servers", metadata.clone()));
    assert_eq!(full[0]["command"], "python3");
    assert_eq!(full[0]["status"], "not started");
    assert_eq!(full[1]["url"], "http://127.0.0.1:9/mcp");
    assert_eq!(full[1]["transport"], "http");
    for secret in ["secret", "hunter22", "scripted.py"] {
        assert!(!full.to_string().contains(secret), "{full}");
    }
    client.execute("s", "echo", json!({}));
    let full = json_in(&client.call("list_servers", metadata));
    assert_eq!((&full[0]["status"], &full[0]["tools"]), (&json!("ready"), &json!(1)));
    let error = refusal(&client.execute("remote", "x", json!({})));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("allowPrivate"), "{error}");
    for secret in ["secret", "hunter22"] {
        assert!(!error.to_string().contains(secret), "{error}");
    }
}

#[test]
fn the_debug_tool_is_there_only_when_asked_for() {
    let mut client = echo().connect();
    let error =
        client.request("tools/call", json!({"name": "get_gateway_status"}))["error"].clone();
    assert_eq!(error["code"], -32602);
    for setup in [echo().arg("--debug"), echo().env("GATEWAY_DEBUG", "Yes")] {
        let mut client = setup.connect();
        let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
        assert_eq!(tools.as_array().unwrap().len(), 4);
        let status = json_in(&client.call("get_gateway_status", json!({})));
        assert_eq!(status["available_servers"], json!(["s"]));
        assert_eq!(status["policy_state"]["agent_ids"], json!(["default"]));
        assert_eq!(status["reload_status"]["mcp_config"]["success_count"], 1);
    }
}
