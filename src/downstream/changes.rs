//! Whether a server's tools have changed since they were listed.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Set by the transport, taken by whoever lists the tools again.
#[derive(Debug, Default)]
pub(super) struct Changes {
    changed: AtomicBool,
    told: Notify,
    /// The server could not report changes for a while.
    missed: AtomicBool,
}

/// A change that was taken. It stands again unless it is [`Taken::settled`]: the listing may fail,
/// or be dropped before its end.
pub(super) struct Taken<'a>(Option<&'a Changes>);

impl Changes {
    /// The tools have changed.
    pub(super) fn note(&self) {
        self.changed.store(true, Ordering::Release);
        self.told.notify_one();
    }

    /// The server cannot tell of changes until [`Self::subscribed`].
    pub(super) fn unsubscribed(&self) {
        self.missed.store(true, Ordering::Release);
    }

    /// The server reports changes from now on. The tools may have changed before.
    pub(super) fn subscribed(&self) {
        if self.missed.swap(false, Ordering::AcqRel) {
            self.note();
        }
    }

    /// The change, if there is one that was not taken yet.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        self.changed.swap(false, Ordering::AcqRel).then(|| Taken(Some(self)))
    }

    /// Waits for a change.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

impl Taken<'_> {
    /// The tools were listed.
    pub(super) fn settled(mut self) {
        self.0 = None;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(changes) = self.0 {
            changes.changed.store(true, Ordering::Release);
        }
    }
}
