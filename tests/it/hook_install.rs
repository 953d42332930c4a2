//! `tollgate hook claude-code --install`: the client's settings get the hook, and lose nothing.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::{
    hook::{Home, Outcome, event_of, outcome},
    tollgate,
};

fn settings(home: &Home) -> PathBuf {
    home.0.path().join(".claude/settings.json")
}

/// The settings that the hook was added to.
fn written(home: &Home) -> Value {
    serde_json::from_str(&fs::read_to_string(settings(home)).unwrap()).unwrap()
}

fn backups(home: &Home) -> Vec<PathBuf> {
    let dir = settings(home).parent().unwrap().to_owned();
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files.filter(|path| *path != settings(home)).collect();
    found.sort();
    found
}

fn install(home: &Home, args: &[&str]) -> Outcome {
    outcome(home.begin(&[&["--install"], args].concat(), b""))
}

fn uninstall(home: &Home) -> Outcome {
    outcome(home.begin(&["--uninstall"], b""))
}

fn put(home: &Home, text: &str) {
    fs::create_dir_all(settings(home).parent().unwrap()).unwrap();
    fs::write(settings(home), text).unwrap();
}

#[test]
fn installed_hook_answers_as_its_command_says() {
    let home = Home::new();
    let done = install(&home, &["--main", "lead"]);
    assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{}", done.stdout);
    assert!(backups(&home).is_empty());
    let added = written(&home);
    let entry = &added["hooks"]["PreToolUse"][0];
    assert_eq!(entry["matcher"], "mcp__.*__(list_servers|get_server_tools|execute_tool)");
    let printed = outcome(home.begin(&["--print", "--main", "lead"], b""));
    assert_eq!(serde_json::from_str::<Value>(&printed.stdout).unwrap(), added);

    let mut shell = Command::new("sh");
    shell.arg("-c").arg(entry["hooks"][0]["command"].as_str().unwrap());
    shell.env("HOME", home.0.path()).env("XDG_STATE_HOME", home.0.path().join("state"));
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    child.stdin.take().unwrap().write_all(event_of("main").to_string().as_bytes()).unwrap();
    assert_eq!(home.stamped(&outcome(child)).agent().as_str(), "lead");
}

#[test]
fn installation_keeps_everything_else_and_a_copy() {
    let home = Home::new();
    let before = r#"{"z": 1.50, "a": "é", "hooks": {"Stop": [], "PreToolUse": [
        {"matcher": "Bash", "hooks": [{"type": "command", "command": "check"}]}]}, "b": 1e400}"#;
    put(&home, before);
    assert_eq!(install(&home, &[]).status, 0);
    let first = fs::read_to_string(settings(&home)).unwrap();
    let compact = written(&home).to_string();
    assert!(
        compact.starts_with(
            r#"{"z":1.50,"a":"é","hooks":{"Stop":[],"PreToolUse":[{"matcher":"Bash","#
        ),
        "{compact}"
    );
    assert!(
        compact.ends_with(r#","b":1e+400}"#) || compact.ends_with(r#","b":1e400}"#),
        "{compact}"
    );
    assert_eq!(written(&home)["hooks"]["PreToolUse"].as_array().unwrap().len(), 2);
    assert_eq!(backups(&home).len(), 1);
    assert_eq!(fs::read_to_string(&backups(&home)[0]).unwrap(), before);

    // Again: nothing to do.
    let again = install(&home, &[]);
    assert!(again.stdout.contains("already"), "{}", again.stdout);
    assert_eq!(fs::read_to_string(settings(&home)).unwrap(), first);
    assert_eq!(backups(&home).len(), 1);

    // With other options: changed where it is, with a copy of its own.
    assert_eq!(install(&home, &["--main", "lead", "--deny-wrong-id"]).status, 0);
    let entries = written(&home)["hooks"]["PreToolUse"].as_array().unwrap().clone();
    assert_eq!(entries.len(), 2);
    let command = entries[1]["hooks"][0]["command"].as_str().unwrap();
    assert!(command.ends_with(" hook claude-code --main lead --deny-wrong-id"), "{command}");
    let copies =
        backups(&home).iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>();
    assert_eq!(copies.len(), 2);
    assert!(copies.contains(&before.to_owned()) && copies.contains(&first));
}

