//! `tollgate hook claude-code` through the binary: whose call each event is of, and that the answer
//! never gives a call more than it had.
//!
//! `data/claude_code.json` has events as Claude Code 2.1.330 sent them to the hook in
//! `scripts/try-claude-code`, with other paths and ids, and whose calls they are: those of the main
//! thread, also of one that was started as an agent, and of three subagents, two of one type.

use std::{fs, path::Path, process::Command};

use serde_json::{Map, Value, json};
use tollgate::domain::delegation::handle;

use crate::support::hook::{Home, Outcome, event_of, events, outcome, updated};

/// Why the call was refused.
fn denied(outcome: &Outcome) -> String {
    let answer: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
    let specific = &answer["hookSpecificOutput"];
    assert_eq!(specific["permissionDecision"], "deny");
    assert_eq!(specific.get("updatedInput"), None);
    specific["permissionDecisionReason"].as_str().unwrap().to_owned()
}

fn with(mut event: Value, changes: &Value) -> Value {
    for (key, value) in changes.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

fn without(mut event: Value, members: &[&str]) -> Value {
    for member in members {
        event.as_object_mut().unwrap().shift_remove(*member);
    }
    event
}

fn naming(mut event: Value, agent_id: &str) -> Value {
    event["tool_input"]["agent_id"] = agent_id.into();
    event
}

#[test]
fn concurrent_calls_are_attributed_to_their_callers() {
    let home = Home::new();
    let begun: Vec<_> = events()
        .into_iter()
        .map(|(agent, event)| (home.begin(&[], event.to_string().as_bytes()), agent, event))
        .collect();
    assert_eq!(begun.len(), 9);
    for (child, agent, event) in begun {
        let outcome = outcome(child);
        let stamped = home.stamped(&outcome);
        assert_eq!(stamped.agent().as_str(), agent, "{event}");
        assert_eq!(stamped.instance(), event["agent_id"].as_str(), "{event}");
        assert_eq!(stamped.claim(), None, "a name is no handle");

        // All else goes on as it was: order, numbers, texts.
        let asked = event["tool_input"].to_string();
        let id = updated(&outcome)["agent_id"].to_string();
        let going_on = Value::Object(updated(&outcome)).to_string();
        assert_eq!(going_on, asked.replace("\"somebody-else\"", &id));
    }
}

#[test]
fn main_thread_acts_as_the_configured_agent() {
    let home = Home::new();
    let started_as_agent = with(event_of("main"), &json!({"agent_type": "reviewer"}));
    for event in [event_of("main"), started_as_agent] {
        let stamped = home.stamped(&home.hook(&["--main", "lead"], &event));
        assert_eq!((stamped.agent().as_str(), stamped.instance()), ("lead", None));
    }
    let refused = home.hook(&["--main", "a~b"], &event_of("main"));
    assert_eq!((refused.status, refused.stdout.as_str()), (2, ""));
    assert!(refused.stderr.contains("is not an agent name"), "{}", refused.stderr);
}

#[test]
fn subagent_named_like_the_main_thread_is_not_stamped() {
    let home = Home::new();
    for main in ["main", "lead"] {
        let subagent = with(event_of("reviewer"), &json!({"agent_type": main}));
        let left = home.hook(&["--main", main], &subagent);
        assert_eq!((left.status, left.stdout.as_str()), (1, ""), "{main}");
        assert!(left.stderr.contains("is the name of the main thread"), "{}", left.stderr);
    }
}

#[test]
fn handle_that_the_model_names_is_claimed() {
    let home = Home::new();
    let claimed = handle([5; 16]);
    let stamped = home.stamped(&home.hook(&[], &naming(event_of("reviewer"), &claimed)));
    assert_eq!((stamped.agent().as_str(), stamped.claim()), ("reviewer", Some(claimed.as_str())));
}

#[test]
fn equal_calls_get_different_stamps() {
    let home = Home::new();
    let mut event = event_of("explorer");
    event["tool_input"].as_object_mut().unwrap().shift_remove("agent_id");
    let stamps = [0, 1].map(|_| home.stamped(&home.hook(&[], &event)).digest());
    assert_ne!(stamps[0], stamps[1]);
}

#[test]
fn only_facade_tools_are_stamped() {
    let home = Home::new();
    for name in [
        "mcp__tollgate__execute_tool",
        "mcp__gw__get_server_tools",
        "mcp__plugin_a_b__list_servers",
        "mcp__odd___execute_tool",
    ] {
        let event = with(event_of("main"), &json!({ "tool_name": name }));
        assert!(!home.hook(&[], &event).stdout.is_empty(), "{name}");
    }
    for change in [
        json!({"tool_name": "Bash"}),
        json!({"tool_name": "execute_tool"}),
        json!({"tool_name": "mcp__execute_tool"}),
        json!({"tool_name": "mcp__tollgate__get_gateway_status"}),
        json!({"tool_name": "mcp__tollgate__execute_tools"}),
        json!({"tool_name": "Xmcp__tollgate__execute_tool"}),
        json!({"hook_event_name": "PostToolUse"}),
        json!({"tool_input": "text"}),
    ] {
        let silent = home.hook(&[], &with(event_of("main"), &change));
        let said = (silent.status, silent.stdout.as_str(), silent.stderr.as_str());
        assert_eq!(said, (0, "", ""), "{change}");
    }
}

#[test]
fn unidentified_caller_is_never_the_main_thread() {
    let home = Home::new();
    let old = ["prompt_id", "effort", "mcp_server"];
    for (event, says) in [
        (with(event_of("reviewer"), &json!({"agent_type": "two words"})), "\"two words\" cannot"),
        (with(event_of("reviewer"), &json!({"agent_type": "a~b"})), "cannot name an agent"),
        (with(event_of("reviewer"), &json!({"agent_type": ""})), "cannot name an agent"),
        (without(event_of("reviewer"), &["agent_type"]), "of which type"),
        (
            with(without(event_of("reviewer"), &["agent_type"]), &json!({"agent_id": ""})),
            "of which",
        ),
        (with(event_of("reviewer"), &json!({"agent_id": 7})), "no event of a hook"),
        (without(event_of("main"), &old), "2.1.196 or later"),
    ] {
        let left = home.hook(&[], &event);
        assert_eq!((left.status, left.stdout.as_str()), (1, ""), "{event}");
        assert!(left.stderr.contains(says), "{}", left.stderr);
    }
    // Every version that names a subagent tells it apart.
    home.stamped(&home.hook(&[], &without(event_of("reviewer"), &old)));
}

#[test]
fn stamp_that_a_caller_found_goes_no_further() {
    let home = Home::new();
    let found = updated(&home.hook(&[], &event_of("explorer")))["agent_id"].clone();
    let found = found.as_str().unwrap();
    let unnamed = with(naming(event_of("reviewer"), found), &json!({"agent_type": "two words"}));
    let taken = home.hook(&[], &unnamed);
    assert_eq!((taken.status, updated(&taken).get("agent_id")), (0, None));
    assert!(taken.stderr.contains("cannot name an agent"), "{}", taken.stderr);
    let refused = home.hook(&["--deny-wrong-id"], &unnamed);
    assert!(denied(&refused).contains("without agent_id"));

    // An identified caller has a stamp of its own.
    let own = home.stamped(&home.hook(&[], &naming(event_of("reviewer"), found)));
    assert_eq!(own.agent().as_str(), "reviewer");
}

#[test]
fn wrong_id_is_refused_naming_the_right_one() {
    let home = Home::new();
    let deny = ["--deny-wrong-id"];
    let claimed = handle([6; 16]);
    let event = naming(event_of("explorer"), &claimed);
    let reason = denied(&home.hook(&deny, &event));
    let stamp = reason.split('`').nth(1).unwrap();
    let input: Map<String, Value> = serde_json::from_value(event["tool_input"].clone()).unwrap();
    let stamped = home.verified(&input, stamp);
    assert_eq!(stamped.agent().as_str(), "explorer");
    assert_eq!(stamped.claim(), Some(claimed.as_str()));

    let again = home.hook(&deny, &naming(event.clone(), stamp));
    assert_eq!((again.status, again.stdout.as_str(), again.stderr.as_str()), (0, "", ""));

    // It is good for no other agent, no other instance, no other call.
    let mut other_call = event_of("explorer");
    other_call["tool_input"]["tool"] = "drop".into();
    let other_instance = with(event_of("explorer"), &json!({"agent_id": "a0"}));
    for other in [event_of("main"), event_of("reviewer"), other_call, other_instance] {
        assert_ne!(denied(&home.hook(&deny, &naming(other, stamp))), reason);
    }
}

#[cfg(unix)]
#[test]
fn call_without_a_good_key_stays_unsigned() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    fs::create_dir_all(home.state()).unwrap();
    let path = home.state().join("key");
    let digits = "5eed".repeat(16);
    for (text, mode) in [(digits.as_str(), 0o644), ("not a key", 0o600)] {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let left = home.hook(&[], &event_of("main"));
        assert_eq!((left.status, left.stdout.as_str()), (1, ""));
        assert!(left.stderr.contains("this call has no stamp"), "{}", left.stderr);
        assert!(!left.stderr.contains("5eed"), "{}", left.stderr);
    }
}

