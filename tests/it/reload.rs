//! Settings are live: which changes of files are seen, how fast, and what a faulty one does.

use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup, json_in,
    reload::{point, put, reading, status},
    scripted, scripted_with, within,
};

/// A change is in force within a second; the margin is for a machine that does other things.
const MARGIN: Duration = Duration::from_secs(5);

const RULES: &str = ".mcp-gateway-rules.json";
const MCP: &str = ".mcp.json";

/// Rules that let everybody do everything, but for these tools.
pub fn denying(tools: &[&str]) -> Value {
    json!({
        "agents": {"default": {"allow": {"servers": ["*"]}, "deny": {"tools": {"*": tools}}}},
        "defaults": {"deny_on_missing_agent": false},
    })
}

fn counts(client: &mut Client, file: &str) -> (u64, u64) {
    let reading = reading(client, file);
    let count = |key: &str| reading[key].as_u64().unwrap();
    (count("attempt_count"), count("success_count"))
}

fn is_denied(client: &mut Client, tool: &str) -> bool {
    let result = client.execute("s", tool, json!({}));
    result["isError"] == true && json_in(&result)["error"]["code"] == "DENIED_BY_POLICY"
}

/// Waits until a tool of server `s` is denied, or is not, and says how long that took.
#[track_caller]
fn comes_into_force(client: &mut Client, what: &str, tool: &str, denied: bool) {
    let begun = Instant::now();
    let done = within(MARGIN, || is_denied(client, tool) == denied);
    eprintln!("{what}: in force after {} ms", begun.elapsed().as_millis());
    assert!(done, "{what}: not in force; {}", status(client));
}

fn setup() -> Setup {
    let servers = json!({"s": scripted_with(&["a", "b", "c"])});
    Setup::new(servers, Some(&denying(&["b"]))).arg("--debug")
}

#[test]
fn rules_written_in_any_way_come_into_force() {
    let setup = setup();
    let rules = setup.path().join(RULES);
    let mut client = setup.connect();
    assert!(!is_denied(&mut client, "a"));

    fs::write(&rules, denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "written in place", "a", true);
    assert!(!is_denied(&mut client, "b"), "what was denied before is not any more");

    put(&rules, &denying(&["b"]).to_string());
    comes_into_force(&mut client, "renamed over", "a", false);

    fs::remove_file(&rules).unwrap();
    fs::write(&rules, denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "removed and written", "a", true);

    // As editors do: the old file is moved away first.
    fs::rename(&rules, setup.path().join("backup~")).unwrap();
    fs::write(&rules, denying(&["c"]).to_string()).unwrap();
    comes_into_force(&mut client, "moved away and written", "c", true);
}

#[test]
fn rules_behind_links_come_into_force() {
    let setup = setup();
    let path = |name: &str| setup.path().join(name);
    fs::create_dir_all(path("far/one")).unwrap();
    fs::create_dir_all(path("far/two")).unwrap();
    fs::write(path("far/one/rules"), denying(&["a"]).to_string()).unwrap();
    fs::write(path("far/two/rules"), denying(&["b"]).to_string()).unwrap();
    fs::remove_file(path(RULES)).unwrap();
    symlink("far/one/rules", path(RULES)).unwrap();
    let mut client = setup.connect();
    assert!(is_denied(&mut client, "a"));

    fs::write(path("far/one/rules"), denying(&["c"]).to_string()).unwrap();
    comes_into_force(&mut client, "target written", "c", true);
    point(&path(RULES), "far/two/rules");
    comes_into_force(&mut client, "link pointed elsewhere", "b", true);
    put(&path("far/two/rules"), &denying(&["a"]).to_string());
    comes_into_force(&mut client, "new target renamed over", "a", true);
    fs::rename(path("far"), path("gone")).unwrap();
    fs::create_dir_all(path("far/two")).unwrap();
    fs::write(path("far/two/rules"), denying(&["b"]).to_string()).unwrap();
    comes_into_force(&mut client, "directory replaced", "b", true);
    fs::write(path("far/two/rules"), denying(&["c"]).to_string()).unwrap();
    comes_into_force(&mut client, "written in the new directory", "c", true);
    // A directory that is removed and made again often gets the number of the one before.
    fs::remove_dir_all(path("far")).unwrap();
    fs::create_dir_all(path("far/two")).unwrap();
    fs::write(path("far/two/rules"), denying(&["b"]).to_string()).unwrap();
    comes_into_force(&mut client, "directory made again", "b", true);
    fs::write(path("far/two/rules"), denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "written in the directory made again", "a", true);
}

