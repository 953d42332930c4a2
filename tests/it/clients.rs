//! Real clients, through the built binary, to real servers over the example settings in `config/`.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::{
    clients, json_in, refusal,
    sdks::{Sdk, everything_script, gateway, gateway_over, in_clients_dir, node},
    text, unpriced,
};

fn server_everything() -> Vec<String> {
    vec![node().display().to_string(), everything_script().display().to_string(), "stdio".into()]
}

const ERAS: [(Sdk, &str, &str); 7] = [
    (Sdk::TypeScript1, "legacy", "2025-11-25"),
    (Sdk::TypeScript2, "legacy", "2025-11-25"),
    (Sdk::TypeScript2, "auto", "2026-07-28"),
    (Sdk::TypeScript2, "modern", "2026-07-28"),
    (Sdk::Python, "legacy", "2025-11-25"),
    (Sdk::Python, "auto", "2026-07-28"),
    (Sdk::Python, "modern", "2026-07-28"),
];

#[test]
fn every_sdk_calls_all_three_tools_everywhere() {
    let calls = json!([
        {"name": "list_servers", "arguments": {"agent_id": "researcher"}},
        {"name": "get_server_tools", "arguments": {"server": "everything", "names": "echo", "agent_id": "researcher"}},
        {"name": "execute_tool", "arguments": {"server": "everything", "tool": "echo", "args": {"message": "hi"}}},
        {"name": "execute_tool", "arguments": {"server": "everything", "tool": "get-env", "agent_id": "researcher"}},
        {"name": "no_such_tool", "arguments": {}},
    ]);
    for (sdk, era, version) in ERAS {
        let seen = sdk.session(era, &calls, &gateway());
        let context = format!("{sdk:?} {era}");
        assert_eq!(seen["protocolVersion"], version, "{context}");
        let names: Vec<&str> =
            seen["tools"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["list_servers", "get_server_tools", "execute_tool"], "{context}");
        let results = seen["results"].as_array().unwrap();
        assert_eq!(json_in(&results[0]).as_array().unwrap().len(), 2, "{context}");
        assert_eq!(json_in(&results[1])["tools"][0]["name"], "echo", "{context}");
        assert_eq!(text(&results[2]), "Echo: hi", "{context}");
        let denied = refusal(&results[3]);
        assert_eq!(denied["code"], "DENIED_BY_POLICY", "{context}");
        assert_eq!(denied["rule"], "agents.researcher.deny.tools.everything[0]", "{context}");
        assert_eq!(results[4]["rpcError"]["code"], -32602, "{context}");
    }
}

