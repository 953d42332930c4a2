//! Accounts and holds that end, with a record each.

use std::time::Duration;

use super::{drafts, tx::LedgerTx};
use crate::domain::{
    ledger::{AccountId, Closed, HoldRefused, Step, Swept, close},
    record::Draft,
};

/// Closes an account and all below it, with a record each.
pub(super) fn close(
    tx: &mut dyn LedgerTx,
    account: &AccountId,
    draft: &Draft,
) -> Step<Result<Vec<Closed>, HoldRefused>> {
    let closed = close::close(tx.tables(), account)?;
    for closed in closed.iter().flatten() {
        tx.append(drafts::closed(closed, draft.clone()))?;
    }
    Ok(closed)
}

/// Ends overdue holds and expired accounts, with a record each, and returns how many. Inconsistent
/// ones stay as they are and are logged.
pub(super) fn sweep(tx: &mut dyn LedgerTx, now: i64, late: Duration, most: usize) -> Step<usize> {
    let late = i64::try_from(late.as_millis()).unwrap_or(i64::MAX);
    let Swept { ended, closed, faults } = close::sweep_late(tx.tables(), now, late, most)?;
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
