//! The command line: what people and scripts see.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Client, Setup, scripted, scripted_with, tollgate};

fn with_rules() -> Setup {
    let tools = json!(["read_it", "write_it", {"name": "add", "inputSchema": {"type": "object",
        "properties": {"a": {"type": "integer"}}, "required": ["a"]}}]);
    let rules = json!({"agents": {
        "reader": {"allow": {"servers": ["s"]}, "deny": {"tools": {"s": ["write_*"]}}},
        "named": {"allow": {"servers": ["s"], "tools": {"s": ["read_it"]}}},
    }});
    Setup::new(json!({"s": scripted(&["--tools", &tools.to_string()])}), Some(&rules))
}

#[test]
fn calls_from_the_shell_take_the_same_path() {
    let setup = with_rules();
    let (code, out, err) = setup.run(&["call", "s", "read_it", r#"{"x":1}"#, "--agent", "reader"]);
    assert_eq!((code, out.as_str()), (0, "{\"x\": 1}\n"), "{err}");
    let (code, out, _) = setup.run(&["call", "s", "read_it", "--agent", "reader", "--json"]);
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &result["content"][0]["text"]), (0, &json!("{}")));

    let (code, out, err) = setup.run(&["call", "s", "write_it", "--agent", "reader"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("rule: agents.reader.deny.tools.s[0]"), "{err}");
    let (code, out, _) = setup.run(&["call", "s", "write_it", "--agent", "reader", "--json"]);
    let error: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &error["error"]["code"]), (3, &json!("DENIED_BY_POLICY")));
    assert_eq!(setup.run(&["call", "s", "read_it"]).0, 3, "no agent");
    assert_eq!(setup.run(&["call", "none", "read_it", "--agent", "reader"]).0, 1);
    let (code, _, err) = setup.run(&["call", "s", "add", "{}", "--agent", "reader"]);
    assert_eq!(code, 1);
    assert!(err.contains("it takes: add(a: integer)"), "{err}");
    for wrong in ["[1]", "{", "5"] {
        let (code, _, err) = setup.run(&["call", "s", "read_it", wrong, "--agent", "reader"]);
        assert_eq!(code, 1, "{wrong}");
        assert!(err.contains("JSON"), "{err}");
    }
}

