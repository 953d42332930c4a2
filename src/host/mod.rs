//! Floor 1: the machine.
//!
//! - [`clock`], [`random`]: the time, and random bytes. [`environment`]: what the process was started
//!   with.
//! - [`terminal`]: whether people watch. [`files`]: files for the user's eyes only, and
//!   those of the user that a command edits. [`lines`]: lines of bounded length. [`mutex`]: a lock
//!   without poisoning.
//! - [`http`]: the guarded HTTP client.
//! - [`children`]: child processes. [`activity`]: whether one still does something. `supervisor`,
//!   `tree`: how the whole tree of them ends. `leftovers`: what killed gateways left running.

pub mod activity;
pub mod children;
pub mod clock;
pub mod environment;
pub mod files;
pub mod http;
#[cfg(target_os = "linux")]
pub mod leftovers;
pub mod lines;
pub mod mutex;
pub mod random;
#[cfg(target_os = "linux")]
pub mod supervisor;
pub mod terminal;
#[cfg(target_os = "linux")]
pub mod tree;

/// Carried by every descendant of a server in its environment, so that processes that a killed
/// supervisor left are recognised.
pub const MARK_VARIABLE: &str = "TOLLGATE_CHILD";

/// Runs blocking work on a thread of its own; a panic in it continues here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that shuts down cancels such work, and it drops this task as well.
        Err(_) => std::future::pending().await,
    }
}
