//! Mishaps of who pays: stores that hang, are locked or replaced, rules of several projects, what
//! servers say of money.

use std::fs;

use serde_json::{Value, json};

use crate::{
    credits::paid,
    support::{Client, json_in},
};

fn dev(budget: &Value, deny: &Value) -> Value {
    let allow = json!({"servers": ["*"]});
    json!({"agents": {"dev": {"allow": allow, "deny": {"tools": deny}, "budget": budget}}})
}

fn as_dev(client: &mut Client) -> Value {
    let arguments = json!({"server": "s", "tool": "echo", "args": {}, "agent_id": "dev"});
    client.request("tools/call", json!({"name": "execute_tool", "arguments": arguments}))
}

#[test]
fn agents_of_one_name_in_two_projects_have_limits_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let settings = home.path().join(".config/tollgate");
    fs::create_dir_all(&settings).unwrap();
    fs::write(settings.join("gateway.yaml"), "budget: {limit: 100}\n").unwrap();
    let project = |limit: u64| {
        let rules = dev(&json!({"limit": limit, "period": "month"}), &json!({}));
        let setup = paid(&["echo"], &json!({}), Some(&rules));
        fs::remove_file(setup.path().join("gateway.yaml")).unwrap();
        setup.env("HOME", home.path().to_str().unwrap())
    };
    let (poor, rich) = (project(1), project(50));
    let (mut a, mut b) = (poor.connect(), rich.connect());
    assert!(as_dev(&mut a).get("result").is_some());
    for _ in 0..3 {
        assert!(as_dev(&mut b).get("result").is_some());
    }
    assert_eq!(as_dev(&mut a)["error"]["code"], -32000, "the limit of another project");
    // Nor does what the other spends keep this one from starting.
    assert_eq!(as_dev(&mut poor.connect())["error"]["code"], -32000);
    let root = json_in(&b.call(
        "execute_tool",
        json!({"server": "gateway", "tool": "budget", "args": {}, "agent_id": "dev"}),
    ));
    assert_eq!(root["remaining"], 47, "what all may spend is shared: {root}");
}
