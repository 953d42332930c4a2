//! How holds end in the store, which may take a while.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio_util::task::TaskTracker;

use crate::{
    domain::{
        ledger::{Finish, Finished, HoldId, HoldState, Transfer, TransferId},
        record::Draft,
    },
    host::{mutex::Mutex, random},
    ledger::{Answered, Ledger, LedgerUnavailable},
};

/// How often what must be done is tried while the store cannot be used.
const TRIES: usize = 8;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How a hold is to end.
#[derive(Debug)]
pub(super) struct End {
    pub(super) id: HoldId,
    pub(super) finish: Finish,
    pub(super) draft: Draft,
}

/// Ends holds in the ledger; the same for all settings.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Settlements {
    ledger: Arc<dyn Ledger>,
    /// For holds that end after their call was answered.
    background: TaskTracker,
    charges: Arc<Charges>,
}

/// Charges that are on their way to the store. No call waits for them; whether they arrived is seen
/// when the next one leaves.
#[derive(Default)]
struct Charges(Mutex<VecDeque<(End, Answered<Option<Finished>>)>>);

impl std::fmt::Debug for Charges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Charges")
    }
}

impl Settlements {
    pub(in crate::gateway) fn new(ledger: Arc<dyn Ledger>, background: &TaskTracker) -> Self {
        Self { ledger, background: background.clone(), charges: Arc::default() }
    }

    pub(in crate::gateway) fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    pub(super) fn background(&self) -> &TaskTracker {
        &self.background
    }

    /// Charges for a call that was answered.
    pub(super) fn charge(&self, end: End) {
        let taken = self.ledger.finish(end.id, end.finish, end.draft.clone());
        self.charges.0.lock().push_back((end, taken));
        self.look_back();
    }

    /// Sees which charges have arrived; those that did not are tried again.
    pub(in crate::gateway) fn look_back(&self) {
        let mut charges = self.charges.0.lock();
        // They arrive in the order in which they left.
        while let Some((_, taken)) = charges.front_mut() {
            let Some(outcome) = taken.now_or_never() else { return };
            let Some((end, _)) = charges.pop_front() else { return };
            self.arrived(end, outcome);
        }
    }

    /// Waits until all charges have arrived, or are tried again.
    pub(in crate::gateway) async fn settle_up(&self) {
        let charges = std::mem::take(&mut *self.charges.0.lock());
        for (end, taken) in charges {
            let outcome = taken.await;
            self.arrived(end, outcome);
        }
    }

    fn arrived(&self, end: End, outcome: Result<Option<Finished>, LedgerUnavailable>) {
        if end.became(outcome).is_err() {
            let settlements = self.clone();
            self.background.spawn(async move { settlements.settle(end).await });
        }
    }

    /// Ends a hold, and tries again for a while if the store cannot be used. Returns what became of
    /// it.
    pub(super) async fn settle(&self, end: End) -> Option<HoldState> {
        for pause in pauses() {
            let outcome = self.ledger.finish(end.id, end.finish, end.draft.clone()).await;
            if let Ok(state) = end.became(outcome) {
                return state;
            }
            tokio::time::sleep(pause).await;
        }
        tracing::error!("hold {} was not ended; a sweep will charge it as lost", end.id);
        None
    }

    /// Gives back what a sweep charged for a call that was never sent. Returns what became of the
    /// hold.
    pub(super) async fn refund(&self, id: HoldId, draft: Draft) -> Option<HoldState> {
        let transfer = Transfer::Refund { hold: id.to_string(), amount: None };
        let transfer_id = TransferId(random::id());
        for pause in pauses() {
            let refunded = self.ledger.transfer(transfer_id, transfer.clone(), draft.clone()).await;
            match refunded {
                Ok(Ok(_)) => return Some(HoldState::Voided),
                Ok(Err(refused)) => {
                    tracing::warn!("hold {id} was swept and not refunded: {refused}");
                    return None;
                }
                Err(unavailable) => tracing::error!("hold {id} is not refunded yet: {unavailable}"),
            }
            tokio::time::sleep(pause).await;
        }
        None
    }
}

/// How long to wait after each try.
pub(in crate::gateway) fn pauses() -> impl Iterator<Item = Duration> {
    std::iter::successors(Some(FIRST_PAUSE), |pause| Some(*pause * 2)).take(TRIES)
}

impl End {
    /// What became of the hold; an error if the store could not say.
    fn became(
        &self,
        outcome: Result<Option<Finished>, LedgerUnavailable>,
    ) -> Result<Option<HoldState>, ()> {
        let id = self.id;
        match outcome {
            Ok(Some(Finished { state, replayed, .. })) => {
                if replayed {
                    let status = self.draft.status.as_deref().unwrap_or_default();
                    tracing::warn!(
                        "hold {id} was swept while its call ran, which ended with `{status}`: it stays as recorded"
                    );
                }
                Ok(Some(state))
            }
            Ok(None) => {
                tracing::error!("the end of hold {id} is not recorded: the store does not know it");
                Ok(None)
            }
            Err(unavailable) => {
                tracing::error!("hold {id} could not be ended, it is tried again: {unavailable}");
                Err(())
            }
        }
    }
}
