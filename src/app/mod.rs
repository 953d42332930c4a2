//! Floor 5: a running gateway.
//!
//! - [`session`]: settings, runtime and gateway of a command. [`logging`]: the log.
//! - [`reload`]: new settings come into force. [`signals`]: how the gateway ends in time.

pub mod logging;
pub mod reload;
pub mod session;
pub mod signals;