#[test]
fn mounted_settings_come_into_force() {
    let setup = setup().arg("--config-dir=mounted");
    let mounted = setup.path().join("mounted");
    let mcp = fs::read_to_string(setup.path().join(MCP)).unwrap();
    for (version, denied) in [("..v1", "a"), ("..v2", "b"), ("..v3", "c")] {
        fs::create_dir_all(mounted.join(version)).unwrap();
        fs::write(mounted.join(version).join(MCP), &mcp).unwrap();
        fs::write(mounted.join(version).join(RULES), denying(&[denied]).to_string()).unwrap();
    }
    symlink("..v1", mounted.join("..data")).unwrap();
    symlink("..data/.mcp.json", mounted.join(MCP)).unwrap();
    symlink(format!("..data/{RULES}"), mounted.join(RULES)).unwrap();
    let mut client = setup.connect();
    assert!(is_denied(&mut client, "a"));
    for (before, version, denied) in
        [("..v1", "..v2", "b"), ("..v2", "..v3", "c"), ("..v3", "..v1", "a")]
    {
        point(&mounted.join("..data"), version);
        if before != "..v1" {
            fs::remove_dir_all(mounted.join(before)).unwrap();
        }
        comes_into_force(&mut client, version, denied, true);
    }
    assert_eq!(counts(&mut client, "gateway_rules"), (4, 4));
    assert_eq!(counts(&mut client, "mcp_config"), (1, 1), "its content never changed");
}

