//! Settings that load: an existing pair of files works unchanged, each file is found where the
//! order says, and what is odd is warned about. What does not load is in `settings_faults`; that
//! secrets stay inside, in `secrets`.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};
use tollgate::{
    config::{self, Options},
    domain::call::AgentId,
    host::environment::Environment,
};

use crate::support::{Client, Setup, faults::position, json_in, refusal, scripted, text, tollgate};

/// An `.mcp.json` like those in the wild: references to the environment, a remote server.
const MCP: &str = r#"{
  "mcpServers": {
    "brave-search": {
      "description": "Web search via the Brave Search API",
      "command": "npx",
      "args": ["-y", "@modelcontextprotocol/server-brave-search"],
      "env": {"BRAVE_API_KEY": "${BRAVE_API_KEY}"}
    },
    "postgres": {
      "description": "PostgreSQL access and queries",
      "command": "uvx",
      "args": ["mcp-server-postgres"],
      "env": {"DATABASE_URL": "${DATABASE_URL}"}
    },
    "remote-server": {
      "description": "A remote API",
      "url": "https://example.com/mcp",
      "transport": "http",
      "headers": {"Authorization": "Bearer ${API_TOKEN}"}
    }
  }
}
"#;

const RULES: &str = r#"{
  "agents": {
    "researcher": {"allow": {"servers": ["brave-search"], "tools": {"brave-search": ["*"]}}},
    "backend": {
      "allow": {"servers": ["postgres"], "tools": {"postgres": ["query", "list_*"]}},
      "deny": {"tools": {"postgres": ["drop_*", "truncate_*"]}}
    },
    "admin": {"allow": {"servers": ["*"], "tools": {"*": ["*"]}}},
    "default": {"deny": {"servers": ["*"]}}
  },
  "defaults": {"deny_on_missing_agent": false}
}
"#;

const NEEDED: [(&str, &str); 3] = [
    ("BRAVE_API_KEY", "brave-key-5cc9"),
    ("DATABASE_URL", "postgres://u:pw-81f2@h/d"),
    ("API_TOKEN", "remote-token-77aa"),
];

/// The two files, with the variables that they need.
fn example() -> Setup {
    NEEDED.into_iter().fold(written(MCP, RULES), |setup, (name, value)| setup.env(name, value))
}

fn written(mcp: &str, rules: &str) -> Setup {
    let setup = Setup::new(json!({}), None);
    fs::write(setup.path().join(".mcp.json"), mcp).unwrap();
    fs::write(setup.path().join(".mcp-gateway-rules.json"), rules).unwrap();
    setup
}

/// Status, stdout and stderr of a command that has none of these variables.
fn outcome(command: &mut Command, without: &[&str]) -> (i32, String, String) {
    for name in without {
        command.env_remove(name);
    }
    let out = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
}

