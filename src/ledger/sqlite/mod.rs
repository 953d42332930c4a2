//! A store in one SQLite file, which many processes share.
//!
//! One thread per handle owns the connection; steps reach it through a queue, in the order in which
//! they were given, and are answered after their transaction was committed.
//!
//! - [`queue`]: what waits for the thread. [`writer`]: the thread: takes what waits into one transaction. [`file`]: the file: opened,
//!   checked, opened anew. [`beside`]: what SQLite keeps beside it. [`transaction`]: rows and records within one transaction, written at its end.
//!   [`rows`]: rows as SQL. [`credentials`]: tokens, stamps and API keys. [`schema`]: the
//!   tables. [`takeover`]: what a file of an earlier version needs beside them.

mod beside;
mod credentials;
mod file;
mod queue;
mod rows;
mod schema;
mod takeover;
mod transaction;
mod writer;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{Answered, Engine, Failure, LedgerTx, Unavailable};
use crate::{
    domain::{
        budget::Durability,
        ledger::{Broken, Step},
    },
    host::clock::Clock,
};
use queue::Queue;
use writer::{Job, Writer};

/// Where a store is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The directory with the key that signs the end of the chain; a key of this process if None.
    pub keys: Option<PathBuf>,
    /// What a commit survives.
    pub durability: Durability,
}

/// A store in a file. Clones share a queue and a connection.
#[derive(Clone)]
pub struct Sqlite {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    clock: Clock,
    queue: Arc<Queue>,
    /// Whether the thread runs, which begins with the first step.
    runs: Mutex<bool>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Sqlite {
    /// The store in that file, which is opened at the first step and need not be there.
    pub fn new(place: Place, clock: Clock) -> Self {
        let (queue, runs) = (Arc::default(), Mutex::new(false));
        Self { shared: Arc::new(Shared { place, clock, queue, runs }) }
    }

    fn enqueue<T: Send + 'static>(
        &self,
        kind: StepKind,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        let (to, answer) = oneshot::channel();
        self.shared.send(Box::new(Pending { kind, step: Some(step), outcome: None, to }));
        answer.map(|answer| answer.unwrap_or_else(|_| Err(ended()))).boxed()
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqlite({})", self.shared.place.path.display())
    }
}

impl Engine for Sqlite {
    fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.enqueue(StepKind::Urgent, step)
    }

    fn run_soon<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.enqueue(StepKind::Leisurely, step)
    }

    fn look<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.enqueue(StepKind::Look, step)
    }
}

/// Nobody knows how far the thread came with a step that it never answered.
fn ended() -> Unavailable {
    Unavailable { cause: "the thread of the store has ended".to_owned(), maybe_applied: true }
}

impl Shared {
    /// Queues a step. The first begins the thread.
    fn send(&self, job: Box<dyn Job>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if !*runs {
            let queue = self.queue.clone();
            let mut writer = Writer::new(self.place.clone(), self.clock.clone());
            let thread = thread::Builder::new().name("store".to_owned());
            if let Err(error) = thread.spawn(move || writer.serve(&queue)) {
                let cause = format!("no thread can be started for the store: {error}");
                return job.answer(Some(Unavailable { cause, maybe_applied: false }));
            }
            *runs = true;
        }
        drop(runs);
        self.queue.push(job);
    }
}

/// How a step is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StepKind {
    /// At once.
    Urgent,
    /// With what comes next.
    Leisurely,
    /// At once; it writes nothing.
    Look,
}

/// A step on its way, and who waits for its answer.
struct Pending<T, F> {
    kind: StepKind,
    step: Option<F>,
    outcome: Option<T>,
    to: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send,
{
    fn looks(&self) -> bool {
        self.kind == StepKind::Look
    }

    fn is_urgent(&self) -> bool {
        self.kind != StepKind::Leisurely
    }

    fn take(&mut self, tx: &mut dyn LedgerTx, now: i64) -> Result<(), Broken<Failure>> {
        if let Some(step) = self.step.take() {
            self.outcome = Some(step(tx, now)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<Unavailable>) {
        let answer = match (failed, self.outcome) {
            (Some(unavailable), _) => Err(unavailable),
            (None, Some(outcome)) => Ok(outcome),
            (None, None) => Err(ended()),
        };
        // Who need not know dropped the other end.
        let _ = self.to.send(answer);
    }
}
