//! How fast a server may send notifications.

use std::time::{Duration, Instant};

use crate::{
    domain::call::ServerName,
    host::{clock, mutex::Mutex},
};

/// This many may come at once, after a silence.
const BURST: u32 = 2_000;

/// This many a second may come for ever.
const PER_SECOND: u32 = 500;

/// Dropped notifications are counted this long before they are logged.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// A bucket that fills with time; each notification takes a drop out of it.
#[derive(Debug)]
pub(super) struct Pace {
    /// For the log.
    server: ServerName,
    state: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
    /// Not logged yet.
    dropped: u64,
    logged: Option<Instant>,
}

impl Pace {
    pub(super) fn new(server: ServerName) -> Self {
        let state =
            Bucket { left: BURST.into(), filled: clock::instant(), dropped: 0, logged: None };
        Self { server, state: Mutex::new(state) }
    }

    /// Whether one more may pass now; if not, it is dropped.
    pub(super) fn admits(&self) -> bool {
        let mut state = self.state.lock();
        let (admitted, to_log) = state.take(clock::instant());
        drop(state);
        if let Some(dropped) = to_log {
            tracing::warn!(
                server = %self.server,
                "dropped {dropped} notifications: more than {PER_SECOND} a second"
            );
        }
        admitted
    }

    /// Whether one was dropped a moment ago.
    pub(super) fn is_exceeded(&self) -> bool {
        let state = self.state.lock();
        state.left < 1.0 && state.filled.elapsed() < Duration::from_millis(100)
    }
}

impl Bucket {
    /// Whether one may pass, and how many dropped ones are to be logged now.
    fn take(&mut self, now: Instant) -> (bool, Option<u64>) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * f64::from(PER_SECOND)).min(BURST.into());
        self.filled = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return (true, None);
        }
        self.dropped += 1;
        let due = self.logged.is_none_or(|logged| now - logged >= LOGGED_EVERY);
        if !due {
            return (false, None);
        }
        self.logged = Some(now);
        (false, Some(std::mem::take(&mut self.dropped)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::host::clock;

    use super::{BURST, Bucket, PER_SECOND, Pace};

    fn state(now: Instant) -> Bucket {
        let mut state = Pace::new("s".into()).state.into_inner();
        state.filled = now;
        state
    }

    #[test]
    fn a_burst_passes_and_then_a_steady_stream() {
        let begun = clock::instant();
        let mut state = state(begun);
        let burst = (0..10_000).filter(|_| state.take(begun).0).count();
        assert_eq!(burst, BURST as usize);
        let steady = (1..=10_000).filter(|ms| state.take(begun + Duration::from_millis(*ms)).0);
        assert!(steady.count().abs_diff(10 * PER_SECOND as usize) <= 1);
    }

    #[test]
    fn drops_are_all_counted_and_sometimes_logged() {
        let begun = clock::instant();
        let mut state = state(begun);
        let times = (0..100_000).map(|step| begun + Duration::from_micros(step * 250));
        let (mut dropped, mut logged, mut lines) = (0, 0, 0);
        for now in times {
            let (passed, to_log) = state.take(now);
            dropped += u64::from(!passed);
            logged += to_log.unwrap_or(0);
            lines += u32::from(to_log.is_some());
        }
        assert_eq!(lines, 3, "at once, after 10 s and after 20 s");
        assert_eq!(logged + state.dropped, dropped);
    }
}
