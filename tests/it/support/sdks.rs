//! Real clients and servers that `scripts/test` installs.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::support::tollgate;

/// A client program, its command line before the era, and how it takes a server.
#[derive(Clone, Copy, Debug)]
pub enum Sdk {
    TypeScript1,
    TypeScript2,
    Python,
}

impl Sdk {
    fn command(self) -> Command {
        let dir = clients();
        let (program, script) = match self {
            Self::TypeScript1 => (dir.join("node_modules/.bin/node"), dir.join("ts_v1.mjs")),
            Self::TypeScript2 => (dir.join("node_modules/.bin/node"), dir.join("ts_v2.mjs")),
            Self::Python => (dir.join(".venv/bin/python"), dir.join("python_client.py")),
        };
        let mut command = Command::new(program);
        command.arg(script);
        command
    }

    /// One session: what the client saw, as JSON.
    pub fn session(self, era: &str, calls: &Value, server: &[String]) -> Value {
        let mut command = self.command();
        command.args(["--era", era, "--calls", &calls.to_string(), "--"]).args(server);
        let out = in_clients_dir(&mut command);
        serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|_| panic!("{self:?} {era}: {}", String::from_utf8_lossy(&out.stderr)))
    }
}

/// Runs where `npx` finds the servers installed, so that no test depends on a download.
pub fn in_clients_dir(command: &mut Command) -> std::process::Output {
    command
        .current_dir(clients())
        .env_remove("GATEWAY_DEFAULT_AGENT")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// The gateway over the example settings.
pub fn gateway() -> Vec<String> {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    [tollgate(), "serve", "--config-dir", config].map(str::to_owned).to_vec()
}

/// The gateway over these servers, its settings written into `dir`.
pub fn gateway_over(dir: &Path, servers: &Value) -> Vec<String> {
    let config = json!({ "mcpServers": servers });
    std::fs::write(dir.join(".mcp.json"), config.to_string()).unwrap();
    let dir = dir.display().to_string();
    [tollgate(), "serve", "--config-dir", &dir].map(str::to_owned).to_vec()
}

/// The Node of the test clients.
pub fn node() -> PathBuf {
    clients().join("node_modules/.bin/node")
}

/// Where server-everything is installed.
pub fn everything_script() -> PathBuf {
    clients().join("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
}

/// The clients and real servers that `scripts/test` installs.
pub fn clients() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let ready = dir.join("node_modules/.bin/mcp-inspector").exists();
    assert!(ready, "the test clients are not installed; run scripts/test instead of cargo test");
    dir
}
