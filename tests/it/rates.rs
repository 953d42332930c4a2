//! How fast a server may send notifications.

use std::time::Instant;

use serde_json::json;

use crate::support::{
    Client, Setup,
    calls::{begin, until},
    http::{echoes, stays_modest},
    scripted, scripted_with, text,
};

/// How many notices of progress a client gets of this many.
fn told_of(client: &mut Client, count: usize) -> usize {
    let note = json!({"method": "notifications/progress", "params": {"progressToken": "$token", "progress": 1}});
    let id = begin(client, "notes", json!({"count": count, "note": note}), "mine");
    let (steps, answer) = until(client, id);
    assert_eq!(text(&answer["result"]), "noted");
    steps.len()
}

#[test]
fn notification_rate_is_limited_and_the_answer_arrives() {
    let setup = Setup::new(json!({"s": scripted_with(&["notes"]), "ok": scripted(&[])}), None);
    let mut client = setup.connect();
    echoes(&mut client, "ok");
    let begun = Instant::now();
    let told = told_of(&mut client, 200_000);
    let most = 5_000 + 1_000 * usize::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!((500..most).contains(&told), "{told} of 200000, at most {most}");
    let (_, _, stderr) = client.finish();
    let lines = stderr.lines().filter(|line| line.contains("notifications")).count();
    assert!((1..10).contains(&lines), "{lines} lines: {stderr}");
}

#[test]
fn a_flood_of_changed_tools_and_withdrawals_disturbs_nobody() {
    for method in
        ["notifications/tools/list_changed", "notifications/cancelled", "notifications/message"]
    {
        let setup = Setup::new(json!({"s": scripted_with(&["notes"]), "ok": scripted(&[])}), None);
        let mut client = setup.connect();
        let note = json!({"method": method, "params": {"requestId": "none", "level": "info", "data": "x"}});
        let args = json!({"count": 100_000_000, "note": note});
        client.begin("execute_tool", json!({"server": "s", "tool": "notes", "args": args}));
        stays_modest(&mut client, "ok");
    }
}
