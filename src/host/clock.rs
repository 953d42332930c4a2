//! The clocks of the machine. No other module asks for the time.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Returns the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// The wall clock of the machine.
pub fn wall_clock() -> Clock {
    Arc::new(now)
}

/// The wall clock, in milliseconds since 1970.
pub fn now() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

/// The wall clock, as the time since 1970.
pub fn since_1970() -> Duration {
    system().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock.
pub fn system() -> SystemTime {
    SystemTime::now()
}

/// A clock that never goes back. It may stand still while the machine sleeps.
pub fn instant() -> Instant {
    Instant::now()
}

/// The clock of the runtime's timers, for deadlines. Tests may pause it.
pub fn tokio_instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
