//! Notices that the client has closed its end of a stream, also while nothing is read or written.

#[cfg(unix)]
use std::thread;

use tokio_util::sync::CancellationToken;

/// Whether the client has closed its end.
#[derive(Clone, Debug, Default)]
pub struct HangUp {
    /// Cancelled when the client will write nothing more to standard input. What it wrote can still
    /// be read.
    pub input: CancellationToken,
    /// Cancelled when standard output has no reader any more.
    pub output: CancellationToken,
}

impl HangUp {
    /// Waits until the client has hung up.
    pub async fn happened(&self) {
        tokio::select! { () = self.input.cancelled() => {}, () = self.output.cancelled() => {} }
    }

    /// Starts to watch, in a thread of its own, so that it works however busy the runtime is. The
    /// thread ends with the process.
    #[cfg(unix)]
    pub(super) fn watch(&self) {
        let hang_up = self.clone();
        // Without the thread, reading and writing notice it.
        let _ = thread::Builder::new().name("hang-up".into()).spawn(move || {
            while !hang_up.input.is_cancelled() && !hang_up.output.is_cancelled() {
                let Some((input, output)) = hung_up() else { return };
                if input {
                    hang_up.input.cancel();
                }
                if output {
                    hang_up.output.cancel();
                }
            }
        });
    }

    #[cfg(not(unix))]
    pub(super) fn watch(&self) {}
}

/// Waits until one of the streams has been closed at the other end; returns which.
#[cfg(unix)]
fn hung_up() -> Option<(bool, bool)> {
    use rustix::{
        event::{PollFd, PollFlags, poll},
        io::Errno,
        stdio::{stdin, stdout},
    };
    // A socket reports that only one direction was shut down if asked to.
    #[cfg(target_os = "linux")]
    let shut = PollFlags::RDHUP;
    #[cfg(not(target_os = "linux"))]
    let shut = PollFlags::empty();
    let mut streams = [
        PollFd::from_borrowed_fd(stdin(), shut),
        PollFd::from_borrowed_fd(stdout(), PollFlags::empty()),
    ];
    match poll(&mut streams, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => return None,
    }
    let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL | shut;
    let [input, output] = streams.map(|stream| stream.revents().intersects(gone));
    Some((input, output))
}
