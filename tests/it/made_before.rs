//! Ledgers, caches, tokens and keys that an earlier build left in a user's home are read by this one.
//! The files in `data/made-before` were made by real calls: posts, a refusal over budget, a call that
//! died, its refund, a grant, two delegations, a denied token, two API keys, and a call that was in
//! flight when the gateway was killed.

use std::{fs, path::Path, sync::Arc};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::Setup;

const LEDGER: &str = include_str!("data/made-before/ledger.sql");
const CREDENTIALS: &str = include_str!("data/made-before/credentials.json");
const CATALOGUE: &str = "catalogues/s-300784232aa40c467ed22b4ce9c7799e.json";
const CHILDREN: &str = "children/26756-1477941.json";

fn made(file: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data/made-before");
    fs::read(dir.join(file)).unwrap()
}

/// A home as the earlier build left it.
fn home() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let put = |to: &str, file: &str| {
        let path = dir.path().join(to);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made(file)).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    };
    put(".config/tollgate/.mcp.json", "mcp.json");
    put(".config/tollgate/.mcp-gateway-rules.json", "rules.json");
    put(".config/tollgate/gateway.yaml", "gateway.yaml");
    put(".local/state/tollgate/key", "key");
    put(".local/state/tollgate/context.json", "context.json");
    put(&format!(".local/state/tollgate/{CHILDREN}"), CHILDREN);
    put(&format!(".cache/tollgate/{CATALOGUE}"), CATALOGUE);
    put("audit.jsonl", "audit.jsonl");
    let db = Connection::open(dir.path().join(".local/state/tollgate/ledger.db")).unwrap();
    db.execute_batch(LEDGER).unwrap();
    Setup { dir: Arc::new(dir), args: Vec::new(), env: Vec::new() }
}

/// Runs a command that must succeed; returns the JSON that it prints.
fn json_of(home: &Setup, args: &[&str]) -> Value {
    let (status, stdout, stderr) = home.run(&[args, &["--json"]].concat());
    assert_eq!(status, 0, "{args:?}: {stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {stdout}"))
}

fn credential(name: &str, part: &str) -> String {
    let all: Value = serde_json::from_str(CREDENTIALS).unwrap();
    all[name][part].as_str().unwrap().to_owned()
}

#[test]
fn a_ledger_of_before_is_whole_and_goes_on() {
    let home = home();
    let verdict = json_of(&home, &["audit", "verify"]);
    assert_eq!((&verdict["verdict"], &verdict["records"]), (&json!("ok"), &json!(25)));
    let proof = json_of(&home, &["budget", "prove"]);
    assert_eq!(proof["faults"], json!([]));
    let numbers = ["accounts", "holds", "issued", "available"].map(|name| &proof[name]);
    assert_eq!(numbers, [&json!(5), &json!(6), &json!(1100), &json!(1085)], "{proof}");
    let shown = home.run(&["budget", "show"]).1;
    assert!(shown.contains("token/2050fb62af6cff1b92e458742061bd5c"), "{shown}");
    let (status, stdout, stderr) = home.run(&["budget", "grant", "root", "5"]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert_eq!(json_of(&home, &["budget", "prove"])["faults"], json!([]));
    assert_eq!(json_of(&home, &["audit", "verify"])["verdict"], "ok");
}

#[test]
fn records_of_before_are_counted_as_before() {
    let home = home();
    let usage = json_of(&home, &["usage", "--by", "agent,tool"]);
    let total = &usage["total"];
    let numbers = ["calls", "errors", "refusals", "uncertain", "credits"].map(|name| &total[name]);
    assert_eq!(numbers, [&json!(5), &json!(1), &json!(3), &json!(1), &json!(14)], "{usage}");
    let stats = json_of(&home, &["audit", "stats"]);
    assert_eq!((&stats["records"], &stats["events"]["delegate"]), (&json!(25), &json!(2)));
    let followed = json_of(&home, &["audit", "verify", "--file", "audit.jsonl"]);
    assert_eq!(followed["verdict"], "ok", "{followed}");
    let sent = json_of(&home, &["tokens"]);
    assert!(sent.to_string().contains("105"), "what agent `a` was sent is known: {sent}");
}

#[test]
fn tokens_and_keys_of_before_are_known() {
    let home = home();
    let inspect = |name: &str| {
        let (_, stdout, stderr) =
            home.run(&["token", "inspect", &credential(name, "token"), "--json"]);
        serde_json::from_str::<Value>(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}{stderr}"))
    };
    let kept = inspect("kept");
    assert!(kept.to_string().contains("\"kept\""), "its label: {kept}");
    assert_eq!(kept["tokenId"], credential("kept", "tokenId"), "{kept}");
    let valid = ["kept", "plain", "denied"].map(|name| inspect(name)["valid"].clone());
    assert_eq!(valid, [json!(true), json!(true), json!(false)]);
    let keys = json_of(&home, &["keys", "list"]);
    let state = |name: &str| {
        let id = credential(name, "id");
        let all = keys["keys"].as_array().or(keys.as_array()).unwrap();
        all.iter().find(|key| key["id"] == id).unwrap()["state"].clone()
    };
    assert_eq!((state("key"), state("gone")), (json!("usable"), json!("revoked")), "{keys}");
}

#[test]
fn a_catalogue_of_before_is_listed_without_its_server() {
    let home = home();
    // The program of the server is not there: whoever needs it fails.
    let (status, stdout, stderr) = home.run(&["tools", "s", "--agent", "a"]);
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(stdout.contains("get_issue() — Scripted. — 5 credits"), "{stdout}{stderr}");
}

#[test]
fn processes_left_on_another_boot_are_forgotten() {
    let home = home();
    let left = home.path().join(".local/state/tollgate").join(CHILDREN);
    home.connect().call("list_servers", json!({"agent_id": "a"}));
    assert!(!left.exists());
}
