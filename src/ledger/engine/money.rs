//! The steps that move credits: each is one transaction that writes its record.

use std::time::Duration;

use super::{drafts, tx::LedgerTx};
use crate::domain::{
    ledger::{
        AccountId, AccountKind, Adjusted, Balance, Broken, Closed, Declaration, Finish, Finished,
        Held, HoldId, HoldRefused, HoldRequest, Step, Swept, Transfer, TransferId, TransferRefused,
        Transferred, close as closing, declare as accounts, hold as holds, present,
        transfer as transfers,
    },
    record::{Draft, Event},
};

pub(super) fn declare(
    tx: &mut dyn LedgerTx,
    now: i64,
    declaration: &Declaration,
    draft: Draft,
) -> Step<Adjusted> {
    let before = drafts::declared(tx, declaration)?;
    let adjusted = accounts::declare(tx.tables(), declaration, now)?;
    if !adjusted.changed.is_empty() {
        let note = Some(adjusted.changed.join("; "));
        let mut accounts = drafts::declared(tx, declaration)?;
        accounts.retain(|account| !before.contains(account));
        tx.append(Draft { event: Event::Declare, accounts, note, ..draft })?;
    }
    Ok(adjusted)
}

pub(super) fn hold(
    tx: &mut dyn LedgerTx,
    now: i64,
    request: HoldRequest,
    draft: Draft,
) -> Step<Result<Held, HoldRefused>> {
    let (id, account, cost) = (request.id, request.account.clone(), request.amount);
    let held = holds::hold(tx.tables(), request, now)?;
    match &held {
        Ok(held) if held.replayed.is_some() => {}
        Ok(held) => tx.append(drafts::held(held, id, &account, cost, draft))?,
        Err(refused) => tx.append(drafts::refused(refused, account, cost, draft))?,
    }
    Ok(held)
}

pub(super) fn finish(
    tx: &mut dyn LedgerTx,
    id: HoldId,
    finish: Finish,
    draft: Draft,
) -> Step<Option<Finished>> {
    let finished = holds::finish(tx.tables(), id, finish)?;
    if let Some(finished) = finished.as_ref().filter(|finished| !finished.replayed) {
        tx.append(drafts::finished(id, finished, draft))?;
    }
    Ok(finished)
}

pub(super) fn transfer(
    tx: &mut dyn LedgerTx,
    now: i64,
    id: TransferId,
    asked: &Transfer,
    draft: Draft,
) -> Step<Result<Transferred, TransferRefused>> {
    let done = transfers::transfer(tx.tables(), id, asked, now)?;
    if let Some(done) = done.as_ref().ok().filter(|done| !done.replayed) {
        let draft = drafts::transferred(tx, asked, done, draft)?;
        tx.append(draft)?;
    }
    Ok(done)
}

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

/// What an account and those above it have.
pub(super) fn balance(tx: &mut dyn LedgerTx, now: i64, id: &AccountId) -> Step<Option<Balance>> {
    let Some(account) = present(tx.tables(), id, now)? else { return Ok(None) };
    let mut least = account.headroom(now);
    let mut next = account.clone();
    while let (AccountKind::Ceiling(_), Some(above)) = (&next.kind, &next.parent) {
        let Some(above) = present(tx.tables(), above, now)? else {
            return Err(Broken::Inconsistent(format!("nothing is above account {id:?}")));
        };
        least = [least, above.headroom(now)].into_iter().flatten().min();
        next = above;
    }
    Ok(Some(account.balance(id, least, now)))
}
