//! MCP on standard input and output: one JSON-RPC message per line.
//!
//! rmcp's own stdio transport is silent on bad input; this one answers it: −32700 for what is not
//! JSON, −32600 (with the id, where one can be read) for what is not a request.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use rmcp::{
    RoleServer, ServiceExt,
    model::{
        CallToolRequest, CallToolRequestParams, ClientNotification, ClientRequest, ClientResult,
        CustomResult, ErrorCode, ErrorData, GetExtensions, GetMeta, JsonRpcMessage, MetaObject,
        ProtocolVersion, RequestId, RequestMetaObject, ServerJsonRpcMessage, ServerResult,
    },
    service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage},
    transport::{
        Transport,
        io::{StdioReader, StdioWriter, stdio_pipes},
    },
};
use serde_json::{Map, Value, json};
use tokio::{
    io::AsyncWriteExt,
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use super::{DRAIN, Gateway, front::Front, relay::RawAnswers};
use crate::{
    domain::frame::{Frame, MAX_MESSAGE_BYTES, id_of},
    downstream::lines::Lines,
};

/// This many answers may be owed before reading pauses. A client that waits for none of its
/// answers and withdraws none of its calls can have so many in flight.
const MOST_OWED: usize = 1024;

/// How long the last answers may take to be written when the gateway stops.
const FLUSH: Duration = Duration::from_millis(300);

/// Serves one client until its stdin ends or `shutdown` is cancelled; then waits for calls in
/// flight, a short while, and stops all servers.
///
/// # Errors
/// A session that broke down otherwise than by its end.
pub async fn serve_stdio(gateway: Arc<Gateway>, shutdown: CancellationToken) -> io::Result<()> {
    let (end_of_input, stop) = (CancellationToken::new(), CancellationToken::new());
    let transport = Stdio::new(end_of_input.clone());
    let front = Front::new(gateway.clone());
    let session = {
        let stop = stop.clone();
        tokio::spawn(async move {
            match front.serve_with_ct(transport, stop).await {
                Ok(running) => running.waiting().await.map(drop).map_err(io::Error::other),
                // The client left before it said anything.
                Err(
                    ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled,
                ) => Ok(()),
                Err(error) => Err(io::Error::other(error.to_string())),
            }
        })
    };
    let mut session = std::pin::pin!(session);
    let ended = tokio::select! {
        ended = &mut session => Some(ended),
        // What was read before the end is still answered: rmcp waits for it.
        () = end_of_input.cancelled() => tokio::time::timeout(DRAIN, &mut session).await.ok(),
        () = shutdown.cancelled() => {
            gateway.drain().await;
            None
        }
    };
    gateway.cancel_calls();
    stop.cancel();
    let ended = match ended {
        Some(ended) => Some(ended),
        None => tokio::time::timeout(FLUSH, session).await.ok(),
    };
    gateway.stop_servers().await;
    match ended {
        Some(ended) => ended.map_err(io::Error::other)?,
        None => Ok(()),
    }
}

/// The client's end of the line.
struct Stdio {
    lines: Lines<StdioReader>,
    write: Arc<Mutex<StdioWriter>>,
    /// One permit per answer that is owed. Without one nothing more is read, so a client that does
    /// not take its answers is not read from for ever.
    owed: Arc<Semaphore>,
    /// The permits of requests that rmcp has, given back when their answers are written.
    requests: Arc<StdMutex<HashMap<RequestId, OwnedSemaphorePermit>>>,
    /// rmcp ends a session whose first messages are not requests, so until it has opened the
    /// others are passed over.
    open: bool,
    end_of_input: CancellationToken,
}

impl Stdio {
    fn new(end_of_input: CancellationToken) -> Self {
        let (read, write) = stdio_pipes();
        Self {
            lines: Lines::new(read, MAX_MESSAGE_BYTES),
            write: Arc::new(Mutex::new(write)),
            owed: Arc::new(Semaphore::new(MOST_OWED)),
            requests: Arc::default(),
            open: false,
            end_of_input,
        }
    }

    /// The next frame, and a permit to owe an answer to it; None at the end of input. The permit
    /// comes first, so that a frame is not lost if this is dropped.
    async fn frame(&mut self) -> Option<(Frame, OwnedSemaphorePermit)> {
        let permit = self.owed.clone().acquire_owned().await.ok()?;
        self.lines.next().await.map(|frame| (frame, permit))
    }

    /// Answers bad input, in a task of its own: `receive` may be dropped at any await, and half a
    /// line must not be written.
    fn answer(&self, fault: Fault, permit: OwnedSemaphorePermit) {
        let write = self.write.clone();
        tokio::spawn(async move {
            // A client that does not take its answers is noticed by the next of them.
            let _ = write_line(&write, &fault.to_json()).await;
            drop(permit);
        });
    }

    /// Whether rmcp takes this message in the phase that the session is in.
    fn admits(&mut self, message: &RxJsonRpcMessage<RoleServer>) -> bool {
        if let (false, JsonRpcMessage::Request(request)) = (self.open, message) {
            self.open = opens(&request.request);
            return true;
        }
        self.open
    }

    /// Keeps the permit of a request until it is answered. A withdrawn request is never answered.
    fn note(&self, message: &RxJsonRpcMessage<RoleServer>, permit: OwnedSemaphorePermit) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            JsonRpcMessage::Request(request) => {
                requests.insert(request.id.clone(), permit);
            }
            JsonRpcMessage::Notification(notification) => {
                if let ClientNotification::CancelledNotification(cancelled) =
                    &notification.notification
                    && let Some(id) = &cancelled.params.request_id
                {
                    requests.remove(id);
                }
            }
            _ => {}
        }
    }
}