#[test]
fn invalid_event_is_reported_and_gets_no_answer() {
    let home = Home::new();
    let huge = vec![b' '; (16 << 20) + 1];
    let surrogate = event_of("main").to_string().replace("somebody-else", "\\ud800");
    let deep = event_of("main").to_string().replace("\"db\"", &"[".repeat(100_000));
    let twice = event_of("main").to_string().replacen('{', "{\"tool_name\":\"Bash\",", 1);
    for input in [
        b"".as_slice(),
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        huge.as_slice(),
        surrogate.as_bytes(),
        deep.as_bytes(),
        twice.as_bytes(),
    ] {
        let left = outcome(home.begin(&[], input));
        assert_eq!((left.status, left.stdout.as_str()), (1, ""), "{}", left.stderr);
        assert!(left.stderr.starts_with("tollgate hook: "), "{}", left.stderr);
        assert_eq!(left.stderr.lines().count(), 1, "{}", left.stderr);
    }
}

/// What TypeScript finds wrong with these statements, by the published types.
fn type_faults(statements: &str) -> String {
    let types = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/types/node_modules");
    let ready = types.join(".bin/tsc").exists();
    assert!(ready, "the types are not installed; run scripts/test instead of cargo test");
    let dir = tempfile::tempdir().unwrap();
    let sdk = types.join("@anthropic-ai/claude-agent-sdk/sdk.d.ts");
    let options = json!({
        "noEmit": true, "strict": true, "skipLibCheck": true, "types": [],
        "module": "esnext", "moduleResolution": "bundler", "target": "es2022",
        "paths": {"@anthropic-ai/claude-agent-sdk": [sdk]},
    });
    let config = json!({"compilerOptions": options, "files": ["hooks.ts"]});
    fs::write(dir.path().join("tsconfig.json"), config.to_string()).unwrap();
    let import = "import type { PreToolUseHookInput, PreToolUseHookSpecificOutput, SyncHookJSONOutput } from '@anthropic-ai/claude-agent-sdk';";
    fs::write(dir.path().join("hooks.ts"), format!("{import}\n{statements}")).unwrap();
    let mut tsc = Command::new(crate::support::sdks::node());
    let out = tsc.arg(types.join("typescript/bin/tsc")).arg("-p").arg(dir.path()).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// If this fails after the version in `tests/types` has changed, Claude Code's hooks have: see what
/// is new, and record events of that version with `scripts/try-claude-code`.
#[test]
fn events_and_answers_are_those_of_the_published_types() {
    let home = Home::new();
    let mut statements = String::new();
    for (number, (_, event)) in events().iter().enumerate() {
        statements += &format!("export const event{number}: PreToolUseHookInput = {event};\n");
    }
    for (name, args) in [("changed", &[][..]), ("denied", &["--deny-wrong-id"])] {
        let answer = home.hook(args, &event_of("explorer")).stdout;
        statements += &format!("export const {name}: SyncHookJSONOutput = {answer};\n");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let specific = &answer["hookSpecificOutput"];
        statements +=
            &format!("export const {name}Of: PreToolUseHookSpecificOutput = {specific};\n");
    }
    assert_eq!(type_faults(&statements), "");

    // The types are looked at: what is not theirs is noticed.
    for wrong in [
        "export const a: PreToolUseHookInput = {};",
        "export const a: SyncHookJSONOutput = {hookSpecificOutput: {hookEventName: 'PreToolUse', updatedInputs: {}}};",
        "export const a: PreToolUseHookSpecificOutput = {hookEventName: 'PreToolUse', updatedInput: 1};",
    ] {
        assert!(type_faults(wrong).contains("error TS"), "{wrong}");
    }
}
