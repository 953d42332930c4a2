//! What waits for the thread of the store, in the order in which it was given.
//!
//! Some steps need not be taken at once. They wait a moment for one that must, and share its
//! transaction, which halves what a call costs. The thread is not woken for them.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::writer::Job;
use crate::host::clock;

/// So long a step that is not urgent may wait.
const LEISURE: Duration = Duration::from_millis(5);

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Rung for the thread.
    bell: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Box<dyn Job>>,
    /// How many of them are urgent.
    urgent: usize,
    /// Whether the thread sleeps until it is called, and not just for a moment.
    asleep: bool,
    /// Nothing is added any more.
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, job: Box<dyn Job>) {
        let mut waiting = self.lock();
        let urgent = job.is_urgent();
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

    /// Waits for steps and takes so many at most; none when the queue is closed and empty.
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
                // What woke it may have its moment as well.
                until = clock::instant() + LEISURE;
            } else {
                break;
            }
        }
        let most = most.min(waiting.jobs.len());
        let taken: Vec<_> = waiting.jobs.drain(..most).collect();
        waiting.urgent -= taken.iter().filter(|job| job.is_urgent()).count();
        taken
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
