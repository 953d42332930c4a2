//! What the README prints runs as printed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::tollgate;

const README: &str = include_str!("../../README.md");

/// The shell commands of the README in which a text occurs, a line each.
fn commands(with: &str) -> Vec<&'static str> {
    let blocks = README.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.contains(with)).collect();
    assert_eq!(found.len(), 1, "blocks with {with}");
    found[0].lines().collect()
}

/// Runs a line of the README where it says: from the root of the repository. Only the one place
/// that it names outside is another one.
fn run(line: &str, root: &Path) -> Output {
    let line = line.replace("/tmp/", &format!("{}/", root.display()));
    let bin = Path::new(tollgate()).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(root).env("HOME", root).env("PATH", path);
    for name in ["GATEWAY_CONFIG", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TOLLGATE_DEPTH"] {
        command.env_remove(name);
    }
    command.output().unwrap()
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
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    symlink(config, root.path().join("config")).unwrap();
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
    assert_eq!(commands.len(), expected.len(), "{commands:#?}");
    for (line, (status, part)) in commands.into_iter().zip(expected) {
        let out = run(line, root.path());
        let told = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert_eq!(out.status.code(), Some(status), "{line}\n{told}");
        assert!(told.contains(part), "{line}\n{told}");
    }
    assert!(fs::exists(root.path().join(".local/state/tollgate/ledger.db")).unwrap());
}
