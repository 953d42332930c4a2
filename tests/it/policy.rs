//! Who may use what, proved on the wire: every case through a running gateway, under both
//! precedences, and nothing of what is hidden seen anywhere.
//!
//! `data/policy.json` groups the cases by their rules. A case is
//! `[agent, server, tool or null for the server itself, verdict specific-first, verdict deny-first]`.

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{Client, Setup, json_in, policy::rule_at, refusal, scripted_with, text};

/// Gateways that run at one time.
const PARALLEL: usize = 3;

#[derive(Deserialize)]
struct Group {
    rules: Value,
    /// Why these rules do not load.
    refused: Option<String>,
    cases: Vec<Case>,
}

/// Agent, server, tool, and the verdict under either precedence.
#[derive(Clone, Deserialize)]
struct Case(String, String, Option<String>, Verdict, Verdict);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Deny,
}

fn groups() -> Vec<Group> {
    serde_json::from_str(include_str!("data/policy.json")).unwrap()
}

#[test]
fn every_case_is_decided_as_documented_under_specific_first() {
    check_all("specific-first", |case| case.3);
}

#[test]
fn every_case_is_decided_as_documented_under_deny_first() {
    check_all("deny-first", |case| case.4);
}

fn check_all(precedence: &str, expected: fn(&Case) -> Verdict) {
    let groups = groups();
    assert_eq!(groups.iter().map(|group| group.cases.len()).sum::<usize>(), 173);
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check_group(group, precedence, expected);
                }
            });
        }
    });
}

fn check_group(group: &Group, precedence: &str, expected: fn(&Case) -> Verdict) {
    let mut rules = group.rules.clone();
    rules["defaults"]["precedence"] = json!(precedence);
    let setup = Setup::new(servers(&group.cases), Some(&rules));
    if let Some(reason) = &group.refused {
        let (status, stdout, _) = setup.run(&["check"]);
        assert!(status == 2 && stdout.contains(reason), "{rules}: {stdout}");
        return;
    }
    let mut client = setup.connect();
    for case in &group.cases {
        let Case(agent, server, tool, ..) = case;
        let known = rules["agents"].get(agent).is_some();
        let verdict = match tool {
            None => server_verdict(&mut client, agent, server, known),
            Some(tool) => {
                explained(&setup, &rules, [agent, server, tool], expected(case));
                tool_verdict(&mut client, &rules, [agent, server, tool])
            }
        };
        assert_eq!(verdict, expected(case), "{agent} at {server}/{tool:?} by {rules}");
    }
}

/// `explain` comes to the same verdict, and the rule it names is in the rules.
fn explained(setup: &Setup, rules: &Value, [agent, server, tool]: [&str; 3], expected: Verdict) {
    let (status, out, err) = setup.run(&["explain", "--json", "--", agent, server, tool]);
    let verdict: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(
        verdict["allowed"],
        expected == Verdict::Allow,
        "{agent} {server} {tool}: {verdict}"
    );
    assert_eq!(status, if expected == Verdict::Allow { 0 } else { 3 });
    let known = rules["agents"].get(agent).is_some();
    let open = format!("agents.{agent}.allow.");
    match verdict["rule"].as_str() {
        Some(rule) => assert!(rule_at(rules, rule).is_some() || rule.starts_with(&open), "{rule}"),
        None => assert!(!known, "{verdict}"),
    }
}

/// Every server of the cases, with the tools of the cases.
fn servers(cases: &[Case]) -> Value {
    let mut servers = BTreeMap::<&str, Vec<&str>>::new();
    for Case(_, server, tool, ..) in cases {
        servers.entry(server).or_default().extend(tool.as_deref());
    }
    servers
        .into_iter()
        .map(|(name, tools)| {
            let mut server = scripted_with(&tools);
            server["command"] = json!(python());
            (name.to_owned(), server)
        })
        .collect()
}

/// The interpreter itself. Hundreds of servers are started here, and the shim that a version
/// manager puts before `python3` takes longer than the interpreter.
fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = "import sys; print(sys.executable)";
        let out = Command::new("python3").args(["-c", script]).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    })
}

fn server_verdict(client: &mut Client, agent: &str, server: &str, known: bool) -> Verdict {
    let result = client.call("list_servers", json!({ "agent_id": agent }));
    if !known {
        assert_eq!(refusal(&result)["code"], "INVALID_AGENT_ID");
        return Verdict::Deny;
    }
    match names(&json_in(&result)).contains(&server.to_owned()) {
        true => Verdict::Allow,
        false => Verdict::Deny,
    }
}

