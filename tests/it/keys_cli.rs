//! `tollgate keys`: API keys of the store, made and taken back by command.

use std::fs;

use serde_json::{Value, json};

use crate::support::Setup;

/// Two agents, and calls that must show a key.
fn setup() -> Setup {
    let rules = json!({"agents": {"reader": {}, "writer": {}}});
    Setup::new(json!({}), Some(&rules)).gateway(&json!({"auth": {"mode": "api-key", "keys": [
        {"id": "kept-here", "key": "canary-of-the-settings", "agents": ["reader"], "name": "CI"},
        {"id": "off", "key": "another-key-of-settings", "agents": ["reader"], "enabled": false},
    ]}}))
}

#[track_caller]
fn done(setup: &Setup, args: &[&str]) -> (String, String) {
    let (status, out, err) = setup.run(&[&["keys"], args].concat());
    assert_eq!(status, 0, "{args:?}: {out}{err}");
    (out, err)
}

#[track_caller]
fn refused(setup: &Setup, args: &[&str], says: &str) {
    let (status, out, err) = setup.run(&[&["keys"], args].concat());
    assert_eq!((status, out.as_str()), (1, ""), "{args:?}: {err}");
    assert!(err.contains(says), "{args:?}: {err}");
}

/// The keys that are listed, by their ids.
fn listed(setup: &Setup) -> Vec<Value> {
    let (out, _) = done(setup, &["list", "--json"]);
    serde_json::from_str(&out).unwrap()
}

fn one<'a>(keys: &'a [Value], id: &str) -> &'a Value {
    keys.iter().find(|key| key["id"] == id).unwrap_or_else(|| panic!("{id}: {keys:?}"))
}

/// A new key: its id and all of it.
fn created(setup: &Setup, args: &[&str]) -> (String, String) {
    let (out, err) = done(setup, &[&["create", "--name", "laptop"], args].concat());
    let key = out.trim_end();
    assert_eq!(format!("{key}\n"), out, "nothing but the key is a result");
    let rest = key.strip_prefix("tgk_").unwrap();
    let (id, secret) = rest.split_once('_').unwrap();
    assert!(id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    assert_eq!(secret.len(), 43);
    assert!(err.contains(id) && err.contains("shown this once"), "{err}");
    assert!(!err.contains(secret), "{err}");
    (id.to_owned(), key.to_owned())
}

#[test]
fn key_is_shown_only_when_it_is_made() {
    let setup = setup();
    let (id, key) = created(&setup, &["--agent", "reader", "--agent", "writer"]);
    let (other, _) = created(&setup, &["--agent", "writer", "--expires", "90d"]);
    assert_ne!(id, other);
    let keys = listed(&setup);
    assert_eq!(keys.len(), 4);
    let made = one(&keys, &id);
    assert_eq!(made["agents"], json!(["reader", "writer"]));
    assert_eq!((&made["state"], &made["from"]), (&json!("usable"), &json!("store")));
    assert_eq!((&made["name"], &made["expires"]), (&json!("laptop"), &Value::Null));
    assert!(made["created"].is_string() && one(&keys, &other)["expires"].is_string());
    let (table, _) = done(&setup, &["list"]);
    assert!(table.contains(&id) && table.contains("reader, writer"), "{table}");
    // Nor is it anywhere on the disk, nor are those of the settings anywhere but there.
    let (_, secret) = key.rsplit_once(&format!("{id}_")).unwrap();
    let state = setup.path().join(".local/state/tollgate");
    let files: Vec<_> = fs::read_dir(state).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(!files.is_empty());
    for file in files {
        let bytes = fs::read(&file).unwrap();
        for text in [secret, "canary-of-the-settings"] {
            let found = bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!found, "{text} in {}", file.display());
        }
    }
    assert!(!table.contains("canary") && !table.contains(secret));
}

