//! Who is calling, proved by what the caller then sees and reaches.
//!
//! In `data/identity.json` every agent may use one server only, so the server that `list_servers`
//! answers names the agent that a call acted as.

use serde_json::{Value, json};
use tollgate::gateway::facade;

use crate::support::{Client, Setup, json_in, refusal, scripted};

const SERVERS: [&str; 2] = ["fake", "fake2"];

fn data() -> Value {
    serde_json::from_str(include_str!("data/identity.json")).unwrap()
}

fn fakes() -> Value {
    SERVERS.map(|name| (name.to_owned(), scripted(&[]))).into_iter().collect()
}

/// The rules of the data, with these defaults.
fn rules(defaults: Value) -> Value {
    json!({"agents": data()["agents"], "defaults": defaults})
}

#[test]
fn callers_act_as_documented() {
    let data = data();
    let cases = data["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 18);
    for case in cases {
        let mut rules = rules(json!({}));
        if let Some(agent) = case["without"].as_str() {
            rules["agents"].as_object_mut().unwrap().remove(agent);
        }
        if let Some(deny) = case.get("deny_on_missing") {
            rules["defaults"]["deny_on_missing_agent"] = deny.clone();
        }
        let setup = Setup::new(fakes(), Some(&rules));
        let setup = match case["env"].as_str() {
            Some(agent) => setup.env("GATEWAY_DEFAULT_AGENT", agent),
            None => setup,
        };
        let arguments = case.get("arguments").cloned().unwrap_or(json!({}));
        let expected = match case["acts_as"].as_str() {
            Some(agent) => Ok(data["servers"][agent].as_str().unwrap()),
            None => Err(case["code"].as_str().unwrap()),
        };
        check(&mut setup.connect(), &arguments, expected, case["claim"].as_str().unwrap());
    }
}

/// All three tools agree on who calls: the one server that the caller has, or the code of the
/// refusal, which never names a server or another agent.
fn check(client: &mut Client, who: &Value, expected: Result<&str, &str>, claim: &str) {
    let mut ask = |tool: &str, mut arguments: Value| {
        arguments.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
        client.call(tool, arguments)
    };
    let list = ask("list_servers", json!({}));
    match expected {
        Ok(server) => {
            assert_eq!(names(&list), [server], "{claim}");
            for other in SERVERS {
                let call = json!({"server": other, "tool": "echo", "args": {}});
                let refused = ask("execute_tool", call)["isError"] == true;
                assert_eq!(refused, other != server, "{claim}: {other}");
            }
        }
        Err(code) => {
            let on_fake = json!({"server": "fake"});
            let call = json!({"server": "fake", "tool": "echo", "args": {}});
            for result in [list, ask("get_server_tools", on_fake), ask("execute_tool", call)] {
                let error = refusal(&result);
                assert_eq!(error["code"], code, "{claim}: {error}");
                assert!(error.get("rule").is_none(), "{claim}: {error}");
                let claimed = who["agent_id"].as_str().filter(|id| !id.is_empty());
                let told = error.to_string().replace(claimed.unwrap_or("\0"), "");
                assert!(!told.contains("dev") && !told.contains("team"), "{claim}: {told}");
            }
        }
    }
}

fn names(list: &Value) -> Vec<String> {
    assert!(list.get("isError").is_none(), "{list}");
    let list = json_in(list);
    let names = list.as_array().unwrap().iter();
    names.map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// The data's rules, with `dev` allowed to speak for `team.role-1_x` and for one without rules.
fn pinned(agent: &str) -> Setup {
    let mut rules = rules(json!({}));
    rules["agents"]["dev"]["may_act_as"] = json!(["team.role-1_x", "retired"]);
    rules["agents"]["team.role-1_x"]["allow"]["servers"] = json!(["fake2"]);
    Setup::new(fakes(), Some(&rules)).arg("--as").arg(agent)
}

#[test]
fn pinned_gateway_serves_its_agent_and_permitted_others() {
    let setup = pinned("dev");
    let mut client = setup.connect();
    for (who, server) in [
        (json!({}), "fake"),
        (json!({"agent_id": ""}), "fake"),
        (json!({"agent_id": null}), "fake"),
        (json!({"agent_id": "dev"}), "fake"),
        (json!({"agent_id": "team.role-1_x"}), "fake2"),
    ] {
        check(&mut client, &who, Ok(server), &format!("pinned, {who}"));
    }
}

#[test]
fn pinned_gateway_refuses_everyone_else_alike() {
    let setup = pinned("dev");
    let mut client = setup.connect();
    let mut answers: Vec<String> = Vec::new();
    // One that exists, one that does not, one that may be acted as but has no rules.
    for id in ["default", "nobody", "retired", "DEV", " dev"] {
        let result = client.call("list_servers", json!({ "agent_id": id }));
        assert_eq!(refusal(&result)["code"], "INVALID_AGENT_ID", "{id}");
        answers.push(result.to_string().replace(&format!("`{id}`"), "`ID`"));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[test]
fn environment_does_not_change_a_pinned_agent() {
    let setup = pinned("dev").env("GATEWAY_DEFAULT_AGENT", "default");
    let mut client = setup.connect();
    check(&mut client, &json!({}), Ok("fake"), "pinned beats the environment");
}

#[test]
fn pinning_an_agent_without_rules_is_refused() {
    for (setup, agent, known) in [
        (pinned("nobody"), "nobody", "team.role-1_x"),
        (pinned("retired"), "retired", "dev"),
        (Setup::new(fakes(), None).arg("--as").arg("dev"), "dev", "default"),
    ] {
        let (status, stdout, stderr) = setup.run(&["serve"]);
        assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
        assert!(stderr.contains(&format!("--as `{agent}`: no such agent")), "{stderr}");
        assert!(stderr.contains(known), "{stderr}");
    }
}

#[test]
fn only_default_has_access_in_single_user_mode() {
    let setup = Setup::new(fakes(), None);
    let mut client = setup.connect();
    for who in [json!({}), json!({"agent_id": "default"}), json!({"agent_id": ""})] {
        assert_eq!(names(&client.call("list_servers", who.clone())), SERVERS, "{who}");
        for server in SERVERS {
            let mut call = json!({"server": server, "tool": "echo"});
            call.as_object_mut().unwrap().extend(who.as_object().unwrap().clone());
            let result = client.call("execute_tool", call);
            assert!(result.get("isError").is_none(), "{who}: {result}");
        }
    }
    for id in ["dev", "Default", "default ", "*"] {
        check(&mut client, &json!({"agent_id": id}), Err("INVALID_AGENT_ID"), id);
    }
    let (_, _, stderr) = client.finish();
    assert!(stderr.contains("one user, all servers"), "{stderr}");
}

#[test]
fn fallback_that_can_never_be_used_is_warned_about() {
    let check = |setup: Setup, words: &str| {
        let (status, stdout, _) = setup.env("GATEWAY_DEFAULT_AGENT", "dev").run(&["check"]);
        assert_eq!(status, 0, "{stdout}");
        let warned = stdout.lines().any(|line| {
            line.trim_start().starts_with("warning")
                && line.contains("GATEWAY_DEFAULT_AGENT")
                && line.contains(words)
        });
        assert!(warned, "{stdout}");
    };
    check(Setup::new(fakes(), Some(&rules(json!({})))), "deny_on_missing_agent");
    check(Setup::new(fakes(), None), "there is no rules file");
    let without_dev = json!({"agents": {}, "defaults": {"deny_on_missing_agent": false}});
    check(Setup::new(fakes(), Some(&without_dev)), "has no rules");
}

#[test]
fn everybody_gets_the_same_three_tools_byte_for_byte() {
    let lenient = rules(json!({"deny_on_missing_agent": false}));
    let no_agents = json!({"agents": {}});
    let setups = [
        Setup::new(fakes(), None),
        Setup::new(fakes(), Some(&rules(json!({})))),
        Setup::new(fakes(), Some(&lenient)).env("GATEWAY_DEFAULT_AGENT", "nobody"),
        Setup::new(json!({}), Some(&no_agents)),
        pinned("dev"),
    ];
    for setup in setups {
        for mut client in [setup.connect(), setup.connect_stateless()] {
            for params in [json!({}), json!({"agent_id": "ghost"})] {
                let answer = client.request("tools/list", params);
                let tools = answer["result"]["tools"].to_string();
                assert_eq!(tools, facade::tools_json(false));
            }
        }
    }
}
