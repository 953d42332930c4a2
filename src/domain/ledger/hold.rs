//! Holds: credits reserved before a call, and what becomes of them after.

use serde::{Deserialize, Serialize};

use super::{
    Account, AccountId, CLOCK_TOLERANCE, Kind, MOST_LEVELS, Step, Tables,
    account::{difference, moved, sum},
    close::climb,
    inconsistent,
    staged::{Staged, staged},
};
use crate::domain::{credits::Credits, id::id};

id! {
    /// Names a hold: 128 bits that begin with the time, so that later ones sort after (UUID version 7).
    HoldId
}

/// What a hold is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct About {
    /// The agent that calls.
    pub agent: String,
    /// The server.
    pub server: String,
    /// The tool.
    pub tool: String,
}

/// A hold as kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How much is held.
    pub amount: Credits,
    /// What became of it.
    pub state: HoldState,
    /// Whether it was allowed although it did not fit.
    pub forced: bool,
    /// Tells this request from others under the same id.
    pub fingerprint: [u8; 32],
    /// When it is ended by a sweep, in milliseconds since 1970.
    pub deadline: i64,
    /// Whether it is posted if nobody ever tells what became of the call.
    pub charge_if_lost: bool,
    /// The accounts it was drawn through, from the caller's up to the funded one.
    pub path: Vec<Leg>,
    /// What it is for.
    pub about: About,
}

/// One account of a hold's path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leg {
    /// The account.
    pub account: AccountId,
    /// The window of the ceiling in which it counts; 0 without a period.
    pub window: i64,
}

/// What became of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Nothing yet.
    Open,
    /// Credits were spent.
    Posted {
        /// How many.
        amount: Credits,
        /// Nobody knows whether the call ran; an operator may refund it.
        uncertain: bool,
        /// How many an operator gave back.
        refunded: Credits,
    },
    /// Everything went back.
    Voided,
}

impl Hold {
    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        self.state == HoldState::Open
    }

    /// What it takes of every account of its path: what is held, or was spent and not given back.
    pub fn taken(&self) -> Credits {
        match self.state {
            HoldState::Open => self.amount,
            HoldState::Posted { amount, refunded, .. } => amount.saturating_sub(refunded),
            HoldState::Voided => Credits::ZERO,
        }
    }
}

/// Asks for a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// Names it; asking twice holds once.
    pub id: HoldId,
    /// The caller's account.
    pub account: AccountId,
    /// How much.
    pub amount: Credits,
    /// Tells this request from others under the same id.
    pub fingerprint: [u8; 32],
    /// How long it may stay open, in milliseconds, unless it is extended.
    pub lifetime: i64,
    /// Allow it even if it does not fit.
    pub forced: bool,
    /// Whether it is posted if nobody ever tells what became of the call.
    pub charge_if_lost: bool,
    /// What it is for.
    pub about: About,
}

/// A hold that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What is left to hold on the same path; None if nothing limits it, and of one that was there
    /// already.
    pub remaining: Option<Credits>,
    /// What it lacked, if it was forced.
    pub over: Option<Shortage>,
    /// Whether it was there already; its state then.
    pub replayed: Option<HoldState>,
}

/// What a hold lacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The account that refuses: of those on the path the one with the least left.
    pub account: AccountId,
    /// What it has left.
    pub remaining: Credits,
    /// What was asked for.
    pub cost: Credits,
    /// When the account is counted anew, in milliseconds since 1970, if it has a period.
    pub resets_at: Option<i64>,
}

/// Why nothing was held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefused {
    /// It does not fit.
    #[error("account `{}` has {} of {} left", .0.account, .0.remaining, .0.cost.in_words())]
    Short(Shortage),
    /// The account is closed, or one above it.
    #[error("account `{0}` is closed")]
    Closed(AccountId),
    /// There is no such account. It is never unlimited for that.
    #[error("there is no account `{0}`")]
    NoAccount(AccountId),
    /// The id was used for another request.
    #[error("the id of the hold was used for another request")]
    KeyReuse,
    /// The account is a root, which is never closed.
    #[error("account `{0}` has none above it to give its credits to, and cannot be closed")]
    Root(AccountId),
}

impl HoldRefused {
    /// The word for programs, as clients of credit gateways know it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Short(Shortage { remaining, .. }) if *remaining > Credits::ZERO => {
                "insufficient_budget"
            }
            Self::Short(_) => "budget_exhausted",
            Self::Closed(_) | Self::NoAccount(_) | Self::Root(_) => "no_account",
            Self::KeyReuse => "idempotency_key_reuse",
        }
    }
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// So much is spent, the rest goes back.
    Post(Credits),
    /// Everything is spent, though nobody knows whether the call ran.
    Uncertain,
    /// Everything goes back.
    Void,
    /// As [`Hold::charge_if_lost`] says.
    Lost,
}

