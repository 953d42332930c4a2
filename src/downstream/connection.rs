//! One live MCP session with a server: handshake, tools, calls.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rmcp::{
    RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientRequest,
        ErrorCode, ListToolsRequest, MetaObject, PaginatedRequestParams, ProtocolVersion,
        RequestId, RequestMetaObject, ServerResult,
    },
    service::{
        ClientInitializeError, ClientLifecycleMode, ClientServiceExt, Peer, PeerRequestOptions,
        RunningService, ServiceError,
    },
};
use serde_json::{Map, Value};
use tokio::{process::Child, sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    child::Launcher,
    failure::CallFailure,
    handler::Handler,
    stderr,
    transport::{Pipes, Seen, TOO_LONG, Traffic, UNREADABLE},
};
use crate::domain::{
    call::{ServerName, ToolName},
    catalog::{Catalogue, Tool},
    refusal::RpcError,
    render::visible,
    settings::Command,
};

/// The most pages of tools that are followed.
const MAX_PAGES: usize = 200;

/// The most tools one server may offer.
const MAX_TOOLS: usize = 10_000;

/// The most bytes that the definitions of one server may take.
const MAX_DEFINITION_BYTES: usize = 16 * 1024 * 1024;

/// How long after the end of a server's stdout its process may still be seen to live.
const END_GRACE: Duration = Duration::from_secs(1);

/// How long telling a server of a withdrawn call may take.
const NOTICE_DEADLINE: Duration = Duration::from_secs(5);

/// Whether a server speaks a version with a handshake. Remembered, so that a restart of an older
/// server does not begin with a probe that it cannot answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    Handshake,
    Stateless,
}

/// A live session.
#[derive(Debug)]
pub(super) struct Connection {
    server: ServerName,
    peer: Peer<RoleClient>,
    traffic: Arc<Traffic>,
    /// Locked while the tools are listed, so that they are listed once.
    catalogue: Mutex<Arc<Catalogue>>,
    tools_changed: Arc<AtomicBool>,
    era: Era,
    /// Ends the session and the process when cancelled.
    stop: CancellationToken,
    /// Cancelled when the process has ended.
    ended: CancellationToken,
    /// Cancelled when the session has ended.
    closed: CancellationToken,
}

impl Connection {
    /// Starts the process, completes the handshake and lists the tools.
    ///
    /// # Errors
    /// What went wrong, in words for an agent. The process is being ended by then.
    pub(super) async fn open(
        server: &ServerName,
        command: &Command,
        launcher: &Arc<Launcher>,
        era: Option<Era>,
    ) -> Result<Self, String> {
        let child = launcher.spawn(command)?;
        let tail = stderr::Tail::default();
        tokio::spawn(stderr::log(server.clone(), child.stderr, tail.clone()));
        let (stop, ended) = attend(server, launcher, child.process, child.mark);
        let guard = stop.clone().drop_guard();
        let traffic = Traffic::new(server.clone());
        let pipes = Pipes::new(child.stdin, child.stdout, traffic.clone());
        let handler = Handler::default();
        let tools_changed = handler.tools_changed.clone();
        let service = handler
            .serve_with_lifecycle(pipes, lifecycle(era))
            .await
            .map_err(handshake_failure)
            .inspect_err(|_| tell_stderr(server, &tail))?;
        let era = match service.peer_info() {
            Some(info) if !info.protocol_version.has_initialize() => Era::Stateless,
            _ => Era::Handshake,
        };
        let catalogue = list(server, service.peer()).await?;
        guard.disarm();
        Ok(Self {
            server: server.clone(),
            peer: service.peer().clone(),
            traffic,
            catalogue: Mutex::new(Arc::new(catalogue)),
            tools_changed,
            era,
            closed: outlast(service, stop.clone()),
            stop,
            ended,
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.peer.is_transport_closed() && !self.stop.is_cancelled()
    }

    /// Waits until the session or the process has ended by itself. What an ended process has left to
    /// read is read first.
    pub(super) async fn gone(&self) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = self.ended.cancelled() => {
                // Longer only if another process holds its stdout; nothing more is waited for then.
                let _ = tokio::time::timeout(END_GRACE, self.closed.cancelled()).await;
            }
        }
    }

    pub(super) fn era(&self) -> Era {
        self.era
    }

    /// The tools; listed again first if the server said that they changed.
    pub(super) async fn catalogue(&self) -> Result<Arc<Catalogue>, String> {
        let mut catalogue = self.catalogue.lock().await;
        if self.tools_changed.swap(false, Ordering::AcqRel) {
            // Stands unless the listing comes to its end; this future may be dropped before.
            let again = SetOnDrop(Some(&self.tools_changed));
            *catalogue = Arc::new(list(&self.server, &self.peer).await?);
            again.disarm();
        }
        Ok(catalogue.clone())
    }

