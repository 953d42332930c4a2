//! What people see on a terminal, and programs in a pipe.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Client, Setup, scripted, scripted_with};

/// Runs a command with some of its streams on a terminal of 80 columns; the others are pipes. Answers
/// what the terminal and the pipes were sent. Its input, if that is the terminal, is at its end.
const IN_TERMINAL: &str = r#"
import fcntl, os, pty, struct, subprocess, sys, termios
streams = sys.argv[1].split(",")
leader, terminal = pty.openpty()
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 80, 0, 0))
mode = termios.tcgetattr(terminal)
mode[1] &= ~termios.OPOST
mode[3] &= ~termios.ECHO
termios.tcsetattr(terminal, termios.TCSANOW, mode)
def stream(name, other):
    return terminal if name in streams else other
child = subprocess.Popen(sys.argv[2:], stdin=stream("in", subprocess.DEVNULL), stdout=stream("out", None), stderr=stream("err", None))
os.close(terminal)
if "in" in streams:
    os.write(leader, b"\x04")
shown = b""
while True:
    try:
        part = os.read(leader, 65536)
    except OSError:
        break
    shown += part
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(child.wait())
"#;

/// Status, and what the terminal or standard output got, and standard error unless it is the terminal.
fn in_terminal(setup: &Setup, streams: &str, args: &[&str]) -> (i32, String, String) {
    let inner = setup.command(args);
    let mut command = Command::new("python3");
    command.args(["-c", IN_TERMINAL, streams]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(setup.path()).env_remove("COLUMNS").env("NO_COLOR", "1");
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let out = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[test]
fn plain_tollgate_on_a_terminal_says_that_it_waits() {
    let setup = Setup::new(json!({"s": scripted_with(&["get"])}), None);
    let (status, shown, err) = in_terminal(&setup, "in,err", &[]);
    assert_eq!(status, 0, "{shown}{err}");
    for expected in ["waiting for an MCP client", "claude mcp add", "tollgate demo", "Ctrl-C"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert!(shown.contains("\n  servers  1 from "), "{shown}");
}

#[test]
fn banner_in_a_pipe_is_one_line() {
    let setup = Setup::new(json!({"s": scripted_with(&["get"])}), None);
    let mut client = Client::start(setup.command(&[]));
    client.handshake("2025-11-25");
    let (_, _, stderr) = client.finish();
    let first = stderr.lines().next().unwrap();
    assert!(first.starts_with("tollgate ") && first.contains("; agents one user"), "{stderr}");
    assert!(!stderr.lines().any(|line| line.starts_with("  ")), "{stderr}");
    assert!(!stderr.contains("waiting for"), "{stderr}");
}

#[test]
fn tables_fit_80_columns_and_break_no_word() {
    let described = |text: &str| {
        let mut entry = scripted_with(&["a_tool_with_a_rather_long_name", "get"]);
        entry["description"] = text.into();
        entry
    };
    let servers = json!({
        "a-server-with-a-long-name": described("Reads, searches and writes the files below a directory."),
        "s": described("Short."),
    });
    let rules = json!({"agents": {"default": {}, "a-researcher-with-a-long-name": {
        "allow": {"servers": ["*"]}, "budget": {"limit": 100, "period": "day"}}}});
    let setup = Setup::new(servers, Some(&rules)).gateway(&json!({"budget": {"limit": 1000}}));
    let mut client = setup.connect();
    for server in ["a-server-with-a-long-name", "s"] {
        let call = json!({"server": server, "tool": "a_tool_with_a_rather_long_name",
            "agent_id": "a-researcher-with-a-long-name"});
        client.call("execute_tool", call);
    }
    client.finish();
    let tables: [&[&str]; 5] = [
        &["servers", "--agent", "a-researcher-with-a-long-name"],
        &["budget", "show"],
        &["usage", "--by", "agent,server,tool"],
        &["audit", "log"],
        &["tokens"],
    ];
    let words = |text: &str| {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.sort();
        words
    };
    for args in tables {
        let (_, natural, _) = setup.run(args);
        let (status, narrow, err) = in_terminal(&setup, "out", args);
        assert_eq!(status, 0, "{err}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert_eq!(words(&narrow), words(&natural), "{narrow}");
        // The same in a pipe, for those who say so.
        let out = setup.command(args).env("COLUMNS", "80").output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), narrow);
    }
}

#[test]
fn text_of_servers_does_not_act_on_a_terminal() {
    const TEXT: &str = "a\u{1b}[2J\u{1b}]0;title\u{7}b\rc\u{9b}Hd\u{202e}e\u{2066}f";
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripted.py");
    let tool =
        |name: &str| json!({"name": name, "description": TEXT, "inputSchema": {"type": "object"}});
    let tools = json!([tool("raw"), tool("rpc_error")]).to_string();
    let noisy = r#"printf 'noise\033[2J\302\2331m\342\200\256\r\n' >&2; exec python3 "$0" "$@""#;
    let entry = json!({"command": "sh", "args": ["-c", noisy, script, "--tools-file", "tools.json"],
        "description": TEXT.replace("\u{9b}H", "")});
    let setup = Setup::new(json!({"s": entry}), None).env("RUST_LOG", "tollgate=info");
    std::fs::write(setup.path().join("tools.json"), tools).unwrap();
    let result = json!({"content": [{"type": "text", "text": TEXT}]});
    let raw = json!({"json": result.to_string()}).to_string();
    let error = json!({"error": {"code": 5, "message": TEXT}}).to_string();
    let raw = ["call", "s", "raw", &raw];
    let commands: [&[&str]; 4] =
        [&raw, &["call", "s", "rpc_error", &error], &["tools", "s"], &["servers"]];
    for args in commands {
        let (_, shown, _) = in_terminal(&setup, "out,err", args);
        assert!(shown.contains("def") || shown.contains("a\\u001b"), "{args:?}: {shown:?}");
        assert!(args[0] == "servers" || shown.contains("noise"), "{args:?}: {shown:?}");
        let acts = |c: char| {
            c.is_control() && c != '\n'
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!shown.contains(acts), "{args:?}: {shown:?}");
    }
    // Programs get it as it is, or as the same JSON.
    let (_, piped, _) = setup.run(&raw);
    assert_eq!(piped, format!("{TEXT}\n"));
    let (_, shown, _) = in_terminal(&setup, "out", &[&raw[..], &["--json"]].concat());
    assert!(!shown.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{shown:?}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["content"], result["content"]);
}

#[test]
fn check_tells_what_is_missing_and_what_is_sound() {
    let mut servers = json!({
        "gone": {"command": "no-such-program", "timeoutt": "1s"},
        "elsewhere": {"command": "python3", "env": {"PATH": "/nowhere"}},
        "s": scripted(&[]),
    });
    let setup = Setup::new(servers.clone(), Some(&json!({"agents": {}})));
    let (status, out, err) = setup.run(&["check"]);
    assert_eq!(status, 0, "{err}");
    for expected in [
        "the settings are sound",
        "server `gone`: the command `no-such-program` was not found",
        "`mcpServers.gone.timeoutt` is not a key that Tollgate knows; did you mean `timeout`?",
        "server `elsewhere`: the command `python3` was not found",
    ] {
        assert!(out.contains(expected), "{expected}: {out}");
    }
    assert!(!out.contains("server `s`"), "{out}");

    servers["s"]["timeout"] = json!("soon");
    let path = setup.path().join(".mcp.json");
    std::fs::write(path, json!({"mcpServers": servers}).to_string()).unwrap();
    let (status, out, _) = setup.run(&["check"]);
    assert!(status == 2 && out.contains("1 fault found"), "{out}");
    assert!(out.contains("sound ") && out.contains(".mcp-gateway-rules.json"), "{out}");
}