#[test]
fn listings_show_what_the_agent_sees() {
    let setup = with_rules();
    let (code, out, err) = setup.run(&["servers", "--agent", "reader"]);
    assert_eq!(code, 0);
    assert!(err.contains("agent `reader` may use"), "{err}");
    assert!(out.contains("SERVER") && out.contains("stdio"), "{out}");
    let (code, out, err) = setup.run(&["tools", "s", "--agent", "reader"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("read_it()") && out.contains("add(a: integer)"), "{out}");
    assert!(!out.contains("write_it"), "{out}");
    assert!(err.contains("2 of 2 tools") && err.contains("as sent to agent `reader`"), "{err}");
    let (_, out, _) = setup.run(&["tools", "s", "--agent", "reader", "--pattern", "a*", "--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["returned"], &found["total_available"]), (&json!(1), &json!(2)));
}

#[test]
fn explain_names_the_deciding_rule() {
    let setup = with_rules();
    let check = |agent: &str, server: &str, tool: &str, code: i32, expected: &str| {
        let (found, out, err) = setup.run(&["explain", agent, server, tool]);
        assert_eq!(found, code, "{agent} {server} {tool}: {out}{err}");
        assert!(out.contains(expected), "{agent} {server} {tool}: {out}");
    };
    check("reader", "s", "read_it", 0, "agents.reader.allow.servers[0]");
    check("reader", "s", "write_it", 3, "agents.reader.deny.tools.s[0] (`write_*`)");
    check("named", "s", "read_it", 0, "agents.named.allow.tools.s[0]");
    check("named", "s", "add", 3, "agents.named.allow.tools.s (no entry allows this tool)");
    check("reader", "other", "x", 3, "agents.reader.allow.servers (no entry allows this server)");
    check("reader", "other", "x", 3, "`other` is not configured");
    check("ghost", "s", "read_it", 3, "is not an agent here");
    let (_, out, _) = setup.run(&["explain", "reader", "s", "write_it", "--json"]);
    let verdict: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&verdict["allowed"], &verdict["server_configured"]), (&json!(false), &json!(true)));
    assert_eq!(verdict["price"], json!({"credits": 1, "entry": null}));
    let unmetered = json!([{"account": "unmetered", "limit": null, "period": null}]);
    assert_eq!((&verdict["accounts"], &verdict["mode"]), (&unmetered, &json!("hard")));
}

#[test]
fn a_command_line_that_is_wrong_is_status_two() {
    let setup = with_rules();
    assert_eq!(setup.run(&["no-such-command"]).0, 2);
    assert_eq!(setup.run(&["call"]).0, 2);
    let (code, _, err) = setup.run(&["serve", "--http", "127.0.0.1:1"]);
    assert_eq!(code, 2);
    assert!(err.contains("stdio only"), "{err}");
    let (code, out, _) = setup.run(&["--help"]);
    assert_eq!(code, 0);
    assert!(out.contains("tollgate demo") && !out.contains("supervise"), "{out}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let setup = Setup::new(json!({}), None);
    let commands =
        ["serve", "check", "explain", "budget", "token", "usage", "audit", "keys", "hook"];
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (status, script, err) = setup.run(&["completions", shell]);
        assert_eq!(status, 0, "{err}");
        let missing = commands.iter().find(|command| !script.contains(**command));
        assert_eq!((missing, script.contains("supervise")), (None, false), "{shell}");
    }
    assert_eq!(setup.run(&["completions", "tcsh"]).0, 2);
    let (status, page, _) = setup.run(&["man"]);
    assert!(status == 0 && page.contains(".TH tollgate 1"), "{page}");
    assert_eq!(setup.run(&["man", "--dir", "pages"]).0, 1, "a directory that does not exist");
    std::fs::create_dir(setup.path().join("pages")).unwrap();
    let (status, out, err) = setup.run(&["man", "--dir", "pages"]);
    assert!(status == 0 && out.contains("pages"), "{out}{err}");
    for command in commands {
        let page = setup.path().join(format!("pages/tollgate-{command}.1"));
        assert!(page.exists(), "{}", page.display());
    }
    assert!(setup.path().join("pages/tollgate-audit-verify.1").exists());
    assert!(!setup.path().join("pages/tollgate-supervise.1").exists());
}

#[test]
fn rules_that_were_named_are_never_passed_over() {
    let setup = Setup::new(json!({}), None);
    let elsewhere = setup.path().join("rules.json");
    std::fs::write(&elsewhere, r#"{"agents": {}}"#).unwrap();
    let setup = setup.env("GATEWAY_RULES", elsewhere.to_str().unwrap());
    assert_eq!(setup.run(&["check"]).0, 0);
    let dir = setup.path().to_str().unwrap().to_owned();
    let (code, out, _) = setup.run(&["check", "--config-dir", &dir]);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains("GATEWAY_RULES names a file"), "{out}");
}

#[test]
fn agent_templates_name_the_three_tools_and_known_agents() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = std::fs::read_to_string(root.join("config/.mcp-gateway-rules.json")).unwrap();
    let rules: Value = serde_json::from_str(&rules).unwrap();
    let agents = rules["agents"].as_object().unwrap();
    // With the hook, calls are those of the main thread and of types, which are the files' names.
    assert!(agents.contains_key("main"));
    let mut templates = 0;
    for entry in std::fs::read_dir(root.join("agents")).unwrap().flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let head = text.strip_prefix("---\n").and_then(|text| text.split("\n---").next());
        let head = head.unwrap_or_else(|| panic!("{:?} is copied but is no agent", entry.path()));
        let name = entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(head.contains(&format!("name: {name}\n")) && agents.contains_key(&name), "{name}");
        let keeps = |tool: &str| head.contains(&format!(" {tool},"));
        assert_eq!(keeps("Read"), ["backend", "researcher"].contains(&&*name), "{name}");
        assert_eq!(keeps("Write"), name == "backend", "{name}");
        templates += 1;
        for tool in ["list_servers", "get_server_tools", "execute_tool"] {
            assert!(head.contains(&format!("mcp__tollgate__{tool}")), "{:?}: {tool}", entry.path());
        }
        let named = agents.keys().any(|agent| text.contains(&format!("\"{agent}\"")));
        assert!(named, "{:?} gives no agent_id of the example rules", entry.path());
    }
    assert!(templates >= 3, "{templates} templates");
}

