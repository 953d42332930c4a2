//! JSON-RPC lines over a child's standard streams.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::{
    RoleClient,
    model::{ClientRequest, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::process::ChildStdout;

use super::{
    lines::Lines,
    pen::Pen,
    questions::{Questions, answered_by},
    stderr::printable,
    wire::{self, Answers, TOO_LONG, UNREADABLE, Wire},
};
use crate::domain::{
    call::ServerName,
    frame::{Frame, MAX_MESSAGE_BYTES, id_of},
};

/// After this many messages that nobody waits for, other work gets its turn.
const NOISE_BEFORE_YIELD: u32 = 64;

/// What the transport and the calls above it both know of the traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    server: ServerName,
    wire: Arc<Wire>,
    phase: Mutex<Answers>,
    /// While there is no room for another question, the server is not read from.
    questions: Questions,
}

impl Traffic {
    pub(super) fn new(server: ServerName, wire: Arc<Wire>) -> Arc<Self> {
        Arc::new(Self {
            server,
            wire,
            phase: Mutex::new(Answers::Raw),
            questions: Questions::new(),
        })
    }

    fn note_request(&self, id: &RequestId, request: &ClientRequest) {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        *phase = if wire::is_handshake(request) {
            Answers::Typed(id.clone())
        } else if matches!(&*phase, Answers::Typed(_)) {
            Answers::Raw
        } else {
            return;
        };
    }

    fn noise(&self, line: &[u8]) {
        let start = line.get(..line.len().min(200)).unwrap_or_default();
        tracing::debug!(server = %self.server, "not a message: {}", printable(start));
    }
}

/// The two pipes of a child.
pub(super) struct Pipes {
    traffic: Arc<Traffic>,
    lines: Lines<ChildStdout>,
    pen: Arc<Pen>,
}

impl Pipes {
    pub(super) fn new(pen: Arc<Pen>, stdout: ChildStdout, traffic: Arc<Traffic>) -> Self {
        Self { traffic, lines: Lines::new(stdout, MAX_MESSAGE_BYTES), pen }
    }

    fn message(&self, frame: Frame) -> Option<RxJsonRpcMessage<RoleClient>> {
        match frame {
            Frame::Line(line) => match serde_json::from_slice(&line) {
                Ok(message) => {
                    let phase = &self.traffic.phase;
                    let phase = phase.lock().unwrap_or_else(PoisonError::into_inner);
                    self.traffic.wire.read(message, &phase)
                }
                Err(_) => {
                    self.traffic.noise(&line);
                    // Whatever else it is, it answers somebody who waits.
                    id_of(&line).and_then(|id| self.traffic.wire.lose(UNREADABLE, &id))
                }
            },
            Frame::TooLong(id) => {
                tracing::warn!(server = %self.traffic.server, "a message of more than {MAX_MESSAGE_BYTES} bytes was passed over");
                id.and_then(|id| self.traffic.wire.lose(TOO_LONG, &id))
            }
        }
    }
}

impl Transport<RoleClient> for Pipes {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (traffic, pen) = (self.traffic.clone(), self.pen.clone());
        if let JsonRpcMessage::Request(request) = &message {
            traffic.note_request(&request.id, &request.request);
        }
        let answers = answered_by(&message);
        async move {
            let mut line = wire::written(&message)?;
            line.push(b'\n');
            let written = pen.write(line, None).await;
            if let Some(question) = answers {
                traffic.questions.answered(&question);
            }
            written
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let pen = self.pen.clone();
        let mut noise = 0;
        loop {
            // Before the frame: what is taken from the stream must not be lost to a drop.
            let frame = async {
                let room = self.traffic.questions.room().await?;
                Some((self.lines.next().await, room))
            };
            let (frame, room) = tokio::select! {
                frame = frame => frame?,
                () = pen.broken() => {
                    self.traffic.wire.flights.end();
                    return None;
                }
            };
            let Some(frame) = frame else {
                pen.note_end();
                self.traffic.wire.flights.end();
                return None;
            };
            if let Some(message) = self.message(frame) {
                self.traffic.questions.heard(&message, Some(room));
                return Some(message);
            }
            noise += 1;
            if noise % NOISE_BEFORE_YIELD == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.pen.close();
        Ok(())
    }
}

impl Drop for Pipes {
    /// Nobody reads any more; whoever waits for an answer must not wait on.
    fn drop(&mut self) {
        self.traffic.wire.flights.end();
    }
}
