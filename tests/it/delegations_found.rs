//! Delegations that their maker can use, find again and end.

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    credits::{paid, reached},
    json_in,
};

fn method(client: &mut Client, name: &str, agent: Option<&str>, mut params: Value) -> Value {
    if let Some(agent) = agent {
        params["agent_id"] = agent.into();
    }
    let answer = client.request(&format!("tollgate/{name}"), params);
    answer.get("result").or(answer.get("error")).cloned().unwrap_or(answer)
}

fn call(client: &mut Client, agent: &Value) -> Value {
    client.call("execute_tool", json!({"server": "s", "tool": "echo", "agent_id": agent}))
}

fn two_agents() -> Value {
    let all = json!({"servers": ["*"]});
    json!({"agents": {
        "lead": {"allow": all, "may_act_as": ["worker"]},
        "worker": {"allow": all},
        "odd": {"allow": {"servers": ["other"]}},
    }})
}

#[track_caller]
fn proved(setup: &Setup) {
    let (status, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(status, 0, "{out}{err}");
}

#[test]
fn key_with_several_agents_delegates_usable_handles() {
    let keys = json!([{"key": "a-key-for-two-agents", "agents": ["odd", "lead"]}]);
    let settings = json!({"auth": {"mode": "api-key", "keys": keys}, "budget": {"limit": 50}});
    let setup = paid(&["echo"], &settings, Some(&two_agents()));
    let setup = setup.env("TOLLGATE_TOKEN", "a-key-for-two-agents");
    let mut client = setup.connect();
    for (maker, named) in
        [("lead", Value::Null), ("lead", json!("worker")), ("worker", Value::Null)]
    {
        let mut params = json!({"budget": 5});
        if !named.is_null() {
            params["agent"] = named;
        }
        let child = method(&mut client, "delegate", Some(maker), params);
        let answer = call(&mut client, &child["agent_id"]);
        assert_eq!(answer["_meta"]["tollgate/remaining"], 4, "{maker}: {answer}");
        let ended =
            method(&mut client, "revoke", Some(maker), json!({"tokenId": child["tokenId"]}));
        assert_eq!(ended["returned"], 4, "{ended}");
    }
    // Rights are those of the agent that delegated, not of another one of the key.
    let child = method(&mut client, "delegate", Some("odd"), json!({"budget": 5}));
    assert_eq!(call(&mut client, &child["agent_id"])["isError"], true);
    assert_eq!(reached(&setup), 3);
    proved(&setup);
}

#[test]
fn delegating_again_under_the_same_key_gives_nothing_more() {
    for auth in ["none", "header"] {
        let settings = json!({"auth": {"mode": auth}, "budget": {"limit": 100}});
        let mut setup = paid(&["echo"], &settings, None);
        if auth == "header" {
            let token = setup.run(&["token", "mint"]).1.trim().to_owned();
            setup = setup.env("TOLLGATE_TOKEN", &token);
        }
        let mut client = setup.connect();
        let asked =
            json!({"budget": 30, "key": "job 7", "label": "x", "scope": "echo", "expiresIn": 600});
        let first = method(&mut client, "delegate", None, asked.clone());
        assert_eq!(first["parentRemaining"], 70, "{first}");
        assert_eq!(method(&mut client, "delegate", None, asked.clone()), first);
        assert_eq!(call(&mut client, &first["agent_id"])["_meta"]["tollgate/remaining"], 29);
        for (name, value) in [
            ("budget", json!(31)),
            ("label", json!("y")),
            ("scope", json!("echo, more")),
            ("expiresIn", json!(601)),
            ("depth", json!(0)),
        ] {
            let mut other = asked.clone();
            other[name] = value;
            let refused = method(&mut client, "delegate", None, other);
            assert!(refused["message"].as_str().unwrap().contains("`key`"), "{name}: {refused}");
        }
        let other = method(&mut client, "delegate", None, json!({"budget": 1, "key": "job 8"}));
        assert_ne!(other["tokenId"], first["tokenId"]);
        method(&mut client, "revoke", None, json!({"tokenId": first["tokenId"]}));
        let ended = method(&mut client, "delegate", None, asked);
        assert!(ended["message"].as_str().unwrap().contains("has ended"), "{ended}");
        proved(&setup);
    }
}

#[test]
fn whose_answer_was_lost_is_found_and_ended() {
    let setup = paid(&["echo"], &json!({"budget": {"limit": 100}}), Some(&two_agents()));
    let mut client = setup.connect();
    let lost = json!({"budget": 30, "label": "lost", "scope": "echo", "agent": "worker"});
    let lost = method(&mut client, "delegate", Some("lead"), lost);
    let other = method(&mut client, "delegate", Some("odd"), json!({"budget": 7}));
    call(&mut client, &lost["agent_id"]);
    let mine = json!({"server": "gateway", "tool": "delegations", "agent_id": "lead"});
    let found = json_in(&client.call("execute_tool", mine));
    let [one] = found["delegations"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!(one["tokenId"], lost["tokenId"], "{found}");
    assert_eq!((&one["budget"], &one["remaining"]), (&json!(30), &json!(29)), "{found}");
    assert_eq!((&one["label"], &one["agent"]), (&json!("lost"), &json!("worker")), "{found}");
    assert_eq!(one["expires_at"], lost["expires_at"], "{found}");
    let text = found.to_string();
    assert!(!text.contains("sub_") && !text.contains(other["tokenId"].as_str().unwrap()), "{text}");
    method(&mut client, "revoke", Some("lead"), json!({"tokenId": one["tokenId"]}));
    let found = method(&mut client, "delegations", Some("lead"), json!({}));
    assert_eq!(found["delegations"], json!([]), "{found}");
    let found = method(&mut client, "delegations", Some("odd"), json!({}));
    assert_eq!(found["delegations"][0]["tokenId"], other["tokenId"], "{found}");
    proved(&setup);
}

#[test]
fn revoking_a_token_reports_credits_returned_by_descendants() {
    let settings = json!({"auth": {"mode": "header"}, "budget": {"limit": 100}});
    let setup = paid(&["echo"], &settings, None);
    let token = setup.run(&["token", "mint"]).1.trim().to_owned();
    let setup = setup.env("TOLLGATE_TOKEN", &token);
    let mut client = setup.connect();
    for budget in [30, 20] {
        let child = method(&mut client, "delegate", None, json!({"budget": budget}));
        let meta = json!({"token": child["token"]});
        let arguments = json!({"server": "s", "tool": "echo"});
        let params = json!({"name": "execute_tool", "arguments": arguments, "_meta": meta});
        assert_eq!(client.request("tools/call", params)["result"]["_meta"]["tollgate/cost"], 1);
        let below = json!({"budget": 10, "_meta": {"token": child["token"]}});
        assert_eq!(client.request("tollgate/delegate", below)["result"]["budget"], 10);
    }
    let (status, out, err) = setup.run(&["token", "revoke", &token]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("48 credits went back to root") && out.contains("4 delegat"), "{out}");
    let (_, out, _) = setup.run(&["token", "revoke", &token]);
    assert!(out.contains("revoked already"), "{out}");
    proved(&setup);
}

#[test]
fn revoking_an_api_key_says_what_came_back() {
    let settings = json!({"auth": {"mode": "api-key"}, "budget": {"limit": 100}});
    let setup = paid(&["echo"], &settings, Some(&two_agents()));
    let create = ["keys", "create", "--agent", "lead", "--name", "laptop"];
    let key = setup.run(&create).1.trim().to_owned();
    let setup = setup.env("TOLLGATE_TOKEN", &key);
    let mut client = setup.connect();
    assert_eq!(method(&mut client, "delegate", None, json!({"budget": 30}))["budget"], 30);
    let (status, out, err) = setup.run(&["keys", "revoke", &key]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("30 credits went back"), "{out}");
    proved(&setup);
}

#[test]
fn keys_without_id_keep_names_when_others_go() {
    let all = json!([{"key": "the-first-of-two-keys", "agents": ["odd"]},
        {"key": "the-second-of-two-keys", "agents": ["lead"]}]);
    let ids = |keys: &Value| {
        let settings = json!({"auth": {"mode": "api-key", "keys": keys}});
        let setup = paid(&["echo"], &settings, Some(&two_agents()));
        let (_, out, _) = setup.run(&["keys", "list", "--json"]);
        let listed: Value = serde_json::from_str(&out).unwrap();
        let ids = listed.as_array().unwrap().iter().map(|key| key["id"].clone());
        ids.collect::<Vec<_>>()
    };
    let both = ids(&all);
    assert_eq!(ids(&json!([all[1]])), [both[1].clone()]);
    assert_ne!(both[0], both[1]);
    assert!(!both[1].as_str().unwrap().contains("second"), "{both:?}");
}
