//! Which era a server speaks, found over its pipes before rmcp takes them over.
//!
//! rmcp's own negotiation sends `initialize` 10 s after `server/discover`, whatever the server does. A
//! server that takes longer to start reads both at once, answers the first, and refuses the second.
//! So nothing is sent after `server/discover` until it was answered, or the server has read it and
//! stays silent.

use std::time::Duration;

use rmcp::{
    ClientHandler, RoleClient,
    model::{
        ClientJsonRpcMessage, ClientRequest, DiscoverRequest, DiscoverRequestParams, ErrorCode,
        JsonRpcMessage, ProtocolVersion, RequestId, RequestMetaObject, ServerResult,
    },
    service::RxJsonRpcMessage,
    transport::Transport,
};

use super::{
    failure::Unavailable, handler::Handler, opening::Era, stdin_writer::StdinWriter,
    transport::Pipes, wire::same,
};
use crate::host::{activity::Activity, clock};

/// The id of our own `server/discover`. rmcp counts up from 0 and does not get here.
pub(super) const PROBE: RequestId = RequestId::Number(i32::MAX as i64);

/// A server that has read `server/discover`, does nothing, and has not answered after this long is
/// taken for one that ignores what it does not know.
const SILENCE: Duration = Duration::from_secs(10);

/// A server is taken for that even if it is busy.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Without work for this long, a server does nothing.
const STILL: Duration = Duration::from_secs(3);

const LOOK: Duration = Duration::from_millis(100);

/// What a server speaks, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It has said so.
    Answered(Era),
    /// It has ignored `server/discover`, as some older servers do before `initialize`.
    Ignored,
}

/// Asks the server for its era. With `patient` its answer is waited for without end.
///
/// # Errors
/// It ended without an answer.
pub(super) async fn negotiate(
    pipes: &mut Pipes,
    handler: &Handler,
    activity: &Activity,
    patient: bool,
) -> Result<Finding, Unavailable> {
    let ended = || {
        Unavailable::because(
            "it ended before it answered the MCP handshake; the gateway's log has its stderr"
                .into(),
        )
    };
    pipes.send(discover(handler)).await.map_err(|_| ended())?;
    let writer = pipes.writer().clone();
    loop {
        let message = tokio::select! {
            message = pipes.receive() => message.ok_or_else(ended)?,
            () = silence(&writer, activity), if !patient => {
                pipes.give_up_discover();
                return Ok(Finding::Ignored);
            }
        };
        if let Some(era) = era_in(&message) {
            if era == Era::Stateless {
                pipes.keep_discovered(message);
            }
            return Ok(Finding::Answered(era));
        }
    }
}

fn discover(handler: &Handler) -> ClientJsonRpcMessage {
    let us = handler.get_info();
    let meta = RequestMetaObject::with_client_context(
        ProtocolVersion::V_2026_07_28,
        us.client_info,
        us.capabilities,
    );
    let mut request = DiscoverRequest::new(DiscoverRequestParams {});
    request.extensions.insert(meta);
    ClientJsonRpcMessage::request(ClientRequest::DiscoverRequest(request), PROBE)
}

/// What an answer to `server/discover` tells; None from other messages. Only errors that 2026-07-28
/// defines are of that era; older servers have all kinds of others, some without an id.
fn era_in(message: &RxJsonRpcMessage<RoleClient>) -> Option<Era> {
    match message {
        JsonRpcMessage::Response(response) if same(&PROBE, &response.id) => {
            Some(match response.result {
                ServerResult::DiscoverResult(_) => Era::Stateless,
                _ => Era::Handshake,
            })
        }
        JsonRpcMessage::Error(error) if error.id.as_ref().is_none_or(|id| same(&PROBE, id)) => {
            let modern = [
                ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
                ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY,
                ErrorCode::HEADER_MISMATCH,
            ];
            let modern = modern.contains(&error.error.code);
            Some(if modern { Era::Stateless } else { Era::Handshake })
        }
        _ => None,
    }
}

/// Returns when the server has read all that was sent, and has then been silent for long.
async fn silence(writer: &StdinWriter, activity: &Activity) {
    let begun = clock::tokio_instant();
    // Where that cannot be seen, the longest silence tells.
    while !writer.is_read().unwrap_or_else(|| begun.elapsed() >= LONGEST_SILENCE) {
        tokio::time::sleep(LOOK).await;
    }
    let read = clock::tokio_instant();
    loop {
        tokio::time::sleep(LOOK).await;
        let silent = read.elapsed();
        let still = silent >= SILENCE && activity.idle() >= STILL;
        if still || silent >= LONGEST_SILENCE {
            return;
        }
    }
}