#[test]
fn settings_that_cannot_be_read_stay_as_they_are() {
    for (before, says) in [
        ("", "is not JSON"),
        ("{\"a\": 1,}", "is not JSON"),
        ("// mine\n{}", "is not JSON"),
        ("[]", "the file is not an object"),
        (r#"{"hooks": []}"#, "`hooks` is not an object"),
        (r#"{"hooks": {"PreToolUse": {}}}"#, "`hooks.PreToolUse` is not a list"),
    ] {
        let home = Home::new();
        put(&home, before);
        let refused = install(&home, &[]);
        assert_eq!((refused.status, refused.stdout.as_str()), (1, ""), "{before}");
        assert!(refused.stderr.contains(says), "{}", refused.stderr);
        assert!(refused.stderr.contains("settings.json` was left as it is"), "{}", refused.stderr);
        assert_eq!(fs::read_to_string(settings(&home)).unwrap(), before);
        assert!(backups(&home).is_empty());
    }
}

#[cfg(unix)]
#[test]
fn settings_keep_their_place_and_their_permissions() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let home = Home::new();
    put(&home, "{}");
    let kept = home.0.path().join("dotfiles.json");
    fs::rename(settings(&home), &kept).unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&kept, settings(&home)).unwrap();
    assert_eq!(install(&home, &[]).status, 0);
    assert!(fs::symlink_metadata(settings(&home)).unwrap().is_symlink());
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(written(&home).get("hooks").is_some());

    let elsewhere = home.0.path().join("else/where.json");
    let place = elsewhere.to_str().unwrap();
    assert_eq!(install(&home, &["--settings", place]).status, 0);
    assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o600);
}