/// Whether this request, as the first, begins a session without a handshake.
fn opens(request: &ClientRequest) -> bool {
    let meta = request.get_meta();
    let bootstrap = matches!(
        request,
        ClientRequest::InitializeRequest(_)
            | ClientRequest::DiscoverRequest(_)
            | ClientRequest::PingRequest(_)
    );
    !bootstrap
        && meta.missing_required_keys(&ProtocolVersion::V_2026_07_28).is_empty()
        && meta.protocol_version().is_some_and(|v| ProtocolVersion::KNOWN_VERSIONS.contains(&v))
}

impl Transport<RoleServer> for Stdio {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.open |= handshake_done(&message);
        let permit = answered(&message)
            .and_then(|id| self.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(id));
        let write = self.write.clone();
        async move {
            let written = write_line(&write, &message).await;
            drop(permit);
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let Some((frame, permit)) = self.frame().await else {
                self.end_of_input.cancel();
                return None;
            };
            match read(frame) {
                Ok(Some(message)) if self.admits(&message) => {
                    self.note(&message, permit);
                    return Some(message);
                }
                Ok(_) => {}
                Err(fault) => self.answer(fault, permit),
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The request that a message answers.
fn answered(message: &ServerJsonRpcMessage) -> Option<&RequestId> {
    match message {
        JsonRpcMessage::Response(response) => Some(&response.id),
        JsonRpcMessage::Error(error) => error.id.as_ref(),
        _ => None,
    }
}

fn handshake_done(message: &ServerJsonRpcMessage) -> bool {
    matches!(
        message,
        JsonRpcMessage::Response(response)
            if matches!(response.result, ServerResult::InitializeResult(_))
    )
}

async fn write_line(write: &Mutex<StdioWriter>, message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut write = write.lock().await;
    write.write_all(&line).await?;
    write.flush().await
}

/// Input that is no JSON-RPC message.
struct Fault {
    code: ErrorCode,
    message: &'static str,
    id: Value,
}

impl Fault {
    fn invalid(message: &'static str, id: Option<Value>) -> Self {
        Self { code: ErrorCode::INVALID_REQUEST, message, id: id.unwrap_or_default() }
    }

    fn to_json(&self) -> Value {
        let error = ErrorData::new(self.code, self.message, None);
        json!({"jsonrpc": "2.0", "id": self.id, "error": error})
    }
}

/// The message in a frame; None for an empty line and for a notification that nobody knows.
fn read(frame: Frame) -> Result<Option<RxJsonRpcMessage<RoleServer>>, Fault> {
    let line = match frame {
        Frame::Line(line) => line,
        Frame::TooLong(id) => {
            return Err(Fault::invalid("the message is longer than 16 MiB", id));
        }
    };
    let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line);
    if text.trim_ascii().is_empty() {
        return Ok(None);
    }
    let mut value: Value =
        serde_json::from_slice(text).map_err(|error| unreadable(&error, text))?;
    let Value::Object(object) = &mut value else {
        return Err(Fault::invalid(
            "a message is one JSON object; batches are not supported",
            None,
        ));
    };
    let id = object.get("id").filter(|id| id.is_string() || id.is_number()).cloned();
    let request = object.contains_key("method") && object.contains_key("id");
    if request && !id.as_ref().is_some_and(|id| id.is_string() || id.is_i64()) {
        return Err(Fault::invalid("`id` must be a string or an integer", id));
    }
    let has_odd_params = object.get("params").is_some_and(|params| {
        !params.is_object() || params.get("_meta").is_some_and(|meta| !meta.is_object())
    });
    if let Some(raw) = tool_call(object).or_else(|| answer(object)) {
        return Ok(Some(raw));
    }
    match serde_json::from_value(value) {
        Ok(message) => Ok(Some(message)),
        Err(_) if !request && id.is_none() => Ok(None),
        Err(_) if request && has_odd_params => Err(Fault {
            code: ErrorCode::INVALID_PARAMS,
            message: "`params` must be an object, and so must its `_meta`",
            id: id.unwrap_or_default(),
        }),
        Err(_) => Err(Fault::invalid("not a JSON-RPC 2.0 message", id)),
    }
}

/// A well-formed `tools/call`, put together by hand: rmcp's decoding refuses numbers that fit no
/// machine type, and arguments are the caller's own.
fn tool_call(message: &mut Map<String, Value>) -> Option<RxJsonRpcMessage<RoleServer>> {
    if message.get("jsonrpc")? != "2.0" || message.get("method")? != "tools/call" {
        return None;
    }
    let id: RequestId = serde_json::from_value(message.get("id")?.clone()).ok()?;
    let params = message.get_mut("params")?.as_object_mut()?;
    let is_object = |key| params.get(key).is_none_or(Value::is_object);
    let no_arguments = params.get("arguments").is_none_or(Value::is_null);
    if !(no_arguments || is_object("arguments")) || !is_object("_meta") {
        return None;
    }
    let mut call = CallToolRequestParams::new(params.get("name")?.as_str()?.to_owned());
    call.arguments = object(params, "arguments");
    call.request_state = params.get("requestState").and_then(Value::as_str).map(str::to_owned);
    let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(call));
    if let Some(answers) = params.get_mut("inputResponses") {
        request.extensions_mut().insert(RawAnswers(answers.take()));
    }
    if let Some(meta) = object(params, "_meta") {
        request.get_meta_mut().extend(RequestMetaObject(MetaObject(meta)));
    }
    Some(JsonRpcMessage::request(request, id))
}

/// Takes an object out of another.
fn object(from: &mut Map<String, Value>, key: &str) -> Option<Map<String, Value>> {
    match from.get_mut(key).map(Value::take) {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// The client's answer to a question, as it came.
fn answer(message: &Map<String, Value>) -> Option<RxJsonRpcMessage<RoleServer>> {
    if message.contains_key("method") {
        return None;
    }
    let id = serde_json::from_value(message.get("id")?.clone()).ok()?;
    let result = CustomResult::new(message.get("result")?.clone());
    Some(JsonRpcMessage::response(ClientResult::CustomResult(result), id))
}

fn unreadable(error: &serde_json::Error, text: &[u8]) -> Fault {
    // serde_json has no category of its own for this.
    if error.to_string().starts_with("recursion limit") {
        return Fault::invalid("the message is nested too deeply", id_of(text));
    }
    Fault { code: ErrorCode::PARSE_ERROR, message: "not valid JSON in UTF-8", id: Value::Null }
}
