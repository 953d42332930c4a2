//! Reads JSON-RPC lines from a child's standard output.

use std::{sync::Arc, time::Duration};

use tokio::process::ChildStdout;
use tokio_util::sync::CancellationToken;

use super::{
    failure::Unusable,
    peer::{Peer, ServerMessage, own_id},
    pending::Reply,
    questions::QuestionRoom,
    stderr::printable,
    stdin_writer::StdinWriter,
};
use crate::{
    domain::{
        call::ServerName,
        frame::{Frame, MAX_MESSAGE_BYTES, id_of},
        json::RawJson,
    },
    host::lines::Lines,
};

/// After this many messages other work gets its turn.
const MESSAGES_BEFORE_YIELD: u32 = 64;

/// The same, if notifications come too fast.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads messages until the server closes its output, can no longer be written to, or `stop` is
/// cancelled. No request gets an answer after that.
pub(super) async fn read(
    server: ServerName,
    stdout: ChildStdout,
    writer: Arc<StdinWriter>,
    peer: Arc<Peer>,
    stop: CancellationToken,
) {
    let mut lines = Lines::new(stdout, MAX_MESSAGE_BYTES);
    let reading = async {
        let mut messages: u32 = 0;
        // Room comes first: what a server sends stays in its pipe until there is some.
        while let Some(room) = peer.questions.room().await {
            let Some(frame) = lines.next().await else { break };
            receive(&server, &peer, frame, room).await;
            messages = messages.wrapping_add(1);
            if messages.is_multiple_of(MESSAGES_BEFORE_YIELD) {
                if peer.is_flooded() {
                    tokio::time::sleep(PAUSE).await
                } else {
                    tokio::task::yield_now().await
                }
            }
        }
        writer.note_end();
    };
    tokio::select! {
        () = reading => {}
        () = writer.broken() => {}
        () = stop.cancelled() => {}
    }
    peer.pending.end();
    writer.close();
}

async fn receive(server: &ServerName, peer: &Arc<Peer>, frame: Frame, room: QuestionRoom) {
    let unusable = |id: Option<i64>, why| {
        // Whatever else it is, it answers a request that waits.
        if let Some(id) = id {
            peer.pending.complete(id, Reply::Unusable(why));
        }
    };
    let line = match frame {
        Frame::Line(line) => line,
        Frame::TooLong(id) => {
            tracing::warn!(%server, "skipped a message of more than {MAX_MESSAGE_BYTES} bytes");
            return unusable(id.as_ref().and_then(own_id), Unusable::TooLong);
        }
    };
    let message = match RawJson::parse(line) {
        Ok(message) => message,
        Err((_, line)) => {
            let start = line.get(..line.len().min(200)).unwrap_or_default();
            tracing::debug!(%server, "not a message: {}", printable(start));
            return unusable(id_of(&line).as_ref().and_then(own_id), Unusable::Unreadable);
        }
    };
    let message = match peer.backlog.room(message.length()).await {
        Some(room) => message.guarded_by(room),
        None => message,
    };
    match ServerMessage::read(&message) {
        Some(ServerMessage::Request { id, method, params }) => {
            peer.asked(id, method, params, None, room)
        }
        Some(ServerMessage::Notification { method, params }) if peer.admits(&method) => {
            peer.notified(&method, params.as_ref());
        }
        Some(ServerMessage::Answer { id, reply }) => peer.answered(id, reply),
        Some(ServerMessage::Notification { .. }) | None => {}
    }
}
