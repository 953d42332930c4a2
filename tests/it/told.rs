//! Messages for people and agents: what a mode lets through, what a store in memory cannot do, what
//! to use instead of what is not served.

use std::fs;

use serde_json::{Value, json};

use crate::support::{
    Setup,
    credits::paid,
    faults::{check_each, faults},
    scripted_with,
    settings::GATEWAY,
};

/// A server `s` with `echo`, and a gateway with these settings.
fn setup(settings: &Value, rules: Option<&Value>) -> Setup {
    paid(&["echo"], settings, rules)
}

#[test]
fn soft_and_shadow_log_each_call_over_budget() {
    let rules = json!({"agents": {"clerk": {"allow": {"servers": ["*"]}}}});
    for mode in ["soft", "shadow"] {
        let settings = json!({
            "budget": {"limit": 5}, "tools": {"costs": {"echo": 3}}, "enforcement": {"mode": mode},
        });
        let mut client = setup(&settings, Some(&rules)).connect();
        for _ in 0..4 {
            let call = json!({"server": "s", "tool": "echo", "args": {}, "agent_id": "clerk"});
            client.call("execute_tool", call);
        }
        let (_, _, log) = client.finish();
        let lines: Vec<&str> =
            log.lines().filter(|line| line.contains("would be refused")).collect();
        assert_eq!(lines.len(), 3, "{mode}: {log}");
        for part in ["agent=clerk", "server=s", "tool=echo", "cost=3", mode, "WARN"] {
            assert!(lines.iter().all(|line| line.contains(part)), "{part}: {lines:?}");
        }
    }
}

#[test]
fn store_in_memory_says_what_it_cannot_do() {
    let settings = json!({"budget": {"limit": 5, "backend": "memory"}});
    let setup = setup(&settings, None);
    let client = setup.connect();
    let (_, _, log) = client.finish();
    let says = "`budget.backend` is `memory`: accounts and records end with each gateway, and `usage`, `budget show`, `audit log` and other commands cannot see them";
    assert!(log.contains(says), "{log}");
    let (_, report, _) = setup.run(&["check"]);
    assert!(report.contains(says), "{report}");
    for command in [
        &["usage"][..],
        &["budget", "show"],
        &["budget", "prove"],
        &["audit", "log"],
        &["audit", "stats"],
        &["audit", "verify"],
    ] {
        let (status, out, err) = setup.run(command);
        assert_eq!((status, out.as_str()), (1, ""), "{command:?}: {err}");
        assert!(err.contains("use `sqlite`"), "{command:?}: {err}");
    }
}

#[test]
fn methods_that_are_not_served_name_what_to_use() {
    let mut client = Setup::new(json!({}), None).connect();
    for (method, says) in [
        (
            "resources/list",
            "resources of servers are not passed on; tools are found with get_server_tools",
        ),
        ("resources/read", "method `resources/read` is not supported"),
        ("prompts/list", "prompts of servers are not passed on"),
        ("completion/complete", "called with execute_tool"),
        ("logging/setLevel", "`logging.level` of gateway.yaml"),
        ("budget/check", "use tollgate/budget"),
        ("satgate/refund", "use tollgate/budget, tollgate/delegate or tollgate/revoke"),
        ("tasks/list", "this gateway offers tools only"),
    ] {
        let params = json!({"uri": "x://y", "name": "n", "level": "info",
            "ref": {"type": "ref/prompt", "name": "n"}, "argument": {"name": "a", "value": "b"}});
        let error = client.request(method, params)["error"].clone();
        assert_eq!(error["code"], -32601, "{method}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(says) && message.contains(method), "{message}");
    }
    let long = "x".repeat(100_000);
    let error = client.request(&long, json!({}))["error"].clone();
    assert!(error["message"].as_str().unwrap().len() < 300, "a method's name is cut");
}

#[test]
fn one_credit_is_told_as_one_everywhere() {
    let settings = json!({"budget": {"limit": 1}, "tools": {"costs": {"echo": 2}}});
    let rules = json!({"agents": {"clerk": {"allow": {"servers": ["*"]}, "budget": {"limit": 1}}}});
    let setup = setup(&settings, Some(&rules));
    let mut client = setup.connect();
    let arguments = json!({"server": "s", "tool": "echo", "args": {}, "agent_id": "clerk"});
    let call = json!({"name": "execute_tool", "arguments": arguments});
    let refused = client.request("tools/call", call)["error"]["message"].to_string();
    assert!(refused.contains("costs 2 credits, and 1 is left in account"), "{refused}");
    let mut told = vec![refused];
    for command in [
        &["check"][..],
        &["explain", "clerk", "s", "echo"],
        &["explain", "clerk", "s", "other"],
        &["budget", "grant", "agent/clerk", "1"],
        &["token", "mint", "--agent", "clerk", "--budget", "1"],
    ] {
        let (_, out, err) = setup.run(command);
        told.push(out + &err);
    }
    let told = told.join("\n");
    assert!(told.contains("1 credit") && !told.contains(" 1 credits"), "{told}");
    assert!(!told.contains("1 are left"), "{told}");
}

#[test]
fn suggestions_never_offer_what_is_refused() {
    check_each(&[("auth: {mode: none, @jwts: {}}", "is not a known key; known are mode, type")]);
    let key = "auth: {type: api-key, keys: [{key: a-key-that-is-long-enough, role: x}]}";
    let files = [(GATEWAY, key)];
    let lines = faults(&files).join("\n");
    assert!(lines.contains("`auth.keys[0].role` is not a known key"), "{lines}");
    for refused in ["`roles`", "jwt", "oidc"] {
        assert!(!lines.contains(refused), "{refused}: {lines}");
    }
    let lines = faults(&[(GATEWAY, "auth: {jwtt: x}")]).join("\n");
    assert!(!lines.contains("`jwt`") && !lines.contains(", jwt"), "{lines}");
    let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), None);
    fs::write(setup.path().join(GATEWAY), "policies: [{}]").unwrap();
    let (_, out, _) = setup.run(&["check"]);
    assert!(out.contains("removing it removes the protection"), "{out}");
}
