//! How long a call may take.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::refusal::Refusal,
    downstream::{LONGEST_START, Member},
    host::clock,
};

/// How long a call may still take, unless its client cancels it first.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    begun: Instant,
    /// The `timeout_ms` of the call. It counts from the beginning of the call, a start included.
    timeout: Option<Duration>,
    /// The timeout of the server. It bounds the start and the call, each by itself.
    server: Duration,
    /// Whether a start is waited for to its end. A command of the shell does, which would end it.
    waits_for_start: bool,
    pub(super) cancel: CancellationToken,
}

impl Deadline {
    pub(super) fn new(waits_for_start: bool, cancel: CancellationToken) -> Self {
        let (begun, server) = (clock::tokio_instant(), Duration::MAX);
        Self { begun, timeout: None, server, waits_for_start, cancel }
    }

    /// The deadline of a call with this `timeout_ms`.
    pub(super) fn shortened_by(self, timeout: Option<Duration>) -> Self {
        Self { timeout, ..self }
    }

    /// The deadline of a call to this server, which the caller can only shorten.
    pub(super) fn of(&self, member: &Member) -> Self {
        Self { server: member.spec().timeout, ..self.clone() }
    }

    /// A start that was waited for to its end takes nothing from the time of the call.
    pub(super) fn note_started(&mut self) {
        if self.waits_for_start {
            self.begun = clock::tokio_instant();
        }
    }

    /// The whole time, in milliseconds.
    pub(super) fn whole_ms(&self) -> u64 {
        u64::try_from(self.whole().as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the server has to come up and list its tools.
    pub(super) fn for_start(&self) -> Duration {
        if self.waits_for_start { LONGEST_START + self.whole() } else { self.left() }
    }

    /// When `timeout_ms` is over, if it is shorter than the timeout of the server.
    pub(super) fn until(&self) -> Option<Instant> {
        Some(self.begun + self.timeout.filter(|timeout| *timeout < self.server)?)
    }

    pub(super) fn left(&self) -> Duration {
        self.until().map_or(self.server, rest)
    }

    /// The rest of `timeout_ms`, if the call has one.
    pub(super) fn left_of_timeout(&self) -> Option<Duration> {
        Some(rest(self.begun + self.timeout?))
    }

    fn whole(&self) -> Duration {
        self.timeout.map_or(self.server, |timeout| timeout.min(self.server))
    }

    /// Waits for work unless the call is cancelled first.
    pub(super) async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, Refusal> {
        tokio::select! {
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(Refusal::Cancelled),
        }
    }
}

fn rest(until: Instant) -> Duration {
    until.saturating_duration_since(clock::tokio_instant())
}
