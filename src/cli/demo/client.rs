//! A small MCP client: JSON-RPC lines over the standard streams of `tollgate serve`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::workspace::Workspace;

pub(super) struct Client {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
    /// Where the gateway's stderr goes.
    log: String,
}

impl Client {
    /// Starts the gateway and completes the handshake.
    pub(super) fn start(workspace: &Workspace) -> anyhow::Result<Self> {
        let log = workspace.dir.join("serve.log");
        let mut command = workspace.command("serve");
        let stderr = File::create(&log).context("cannot write the demo's log")?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr);
        let mut process = command.spawn().context("cannot start the gateway")?;
        let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("the gateway has no pipes");
        };
        let stdout = BufReader::new(stdout);
        let mut client =
            Self { process, stdin, stdout, last_id: 0, log: log.display().to_string() };
        let us = json!({"name": "tollgate-demo", "version": env!("CARGO_PKG_VERSION")});
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": us});
        client.request("initialize", hello)?;
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(client)
    }

    /// The `tools` array.
    pub(super) fn list_tools(&mut self) -> anyhow::Result<Value> {
        let result = self.request("tools/list", json!({}))?;
        Ok(result.get("tools").cloned().unwrap_or_default())
    }

    /// Calls a tool; answers the text of the result, as the agent sees it.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<String> {
        let result = self.request("tools/call", json!({"name": tool, "arguments": arguments}))?;
        let blocks = result.get("content").and_then(Value::as_array).into_iter().flatten();
        let texts = blocks.filter_map(|block| block.get("text").and_then(Value::as_str));
        Ok(texts.collect::<Vec<_>>().join("\n"))
    }

    fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).context("cannot read from the gateway")? == 0 {
                bail!("the gateway ended; see {}", self.log);
            }
            let message: Value = serde_json::from_str(&line).context("the gateway sent no JSON")?;
            if message.get("id").and_then(Value::as_u64) != Some(id) {
                continue;
            }
            return match (message.get("result"), message.get("error")) {
                (Some(result), _) => Ok(result.clone()),
                (None, error) => bail!("{method} failed: {}", error.cloned().unwrap_or_default()),
            };
        }
    }

    fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        writeln!(self.stdin, "{message}").context("cannot write to the gateway")
    }

    /// Closes the gateway's input and waits for its end.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let Self { mut process, stdin, log, .. } = self;
        drop(stdin);
        let status = process.wait().context("cannot wait for the gateway")?;
        if !status.success() {
            bail!("the gateway ended with {status}; see {log}");
        }
        Ok(())
    }
}
