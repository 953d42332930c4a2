//! A store in one SQLite file, which many processes share.
//!
//! One thread per handle owns the connection; steps reach it through a queue, in the order in which
//! they were given, and are answered after their transaction was committed.
//!
//! - [`writer`]: the thread: takes what waits into one transaction. [`file`]: the file: opened,
//!   checked, opened anew. [`desk`]: rows and records within one transaction, written at its end.
//!   [`rows`]: rows as SQL. [`schema`]: the tables.

mod desk;
mod file;
mod rows;
mod schema;
mod writer;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::{Answered, Book, Engine, Failure, Unavailable, memory::Clock};
use crate::domain::{
    budget::Durability,
    ledger::{Broken, Step},
};
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
    /// Leads to the thread, which begins with the first step; locked so that steps are queued in
    /// the order in which they were given.
    queue: Mutex<Option<mpsc::Sender<Box<dyn Job>>>>,
}

impl Sqlite {
    /// The store in that file, which is opened at the first step and need not be there.
    pub fn new(place: Place, clock: Clock) -> Self {
        Self { shared: Arc::new(Shared { place, clock, queue: Mutex::new(None) }) }
    }

    fn enqueue<T: Send + 'static>(
        &self,
        looks: bool,
        step: impl FnOnce(&mut dyn Book, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        let (to, answer) = oneshot::channel();
        self.shared.send(Box::new(Pending { looks, step: Some(step), outcome: None, to }));
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
        step: impl FnOnce(&mut dyn Book, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.enqueue(false, step)
    }

    fn look<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn Book, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.enqueue(true, step)
    }
}

/// Nobody knows how far the thread came with a step that it never answered.
fn ended() -> Unavailable {
    Unavailable { cause: "the thread of the store has ended".to_owned(), maybe_applied: true }
}

impl Shared {
    /// Queues a step. The first begins the thread, and so does one after a thread that has ended.
    fn send(&self, job: Box<dyn Job>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let unsent = match &*queue {
            Some(running) => running.send(job).err().map(|mpsc::SendError(job)| job),
            None => Some(job),
        };
        let Some(job) = unsent else { return };
        let (to, jobs) = mpsc::channel();
        let mut writer = Writer::new(self.place.clone(), self.clock.clone());
        let thread = thread::Builder::new().name("store".to_owned());
        match thread.spawn(move || writer.serve(&jobs)) {
            // A thread that has just begun takes what it is sent.
            Ok(_) => drop(to.send(job)),
            Err(error) => {
                let cause = format!("no thread can be started for the store: {error}");
                return job.answer(Some(Unavailable { cause, maybe_applied: false }));
            }
        }
        *queue = Some(to);
    }
}

/// A step on its way, and who waits for its answer.
struct Pending<T, F> {
    looks: bool,
    step: Option<F>,
    outcome: Option<T>,
    to: oneshot::Sender<Result<T, Unavailable>>,
}

impl<T, F> Job for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut dyn Book, i64) -> Step<T, Failure> + Send,
{
    fn looks(&self) -> bool {
        self.looks
    }

    fn take(&mut self, book: &mut dyn Book, now: i64) -> Result<(), Broken<Failure>> {
        if let Some(step) = self.step.take() {
            self.outcome = Some(step(book, now)?);
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
