//! JSON-RPC lines over a child's standard streams.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rmcp::{
    RoleClient,
    model::{ClientRequest, JsonRpcMessage, RequestId},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::Transport,
};
use tokio::{
    io::AsyncWriteExt,
    process::{ChildStdin, ChildStdout},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use super::{
    lines::Lines,
    stderr::printable,
    wire::{self, Answers, TOO_LONG, UNREADABLE, Wire, lost},
};
use crate::domain::{
    call::ServerName,
    frame::{Frame, MAX_MESSAGE_BYTES, id_of},
};

/// This many questions of a server may wait for their answers to be written; beyond that it is not
/// read from.
const MOST_QUESTIONS: usize = 64;

/// A server that does not read its stdin for this long is cut off.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// After this many messages that nobody waits for, other work gets its turn.
const NOISE_BEFORE_YIELD: u32 = 64;

/// What the transport and the calls above it both know of the traffic.
#[derive(Debug)]
pub(super) struct Traffic {
    server: ServerName,
    wire: Arc<Wire>,
    phase: Mutex<Answers>,
    sent: Mutex<Sent>,
    /// Cancelled when the stream to the server can no longer be used.
    broken: CancellationToken,
    /// Permits of the server's own requests, given back when their answers are written.
    questions: Arc<Semaphore>,
}

/// Whether a server may have seen a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The call was not written whole; it cannot have run.
    NotWritten,
    /// Not a byte of it was read when the server closed its stdout.
    NotRead,
    /// It may have run.
    Maybe,
}

/// How far the stream to the server has come, in bytes.
#[derive(Debug, Default)]
struct Sent {
    written: u64,
    /// Where each call that was written whole begins.
    calls: HashMap<RequestId, u64>,
    /// How much the server had read when it ended, if that is known.
    read: Option<u64>,
}

impl Traffic {
    pub(super) fn new(server: ServerName, wire: Arc<Wire>) -> Arc<Self> {
        Arc::new(Self {
            server,
            wire,
            phase: Mutex::new(Answers::Raw),
            sent: Mutex::default(),
            broken: CancellationToken::new(),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
        })
    }

    /// Whether the server may have seen the call; forgets it.
    pub(super) fn take_seen(&self, id: &RequestId) -> Seen {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match (sent.calls.remove(id), sent.read) {
            (None, _) => Seen::NotWritten,
            (Some(begin), Some(read)) if read <= begin => Seen::NotRead,
            (Some(_), _) => Seen::Maybe,
        }
    }

    /// A line is about to be written: from now on the server may see it.
    fn note_begin(&self, call: Option<&RequestId>) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = sent.written;
        sent.calls.extend(call.map(|id| (id.clone(), begin)));
    }

    /// The line was written whole, or it was not: then the server cannot have understood it.
    fn note_end_of_line(&self, bytes: usize, call: Option<&RequestId>, whole: bool) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if whole {
            sent.written += bytes as u64;
        } else if let Some(id) = call {
            sent.calls.remove(id);
        }
    }

    fn note_end(&self, unread: u64) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.read = Some(sent.written.saturating_sub(unread));
    }

    fn note_request(&self, id: &RequestId, request: &ClientRequest) {
        self.wire.begin(id, request);
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
    /// None once closed, which the child sees as the end of its stdin.
    write: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
}

impl Pipes {
    pub(super) fn new(stdin: ChildStdin, stdout: ChildStdout, traffic: Arc<Traffic>) -> Self {
        Self {
            traffic,
            lines: Lines::new(stdout, MAX_MESSAGE_BYTES),
            write: Arc::new(tokio::sync::Mutex::new(Some(stdin))),
        }
    }

    /// The server has closed its end: notes what it has left unread.
    fn end(&self) {
        #[cfg(target_os = "linux")]
        if let Ok(write) = self.write.try_lock()
            && let Some(stdin) = write.as_ref()
            && let Ok(unread) = rustix::io::ioctl_fionread(stdin)
        {
            self.traffic.note_end(unread);
        }
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
                    id_of(&line).and_then(|id| lost(UNREADABLE, &id))
                }
            },
            Frame::TooLong(id) => {
                tracing::warn!(server = %self.traffic.server, "a message of more than {MAX_MESSAGE_BYTES} bytes was passed over");
                id.and_then(|id| lost(TOO_LONG, &id))
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
        let (traffic, write) = (self.traffic.clone(), self.write.clone());
        let mut call = None;
        if let JsonRpcMessage::Request(request) = &message {
            traffic.note_request(&request.id, &request.request);
            call = matches!(request.request, ClientRequest::CallToolRequest(_))
                .then(|| request.id.clone());
        }
        let answers = matches!(message, JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_));
        async move {
            let mut line = wire::written(&message)?;
            line.push(b'\n');
            let mut write = write.lock().await;
            let Some(stdin) = write.as_mut() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            traffic.note_begin(call.as_ref());
            let written = async {
                stdin.write_all(&line).await?;
                stdin.flush().await
            };
            let written = tokio::time::timeout(WRITE_DEADLINE, written).await;
            traffic.note_end_of_line(line.len(), call.as_ref(), matches!(written, Ok(Ok(()))));
            if answers {
                traffic.questions.add_permits(1);
            }
            match written {
                Ok(Ok(())) => Ok(()),
                failed => {
                    // Half a line may be out: nothing that follows could be understood.
                    *write = None;
                    traffic.broken.cancel();
                    failed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                }
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        let broken = self.traffic.broken.clone();
        let mut noise = 0;
        loop {
            // Before the frame: what is taken from the stream must not be lost to a drop.
            let frame = async {
                let permit = self.traffic.questions.clone().acquire_owned().await.ok()?;
                Some((self.lines.next().await, permit))
            };
            let (frame, permit) = tokio::select! {
                frame = frame => frame?,
                () = broken.cancelled() => return None,
            };
            let Some(frame) = frame else {
                self.end();
                return None;
            };
            if let Some(message) = self.message(frame) {
                if matches!(message, JsonRpcMessage::Request(_)) {
                    // Given back when its answer is written.
                    permit.forget();
                }
                return Some(message);
            }
            noise += 1;
            if noise % NOISE_BEFORE_YIELD == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        // A write that hangs holds the lock; the process is ended without waiting for it.
        if let Ok(mut write) = self.write.try_lock() {
            *write = None;
        }
        Ok(())
    }
}
