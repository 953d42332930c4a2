//! A gateway under test, and a client that speaks the wire itself.

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
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

/// Long enough for a loaded machine; reached only by a gateway that hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

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
        // What the developer's own gateway is told is none of the test's.
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
    dir: Option<Arc<TempDir>>,
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

    /// Started with a stderr that nobody reads.
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

pub fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {signal} {pid}");
}

/// The text of a result's first block.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"))
}

/// The JSON in the text of a result of the gateway's own.
pub fn json_in(result: &Value) -> Value {
    serde_json::from_str(text(result)).unwrap()
}

/// The error of a refusal.
#[track_caller]
pub fn refusal(result: &Value) -> Value {
    assert_eq!(result["isError"], true, "{result}");
    json_in(result)["error"].clone()
}

/// Every process below `pid`, itself left out.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found.split_off(1)
}

pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace();
        let dead = fields.next() == Some("Z");
        !dead && fields.next() == Some(&pid.to_string())
    })
    .collect()
}

/// Whether a process lives; a zombie does not.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// The most memory that a process has used, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
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

/// The clients and real servers that `scripts/test` installs.
pub fn clients() -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let ready = dir.join("node_modules/.bin/mcp-inspector").exists();
    assert!(ready, "the test clients are not installed; run scripts/test instead of cargo test");
    dir
}

/// A result without what the gateway adds to its `_meta`: what it cost, and what is left.
pub fn unpriced(mut result: Value, expected: &Value) -> Value {
    let members = result.as_object_mut().unwrap();
    let meta = members["_meta"].as_object_mut().unwrap();
    assert!(meta.shift_remove("tollgate/cost").is_some(), "{meta:?}");
    assert!(meta.shift_remove("tollgate/remaining").is_some(), "{meta:?}");
    if meta.is_empty() && expected.get("_meta").is_none() {
        members.shift_remove("_meta");
    }
    result
}