#[test]
fn plain_tollgate_serves_and_reports_to_stderr() {
    let setup = with_rules();
    for args in [&[][..], &["--debug"][..], &["serve"][..]] {
        let mut client = Client::start(setup.command(args));
        client.handshake("2025-11-25");
        let (status, _, stderr) = client.finish();
        assert!(status.success());
        for expected in
            ["1 from", ".mcp.json: s", "2 from", "named, reader", "specific-first", "execute_tool"]
        {
            assert!(stderr.contains(expected), "{expected} is not in {stderr}");
        }
        assert!(!stderr.contains('\u{1b}'), "colour in a pipe");
    }
}

#[test]
fn without_servers_the_gateway_says_so_and_works() {
    let setup = Setup::new(json!({}), None);
    std::fs::remove_file(setup.path().join(".mcp.json")).unwrap();
    let mut client = setup.connect();
    assert_eq!(crate::support::text(&client.call("list_servers", json!({}))), "[]");
    let (_, _, stderr) = client.finish();
    assert!(stderr.contains("there is no .mcp.json here"), "{stderr}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let names: Vec<String> = (0..2000).map(|i| format!("tool_{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let setup = Setup::new(json!({"s": scripted_with(&names)}), None);
    let mut command = setup.command(&["tools", "s"]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stdout.take());
    let out = process.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// What a line that was printed says when it is typed somewhere.
fn in_shell(line: &str, home: &std::path::Path) -> String {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(home).env("HOME", home);
    command.env_remove("XDG_CACHE_HOME").env_remove("XDG_STATE_HOME");
    let out = command.output().unwrap();
    let said = String::from_utf8([out.stdout, out.stderr].concat()).unwrap();
    assert!(out.status.success(), "{line}: {said}");
    said
}

#[test]
fn the_demo_plays_a_whole_session_over_real_servers() {
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let out = Command::new(tollgate())
            .args(args)
            .env("HOME", home.path())
            .env_remove("XDG_CACHE_HOME")
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let told = run(&["demo"]);
    for expected in [
        "list_servers, get_server_tools, execute_tool",
        "INVALID_ARGUMENTS",
        "The sum of 2 and 3 is 5",
        "DENIED_BY_POLICY",
        "agents.researcher.deny.tools.filesystem[0]",
        "Returns the sum of two numbers — 5 credits",
        "5 credits, 2 left",
        "Budget exhausted: `get-sum` costs 5 credits, and 2 are left in account `root`",
        r#""remaining":2,"reserved":0,"spent":6"#,
        "records, as they were written",
        "claude mcp add tollgate -- ",
        "\"alwaysLoad\": true",
    ] {
        assert!(told.contains(expected), "{expected} is not in {told}");
    }
    // Every demo has all of its credits, and those of the user are others.
    let report: Value = serde_json::from_str(&run(&["demo", "--json"])).unwrap();
    let state = home.path().join(".local/state/tollgate");
    let touched: Vec<_> = std::fs::read_dir(state).unwrap().flatten().collect();
    assert!(touched.iter().all(|entry| entry.file_name() == "key"), "{touched:?}");
    let commands: Vec<&str> =
        report["commands"].as_array().unwrap().iter().map(|c| c.as_str().unwrap()).collect();
    for (command, expected) in
        commands.iter().zip(["get-sum", "ok\n", "root     8      2", "102 left"])
    {
        assert!(told.contains(command), "{command} is not in {told}");
        let said = in_shell(command, home.path());
        assert!(said.contains(expected), "{command}: {said}");
    }
    assert_eq!(commands.len(), 4);
    let (_, serve) = report["connect"].as_str().unwrap().split_once(" -- ").unwrap();
    let said = in_shell(&format!("{serve} </dev/null"), home.path());
    assert!(said.contains("8 credits, hard; 1 price"), "{said}");
    let tokens = |key: &str| report["tokens"][key].as_u64().unwrap();
    assert!(tokens("through_tollgate") < tokens("up_front"), "{report}");
    assert_eq!(report["steps"].as_array().unwrap().len(), 10);
    let credits: u64 =
        report["steps"].as_array().unwrap().iter().filter_map(|s| s["credits"].as_u64()).sum();
    assert_eq!(credits, 6);
}
