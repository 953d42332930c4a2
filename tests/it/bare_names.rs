//! Calls by a tool's own name, as clients of older gateways make them: owners are found from a cold
//! start, whatever the default is, and the gateway's own tools answer where no server has the name.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{Client, Setup, json_in, refusal, scripted, settings::GATEWAY, text};

/// A scripted server that notes its starts and calls in files named after it.
fn server(dir: &Path, name: &str, tools: &[&str], more: &[&str]) -> Value {
    let place = |what: &str| dir.join(format!("{name}-{what}")).to_str().unwrap().to_owned();
    let (tools, calls, starts) = (json!(tools).to_string(), place("calls"), place("starts"));
    let args = ["--tools", &tools, "--calls", &calls, "--starts", &starts];
    scripted(&[args.as_slice(), more].concat())
}

/// Servers in `.mcp.json`, and a `gateway.yaml`.
fn setup(servers: &[(&str, &[&str], &[&str])], gateway: &str) -> Setup {
    let setup = Setup::new(json!({}), None);
    let entries = servers
        .iter()
        .map(|(name, tools, more)| ((*name).to_owned(), server(setup.path(), name, tools, more)));
    let entries: serde_json::Map<String, Value> = entries.collect();
    let file = json!({"mcpServers": entries});
    fs::write(setup.path().join(".mcp.json"), file.to_string()).unwrap();
    fs::write(setup.path().join(GATEWAY), gateway).unwrap();
    setup
}

/// The tools that were called on a server.
fn calls(setup: &Setup, server: &str) -> Vec<String> {
    lines(setup, server, "calls")
}

fn lines(setup: &Setup, server: &str, what: &str) -> Vec<String> {
    let text = fs::read_to_string(setup.path().join(format!("{server}-{what}")));
    text.unwrap_or_default().lines().map(str::to_owned).collect()
}

fn direct(client: &mut Client, tool: &str) -> Value {
    client.request("tools/call", json!({"name": tool, "arguments": {"x": 1}}))
}

