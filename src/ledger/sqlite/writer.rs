//! The thread that owns the connection: it takes what waits into one transaction.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use super::{
    Place, Unavailable,
    file::{File, InPlace},
    queue::Queue,
    transaction::Transaction,
};
use crate::{
    domain::ledger::Broken,
    host::clock::{self, Clock},
    ledger::{Failure, LedgerTx},
};

/// So many steps are taken into one transaction at most: more gain nothing, and would keep other
/// processes waiting.
const MOST_STEPS: usize = 128;

/// After so long without a moment's rest it is the turn of other processes.
const TURN: Duration = Duration::from_millis(40);
/// Who waits for the file looks at least once in this time (`file::patience`).
const REST: Duration = Duration::from_micros(3_200);

/// A step of any type.
pub(super) trait Job: Send {
    /// Whether it writes nothing.
    fn looks(&self) -> bool;

    /// Whether somebody waits for it to be taken.
    fn is_urgent(&self) -> bool;

    /// Takes the step, and keeps what it answers.
    fn take(&mut self, tx: &mut dyn LedgerTx, now: i64) -> Result<(), Broken<Failure>>;

    /// Answers: what the step answered, or how it failed.
    fn answer(self: Box<Self>, failed: Option<Unavailable>);
}

/// What became of each step of a transaction that was committed.
type Failures = Vec<Option<Unavailable>>;

pub(super) struct Writer {
    place: Place,
    clock: Clock,
    /// None until it is first needed, and after it failed.
    file: Option<File>,
}

impl Writer {
    pub(super) fn new(place: Place, clock: Clock) -> Self {
        Self { place, clock, file: None }
    }

    /// Takes steps until nobody can give any more: a lone one at once, together what waits.
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

    /// Takes steps in one transaction. If that fails, none of them was taken.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Failures, Unavailable> {
        let looks = jobs.iter().all(|job| job.looks());
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
        let taken = file.begin(looks).and_then(|()| take(file, jobs, &self.clock));
        let taken = taken.and_then(|failures| file.commit().map(|()| failures));
        if taken.is_err() {
            file.roll_back();
        }
        // What failed once may be better when it is opened anew.
        if taken.is_err() || file.is_sour() {
            self.file = None;
        }
        taken
    }
}

fn take(file: &File, jobs: &mut [Box<dyn Job>], clock: &Clock) -> Result<Failures, Unavailable> {
    let mut desk = Transaction::new(file);
    let mut failures = Vec::with_capacity(jobs.len());
    for job in jobs {
        let now = clock();
        desk.begin(now);
        let taken = catch_unwind(AssertUnwindSafe(|| job.take(&mut desk, now)));
        let failed = match taken {
            Ok(Ok(())) => None,
            Ok(Err(broken)) => Some(file.contradicts(&broken)),
            Err(panic) => Some(unavailable(format!("a step panicked: {}", words(&*panic)), false)),
        };
        match &failed {
            None => desk.keep()?,
            Some(_) => desk.forget()?,
        }
        failures.push(failed);
    }
    desk.write()?;
    Ok(failures)
}

fn unavailable(cause: String, maybe_applied: bool) -> Unavailable {
    Unavailable { cause, maybe_applied }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}
