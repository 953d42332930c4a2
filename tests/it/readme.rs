//! What the README and docs/identity.md print runs as printed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::tollgate;

const README: &str = include_str!("../../README.md");
const IDENTITY: &str = include_str!("../../docs/identity.md");

/// The blocks of a page that are marked as of a language.
fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let marker = format!("```{language}\n");
    page.split(&marker).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// The shell commands of the README in which a text occurs, a line each.
fn commands(with: &str) -> Vec<&'static str> {
    let found: Vec<&str> =
        blocks(README, "sh").into_iter().filter(|block| block.contains(with)).collect();
    assert_eq!(found.len(), 1, "blocks with {with}");
    found[0].lines().collect()
}

/// Runs a line of a page where it says: from the root of the repository. Only the one place
/// that it names outside is another one.
fn run(line: &str, root: &Path) -> Output {
    let line = line.replace("/tmp/", &format!("{}/", root.display()));
    let bin = Path::new(tollgate()).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(root).env("HOME", root).env("PATH", path);
    for name in
        ["GATEWAY_CONFIG", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TOLLGATE_DEPTH", "TOLLGATE_TOKEN"]
    {
        command.env_remove(name);
    }
    command.output().unwrap()
}

/// Runs lines, one after the other; each ends with a status and tells a text.
#[track_caller]
fn check(lines: &[&str], expected: &[(i32, &str)], root: &Path) {
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (status, part)) in lines.iter().zip(expected) {
        let out = run(line, root);
        let told = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert_eq!(out.status.code(), Some(*status), "{line}\n{told}");
        assert!(told.contains(part), "{line}\n{told}");
    }
}

fn link_config(root: &Path) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    symlink(config, root.join("config")).unwrap();
}

/// Downloads what the examples start, so that no call waits for it.
fn install_servers(root: &Path) {
    let settings = fs::read_to_string(root.join("config/.mcp.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    let package = settings["mcpServers"]["everything"]["args"][1].as_str().unwrap();
    let out = run(&format!("npx -y -p {package} -- node -e 0"), root);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn the_commands_about_credits_show_a_budget_a_refusal_and_records() {
    let root = tempfile::tempdir().unwrap();
    link_config(root.path());
    let expected = [
        (0, ""),
        (0, "The sum of 2 and 3 is 5"),
        (3, "Budget exhausted: `get-sum` costs 2 credits, and 1 are left in account `root`"),
        (0, " root     3      1          0         2 "),
        (0, "insufficient_budget"),
        (0, "ok"),
    ];
    install_servers(root.path());
    let commands = commands("credits.yaml");
    check(&commands, &expected, root.path());
    assert!(fs::exists(root.path().join(".local/state/tollgate/ledger.db")).unwrap());
}

#[test]
fn the_commands_about_identity_make_narrow_and_revoke_credentials() {
    let root = tempfile::tempdir().unwrap();
    link_config(root.path());
    let lines: Vec<&str> = blocks(IDENTITY, "sh").into_iter().flat_map(str::lines).collect();
    let expected = [
        (0, ""),
        (0, ""),
        (0, ""),
        (0, ""),
        (0, ""),
        // Keys.
        (0, "for researcher, until "),
        (0, " filesystem "),
        (3, "`lead` may not be used here"),
        (3, "shows no credential"),
        (0, "laptop"),
        (0, "is revoked"),
        (3, "was revoked"),
        // Tokens.
        (0, "paid for as its agent is, until "),
        (0, " filesystem "),
        (0, ""),
        (0, "only tools read_*,filesystem/list_*"),
        (0, "with 200 credits of its own from agent/lead, which has 100 left"),
        (0, " token/"),
        (0, "200 credits went back to agent/lead"),
        (0, "is revoked; it had no account of its own"),
        (3, "revoked"),
    ];
    check(&lines, &expected, root.path());
}

#[test]
fn what_is_printed_of_json_about_identity_is_json() {
    let found = blocks(IDENTITY, "json");
    assert!(found.len() >= 8, "{} blocks", found.len());
    for block in found {
        let value: Result<Value, _> = serde_json::from_str(block);
        assert!(value.is_ok(), "{block}");
    }
}
