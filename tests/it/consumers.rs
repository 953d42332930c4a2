//! Who used what: usage and accounts by label, API key and token.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Setup, json_in, scripted_with};

const ALPHA: &str = "alpha-key-of-this-test-0001";
const BETA: &str = "beta-key-of-this-test-0002";

/// Two consumers of one file, one of which delegates. Answers the delegation's token as well.
fn served() -> (Setup, String) {
    let key = |id: &str, key: &str, name: &str| json!({"id": id, "key": key, "name": name, "agents": ["reader"]});
    let keys = [key("alpha", ALPHA, "Alpha team"), key("beta", BETA, "Beta team")];
    let settings = json!({"auth": {"mode": "api-key", "keys": keys}, "budget": {"limit": 100}});
    let rules = json!({"agents": {"reader": {"allow": {"servers": ["s"]}}}});
    let setup = Setup::new(json!({"s": scripted_with(&["get"])}), Some(&rules)).gateway(&settings);

    let alpha = Setup { dir: setup.dir.clone(), args: Vec::new(), env: Vec::new() };
    let mut client = alpha.env("TOLLGATE_TOKEN", ALPHA).connect();
    client.execute("s", "get", json!({}));
    let asked = json!({"budget": 10, "label": "find call sites"});
    let given = json_in(&client.execute("gateway", "delegate", asked));
    let call = json!({"server": "s", "tool": "get", "args": {}, "agent_id": given["agent_id"]});
    let made = client.call("execute_tool", call);
    assert_eq!(made["_meta"]["tollgate/remaining"], 9, "{made}");
    client.finish();

    let beta = Setup { dir: setup.dir.clone(), args: Vec::new(), env: Vec::new() };
    let mut client = beta.env("TOLLGATE_TOKEN", BETA).connect();
    client.execute("s", "get", json!({}));
    client.execute("s", "get", json!({}));
    client.finish();
    (setup, given["tokenId"].as_str().unwrap().to_owned())
}

fn report(setup: &Setup, args: &[&str]) -> Value {
    let (code, out, err) = setup.run(&[args, &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// How many calls there were by a key.
fn calls(setup: &Setup, by: &str) -> BTreeMap<String, u64> {
    let usage = report(setup, &["usage", "--by", by]);
    let row = |row: &Value| (row[by].as_str().unwrap().to_owned(), row["calls"].as_u64().unwrap());
    usage["usage"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn usage_tells_the_consumers_of_one_file_apart() {
    let (setup, token) = served();
    let check = |by: &str, expected: &[(&str, u64)]| {
        let expected = expected.iter().map(|(name, calls)| ((*name).to_owned(), *calls)).collect();
        assert_eq!(calls(&setup, by), expected, "{by}");
    };
    check("agent", &[("reader", 4)]);
    // A delegation made with a key belongs to the key.
    check("key", &[("alpha", 2), ("beta", 2)]);
    check("label", &[("Alpha team", 1), ("Beta team", 2), ("find call sites", 1)]);
    check("token", &[("-", 3), (&token, 1)]);
    let (_, out, _) = setup.run(&["usage", "--by", "key"]);
    assert!(out.contains("P99 MS") && out.contains("beta"), "{out}");
    let usage = report(&setup, &["usage"]);
    assert!(usage["total"]["p99_us"].as_u64() >= usage["total"]["p50_us"].as_u64(), "{usage}");
    let (code, _, err) = setup.run(&["usage", "--by", "team"]);
    assert!(code == 2 && err.contains("label, key, token"), "{err}");
}

#[test]
fn budget_show_knows_labels_keys_and_tokens() {
    let (setup, token) = served();
    let (_, out, err) = setup.run(&["budget", "show"]);
    let row =
        out.lines().find(|line| line.contains("token/")).unwrap_or_else(|| panic!("{out}{err}"));
    assert!(row.contains("find call sites") && row.trim_end().ends_with("alpha"), "{out}");
    assert!(out.contains("LABEL") && out.contains("KEY"), "{out}");
    for named in ["find call sites", token.get(..12).unwrap(), &format!("token/{token}")] {
        let shown = report(&setup, &["budget", "show", named]);
        assert_eq!(shown.as_array().unwrap().len(), 1, "{named}: {shown}");
        let said = ["token", "label", "key"].map(|name| shown[0][name].as_str().unwrap());
        assert_eq!(said, [&token, "find call sites", "alpha"]);
    }
    let (code, _, err) = setup.run(&["budget", "show", "find"]);
    assert!(code == 1 && err.contains("there is no account `find`"), "{err}");
}

#[test]
fn commands_about_records_end_where_they_are_told() {
    let (setup, _) = served();
    let counted = |until: &str| {
        let usage = report(&setup, &["usage", "--until", until]);
        let stats = report(&setup, &["audit", "stats", "--until", until]);
        let (_, log, _) =
            setup.run(&["audit", "log", "--json", "--event", "post", "--until", until]);
        let calls = usage["total"]["calls"].as_u64().unwrap();
        assert_eq!(
            (stats["usage"]["calls"].as_u64(), log.lines().count() as u64),
            (Some(calls), calls)
        );
        calls
    };
    assert_eq!([counted("2020-01-01"), counted("1h"), counted("2100-01-01")], [0, 0, 4]);
    let (code, _, err) = setup.run(&["audit", "log", "--follow", "--until", "1h"]);
    assert_eq!(code, 2, "{err}");
}