/// Calls of server-everything whose answers depend on nothing but the arguments.
const CALLS: [(&str, &str); 7] = [
    ("echo", r#"{"message":"héllo"}"#),
    ("get-sum", r#"{"a":2,"b":3.5}"#),
    ("get-tiny-image", "{}"),
    ("get-structured-content", r#"{"location":"New York"}"#),
    ("get-annotated-message", r#"{"messageType":"error","includeImage":true}"#),
    ("get-resource-links", r#"{"count":3}"#),
    ("get-resource-reference", r#"{"resourceType":"Text","resourceId":-1.5}"#),
];

#[test]
fn answers_through_the_gateway_equal_the_direct_answers() {
    let parsed = |args: &str| serde_json::from_str::<Value>(args).unwrap();
    let direct: Vec<Value> =
        CALLS.iter().map(|(tool, args)| json!({"name": tool, "arguments": parsed(args)})).collect();
    let through: Vec<Value> = CALLS
        .iter()
        .map(|(tool, args)| {
            let args = json!({"server": "everything", "tool": tool, "args": parsed(args)});
            json!({"name": "execute_tool", "arguments": args})
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let server = server_everything();
    let entry = json!({"command": server[0], "args": server[1..]});
    let gateway = gateway_over(dir.path(), &json!({ "everything": entry }));
    // The Python SDK shows what came over the wire, no more and no less.
    let expected = Sdk::Python.session("legacy", &Value::from(direct), &server);
    assert_eq!(expected["results"][6]["isError"], true, "the last call is one that fails");
    for era in ["legacy", "modern"] {
        let found = Sdk::Python.session(era, &Value::from(through.clone()), &gateway);
        for (index, (tool, _)) in CALLS.iter().enumerate() {
            let mut found = found["results"][index].clone();
            if era == "modern" {
                assert_eq!(
                    found.as_object_mut().unwrap().shift_remove("resultType"),
                    Some(json!("complete"))
                );
            }
            let expected = &expected["results"][index];
            let found = unpriced(found, expected);
            assert!(expected.get("content").is_some(), "{tool}: {expected}");
            assert_eq!(&found, expected, "{tool} {era}");
        }
    }
}

/// Runs the Inspector's CLI over the gateway: exit code, and its JSON from stdout or stderr.
fn inspect(era: &str, args: &[&str]) -> (i32, Value, Value) {
    let mut command = Command::new(clients().join("node_modules/.bin/node"));
    command
        .arg(clients().join("node_modules/.bin/mcp-inspector"))
        .args(["--cli", "--protocol-era", era, "--format", "json", "-q"])
        .args(args)
        .arg("--")
        .args(gateway());
    let out = in_clients_dir(&mut command);
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().rev().find_map(|line| serde_json::from_str(line).ok()).unwrap_or_default()
    };
    (out.status.code().unwrap_or(-1), last(&out.stdout), last(&out.stderr))
}

fn inspector_works(era: &str) {
    let (code, listed, errors) = inspect(era, &["--method", "tools/list"]);
    assert_eq!(code, 0, "{era}: {errors}");
    let tools = listed["result"]["tools"].as_array().unwrap();
    let names: Vec<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["list_servers", "get_server_tools", "execute_tool"], "{era}");

    let call = |tool: &str, args: Value| {
        let args = args.to_string();
        let words = ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", &args];
        inspect(era, &words)
    };
    let (code, listed, errors) = call("list_servers", json!({"include_metadata": true}));
    assert_eq!(code, 0, "{era}: {errors}");
    assert_eq!(json_in(&listed["result"])[0]["name"], "everything");
    let (code, tools, _) = call("get_server_tools", json!({"server": "everything"}));
    assert_eq!(code, 0, "{era}");
    let seen = tools["result"].to_string();
    assert!(seen.contains("get-sum") && !seen.contains("get-env"), "{era}: {seen}");
    let echo = json!({"server": "everything", "tool": "echo", "args": {"message": era}});
    let (code, result, _) = call("execute_tool", echo);
    assert_eq!(code, 0, "{era}");
    assert_eq!(text(&result["result"]), format!("Echo: {era}"));
    let denied = json!({"server": "filesystem", "tool": "write_file", "args": {"path": "x"}});
    let (code, result, _) = call("execute_tool", denied);
    assert_eq!(code, 5, "{era}: the Inspector's status for isError");
    assert_eq!(refusal(&result["result"])["code"], "DENIED_BY_POLICY");
}

#[test]
fn the_inspector_works_in_its_legacy_era() {
    inspector_works("legacy");
}

#[test]
fn the_inspector_works_in_its_auto_era() {
    inspector_works("auto");
}

#[test]
fn the_inspector_works_in_its_modern_era() {
    inspector_works("modern");
}

#[test]
fn python_servers_work_as_well() {
    let bin = clients().join(".venv/bin");
    let dir = tempfile::tempdir().unwrap();
    let git = Command::new("git").args(["init", "-q"]).current_dir(dir.path()).status().unwrap();
    assert!(git.success());
    let servers = json!({
        "time": {"command": bin.join("mcp-server-time"), "args": ["--local-timezone", "UTC"]},
        "git": {"command": bin.join("mcp-server-git"), "args": ["--repository", dir.path()]},
        "memory": {"command": clients().join("node_modules/.bin/node"),
            "args": [clients().join("node_modules/@modelcontextprotocol/server-memory/dist/index.js")],
            "env": {"MEMORY_FILE_PATH": dir.path().join("memory.json")}},
    });
    let gateway = gateway_over(dir.path(), &servers);
    let call = |server: &str, tool: &str, args: Value| json!({"name": "execute_tool", "arguments": {"server": server, "tool": tool, "args": args}});
    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let node =
        json!({"entities": [{"name": "tollgate", "entityType": "gateway", "observations": ["x"]}]});
    let calls = json!([
        call("time", "convert_time", noon),
        call("git", "git_status", json!({"repo_path": dir.path()})),
        call("memory", "create_entities", node),
        call("memory", "read_graph", json!({})),
    ]);
    let seen = Sdk::TypeScript2.session("auto", &calls, &gateway);
    let results = seen["results"].as_array().unwrap();
    assert!(text(&results[0]).contains("21:00"), "{}", results[0]);
    assert!(text(&results[1]).contains("No commits yet"), "{}", results[1]);
    assert!(text(&results[3]).contains("tollgate"), "{}", results[3]);
}
