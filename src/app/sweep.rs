//! Ends holds that were abandoned. While the machine sleeps, wall clocks go on and gateways do not:
//! afterwards their holds look abandoned until they have extended them.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::{
    gateway::{EXTEND_EVERY, Gateway},
    host::clock,
};

/// How often expired holds are swept, and how many at a time.
const FIRST_SWEEP: Duration = Duration::from_secs(1);
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const MOST_SWEPT: usize = 1_000;

/// How much longer than [`EXTEND_EVERY`] a gateway may take to extend a hold, on a loaded machine.
const SLACK: Duration = Duration::from_secs(40);

/// How long a hold must be overdue before a process that has just begun may end it: then its gateway
/// was awake for long enough to extend it, whenever the machine slept. None where that is unknown.
pub fn surely_abandoned() -> Option<Duration> {
    Some(EXTEND_EVERY + SLACK + slept()?)
}

/// Sweeps abandoned holds at intervals; never returns.
pub(super) async fn sweep(gateway: &Gateway) {
    // Not at once: a start has more urgent things to do.
    let first = clock::tokio_instant() + FIRST_SWEEP;
    let mut ticks = tokio::time::interval_at(first, SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Gateways that just woke have to say first which calls go on.
    const PAUSES: u64 = EXTEND_EVERY.as_secs().div_ceil(SWEEP_EVERY.as_secs()) + 1;
    let mut pauses = PAUSES;
    let mut late = surely_abandoned();
    let mut before = (clock::tokio_instant(), clock::system());
    loop {
        ticks.tick().await;
        gateway.retry_charges();
        let now = (clock::tokio_instant(), clock::system());
        let awake = now.0 - before.0;
        let passed = now.1.duration_since(before.1).unwrap_or_default();
        before = now;
        // The machine slept, or its clock was set.
        let jumped = passed > awake + SWEEP_EVERY;
        match pauses {
            _ if jumped => (pauses, late) = (PAUSES, None),
            0 => late = Some(Duration::ZERO),
            _ => pauses -= 1,
        }
        let Some(late) = late else { continue };
        match gateway.ledger().sweep_late(late, MOST_SWEPT).await {
            Ok(0) => {}
            Ok(ended) => {
                tracing::info!("ledger: {ended} holds and accounts ended as their time was over")
            }
            Err(unavailable) => tracing::warn!("the ledger cannot be swept: {unavailable}"),
        }
    }
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