#[track_caller]
fn echoes(answer: &Value) {
    assert_eq!(answer["result"]["content"][0]["text"], r#"{"x": 1}"#, "{answer}");
}

#[test]
fn satgate_quickstart_with_two_upstreams_answers_cold() {
    const TOOLS: [(&str, [&str; 2]); 2] =
        [("my-tools", ["web_search", "gpt4_summarize"]), ("images", ["dalle_generate", "other"])];
    // Each tool is the first that is called, from a cold start.
    for first in TOOLS.iter().flat_map(|(_, tools)| tools) {
        let setup = Setup::new(json!({}), None);
        let commands = TOOLS.map(|(name, tools)| {
            let entry = server(setup.path(), name, &tools, &[]);
            let args = entry["args"].as_array().unwrap().iter();
            let command: Vec<&str> =
                std::iter::once("python3").chain(args.map(|arg| arg.as_str().unwrap())).collect();
            json!(command).to_string()
        });
        let quickstart = include_str!("data/satgate-quickstart.yaml");
        let [one, two] = &commands;
        let settings = quickstart.replace(r#"["python3", "my_mcp_server.py"]"#, one).replace(
            "\nbudget:",
            &format!("\n  images:\n    transport: stdio\n    command: {two}\nbudget:"),
        );
        assert!(settings.contains("images:"), "{settings}");
        fs::write(setup.path().join(GATEWAY), settings).unwrap();
        let mut client = setup.connect();
        echoes(&direct(&mut client, first));
        for (name, tools) in TOOLS {
            for tool in tools {
                echoes(&direct(&mut client, tool));
                assert!(calls(&setup, name).contains(&tool.to_owned()), "{tool} on {name}");
            }
        }
        let unknown = &direct(&mut client, "no_such")["error"];
        assert_eq!(unknown["code"], -32602);
        assert_eq!(unknown["data"]["_meta"]["tollgate/refusal"], "TOOL_NOT_FOUND", "{unknown}");
    }
}

#[test]
fn default_upstream_hides_no_tool_of_another() {
    for default in ["a", "b"] {
        let servers: [(&str, &[&str], &[&str]); 2] = [("a", &["one"], &[]), ("b", &["two"], &[])];
        let setup = setup(&servers, &format!("defaultUpstream: {default}"));
        let mut client = setup.connect();
        echoes(&direct(&mut client, "two"));
        let call = json!({"tool": "one", "args": {"x": 1}});
        assert_eq!(text(&client.call("execute_tool", call)), r#"{"x": 1}"#);
        assert_eq!(
            (calls(&setup, "a"), calls(&setup, "b")),
            (vec!["one".to_owned()], vec!["two".to_owned()]),
        );
        let missing = direct(&mut client, "three")["error"]["message"].clone();
        let says = format!("server `{default}` has no tool `three`");
        assert!(missing.as_str().unwrap().contains(&says), "{missing}");
    }
}

#[test]
fn own_tools_answer_by_bare_name_beside_a_default() {
    let servers: [(&str, &[&str], &[&str]); 2] = [("a", &["one"], &[]), ("b", &["budget"], &[])];
    let with_default = setup(&servers, "defaultUpstream: a");
    let mut client = with_default.connect();
    let ping = direct_without_arguments(&mut client, "ping");
    assert_eq!(json_in(&ping["result"]), json!({"ok": true}), "{ping}");
    // A server that has a tool of that name goes first, from a cold start as well.
    let cold = setup(&servers, "defaultUpstream: a");
    echoes(&direct(&mut cold.connect(), "budget"));
    assert_eq!(calls(&cold, "b"), ["budget"]);
    let alone: [(&str, &[&str], &[&str]); 1] = [("a", &["one"], &[])];
    let setup = setup(&alone, "");
    let mut client = setup.connect();
    let answer = client.call("execute_tool", json!({"tool": "budget"}));
    assert!(json_in(&answer).get("remaining").is_some(), "{answer}");
    assert!(calls(&setup, "a").is_empty());
}

fn direct_without_arguments(client: &mut Client, tool: &str) -> Value {
    client.request("tools/call", json!({"name": tool, "arguments": {}}))
}

#[test]
fn the_only_server_is_meant_where_none_is_named() {
    let servers: [(&str, &[&str], &[&str]); 2] = [("a", &["one"], &[]), ("b", &["two"], &[])];
    let only_a = setup(&servers[..1], "");
    let mut client = only_a.connect();
    assert_eq!(text(&client.call("execute_tool", json!({"tool": "one"}))), "{}");
    let error = refusal(&client.call("execute_tool", json!({"tool": "two"})));
    assert_eq!(error["code"], "TOOL_NOT_FOUND", "{error}");

    // Of two, the other of which the caller may not use.
    let setup = setup(&servers, "");
    let rules = json!({"agents": {"clerk": {"allow": {"servers": ["a"]}}}});
    fs::write(setup.path().join(".mcp-gateway-rules.json"), rules.to_string()).unwrap();
    let mut client = setup.connect();
    let call = |tool: &str| json!({"tool": tool, "agent_id": "clerk"});
    assert_eq!(text(&client.call("execute_tool", call("one"))), "{}");
    let error = refusal(&client.call("execute_tool", call("two")));
    assert_eq!(error["code"], "TOOL_NOT_FOUND", "{error}");
    assert!(lines(&setup, "b", "starts").is_empty(), "it is not started for who may not use it");
}

#[test]
fn stray_servers_do_not_end_a_named_files_default() {
    let setup = setup(&[("stray", &["one"], &[])], "");
    let own = server(setup.path(), "own", &["env"], &[]);
    let mut command = vec![own["command"].clone()];
    command.extend(own["args"].as_array().unwrap().clone());
    let named = json!({"upstreams": {"own": {"command": command}}});
    fs::write(setup.path().join("satgate.yaml"), named.to_string()).unwrap();
    fs::remove_file(setup.path().join(GATEWAY)).unwrap();
    for named in [true, false] {
        let client = match named {
            true => Setup {
                dir: setup.dir.clone(),
                args: vec!["--config".into(), "satgate.yaml".into()],
                env: vec![],
            },
            false => Setup {
                dir: setup.dir.clone(),
                args: vec![],
                env: vec![("GATEWAY_CONFIG".into(), "satgate.yaml".into())],
            },
        };
        let answer = direct(&mut client.connect(), "nowhere");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("server `own` has no tool `nowhere`"), "{message}");
    }
}

#[test]
fn server_that_hangs_keeps_no_other_from_being_called() {
    let servers: [(&str, &[&str], &[&str]); 3] =
        [("a", &["one"], &[]), ("hangs", &["two"], &["--silent"]), ("c", &["three"], &[])];
    let setup = setup(&servers, "");
    let mut entry: Value =
        serde_json::from_str(&fs::read_to_string(setup.path().join(".mcp.json")).unwrap()).unwrap();
    entry["mcpServers"]["hangs"]["timeout"] = json!("3s");
    fs::write(setup.path().join(".mcp.json"), entry.to_string()).unwrap();
    let mut client = setup.connect();
    for tool in ["one", "three", "one"] {
        echoes(&direct(&mut client, tool));
    }
    for _ in 0..3 {
        let error = direct(&mut client, "two")["error"].clone();
        assert_eq!(error["code"], -32602, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("`hangs` ("), "{message}");
        assert!(!message.contains("`a`"), "{message}");
    }
    assert_eq!(lines(&setup, "hangs", "starts").len(), 1, "it was not started again");
}

#[test]
fn kept_tools_are_known_without_a_start() {
    let servers: [(&str, &[&str], &[&str]); 2] = [("a", &["one"], &[]), ("b", &["two"], &[])];
    let setup = setup(&servers, "");
    let mut client = setup.connect();
    echoes(&direct(&mut client, "one"));
    client.finish();
    let before = lines(&setup, "b", "starts").len();
    let mut client = setup.connect();
    echoes(&direct(&mut client, "one"));
    assert_eq!(direct(&mut client, "no_such")["error"]["code"], -32602);
    client.finish();
    assert_eq!(lines(&setup, "b", "starts").len(), before);
}
