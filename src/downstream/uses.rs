//! How many use a server, and since when it is idle.

use std::time::Duration;

use crate::host::{clock, mutex::Mutex};
use tokio::{sync::Notify, time::Instant};

/// The uses of one server: calls, listings, starts.
#[derive(Debug)]
pub(super) struct Uses {
    /// Held only for looking and changing, never across an await.
    state: Mutex<UseCount>,
    /// Notified when the server is retired, and when the last use of a retired one ends.
    changed: Notify,
}

#[derive(Debug)]
struct UseCount {
    count: usize,
    /// When the last use ended; means nothing while there is one.
    ended: Instant,
    /// How long the server is kept without a use; for ever if None.
    keep: Option<Duration>,
}

/// The server is in use while this lives: it is not stopped for want of use.
#[derive(Debug)]
#[must_use]
pub struct Use<'a>(&'a Uses);

impl Uses {
    pub(super) fn new(keep: Option<Duration>) -> Self {
        let state = UseCount { count: 0, ended: clock::tokio_instant(), keep };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn begin(&self) -> Use<'_> {
        self.state.lock().count += 1;
        Use(self)
    }

    /// From now on the server is kept only while it is used.
    pub(super) fn retire(&self) {
        self.state.lock().keep = Some(Duration::ZERO);
        self.changed.notify_one();
    }

    /// Whether the server is kept no longer.
    pub(super) fn are_over(&self) -> bool {
        self.state.lock().over().is_some_and(|over| over <= clock::tokio_instant())
    }

    /// Waits until the server is kept no longer. It may be used again by the time this is known.
    pub(super) async fn over(&self) {
        while !self.are_over() {
            match self.next_look() {
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = self.changed.notified() => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// When it can be over at the earliest, unless [`Self::changed`] tells before.
    fn next_look(&self) -> Option<Instant> {
        let state = self.state.lock();
        let keep = state.keep.filter(|keep| !keep.is_zero())?;
        // A use that ends now begins the time anew, so calls need not tell of their end.
        Some(state.over().unwrap_or_else(|| clock::tokio_instant() + keep))
    }
}

impl UseCount {
    /// When the server is kept no longer, as far as that is known.
    fn over(&self) -> Option<Instant> {
        let keep = self.keep?;
        (self.count == 0).then(|| self.ended + keep)
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.count = state.count.saturating_sub(1);
        state.ended = clock::tokio_instant();
        if state.count == 0 && state.keep == Some(Duration::ZERO) {
            self.0.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::Uses;

    const SHORT: Duration = Duration::from_millis(20);

    /// Reached only by what hangs.
    const PATIENCE: Duration = Duration::from_secs(30);

    async fn stays(uses: &Uses) -> bool {
        timeout(5 * SHORT, uses.over()).await.is_err()
    }

    async fn ends(uses: &Uses) -> bool {
        timeout(PATIENCE, uses.over()).await.is_ok() && uses.are_over()
    }

    #[tokio::test]
    async fn a_server_is_kept_while_it_is_used() {
        let uses = Uses::new(Some(SHORT));
        let (one, two) = (uses.begin(), uses.begin());
        assert!(stays(&uses).await);
        drop(one);
        assert!(stays(&uses).await);
        drop(two);
        assert!(ends(&uses).await);
        let _again = uses.begin();
        assert!(!uses.are_over());
    }

    #[tokio::test]
    async fn idle_time_counts_from_the_last_use() {
        let uses = Uses::new(Some(PATIENCE));
        drop(uses.begin());
        assert!(stays(&uses).await);
        let uses = Uses::new(None);
        drop(uses.begin());
        assert!(stays(&uses).await);
    }

    #[tokio::test]
    async fn retired_server_lives_until_its_last_use_ends() {
        for keep in [None, Some(10 * PATIENCE)] {
            let uses = Uses::new(keep);
            let used = uses.begin();
            uses.retire();
            assert!(stays(&uses).await);
            let end = async {
                tokio::time::sleep(SHORT).await;
                drop(used);
            };
            assert!(tokio::join!(ends(&uses), end).0);
        }
    }

    #[tokio::test]
    async fn a_retirement_is_noticed_while_nothing_else_happens() {
        let uses = Uses::new(None);
        let retire = async {
            tokio::time::sleep(SHORT).await;
            uses.retire();
        };
        assert!(tokio::join!(ends(&uses), retire).0);
    }
}
