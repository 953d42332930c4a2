//! The Claude Code hook: its home, its events, its answers.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tollgate::{
    domain::stamp::{CallDigest, Stamped, verify},
    ledger::keys,
};

use crate::support::tollgate;

/// A user's surroundings.
pub struct Home(pub TempDir);

/// What the hook did: status, standard output, standard error.
pub struct Outcome {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn state(&self) -> PathBuf {
        self.0.path().join("state/tollgate")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tollgate());
        command
            .args(["hook", "claude-code"])
            .args(args)
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env("XDG_STATE_HOME", self.0.path().join("state"))
            .env_remove("CLAUDE_CONFIG_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn begin(&self, args: &[&str], stdin: &[u8]) -> Child {
        let mut child = self.command(args).spawn().unwrap();
        // One that has read enough closes its end.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        child
    }

    pub fn hook(&self, args: &[&str], event: &Value) -> Outcome {
        outcome(self.begin(args, event.to_string().as_bytes()))
    }

    /// The stamp in an answer, verified as the gateway would.
    pub fn stamped(&self, outcome: &Outcome) -> Stamped {
        assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{}", outcome.stdout);
        let input = updated(outcome);
        self.verified(&input, input["agent_id"].as_str().unwrap())
    }

    pub fn verified(&self, input: &Map<String, Value>, text: &str) -> Stamped {
        let key = keys::key(Some(&self.state())).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let call = CallDigest::of("execute_tool", input);
        verify(text, &key, &call, i64::try_from(now).unwrap()).unwrap()
    }
}

pub fn outcome(child: Child) -> Outcome {
    let out = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome {
        status: out.status.code().unwrap(),
        stdout: text(out.stdout),
        stderr: text(out.stderr),
    }
}

/// Everything that an answer may say besides the input, it must not.
pub fn updated(outcome: &Outcome) -> Map<String, Value> {
    let answer: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
    let input = answer["hookSpecificOutput"]["updatedInput"].clone();
    let alone = json!({"hookEventName": "PreToolUse", "updatedInput": input});
    assert_eq!(answer, json!({ "hookSpecificOutput": alone }));
    serde_json::from_value(input).unwrap()
}

pub fn events() -> Vec<(String, Value)> {
    let recorded: Vec<Value> =
        serde_json::from_str(include_str!("../data/claude_code.json")).unwrap();
    let one = |case: &Value| (case["agent"].as_str().unwrap().to_owned(), case["event"].clone());
    recorded.iter().map(one).collect()
}

pub fn event_of(agent: &str) -> Value {
    events().into_iter().find(|(whose, _)| whose == agent).unwrap().1
}
