//! A client on raw lines, in the driver's own thread: nothing of its own stands in the way.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::Era;

/// A process that speaks MCP on its standard streams.
pub(super) struct Client {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    era: Era,
    next_id: u64,
    line: Vec<u8>,
    requests: Vec<u8>,
}

/// What a batch of calls took.
pub(super) struct Batch {
    /// Of each call, in no order.
    pub(super) latencies: Vec<Duration>,
    pub(super) whole: Duration,
    /// Processor time of the process that was called, and how often one of its threads went to
    /// sleep; not of its children. Zero where there is no /proc.
    pub(super) spent: Spent,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) processor: Duration,
    pub(super) sleeps: u64,
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Client {
    /// Starts the process; it has said nothing yet.
    pub(super) fn start(mut command: Command, era: Era) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = process.stdin.take().unwrap();
        let stdout = BufReader::with_capacity(64 * 1024, process.stdout.take().unwrap());
        let (line, requests) = (Vec::new(), Vec::new());
        Self { process, stdin, stdout, era, next_id: 0, line, requests }
    }

    /// What comes before the first call; nothing in the stateless era.
    pub(super) fn shake_hands(&mut self) {
        if self.era == Era::Stateless {
            return;
        }
        let params = json!({"protocolVersion": self.era.version(), "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"}});
        let result = self.ask("initialize", &params);
        assert!(result["serverInfo"].is_object(), "{result}");
        writeln!(self.stdin, r#"{{"jsonrpc":"2.0","method":"notifications/initialized"}}"#)
            .unwrap();
    }

    /// Calls a tool once and answers the text of its result.
    pub(super) fn call(&mut self, call: &Value) -> String {
        let result = self.ask("tools/call", call);
        let text = result["content"][0]["text"].as_str();
        assert!(text.is_some() && result["isError"] != true, "{call}: {result}");
        text.unwrap().to_owned()
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.push(method, &self.params(params));
        self.send();
        let id = self.receive().unwrap_or_else(|fault| panic!("{method} {params}: {fault}"));
        assert_eq!(id + 1, self.next_id, "{method} {params}");
        serde_json::from_slice::<Value>(&self.line).unwrap()["result"].take()
    }

    /// Makes this number of calls, at most `in_flight` at a time; each answer must be at least this long.
    pub(super) fn batch(
        &mut self,
        call: &Value,
        calls: usize,
        in_flight: usize,
        least: usize,
    ) -> Batch {
        let params = self.params(call);
        let first = self.next_id;
        let before = self.spent();
        let begun = Instant::now();
        let mut sent_at = vec![begun; calls];
        let mut latencies = Vec::with_capacity(calls);
        let mut unsent = 0;
        while latencies.len() < calls {
            // What can be sent at once goes in one write, as soon as no answer is left to be read.
            if !self.stdout.buffer().contains(&b'\n') {
                let until = calls.min(latencies.len() + in_flight);
                (unsent..until).for_each(|_| self.push("tools/call", &params));
                sent_at[unsent..until].fill(Instant::now());
                unsent = until;
                self.send();
            }
            let id = self.receive().unwrap_or_else(|fault| panic!("{call}: {fault}"));
            latencies.push(sent_at[(id - first) as usize].elapsed());
            assert!(self.line.len() >= least, "{call}: {}", String::from_utf8_lossy(&self.line));
        }
        let whole = begun.elapsed();
        let after = self.spent();
        let spent = Spent {
            processor: after.processor.saturating_sub(before.processor),
            sleeps: after.sleeps.saturating_sub(before.sleeps),
        };
        Batch { latencies, whole, spent }
    }

    fn params(&self, params: &Value) -> String {
        let mut params = params.clone();
        if self.era == Era::Stateless {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": self.era.version(),
                "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            });
        }
        params.to_string()
    }

    fn push(&mut self, method: &str, params: &str) {
        let id = self.next_id;
        self.next_id += 1;
        let message =
            format_args!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        writeln!(self.requests, "{message}").unwrap();
    }

    fn send(&mut self) {
        self.stdin.write_all(&self.requests).unwrap();
        self.requests.clear();
    }

    /// Reads the next answer into `line`: its id. Notifications are passed over.
    fn receive(&mut self) -> Result<u64, String> {
        loop {
            self.line.clear();
            self.stdout.read_until(b'\n', &mut self.line).map_err(|error| error.to_string())?;
            match serde_json::from_slice::<Answer>(&self.line) {
                Ok(Answer { id, result: Some(_) }) => return Ok(id),
                Err(_) if self.line.windows(9).any(|word| word == br#""method":"#) => {}
                _ => {
                    return Err(format!("answered with `{}`", String::from_utf8_lossy(&self.line)));
                }
            }
        }
    }

    /// Resident memory in kilobytes; 0 where there is no /proc.
    pub(super) fn resident(&self) -> u64 {
        field(&format!("/proc/{}/status", self.process.id()), "VmRSS:")
    }

    fn spent(&self) -> Spent {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process.id()));
        let mut all = Spent::default();
        for thread in threads.into_iter().flatten().flatten() {
            let schedule = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = schedule.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            all.processor += Duration::from_nanos(nanoseconds);
            let status = thread.path().join("status").display().to_string();
            all.sleeps += field(&status, "voluntary_ctxt_switches:");
        }
        all
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A process that is killed leaves its children to end with their input.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A number from a file of `name: value` lines.
fn field(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
