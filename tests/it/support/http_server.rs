//! A small MCP server over HTTP/1.1 whose every byte a test can choose.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::within;

/// Which protocol the server speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Era {
    /// With a handshake and sessions.
    Legacy,
    /// 2026-07-28: each request stands for itself.
    Modern,
}

/// How answers are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Form {
    Json,
    Sse,
}

pub const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];
pub const FORMS: [Form; 2] = [Form::Json, Form::Sse];

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: Value,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// The JSON-RPC method; empty for anything else.
    pub fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    fn tool(&self) -> &str {
        self.body["params"]["name"].as_str().unwrap_or_default()
    }

    /// Whether a key of [`HttpServer::on`] means this request.
    fn is(&self, key: &str) -> bool {
        let call = self.rpc() == "tools/call" && self.tool() == key;
        call || [self.method.as_str(), self.rpc(), self.target.as_str()].contains(&key)
    }
}

/// An HTTP response; `$id` in its text stands for the id of the request, `$token` for its progress
/// token.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    pieces: Vec<Piece>,
    cut: bool,
    /// Before even the first byte.
    delay: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Repeat(String, usize),
    Wait(Duration),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn json(status: u16, text: &str) -> Self {
        Self::status(status).header("Content-Type", "application/json").text(text)
    }

    pub fn html(status: u16) -> Self {
        let page = "<html><body><h1>Oops &mdash; nginx</h1></body></html>";
        Self::status(status).header("Content-Type", "text/html").text(page)
    }

    /// An event stream, empty as yet.
    pub fn sse() -> Self {
        Self::status(200).header("Content-Type", "text/event-stream")
    }

    /// Headers and then nothing, for as long as anybody waits.
    pub fn hang() -> Self {
        Self::sse().wait(Duration::from_secs(600))
    }

    /// Not even headers, for as long as anybody waits.
    pub fn mute() -> Self {
        Self { delay: Some(Duration::from_secs(600)), ..Self::status(200) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn text(mut self, text: &str) -> Self {
        self.pieces.push(Piece::Text(text.to_owned()));
        self
    }

    pub fn event(self, data: &str) -> Self {
        self.text(&format!("event: message\ndata: {data}\n\n"))
    }

    /// The text this number of times.
    pub fn repeat(mut self, text: &str, times: usize) -> Self {
        self.pieces.push(Piece::Repeat(text.to_owned(), times));
        self
    }

    pub fn wait(mut self, time: Duration) -> Self {
        self.pieces.push(Piece::Wait(time));
        self
    }

    /// Ends the connection before the response has come to its end.
    pub fn cut(mut self) -> Self {
        self.cut = true;
        self
    }

    /// Whether the connection can be used again.
    fn write(&self, request: &Value, stream: &mut TcpStream) -> std::io::Result<bool> {
        let token = request["params"]["_meta"]["progressToken"].to_string();
        let id = request["id"].to_string();
        self.delay.map_or(Ok(()), |delay| pause(delay, stream))?;
        let own = |text: &str| text.replace("$id", &id).replace("$token", &token);
        let whole = match self.pieces.as_slice() {
            [] if !self.cut => Some(String::new()),
            [Piece::Text(text)] if !self.cut => Some(own(text)),
            _ => None,
        };
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = whole {
            let length = if self.status == 204 {
                String::new()
            } else {
                format!("Content-Length: {}\r\n", body.len())
            };
            stream.write_all(format!("{head}{length}\r\n{body}").as_bytes())?;
            return Ok(true);
        }
        stream.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => chunk(&own(text), stream)?,
                Piece::Repeat(text, times) => repeat(text, *times, stream)?,
                Piece::Wait(time) => pause(*time, stream)?,
            }
        }
        if self.cut {
            return Ok(false);
        }
        stream.write_all(b"0\r\n\r\n").map(|()| true)
    }
}

fn chunk(text: &str, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
}

/// In chunks of many, or the writing alone would take long.
fn repeat(text: &str, times: usize, stream: &mut TcpStream) -> std::io::Result<()> {
    let many = (65_536 / text.len()).max(1);
    for _ in 0..times / many {
        chunk(&text.repeat(many), stream)?;
    }
    match times % many {
        0 => Ok(()),
        rest => chunk(&text.repeat(rest), stream),
    }
}

