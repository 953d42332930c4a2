//! Bad values of `gateway.yaml`, and of limits in the rules: each is a fault with its place.

use crate::support::faults::{check, check_each, faults};

const GATEWAY: &str = "gateway.yaml";
const RULES: &str = ".mcp-gateway-rules.json";

#[test]
fn invalid_credit_amounts_are_refused_everywhere() {
    const UNSET: &str = "needs the environment variable";
    for (value, says) in [
        ("-1", "(it is below zero)"),
        ("-0.5", "(it is below zero)"),
        ("1.0", "(it is no whole number)"),
        ("1e3", "(it is no whole number)"),
        ("1.5", "(it is no whole number)"),
        ("9007199254740992", "(it is too much)"),
        ("18446744073709551616", "(it is too much)"),
        ("99999999999999999999999999999999999999999", "(it is too much)"),
        ("\"5\"", "(it is a string)"),
        ("five", "(it is a string)"),
        ("${TOLLGATE_TEST_UNSET}", UNSET),
        ("${TOLLGATE_TEST_UNSET:-5.0}", "(it is no whole number)"),
        ("${TOLLGATE_TEST_UNSET:-}", "(it is no whole number)"),
        ("null", "(it is null)"),
        ("true", "(it is a boolean)"),
        ("[1]", "(it is a list)"),
    ] {
        let place = |before: &str| format!("{before}: @{value}\n");
        let cases =
            ["budget:\n  limit", "tools:\n  defaultCost", "tools:\n  costs:\n    x"].map(place);
        check_each(&cases.each_ref().map(|text| (text.as_str(), says)));
        let all = "a whole number of credits from 0 to 9007199254740991";
        if says != UNSET {
            check_each(&cases.each_ref().map(|text| (text.as_str(), all)));
        }
    }
}

#[test]
fn bad_budgets_are_refused() {
    check_each(&[
        (
            "budget: {limit: @0}",
            "`budget.limit` must be at least 1; for no limit, leave `limit` out",
        ),
        ("budget: {period: @day}", "`budget.period` has no `limit` beside it"),
        (
            "budget: {limit: 5, period: @year}",
            "must be \"hour\" or \"day\" or \"week\" or \"month\"",
        ),
        ("budget: {backend: @redis}", "is `redis`, which this version does not have yet"),
        ("budget: {backend: @postgres}", "is `postgres`, which this version does not have yet"),
        ("budget: {backend: @disk}", "must be \"sqlite\" or \"memory\""),
        ("budget: {@redisUrl: x}", "`budget.redisUrl` is not supported"),
        ("budget: {failMode: @open}", "is `open`, which needs a store"),
        ("budget: {failMode: @shut}", "must be \"closed\""),
        ("budget: {chargeOn: {timeout: @later}}", "must be true or false"),
        ("budget: {chargeOn: {@timeouts: true}}", "did you mean `timeout`?"),
        ("budget: {@limits: 5}", "did you mean `limit`?"),
        ("budget: @5", "must be an object"),
        ("tools: {costs: @[1]}", "must be an object"),
        ("tools: {costs: {'a[b]': @1}}", "uses a character class"),
        ("tools: {costs: {/x: @1}}", "`tools.costs./x` is empty"),
        ("tools: {costs: {db/: @1}}", "`tools.costs.db/` is empty"),
        ("tools: {@default: 1}", "did you mean `defaultCost`?"),
        ("enforcement: {mode: @observe}", "is `observe`, a word of another system; use `shadow`"),
        ("enforcement: {mode: @l402}", "use `hard`"),
        ("enforcement: {mode: @firm}", "must be \"hard\" or \"soft\" or \"shadow\""),
    ]);
}

#[test]
fn unenforced_settings_prevent_the_start() {
    check_each(&[
        ("@policies: [{}]", "`policies` is not enforced by this version yet"),
        ("@rateLimit: {}", "`rateLimit` is not enforced"),
        ("@tenants: [a]", "`tenants` is not enforced"),
        ("@ipFilter: {}", "`ipFilter` is not enforced"),
        ("@cors: {}", "`cors` is not enforced"),
        ("audit: {storage: @postgres}", "must be \"sqlite\""),
        ("audit: {path: @''}", "must name a file"),
        ("audit: {@dsn: x}", "is not supported"),
        ("audit: {@webhookUrl: x}", "is not supported"),
        ("audit: {@retentionDays: 1}", "is not supported"),
        ("audit: {@export: {}}", "is not supported"),
        ("audit: {arguments: @all}", "must be \"digest\" or \"full\""),
        ("metering: {dimensions: [calls, @cpu]}", "`metering.dimensions[1]` must be"),
        ("metering: {@flushIntervalMs: 1}", "is not supported"),
        ("store: {@url: x}", "is not supported"),
        ("store: {durability: @disk}", "must be \"process\" or \"power\""),
        ("store: {path: @''}", "must name a file"),
        ("server: {transport: @sse}", "is `sse`, and this version serves `stdio` only"),
        ("server: {transport: @http}", "is `http`, and this version"),
        ("server: {name: @\"a\\nb\"}", "must be text in one line"),
        ("server: {version: @1.0}", "put it in quotes"),
        ("logging: {level: @loud}", "must be \"error\""),
        ("logging: {json: @1}", "must be true or false"),
        ("logging: {json: @yes}", "must be true or false"),
        ("allowPrivateUpstreams: @maybe", "must be true or false"),
        ("context: {@dedupe: true}", "is not supported"),
        ("@budgets: {}", "did you mean `budget`?"),
        ("@- budget", "must be an object"),
    ]);
}

