//! Settings of other systems and clients: nothing that protected there is passed over here, and
//! settings switched off there are no obstacle.

use std::fs;

use serde_json::json;

use crate::support::{
    PATIENCE, Setup,
    faults::{check, check_each, faults},
    refusal, scripted_with,
    settings::{GATEWAY, Home},
    text, within,
};

const MCP: &str = ".mcp.json";
const RULES: &str = ".mcp-gateway-rules.json";

#[test]
fn roles_of_a_key_keep_the_gateway_from_starting() {
    check_each(&[
        (
            "auth: {type: api-key, keys: [{key: a-key-that-is-long-enough, roles: @[reader]}]}",
            "`auth.keys[0].roles` is not enforced by this version, so the key could do all that its agents may",
        ),
        (
            "auth: {type: api-key, keys: [{key: a-key-that-is-long-enough, roles: @[]}]}\npolicies: []",
            "`auth.keys[0].roles` is not enforced",
        ),
    ]);
    let roles = r#"{"agents": {"a": {"roles": ["reader"]}}}"#;
    check(RULES, roles, "\"roles\"", "`agents.a.roles` is not supported by this version, so what");
}

#[test]
fn migrated_file_without_its_policies_does_not_load() {
    let text = include_str!("data/mcp-gateway.yaml");
    let lines = faults(&[(GATEWAY, text)]).join("\n");
    assert!(!lines.contains("`auth.keys[0].roles`"), "one fault is enough: {lines}");
    let says = "removing it removes the protection that it asks for: write into .mcp-gateway-rules.json first what each agent may do";
    assert!(lines.contains(says), "{lines}");
    let (before, rest) = text.split_once("policies:").unwrap();
    let (_, after) = rest.split_once("audit:").unwrap();
    let lines = faults(&[(GATEWAY, &format!("{before}audit:{after}"))]).join("\n");
    assert!(lines.contains("`auth.keys[0].roles` is not enforced"), "{lines}");
}

#[test]
fn reload_that_drops_policies_but_keeps_roles_is_refused() {
    let keys = |roles: &str| {
        format!(
            "auth: {{type: api-key, keys: [{{key: a-key-that-is-long-enough, agents: [a]{roles}}}]}}"
        )
    };
    let rules = json!({"agents": {"a": {"allow": {"servers": ["*"]}}}});
    let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), Some(&rules))
        .env("TOLLGATE_TOKEN", "a-key-that-is-long-enough")
        .arg("--debug");
    let file = setup.path().join(GATEWAY);
    fs::write(&file, keys("")).unwrap();
    let mut client = setup.connect();
    fs::write(&file, keys(", roles: [reader]")).unwrap();
    let mut told = String::new();
    assert!(
        within(PATIENCE, || {
            told = text(&client.call("get_gateway_status", json!({}))).to_owned();
            told.contains("`auth.keys[0].roles` is not enforced")
        }),
        "{told}"
    );
    assert_eq!(text(&client.execute("s", "echo", json!({"x": 1}))), r#"{"x": 1}"#);
}

#[test]
fn keys_with_roles_are_not_made() {
    let setup = Setup::new(json!({}), None).gateway(&json!({"auth": {"mode": "api-key"}}));
    let (status, out, err) = setup.run(&["keys", "create", "--name", "x", "--role", "reader"]);
    assert_eq!((status, out.as_str()), (1, ""), "{err}");
    assert!(err.contains("--role: roles are not enforced by this version"), "{err}");
}

#[test]
fn tools_that_a_client_hides_are_not_passed_over() {
    let entry = |key: &str, value: &str| {
        format!(r#"{{"mcpServers": {{"s": {{"command": "x", "{key}": {value}}}}}}}"#)
    };
    for (key, value) in [
        ("disabledTools", "[\"drop\"]"),
        ("excludeTools", "[\"*\"]"),
        ("includeTools", "[\"read\"]"),
        ("enabled_tools", "[]"),
        ("tools", "{\"drop\": false}"),
    ] {
        let says = "hides tools, which is the work of rules here; write it into `allow.tools`";
        check(MCP, &entry(key, value), value, says);
    }
    for (key, value) in [("disabledTools", "[]"), ("tools", "[\"*\"]"), ("includeTools", "null")] {
        assert!(Home::of(&[(MCP, &entry(key, value))]).load().is_ok(), "{key}");
    }
    let off = Home::of(&[(MCP, &entry("enabled", "false"))]).load().unwrap();
    assert_eq!(off.servers.len(), 0, "a server that is switched off");
}

#[test]
fn blocks_that_ask_for_nothing_load() {
    for text in [
        "policies: []",
        "policies:",
        "rateLimit: {enabled: false, defaultPerMinute: 60}",
        "rateLimit: {enabled: '${NONE:-false}'}",
        "tenants: []",
        "ipFilter: {enabled: false, mode: allowlist, ips: []}",
        "cors: {enabled: false}",
        "budget: {redisUrl: ''}",
        "audit: {export: {enabled: false}, webhookUrl: '', retentionDays: null}",
        "servers: [{id: s, command: x, tags: [], healthCheck: {enabled: false}}]",
        "upstreams: {s: {url: 'https://a.b', tlsSkipVerify: false}}",
    ] {
        let settings = Home::of(&[(GATEWAY, text)]).load();
        let settings = settings.unwrap_or_else(|faults| panic!("{text}: {faults}"));
        assert_eq!(settings.warnings().collect::<Vec<_>>(), Vec::<&str>::new(), "{text}");
    }
    for (text, says) in [
        ("metering: {enabled: false}", "`metering.enabled` has no effect: every call is metered"),
        ("audit: {enabled: false}", "`audit.enabled` has no effect: every call is recorded"),
        ("audit: {hashChain: false}", "`audit.hashChain` has no effect: records are chained"),
    ] {
        let settings = Home::of(&[(GATEWAY, text)]).load().unwrap();
        let told: Vec<&str> = settings.warnings().collect();
        assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
    }
}

#[test]
fn a_disabled_key_is_refused_as_disabled() {
    let key = "a-key-that-is-long-enough";
    let auth = json!({"mode": "api-key", "keys": [{"key": key, "id": "off", "enabled": false}]});
    let setup = Setup::new(json!({}), None).gateway(&json!({"auth": auth}));
    let setup = setup.env("TOLLGATE_TOKEN", key);
    let refused = refusal(&setup.connect().call("list_servers", json!({})));
    assert_eq!(refused["message"], "the API key is disabled", "{refused}");
    let (_, out, _) = setup.run(&["keys", "list", "--json"]);
    assert!(out.contains(r#""disabled""#) && !out.contains("revoked"), "{out}");
}