/// Waits, but not beyond the moment when the client hangs up.
fn pause(time: Duration, stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(time))?;
    let waited = match stream.peek(&mut [0]) {
        Ok(0) => Err(ErrorKind::ConnectionAborted.into()),
        Err(error) if ![ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
            Err(error)
        }
        _ => Ok(()),
    };
    stream.set_read_timeout(None)?;
    waited
}

/// A running server; stopped when dropped.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Mutex<Option<thread::JoinHandle<()>>>,
}

struct Shared {
    era: Era,
    form: Form,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Vec<Request>,
    /// How many calls came as far as their tool.
    ran: usize,
    /// How many clients hung up before their answer was whole.
    hung_up: usize,
    sessions: Vec<String>,
    opened: usize,
    /// Replies to give instead, the newest first.
    replies: Vec<(String, Reply)>,
    /// What a request with a session that is not known is answered.
    gone: Reply,
    open: Vec<TcpStream>,
    /// Connections that were idle for this long are closed when their next request comes.
    patience: Option<Duration>,
    /// How many requests were closed so, unanswered.
    closed: usize,
}

impl HttpServer {
    pub fn start(era: Era, form: Form) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), era, form)
    }

    /// At an address, say that of a server which was stopped.
    pub fn start_at(address: SocketAddr, era: Era, form: Form) -> Self {
        let mut listener = TcpListener::bind(address);
        // What listened there before may still be closing.
        within(Duration::from_secs(10), || {
            listener.is_ok() || {
                listener = TcpListener::bind(address);
                listener.is_ok()
            }
        });
        let listener = listener.unwrap();
        let state = State { gone: Self::session_not_found(), ..State::default() };
        let shared =
            Shared { era, form, stopped: AtomicBool::new(false), state: Mutex::new(state) };
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(shared));
        let listening = shared.clone();
        let listener = thread::spawn(move || listening.listen(&listener));
        Self { address, shared, listener: Mutex::new(Some(listener)) }
    }

    /// What the specification says of a session that has ended.
    pub fn session_not_found() -> Reply {
        Reply::json(
            404,
            r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#,
        )
    }

    /// What servers of the TypeScript SDK say of it, server-everything among them.
    pub fn no_valid_session() -> Reply {
        Reply::json(
            400,
            r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
        )
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// An `.mcp.json` entry for this server. Its timeout is long, so that an immediate answer comes
    /// well before.
    pub fn entry(&self) -> Value {
        json!({"url": self.url(), "allowPrivate": true, "timeout": "40s"})
    }

    /// From now on answers every request that `key` means with `reply`: a JSON-RPC method, the name
    /// of a tool that is called, an HTTP method, or a path.
    pub fn on(&self, key: &str, reply: Reply) {
        self.state().replies.insert(0, (key.to_owned(), reply));
    }

    /// From now on closes a connection, unanswered, at a request that comes after it was idle for
    /// this long: what a client sees whose request crosses the server's closing.
    pub fn close_after(&self, idle: Option<Duration>) {
        self.state().patience = idle;
    }

    /// How many requests were closed unanswered.
    pub fn closed(&self) -> usize {
        self.state().closed
    }

    /// Forgets all that [`HttpServer::on`] said.
    pub fn behave(&self) {
        self.state().replies.clear();
    }

    /// Forgets all sessions; their requests are answered so.
    pub fn expire(&self, gone: Reply) {
        let mut state = self.state();
        state.sessions.clear();
        state.gone = gone;
    }

    pub fn seen(&self) -> Vec<Request> {
        self.state().seen.clone()
    }

    pub fn count(&self, key: &str) -> usize {
        self.state().seen.iter().filter(|request| request.is(key)).count()
    }

    pub fn ran(&self) -> usize {
        self.state().ran
    }

    pub fn hung_up(&self) -> usize {
        self.state().hung_up
    }

    /// Ends listener and connections; the address can be used again.
    pub fn stop(&self) {
        if !self.shared.stopped.swap(true, Ordering::SeqCst) {
            // Wakes the listener.
            let _ = TcpStream::connect(self.address);
            if let Some(listener) = self.listener.lock().unwrap().take() {
                listener.join().unwrap();
            }
            for stream in self.state().open.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn listen(self: Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            let (shared, stream) = (self.clone(), stream.unwrap());
            shared.state.lock().unwrap().open.push(stream.try_clone().unwrap());
            thread::spawn(move || shared.converse(stream));
        }
    }

    fn converse(&self, mut stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut idle_since: Option<Instant> = None;
        while let Some(request) = read(&mut reader) {
            if self.is_stale(idle_since) {
                break;
            }
            let reply = self.answer(&request);
            self.state.lock().unwrap().seen.push(request.clone());
            match reply.write(&request.body, &mut stream) {
                Ok(true) => idle_since = Some(Instant::now()),
                Ok(false) => break,
                Err(_) => {
                    self.state.lock().unwrap().hung_up += 1;
                    break;
                }
            }
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    /// Whether a connection was idle for too long.
    fn is_stale(&self, idle_since: Option<Instant>) -> bool {
        let mut state = self.state.lock().unwrap();
        let stale = state.patience.zip(idle_since).is_some_and(|(most, at)| at.elapsed() >= most);
        state.closed += usize::from(stale);
        stale
    }

    fn answer(&self, request: &Request) -> Reply {
        if let Some(reply) = self.scripted(request) {
            return reply;
        }
        let rpc = request.rpc();
        match (self.era, request.method.as_str()) {
            (Era::Legacy, "DELETE") => return Reply::status(200),
            (_, "POST") => {}
            _ => return Reply::status(405).header("Allow", "POST"),
        }
        let stranger = self.stranger(request);
        match (self.era, rpc) {
            (Era::Legacy, "initialize") => self.initialize(request),
            (Era::Legacy, _) if stranger.is_some() => stranger.unwrap(),
            _ if request.body.get("id").is_none() || rpc.is_empty() => Reply::status(202),
            (Era::Modern, "server/discover") => self.result(r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#),
            (_, "tools/list") => self.result(&tools(self.era).to_string()),
            (_, "tools/call") => self.call(request),
            (Era::Legacy, "ping") => self.result("{}"),
            _ => Reply::json(404, r#"{"jsonrpc":"2.0","id":$id,"error":{"code":-32601,"message":"Method not found"}}"#),
        }
    }

    fn scripted(&self, request: &Request) -> Option<Reply> {
        let state = self.state.lock().unwrap();
        state.replies.iter().find(|(key, _)| request.is(key)).map(|(_, reply)| reply.clone())
    }

    /// The reply to a request without a session, or with an unknown one.
    fn stranger(&self, request: &Request) -> Option<Reply> {
        let state = self.state.lock().unwrap();
        match request.header("mcp-session-id") {
            None => Some(HttpServer::no_valid_session()),
            Some(session) if state.sessions.iter().any(|known| known == session) => None,
            Some(_) => Some(state.gone.clone()),
        }
    }

    fn initialize(&self, request: &Request) -> Reply {
        let mut state = self.state.lock().unwrap();
        state.opened += 1;
        let session = format!("session-{}", state.opened);
        state.sessions.push(session.clone());
        let result = json!({
            "protocolVersion": request.body["params"]["protocolVersion"],
            "capabilities": {"tools": {}}, "serverInfo": {"name": "scripted", "version": "1"},
        });
        self.result(&result.to_string()).header("Mcp-Session-Id", &session)
    }

    fn call(&self, request: &Request) -> Reply {
        self.state.lock().unwrap().ran += 1;
        let args = &request.body["params"]["arguments"];
        match (request.tool(), args["json"].as_str()) {
            ("raw", Some(json)) => self.result(json),
            _ => {
                let mut result = json!({"content": [{"type": "text", "text": args.to_string()}]});
                if self.era == Era::Modern {
                    result["resultType"] = json!("complete");
                }
                self.result(&result.to_string())
            }
        }
    }

    /// A result as this very text.
    fn result(&self, result: &str) -> Reply {
        let message = format!(r#"{{"jsonrpc":"2.0","id":$id,"result":{result}}}"#);
        match self.form {
            Form::Json => Reply::json(200, &message),
            Form::Sse => Reply::sse().event(&message),
        }
    }
}

fn tools(era: Era) -> Value {
    let tool = |name: &str| json!({"name": name, "description": "Scripted.", "inputSchema": {"type": "object"}});
    let tools: Vec<Value> = ["echo", "raw", "odd"].map(tool).to_vec();
    match era {
        Era::Legacy => json!({ "tools": tools }),
        // Listed again before each call.
        Era::Modern => {
            json!({"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})
        }
    }
}

/// The next request of a connection; None at its end.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let start = line()?;
    let mut words = start.split(' ').map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: Value::Null };
    if let Some(length) = request.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        request.body = serde_json::from_slice(&body).unwrap_or_default();
    }
    Some(request)
}
