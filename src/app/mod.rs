//! Floor 5: a running gateway.
//!
//! - [`run`]: from the settings to the end of the session.
//! - [`wiring`]: settings, runtime, gateway and records of any command. [`logging`]: the log.
//! - [`reload`]: new settings come into force. [`signals`], [`drain`]: how the gateway ends in time.
//! - [`sweep`]: abandoned holds are ended.

pub mod drain;
mod logging;
mod reload;
mod run;
mod signals;
mod sweep;
pub mod wiring;

pub use run::{Announcement, RunError, run};
pub use sweep::surely_abandoned;
