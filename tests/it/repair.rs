//! Slips in calls: what can be meant in one way only is done, anything else is asked back.

use serde_json::{Value, json};

use crate::support::{Client, Setup, json_in, refusal, scripted_with, text};

/// Servers `git`, with a tool that repeats its name, and `files`; one agent may not use the second.
fn setup() -> Setup {
    let servers = json!({
        "git": scripted_with(&["log", "diff", "git__odd", "both"]),
        "files": scripted_with(&["read", "both", "secret"]),
    });
    let rules = json!({"agents": {
        "all": {"allow": {"servers": ["*"]}, "deny": {"tools": {"files": ["secret"]}}},
        "default": {"allow": {"servers": ["git"]}}},
        "defaults": {"deny_on_missing_agent": false}});
    Setup::new(servers, Some(&rules))
}

/// A gateway that knows the tools of its servers.
fn knowing() -> Client {
    let mut client = setup().connect();
    client.call("get_server_tools", json!({"server": "*", "agent_id": "all"}));
    client
}

fn execute(client: &mut Client, call: Value) -> Value {
    client.call("execute_tool", call)
}

#[test]
fn arguments_in_a_json_string_are_parsed() {
    let mut client = knowing();
    for args in ["args", "arguments"] {
        let call = json!({"server": "git", "tool": "log", args: r#"{"n": 1}"#});
        assert_eq!(text(&execute(&mut client, call)), r#"{"n": 1}"#);
    }
    for text in ["[1]", "1", "no json", ""] {
        let error =
            refusal(&execute(&mut client, json!({"server": "git", "tool": "log", "args": text})));
        assert_eq!(error["code"], "INVALID_ARGUMENTS", "{text}");
        assert!(error["message"].as_str().unwrap().contains("`args` must be an object"), "{error}");
    }
}

#[test]
fn server_prefix_of_a_tool_name_is_removed() {
    let mut client = setup().connect();
    for tool in ["log", "git__log", "git/log", "mcp__git__log"] {
        let result =
            execute(&mut client, json!({"server": "git", "tool": tool, "args": {"x": tool}}));
        assert_eq!(json_in(&result), json!({"x": tool}));
    }
    // A tool that is really called so is called.
    assert_eq!(text(&execute(&mut client, json!({"server": "git", "tool": "git__odd"}))), "{}");
    for tool in ["git__git__odd", "mcp__git__git__odd"] {
        assert_eq!(text(&execute(&mut client, json!({"server": "git", "tool": tool}))), "{}");
    }
    let error = refusal(&execute(&mut client, json!({"server": "git", "tool": "files__read"})));
    assert_eq!(error["code"], "TOOL_NOT_FOUND");
}

#[test]
fn missing_server_is_found_by_its_only_tool() {
    let mut client = knowing();
    for (tool, agent) in
        [("log", "all"), ("read", "all"), ("files/both", "all"), ("both", "default")]
    {
        let call = json!({"tool": tool, "agent_id": agent, "args": {"x": 1}});
        assert_eq!(text(&execute(&mut client, call)), r#"{"x": 1}"#, "{tool} {agent}");
    }
    let error = refusal(&execute(&mut client, json!({"tool": "both", "agent_id": "all"})));
    assert_eq!(error["code"], "INVALID_ARGUMENTS");
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("could be on each of `git`, `files`"), "{message}");
    let error = refusal(&execute(&mut client, json!({"tool": "nothing", "agent_id": "all"})));
    let message = error["message"].as_str().unwrap();
    assert!(message.ends_with("you may use `git`, `files`"), "{message}");
    // Only what the caller may use is searched and named.
    let error = refusal(&execute(&mut client, json!({"tool": "read"})));
    assert_eq!(error["message"], "server `git` has no tool `read`", "the only one: {error}");
    let error = refusal(&execute(&mut client, json!({"tool": "secret", "agent_id": "all"})));
    assert!(error["message"].as_str().unwrap().contains("no tool `secret` is known"), "{error}");
}

#[test]
fn prefix_names_the_server_before_any_catalogue() {
    let mut client = setup().connect();
    let result = execute(&mut client, json!({"tool": "git__log", "args": {"x": 1}}));
    assert_eq!(text(&result), r#"{"x": 1}"#);
    let error = refusal(&execute(&mut client, json!({"tool": "files__read"})));
    assert_eq!(error["message"], "server `git` has no tool `files__read`", "{error}");
}

#[test]
fn tool_called_by_bare_name_takes_the_same_path() {
    let mut client = knowing();
    for tool in ["log", "git__log", "mcp__git__log"] {
        assert_eq!(text(&client.call(tool, json!({"x": 1}))), r#"{"x": 1}"#, "{tool}");
    }
    let mut error =
        |tool: &str| client.request("tools/call", json!({"name": tool}))["error"].clone();
    for unknown in ["nothing", "read", "files__read"] {
        let error = error(unknown);
        assert_eq!(error["code"], -32602, "{error}");
        assert!(error.to_string().contains("get_server_tools"), "{error}");
    }
    let rules = json!({"agents": {"a": {"allow": {"servers": ["*"]}}}});
    let setup = Setup::new(json!({"s": scripted_with(&["die", "hang"])}), Some(&rules));
    let error = setup.connect().request("tools/call", json!({"name": "s__die"}))["error"].clone();
    assert_eq!(
        (&error["code"], &error["data"]["error"]["code"]),
        (&json!(-32001), &json!("INVALID_AGENT_ID"))
    );
    let mut slow = scripted_with(&["die", "hang"]);
    slow["timeout"] = json!("3s");
    let mut client = Setup::new(json!({"s": slow}), None).connect();
    let error = client.request("tools/call", json!({"name": "s__die"}))["error"].clone();
    assert_eq!(error["code"], -32002, "{error}");
}
