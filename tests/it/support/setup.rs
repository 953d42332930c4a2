//! The settings of a gateway under test, and how it is started.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Client;

/// The binary under test.
pub fn tollgate() -> &'static str {
    env!("CARGO_BIN_EXE_tollgate")
}

/// An `.mcp.json` entry for the scripted server.
pub fn scripted(args: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripted.py");
    let mut all = vec![script];
    all.extend(args);
    json!({"command": "python3", "args": all})
}

/// The scripted server with these tools.
pub fn scripted_with(tools: &[&str]) -> Value {
    scripted(&["--tools", &json!(tools).to_string()])
}

/// How a gateway is set up.
pub struct Setup {
    pub dir: Arc<TempDir>,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Setup {
    /// Settings in a directory of their own; no rules file unless there are rules.
    pub fn new(servers: Value, rules: Option<&Value>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mcp = json!({ "mcpServers": servers });
        fs::write(dir.path().join(".mcp.json"), mcp.to_string()).unwrap();
        if let Some(rules) = rules {
            fs::write(dir.path().join(".mcp-gateway-rules.json"), rules.to_string()).unwrap();
        }
        Self { dir: Arc::new(dir), args: Vec::new(), env: Vec::new() }
    }

    /// With a `gateway.yaml` that says this.
    pub fn gateway(self, settings: &Value) -> Self {
        fs::write(self.path().join("gateway.yaml"), settings.to_string()).unwrap();
        self
    }

    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A `tollgate` command over these settings; `args` come first.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tollgate());
        command
            .args(args)
            .args(&self.args)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        // The settings of the developer's own gateway stay out of the test.
        let foreign = std::env::vars().map(|(name, _)| name).filter(|name| {
            name.starts_with("GATEWAY_")
                || ["RUST_LOG", "TOLLGATE_DEPTH", "TOLLGATE_TOKEN"].contains(&name.as_str())
        });
        for unset in foreign.filter(|name| !self.env.iter().any(|(own, _)| own == name)) {
            command.env_remove(unset);
        }
        command
    }

    /// Runs a command to its end: status, stdout, stderr.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let out = self.command(args).stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
    }

    /// A client connected with the handshake of 2025-11-25.
    pub fn connect(&self) -> Client {
        let mut client = self.start();
        client.handshake("2025-11-25");
        client
    }

    /// A client of 2026-07-28, which has no handshake.
    pub fn connect_stateless(&self) -> Client {
        let mut client = self.start();
        client.stateless = true;
        client
    }

    /// The gateway started, nothing said yet.
    pub fn start(&self) -> Client {
        let mut client = Client::start(self.command(&["serve"]));
        client.dir = Some(self.dir.clone());
        client
    }
}