#[test]
fn rules_that_appear_end_single_user_mode() {
    for place in
        [RULES, "config/.mcp-gateway-rules.json", ".config/tollgate/.mcp-gateway-rules.json"]
    {
        let servers = json!({"s": scripted_with(&["a", "b"])});
        let setup = Setup::new(servers, None).arg("--debug");
        let mut client = setup.connect();
        assert!(!is_denied(&mut client, "a"));
        assert_eq!(counts(&mut client, "gateway_rules"), (0, 0));
        let path = setup.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, denying(&["a"]).to_string()).unwrap();
        comes_into_force(&mut client, place, "a", true);
        let found = status(&mut client)["config_paths"]["gateway_rules"].clone();
        assert!(found.as_str().unwrap().ends_with(place), "{found}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn files_that_cannot_be_watched_are_looked_at() {
    let setup = setup();
    let served = setup.command(&["serve"]);
    let mut unwatched = Command::new("unshare");
    let unwatch = r#"echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" "$@""#;
    unwatched.args(["-Ur", "sh", "-c", unwatch]).arg(served.get_program()).args(served.get_args());
    unwatched.current_dir(setup.path());
    for (name, value) in served.get_envs() {
        match value {
            Some(value) => unwatched.env(name, value),
            None => unwatched.env_remove(name),
        };
    }
    if !Command::new("unshare").args(["-Ur", "true"]).status().is_ok_and(|status| status.success())
    {
        eprintln!("not tested: no user namespace can be made here");
        return;
    }
    let mut client = Client::start(unwatched);
    client.handshake("2025-11-25");
    assert!(!is_denied(&mut client, "a"));
    fs::write(setup.path().join(RULES), denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "not watched", "a", true);
    let (_, _, log) = client.finish();
    assert_eq!(log.matches("not all can be watched").count(), 1, "{log}");
}

/// Checks the report of a change that cannot apply; the previous settings stay in force.
#[track_caller]
fn check_refused(
    client: &mut Client,
    file: &str,
    change: impl FnOnce(),
    expected: &[&str],
) -> Value {
    let before = counts(client, file).0;
    change();
    let begun = Instant::now();
    let mut found = Value::Null;
    let told = within(MARGIN, || {
        found = reading(client, file);
        let error = found["last_error"].as_str().unwrap_or_default();
        let read = found["attempt_count"].as_u64().unwrap() > before;
        read && !error.is_empty() && expected.iter().all(|part| error.contains(part))
    });
    eprintln!("{expected:?}: told after {} ms", begun.elapsed().as_millis());
    assert!(told, "{expected:?}: {found}");
    assert!(is_denied(client, "b") && !is_denied(client, "a"), "the rules before hold");
    found
}

#[test]
fn faulty_rules_change_nothing_and_are_told() {
    let faulty = [
        (r#"{"agents": {"#, "cannot be parsed"),
        ("", "must be"),
        (r#"{"agents": {"bad id!": {}}}"#, "not an agent name"),
        (r#"{"agents": {"": {}}}"#, "not an agent name"),
        (r#"{"agents": {"x": {"deny": {"tools": {"db_*": ["a"]}}}}}"#, "must name one server"),
        (r#"{"agents": {"x": {"deny": {"servers": ["[ab]"]}}}}"#, "character class"),
        (r#"{"defaults": {"deny_on_missing_agent": "yes"}}"#, "must be true or false"),
        (r#"{"agents": {"x": {"description": "${TOLLGATE_UNSET}"}}}"#, "TOLLGATE_UNSET"),
    ];
    let setup = setup();
    let rules = setup.path().join(RULES);
    let mut client = setup.connect();
    for (index, (text, told)) in (1..).zip(faulty) {
        let write = || fs::write(&rules, text).unwrap();
        let found = check_refused(&mut client, "gateway_rules", write, &[RULES, told]);
        assert_eq!(found["attempt_count"], index + 1, "{text}");
        assert_eq!(found["success_count"], 1, "{text}");
        assert!(found["last_attempt"].as_str() > found["last_success"].as_str(), "{found}");
    }
    assert_eq!(reading(&mut client, "mcp_config")["last_error"], Value::Null);
    assert_eq!(counts(&mut client, "mcp_config"), (1, 1));
    fs::write(&rules, denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "mended", "a", true);
    let mended = reading(&mut client, "gateway_rules");
    assert_eq!((&mended["last_error"], &mended["success_count"]), (&Value::Null, &json!(2)));
    let (_, _, log) = client.finish();
    for (_, told) in faulty {
        assert!(log.contains(told), "{told} is not in the log:\n{log}");
    }
    assert!(log.contains(&format!("settings reloaded ({RULES}): rules changed")), "{log}");
}

#[test]
fn faulty_servers_change_nothing_and_are_told() {
    let faulty = [
        (r#"{"mcpServers": {"s": {"command": "x", "url": "http://x"}}}"#, "both"),
        (r#"{"mcpServers": {"s": {}}}"#, "neither"),
        (r#"{"mcpServers": {"s": {"url": "ftp://x"}}}"#, "http"),
        (r#"{"mcpServers": {"s": {"command": "x", "args": "y"}}}"#, "a list"),
        (r#"{"mcpServers": {"s": {"command": "x", "args": [1]}}}"#, "a string"),
        (r#"{"mcpServers": {"s": {"command": "x", "env": []}}}"#, "an object"),
        (r#"{"servers": {}}"#, "mcpServers"),
        (r#"{"mcpServers": {"s": {"command": "${TOLLGATE_UNSET}"}}}"#, "TOLLGATE_UNSET"),
    ];
    let setup = setup();
    let mut client = setup.connect();
    for (text, told) in faulty {
        let write = || fs::write(setup.path().join(MCP), text).unwrap();
        check_refused(&mut client, "mcp_config", write, &[MCP, told]);
    }
    assert_eq!(counts(&mut client, "gateway_rules"), (1, 1));
    assert_eq!(status(&mut client)["available_servers"], json!(["s"]));
}

#[test]
fn file_that_disappears_stays_in_force() {
    let named = |name: &str| setup().arg("--rules").arg(name);
    for setup in [setup(), named(RULES), setup().env("GATEWAY_RULES", RULES)] {
        // Others that would be found are no successors.
        let other = setup.path().join("config");
        fs::create_dir(&other).unwrap();
        fs::write(other.join(RULES), denying(&["a"]).to_string()).unwrap();
        let rules = setup.path().join(RULES);
        let mut client = setup.connect();
        let text = fs::read_to_string(&rules).unwrap();
        let refused = "gateway_rules";
        let remove = || fs::remove_file(&rules).unwrap();
        check_refused(&mut client, refused, remove, &[RULES]);
        check_refused(&mut client, refused, || fs::create_dir(&rules).unwrap(), &["not a"]);
        check_refused(&mut client, refused, || fs::remove_dir(&rules).unwrap(), &[RULES]);
        check_refused(&mut client, refused, || symlink("nowhere", &rules).unwrap(), &[RULES]);
        fs::remove_file(&rules).unwrap();
        fs::write(&rules, text).unwrap();
        let mended =
            within(MARGIN, || reading(&mut client, "gateway_rules")["last_error"] == Value::Null);
        assert!(mended, "{}", status(&mut client));
        let remove = || fs::remove_file(setup.path().join(MCP)).unwrap();
        check_refused(&mut client, "mcp_config", remove, &[MCP, "gone"]);
    }
}

#[test]
fn pinned_agent_that_vanishes_is_a_fault() {
    let setup = setup().arg("--as=default");
    let mut client = setup.connect();
    let without = json!({"agents": {"other": {"allow": {"servers": ["*"]}}}});
    let write = || fs::write(setup.path().join(RULES), without.to_string()).unwrap();
    check_refused(&mut client, "gateway_rules", write, &["--as `default`", "no such agent"]);
}

#[test]
fn file_with_own_accounts_waits_for_a_restart() {
    let setup = setup();
    let path = setup.path().join("config/gateway.yaml");
    let mut client = setup.connect();
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "server: {}").unwrap();
    let named = |client: &mut Client| {
        let told = reading(client, "gateway")["last_warnings"].to_string();
        told.contains("brings accounts of its own")
    };
    assert!(within(PATIENCE, || named(&mut client)));
    fs::write(setup.path().join(RULES), denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "rules beside it", "a", true);
    fs::write(setup.path().join(RULES), denying(&["b"]).to_string()).unwrap();
    comes_into_force(&mut client, "rules as before", "a", false);
    // It is in use, as all that it says beside accounts is in force.
    let remove = || fs::remove_file(&path).unwrap();
    check_refused(&mut client, "gateway", remove, &["is in use and has gone"]);
}

#[test]
fn both_files_apply_together() {
    let setup = setup();
    let mut client = setup.connect();
    let write = || fs::write(setup.path().join(RULES), "{").unwrap();
    check_refused(&mut client, "gateway_rules", write, &["cannot be parsed"]);
    let servers = json!({"mcpServers": {"s": scripted_with(&["a", "b"]), "t": scripted(&[])}});
    let write = || fs::write(setup.path().join(MCP), servers.to_string()).unwrap();
    check_refused(&mut client, "mcp_config", write, &["another settings file"]);
    assert_eq!(status(&mut client)["available_servers"], json!(["s"]));
    fs::write(setup.path().join(RULES), denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "both", "a", true);
    assert_eq!(status(&mut client)["available_servers"], json!(["s", "t"]));
    for file in ["mcp_config", "gateway_rules"] {
        assert_eq!(reading(&mut client, file)["last_error"], Value::Null, "{file}");
    }
}

#[test]
fn warnings_are_told_and_stop_nothing() {
    let setup = setup();
    let mut client = setup.connect();
    let mut rules = denying(&["a"]);
    rules["agents"]["default"]["deny"]["tools"]["nosuch"] = json!(["x"]);
    fs::write(setup.path().join(RULES), rules.to_string()).unwrap();
    comes_into_force(&mut client, "with a warning", "a", true);
    let found = reading(&mut client, "gateway_rules");
    let warnings = found["last_warnings"].to_string();
    assert!(warnings.contains("server `nosuch`, which is not configured"), "{warnings}");
    let (_, _, log) = client.finish();
    assert!(log.contains("warning: ") && log.contains("`nosuch`, which is not"), "{log}");
}

#[test]
fn many_writes_are_one_reload() {
    let setup = setup();
    let rules = setup.path().join(RULES);
    let mut client = setup.connect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        fs::write(&rules, "{ half").unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    fs::write(&rules, denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "many writes", "a", true);
    assert_eq!(counts(&mut client, "gateway_rules"), (2, 2));
}

#[test]
fn endlessly_written_file_applies_when_it_settles() {
    let setup = setup();
    let rules = setup.path().join(RULES);
    let text = denying(&["a"]).to_string();
    let mut client = setup.connect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        put(&rules, &text);
    }
    comes_into_force(&mut client, "written without end", "a", true);
    assert_eq!(reading(&mut client, "gateway_rules")["last_error"], Value::Null);
}

#[test]
fn what_is_not_a_settings_file_causes_no_reload() {
    let setup = setup();
    let mut client = setup.connect();
    let path = |name: &str| -> PathBuf { setup.path().join(name) };
    let same = fs::read(path(RULES)).unwrap();
    for name in [".mcp-gateway-rules.json.swp", "4913", "notes.json", ".mcp.json~", "rules.json"] {
        fs::write(path(name), "{").unwrap();
        fs::remove_file(path(name)).unwrap();
    }
    fs::write(path(RULES), &same).unwrap();
    fs::OpenOptions::new().append(true).open(path(MCP)).unwrap().write_all(b"").unwrap();
    put(&path(RULES), std::str::from_utf8(&same).unwrap());
    // A reload that counts comes after all of these.
    thread::sleep(Duration::from_millis(300));
    fs::write(path(RULES), denying(&["a"]).to_string()).unwrap();
    comes_into_force(&mut client, "after other files", "a", true);
    assert_eq!(counts(&mut client, "gateway_rules"), (2, 2));
    assert_eq!(counts(&mut client, "mcp_config"), (1, 1));
    let (_, _, log) = client.finish();
    assert_eq!(log.matches("settings reloaded").count(), 1, "{log}");
    assert!(!log.contains("not reloaded"), "{log}");
}

#[test]
fn sighup_reads_everything_again() {
    let setup = setup().env("SECRET_FILE", "unused");
    let secret = setup.path().join("secret");
    fs::write(&secret, "first-secret").unwrap();
    let mut server = scripted_with(&["a", "env", "b"]);
    server["env"] = json!({"GIVEN": "${file:secret}"});
    fs::write(setup.path().join(MCP), json!({"mcpServers": {"s": server}}).to_string()).unwrap();
    let mut client = setup.connect();
    let given = |client: &mut Client| {
        json_in(&client.execute("s", "env", json!({})))["GIVEN"].as_str().unwrap().to_owned()
    };
    assert_eq!(given(&mut client), "first-secret");
    fs::write(&secret, "second-secret").unwrap();
    client.signal("-HUP");
    assert!(within(MARGIN, || given(&mut client) == "second-secret"), "{}", status(&mut client));
    for file in ["mcp_config", "gateway_rules"] {
        assert_eq!(counts(&mut client, file), (2, 2), "{file}");
    }
    assert_eq!(counts(&mut client, "gateway"), (0, 0));
}

#[test]
fn new_and_old_secrets_stay_masked() {
    // Tells its secret again and again, as long as it runs.
    let server = |mark: &str, secret: &str| {
        let tell = r#"while sleep 0.05; do echo "says $API_KEY $0" >&2; done </dev/null & exec python3 "$@""#;
        let script = scripted_with(&["a", "b", "hang"])["args"].clone();
        let mut args = vec![json!("-c"), json!(tell), json!(mark)];
        args.extend(script.as_array().unwrap().iter().cloned());
        json!({"s": {"command": "sh", "args": args, "env": {"API_KEY": secret}}})
    };
    let setup = Setup::new(server("first", "old-secret-1"), Some(&denying(&["b"]))).arg("--debug");
    let write = |servers: Value| {
        put(&setup.path().join(MCP), &json!({ "mcpServers": servers }).to_string());
    };
    let mut client = setup.connect();
    client.begin("execute_tool", json!({"server": "s", "tool": "hang", "args": {}}));
    let mut faulty = server("never", "new-secret-2");
    faulty["s"]["env"]["MORE"] = json!("${file:old-secret-1}");
    faulty["t"] = json!({"command": "${file:new-secret-2}"});
    let change = || write(faulty);
    let refused = check_refused(&mut client, "mcp_config", change, &["file `[redacted]`"]);
    let refused = refused.to_string();
    assert!(!refused.contains("-secret-"), "{refused}");
    write(server("second", "new-secret-3"));
    let replaced = within(MARGIN, || reading(&mut client, "mcp_config")["success_count"] == 2);
    assert!(replaced, "{}", status(&mut client));
    assert!(!is_denied(&mut client, "a"));
    thread::sleep(Duration::from_millis(300));
    let (_, _, log) = client.finish();
    let (_, after) = log.split_once("settings reloaded").unwrap();
    for told in ["says [redacted] first", "says [redacted] second"] {
        assert!(after.contains(told), "{told} is not in the log:\n{log}");
    }
    assert!(!log.contains("-secret-"), "{log}");
}
