//! What the README and docs/identity.md print runs as printed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::support::{Client, json_in, refusal, text, tollgate};

const README: &str = include_str!("../../README.md");
const IDENTITY: &str = include_str!("../../docs/identity.md");
const AGENTS: &str = include_str!("../../docs/agents.md");

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
    shell(line, root).output().unwrap()
}

fn shell(line: &str, root: &Path) -> Command {
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
    command
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

/// Another root of the repository, with what the pages use of it.
fn repository() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for name in ["config", "agents"] {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        symlink(original, root.path().join(name)).unwrap();
    }
    root
}

/// Downloads what the examples start, so that no call waits for it.
fn install_servers(root: &Path) {
    let settings = fs::read_to_string(root.join("config/.mcp.json")).unwrap();
    let settings: Value = serde_json::from_str(&settings).unwrap();
    for server in ["everything", "filesystem"] {
        let package = settings["mcpServers"][server]["args"][1].as_str().unwrap();
        let out = run(&format!("npx -y -p {package} -- node -e 0"), root);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn the_first_commands_do_what_the_text_says() {
    let root = repository();
    install_servers(root.path());
    let commands = commands("cargo install");
    let expected = [
        (0, "the settings are sound"),
        (0, "get-sum(a: number, b: number)"),
        (0, "The sum of 2 and 3 is 5"),
        (0, "tokens for the three tools of the gateway"),
        (3, "agents.backend.deny.tools.*[0] (`move_*`)"),
    ];
    check(&commands[1..], &expected, root.path());
    let told = run(commands[2], root.path()).stderr;
    assert!(String::from_utf8_lossy(&told).contains("as sent to agent `default`"));
}

#[test]
fn a_connected_client_reads_and_backend_writes() {
    let root = repository();
    install_servers(root.path());
    let line = commands("claude mcp add")[0];
    let (_, serve) = line.split_once(" -- ").unwrap();
    let mut client = Client::start(shell(&format!("exec {serve}"), root.path()));
    client.handshake("2025-11-25");
    let servers = client.call("list_servers", serde_json::json!({}));
    assert_eq!(json_in(&servers).as_array().unwrap().len(), 2, "{servers}");
    // The server is up before it is searched, however slow the machine is.
    let dirs = client.execute("filesystem", "list_allowed_directories", serde_json::json!({}));
    assert!(text(&dirs).contains(root.path().to_str().unwrap()), "{dirs}");

    let calls =
        blocks(README, "json").into_iter().find(|block| block.contains("agent_id")).unwrap();
    let mut answers = calls.lines().map(|call| {
        let call: Value = serde_json::from_str(call).unwrap();
        client.call(call["name"].as_str().unwrap(), call["arguments"].clone())
    });
    let found = answers.next().unwrap();
    assert!(text(&found).contains("write_file"), "{found}");
    let written = answers.next().unwrap();
    assert!(text(&written).contains("Successfully wrote"), "{written}");
    assert!(answers.next().is_none());

    let path = serde_json::json!({"path": "notes.md", "content": "gone"});
    let read = client.execute("filesystem", "read_text_file", path.clone());
    assert_eq!(text(&read), "…", "{read}");
    let denied = client.execute("filesystem", "write_file", path);
    assert_eq!(refusal(&denied)["code"], "DENIED_BY_POLICY", "{denied}");
}

#[test]
fn the_settings_that_are_printed_are_sound() {
    let root = tempfile::tempdir().unwrap();
    let files = [(".mcp.json", "notes.example.com"), (".mcp-gateway-rules.json", "defaults")];
    for (name, part) in files {
        let block = blocks(README, "json").into_iter().find(|block| block.contains(part)).unwrap();
        fs::write(root.path().join(name), block).unwrap();
    }
    check(&["NOTES_TOKEN=secret tollgate check"], &[(0, "settings are sound")], root.path());
}

#[test]
fn copied_agents_are_agents_and_nothing_else() {
    let root = repository();
    let lines = blocks(AGENTS, "sh").concat();
    check(&lines.lines().collect::<Vec<_>>(), &[(0, ""), (0, "")], root.path());
    let copied = fs::read_dir(root.path().join(".claude/agents")).unwrap().flatten();
    let mut names: Vec<_> = copied.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["backend.md", "generic.md", "lead.md", "researcher.md"]);
}

#[test]
fn credit_commands_of_the_readme_work() {
    let root = repository();
    let expected = [
        (0, ""),
        (0, "The sum of 2 and 3 is 5"),
        (3, "Budget exhausted: `get-sum` costs 2 credits, and 1 is left in account `root`"),
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
    let root = repository();
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
