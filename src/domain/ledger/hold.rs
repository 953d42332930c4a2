//! The steps of holds: reserve credits before a call, extend the hold, and post or void it after.

use super::{
    AccountId, CLOCK_TOLERANCE, MOST_LEVELS, Step,
    account::{Account, AccountKind, Leg, difference, moved, sum},
    climb::climb,
    holds::{
        Extended, Finish, Finished, Held, HoldEntry, HoldId, HoldRefused, HoldRequest, HoldState,
        Shortage,
    },
    inconsistent,
    rows::Tables,
    staged::{Staged, staged},
};
use crate::domain::credits::Credits;

/// Reserves credits, or says why not; then nothing has changed.
pub fn hold(
    tables: &mut dyn Tables,
    request: HoldRequest,
    now: i64,
) -> Step<Result<Held, HoldRefused>> {
    if let Some(before) = tables.hold(request.id)? {
        return Ok(match before.fingerprint == request.fingerprint {
            true => Ok(Held { remaining: None, over: None, replayed: Some(before.state) }),
            false => Err(HoldRefused::KeyReuse),
        });
    }
    staged(tables, |rows| {
        let path = match path(rows, &request.account, now)? {
            Ok(path) => path,
            Err(refused) => return Ok(Err(refused)),
        };
        if let Some(uncountable) = uncountable(&path, request.amount, now) {
            return Ok(Err(HoldRefused::Short(uncountable)));
        }
        let over = shortage(&path, request.amount, now);
        if let (Some(shortage), false) = (&over, request.forced) {
            return Ok(Err(HoldRefused::Short(shortage.clone())));
        }
        reserve(rows, path, request, over, now).map(Ok)
    })
}

fn reserve(
    rows: &mut Staged<'_>,
    path: Path,
    request: HoldRequest,
    over: Option<Shortage>,
    now: i64,
) -> Step<Held> {
    let mut legs = Vec::with_capacity(path.len());
    let mut remaining: Option<i64> = None;
    for (id, mut account) in path {
        let window = draw(&mut account, request.amount, now)?;
        account.reserved = sum(account.reserved, request.amount)?;
        remaining = [remaining, account.headroom(now)].into_iter().flatten().min();
        rows.put_account(&id, account);
        legs.push(Leg { account: id, window });
    }
    let hold = HoldEntry {
        amount: request.amount,
        state: HoldState::Open,
        forced: over.is_some(),
        fingerprint: request.fingerprint,
        deadline: now.saturating_add(request.lifetime),
        charge_if_lost: request.charge_if_lost,
        path: legs,
        about: request.about,
    };
    rows.put_hold(request.id, hold);
    Ok(Held { remaining: remaining.map(Credits::of_balance), over, replayed: None })
}

/// An account and those above it, up to the first funded one.
pub(super) type Path = Vec<(AccountId, Account)>;

/// The accounts that a draw on one goes through.
pub(super) fn path(
    rows: &mut Staged<'_>,
    leaf: &AccountId,
    now: i64,
) -> Step<Result<Path, HoldRefused>> {
    let mut found = Vec::new();
    let mut next = leaf.clone();
    for _ in 0..MOST_LEVELS {
        let Some(account) = rows.present(&next, now)? else {
            return Ok(Err(HoldRefused::NoAccount(next)));
        };
        if !account.takes_holds(now) {
            return Ok(Err(HoldRefused::Closed(next)));
        }
        let funded = matches!(account.kind, AccountKind::Funded(_));
        let above = account.parent.clone();
        found.push((next, account));
        match above {
            _ if funded => return Ok(Ok(found)),
            Some(above) => next = above,
            None => return inconsistent("a ceiling has nothing above it"),
        }
    }
    inconsistent("accounts are nested too deeply")
}

/// What an amount lacks on a path. Nothing can lack nothing.
pub(super) fn shortage(path: &Path, amount: Credits, now: i64) -> Option<Shortage> {
    let left = path.iter().filter_map(|(id, it)| Some((it.headroom(now)?, id, it)));
    let (least, id, account) = left.min_by_key(|(left, ..)| *left)?;
    (amount > Credits::ZERO && least < amount.signed()).then(|| Shortage {
        account: id.clone(),
        resets_at: account.resets_at(now),
        remaining: Credits::of_balance(least),
        cost: amount,
    })
}

/// The account of a path on which an amount more could not be counted: then even a forced hold is
/// refused, as it could not be ended.
fn uncountable(path: &Path, amount: Credits, now: i64) -> Option<Shortage> {
    let too_much = |(_, account): &&(AccountId, Account)| account.countable(now) < amount.signed();
    let (id, account) = path.iter().find(too_much)?;
    Some(Shortage {
        account: id.clone(),
        remaining: Credits::of_balance(account.countable(now)),
        cost: amount,
        resets_at: None,
    })
}

