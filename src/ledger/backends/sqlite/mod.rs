//! A store in one SQLite file, which many processes share.
//!
//! One thread per handle owns the connection; steps reach it through a queue, in the order in which
//! they were submitted, and are answered after their transaction was committed.
//!
//! - [`queue`]: steps that wait for the thread. [`writer`]: the thread, which runs all that wait in
//!   one transaction. [`transaction`]: its rows and records, written at its end.
//! - [`file`]: the file: opened, checked, reopened. [`beside`]: the files that SQLite keeps beside it.
//! - [`schema`]: the tables. [`rows`], [`rights`], [`credentials`]: rows as SQL. [`takeover`]: what a file of an
//!   earlier version needs.

mod beside;
mod credentials;
mod file;
mod queue;
mod rights;
mod rows;
mod schema;
mod takeover;
mod transaction;
mod writer;

use std::{fmt, sync::Arc, thread};

use crate::{
    host::{clock::Clock, mutex::Mutex},
    ledger::{
        answer::LedgerUnavailable,
        engine::{Job, Ledger},
    },
};
pub use file::StoreLocation;
use queue::Queue;
use writer::StoreThread;

/// A store in a file. Clones share a queue and a connection.
#[derive(Clone)]
pub struct Sqlite {
    handle: Arc<Handle>,
}

struct Handle {
    place: StoreLocation,
    clock: Clock,
    queue: Arc<Queue>,
    /// Whether the thread runs. It starts with the first step.
    runs: Mutex<bool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Sqlite {
    /// The store in that file, which is opened at the first step and need not be there.
    pub fn new(place: StoreLocation, clock: Clock) -> Self {
        let (queue, runs) = (Arc::default(), Mutex::new(false));
        Self { handle: Arc::new(Handle { place, clock, queue, runs }) }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite({})", self.handle.place.path.display())
    }
}

impl Ledger for Sqlite {
    /// Queues a step. The first starts the thread.
    fn submit(&self, job: Box<dyn Job>) {
        let Handle { place, clock, queue, runs } = &*self.handle;
        let mut runs = runs.lock();
        if !*runs {
            let (own, mut writer) = (queue.clone(), StoreThread::new(place.clone(), clock.clone()));
            let thread = thread::Builder::new().name("store".to_owned());
            if let Err(error) = thread.spawn(move || writer.serve(&own)) {
                let cause = format!("no thread can be started for the store: {error}");
                return job.answer(Some(LedgerUnavailable::unchanged(cause)));
            }
            *runs = true;
        }
        drop(runs);
        queue.push(job);
    }

    fn share(&self) -> Arc<dyn Ledger> {
        Arc::new(self.clone())
    }
}
