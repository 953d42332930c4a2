//! Ends the gateway in good order on SIGTERM and SIGINT, and in time, whatever runs in it.

use std::{io, thread, time::Duration};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::serve::HangUp;

/// Longer than an orderly end takes.
const LONGEST_END: Duration = Duration::from_millis(4_900);

/// Cancels `shutdown` on a signal. Ends the process if it is still there some time after that, or
/// after the client hung up. Runs in a thread with a runtime of its own, as the gateway's may be busy.
///
/// # Errors
/// Signals cannot be received.
pub(super) fn start(shutdown: CancellationToken, hang_up: HangUp) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anything that takes time, so that an early signal counts as well.
    let mut signals = runtime.block_on(async { Signals::new() })?;
    let watch = async move {
        tokio::select! {
            () = signals.received() => shutdown.cancel(),
            () = hang_up.happened() => {}
        }
        tokio::time::sleep(LONGEST_END).await;
        tracing::error!("the gateway did not end in time; its process exits now");
        std::process::exit(1);
    };
    thread::Builder::new().name("watchdog".into()).spawn(move || runtime.block_on(watch))?;
    Ok(())
}

/// SIGTERM and SIGINT; Ctrl-C elsewhere.
struct Signals(#[cfg(unix)] [Signal; 2]);

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    #[cfg(unix)]
    async fn received(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self())
    }

    #[cfg(not(unix))]
    async fn received(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