/// Draws an amount. Returns the window in which it counts.
fn draw(account: &mut Account, amount: Credits, now: i64) -> Step<i64> {
    match &mut account.kind {
        AccountKind::Funded(funds) => {
            funds.available = moved(funds.available, -amount.signed())?;
            Ok(0)
        }
        AccountKind::Ceiling(ceiling) => {
            *ceiling = ceiling.at(now);
            ceiling.used = sum(ceiling.used, amount)?;
            Ok(ceiling.begins())
        }
    }
}

/// Sets the deadline of an open hold this many milliseconds ahead; returns whether it is open.
/// Nothing else changes; a hold that has ended stays as it is.
pub fn extend(tables: &mut dyn Tables, id: HoldId, lifetime: i64, now: i64) -> Step<Extended> {
    let Some(mut hold) = tables.hold(id)?.filter(HoldEntry::is_open) else {
        return Ok(Extended::Ended);
    };
    let until = now.saturating_add(lifetime);
    // Of a clock that was ahead, the deadline is brought back.
    if hold.deadline < until || hold.deadline > until.saturating_add(CLOCK_TOLERANCE) {
        hold.deadline = until;
        tables.put_hold(id, hold.clone())?;
    }
    for leg in hold.path {
        match tables.account(&leg.account)? {
            Some(account) if account.takes_holds(now) => {}
            Some(_) => return Ok(Extended::Closed(leg.account)),
            None => return inconsistent(format!("account {:?} is missing", leg.account)),
        }
    }
    Ok(Extended::Open)
}

/// Ends a hold; None if there is none of that id. What is posted is at most what was held.
pub fn finish(tables: &mut dyn Tables, id: HoldId, finish: Finish) -> Step<Option<Finished>> {
    staged(tables, |rows| end(rows, id, finish))
}

/// [`finish`], as part of a step.
pub(super) fn end(rows: &mut Staged<'_>, id: HoldId, finish: Finish) -> Step<Option<Finished>> {
    let Some(mut hold) = rows.hold(id)? else { return Ok(None) };
    let replayed = !hold.is_open();
    if !replayed {
        hold.state = outcome(&hold, finish);
        let posted = match hold.state {
            HoldState::Posted { amount, .. } => amount,
            HoldState::Voided | HoldState::Open => Credits::ZERO,
        };
        for leg in &hold.path {
            settle(rows, leg, hold.amount, posted)?;
        }
        rows.put_hold(id, hold.clone());
    }
    let Some(leaf) = hold.path.first() else { return inconsistent("a hold has no account") };
    Ok(Some(Finished {
        state: hold.state,
        replayed,
        held: hold.amount,
        account: leaf.account.clone(),
        about: hold.about,
    }))
}

/// What becomes of an open hold.
fn outcome(hold: &HoldEntry, finish: Finish) -> HoldState {
    let post = |amount, uncertain| HoldState::Posted { amount, uncertain, refunded: Credits::ZERO };
    match finish {
        Finish::Post(amount) => post(amount.min(hold.amount), false),
        Finish::Uncertain => post(hold.amount, true),
        Finish::Lost if hold.charge_if_lost => post(hold.amount, true),
        Finish::Void | Finish::Lost => HoldState::Voided,
    }
}

/// Turns what was reserved on one account into what was spent; the rest goes back.
fn settle(rows: &mut Staged<'_>, leg: &Leg, held: Credits, posted: Credits) -> Step<()> {
    let mut account = rows.known(&leg.account)?;
    account.reserved = difference(account.reserved, held)?;
    account.count_spent(posted.signed())?;
    let rest = difference(held, posted)?;
    rows.put_account(&leg.account, account);
    give_back(rows, leg, rest)
}

/// Gives back what was drawn on one account: to a ceiling in the same window; of a closed account
/// to the nearest open one above that owns credits.
pub(super) fn give_back(rows: &mut Staged<'_>, leg: &Leg, amount: Credits) -> Step<()> {
    let mut account = rows.known(&leg.account)?;
    match &mut account.kind {
        AccountKind::Ceiling(ceiling) if ceiling.begins() == leg.window => {
            ceiling.used = difference(ceiling.used, amount)?;
        }
        AccountKind::Ceiling(_) => {}
        AccountKind::Funded(funds) => {
            funds.available = moved(funds.available, amount.signed())?;
        }
    }
    let closed = !account.open;
    rows.put_account(&leg.account, account);
    if closed {
        climb(rows, &leg.account)?;
    }
    Ok(())
}
