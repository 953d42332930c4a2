//! JSON-RPC lines over a child's standard streams.

use std::{io, sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{ClientRequest, ErrorData, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::process::ChildStdout;

use super::{
    findings::Unusable,
    negotiation::PROBE,
    questions::{Heard, Questions, Room, Said, repeated},
    stderr::printable,
    stdin_writer::StdinWriter,
    wire::{Answers, Wire, request_id, same},
};
use crate::{
    domain::{
        call::ServerName,
        frame::{Frame, MAX_MESSAGE_BYTES, id_of},
        json::RawJson,
    },
    host::lines::Lines,
};

/// After this many messages that nobody waits for, other work gets its turn.
const NOISE_BEFORE_YIELD: u32 = 64;

/// The same, if they are notifications that come too fast.
const PAUSE: Duration = Duration::from_millis(1);

/// The two pipes of a child.
pub(super) struct Pipes {
    server: ServerName,
    wire: Arc<Wire>,
    lines: Lines<ChildStdout>,
    writer: Arc<StdinWriter>,
    /// How the next result is handed up.
    answers: Answers,
    /// The request that opens the session, while it waits for its answer. A server that ignored the
    /// question before it for long may still answer that one.
    opening: Option<RequestId>,
    /// Where our own `server/discover` stands.
    probe: Probe,
    /// The next message to hand up, known before it was asked for.
    early: Option<RxJsonRpcMessage<RoleClient>>,
    /// What was read last, while it waits for room, or what is read as a message only if that fails.
    arrived: Option<Result<RawJson, Frame>>,
    /// While there is no room for another question, the server is not read from.
    questions: Arc<Questions>,
}

/// What became of the `server/discover` that is sent before rmcp takes the pipes over.
#[derive(Default)]
enum Probe {
    /// None was sent, or it waits for its answer, or its answer was used.
    #[default]
    Idle,
    /// The answer, for rmcp when it asks the same.
    Answered(Box<RxJsonRpcMessage<RoleClient>>),
    /// It was ignored for too long.
    GivenUp,
}

impl Pipes {
    pub(super) fn new(
        server: ServerName,
        wire: Arc<Wire>,
        writer: Arc<StdinWriter>,
        stdout: ChildStdout,
    ) -> Self {
        let lines = Lines::new(stdout, MAX_MESSAGE_BYTES);
        let (answers, questions) = (Answers::Raw, Questions::new());
        let (opening, probe) = (None, Probe::default());
        Self {
            server,
            wire,
            lines,
            writer,
            answers,
            opening,
            probe,
            early: None,
            arrived: None,
            questions,
        }
    }

    pub(super) fn writer(&self) -> &Arc<StdinWriter> {
        &self.writer
    }

    /// Keeps what the server answered to `server/discover`, so that it is not asked twice.
    pub(super) fn keep_discovered(&mut self, answer: RxJsonRpcMessage<RoleClient>) {
        self.probe = Probe::Answered(Box::new(answer));
    }

    /// The answer to `server/discover` is waited for no longer.
    pub(super) fn give_up_discover(&mut self) {
        self.probe = Probe::GivenUp;
    }

    /// What was kept of the server's answer to `server/discover`, as the answer to this request.
    fn discovered(&mut self, id: RequestId) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Probe::Answered(answer) = std::mem::take(&mut self.probe) else { return None };
        match *answer {
            JsonRpcMessage::Response(response) => {
                Some(JsonRpcMessage::response(response.result, id))
            }
            JsonRpcMessage::Error(error) => Some(JsonRpcMessage::error(error.error, Some(id))),
            _ => None,
        }
    }

    /// The next message, when there is room for it, or a line that is none; None at the end. Loses
    /// nothing if it is dropped.
    async fn arrival(&mut self) -> Option<Result<RawJson, Frame>> {
        if self.arrived.is_none() {
            self.arrived = Some(match self.lines.next().await? {
                Frame::Line(line) => RawJson::parse(line).map_err(|(_, line)| Frame::Line(line)),
                long @ Frame::TooLong(_) => Err(long),
            });
        }
        let length = match &self.arrived {
            Some(Ok(message)) => message.length(),
            _ => 0,
        };
        let room = self.wire.backlog.room(length).await;
        let arrived = self.arrived.take()?;
        Some(match room {
            Some(room) => arrived.map(|message| message.guarded_by(room)),
            None => arrived,
        })
    }

    fn message(&self, arrived: Result<RawJson, Frame>) -> Option<RxJsonRpcMessage<RoleClient>> {
        match arrived {
            Ok(message) => match self.refusal_of_opening(&message) {
                Some(refusal) => Some(refusal),
                None => self.wire.read(&message, &self.answers),
            },
            Err(Frame::Line(line)) => {
                self.noise(&line);
                // Whatever else it is, it answers somebody who waits.
                id_of(&line).and_then(|id| self.wire.lose(Unusable::Unreadable, &id))
            }
            Err(Frame::TooLong(id)) => {
                tracing::warn!(server = %self.server, "a message of more than {MAX_MESSAGE_BYTES} bytes was passed over");
                id.and_then(|id| self.wire.lose(Unusable::TooLong, &id))
            }
        }
    }

    /// A server that answers `server/discover` after all, when `initialize` was sent already, refuses
    /// that or goes on without it.
    fn refusal_of_opening(&self, message: &RawJson) -> Option<RxJsonRpcMessage<RoleClient>> {
        let opening = self.opening.as_ref().filter(|_| matches!(self.probe, Probe::GivenUp))?;
        let id = request_id(&message.member("id")?.tree(1).ok()?)?;
        let discovered = message.member("result")?.member("supportedVersions").is_some();
        (discovered && same(&PROBE, &id)).then(|| {
            let error = ErrorData::invalid_request("it has answered server/discover", None);
            JsonRpcMessage::error(error, Some(opening.clone()))
        })
    }

    /// Whether it answers what was asked before the session was opened.
    fn comes_too_late(&mut self, message: &RxJsonRpcMessage<RoleClient>) -> bool {
        let id = match message {
            JsonRpcMessage::Response(response) => Some(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref(),
            _ => None,
        };
        match (&self.opening, id) {
            (Some(opening), Some(id)) if opening == id => {
                self.opening = None;
                false
            }
            (Some(_), Some(_)) => true,
            _ => false,
        }
    }

    /// Refuses a question whose id is open. Keeps its room until the refusal is written, so a server
    /// that does not read is not read from either.
    fn refuse(&self, id: RequestId, room: Room) {
        tracing::debug!(server = %self.server, %id, "refused a request: its id is still open");
        let writer = self.writer.clone();
        tokio::spawn(async move {
            // A server that cannot be written to is noticed as such.
            let _ = write(&writer, &repeated(id)).await;
            drop(room);
        });
    }

    fn noise(&self, line: &[u8]) {
        let start = line.get(..line.len().min(200)).unwrap_or_default();
        tracing::debug!(server = %self.server, "not a message: {}", printable(start));
    }
}

async fn write(
    writer: &Arc<StdinWriter>,
    message: &TxJsonRpcMessage<RoleClient>,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.clone().write(line, None).await
}

impl Transport<RoleClient> for Pipes {
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let writer = self.writer.clone();
        let mut known = false;
        if let JsonRpcMessage::Request(request) = &message {
            if matches!(request.request, ClientRequest::DiscoverRequest(_)) {
                self.early = self.discovered(request.id.clone());
                known = self.early.is_some();
            }
            self.wire.begin(&request.id, &request.request);
            self.answers = Answers::to(&request.id, &request.request);
            if matches!(request.request, ClientRequest::InitializeRequest(_)) {
                self.opening = Some(request.id.clone());
            }
        }
        let said = self.questions.said(&message);
        async move {
            if known {
                return Ok(());
            }
            let _answering = match said {
                Said::TooLate => return Ok(()),
                Said::Answer(answering) => Some(answering),
                Said::Plain => None,
            };
            write(&writer, &message).await
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        if let Some(early) = self.early.take() {
            return Some(early);
        }
        let writer = self.writer.clone();
        let mut noise = 0;
        loop {
            // Before the frame: what is taken from the stream must not be lost to a drop.
            let frame = async {
                let room = self.questions.room().await?;
                Some((self.arrival().await, room))
            };
            let (frame, room) = tokio::select! {
                frame = frame => frame?,
                () = writer.broken() => {
                    self.wire.pending_calls.end();
                    return None;
                }
            };
            let Some(frame) = frame else {
                writer.note_end();
                self.wire.pending_calls.end();
                return None;
            };
            let message = self.message(frame).filter(|message| !self.comes_too_late(message));
            if let Some(message) = message {
                match self.questions.heard(&message, Some(room)) {
                    Heard::Passed => return Some(message),
                    Heard::Repeated(id, room) => self.refuse(id, room),
                    Heard::Dropped => {}
                }
            }
            noise += 1;
            if noise % NOISE_BEFORE_YIELD == 0 {
                match self.wire.is_flooded() {
                    true => tokio::time::sleep(PAUSE).await,
                    false => tokio::task::yield_now().await,
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.close();
        Ok(())
    }
}

impl Drop for Pipes {
    /// Nobody reads any more; whoever waits for an answer must not wait on.
    fn drop(&mut self) {
        self.wire.pending_calls.end();
    }
}
