//! The thread that owns the connection. It runs all waiting steps in one transaction.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use super::{
    file::{File, InPlace, StoreLocation},
    queue::Queue,
    transaction::Transaction,
};
use crate::{
    host::clock::{self, Clock},
    ledger::{
        answer::LedgerUnavailable,
        engine::{Job, Turn},
    },
};

/// The most steps in one transaction: more gain nothing, and would keep other processes waiting.
const MOST_STEPS: usize = 128;

/// After working this long without a pause, lets other processes write.
const TURN: Duration = Duration::from_millis(40);
/// How long that pause is: a process that waits for the file tries at least once in this time
/// (`file::patience`).
const REST: Duration = Duration::from_micros(3_200);

/// What became of each step of a transaction that was committed.
type Failures = Vec<Option<LedgerUnavailable>>;

pub(super) struct StoreThread {
    place: StoreLocation,
    clock: Clock,
    /// None until it is first needed, and after it failed.
    file: Option<File>,
}

impl StoreThread {
    pub(super) fn new(place: StoreLocation, clock: Clock) -> Self {
        Self { place, clock, file: None }
    }

    /// Runs steps until the queue is closed: a lone one at once, waiting ones together.
    pub(super) fn serve(&mut self, queue: &Queue) {
        let mut since = clock::instant();
        loop {
            if queue.is_quiet() {
                since = clock::instant();
            } else if since.elapsed() > TURN {
                thread::sleep(REST);
                since = clock::instant();
            }
            let mut jobs = queue.take(MOST_STEPS);
            if jobs.is_empty() {
                return;
            }
            let done = catch_unwind(AssertUnwindSafe(|| self.transact(&mut jobs)));
            let done = done.unwrap_or_else(|panic| {
                self.file = None;
                Err(unavailable(format!("the store panicked: {}", words(&*panic)), true))
            });
            match done {
                Ok(failures) => {
                    for (job, failed) in jobs.into_iter().zip(failures) {
                        job.answer(failed);
                    }
                }
                Err(failed) => {
                    jobs.into_iter().for_each(|job| job.answer(Some(failed.clone())));
                }
            }
        }
    }

    /// Runs steps in one transaction. If that fails, none of them was applied.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Failures, LedgerUnavailable> {
        let reads = jobs.iter().all(|job| job.turn() == Turn::Read);
        match self.file.as_ref().map(File::in_place) {
            Some(InPlace::Yes) | None => {}
            Some(InPlace::Reopen) => self.file = None,
            Some(InPlace::Close(unavailable)) => {
                self.file = None;
                return Err(unavailable);
            }
            Some(InPlace::Wait(unavailable)) => return Err(unavailable),
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.place)?,
        };
        let file = self.file.insert(file);
        let taken = file.begin(reads).and_then(|()| take(file, jobs, &self.clock));
        let taken = taken.and_then(|failures| file.commit().map(|()| failures));
        if taken.is_err() {
            file.roll_back();
        }
        // Opening the file again may help.
        if taken.is_err() || file.is_sour() {
            self.file = None;
        }
        taken
    }
}

fn take(
    file: &File,
    jobs: &mut [Box<dyn Job>],
    clock: &Clock,
) -> Result<Failures, LedgerUnavailable> {
    let mut tx = Transaction::new(file);
    let mut failures = Vec::with_capacity(jobs.len());
    for job in jobs {
        let now = clock();
        tx.begin(now);
        let taken = catch_unwind(AssertUnwindSafe(|| job.run(&mut tx, now)));
        let failed = match taken {
            Ok(Ok(())) => None,
            Ok(Err(broken)) => Some(file.contradicts(&broken)),
            Err(panic) => Some(unavailable(format!("a step panicked: {}", words(&*panic)), false)),
        };
        match &failed {
            None => tx.keep()?,
            Some(_) => tx.forget()?,
        }
        failures.push(failed);
    }
    tx.write()?;
    Ok(failures)
}

fn unavailable(cause: String, maybe_applied: bool) -> LedgerUnavailable {
    LedgerUnavailable { cause, maybe_applied }
}

/// The message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}
