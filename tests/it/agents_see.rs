//! What agents see: descriptions, prices and balances where they look, and what to do next.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Client, Setup, json_in, refusal, scripted, text};

fn tool(name: &str, parameters: Value, required: Value) -> Value {
    json!({"name": name, "description": format!("Does {name}."),
        "inputSchema": {"type": "object", "properties": parameters, "required": required}})
}

/// Files, as a server of files offers them.
fn files() -> Value {
    let tools: Vec<Value> = ["read_file", "read_text_file", "write_file", "list_directory"]
        .iter()
        .map(|name| tool(name, json!({}), json!([])))
        .collect();
    scripted(&["--tools", &Value::from(tools).to_string()])
}

fn tools(client: &mut Client, arguments: Value) -> Value {
    json_in(&client.call("get_server_tools", arguments))
}

#[track_caller]
fn note(client: &mut Client, arguments: Value) -> String {
    let answer = tools(client, arguments.clone());
    assert_eq!(answer["tools"], json!([]), "{arguments}");
    answer["note"].as_str().unwrap_or_else(|| panic!("{arguments}: {answer}")).to_owned()
}

#[test]
fn required_parameter_with_a_default_may_be_left_out() {
    let parameters =
        json!({"type": {"enum": ["png", "jpeg"], "default": "png"}, "of": {"type": "string"}});
    let shot = tool("shot", parameters, json!(["type", "of"]));
    let setup = Setup::new(json!({"s": scripted(&["--tools", &json!([shot]).to_string()])}), None);
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "shot", json!({"of": "x"}))), r#"{"of": "x"}"#);
    let error = refusal(&client.execute("s", "shot", json!({"type": "gif", "of": "x"})));
    assert_eq!(error["signature"], r#"shot(of: string, type?: "png"|"jpeg" = "png")"#);
    assert_eq!(refusal(&client.execute("s", "shot", json!({})))["code"], "INVALID_ARGUMENTS");
}

#[test]
fn empty_answer_says_what_to_ask_instead() {
    let rules = json!({"agents": {"default": {"allow": {"servers": ["*"]}, "deny": {"tools": {"*": ["write_*"]}}},
        "none": {"allow": {"servers": ["*"]}, "deny": {"tools": {"*": ["*"]}}}},
        "defaults": {"deny_on_missing_agent": false}});
    let mut client = Setup::new(json!({"files": files()}), Some(&rules)).connect();
    let said = note(&mut client, json!({"server": "files", "query": "directories"}));
    assert_eq!(said, "nothing matches; nearest: `list_directory`; 3 tools without query");
    let said =
        note(&mut client, json!({"server": "files", "query": "weather", "pattern": "raed_file*"}));
    assert!(said.starts_with("nothing matches; nearest: `read_file`"), "{said}");
    assert!(said.ends_with("3 tools without query and pattern"), "{said}");
    let said = note(&mut client, json!({"server": "*", "query": "weather"}));
    assert_eq!(said, "nothing matches; 3 tools without query");
    // What the caller may not call is neither counted nor offered.
    let said = note(&mut client, json!({"server": "files", "pattern": "write_file"}));
    assert!(!said.contains("write") && said.contains("3 tools"), "{said}");
    let said = note(&mut client, json!({"server": "files", "agent_id": "none"}));
    assert_eq!(said, "there is no tool here that you may call");
}

#[test]
fn wrong_name_is_answered_with_a_similar_one() {
    let mut client = Setup::new(json!({"files": files()}), None).connect();
    let found = tools(
        &mut client,
        json!({"server": "files", "names": "read_fil,list_directory", "detail": "names"}),
    );
    assert_eq!(found["tools"], json!(["list_directory"]));
    assert_eq!(found["note"], "one of the names is no tool here; did you mean `read_file`?");
    let found = tools(
        &mut client,
        json!({"server": "*", "names": "readfile,lst_directory,zebra", "detail": "names"}),
    );
    let note = found["note"].as_str().unwrap();
    assert!(note.starts_with("3 of the names are no tools here; did you mean"), "{note}");
    assert!(
        note.contains("`files/list_directory`") && note.contains("`files/read_file`"),
        "{note}"
    );
}

#[test]
fn many_names_are_looked_up_in_linear_time() {
    let many: Vec<Value> =
        (0..2_000).map(|n| tool(&format!("tool_{n}"), json!({}), json!([]))).collect();
    let setup = Setup::new(json!({}), None);
    let file = setup.path().join("tools.json");
    fs::write(&file, Value::from(many).to_string()).unwrap();
    let servers = json!({"mcpServers": {"s": scripted(&["--tools-file", file.to_str().unwrap()])}});
    fs::write(setup.path().join(".mcp.json"), servers.to_string()).unwrap();
    let mut client = setup.connect();
    tools(&mut client, json!({"server": "s", "detail": "names"}));
    let names = (0..2_000).map(|n| format!("tool_{n}"));
    let names: Vec<String> = names.chain((0..400_000).map(|n| format!("other_{n}"))).collect();
    let arguments = json!({"server": "s", "names": names.join(","), "detail": "names"});
    let asked = client.begin("get_server_tools", arguments);
    assert!(client.request("ping", json!({})).get("result").is_some());
    let answer = json_in(&client.response(asked)["result"]);
    assert!(answer["note"].as_str().unwrap().starts_with("400000 of the names"), "{answer}");
}

