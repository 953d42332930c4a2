//! Accounts and holds that end, with a record each.

use std::time::Duration;

use super::{drafts, tx::LedgerTx};
use crate::domain::{
    ledger::{AccountId, Closed, HoldRefused, Step, Swept, close as closing},
    record::Draft,
};

/// Closes an account and all below it, with a record each.
pub(super) fn close(
    tx: &mut dyn LedgerTx,
    account: &AccountId,
    draft: &Draft,
) -> Step<Result<Vec<Closed>, HoldRefused>> {
    let closed = closing::close(tx.tables(), account)?;
    for closed in closed.iter().flatten() {
        tx.append(drafts::closed(closed, draft.clone()))?;
    }
    Ok(closed)
}

/// Ends what is over. What contradicts itself stays as it is, and is logged.
pub(super) fn sweep(tx: &mut dyn LedgerTx, now: i64, late: Duration, most: usize) -> Step<usize> {
    let late = i64::try_from(late.as_millis()).unwrap_or(i64::MAX);
    let Swept { ended, closed, faults } = closing::sweep_late(tx.tables(), now, late, most)?;
    faults.iter().for_each(|fault| tracing::error!("{fault}"));
    for (id, finished) in &ended {
        let status = Some("lost".to_owned());
        tx.append(drafts::finished(*id, finished, Draft { status, ..Draft::default() }))?;
    }
    for closed in &closed {
        let note = Some("it expired".to_owned());
        tx.append(drafts::closed(closed, Draft { note, ..Draft::default() }))?;
    }
    Ok(ended.len() + closed.len())
}