/// `check --json` of settings that load.
fn sound(setup: &Setup) -> Value {
    let (status, stdout, stderr) = setup.run(&["check", "--json"]);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

/// The warnings of settings that load, in one text.
fn warnings(setup: &Setup) -> String {
    sound(setup)["warnings"].as_array().unwrap().iter().map(|w| format!("{w}\n")).collect()
}

#[test]
fn existing_files_load_unchanged() {
    let report = sound(&example());
    assert_eq!(report["servers"], json!(["brave-search", "postgres", "remote-server"]));
    assert_eq!(report["agents"], json!(["admin", "backend", "default", "researcher"]));
    assert_eq!(report["faults"], json!([]));
    // This machine may lack the programs, and this version speaks no HTTP; nothing else is odd.
    let expected = ["was not found", "over HTTP"];
    for warning in warnings(&example()).lines() {
        assert!(expected.iter().any(|words| warning.contains(words)), "{warning}");
    }
}

#[test]
fn each_unset_variable_is_named_with_its_place() {
    let setup = written(MCP, RULES);
    let names = NEEDED.map(|(name, _)| name);
    let (status, stdout, _) = outcome(&mut setup.command(&["check"]), &names);
    assert_eq!(status, 2, "{stdout}");
    for name in names {
        // The place is that of the whole value.
        let before = if name == "API_TOKEN" { "Bearer " } else { "" };
        let quoted = format!("\"{before}${{{name}}}\"");
        let place = format!(".mcp.json:{}: ", position(MCP, &quoted));
        let line = stdout
            .lines()
            .find(|line| line.contains(&place))
            .unwrap_or_else(|| panic!("{place} {stdout}"));
        assert!(line.contains(&format!("`{name}`, which is not set")), "{line}");
    }
    assert!(stdout.ends_with("3 faults found\n"), "{stdout}");
    let (status, stdout, stderr) = outcome(&mut setup.command(&["serve"]), &names);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(names.iter().all(|name| stderr.contains(name)), "{stderr}");
}

#[test]
fn example_agents_may_do_what_is_written() {
    let setup = example();
    for (agent, server, tool, allowed) in [
        ("researcher", "brave-search", "brave_web_search", true),
        ("researcher", "postgres", "query", false),
        ("researcher", "remote-server", "x", false),
        ("backend", "postgres", "query", true),
        ("backend", "postgres", "list_tables", true),
        ("backend", "postgres", "drop_table", false),
        ("backend", "postgres", "truncate_all", false),
        ("backend", "postgres", "insert", false),
        ("backend", "brave-search", "brave_web_search", false),
        ("admin", "postgres", "drop_table", true),
        ("admin", "remote-server", "anything", true),
        ("default", "brave-search", "brave_web_search", false),
        ("stranger", "brave-search", "brave_web_search", false),
    ] {
        let (status, stdout, _) = setup.run(&["explain", agent, server, tool]);
        let (expected, word) = if allowed { (0, "allowed") } else { (3, "denied") };
        assert_eq!(status, expected, "{agent} {server}/{tool}: {stdout}");
        assert!(stdout.starts_with(word), "{stdout}");
    }
}

#[test]
fn example_agents_see_what_is_written() {
    let setup = example();
    let mut client = setup.connect();
    for (who, servers) in [
        (json!({"agent_id": "researcher"}), json!(["brave-search"])),
        (json!({"agent_id": "backend"}), json!(["postgres"])),
        (json!({"agent_id": "admin"}), json!(["brave-search", "postgres", "remote-server"])),
        (json!({"agent_id": "default"}), json!([])),
        (json!({}), json!([])),
    ] {
        let list = json_in(&client.call("list_servers", who.clone()));
        let names: Value = list.as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
        assert_eq!(names, servers, "{who}");
    }
    let call = json!({"agent_id": "backend", "server": "postgres", "tool": "drop_table"});
    let error = refusal(&client.call("execute_tool", call));
    assert_eq!(error["code"], "DENIED_BY_POLICY");
    assert_eq!(error["rule"], "agents.backend.deny.tools.postgres[0]");
}

#[test]
fn remote_server_is_listed_with_its_address() {
    let setup = example();
    let mut client = setup.connect();
    let who = json!({"agent_id": "admin", "include_metadata": true});
    let list = json_in(&client.call("list_servers", who));
    let remote = list.as_array().unwrap().iter().find(|s| s["name"] == "remote-server").unwrap();
    assert_eq!(
        (&remote["transport"], &remote["url"]),
        (&json!("http"), &json!("https://example.com/mcp"))
    );
}

/// An `.mcp.json` with one server of that name.
fn put(path: &Path, server: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let one = json!({"mcpServers": {server: {"command": "x"}}});
    fs::write(path, one.to_string()).unwrap();
}

#[test]
fn files_are_found_in_the_order_of_the_contract() {
    let setup = Setup::new(json!({}), None);
    let places = [
        ("flag", "elsewhere/flag.json"),
        ("env", "elsewhere/env.json"),
        ("cwd", ".mcp.json"),
        ("config", "config/.mcp.json"),
        ("home", ".config/tollgate/.mcp.json"),
    ];
    places.iter().for_each(|(name, path)| put(&setup.path().join(path), name));
    for (from, (expected, _)) in places.iter().enumerate() {
        let mut command = setup.command(&["check", "--json"]);
        if from == 0 {
            command.args(["--mcp-config", places[0].1]);
        }
        if from <= 1 {
            command.env("GATEWAY_MCP_CONFIG", places[1].1);
        }
        let (status, stdout, _) = outcome(&mut command, &[]);
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((status, &report["servers"]), (0, &json!([expected])));
        fs::remove_file(setup.path().join(places[from].1)).unwrap();
    }
    assert_eq!(sound(&setup)["mcp_config"], Value::Null);
}

#[test]
fn rules_are_found_in_the_same_order() {
    let setup = Setup::new(json!({}), None);
    let file = ".mcp-gateway-rules.json";
    let places = [
        "x/flag.json",
        "x/env.json",
        file,
        &format!("config/{file}"),
        &format!(".config/tollgate/{file}"),
    ];
    for (index, place) in places.iter().enumerate() {
        let path = setup.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let agents = Value::Object([(format!("a{index}"), json!({}))].into_iter().collect());
        fs::write(path, json!({ "agents": agents }).to_string()).unwrap();
    }
    for (from, place) in places.iter().enumerate() {
        let mut command = setup.command(&["check", "--json"]);
        if from == 0 {
            command.args(["--rules", place]);
        }
        if from <= 1 {
            command.env("GATEWAY_RULES", places[1]);
        }
        let (_, stdout, _) = outcome(&mut command, &[]);
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["agents"], json!([format!("a{from}")]), "{stdout}");
        fs::remove_file(setup.path().join(place)).unwrap();
    }
    assert_eq!(sound(&setup)["agents"], json!(["default"]));
}

