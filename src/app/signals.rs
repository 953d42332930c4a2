//! Ends the gateway in good order on SIGTERM and SIGINT, and in time, whatever runs in it.

use std::{io, thread, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::serve::HangUp;

/// A gateway that is to end takes less.
const LONGEST_END: Duration = Duration::from_millis(4_900);

/// Cancels `shutdown` on a signal. If the process has not ended some time after that, or after the
/// client hung up, it is ended. In a thread with a runtime of its own, as the gateway's may be busy.
///
/// # Errors
/// Signals cannot be heard.
pub(super) fn start(shutdown: CancellationToken, hang_up: HangUp) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything that takes time: an early signal is heard as well.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let watch = async move {
        tokio::select! {
            () = signals.heard() => shutdown.cancel(),
            () = hang_up.happened() => {}
        }
        tokio::time::sleep(LONGEST_END).await;
        tracing::error!("the gateway did not end in time, and is ended as it is");
        std::process::exit(1);
    };
    thread::Builder::new().name("watchdog".into()).spawn(move || runtime.block_on(watch))?;
    Ok(())
}

/// SIGTERM and SIGINT; Ctrl-C elsewhere.
#[cfg(unix)]
struct Signals(tokio::signal::unix::Signal, tokio::signal::unix::Signal);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    }

    async fn heard(&mut self) {
        tokio::select! { _ = self.0.recv() => {}, _ = self.1.recv() => {} }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn heard(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
