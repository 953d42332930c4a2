//! A small MCP client: JSON-RPC lines over the standard streams of `tollgate serve`.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use super::workspace::Workspace;

pub(super) struct DemoClient {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    last_id: u64,
    /// Where the gateway's stderr goes.
    log: String,
}

/// The answer to a call.
pub(super) struct DemoAnswer {
    /// The text of the result, or the JSON-RPC error, as the agent sees it.
    pub(super) text: String,
    /// What it cost and what is left, if it was paid for.
    pub(super) paid: Option<(u64, u64)>,
}

impl DemoClient {
    /// Starts the gateway and completes the handshake.
    pub(super) fn start(workspace: &Workspace) -> anyhow::Result<Self> {
        let log = workspace.dir.join("serve.log");
        let mut command = workspace.command(&["serve"]);
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

    /// Calls a tool.
    pub(super) fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<DemoAnswer> {
        let asked = json!({"name": tool, "arguments": arguments});
        let result = match self.ask("tools/call", asked)? {
            Ok(result) => result,
            Err(error) => return Ok(DemoAnswer { text: error.to_string(), paid: None }),
        };
        let blocks = result.get("content").and_then(Value::as_array).into_iter().flatten();
        let texts = blocks.filter_map(|block| block.get("text").and_then(Value::as_str));
        let of_meta = |key: &str| result.get("_meta")?.get(key)?.as_u64();
        Ok(DemoAnswer {
            text: texts.collect::<Vec<_>>().join("\n"),
            paid: of_meta("tollgate/cost").zip(of_meta("tollgate/remaining")),
        })
    }

    fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.ask(method, params)?.map_err(|error| anyhow!("{method} failed: {error}"))
    }

    /// The result of a request, or the JSON-RPC error.
    fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Result<Value, Value>> {
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
            return Ok(match message.get("result") {
                Some(result) => Ok(result.clone()),
                None => Err(message.get("error").cloned().unwrap_or_default()),
            });
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
