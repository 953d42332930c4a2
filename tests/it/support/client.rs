//! A client that speaks the wire itself.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::kill;

/// Long enough for a loaded machine; reached only by a gateway that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A started MCP server and its wire.
pub struct Client {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Vec<u8>>,
    stderr: Option<thread::JoinHandle<String>>,
    /// Messages that arrived while another was waited for.
    early: VecDeque<Value>,
    next_id: u64,
    /// Kept until the gateway has ended.
    pub dir: Option<Arc<TempDir>>,
    pub stateless: bool,
    /// What it says that it can do.
    pub capabilities: Value,
}

impl Client {
    pub fn start(command: Command) -> Self {
        let mut client = Self::start_unread(command);
        let mut stderr = client.process.stderr.take().unwrap();
        client.stderr = Some(thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }));
        client
    }

    /// Started with a stderr that is not read.
    pub fn start_unread(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let (send, lines) = channel();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if send.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: process.stdin.take(),
            process,
            lines,
            stderr: None,
            early: VecDeque::new(),
            next_id: 1,
            dir: None,
            stateless: false,
            capabilities: json!({}),
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn handshake(&mut self, version: &str) -> Value {
        let params = json!({
            "protocolVersion": version, "capabilities": self.capabilities.clone(),
            "clientInfo": {"name": "test", "version": "1"},
        });
        let answer = self.request("initialize", params);
        self.notify("notifications/initialized");
        answer["result"].clone()
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub fn send(&mut self, message: &Value) {
        self.send_bytes(format!("{message}\n").as_bytes());
    }

    /// The pipe to the process, for a thread of its own.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Gives the pipe back.
    pub fn put_stdin(&mut self, stdin: ChildStdin) {
        self.stdin = Some(stdin);
    }

    pub fn notify(&mut self, method: &str) {
        self.send(&json!({"jsonrpc": "2.0", "method": method}));
    }

    /// Sends a request and answers its id.
    pub fn ask(&mut self, method: &str, mut params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.stateless {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        }
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        id
    }

    /// The next message of all.
    pub fn next(&mut self, wait: Duration) -> Option<Value> {
        if let Some(message) = self.early.pop_front() {
            return Some(message);
        }
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                Some(serde_json::from_slice(&line).expect("stdout carries JSON lines only"))
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next line as it came.
    pub fn next_line(&mut self) -> Vec<u8> {
        self.lines.recv_timeout(PATIENCE).expect("a line")
    }

    /// The whole response to a request.
    pub fn response(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        let deadline = Instant::now() + PATIENCE;
        // A server's own requests are counted apart.
        let answers = |message: &Value| message["id"] == id && message.get("method").is_none();
        if let Some(index) = self.early.iter().position(answers) {
            return self.early.remove(index).unwrap();
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line =
                self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no answer to {id}"));
            let message: Value =
                serde_json::from_slice(&line).expect("stdout carries JSON lines only");
            if answers(&message) {
                return message;
            }
            self.early.push_back(message);
        }
    }

    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        self.response(id)
    }

    /// Begins a tool call; [`Client::response`] ends it.
    pub fn begin(&mut self, tool: &str, arguments: Value) -> u64 {
        self.ask("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// A tool call's result.
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let id = self.begin(tool, arguments);
        let response = self.response(id);
        assert!(response.get("result").is_some(), "{response}");
        response["result"].clone()
    }

    pub fn execute(&mut self, server: &str, tool: &str, args: Value) -> Value {
        self.call("execute_tool", json!({"server": server, "tool": tool, "args": args}))
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Closes stdin and waits for the end: status, the time it took, stderr.
    pub fn finish(mut self) -> (ExitStatus, Duration, String) {
        self.stdin = None;
        self.ended()
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> (ExitStatus, Duration, String) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.process.try_wait().unwrap() {
                let took = begun.elapsed();
                let stderr = self.stderr.take().map(|stderr| stderr.join().unwrap());
                return (status, took, stderr.unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the gateway does not end");
    }

    pub fn signal(&self, signal: &str) {
        kill(self.pid(), signal);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until `done` or the deadline; answers whether it came true.
pub fn within(deadline: Duration, mut done: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < deadline {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(5));
    }
    done()
}
