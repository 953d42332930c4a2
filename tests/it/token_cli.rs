//! `tollgate token`, through the built binary.

use std::{fs, io::Write, process::Stdio};

use serde_json::{Value, json};

use crate::support::Setup;

/// Settings that ask for tokens, with a budget of 1,000.
fn asking() -> Setup {
    let rules = json!({"agents": {
        "researcher": {"allow": {"servers": ["*"]}, "budget": {"limit": 300}},
        "writer": {"allow": {"servers": ["*"]}},
    }});
    let gateway = json!({"budget": {"limit": 1000}, "auth": {"mode": "header"}});
    Setup::new(json!({}), Some(&rules)).gateway(&gateway)
}

#[track_caller]
fn done(setup: &Setup, args: &[&str]) -> (String, String) {
    let (code, out, err) = setup.run(&[&["token"], args].concat());
    assert_eq!(code, 0, "{args:?}: {out}{err}");
    (out, err)
}

#[track_caller]
fn json_of(setup: &Setup, args: &[&str]) -> Value {
    let (out, _) = done(setup, &[args, &["--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// `token inspect` of a token that need not be taken.
fn inspected(setup: &Setup, token: &str) -> (i32, Value) {
    let (code, out, err) = setup.run(&["token", "inspect", token, "--json"]);
    let value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert!(!out.contains(token) && !err.contains(token), "{out}{err}");
    (code, value)
}

fn with_input(setup: &Setup, args: &[&str], input: &str) -> (i32, String, String) {
    let mut command = setup.command(args);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = piped.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let out = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[track_caller]
fn remaining(setup: &Setup, account: &str) -> Value {
    let (_, out, err) = setup.run(&["budget", "show", account, "--all", "--json"]);
    let shown: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    shown[0]["remaining"].clone()
}

#[test]
fn token_that_cannot_be_shown_is_not_minted() {
    let setup = asking();
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for json in [&[][..], &["--json"]] {
        let mint = ["token", "mint", "--budget", "7"];
        let lost = setup.command(&[&mint[..], json].concat()).stdout(full()).output().unwrap();
        let err = String::from_utf8(lost.stderr).unwrap();
        assert_eq!(lost.status.code(), Some(1), "{err}");
        let (_, id) = err.split_once("`tollgate token revoke ").expect(&err);
        // As the message says, and as `budget show` names the account.
        let id = id.split('`').next().unwrap();
        assert_eq!(json_of(&setup, &["revoke", &format!("token/{id}")])["returned"], 7);
    }
    assert_eq!(remaining(&setup, "root"), 1000);
}

#[test]
fn no_token_is_minted_without_a_key_file() {
    let mint = |setup: &Setup| {
        let mut command = setup.command(&["token", "mint"]);
        let out = command.env_remove("HOME").env_remove("XDG_STATE_HOME").output().unwrap();
        (out.status.code(), String::from_utf8(out.stderr).unwrap())
    };
    let (code, err) = mint(&asking());
    assert!(code == Some(1) && err.contains("no place for the key of tokens"), "{err}");
    let key = json!({"auth": {"mode": "header", "rootKey": "a key of these settings alone"}});
    let (code, err) = mint(&Setup::new(json!({}), None).gateway(&key));
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn mistyped_and_uncovered_tokens_have_own_exit_codes() {
    let setup = asking();
    let long = "x".repeat(201);
    for (wrong, says) in [
        (["--expires", "yesterday"], "is not a time"),
        (["--expires", "2020-01-01"], "not in the future"),
        (["--label", "a\nb"], "one line"),
        (["--label", &long], "200"),
    ] {
        let (code, out, err) =
            setup.run(&[&["token", "mint", "--budget", "1"], &wrong[..]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(says), "{err}");
    }
    let (code, out, err) = setup.run(&["token", "mint", "--budget", "1001"]);
    assert_eq!((code, out.as_str()), (3, ""), "{err}");
    assert!(err.contains("has 1000 of 1001 credits left"), "{err}");
    let (_, _, err) = setup.run(&["keys", "create", "--name", "k", "--agent", "a\u{1b}[31m"]);
    assert!(!err.contains('\u{1b}') && err.contains("u001b"), "{err}");
}

#[test]
fn a_token_is_minted_narrowed_seen_and_taken_back() {
    let setup = asking();
    let (out, err) = done(&setup, &["mint", "--agent", "writer", "--expires", "7d"]);
    let token = out.trim_end();
    assert!(out.lines().count() == 1 && token.starts_with("gwt1."), "{out}");
    assert!(err.contains("paid for as its agent is, until ") && !err.contains(token), "{err}");
    let (code, seen) = inspected(&setup, token);
    assert_eq!((code, &seen["valid"], &seen["hasAccount"]), (0, &json!(true), &json!(false)));
    assert_eq!(
        seen["caveats"][1],
        json!({"is": {"agent": "writer"}, "says": "acts as agent writer"})
    );

    // Offline: no settings, no key, nothing in the home directory.
    let nowhere = Setup::new(json!({}), None);
    fs::write(nowhere.path().join("gateway.yaml"), "no: settings: these").unwrap();
    let flags = ["--servers", "a,b_*", "--tools", "get_*", "--except", "x/*", "--max-cost", "5"];
    let more = ["--depth", "0", "--max-delegation", "9", "--tenant", "acme", "--expires", "1h"];
    let narrow = [&["token", "narrow", "-"][..], &flags, &more].concat();
    let (code, narrowed, err) = with_input(&nowhere, &narrow, &format!("{token}\n"));
    assert_eq!((code, err.as_str(), narrowed.lines().count()), (0, "", 1), "{narrowed}");
    assert!(!nowhere.path().join(".local").exists());
    let seen = inspected(&setup, narrowed.trim_end()).1;
    assert_eq!(seen["caveats"].as_array().unwrap().len(), 10, "{seen}");
    let (code, again, _) =
        nowhere.env("TOLLGATE_TOKEN", token).run(&["token", "narrow", "--depth", "1", "--json"]);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((code, &again["tokenId"]), (0, &seen["tokenId"]));

    let (out, _) = done(&setup, &["inspect", narrowed.trim_end()]);
    for part in [
        "of this gateway",
        "the account of its agent",
        "only servers a,b_*",
        "no tools x/*",
        "belongs to tenant acme",
        "this gateway accepts it",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // By the whole id, since nothing is kept of it; both end.
    let id = seen["tokenId"].as_str().unwrap();
    let (out, _) = done(&setup, &["revoke", id]);
    assert!(out.contains("nothing goes back"), "{out}");
    for token in [token, narrowed.trim_end()] {
        let (code, seen) = inspected(&setup, token);
        assert_eq!((code, &seen["valid"]), (3, &json!(false)));
        assert!(seen["reason"].as_str().unwrap().contains("revoked"), "{seen}");
    }
    assert_eq!(json_of(&setup, &["revoke", id])["already"], true);
}

#[test]
fn token_with_a_budget_returns_the_rest() {
    let setup = asking();
    let minted = json_of(
        &setup,
        &["mint", "--budget", "200", "--label", "nightly report", "--ceiling", "150"],
    );
    assert_eq!((&minted["parent"], &minted["parentRemaining"]), (&json!("root"), &json!(800)));
    let account = minted["budgetId"].as_str().unwrap();
    let (id, token) = (minted["tokenId"].as_str().unwrap(), minted["token"].as_str().unwrap());
    assert_eq!(account, format!("token/{id}"));
    assert_eq!(remaining(&setup, account), json!(200));
    let (_, seen) = inspected(&setup, token);
    assert_eq!((&seen["remaining"], &seen["label"]), (&json!(200), &json!("nightly report")));
    let (_, records, _) = setup.run(&["audit", "log", "--json", "--event", "delegate"]);
    assert!(records.lines().count() == 1 && records.contains(id) && !records.contains(token));

    // Out of the agent's, which has a limit of its own.
    let (_, err) = done(&setup, &["mint", "--budget", "100", "--agent", "researcher"]);
    assert!(
        err.contains("100 credits of its own from agent/researcher, which has 200 left"),
        "{err}"
    );
    for (args, expected) in [
        (["--budget", "201", "--agent", "researcher"], "has 200 of 201 credits left"),
        (["--budget", "1", "--agent", "reseacher"], "there is `researcher`"),
        (["--budget", "0", "--agent", "writer"], "from 1 on"),
        (["--budget", "5", "--expires", "2020-01-01"], "not in the future"),
        (["--budget", "5", "--expires", "soon"], "is not a time"),
        (["--agent", "writer", "--ceiling", "5"], "mint one with `--budget`"),
        (["--agent", "writer", "--label", "x"], "--budget"),
    ] {
        let (code, out, err) = setup.run(&[&["token", "mint"][..], &args].concat());
        assert!(code != 0 && out.is_empty() && err.contains(expected), "{args:?}: {out}{err}");
    }
    assert_eq!(remaining(&setup, "root"), json!(700));

    let first = id.get(..8).unwrap();
    let (code, _, err) = setup.run(&["token", "revoke", id.get(..7).unwrap()]);
    assert!(code == 1 && err.contains("at least the first 8 digits"), "{err}");
    let (out, _) = done(&setup, &["revoke", first]);
    assert!(out.contains("200 credits went back to root"), "{out}");
    assert_eq!(remaining(&setup, "root"), json!(900));
    let (code, seen) = inspected(&setup, token);
    assert_eq!((code, &seen["valid"]), (3, &json!(false)), "{seen}");
    let (out, _) = done(&setup, &["revoke", first]);
    assert!(out.contains("had ended already"), "{out}");
    let (code, out, err) = setup.run(&["budget", "prove"]);
    assert_eq!(code, 0, "{out}{err}");

    // By the token itself, and only if it is one of these keys'.
    let minted = json_of(&setup, &["mint", "--budget", "10"]);
    let token = minted["token"].as_str().unwrap();
    let mut altered: Vec<char> = token.chars().collect();
    let within = altered.len() - 10;
    altered[within] = if altered[within] == 'A' { 'B' } else { 'A' };
    let altered: String = altered.into_iter().collect();
    for wrong in [altered.as_str(), "gwt1.AAAA", "no token"] {
        let (code, _, err) = with_input(&setup, &["token", "revoke", "-"], wrong);
        assert!(code == 1 && err.contains("nothing is revoked"), "{err}");
    }
    let (code, out, err) = with_input(&setup, &["token", "revoke", "-", "--json"], token);
    assert_eq!(code, 0, "{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["returned"], json!(10));
}

#[test]
fn tokens_are_taken_only_where_they_were_made_for() {
    let setup = asking();
    let token = done(&setup, &["mint"]).0.trim_end().to_owned();
    let (code, seen) = inspected(&asking(), &token);
    assert_eq!((code, &seen["keyKnown"]), (3, &json!(false)));
    assert!(seen["reason"].as_str().unwrap().contains("another key"), "{seen}");

    // A root key of the settings is the same everywhere, and goes on verifying when it is not first.
    let keyed =
        |keys: Value| asking().gateway(&json!({"auth": {"mode": "header", "rootKey": keys}}));
    let (old, new) = ("an older root key of 33 characters", "a newer root key of 33 characters");
    let token = done(&keyed(json!(old)), &["mint"]).0.trim_end().to_owned();
    let (code, seen) = inspected(&keyed(json!(new)), &token);
    assert_eq!((code, &seen["keyKnown"]), (3, &json!(false)), "{seen}");
    let (_, seen) = inspected(&keyed(json!([new, old])), &token);
    assert_eq!(seen["keyKnown"], json!(true), "{seen}");

    for (wrong, expected) in [
        ("eyJ2IjoxLCJpZCI6InRlc3QtdG9rZW4ifQ", "tollgate token mint"),
        ("gw_0123456789abcdef", "begins with `gwt1.`"),
        ("gwt1.AAAA", "cut short"),
    ] {
        let (code, seen) = inspected(&setup, wrong);
        assert_eq!(code, 3);
        assert!(seen["reason"].as_str().unwrap().contains(expected), "{seen}");
    }
    let (code, _, err) = setup.run(&["token", "inspect"]);
    assert!(code == 1 && err.contains("TOLLGATE_TOKEN"), "{err}");
    assert_eq!(with_input(&setup, &["token", "inspect", "-"], " \n").0, 1);
    assert_eq!(setup.run(&["token", "narrow", "gwt1.AAAA"]).0, 2);
    let (code, out, err) = setup.run(&["token", "narrow", &token, "--ceiling", "5"]);
    assert!(code == 1 && out.is_empty() && err.contains("account of its own"), "{err}");
    let (code, _, err) = setup.run(&["token", "narrow", &token, "--servers", "a/b"]);
    assert!(code == 2 && err.contains("`--tools` takes"), "{err}");
}

#[test]
fn memory_store_tokens_are_reported_as_such() {
    let gateway = json!({"budget": {"backend": "memory", "limit": 9}});
    let setup = Setup::new(json!({}), None).gateway(&gateway);
    let (code, out, err) = setup.run(&["token", "mint", "--budget", "5"]);
    assert!(code == 1 && out.is_empty() && err.contains("memory of each gateway"), "{err}");
    let (code, _, err) = setup.run(&["token", "revoke", "0123456789"]);
    assert!(code == 1 && err.contains("auth.rootKey"), "{err}");
    let (out, err) = done(&setup, &["mint"]);
    assert!(err.contains("`auth.mode` is not `header`"), "{err}");
    assert_eq!(inspected(&setup, out.trim_end()).0, 0);
}
