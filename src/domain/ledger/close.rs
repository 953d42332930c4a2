//! What ends by a command or by time: accounts that are closed, holds that nobody ends.

use std::collections::BTreeSet;

use super::{
    Account, AccountId, CLOCK_TOLERANCE, Finish, Finished, HoldId, HoldRefused, Kind, Leg, Source,
    Step, Tables,
    account::{difference, moved, sum},
    hold::end,
    inconsistent,
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
/// follows. Answers what was closed, the lowest first; nothing of what was closed before.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn close<T: Tables + ?Sized>(
    tables: &mut T,
    id: &AccountId,
) -> Step<Result<Vec<Closed>, HoldRefused>, T::Error> {
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
fn shut<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    id: &AccountId,
    closed: &mut Vec<Closed>,
) -> Step<(), T::Error> {
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

/// Moves what a closed account has available, or is overdrawn by, to the account that gave it its
/// credits, and on from there while that one is closed too. Answers what there was.
pub(super) fn climb<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    id: &AccountId,
) -> Step<Credits, T::Error> {
    let Kind::Funded(funds) = rows.known(id)?.kind else { return Ok(Credits::ZERO) };
    let rest = funds.available;
    let mut from = id.clone();
    while rest != 0 && !rows.known(&from)?.open {
        from = hand_up(rows, &from, rest)?;
    }
    Ok(Credits::of_balance(rest))
}

/// Moves credits, or a debt, from a carved account to the one that gave it its credits. On the
/// ceilings between, no more comes free than was let through. Answers who gave.
fn hand_up<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    id: &AccountId,
    rest: i64,
) -> Step<AccountId, T::Error> {
    let mut account = rows.known(id)?;
    let Kind::Funded(funds) = &mut account.kind else { return inconsistent("a ceiling gave") };
    let Some(Source { path, owed, .. }) = &mut funds.source else {
        return inconsistent(format!("account {id:?} is closed, and got its credits from nobody"));
    };
    let (freed, debt) = (Credits::of_balance(rest).min(*owed), Credits::of_balance(-rest));
    *owed = sum(difference(*owed, freed)?, debt)?;
    let Some((Leg { account: giver, .. }, ceilings)) = path.split_last() else {
        return inconsistent(format!("nobody gave account {id:?} its credits"));
    };
    let (giver, ceilings) = (giver.clone(), ceilings.to_vec());
    add(&mut account, -rest)?;
    rows.put_account(id, account);
    for Leg { account: id, window } in ceilings {
        let mut account = rows.known(&id)?;
        if let Kind::Ceiling(ceiling) = &mut account.kind
            && ceiling.begins() == window
        {
            ceiling.carved = sum(difference(ceiling.carved, freed)?, debt)?;
        }
        rows.put_account(&id, account);
    }
    let mut account = rows.known(&giver)?;
    add(&mut account, rest)?;
    rows.put_account(&giver, account);
    Ok(giver)
}

/// Gives so much to a funded account, or takes it.
fn add<E>(account: &mut Account, amount: i64) -> Step<(), E> {
    let Kind::Funded(funds) = &mut account.kind else { return inconsistent("a ceiling was given") };
    funds.available = moved(funds.available, amount)?;
    funds.net = moved(funds.net, amount)?;
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

/// Ends holds and accounts whose time is over, so many of each at most. Answers which. Each is a step
/// of its own: one that fails keeps no other from its end.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn sweep<T>(tables: &mut T, now: i64, most: usize) -> Step<Swept, T::Error>
where
    T: Tables<Error: std::fmt::Display> + ?Sized,
{
    sweep_late(tables, now, 0, most)
}

/// [`sweep`], but for holds whose time is over by no more than some milliseconds: their gateways may
/// have slept, and have yet to extend them.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn sweep_late<T>(tables: &mut T, now: i64, late: i64, most: usize) -> Step<Swept, T::Error>
where
    T: Tables<Error: std::fmt::Display> + ?Sized,
{
    let Swept { mut ended, mut closed, mut faults } = Swept::default();
    let end_hold = |tables: &mut T, id: &HoldId| {
        let Some(finished) = staged(tables, |rows| end(rows, *id, Finish::Lost))? else {
            return inconsistent(format!("hold {id} is overdue, and is missing"));
        };
        ended.push((*id, finished));
        Ok(())
    };
    let until = now.saturating_sub(late);
    let overdue = |tables: &mut T, most| tables.overdue(until, most);
    each_due(tables, most, overdue, end_hold, &mut faults)?;
    let close_account = |tables: &mut T, id: &AccountId| {
        closed.append(&mut staged(tables, |rows| {
            let mut closed = Vec::new();
            shut(rows, id, &mut closed)?;
            Ok(closed)
        })?);
        Ok(())
    };
    let expired = |tables: &mut T, most| tables.expired(now, most);
    each_due(tables, most, expired, close_account, &mut faults)?;
    bring_back(tables, now, most, &mut faults)?;
    Ok(Swept { ended, closed, faults })
}

/// Brings deadlines back that a clock wrote which was ahead: their holds would stay for as long.
fn bring_back<T>(
    tables: &mut T,
    now: i64,
    most: usize,
    faults: &mut Vec<String>,
) -> Step<(), T::Error>
where
    T: Tables<Error: std::fmt::Display> + ?Sized,
{
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

/// Takes a step for each that is due, so many at most. Those that cannot be read or are not true stay
/// due, and are asked for again and passed over, so that they never hide the others.
fn each_due<T: Tables<Error: std::fmt::Display> + ?Sized, I: Ord + std::fmt::Debug>(
    tables: &mut T,
    most: usize,
    due: impl Fn(&mut T, usize) -> Result<Vec<I>, T::Error>,
    mut step: impl FnMut(&mut T, &I) -> Step<(), T::Error>,
    faults: &mut Vec<String>,
) -> Step<(), T::Error> {
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