#[cfg(unix)]
#[test]
fn place_with_blanks_and_quotes_can_be_run() {
    let home = Home::new();
    let odd = home.0.path().join("it's a place");
    fs::create_dir(&odd).unwrap();
    fs::copy(tollgate(), odd.join("tollgate")).unwrap();
    let mut command = Command::new(odd.join("tollgate"));
    command.args(["hook", "claude-code", "--print"]).env("HOME", home.0.path());
    let printed = command.output().unwrap();
    let snippet: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let command = snippet["hooks"]["PreToolUse"][0]["hooks"][0]["command"].as_str().unwrap();
    let ran = Command::new("sh").args(["-c", &format!("{command} --help")]).output().unwrap();
    assert!(ran.status.success(), "{command}: {}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn renamed_program_replaces_its_hooks() {
    let home = Home::new();
    let renamed = home.0.path().join("gw");
    fs::copy(env!("CARGO_BIN_EXE_tollgate"), &renamed).unwrap();
    let other = json!({"matcher": "mcp__.*", "hooks": [
        {"type": "command", "command": "/older/tollgate hook claude-code"},
        {"type": "command", "command": "other hook claude-code"},
    ]});
    put(&home, &json!({"hooks": {"PreToolUse": [other]}}).to_string());
    let install = |main: &str| {
        let mut command = Command::new(&renamed);
        command.args(["hook", "claude-code", "--install", "--json", "--main", main]);
        let out = command.env_clear().env("HOME", home.0.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    for main in ["one", "two"] {
        let done = install(main);
        assert_eq!(done["changed"], true);
        let entries = written(&home)["hooks"]["PreToolUse"].clone();
        assert_eq!(entries.as_array().unwrap().len(), 1);
        assert_eq!(entries[0]["hooks"][0]["command"], done["command"]);
        assert_eq!(entries[0]["hooks"][1]["command"], "other hook claude-code");
        assert!(
            done["command"]
                .as_str()
                .unwrap()
                .ends_with(&format!("gw hook claude-code --main {main}"))
        );
    }
    let again = install("two");
    assert_eq!((&again["changed"], &again["backup"]), (&json!(false), &Value::Null));
}

#[test]
fn hook_under_another_matcher_is_moved_to_its_own() {
    let home = Home::new();
    let entry = |matcher: &str, commands: &[&str]| {
        let hook = |command: &&str| json!({"type": "command", "command": command});
        json!({"matcher": matcher, "hooks": commands.iter().map(hook).collect::<Vec<_>>()})
    };
    let ours = "/older/tollgate hook claude-code";
    let entries = [entry("Bash", &[ours, "check"]), entry("mcp__old__execute_tool", &[ours])];
    put(&home, &json!({"hooks": {"PreToolUse": entries}}).to_string());
    let done = install(&home, &[]);
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(done.stdout.contains("under the matcher `Bash`"), "{}", done.stdout);
    let now = written(&home)["hooks"]["PreToolUse"].clone();
    assert_eq!(now[0], entry("Bash", &["check"]), "{now}");
    let matcher = "mcp__.*__(list_servers|get_server_tools|execute_tool)";
    assert_eq!((now.as_array().unwrap().len(), &now[1]["matcher"]), (2, &json!(matcher)));

    // One that its user narrowed to this gateway stays there.
    let narrowed = "mcp__tollgate__(list_servers|get_server_tools|execute_tool)";
    put(&home, &json!({"hooks": {"PreToolUse": [entry(narrowed, &[ours])]}}).to_string());
    assert_eq!(install(&home, &[]).status, 0);
    let now = written(&home)["hooks"]["PreToolUse"].clone();
    assert_eq!((now.as_array().unwrap().len(), &now[0]["matcher"]), (1, &json!(narrowed)));
    assert_ne!(now[0]["hooks"][0]["command"], ours);
}

#[test]
fn foreign_commands_are_never_replaced_or_removed() {
    let foreign = [
        "sudo -u gw /usr/bin/tollgate hook claude-code",
        "tollgate hook claude-code | tee -a log",
        "/opt/tollgate/audit hook claude-code",
    ];
    for command in foreign {
        let home = Home::new();
        let hooks = json!([{"type": "command", "command": command}]);
        let entry = json!({"matcher": "mcp__.*", "hooks": hooks});
        put(&home, &json!({"hooks": {"PreToolUse": [entry]}}).to_string());
        let done = install(&home, &[]);
        assert_eq!(done.status, 0, "{}", done.stderr);
        assert!(done.stdout.contains(&format!("left as it is: `{command}`")), "{}", done.stdout);
        let now = written(&home)["hooks"]["PreToolUse"].clone();
        assert_eq!((&now[0], now.as_array().unwrap().len()), (&entry, 2), "{now}");
        assert_eq!(uninstall(&home).status, 0);
        assert_eq!(written(&home)["hooks"]["PreToolUse"], json!([entry]));
    }
}

#[test]
fn every_other_byte_stays_duplicates_included() {
    let home = Home::new();
    // The last of two members counts, for the client too.
    let before = "{\n    \"env\": {\"A\": \"1\",  \"A\": \"2\"},\n    \"hooks\": {\"Stop\": 1},\n\
                  \x20   \"hooks\": {\n        \"Stop\": []\n    },\n    \"n\": 1.50e+3\n}";
    put(&home, before);
    assert_eq!(install(&home, &[]).status, 0);
    let text = fs::read_to_string(settings(&home)).unwrap();
    assert_eq!(written(&home)["hooks"]["PreToolUse"].as_array().unwrap().len(), 1, "{text}");
    let (head, _) = before.split_once("\"Stop\": []").unwrap();
    assert!(text.starts_with(head), "{text}");
    assert!(text.ends_with("\n    },\n    \"n\": 1.50e+3\n}"), "{text}");

    let gone = uninstall(&home);
    assert!(gone.stdout.contains("no longer has the hook"), "{}", gone.stdout);
    assert_eq!(fs::read_to_string(settings(&home)).unwrap(), before);
    assert_eq!(backups(&home).len(), 2);
    let again = uninstall(&home);
    assert_eq!(again.status, 0, "{}", again.stderr);
    assert!(again.stdout.contains("does not have the hook\n"), "{}", again.stdout);
    assert_eq!(backups(&home).len(), 2);
}

#[test]
fn uninstalling_leaves_no_trace_in_new_settings() {
    let home = Home::new();
    assert_eq!(uninstall(&home).status, 0);
    assert!(!settings(&home).exists());
    assert_eq!(install(&home, &["--main", "lead"]).status, 0);
    assert_eq!(uninstall(&home).status, 0);
    assert_eq!(written(&home), json!({}));
    assert_eq!(outcome(home.begin(&["--install", "--uninstall"], b"")).status, 2);
}

#[cfg(unix)]
#[test]
fn read_only_settings_are_respected() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    put(&home, "{}");
    fs::set_permissions(settings(&home), fs::Permissions::from_mode(0o444)).unwrap();
    let refused = install(&home, &[]);
    assert_eq!(refused.status, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("read-only"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(settings(&home)).unwrap(), "{}");
    assert!(backups(&home).is_empty());
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_stays_a_link() {
    let home = Home::new();
    fs::create_dir_all(settings(&home).parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("nowhere.json", settings(&home)).unwrap();
    let refused = install(&home, &[]);
    assert_eq!(refused.status, 1, "{}", refused.stdout);
    assert!(refused.stderr.contains("leads to no file"), "{}", refused.stderr);
    assert!(settings(&home).is_symlink());
}
