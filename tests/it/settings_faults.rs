//! Settings that do not load: every fault is reported in one run, with its place and what to write
//! instead, and never with a value of the file.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{
    Setup,
    faults::{check, faults, position},
};

const MCP: &str = ".mcp.json";
const RULES: &str = ".mcp-gateway-rules.json";

/// A fault of the entry of server `s`, at `at` within it.
fn check_server(entry: &str, at: &str, says: &str) {
    let text = format!("{{\n  \"mcpServers\": {{\n    \"s\": {entry}\n  }}\n}}\n");
    check(MCP, &text, at, says);
}

#[test]
fn server_is_reached_in_one_way() {
    for (entry, at, says) in [
        (
            r#"{"command": "x", "url": "https://a.b"}"#,
            "{\"command\"",
            "`mcpServers.s` has both `command` and `url`",
        ),
        (
            r#"{"description": "d"}"#,
            "{\"description\"",
            "`mcpServers.s` has neither `command` nor `url`",
        ),
        (r#"{"url": "ftp://a.b"}"#, "\"ftp:", "must begin with http:// or https://"),
        (r#"{"url": "a.b/mcp"}"#, "\"a.b", "is not a URL"),
        (r#"{"url": "https://"}"#, "\"https:", "is not a URL"),
        (r#"{"url": "file:///etc/passwd"}"#, "\"file:", "must begin with http:// or https://"),
        (r#"{"url": "https://a.b", "type": "sse"}"#, "\"sse\"", "old HTTP+SSE transport"),
        (
            r#"{"url": "https://a.b", "type": "stdio"}"#,
            "\"stdio\"",
            "must be \"http\" beside `url`",
        ),
        (
            r#"{"command": "x", "transport": "http"}"#,
            "\"http\"",
            "must be \"stdio\" beside `command`",
        ),
        (r#"{"command": ""}"#, "\"\"", "must name a program"),
    ] {
        check_server(entry, at, says);
    }
}

#[test]
fn wrong_types_in_server_entries_are_located() {
    for (entry, at, says) in [
        (r#""npx""#, "\"npx\"", "`mcpServers.s` must be an object (it is a string)"),
        ("null", "null", "must be an object"),
        (r#"{"command": "x", "args": "-y"}"#, "\"-y\"", "`mcpServers.s.args` must be a list"),
        (r#"{"command": "x", "args": ["a", 17]}"#, "17", "`mcpServers.s.args[1]` must be a string"),
        (r#"{"command": "x", "args": [null]}"#, "null", "args[0]` must be a string"),
        (r#"{"command": "x", "env": ["A"]}"#, "[\"A\"]", "env` must be an object (it is a list)"),
        (
            r#"{"command": "x", "env": {"A": 1}}"#,
            "1}",
            "`mcpServers.s.env.A` must be a string; put it in quotes",
        ),
        (r#"{"command": "x", "env": {"A": null}}"#, "null", "env.A` must be a string"),
        (r#"{"command": "x", "env": {"A": ["b"]}}"#, "[\"b\"]", "env.A` must be a string"),
        (r#"{"url": "https://a.b", "headers": "A: b"}"#, "\"A: b\"", "headers` must be an object"),
        (
            r#"{"url": "https://a.b", "headers": {"A": true}}"#,
            "true",
            "headers.A` must be a string",
        ),
        (r#"{"command": "x", "description": 5}"#, "5", "description` must be a string"),
        (r#"{"command": "x", "cwd": []}"#, "[]", "cwd` must be a string"),
        (r#"{"command": "x", "timeout": 0}"#, "0", "must be a duration from 1 ms to 24 h"),
        (
            r#"{"command": "x", "timeout": "99999999999999s"}"#,
            "\"99999999999999s\"",
            "must be a duration from 1 ms to 24 h",
        ),
        (r#"{"command": "x", "idle": 0}"#, "0", "must be a duration from 1 ms to 24 h"),
        (r#"{"command": "x", "maxConcurrency": 0}"#, "0", "must be a whole number from 1 up"),
        (r#"{"command": "x", "maxConcurrency": "2"}"#, "\"2\"", "from 1 up (it is a string)"),
        (r#"{"command": "x", "timeout": "soon"}"#, "\"soon\"", "must be a duration"),
        (r#"{"command": "x", "timeout": -5}"#, "-5", "must be a duration from 1 ms to 24 h"),
        (r#"{"command": "x", "disabled": "yes"}"#, "\"yes\"", "must be true or false"),
        (r#"{"command": "x", "init": "later"}"#, "\"later\"", "must be \"lazy\" or \"eager\""),
        (r#"{"command": "x", "inheritEnv": "A"}"#, "\"A\"", "inheritEnv` must be a list"),
    ] {
        check_server(entry, at, says);
    }
}

/// A second fault that only follows from the first sends people the wrong way.
#[test]
fn command_that_cannot_be_read_is_one_fault() {
    check_server(r#"{"command": 5}"#, "5", "must be a string");
    check_server(
        r#"{"command": "${TOLLGATE_TEST_UNSET}"}"#,
        "\"${",
        "`TOLLGATE_TEST_UNSET`, which is not set",
    );
}

#[test]
fn references_that_cannot_be_expanded_are_located() {
    for (value, says) in [
        ("${TOLLGATE_TEST_UNSET}", "`TOLLGATE_TEST_UNSET`, which is not set"),
        ("a ${TOLLGATE_TEST_UNSET} b", "write `${TOLLGATE_TEST_UNSET:-default}`"),
        ("${}", "names no variable"),
        ("${A-B}", "names no variable"),
        ("${A", "without its `}`"),
        ("${file:no/such/file}", "names the file `no/such/file`, which cannot be read"),
    ] {
        let entry = format!(r#"{{"command": "x", "env": {{"K": "{value}"}}}}"#);
        check_server(&entry, &format!("\"{value}\""), says);
    }
}

#[test]
fn keys_that_are_not_built_are_refused_by_name() {
    for key in ["oauth", "pin", "instances"] {
        let entry = format!(r#"{{"command": "x", "{key}": "v"}}"#);
        check_server(
            &entry,
            "\"v\"",
            &format!("`mcpServers.s.{key}` is not supported by this version"),
        );
    }
    for key in ["roles", "rate"] {
        let text = format!(r#"{{"agents": {{"a": {{"{key}": {{}}}}}}}}"#);
        let says = format!("`agents.a.{key}` is not supported by this version");
        check(RULES, &text, &format!("\"{key}\""), &says);
    }
}

#[test]
fn whole_files_of_the_wrong_shape_are_refused() {
    check(MCP, "{}", "{}", "`mcpServers` is missing");
    check(MCP, r#"{"mcpServers": []}"#, "[]", "`mcpServers` must be an object");
    check(MCP, "[]", "[]", "must be an object");
    check(MCP, r#"{"mcpServers": {}, "servers": {}}"#, "\"servers\"", "did you mean `mcpServers`?");
    check(RULES, "[]", "[]", "must be an object");
    check(RULES, r#"{"agents": []}"#, "[]", "`agents` must be an object");
    check(RULES, r#"{"agent": {}}"#, "\"agent\"", "did you mean `agents`?");
}

#[test]
fn server_names_that_rules_could_not_write_are_refused() {
    let named = |name: &str| format!(r#"{{"mcpServers": {{"{name}": {{"command": "x"}}}}}}"#);
    check(MCP, &named("gateway"), "{\"command\"", "kept for the gateway itself");
    check(MCP, &named(""), "{\"command\"", "empty name");
    for name in ["*", "db?", "a[b]"] {
        check(MCP, &named(name), "{\"command\"", "a name that rules could not write");
    }
}

#[test]
fn faulty_rules_are_told_with_their_place() {
    let long = "x".repeat(129);
    for (agents, at, says) in [
        (r#"{"bad id!": {}}"#, "{}", "`agents.bad id!` is not an agent name"),
        (r#"{"": {}}"#, "{}", "is not an agent name"),
        (r#"{"*": {}}"#, "{}", "is not an agent name"),
        (&format!(r#"{{"{long}": {{}}}}"#), "{}", "is not an agent name: 1 to 128"),
        (r#"{"a": "b"}"#, "\"b\"", "`agents.a` must be an object"),
        (
            r#"{"a": {"alow": {}}}"#,
            "\"alow\"",
            "`agents.a.alow` is not a known key; did you mean `allow`?",
        ),
        (r#"{"a": {"deny": []}}"#, "[]", "`agents.a.deny` must be an object"),
        (r#"{"a": {"deny": {"server": []}}}"#, "\"server\"", "did you mean `servers`?"),
        (r#"{"a": {"deny": {"servers": "db"}}}"#, "\"db\"", "deny.servers` must be a list"),
        (r#"{"a": {"deny": {"servers": [7]}}}"#, "7", "deny.servers[0]` must be a string"),
        (r#"{"a": {"deny": {"servers": ["db[12]"]}}}"#, "\"db[12]\"", "character class"),
        (r#"{"a": {"deny": {"tools": ["x"]}}}"#, "[\"x\"]", "deny.tools` must be an object"),
        (r#"{"a": {"deny": {"tools": {"db": "x"}}}}"#, "\"x\"", "tools.db` must be a list"),
        (r#"{"a": {"deny": {"tools": {"db": null}}}}"#, "null", "tools.db` must be a list"),
        (
            r#"{"a": {"deny": {"tools": {"*": ["ok", "[ab]*"]}}}}"#,
            "\"[ab]*\"",
            "tools.*[1]` `[ab]*` uses a character class",
        ),
        (r#"{"a": {"deny": {"tools": {"*": [""]}}}}"#, "\"\"", "is empty"),
        (
            r#"{"a": {"deny": {"tools": {"db_*": ["x"]}}}}"#,
            "[\"x\"]",
            "must name one server exactly, or be `*`",
        ),
        (r#"{"a": {"may_act_as": "b"}}"#, "\"b\"", "may_act_as` must be a list"),
    ] {
        check(RULES, &format!("{{\n\"agents\": {agents}\n}}"), at, says);
    }
}

#[test]
fn faulty_defaults_are_told_with_their_place() {
    for (defaults, at, says) in [
        (
            r#"{"deny_on_missing_agent": "yes"}"#,
            "\"yes\"",
            "must be true or false (it is a string)",
        ),
        (r#"{"identity": "signed"}"#, "\"signed\"", "must be \"asserted\" or \"stamped\""),
        (r#"{"unstamped_agent": 1}"#, "1", "must be a string"),
        (r#"{"deny_on_missing_agent": 1}"#, "1", "must be true or false"),
        (r#"{"explain_denials": []}"#, "[]", "must be true or false"),
        (r#"{"precedence": "first"}"#, "\"first\"", "must be \"specific-first\" or \"deny-first\""),
        (
            r#"{"deny_on_missing": true}"#,
            "\"deny_on_missing\"",
            "did you mean `deny_on_missing_agent`?",
        ),
    ] {
        check(RULES, &format!("{{\"agents\": {{}}, \"defaults\": {defaults}}}"), at, says);
    }
}

#[test]
fn duplicate_keys_are_refused() {
    let servers = r#"{"mcpServers": {"s": {"command": "x"}, "s": {"command": "y"}}}"#;
    check(MCP, servers, "\"s\": {\"command\": \"y\"", "the key `s` is there twice");
    let rules = "{\"agents\": {\"a\": {\"deny\": {},\n \"deny\": {\"servers\": []}}}}";
    check(RULES, rules, "\"deny\": {\"servers\"", "the key `deny` is there twice");
}

#[test]
fn all_faults_are_reported_in_one_run() {
    let mcp = r#"{"mcpServers": {
      "one": {"command": "x", "url": "https://a.b"},
      "two": {"command": "x", "args": [1, 2], "pin": "warn"},
      "gateway": {"command": "x", "env": {"K": "${TOLLGATE_TEST_UNSET}"}}
    }}"#;
    let rules = r#"{"agents": {"bad id!": {"alow": {}}, "a": {"deny": {"tools": {"x*": []}}}},
      "defaults": {"precedence": "none"}}"#;
    let expected = [
        (MCP, mcp, "{\"command\": \"x\", \"url\"", "has both"),
        (MCP, mcp, "\"warn\"", "`mcpServers.two.pin`"),
        (MCP, mcp, "1, 2", "`mcpServers.two.args[0]`"),
        (MCP, mcp, "2], ", "`mcpServers.two.args[1]`"),
        (MCP, mcp, "{\"command\": \"x\", \"env\"", "kept for the gateway itself"),
        (MCP, mcp, "\"${TOLL", "`TOLLGATE_TEST_UNSET`"),
        (RULES, rules, "{\"alow\"", "is not an agent name"),
        (RULES, rules, "\"alow\"", "did you mean `allow`?"),
        (RULES, rules, "[]", "must name one server exactly"),
        (RULES, rules, "\"none\"", "must be \"specific-first\""),
    ];
    let lines = faults(&[(MCP, mcp), (RULES, rules)]);
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (file, text, at, says) in expected {
        let place = format!("/{file}:{}: ", position(text, at));
        let told = lines.iter().any(|line| line.contains(&place) && line.contains(says));
        assert!(told, "{place} {says}: {lines:#?}");
    }
}

#[test]
fn faults_are_told_to_programs_with_line_and_column() {
    let setup = Setup::new(json!({}), None);
    let text = "{\"mcpServers\": {\n  \"s\": {\"command\": \"x\", \"args\": [1]}}}";
    fs::write(setup.path().join(MCP), text).unwrap();
    let (status, stdout, _) = setup.run(&["check", "--json"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    let fault = &report["faults"][0];
    assert_eq!(status, 2, "{stdout}");
    assert_eq!(format!("{}:{}", fault["line"], fault["column"]), position(text, "1]"));
    assert_eq!(fault["place"], "mcpServers.s.args[0]");
    assert!(Path::new(fault["file"].as_str().unwrap()).ends_with(MCP));
}

#[test]
fn every_command_refuses_faulty_settings() {
    let setup = Setup::new(json!({"s": {}}), None);
    for command in [
        &["serve"][..],
        &[],
        &["check"],
        &["servers"],
        &["tools", "s"],
        &["call", "s", "t"],
        &["explain", "default", "s", "t"],
    ] {
        let (status, stdout, stderr) = setup.run(command);
        assert_eq!(status, 2, "{command:?}: {stdout}{stderr}");
        assert!((stdout + &stderr).contains("neither `command` nor `url`"), "{command:?}");
    }
}

#[test]
fn named_file_that_is_missing_is_refused() {
    let check = |setup: Setup, says: &str| {
        let (status, stdout, _) = setup.run(&["check"]);
        assert_eq!(status, 2, "{stdout}");
        assert!(stdout.lines().next().unwrap().contains(says), "{says}: {stdout}");
        assert!(stdout.ends_with("1 fault found\n"), "{stdout}");
    };
    let setup = || Setup::new(json!({}), None);
    for flag in ["--mcp-config", "--rules", "--config"] {
        check(setup().arg(flag).arg("no.json"), &format!("{flag}: "));
        check(setup().arg(flag).arg("/"), "is not a file");
    }
    for name in ["GATEWAY_MCP_CONFIG", "GATEWAY_RULES", "GATEWAY_CONFIG", "MCP_GATEWAY_CONFIG"] {
        check(setup().env(name, "no.json"), &format!("{name}: "));
    }
    check(setup().arg("--config-dir").arg("no"), "no is not a directory");
}

/// A container that mounts a missing file gets a directory; without rules everything is allowed.
#[test]
fn unreadable_settings_are_refused() {
    for file in [RULES, MCP, "gateway.yaml"] {
        for place in ["", "config", ".config/tollgate"] {
            for dangling in [false, true] {
                let setup = Setup::new(json!({}), None);
                fs::remove_file(setup.path().join(MCP)).unwrap();
                let path = setup.path().join(place).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if dangling {
                    std::os::unix::fs::symlink("nowhere", &path).unwrap();
                } else {
                    fs::create_dir(&path).unwrap();
                }
                let (status, stdout, _) = setup.run(&["check"]);
                assert_eq!(status, 2, "{}: {stdout}", path.display());
                assert!(stdout.contains(file), "{stdout}");
            }
        }
    }
}

#[test]
fn surroundings_that_are_not_built_are_refused_by_name() {
    for (name, value, says) in [
        ("GATEWAY_TRANSPORT", "http", "GATEWAY_TRANSPORT is `http`"),
        ("GATEWAY_INIT_STRATEGY", "never", "may be `lazy` or `eager`"),
    ] {
        let (status, stdout, _) = Setup::new(json!({}), None).env(name, value).run(&["check"]);
        assert!(status == 2 && stdout.contains(says), "{stdout}");
    }
    let (status, stdout, stderr) = Setup::new(json!({}), None).run(&["serve", "--http", ":1"]);
    assert_eq!((status, stdout.as_str()), (2, ""));
    assert!(stderr.contains("--http"), "{stderr}");
}

#[test]
fn deeply_nested_file_is_refused_and_nothing_breaks() {
    let deep = format!(r#"{{"mcpServers": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let lines = faults(&[(MCP, &deep)]);
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("cannot be parsed") && lines[0].len() < 500, "{}", lines[0]);
}