#[test]
fn a_key_is_taken_back_for_good() {
    let setup = setup();
    let (id, _) = created(&setup, &["--agent", "reader"]);
    let (other, whole) = created(&setup, &["--agent", "reader"]);
    let (out, _) = done(&setup, &["revoke", &id]);
    assert!(out.contains(&format!("key {id} (laptop) is revoked")), "{out}");
    let keys = listed(&setup);
    assert_eq!(one(&keys, &id)["state"], "revoked");
    assert_eq!(one(&keys, &other)["state"], "usable");
    // Once more is no fault, and changes nothing.
    let (out, _) = done(&setup, &["revoke", &id, "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap(),
        json!({"id": id, "revoked": true, "changed": false})
    );
    // Who found a key need not look for its id.
    done(&setup, &["revoke", &whole]);
    assert_eq!(one(&listed(&setup), &other)["state"], "revoked");
    let (_, log, _) = setup.run(&["audit", "log", "--event", "key", "--json"]);
    let notes: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let notes: Vec<&str> = notes.iter().map(|record| record["note"].as_str().unwrap()).collect();
    let made = |id: &str| format!("API key {id} (laptop) made for reader");
    let revoked = |id: &str| format!("API key {id} revoked");
    assert_eq!(notes, [made(&id), made(&other), revoked(&id), revoked(&other)]);
    let (status, out, _) = setup.run(&["budget", "prove"]);
    assert_eq!(status, 0, "{out}");
    let (status, out, _) = setup.run(&["audit", "verify"]);
    assert_eq!(status, 0, "{out}");
}

#[test]
fn keys_of_the_settings_are_listed_not_revoked() {
    let setup = setup();
    let keys = listed(&setup);
    assert_eq!(keys.len(), 2);
    let key = one(&keys, "kept-here");
    assert_eq!((&key["from"], &key["state"]), (&json!("gateway.yaml"), &json!("usable")));
    assert_eq!((&key["name"], &key["created"]), (&json!("CI"), &Value::Null));
    assert_eq!(one(&keys, "off")["state"], "disabled");
    refused(&setup, &["revoke", "kept-here"], "stands in gateway.yaml: remove it there");
    assert_eq!(one(&listed(&setup), "kept-here")["state"], "usable");
}

#[test]
fn a_key_that_nobody_could_use_is_not_made() {
    let setup = setup();
    let refused = |args: &[&str], says: &str| {
        refused(&setup, &[&["create", "--name", "x"], args].concat(), says);
    };
    refused(&["--agent", "raeder"], "there is no agent `raeder`; there is `reader`");
    refused(&["--agent", "reader", "--agent", "zzzz"], "there is no agent `zzzz`");
    refused(&[], "--agent is missing");
    let long = "x".repeat(201);
    for (name, more, says) in [
        ("x", ["--expires", "soon"], "`soon` is not a time; use 90d"),
        ("x", ["--expires", "2020-01-31"], "is not in the future"),
        ("x", ["--expires", "0s"], "is not in the future"),
        ("a\nb", ["--role", "r"], "must be text in one line"),
        (&long, ["--role", "r"], "at most 200 characters"),
        ("x", ["--role", " "], "must be text in one line"),
    ] {
        let create = ["keys", "create", "--agent", "reader", "--name", name];
        let (status, out, err) = setup.run(&[&create[..], &more].concat());
        assert_eq!((status, out.as_str()), (2, ""), "{err}");
        assert!(err.contains(says), "{err}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut create = setup.command(&["keys", "create", "--name", "lost", "--agent", "reader"]);
    let lost = create.stdout(full).output().unwrap();
    let err = String::from_utf8(lost.stderr).unwrap();
    assert_eq!(lost.status.code(), Some(1), "{err}");
    assert!(err.contains("take it back: `tollgate keys revoke "), "{err}");
    self::refused(&setup, &["revoke", "00000000"], "there is no key of that id");
    let mistaken = ["revoke", "a-secret-that-is-no-id"];
    let (_, _, err) = setup.run(&[&["keys"], mistaken.as_slice()].concat());
    assert!(!err.contains("a-secret"), "{err}");
    // The two of the settings, and the one that was lost.
    assert_eq!(listed(&setup).len(), 3);
}

#[test]
fn what_a_new_key_does_not_do_is_told() {
    let setup = setup();
    let create = ["create", "--name", "x", "--agent", "reader"];
    let (_, err) = done(&setup, &create);
    assert!(!err.contains("auth.mode"), "{err}");
    let setup = setup.gateway(&json!({}));
    let (out, err) = done(&setup, &[create.as_slice(), &["--json"]].concat());
    assert!(err.contains("`auth.mode` is `none`, so no call is asked for an API key"), "{err}");
    let made: Value = serde_json::from_str(&out).unwrap();
    assert!(made["key"].as_str().unwrap().starts_with("tgk_"), "{made}");
    assert_eq!(made["agents"], json!(["reader"]));
}

#[test]
fn without_rules_a_key_is_for_the_only_user() {
    let setup = Setup::new(json!({}), None).gateway(&json!({"auth": {"mode": "api-key"}}));
    created(&setup, &[]);
    assert_eq!(listed(&setup)[0]["agents"], json!(["default"]));
    let create = ["create", "--name", "x", "--agent", "reader"];
    refused(&setup, &create, "there is no agent `reader`");
}

#[test]
fn keys_are_not_made_in_a_memory_store() {
    let memory = json!({"auth": {"mode": "api-key"}, "budget": {"backend": "memory"}});
    let setup = Setup::new(json!({}), None).gateway(&memory);
    for args in [&["list"][..], &["create", "--name", "x"], &["revoke", "x"]] {
        refused(&setup, args, "write keys into `auth.keys` of gateway.yaml");
    }
}