/// What there was to extend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The hold is open.
    Open,
    /// The hold is open, but this account of its path takes no holds any more. A call that was sent
    /// goes on; one that was not should not be.
    Closed(AccountId),
    /// The hold has ended, or there is none of that id.
    Ended,
}

/// A hold that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// What became of it. Of a hold that had ended before, what became of it then.
    pub state: HoldState,
    /// Whether it had ended before.
    pub replayed: bool,
    /// How much was held.
    pub held: Credits,
    /// The caller's account.
    pub account: AccountId,
    /// What it was for.
    pub about: About,
}

/// Reserves credits, or says why not; then nothing has changed.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn hold<T: Tables + ?Sized>(
    tables: &mut T,
    request: HoldRequest,
    now: i64,
) -> Step<Result<Held, HoldRefused>, T::Error> {
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

fn reserve<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    path: Path,
    request: HoldRequest,
    over: Option<Shortage>,
    now: i64,
) -> Step<Held, T::Error> {
    let mut legs = Vec::with_capacity(path.len());
    let mut remaining: Option<i64> = None;
    for (id, mut account) in path {
        let window = draw(&mut account, request.amount, now)?;
        account.reserved = sum(account.reserved, request.amount)?;
        remaining = [remaining, account.headroom(now)].into_iter().flatten().min();
        rows.put_account(&id, account);
        legs.push(Leg { account: id, window });
    }
    let hold = Hold {
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
pub(super) fn path<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    leaf: &AccountId,
    now: i64,
) -> Step<Result<Path, HoldRefused>, T::Error> {
    let mut found = Vec::new();
    let mut next = leaf.clone();
    for _ in 0..MOST_LEVELS {
        let Some(account) = rows.present(&next, now)? else {
            return Ok(Err(HoldRefused::NoAccount(next)));
        };
        if !account.takes_holds(now) {
            return Ok(Err(HoldRefused::Closed(next)));
        }
        let funded = matches!(account.kind, Kind::Funded(_));
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

/// Takes an amount out of what can be held. Answers the window in which it counts.
fn draw<E>(account: &mut Account, amount: Credits, now: i64) -> Step<i64, E> {
    match &mut account.kind {
        Kind::Funded(funds) => {
            funds.available = moved(funds.available, -amount.signed())?;
            Ok(0)
        }
        Kind::Ceiling(ceiling) => {
            *ceiling = ceiling.at(now);
            ceiling.used = sum(ceiling.used, amount)?;
            Ok(ceiling.begins())
        }
    }
}

/// Sets the deadline of an open hold this many milliseconds ahead; returns whether it is open.
/// Nothing else changes; a hold that has ended stays as it is.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn extend<T: Tables + ?Sized>(
    tables: &mut T,
    id: HoldId,
    lifetime: i64,
    now: i64,
) -> Step<Extended, T::Error> {
    let Some(mut hold) = tables.hold(id)?.filter(Hold::is_open) else {
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
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn finish<T: Tables + ?Sized>(
    tables: &mut T,
    id: HoldId,
    finish: Finish,
) -> Step<Option<Finished>, T::Error> {
    staged(tables, |rows| end(rows, id, finish))
}

/// [`finish`], as part of a step.
pub(super) fn end<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    id: HoldId,
    finish: Finish,
) -> Step<Option<Finished>, T::Error> {
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
fn outcome(hold: &Hold, finish: Finish) -> HoldState {
    let post = |amount, uncertain| HoldState::Posted { amount, uncertain, refunded: Credits::ZERO };
    match finish {
        Finish::Post(amount) => post(amount.min(hold.amount), false),
        Finish::Uncertain => post(hold.amount, true),
        Finish::Lost if hold.charge_if_lost => post(hold.amount, true),
        Finish::Void | Finish::Lost => HoldState::Voided,
    }
}

/// Turns what was reserved on one account into what was spent; the rest goes back.
fn settle<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    leg: &Leg,
    held: Credits,
    posted: Credits,
) -> Step<(), T::Error> {
    let mut account = rows.known(&leg.account)?;
    account.reserved = difference(account.reserved, held)?;
    account.count_spent(posted.signed())?;
    let rest = difference(held, posted)?;
    rows.put_account(&leg.account, account);
    give_back(rows, leg, rest)
}

/// Gives back what was drawn on one account: to a ceiling in the same window; of a closed account
/// to the nearest open one above that owns credits.
pub(super) fn give_back<T: Tables + ?Sized>(
    rows: &mut Staged<'_, T>,
    leg: &Leg,
    amount: Credits,
) -> Step<(), T::Error> {
    let mut account = rows.known(&leg.account)?;
    match &mut account.kind {
        Kind::Ceiling(ceiling) if ceiling.begins() == leg.window => {
            ceiling.used = difference(ceiling.used, amount)?;
        }
        Kind::Ceiling(_) => {}
        Kind::Funded(funds) => {
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
