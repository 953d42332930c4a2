//! Steps that wait for the store's thread, in the order in which they were submitted.
//!
//! Steps that are not urgent wait a moment for one that is, and share its transaction, which halves
//! the cost of a call. The thread is not woken for them.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::host::clock;
use crate::ledger::engine::{Job, Turn};

/// How long a step that is not urgent may wait.
const LEISURE: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<QueuedJobs>,
    /// Wakes the thread.
    bell: Condvar,
}

#[derive(Default)]
struct QueuedJobs {
    jobs: VecDeque<Box<dyn Job>>,
    /// How many of them are urgent.
    urgent: usize,
    /// Whether the thread sleeps until it is called, and not just for a moment.
    asleep: bool,
    /// Nothing more is added.
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, job: Box<dyn Job>) {
        let mut waiting = self.lock();
        let urgent = is_urgent(&*job);
        waiting.urgent += usize::from(urgent);
        waiting.jobs.push_back(job);
        if urgent || waiting.asleep {
            self.bell.notify_one();
        }
    }

    /// The thread may end when everything that waits is taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_one();
    }

    /// Whether nothing urgent waits.
    pub(super) fn is_quiet(&self) -> bool {
        self.lock().urgent == 0
    }

    /// Waits for steps and takes up to `most`; none when the queue is closed and empty.
    pub(super) fn take(&self, most: usize) -> Vec<Box<dyn Job>> {
        let mut waiting = self.lock();
        let mut until = clock::instant() + LEISURE;
        while waiting.urgent == 0 && !waiting.closed {
            let left = until.saturating_duration_since(clock::instant());
            if !left.is_zero() {
                let woken = self.bell.wait_timeout(waiting, left);
                waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
            } else if waiting.jobs.is_empty() {
                waiting.asleep = true;
                waiting = self.bell.wait(waiting).unwrap_or_else(PoisonError::into_inner);
                waiting.asleep = false;
                // A step that is not urgent woke it: wait for others.
                until = clock::instant() + LEISURE;
            } else {
                break;
            }
        }
        let most = most.min(waiting.jobs.len());
        let taken: Vec<_> = waiting.jobs.drain(..most).collect();
        waiting.urgent -= taken.iter().filter(|job| is_urgent(&***job)).count();
        taken
    }

    fn lock(&self) -> MutexGuard<'_, QueuedJobs> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_urgent(job: &dyn Job) -> bool {
    job.turn() != Turn::Soon
}
