//! The record of each step: the caller's draft, and what the step adds.

use super::tx::LedgerTx;
use crate::domain::{
    credits::Credits,
    ledger::{
        Account, AccountId, AccountKind, Closed, Declaration, Finished, Held, HoldId, HoldRefused,
        HoldState, Step, Transfer, Transferred,
    },
    record::{AccountState, Decision, Draft, Event},
};

pub(super) fn held(
    held: &Held,
    id: HoldId,
    account: &AccountId,
    cost: Credits,
    draft: Draft,
) -> Draft {
    let decision = if held.over.is_some() { Decision::OverBudget } else { Decision::Allowed };
    Draft {
        event: Event::Hold,
        decision: Some(decision),
        hold: Some(id.to_string()),
        account: Some(account.as_str().to_owned()),
        cost: Some(cost.amount()),
        remaining: held.remaining.map(Credits::amount),
        ..draft
    }
}

pub(super) fn refused(
    refused: &HoldRefused,
    account: AccountId,
    cost: Credits,
    draft: Draft,
) -> Draft {
    let shadow = draft.mode.as_deref() == Some("shadow");
    let short = match refused {
        HoldRefused::Short(short) => Some(short),
        _ => None,
    };
    let account = short.map_or(account, |short| short.account.clone());
    Draft {
        event: Event::Refusal,
        decision: Some(if shadow { Decision::WouldRefuse } else { Decision::Refused }),
        code: Some(refused.code().to_owned()),
        account: Some(account.as_str().to_owned()),
        cost: Some(cost.amount()),
        remaining: short.map(|short| short.remaining.amount()),
        note: short.is_none().then(|| refused.to_string()),
        ..draft
    }
}

pub(super) fn finished(id: HoldId, finished: &Finished, draft: Draft) -> Draft {
    let (event, cost, uncertain) = match finished.state {
        HoldState::Posted { amount, uncertain, .. } => (Event::Post, amount, uncertain),
        HoldState::Voided | HoldState::Open => (Event::Void, Credits::ZERO, false),
    };
    let about = finished.about.clone();
    Draft {
        event,
        agent: Some(about.agent),
        server: Some(about.server),
        tool: Some(about.tool),
        hold: Some(id.to_string()),
        account: Some(finished.account.as_str().to_owned()),
        cost: Some(cost.amount()),
        uncertain,
        ..draft
    }
}

pub(super) fn transferred(
    tx: &mut dyn LedgerTx,
    asked: &Transfer,
    done: &Transferred,
    draft: Draft,
) -> Step<Draft> {
    let (event, hold, note, opened) = match asked {
        Transfer::Mint { .. } => (Event::Grant, None, None, None),
        Transfer::Carve { to, .. } => {
            (Event::Delegate, None, Some(to.as_str().to_owned()), account(tx, to)?)
        }
        Transfer::Cap { from, to, .. } => {
            (Event::Cap, None, Some(format!("below {from}")), account(tx, to)?)
        }
        Transfer::Refund { hold, .. } => (Event::Refund, Some(hold.clone()), None, None),
    };
    Ok(Draft {
        event,
        hold,
        account: Some(done.account.as_str().to_owned()),
        // A ceiling moves nothing; what it has left is all of its limit.
        cost: (event != Event::Cap).then(|| done.amount.amount()),
        remaining: done.remaining.map(Credits::amount),
        accounts: opened.into_iter().collect(),
        note: draft.note.clone().or(note),
        ..draft
    })
}

pub(super) fn closed(closed: &Closed, draft: Draft) -> Draft {
    Draft {
        event: Event::Close,
        account: Some(closed.account.as_str().to_owned()),
        cost: Some(closed.returned.amount()),
        ..draft
    }
}

/// The accounts of a declaration that are there.
pub(super) fn declared(
    tx: &mut dyn LedgerTx,
    declaration: &Declaration,
) -> Step<Vec<AccountState>> {
    let all = declaration.accounts().iter().map(|declared| account(tx, &declared.id));
    all.filter_map(Step::transpose).collect()
}

fn account(tx: &mut dyn LedgerTx, id: &AccountId) -> Step<Option<AccountState>> {
    Ok(tx.tables().account(id)?.map(|account| state_of(id, &account)))
}

/// The state of an account that a step opened or changed, recorded so that it can be replayed.
fn state_of(id: &AccountId, account: &Account) -> AccountState {
    let state = AccountState {
        id: id.as_str().to_owned(),
        parent: account.parent.as_ref().map(|parent| parent.as_str().to_owned()),
        expires: account.expires,
        closed: !account.open,
        ..AccountState::default()
    };
    let amount = |amount: Credits| Some(amount.amount());
    match &account.kind {
        AccountKind::Funded(funds) => AccountState {
            issued: amount(funds.issued),
            declared: amount(funds.declared),
            unlimited: funds.unlimited,
            ..state
        },
        AccountKind::Ceiling(ceiling) => AccountState {
            cap: amount(ceiling.limit),
            period: ceiling.period,
            window: Some(ceiling.window).filter(|window| *window != 0),
            ..state
        },
    }
}