fn tool_verdict(client: &mut Client, rules: &Value, [agent, server, tool]: [&str; 3]) -> Verdict {
    let result = execute(client, agent, server, tool);
    if result.get("isError").is_none() {
        assert_eq!(text(&result), r#"{"n": 1}"#);
        return Verdict::Allow;
    }
    let error = refusal(&result);
    // Such names can be allowed, but no server's tool is called by them.
    let unusable = tool.is_empty() || tool.contains('\n');
    if unusable && error["code"] == "TOOL_NOT_FOUND" {
        return Verdict::Allow;
    }
    if rules["agents"].get(agent).is_none() {
        assert_eq!(error["code"], "INVALID_AGENT_ID", "{error}");
        return Verdict::Deny;
    }
    assert_eq!(error["code"], "DENIED_BY_POLICY", "{error}");
    let rule = error["rule"].as_str().unwrap();
    let open = format!("agents.{agent}.allow.servers");
    assert!(rule_at(rules, rule).is_some() || rule == open, "`{rule}` is not in {rules}");
    Verdict::Deny
}

fn execute(client: &mut Client, agent: &str, server: &str, tool: &str) -> Value {
    let call = json!({"agent_id": agent, "server": server, "tool": tool, "args": {"n": 1}});
    client.call("execute_tool", call)
}

fn names(list: &Value) -> Vec<String> {
    let name = |entry: &Value| entry["name"].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(name).collect()
}

/// What one agent sees and reaches of servers that all have the same tools.
struct World {
    client: Client,
    _setup: Setup,
}

impl World {
    fn new(agent: &Value, defaults: &Value, servers: &[&str], tools: &[&str]) -> Self {
        let servers: Map<_, _> =
            servers.iter().map(|name| ((*name).to_owned(), scripted_with(tools))).collect();
        let rules = json!({"agents": {"a": agent}, "defaults": defaults});
        let setup = Setup::new(servers.into(), Some(&rules));
        Self { client: setup.connect(), _setup: setup }
    }

    fn code(&mut self, server: &str, tool: &str) -> Value {
        let result = execute(&mut self.client, "a", server, tool);
        if result["isError"] == true { refusal(&result)["code"].clone() } else { Value::Null }
    }

    fn answer(&mut self, tool: &str, mut arguments: Value) -> String {
        arguments["agent_id"] = json!("a");
        self.client.call(tool, arguments).to_string()
    }
}

#[test]
fn star_key_speaks_about_every_server() {
    let allow = json!({"servers": ["*"], "tools": {"*": ["get_*"], "db": ["drop_x"]}});
    let deny = json!({"tools": {"*": ["get_secret"]}});
    let agent = json!({"allow": allow, "deny": deny});
    let tools = ["get_x", "drop_x", "get_secret"];
    let mut world = World::new(&agent, &json!({}), &["db", "api"], &tools);
    for (server, tool, refused) in [
        ("db", "get_x", false),
        ("api", "get_x", false),
        ("db", "drop_x", false),
        ("api", "drop_x", true),
        ("db", "get_secret", true),
        ("api", "get_secret", true),
    ] {
        assert_eq!(world.code(server, tool) == "DENIED_BY_POLICY", refused, "{server}/{tool}");
    }
}

#[test]
fn literal_entry_under_the_star_key_is_explicit() {
    let allow = json!({"servers": ["*"], "tools": {"*": ["drop_old"]}});
    let agent = json!({"allow": allow, "deny": {"tools": {"db": ["drop_*"]}}});
    for (precedence, code) in
        [("specific-first", Value::Null), ("deny-first", json!("DENIED_BY_POLICY"))]
    {
        let defaults = json!({ "precedence": precedence });
        let mut world = World::new(&agent, &defaults, &["db"], &["drop_old"]);
        assert_eq!(world.code("db", "drop_old"), code, "{precedence}");
    }
}

#[test]
fn question_mark_is_a_wildcard() {
    let agent = json!({"allow": {"servers": ["d?"]}, "deny": {"tools": {"db": ["drop?"]}}});
    let mut world = World::new(&agent, &json!({}), &["db", "dbx"], &["drop", "drop1", "drop12"]);
    assert_eq!(world.code("db", "drop1"), "DENIED_BY_POLICY");
    assert_eq!(world.code("db", "drop"), Value::Null);
    assert_eq!(world.code("db", "drop12"), Value::Null);
    assert_eq!(world.code("dbx", "drop"), "DENIED_BY_POLICY");
}

#[test]
fn denying_every_tool_leaves_the_server_visible_and_empty() {
    let agent = json!({"allow": {"servers": ["db"]}, "deny": {"tools": {"db": ["*"]}}});
    let mut world = World::new(&agent, &json!({}), &["db", "other"], &["x", "y"]);
    let list = world.client.call("list_servers", json!({"agent_id": "a"}));
    assert_eq!(names(&json_in(&list)), ["db"]);
    let of_db = json!({"agent_id": "a", "server": "db"});
    let tools = json_in(&world.client.call("get_server_tools", of_db));
    assert_eq!((&tools["total_available"], &tools["tools"]), (&json!(0), &json!([])));
    assert_eq!(world.code("db", "x"), "DENIED_BY_POLICY");
}

#[test]
fn a_denied_server_beats_every_grant() {
    for deny in ["db", "*", "d*"] {
        let agent = json!({"allow": {"servers": ["db"], "tools": {"db": ["x"]}}, "deny": {"servers": [deny]}});
        let mut world = World::new(&agent, &json!({}), &["db"], &["x"]);
        assert_eq!(world.code("db", "x"), "DENIED_BY_POLICY", "deny {deny}");
        assert_eq!(text(&world.client.call("list_servers", json!({"agent_id": "a"}))), "[]");
    }
}

#[test]
fn wildcards_match_the_empty_rest() {
    let agent = json!({"allow": {"servers": ["db"], "tools": {"db": ["get_*", "*_q"]}}});
    let mut world = World::new(&agent, &json!({}), &["db"], &["get_", "_q", "get", "q"]);
    for (tool, refused) in [("get_", false), ("_q", false), ("get", true), ("q", true)] {
        assert_eq!(world.code("db", tool) == "DENIED_BY_POLICY", refused, "{tool}");
    }
}

/// What an agent may use who has `open`, but not all of it, and no other server.
fn unexplained(servers: &[&str]) -> World {
    let tools = ["read_file", "read_secretary", "read_secret", "read_secrets"];
    let deny = json!({"tools": {"open": ["read_secret", "*_secrets"]}});
    let agent = json!({"allow": {"servers": ["open"]}, "deny": deny});
    World::new(&agent, &json!({"explain_denials": false}), servers, &tools)
}

#[test]
fn denied_server_looks_like_a_missing_one() {
    let mut world = unexplained(&["open", "dark", "opera"]);
    for tool in ["get_server_tools", "execute_tool"] {
        for (denied, missing) in [("dark", "lark"), ("opera", "opero"), ("opera", "Opera ")] {
            let mut ask = |server: &str| {
                let arguments = match tool {
                    "execute_tool" => json!({"server": server, "tool": "read_file"}),
                    _ => json!({ "server": server }),
                };
                world.answer(tool, arguments).replace(server, "NAME")
            };
            let answer = ask(denied);
            assert_eq!(answer, ask(missing), "{tool}");
            assert!(answer.contains("SERVER_NOT_FOUND") && !answer.contains("rule"), "{answer}");
        }
    }
}

#[test]
fn denied_tool_looks_like_a_missing_one() {
    let mut world = unexplained(&["open"]);
    for (denied, missing) in [("read_secret", "read_sacret"), ("read_secrets", "read_sacrets")] {
        let mut ask = |tool: &str| {
            let call = json!({"server": "open", "tool": tool, "args": {"n": 1}});
            world.answer("execute_tool", call).replace(&format!("`{tool}`"), "`NAME`")
        };
        let answer = ask(denied);
        assert_eq!(answer, ask(missing));
        assert!(answer.contains("TOOL_NOT_FOUND") && !answer.contains("rule"), "{answer}");
        assert!(answer.contains("did you mean `read_secretary`?"), "{answer}");
    }
}

#[test]
fn hidden_tool_shows_up_nowhere() {
    for explain in [false, true] {
        let allow = json!({"servers": ["open"]});
        let deny = json!({"tools": {"open": ["read_secret*"]}});
        let (agent, defaults) =
            (json!({"allow": allow, "deny": deny}), json!({"explain_denials": explain}));
        let tools = ["read_file", "read_secret", "read_secrets", "list"];
        let mut world = World::new(&agent, &defaults, &["open"], &tools);
        for query in [json!({}), json!({"names": "read_secret,list"}), json!({"pattern": "read_*"})]
        {
            let mut arguments = query.clone();
            arguments["server"] = json!("open");
            let answer = world.answer("get_server_tools", arguments);
            assert!(!answer.contains("secret"), "{query}: {answer}");
            assert!(answer.contains(r#"\"total_available\":2"#), "{query}: {answer}");
        }
        for near in ["read_sekret", "readSecre", "read_secre", "READ_SECRET"] {
            let answer = world.answer("execute_tool", json!({"server": "open", "tool": near}));
            let rest = answer.replace(near, "NAME");
            assert!(!rest.contains("secret"), "{near}: {rest}");
            assert!(rest.contains("TOOL_NOT_FOUND"), "{rest}");
        }
    }
}

#[test]
fn hidden_server_shows_up_in_no_hint() {
    for explain in [false, true] {
        let agent = json!({"allow": {"servers": ["open"]}});
        let defaults = json!({"explain_denials": explain});
        let mut world = World::new(&agent, &defaults, &["open", "opera"], &["x"]);
        for near in ["oper", "Opera", "operaa"] {
            let answer = world.answer("get_server_tools", json!({ "server": near }));
            assert!(!answer.replace(near, "NAME").contains("opera"), "{answer}");
        }
    }
}
