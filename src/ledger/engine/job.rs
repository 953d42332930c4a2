//! Steps on their way to a store, and their answers on the way back.

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::tx::LedgerTx;
use crate::{
    domain::ledger::Step,
    ledger::answer::{Answered, LedgerUnavailable},
};

/// When a step is run. Steps run in the order in which they were submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// Within a few milliseconds, with the next step: no one waits for it.
    Soon,
    /// At once. It writes nothing, and need not keep other processes from writing.
    Read,
}

/// A step of any type, and where its answer goes.
pub trait Job: Send {
    /// When it is to be run.
    fn turn(&self) -> Turn;

    /// Runs the step, at a moment in milliseconds since 1970, and keeps what it returns.
    ///
    /// # Errors
    /// Nothing of the step may be kept.
    fn run(&mut self, tx: &mut dyn LedgerTx, now: i64) -> Step<()>;

    /// Sends the answer: what the step returned, or how it failed.
    fn answer(self: Box<Self>, failed: Option<LedgerUnavailable>);
}

struct TypedJob<T, F> {
    turn: Turn,
    step: Option<F>,
    outcome: Option<T>,
    to: oneshot::Sender<Result<T, LedgerUnavailable>>,
}

/// A step as a job, and its answer.
pub(super) fn job<T: Send + 'static>(
    turn: Turn,
    step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T> + Send + 'static,
) -> (Box<dyn Job>, Answered<T>) {
    let (to, answer) = oneshot::channel();
    let answer = answer.map(|answer| answer.unwrap_or_else(|_| Err(unanswered())));
    (Box::new(TypedJob { turn, step: Some(step), outcome: None, to }), answer.boxed())
}

/// No one knows how far the store came with a step that it never answered.
fn unanswered() -> LedgerUnavailable {
    LedgerUnavailable { cause: "the thread of the store has ended".to_owned(), maybe_applied: true }
}

impl<T, F> Job for TypedJob<T, F>
where
    T: Send,
    F: FnOnce(&mut dyn LedgerTx, i64) -> Step<T> + Send,
{
    fn turn(&self) -> Turn {
        self.turn
    }

    fn run(&mut self, tx: &mut dyn LedgerTx, now: i64) -> Step<()> {
        if let Some(step) = self.step.take() {
            self.outcome = Some(step(tx, now)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, failed: Option<LedgerUnavailable>) {
        let Self { outcome, to, .. } = *self;
        let answer = match failed {
            Some(unavailable) => Err(unavailable),
            None => outcome.ok_or_else(unanswered),
        };
        // A caller that does not need the answer dropped the other end.
        let _ = to.send(answer);
    }
}
