//! MCP on standard input and output: one JSON-RPC message per line.
//!
//! - [`hang_up`]: whether the client is still there.

mod hang_up;

use std::{io, sync::Arc, time::Duration};

use rmcp::transport::io::{StdioReader, stdio_pipes};

use super::{
    dispatch::receive,
    message::{Message, Rejection, read},
    outbox::Outbox,
    session::Session,
};
use crate::{
    domain::frame::{Frame, MAX_MESSAGE_BYTES},
    gateway::{Gateway, Granted},
    host::lines::Lines,
};
pub use hang_up::HangUp;

/// How long the last answers may take to be written when the gateway stops.
const FLUSH: Duration = Duration::from_millis(300);

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Serves one client until it has every answer and hangs up, or until `stop` ends; then cancels its calls.
///
/// # Errors
/// The task that reads the client's messages failed.
pub async fn serve_stdio(
    gateway: Arc<Gateway>,
    stop: impl Future<Output = ()>,
    hang_up: HangUp,
) -> io::Result<()> {
    let (input, output) = stdio_pipes();
    let outbox = Outbox::new(output, hang_up.output.clone());
    // The process's own credential is for the client that started the process.
    let session = Session::new(gateway.clone(), Granted::ProcessCredential, outbox);
    hang_up.watch();
    let mut served = tokio::spawn(serve(session.clone(), input, hang_up.clone()));
    let ended = tokio::select! {
        ended = &mut served => ended.map_err(io::Error::other),
        () = stop => Ok(()),
    };
    gateway.cancel_calls();
    // Answers that no one takes are given up.
    let _ = tokio::time::timeout(FLUSH, session.answered()).await;
    ended
}

/// Takes messages until there are no more, and waits for the answers to all of them.
async fn serve(session: Arc<Session>, input: StdioReader, hang_up: HangUp) {
    let mut lines = Lines::new(input, MAX_MESSAGE_BYTES);
    let stopping = session.gateway.cancellation();
    let reading = async {
        // Where answers are not taken, no more is read.
        while let Some(slot) = session.in_flight.answer_slot().await
            && let Some(frame) = lines.next().await
        {
            receive(&session, message_in(frame), slot);
        }
        hang_up.input.cancel();
    };
    tokio::select! {
        () = reading => {}
        () = hang_up.output.cancelled() => {}
        () = stopping.cancelled() => {}
    }
    session.answered().await;
}

/// The message in a frame; None for an empty line as well.
fn message_in(frame: Frame) -> Result<Option<Message>, Rejection> {
    let mut line = match frame {
        Frame::Line(line) => line,
        Frame::TooLong(id) => {
            return Err(Rejection::invalid("the message is longer than 16 MiB", id));
        }
    };
    if line.starts_with(BYTE_ORDER_MARK) {
        line.drain(..BYTE_ORDER_MARK.len());
    }
    if line.trim_ascii().is_empty() { Ok(None) } else { read(line) }
}
