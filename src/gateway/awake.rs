//! How long the machine slept. Clocks of the wall go on meanwhile, and gateways do not: after a sleep
//! their holds look abandoned until they have extended them.

use std::time::Duration;

use super::till::EXTEND_EVERY;

/// How much longer than [`EXTEND_EVERY`] a gateway may take to extend a hold, on a loaded machine.
const SLACK: Duration = Duration::from_secs(40);

/// How long a hold must be overdue before a process that has just begun may end it: then its gateway
/// was awake for long enough to extend it, whenever the machine slept. None where that is unknown.
pub fn surely_abandoned() -> Option<Duration> {
    Some(EXTEND_EVERY + SLACK + slept()?)
}

/// How long the machine has slept since it was started.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn slept() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| Duration::try_from(clock_gettime(clock)).ok();
    // Read in this order, so that the difference is never too small.
    let awake = read(ClockId::Monotonic)?;
    read(ClockId::Boottime)?.checked_sub(awake)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn slept() -> Option<Duration> {
    None
}
