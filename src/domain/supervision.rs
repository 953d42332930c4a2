//! When a server that ended, or did not start, may be started again.
//!
//! Other code starts servers, when they are needed; this says when it must not. Time is measured from
//! any fixed start, such as the gateway's.

use std::{fmt, time::Duration};

/// A server that ends sooner than this after it came up has not worked.
pub const STEADY: Duration = Duration::from_secs(5);

/// The pause in seconds after each setback in a row. The first restart after a death is immediate; a
/// failed start is not repeated at once.
const BACKOFF: [u64; 6] = [0, 2, 4, 6, 8, 10];

/// After those the circuit opens for this long, and twice as long after each failed trial, up to
/// [`LONGEST_OPEN`]: long enough to cost nothing, short enough for a person who has just repaired
/// the server.
const FIRST_OPEN: Duration = Duration::from_secs(30);

const LONGEST_OPEN: Duration = Duration::from_secs(5 * 60);

/// The starts and ends of one server.
///
/// A setback is a failed start, or a death within [`STEADY`] of coming up. They are counted until
/// the server has worked: it stayed up that long, or it answered a call. A server that answers one
/// call per start and then dies is still useful, and is started no more often than it is useful.
#[derive(Debug, Default)]
pub struct Supervision {
    phase: RunState,
    /// In a row; decides how long the next pause is.
    setbacks: usize,
    failed_starts: usize,
    early_deaths: usize,
    /// No start before this.
    not_before: Duration,
    deaths: u64,
}

#[derive(Debug, Default)]
enum RunState {
    #[default]
    Down,
    Starting,
    Up {
        since: Duration,
    },
}

/// Permission to start the server once. Only one exists at a time, so a half-open circuit sees a
/// single trial.
#[derive(Debug)]
#[must_use]
pub struct Attempt(());

/// Why no start is tried now, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The time until the next trial; zero while one is under way, whose outcome all share.
    pub left: Duration,
    failed_starts: usize,
    early_deaths: usize,
}

impl Supervision {
    /// Permission to start the server.
    ///
    /// # Errors
    /// Why it is not started now.
    pub fn begin(&mut self, now: Duration) -> Result<Attempt, Pause> {
        if !matches!(self.phase, RunState::Down) {
            return Err(self.pause_for(Duration::ZERO));
        }
        match self.pause(now) {
            Some(pause) => Err(pause),
            None => {
                self.phase = RunState::Starting;
                Ok(Attempt(()))
            }
        }
    }

    /// The pause that lasts now, if one does.
    pub fn pause(&self, now: Duration) -> Option<Pause> {
        let left = self.not_before.saturating_sub(now);
        (matches!(self.phase, RunState::Down) && !left.is_zero()).then(|| self.pause_for(left))
    }

    /// The start has succeeded.
    pub fn came_up(&mut self, _attempt: Attempt, now: Duration) {
        self.phase = RunState::Up { since: now };
    }

    /// The start has failed.
    pub fn failed(&mut self, _attempt: Attempt, now: Duration) {
        self.failed_starts += 1;
        self.setbacks = self.setbacks.max(1);
        self.set_back(now);
    }

    /// The server has ended by itself.
    pub fn died(&mut self, now: Duration) {
        self.deaths += 1;
        match self.is_steady(now) {
            true => self.clear(),
            false => self.early_deaths += 1,
        }
        self.set_back(now);
    }

    /// The server has answered a call. Its death may have been noticed before its last answer was.
    pub fn answered(&mut self) {
        self.clear();
        if !matches!(self.phase, RunState::Up { .. }) {
            self.setbacks = 1;
            self.not_before = Duration::ZERO;
        }
    }

    /// The server was stopped because it was idle: no setback, the next start waits for nothing.
    pub fn stopped_idle(&mut self, now: Duration) {
        if self.is_steady(now) {
            self.clear();
        }
        self.phase = RunState::Down;
    }

    /// How often the server has ended by itself.
    pub fn deaths(&self) -> u64 {
        self.deaths
    }

    fn is_steady(&self, now: Duration) -> bool {
        matches!(self.phase, RunState::Up { since } if now.saturating_sub(since) >= STEADY)
    }

    fn clear(&mut self) {
        (self.setbacks, self.failed_starts, self.early_deaths) = (0, 0, 0);
    }

    fn set_back(&mut self, now: Duration) {
        self.phase = RunState::Down;
        self.not_before = now + pause_after(self.setbacks);
        self.setbacks += 1;
    }

    fn pause_for(&self, left: Duration) -> Pause {
        let (failed_starts, early_deaths) = (self.failed_starts, self.early_deaths);
        Pause { left, failed_starts, early_deaths }
    }
}

/// How long no start is tried after that many setbacks and one more.
fn pause_after(setbacks: usize) -> Duration {
    match BACKOFF.get(setbacks) {
        Some(&seconds) => Duration::from_secs(seconds),
        None => {
            // Five minutes are reached long before this many doublings.
            let doublings = u32::try_from(setbacks - BACKOFF.len()).unwrap_or(u32::MAX).min(16);
            FIRST_OPEN.saturating_mul(1 << doublings).min(LONGEST_OPEN)
        }
    }
}

impl Pause {
    /// In milliseconds, never less than there are.
    pub fn left_ms(&self) -> u64 {
        u64::try_from(self.left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// In words for an agent.
impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deaths =
            format!("{} within {} s of its start", times(self.early_deaths), STEADY.as_secs());
        match (self.failed_starts, self.early_deaths) {
            (failed, 0) => write!(f, "it failed to start {}", times(failed))?,
            (0, _) => write!(f, "it died {deaths}")?,
            (failed, _) => write!(f, "it failed to start {} and died {deaths}", times(failed))?,
        }
        match self.left.as_nanos().div_ceil(1_000_000_000) {
            0 => write!(f, "; a trial is under way"),
            seconds => write!(f, "; next trial in {seconds} s"),
        }
    }
}

fn times(count: usize) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        more => format!("{more} times"),
    }
}

#[cfg(test)]
mod tests;