#[test]
fn bad_servers_and_routes_are_refused() {
    check_each(&[
        (
            "upstreams: {s: {command: x, @comand: y}}",
            "`upstreams.s.comand` is not a known key; did you mean `command`?",
        ),
        ("upstreams: {s: {command: x, @tlsSkipVerify: true}}", "certificates are always verified"),
        ("upstreams: {s: {command: x, @pin: warn}}", "is not supported"),
        ("upstreams: {s: {command: @[]}}", "must name a program"),
        ("upstreams: {s: {command: [x, @1]}}", "`upstreams.s.command[1]` must be a string"),
        ("upstreams: {s: {url: 'https://a.b', transport: @sse}}", "old HTTP+SSE transport"),
        ("upstreams: {s: @{timeout: 3s}}", "has neither `command` nor `url`"),
        ("upstreams: {gateway: @{command: x}}", "kept for the gateway itself"),
        ("upstreams: @[x]", "must be an object"),
        (
            "upstreams: {s: {command: x}}\nservers: {s: @{command: x}}",
            "gateway.yaml:1:16: `upstreams.s`",
        ),
        ("servers: [@{command: x}]", "`servers[0]` has no `id`"),
        ("servers: [{id: s, command: x}, @{id: s, command: x}]", "has a name that is taken by"),
        ("servers: [{id: s, command: x, @tags: [a]}]", "`servers[0].tags` is not supported"),
        ("servers: [{id: s, command: x, @maxMemory: 1}]", "is not supported"),
        ("servers: [{id: s, command: x, @healthCheck: {}}]", "is not supported"),
        ("servers: [{id: s, command: x, @enable: false}]", "did you mean `enabled`?"),
        ("defaultUpstream: @s", "names server `s`, which is not configured"),
        ("upstreams: {my-db: {command: x}}\ndefaultUpstream: @mydb", "did you mean `my-db`?"),
        ("routing: [{tools: [x], upstream: @s}]", "`routing[0].upstream` names server `s`"),
        ("upstreams: {s: {command: x}}\nrouting: [@{upstream: s}]", "has no `tools`"),
        ("upstreams: {s: {command: x}}\nrouting: [{tools: @[], upstream: s}]", "names no tool"),
        ("routing: [@{tools: [x]}]", "has no `upstream`"),
        (
            "upstreams: {s: {command: x}}\nrouting: [{tools: [@'[x]'], upstream: s}]",
            "character class",
        ),
        (
            "upstreams: {s: {command: x}}\nrouting: [{tools: [x], @server: s, upstream: s}]",
            "is not a known key",
        ),
    ]);
}

#[test]
fn server_of_both_files_is_refused_with_both_places() {
    let mcp = r#"{"mcpServers": {"s": {"command": "x", "disabled": true}}}"#;
    let lines = faults(&[(".mcp.json", mcp), (GATEWAY, "upstreams:\n  s: {command: x}\n")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["gateway.yaml:2:6: `upstreams.s` ", "taken by ", ".mcp.json:1:22: `mcpServers.s`"]
    {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    // What could not be read may have had the server.
    let lines = faults(&[(".mcp.json", "{"), (GATEWAY, "defaultUpstream: s")]);
    assert!(lines.len() == 1 && lines[0].contains("cannot be parsed"), "{lines:?}");
}

#[test]
fn bad_limits_of_agents_are_refused() {
    for (budget, at, says) in [
        ("{}", "{}", "`agents.a.budget` has no `limit`"),
        (r#"{"period": "day"}"#, "{\"period", "has no `limit`"),
        (r#"{"limit": -1}"#, "-1", "`agents.a.budget.limit` must be a whole number of credits"),
        (r#"{"limit": 1.0}"#, "1.0", "no whole number"),
        (r#"{"limit": null}"#, "null", "it is null"),
        (r#"{"limit": 1, "period": "year"}"#, "\"year\"", "must be \"hour\""),
        (r#"{"limit": 1, "limits": 2}"#, "\"limits\"", "did you mean `limit`?"),
        ("5", "5", "must be an object"),
    ] {
        let text = format!("{{\"agents\": {{\"a\": {{\"budget\": {budget}}}}}}}");
        check(RULES, &text, at, says);
    }
}

#[test]
fn third_systems_example_is_refused_for_unenforced_settings() {
    let text = include_str!("data/mcp-gateway.yaml");
    let lines = faults(&[(GATEWAY, text)]).join("\n");
    for name in ["`policies`", "`rateLimit`"] {
        assert!(lines.contains(name), "{name}: {lines}");
    }
    // With its variable unset; its servers, its records and its metering are understood.
    assert_eq!(lines.lines().count(), 3, "{lines}");
}

#[test]
fn faults_of_all_files_are_reported_together() {
    let lines = faults(&[
        (".mcp.json", r#"{"mcpServers": {"s": {}}}"#),
        (GATEWAY, "tools: {defaultCost: -1}\ndefaultUpstream: s\nbudget: {limit: 0}\n"),
        (RULES, r#"{"agents": {"a": {"budget": {}}}}"#),
    ]);
    let expected = ["`mcpServers.s`", "`tools.defaultCost`", "`budget.limit`", "`agents.a.budget`"];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    assert!(lines.iter().zip(expected).all(|(line, place)| line.contains(place)), "{lines:#?}");
}
