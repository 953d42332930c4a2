//! Closing accounts, and sweeping accounts and holds whose time is over.

use std::collections::BTreeSet;

use super::{
    AccountId, CLOCK_TOLERANCE, Failure, Step,
    account::Account,
    climb::climb,
    hold::end,
    holds::{Finish, Finished, HoldId, HoldRefused},
    inconsistent,
    rows::Tables,
    staged::{Staged, staged},
};
use crate::domain::credits::Credits;

/// An account that was closed, and what it had left, which went up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The account.
    pub account: AccountId,
    /// What it had left, with what those below it gave up before.
    pub returned: Credits,
}

/// Closes an account and all below it. What they have available, or are overdrawn by, goes up to the
/// nearest open account of those that gave it; their open holds live on, and what these do not spend
/// follows. Returns what was closed, the lowest first, without what was closed before.
pub fn close(tables: &mut dyn Tables, id: &AccountId) -> Step<Result<Vec<Closed>, HoldRefused>> {
    staged(tables, |rows| {
        let Some(account) = rows.account(id)? else {
            return Ok(Err(HoldRefused::NoAccount(id.clone())));
        };
        if account.parent.is_none() {
            return Ok(Err(HoldRefused::Root(id.clone())));
        }
        let mut closed = Vec::new();
        shut(rows, id, &mut closed)?;
        Ok(Ok(closed))
    })
}

/// [`close`], as part of a step.
fn shut(rows: &mut Staged<'_>, id: &AccountId, closed: &mut Vec<Closed>) -> Step<()> {
    if !rows.known(id)?.open {
        return Ok(());
    }
    for child in rows.children(id)? {
        shut(rows, &child, closed)?;
    }
    // What its children gave up is with it by now.
    let account = rows.known(id)?;
    rows.put_account(id, Account { open: false, ..account });
    let returned = climb(rows, id)?;
    closed.push(Closed { account: id.clone(), returned });
    Ok(())
}

/// What a sweep ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds.
    pub ended: Vec<(HoldId, Finished)>,
    /// Accounts.
    pub closed: Vec<Closed>,
    /// What could not be ended and was left as it is, and why.
    pub faults: Vec<String>,
}

/// How long a hold whose deadline a wrong clock wrote has from when the clock is right again.
const CORRECTED: i64 = 60_000;

/// Ends holds and accounts whose time is over, up to a limit of each. Returns which. Each is a step
/// of its own: one that fails keeps no other from its end.
pub fn sweep(tables: &mut dyn Tables, now: i64, most: usize) -> Step<Swept> {
    sweep_late(tables, now, 0, most)
}

/// [`sweep`], but for holds whose time is over by no more than some milliseconds: their gateways may
/// have slept, and have yet to extend them.
pub fn sweep_late(tables: &mut dyn Tables, now: i64, late: i64, most: usize) -> Step<Swept> {
    let Swept { mut ended, mut closed, mut faults } = Swept::default();
    let end_hold = |tables: &mut dyn Tables, id: &HoldId| {
        let Some(finished) = staged(tables, |rows| end(rows, *id, Finish::Lost))? else {
            return inconsistent(format!("hold {id} is overdue, and is missing"));
        };
        ended.push((*id, finished));
        Ok(())
    };
    let until = now.saturating_sub(late);
    let overdue = |tables: &mut dyn Tables, most| tables.overdue(until, most);
    each_due(tables, most, overdue, end_hold, &mut faults)?;
    let close_account = |tables: &mut dyn Tables, id: &AccountId| {
        closed.append(&mut staged(tables, |rows| {
            let mut closed = Vec::new();
            shut(rows, id, &mut closed)?;
            Ok(closed)
        })?);
        Ok(())
    };
    let expired = |tables: &mut dyn Tables, most| tables.expired(now, most);
    each_due(tables, most, expired, close_account, &mut faults)?;
    bring_back(tables, now, most, &mut faults)?;
    Ok(Swept { ended, closed, faults })
}

/// Brings deadlines back that a clock wrote which was ahead: their holds would stay for as long.
fn bring_back(
    tables: &mut dyn Tables,
    now: i64,
    most: usize,
    faults: &mut Vec<String>,
) -> Step<()> {
    for id in tables.due_after(now.saturating_add(CLOCK_TOLERANCE), most)? {
        match tables.hold(id) {
            Ok(Some(mut hold)) => {
                hold.deadline = now.saturating_add(CORRECTED);
                tables.put_hold(id, hold)?;
            }
            Ok(None) => faults.push(format!("hold {id} is open, and is missing")),
            Err(unread) => faults.push(format!("hold {id} cannot be read: {unread}")),
        }
    }
    Ok(())
}

/// Runs a step for each that is due, up to a limit. Those that cannot be read or are not true stay
/// due, and are asked for again and passed over, so that they never hide the others.
fn each_due<I: Ord + std::fmt::Debug>(
    tables: &mut dyn Tables,
    most: usize,
    due: impl Fn(&mut dyn Tables, usize) -> Result<Vec<I>, Failure>,
    mut step: impl FnMut(&mut dyn Tables, &I) -> Step<()>,
    faults: &mut Vec<String>,
) -> Step<()> {
    let mut left = most;
    let mut passed_over = BTreeSet::new();
    loop {
        let before = passed_over.len();
        for id in due(tables, left.saturating_add(before))? {
            if passed_over.contains(&id) {
                continue;
            }
            match step(tables, &id) {
                Ok(()) => left = left.saturating_sub(1),
                // Nothing of it was written; a store that cannot be written fails the whole sweep.
                Err(broken) => {
                    faults.push(format!("{id:?} is over and cannot be ended: {broken}"));
                    passed_over.insert(id);
                }
            }
        }
        if left == 0 || passed_over.len() == before {
            return Ok(());
        }
    }
}
