//! MCP on standard input and output: one JSON-RPC message per line.
//!
//! rmcp's own stdio transport is silent on bad input; this one answers it: −32700 for what is not
//! JSON, −32600 for what is not a request, with the id where one can be read.
//!
//! - [`read`]: what a line says. [`write`]: lines to the client.
//! - [`requests`]: those that are not answered yet.
//! - [`hang_up`]: whether the client is still there.

mod hang_up;
mod read;
mod requests;
mod write;

use std::{io, sync::Arc, time::Duration};

use rmcp::{
    RoleServer, ServiceExt,
    model::{
        ClientRequest, GetMeta, JsonRpcMessage, ProtocolVersion, RequestId, ServerJsonRpcMessage,
        ServerResult,
    },
    service::{RxJsonRpcMessage, ServerInitializeError, TxJsonRpcMessage},
    transport::{
        Transport,
        io::{StdioReader, stdio_pipes},
    },
};
use tokio_util::sync::CancellationToken;

use super::server::McpServer;
use crate::{
    domain::frame::{Frame, MAX_MESSAGE_BYTES},
    gateway::{DRAIN, Gateway},
    host::lines::Lines,
};
pub use hang_up::HangUp;
use read::{Fault, read};
use requests::{Requests, Room};
use write::Output;

/// How long the last answers may take to be written when the gateway stops.
const FLUSH: Duration = Duration::from_millis(300);

/// Serves one client until it hangs up or `shutdown` is cancelled; then waits for calls in flight, a
/// short while, and stops all servers.
///
/// # Errors
/// A session that broke down otherwise than by its end.
pub async fn serve_stdio(
    gateway: Arc<Gateway>,
    shutdown: CancellationToken,
    hang_up: HangUp,
) -> io::Result<()> {
    let stop = CancellationToken::new();
    let transport = Stdio::new(hang_up.clone());
    hang_up.watch();
    let front = McpServer::new(gateway.clone());
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
        // No one reads answers any more.
        () = hang_up.output.cancelled() => None,
        // What was sent before the end is still answered: rmcp waits for it.
        () = hang_up.input.cancelled() => tokio::time::timeout(DRAIN, &mut session).await.ok(),
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
        // A client that was gone before the handshake is no failure.
        Some(_) if hang_up.output.is_cancelled() => Ok(()),
        Some(ended) => ended.map_err(io::Error::other)?,
        None => Ok(()),
    }
}

/// The client's end of the line.
struct Stdio {
    lines: Lines<StdioReader>,
    output: Arc<Output>,
    requests: Requests,
    /// rmcp ends a session whose first messages are not requests, so until it has opened the
    /// others are passed over.
    open: bool,
    hang_up: HangUp,
}

impl Stdio {
    fn new(hang_up: HangUp) -> Self {
        let (read, write) = stdio_pipes();
        Self {
            lines: Lines::new(read, MAX_MESSAGE_BYTES),
            output: Arc::new(Output::new(write, hang_up.output.clone())),
            requests: Requests::new(),
            open: false,
            hang_up,
        }
    }

    /// The next frame, and room for an answer to it; None when the client has hung up. The room comes
    /// first, so that a frame is not lost if this is dropped.
    async fn frame(&mut self) -> Option<(Frame, Room)> {
        let frame = async {
            let room = self.requests.room().await?;
            self.lines.next().await.map(|frame| (frame, room))
        };
        tokio::select! {
            frame = frame => {
                if frame.is_none() {
                    self.hang_up.input.cancel();
                }
                frame
            }
            () = self.hang_up.output.cancelled() => None,
        }
    }

    /// Answers bad input, in a task of its own: `receive` may be dropped at any await, and half a
    /// line must not be written.
    fn answer(&self, fault: Fault, room: Room) {
        let output = self.output.clone();
        tokio::spawn(async move {
            // A client that takes no answers is noticed by the stream.
            let _ = output.message(&fault.to_json()).await;
            drop(room);
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
        let answered = answered(&message).and_then(|id| self.requests.answered(id));
        let (result, room) = answered.unzip();
        let output = self.output.clone();
        async move {
            let written = match (&message, result.flatten()) {
                (JsonRpcMessage::Response(response), Some(result)) => {
                    output.result(&response.id, result).await
                }
                _ => output.message(&message).await,
            };
            drop(room);
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let (frame, room) = self.frame().await?;
            let refused = match read(frame) {
                Ok(Some(mut message)) if self.admits(&message) => {
                    match self.requests.note(&mut message, room) {
                        Ok(()) => return Some(message),
                        Err(refused) => refused,
                    }
                }
                Ok(_) => continue,
                Err(fault) => (fault, room),
            };
            self.answer(refused.0, refused.1);
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