    /// The tools, unless they are being listed right now.
    pub(super) fn known_catalogue(&self) -> Option<Arc<Catalogue>> {
        self.catalogue.try_lock().ok().map(|catalogue| catalogue.clone())
    }

    /// Forwards one call and answers the result as it arrived.
    pub(super) async fn call(
        &self,
        tool: &ToolName,
        arguments: Map<String, Value>,
        meta: Map<String, Value>,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<Value, CallFailure> {
        let params = CallToolRequestParams::new(tool.as_str().to_owned()).with_arguments(arguments);
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options =
            PeerRequestOptions::no_options().with_meta(RequestMetaObject(MetaObject(meta)));
        let until = Instant::now() + timeout;
        let sent = tokio::select! {
            sent = self.peer.send_cancellable_request(request, options) => sent,
            () = cancel.cancelled() => return Err(CallFailure::Cancelled),
            () = tokio::time::sleep_until(until) => return Err(CallFailure::Timeout),
        };
        let handle = sent.map_err(|_| CallFailure::NotSent)?;
        let id = handle.id.clone();
        let outcome = tokio::select! {
            biased;
            answer = handle.await_response() => Ok(answer),
            () = cancel.cancelled() => Err((CallFailure::Cancelled, "the client cancelled the call")),
            () = tokio::time::sleep_until(until) => Err((CallFailure::Timeout, "the call timed out")),
        };
        let seen = self.traffic.take_seen(&id);
        match outcome {
            Ok(answer) => self.answer_of(answer, seen).await,
            Err((failure, reason)) => {
                self.withdraw(id, reason);
                Err(failure)
            }
        }
    }

    async fn answer_of(
        &self,
        answer: Result<ServerResult, ServiceError>,
        seen: Seen,
    ) -> Result<Value, CallFailure> {
        match answer {
            Ok(ServerResult::CustomResult(result)) => Ok(result.0),
            // The transport hands up every result of the open phase raw.
            Ok(_) => Err(CallFailure::Lost),
            Err(ServiceError::McpError(error)) if error.code == TOO_LONG => {
                Err(CallFailure::TooLong)
            }
            Err(ServiceError::McpError(error)) if error.code == UNREADABLE => {
                Err(CallFailure::Unreadable)
            }
            Err(ServiceError::McpError(error)) => Err(CallFailure::Rpc(RpcError {
                code: error.code.0,
                message: error.message.into_owned(),
                data: error.data,
            })),
            Err(_) => Err(match seen {
                Seen::NotWritten => CallFailure::NotSent,
                Seen::Maybe => CallFailure::Lost,
                // One that only closed its stdout could still read the call.
                Seen::NotRead => {
                    match tokio::time::timeout(END_GRACE, self.ended.cancelled()).await {
                        Ok(()) => CallFailure::NotSent,
                        Err(_) => CallFailure::Lost,
                    }
                }
            }),
        }
    }

    /// Tells the server that nobody waits any more; in the background, as it may not be reading.
    fn withdraw(&self, id: RequestId, reason: &'static str) {
        let peer = self.peer.clone();
        let notice = CancelledNotificationParam::new(Some(id), Some(reason.to_owned()));
        tokio::spawn(async move {
            // A server that cannot be told is gone or stuck, and will be noticed as such.
            let _ = tokio::time::timeout(NOTICE_DEADLINE, peer.notify_cancelled(notice)).await;
        });
    }

    /// Closes the session and ends the process with all its descendants.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

/// Waits for the end of the process in a task of its own. Cancelling the first token ends it; the
/// second is cancelled when it has ended.
fn attend(
    server: &ServerName,
    launcher: &Arc<Launcher>,
    process: Child,
    mark: String,
) -> (CancellationToken, CancellationToken) {
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let (server, launcher) = (server.clone(), launcher.clone());
    let tokens = (stop.clone(), ended.clone());
    tokio::spawn(async move {
        let status = launcher.attend(process, mark, stop.clone()).await;
        ended.cancel();
        if !stop.is_cancelled() {
            tracing::warn!(%server, "its process ended: {status}");
        }
    });
    tokens
}

/// Keeps a session in a task of its own until it ends, or is ended by `stop`, which closes the child's
/// stdin. The token is cancelled then.
fn outlast(
    service: RunningService<RoleClient, Handler>,
    stop: CancellationToken,
) -> CancellationToken {
    let closed = CancellationToken::new();
    let done = closed.clone().drop_guard();
    tokio::spawn(async move {
        let hang_up = service.cancellation_token();
        let mut end = pin!(service.waiting());
        tokio::select! {
            _ = &mut end => {}
            () = stop.cancelled() => {
                hang_up.cancel();
                // However it ended, it has.
                let _ = end.await;
            }
        }
        drop(done);
    });
    closed
}

/// Sets a flag when dropped, unless disarmed.
struct SetOnDrop<'a>(Option<&'a AtomicBool>);

impl SetOnDrop<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(flag) = self.0 {
            flag.store(true, Ordering::Release);
        }
    }
}

