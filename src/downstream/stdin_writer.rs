//! Lines to a child's stdin, and how many of them it can have seen.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, process::ChildStdin};
use tokio_util::sync::CancellationToken;

use crate::host::mutex::Mutex;

/// A server that does not read its stdin for this long is cut off.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Writes to one child, one line at a time.
#[derive(Debug)]
pub(super) struct StdinWriter {
    /// None once closed, which the child sees as the end of its stdin.
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    sent: Mutex<Sent>,
    /// Cancelled when the stream to the server can no longer be used.
    broken: CancellationToken,
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
    calls: HashMap<i64, u64>,
    /// How much the server had read when it ended, if that is known.
    read: Option<u64>,
}

impl StdinWriter {
    pub(super) fn new(stdin: ChildStdin) -> Arc<Self> {
        Arc::new(Self {
            stdin: tokio::sync::Mutex::new(Some(stdin)),
            sent: Mutex::default(),
            broken: CancellationToken::new(),
        })
    }

    /// Writes a line, which may be that of a call. Once begun it has to be run to its end: half a
    /// line would spoil all that follow.
    ///
    /// # Errors
    /// The server cannot be written to any more.
    pub(super) async fn write(self: Arc<Self>, line: Vec<u8>, call: Option<i64>) -> io::Result<()> {
        let mut stdin = self.stdin.lock().await;
        let Some(open) = stdin.as_mut() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        self.note_begin(call);
        let written = async {
            open.write_all(&line).await?;
            open.flush().await
        };
        let written = tokio::time::timeout(WRITE_DEADLINE, written).await;
        self.note_end_of_line(line.len(), call, matches!(written, Ok(Ok(()))));
        match written {
            Ok(Ok(())) => Ok(()),
            failed => {
                // Half a line may be out: nothing that follows could be understood.
                *stdin = None;
                self.broken.cancel();
                failed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Waits until the server cannot be written to any more.
    pub(super) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Closes the stream. A write that hangs holds it open; the process is ended without waiting.
    pub(super) fn close(&self) {
        if let Ok(mut stdin) = self.stdin.try_lock() {
            *stdin = None;
        }
    }

    /// Whether the server may have seen the call; forgets it.
    pub(super) fn take_seen(&self, call: i64) -> Seen {
        let mut sent = self.sent.lock();
        match (sent.calls.remove(&call), sent.read) {
            (None, _) => Seen::NotWritten,
            (Some(begin), Some(read)) if read <= begin => Seen::NotRead,
            (Some(_), _) => Seen::Maybe,
        }
    }

    /// The server has closed its end: notes what it has left unread.
    pub(super) fn note_end(&self) {
        #[cfg(target_os = "linux")]
        if let Ok(stdin) = self.stdin.try_lock()
            && let Some(open) = stdin.as_ref()
            && let Ok(unread) = rustix::io::ioctl_fionread(open)
        {
            let mut sent = self.sent.lock();
            sent.read = Some(sent.written.saturating_sub(unread));
        }
    }

    /// Whether something was written and all of it has been read; None where that cannot be seen.
    pub(super) fn is_read(&self) -> Option<bool> {
        #[cfg(target_os = "linux")]
        {
            let stdin = self.stdin.try_lock().ok()?;
            let unread = rustix::io::ioctl_fionread(stdin.as_ref()?).ok()?;
            Some(self.sent.lock().written > 0 && unread == 0)
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// A line is about to be written: from now on the server may see it.
    fn note_begin(&self, call: Option<i64>) {
        let mut sent = self.sent.lock();
        let begin = sent.written;
        sent.calls.extend(call.map(|call| (call, begin)));
    }

    /// The line was written whole, or it was not: then the server cannot have understood it.
    fn note_end_of_line(&self, bytes: usize, call: Option<i64>, whole: bool) {
        let mut sent = self.sent.lock();
        if whole {
            sent.written += bytes as u64;
        } else if let Some(call) = call {
            sent.calls.remove(&call);
        }
    }
}