#[test]
fn config_dir_is_the_only_place_looked_at() {
    let setup = Setup::new(json!({"cwd": {"command": "x"}}), Some(&json!({"agents": {"a": {}}})));
    put(&setup.path().join("dir/.mcp.json"), "dir");
    put(&setup.path().join("env.json"), "env");
    let setup = setup.arg("--config-dir").arg("dir").env("GATEWAY_MCP_CONFIG", "env.json");
    let report = sound(&setup);
    assert_eq!((&report["servers"], &report["rules"]), (&json!(["dir"]), &Value::Null));
}

#[test]
fn gateway_without_servers_says_so() {
    for (setup, words) in [
        (Setup::new(json!({}), None), "none in "),
        (Setup::new(json!({}), None).arg("--config-dir").arg("/"), "there is no .mcp.json here"),
    ] {
        let (status, stdout, _) = setup.run(&["check"]);
        assert!(status == 0 && stdout.contains(words), "{stdout}");
    }
}

#[test]
fn expanded_value_is_data_whatever_it_contains() {
    let hostile = r#"v", "EVIL": "1"}, "args": ["--die"], "x": {"y": "${HOME} {{"#;
    let mut entry = scripted(&["--tools", r#"["env"]"#]);
    entry["env"] =
        json!({"PLAIN": "${HOSTILE}", "WITHIN": "<${HOSTILE}>", "NONE": "${NO_SUCH:-a b}"});
    let setup = Setup::new(json!({ "s": entry }), None).env("HOSTILE", hostile);
    let mut client = setup.connect();
    let found: Value = serde_json::from_str(text(&client.execute("s", "env", json!({})))).unwrap();
    assert_eq!(found["PLAIN"], hostile);
    assert_eq!(found["WITHIN"], format!("<{hostile}>"));
    assert_eq!((&found["NONE"], &found["EVIL"]), (&json!("a b"), &Value::Null));
    // The gateway's own variables stay with the gateway.
    assert_eq!(found["HOSTILE"], Value::Null);
}

#[test]
fn file_references_and_typed_values_are_expanded() {
    let mut entry = scripted(&["--tools", r#"["env"]"#]);
    entry["env"] = json!({"FROM_FILE": "${file:pass.txt}"});
    entry["timeout"] = json!("${WAIT}");
    let off = json!({"command": "x", "disabled": "${OFF}"});
    let rules = json!({"agents": {"default": {"allow": {"servers": ["*"]}}}, "defaults": {"deny_on_missing_agent": "${STRICT}"}});
    let setup = Setup::new(json!({"s": entry, "off": off}), Some(&rules));
    let setup = setup.env("WAIT", "20s").env("OFF", "true").env("STRICT", "false");
    fs::write(setup.path().join("pass.txt"), "from a file\n").unwrap();
    assert_eq!(sound(&setup)["servers"], json!(["s"]));
    let mut client = setup.connect();
    let found: Value = serde_json::from_str(text(&client.execute("s", "env", json!({})))).unwrap();
    assert_eq!(found["FROM_FILE"], "from a file");
}

#[test]
fn entry_that_starts_tollgate_is_skipped_with_warning() {
    let setup = Setup::new(json!({}), None);
    let link = setup.path().join("renamed");
    std::os::unix::fs::symlink(tollgate(), &link).unwrap();
    let link = link.to_str().unwrap();
    let itself = |command: &str| json!({"command": command, "args": ["serve"]});
    let servers = json!({
        "a": itself("tollgate"), "b": itself("/opt/bin/tollgate"), "c": itself(tollgate()),
        "d": itself(link), "e": itself("./renamed"), "other": {"command": "x"},
    });
    fs::write(setup.path().join(".mcp.json"), json!({"mcpServers": servers}).to_string()).unwrap();
    assert_eq!(sound(&setup)["servers"], json!(["other"]));
    let warnings = warnings(&setup);
    for name in ["a", "b", "c", "d", "e"] {
        let expected = format!("`mcpServers.{name}` starts Tollgate itself");
        assert!(warnings.contains(&expected), "{name}: {warnings}");
    }
}

#[test]
fn gateway_below_a_gateway_does_not_start() {
    let setup = Setup::new(json!({}), None).env("TOLLGATE_DEPTH", "1");
    let (status, stdout, stderr) = setup.run(&["serve"]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("never starts itself"), "{stderr}");
    // Nor behind a shell, where the settings do not show it.
    let hidden = json!({"command": "sh", "args": ["-c", "exec \"$0\" serve", tollgate()]});
    let setup = Setup::new(json!({ "s": hidden }), None);
    let mut client: Client = setup.connect();
    assert_eq!(refusal(&client.execute("s", "x", json!({})))["code"], "SERVER_UNAVAILABLE");
}

#[test]
fn references_to_unknown_servers_cause_warnings() {
    let agent = json!({
        "allow": {"servers": ["db", "nowhere", "no*"], "tools": {"nobody": ["x"], "*": ["y"]}},
        "deny": {"servers": ["never"], "tools": {"db": ["x"]}},
    });
    let setup =
        Setup::new(json!({"db": {"command": "sh"}}), Some(&json!({"agents": {"a": agent}})));
    let warnings = warnings(&setup);
    for name in ["nowhere", "nobody", "never"] {
        let expected = format!("refers to server `{name}`, which is not configured");
        assert_eq!(warnings.matches(&expected).count(), 1, "{name}: {warnings}");
    }
    assert_eq!(warnings.lines().count(), 3, "{warnings}");
    assert!(warnings.contains(".mcp-gateway-rules.json:1:"), "{warnings}");
}

#[test]
fn allow_that_pierces_a_wildcard_deny_causes_warning() {
    let check = |allow: Value, deny: Value, precedence: &str, pierced: usize| {
        let agent = json!({"allow": {"servers": ["db"], "tools": allow}, "deny": {"tools": deny}});
        let rules = json!({"agents": {"a": agent}, "defaults": {"precedence": precedence}});
        let setup = Setup::new(json!({"db": {"command": "x"}}), Some(&rules));
        let warnings = warnings(&setup);
        assert_eq!(warnings.matches("wins over deny").count(), pierced, "{rules}: {warnings}");
    };
    let (one, wild) = (json!({"db": ["drop_old", "get"]}), json!({"db": ["drop_*"]}));
    check(one.clone(), wild.clone(), "specific-first", 1);
    check(one.clone(), wild.clone(), "deny-first", 0);
    check(json!({"*": ["drop_old"]}), wild, "specific-first", 1);
    check(one.clone(), json!({"*": ["drop_*", "*"]}), "specific-first", 3);
    check(one.clone(), json!({"db": ["drop_old"]}), "specific-first", 0);
    check(json!({"db": ["drop_*"]}), json!({"db": ["*"]}), "specific-first", 0);
}

#[test]
fn unknown_key_of_a_server_only_causes_warning() {
    let entry = json!({"command": "x", "comand": "y", "alwaysAllow": []});
    let setup = Setup::new(json!({ "s": entry }), None);
    let warnings = warnings(&setup);
    assert!(
        warnings.contains(
            "`mcpServers.s.comand` is not a key that Tollgate knows; did you mean `command`?"
        ),
        "{warnings}"
    );
    assert!(warnings.contains("`mcpServers.s.alwaysAllow`"), "{warnings}");
}

#[test]
fn json_as_editors_write_it_is_read() {
    for document in [
        "{\n\t\"mcpServers\": {\n\t\t\"s\": {\n\t\t\t\"command\": \"x\"\n\t\t}\n\t}\n}\n",
        "{\r\n  \"mcpServers\": {\"s\": {\"command\": \"x\"}}\r\n}\r\n",
        "\u{feff}{\"mcpServers\": {\"s\": {\"command\": \"x\"}}}",
        r#"{"mcpServers":{"s":{"command":"x","description":"a\/b \u00e9 \ud83d\ude00"}}}"#,
        r#"{"mcpServers": {"s": {"command": "x"},}}"#,
    ] {
        let setup = Setup::new(json!({}), None);
        fs::write(setup.path().join(".mcp.json"), document).unwrap();
        assert_eq!(sound(&setup)["servers"], json!(["s"]), "{document}");
    }
}

#[test]
fn who_calls_without_a_stamp_is_read_and_checked() {
    let never_used = "`defaults.unstamped_agent` is never used";
    for (defaults, stamped_only, unstamped, warning) in [
        (json!({}), false, None, None),
        (json!({"identity": "asserted"}), false, None, None),
        (json!({"identity": "stamped", "unstamped_agent": "guest"}), true, Some("guest"), None),
        (json!({"identity": "stamped"}), true, None, Some("every call without a stamp is refused")),
        (
            json!({"unstamped_agent": "nobody", "identity": "stamped"}),
            true,
            Some("nobody"),
            Some("`defaults.unstamped_agent` is `nobody`, which has no rules"),
        ),
        (json!({"unstamped_agent": "guest"}), false, Some("guest"), Some(never_used)),
        (
            json!({"identity": "asserted", "unstamped_agent": "nobody"}),
            false,
            Some("nobody"),
            Some(never_used),
        ),
    ] {
        let rules = json!({"agents": {"guest": {}}, "defaults": defaults});
        let setup = Setup::new(json!({}), Some(&rules));
        let found = warnings(&setup);
        assert_eq!(found.lines().count(), warning.iter().count(), "{defaults}: {found}");
        assert!(warning.is_none_or(|words| found.contains(words)), "{defaults}: {found}");

        let options = Options { config_dir: Some(setup.path().into()), ..Options::default() };
        let identities = config::load(&options, &Environment::default()).unwrap().identities;
        assert_eq!(identities.stamped_only, stamped_only, "{defaults}");
        assert_eq!(identities.unstamped_agent.as_ref().map(AgentId::as_str), unstamped);
    }
}