fn lifecycle(era: Option<Era>) -> ClientLifecycleMode {
    let newest = || vec![ProtocolVersion::V_2026_07_28];
    match era {
        Some(Era::Handshake) => ClientLifecycleMode::Initialize,
        Some(Era::Stateless) => ClientLifecycleMode::Discover { preferred_versions: newest() },
        None => ClientLifecycleMode::Auto {
            preferred_versions: newest(),
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
    }
}

/// What the server said last, for the people who read the log; agents are not shown it.
fn tell_stderr(server: &ServerName, tail: &stderr::Tail) {
    for line in tail.take() {
        tracing::warn!(%server, "its stderr: {line}");
    }
}

/// In words for an agent; rmcp's own name Rust types.
fn handshake_failure(error: ClientInitializeError) -> String {
    tracing::debug!(%error, "handshake failed");
    match error {
        ClientInitializeError::ConnectionClosed(_)
        | ClientInitializeError::TransportError { .. } => {
            "it ended before it answered the MCP handshake; the gateway's log has its stderr".into()
        }
        ClientInitializeError::JsonRpcError(error) => {
            format!("it refused the MCP handshake: {}", cut(&error.message))
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
            handshake_failure(*fallback)
        }
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            "it speaks no MCP version that is known here".into()
        }
        _ => "it did not answer the MCP handshake as a server does".into(),
    }
}

/// A server's own words, as far as they are worth repeating.
fn cut(message: &str) -> String {
    const LONGEST: usize = 300;
    visible(message).chars().take(LONGEST).collect()
}

/// Lists all tools, page by page, within bounds.
async fn list(server: &ServerName, peer: &Peer<RoleClient>) -> Result<Catalogue, String> {
    let mut unusable = 0_usize;
    let mut tools = Vec::new();
    let mut bytes = 0;
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let Some(mut page) = page(peer, cursor.clone()).await? else {
            return Ok(Catalogue::default());
        };
        for definition in take_array(&mut page, "tools") {
            bytes += size(&definition);
            match Tool::parse(definition) {
                Ok(tool) => tools.push(tool),
                Err(fault) => {
                    if unusable == 0 {
                        tracing::warn!(%server, "a tool was passed over: {fault}");
                    }
                    unusable += 1;
                }
            }
            if tools.len() + unusable > MAX_TOOLS {
                return Err(format!("it offers more than {MAX_TOOLS} tools"));
            }
            if bytes > MAX_DEFINITION_BYTES {
                return Err(format!(
                    "its tool definitions take more than {MAX_DEFINITION_BYTES} bytes"
                ));
            }
        }
        let next = page.get("nextCursor").and_then(Value::as_str).map(str::to_owned);
        match next {
            None => return Ok(Catalogue::new(tools)),
            Some(next) if cursor.as_ref() == Some(&next) => {
                return Err("its list of tools repeats the same page without end".into());
            }
            next => cursor = next,
        }
    }
    Err(format!("its list of tools has more than {MAX_PAGES} pages"))
}

/// One page of tools; None from a server that has no tools at all.
async fn page(
    peer: &Peer<RoleClient>,
    cursor: Option<String>,
) -> Result<Option<Map<String, Value>>, String> {
    let params = PaginatedRequestParams::default().with_cursor(cursor);
    let request = ClientRequest::ListToolsRequest(ListToolsRequest::with_param(params));
    match peer.send_request(request).await {
        Ok(ServerResult::CustomResult(result)) => match result.0 {
            Value::Object(page) => Ok(Some(page)),
            _ => Err("its list of tools is not an object".into()),
        },
        Err(ServiceError::McpError(error)) if error.code == ErrorCode::METHOD_NOT_FOUND => Ok(None),
        Err(ServiceError::McpError(error)) if [TOO_LONG, UNREADABLE].contains(&error.code) => {
            Err("its list of tools is too long, or nested too deeply".into())
        }
        Err(ServiceError::McpError(error)) => {
            Err(format!("it did not list its tools: {}", cut(&error.message)))
        }
        _ => Err("it ended while it listed its tools".into()),
    }
}

fn take_array(object: &mut Map<String, Value>, key: &str) -> Vec<Value> {
    match object.get_mut(key).map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// The length of a value as JSON text, without writing it.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing to a counter cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}