#[test]
fn answer_says_what_remains_where_a_budget_is_set() {
    let rules = json!({"agents": {
        "poor": {"allow": {"servers": ["*"]}, "budget": {"limit": 10}},
        "free": {"allow": {"servers": ["*"]}}}});
    let settings = json!({"tools": {"costs": {"read_file": 3}}});
    let setup = Setup::new(json!({"files": files()}), Some(&rules)).gateway(&settings);
    let mut client = setup.connect();
    let asked = |agent: &str| json!({"server": "files", "names": ["read_file"], "agent_id": agent});
    let before = tools(&mut client, asked("poor"));
    assert_eq!(before["remaining"], 10);
    assert_eq!(before["tools"][0]["description"], "Does read_file. — 3 credits");
    client
        .call("execute_tool", json!({"server": "files", "tool": "read_file", "agent_id": "poor"}));
    assert_eq!(tools(&mut client, asked("poor"))["remaining"], 7);
    assert_eq!(tools(&mut client, asked("free")).get("remaining"), None);
    let mut client = Setup::new(json!({"files": files()}), None).connect();
    assert_eq!(tools(&mut client, json!({"server": "files"})).get("remaining"), None);
}

#[test]
fn server_without_a_description_introduces_itself() {
    let says = |option: &str, text: &str, era: &str| scripted(&[option, text, "--era", era]);
    let long = format!("Reads \u{202e}mail. {}", "Then more. ".repeat(10_000));
    let mut own = says("--instructions", "Not this.", "both");
    own["description"] = json!("As the settings say");
    let setup = Setup::new(
        json!({
            "old": says("--instructions", &long, "legacy"),
            "new": says("--instructions", &long, "modern"),
            "titled": says("--title", "The Title", "legacy"),
            "own": own, "mute": scripted(&[]),
        }),
        None,
    );
    let listed = |client: &mut Client| {
        let servers = json_in(&client.call("list_servers", json!({})));
        let described = servers.as_array().unwrap().iter();
        described.map(|one| one["description"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let told = ["Reads mail.", "Reads mail.", "The Title", "As the settings say", ""];
    let mut client = setup.connect();
    assert_eq!(listed(&mut client), ["", "", "", "As the settings say", ""]);
    for server in ["old", "new", "titled", "own", "mute"] {
        tools(&mut client, json!({"server": server}));
    }
    assert_eq!(listed(&mut client), told);
    client.finish();
    // The next gateway knows it without asking.
    assert_eq!(listed(&mut setup.connect()), told);
}

#[test]
fn effects_and_formats_show_in_signatures() {
    let mut read = tool(
        "at",
        json!({"time": {"type": "string", "description": "Time in 24-hour format (HH:MM)"}}),
        json!(["time"]),
    );
    read["annotations"] = json!({"readOnlyHint": true, "destructiveHint": false});
    let mut destroy = tool("wipe", json!({}), json!([]));
    destroy["annotations"] = json!({"destructiveHint": true});
    let mut plain = tool("plain", json!({}), json!([]));
    plain["annotations"] = json!({"readOnlyHint": "true"});
    let offered = scripted(&["--tools", &json!([read, destroy, plain]).to_string()]);
    let mut client = Setup::new(json!({"s": offered}), None).connect();
    let answer = tools(&mut client, json!({"server": "s", "detail": "signature"}));
    assert_eq!(
        answer["tools"],
        json!([
            "at(time: string(HH:MM)) — read: Does at.",
            "wipe() — destructive: Does wipe.",
            "plain() — Does plain."
        ])
    );
}

#[test]
fn own_tools_take_nothing_that_is_unchecked() {
    let mut client = Setup::new(json!({}), None).connect();
    let label = "x".repeat(9 << 20);
    let error =
        refusal(&client.execute("gateway", "delegate", json!({"budget": 1, "label": label})));
    assert_eq!(error["code"], "INVALID_ARGUMENTS");
    assert!(error.to_string().len() < 2_000);
}

#[test]
fn unambiguous_slips_are_corrected() {
    let rules = json!({"agents": {"default": {"allow": {"servers": ["Files", "two", "Two"]}}},
        "defaults": {"deny_on_missing_agent": false, "explain_denials": false}});
    let servers = json!({"Files": files(), "two": files(), "Two": files(), "FILES": files()});
    let mut client = Setup::new(servers, Some(&rules)).connect();
    for names in [json!(["read_file", " write_file"]), json!("read_file, write_file")] {
        for (server, key) in [("Files", "names"), ("files", "tools"), ("FILES", "tool_names")] {
            let asked = json!({"server_name": server, key: names, "detail": "Names"});
            let found = tools(&mut client, asked);
            assert_eq!(found["tools"], json!(["read_file", "write_file"]));
            assert_eq!(found["server"], "Files");
        }
    }
    for call in [
        json!({"server": "files", "tool": "read_file", "args": {"a": 1}}),
        json!({"serverName": "Files", "toolName": "read_file", "arguments": {"a": 1}}),
        json!({"server_name": "Files", "name": "read_file", "parameters": "{\"a\": 1}"}),
    ] {
        assert_eq!(text(&client.call("execute_tool", call)), r#"{"a": 1}"#);
    }
    assert_eq!(text(&client.execute("Gateway", "ping", json!({}))), r#"{"ok":true}"#);
    for (call, expected) in [
        (json!({"server": "TWO", "tool": "read_file"}), "SERVER_NOT_FOUND"),
        (json!({"server": "files", "server_name": "Files", "tool": "x"}), "INVALID_ARGUMENTS"),
        (json!({"server": "files", "tool": "x", "agent": "default"}), "INVALID_ARGUMENTS"),
    ] {
        assert_eq!(refusal(&client.call("execute_tool", call))["code"], expected);
    }
    let wrong = client.call("get_server_tools", json!({"server": "Files", "names": ["a", 5]}));
    assert!(refusal(&wrong)["message"].as_str().unwrap().contains("array of strings"));
}
