//! Floor 1: the machine.
//!
//! - [`clock`], [`random`]: the time, and random bytes. [`environment`]: what the process was started
//!   with.
//! - [`terminal`]: whether people watch. [`files`]: files for the user's eyes only. [`lines`]: lines of bounded length.
//! - `supervisor`, `tree`: child processes, and how the whole tree of them ends. `leftovers`: what
//!   killed gateways left running.

pub mod clock;
pub mod environment;
pub mod files;
#[cfg(target_os = "linux")]
pub mod leftovers;
pub mod lines;
pub mod random;
#[cfg(target_os = "linux")]
pub mod supervisor;
pub mod terminal;
#[cfg(target_os = "linux")]
pub mod tree;

/// Carried by every descendant of a server in its environment, so that processes that a killed
/// supervisor left are recognised.
pub const MARK_VARIABLE: &str = "TOLLGATE_CHILD";
