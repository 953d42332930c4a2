//! Credits between accounts: made, carved out for a child, returned when an account closes, given
//! back by an operator.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    AccountId, Broken, MOST_LEVELS, Step,
    account::{Account, AccountKind, Ceiling, Funds, Leg, Source, difference, moved, sum},
    hold::{Path, give_back, path, shortage},
    holds::{HoldId, HoldRefused, HoldState},
    inconsistent,
    rows::{Tables, TransferId},
    staged::{Staged, staged},
};
use crate::domain::credits::Credits;

/// An account without a limit can have given others this many credits: calls can always be counted
/// beside them.
const MOST_GIVEN: u64 = Credits::MAX.amount() / 2;

/// What moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// Makes credits; on a ceiling, raises it in its present window.
    Mint {
        /// Where.
        account: AccountId,
        /// How many.
        amount: Credits,
    },
    /// Opens a funded account below another, with credits of that other's.
    Carve {
        /// Whose credits.
        from: AccountId,
        /// The new account.
        to: AccountId,
        /// How many.
        amount: Credits,
        /// When the new account closes by itself, in milliseconds since 1970.
        expires: Option<i64>,
    },
    /// Opens a ceiling below another account, unless it is there.
    Cap {
        /// The account that pays.
        from: AccountId,
        /// The ceiling.
        to: AccountId,
        /// The most that may be drawn through it.
        limit: Credits,
        /// When it closes by itself, in milliseconds since 1970.
        expires: Option<i64>,
    },
    /// Gives back what a hold posted.
    Refund {
        /// The hold, as text.
        hold: String,
        /// How many; all that is left of it if None.
        amount: Option<Credits>,
    },
}

/// A transfer that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// How many credits moved; of a ceiling, its limit.
    pub amount: Credits,
    /// The account that gave or got them; the ceiling.
    pub account: AccountId,
    /// What that account has left; None if unlimited.
    pub remaining: Option<Credits>,
    /// Whether it was made before; then nothing moved now.
    pub replayed: bool,
}

/// Why nothing moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// An account is missing, closed, or has too little.
    #[error(transparent)]
    Account(#[from] HoldRefused),
    /// There is an account of that id already.
    #[error("there is an account `{0}` already")]
    Exists(AccountId),
    /// Accounts would be nested too deeply.
    #[error("accounts can be {MOST_LEVELS} levels deep, not more")]
    TooDeep,
    /// The new account would be over before it began.
    #[error("the account would end in the past; let it expire later")]
    Past,
    /// A transfer of nothing.
    #[error("0 credits cannot be moved")]
    Nothing,
    /// More than an account can count.
    #[error("the account would have more than {} credits", Credits::MAX)]
    TooMuch,
    /// More than an account without a limit gives to others.
    #[error("an account without a limit can have {MOST_GIVEN} credits delegated, not more")]
    TooMuchGiven,
    /// The hold that is to be refunded does not exist.
    #[error("there is no hold `{0}`")]
    NoHold(String),
    /// Nothing was posted, or all of it was given back.
    #[error("hold `{0}` has nothing posted that could be given back")]
    NothingPosted(String),
    /// More than was posted.
    #[error("hold `{hold}` has {} posted, of which {asked} cannot be given back", .left.in_words())]
    BeyondPosted {
        /// The hold.
        hold: String,
        /// What of it can be given back.
        left: Credits,
        /// The amount asked for.
        asked: Credits,
    },
    /// The id was used for another transfer.
    #[error("the id of the transfer was used for another one")]
    KeyReuse,
}

impl Transfer {
    /// Tells this transfer from others under the same id.
    ///
    /// # Errors
    /// None that can happen: these values have a JSON form.
    fn fingerprint(&self) -> Step<[u8; 32]> {
        let text = serde_json::to_vec(self).map_err(|e| Broken::Inconsistent(e.to_string()))?;
        Ok(Sha256::digest(text).into())
    }
}

/// Moves credits, or says why not; then nothing has changed.
pub fn transfer(
    tables: &mut dyn Tables,
    id: TransferId,
    transfer: &Transfer,
    now: i64,
) -> Step<Result<Transferred, TransferRefused>> {
    let fingerprint = transfer.fingerprint()?;
    staged(tables, |rows| {
        match rows.transfer(id)? {
            Some(before) if before == fingerprint => return replay(rows, transfer, now).map(Ok),
            Some(_) => return Ok(Err(TransferRefused::KeyReuse)),
            None => {}
        }
        if let Transfer::Cap { from, to, limit, .. } = transfer {
            match capped(rows, from, to, *limit, now)? {
                Some(Ok(())) => return replay(rows, transfer, now).map(Ok),
                Some(Err(refused)) => return Ok(Err(refused)),
                None => {}
            }
        }
        let moved = match transfer {
            Transfer::Mint { account, amount } => mint(rows, account, *amount, now)?,
            Transfer::Carve { from, to, amount, expires } => {
                carve(rows, from, to, *amount, *expires, now)?
            }
            Transfer::Cap { from, to, limit, expires } => {
                cap(rows, from, to, *limit, *expires, now)?
            }
            Transfer::Refund { hold, amount } => refund(rows, hold, *amount, now)?,
        };
        let (account, amount) = match moved {
            Ok(moved) => moved,
            Err(refused) => return Ok(Err(refused)),
        };
        rows.put_transfer(id, fingerprint);
        let remaining = remaining(rows, &account, now)?;
        Ok(Ok(Transferred { amount, account, remaining, replayed: false }))
    })
}

fn replay(rows: &mut Staged<'_>, transfer: &Transfer, now: i64) -> Step<Transferred> {
    let (account, amount) = match transfer {
        Transfer::Mint { account, amount } => (account.clone(), *amount),
        Transfer::Carve { from, amount, .. } => (from.clone(), *amount),
        Transfer::Cap { to, limit, .. } => (to.clone(), *limit),
        Transfer::Refund { hold, amount } => {
            let kept = match HoldId::parse(hold) {
                Some(id) => rows.hold(id)?,
                None => None,
            };
            let Some((leg, state)) =
                kept.as_ref().and_then(|kept| Some((kept.path.first()?, kept.state)))
            else {
                return inconsistent("a refunded hold is missing");
            };
            let all = match state {
                HoldState::Posted { refunded, .. } => refunded,
                HoldState::Open | HoldState::Voided => Credits::ZERO,
            };
            (leg.account.clone(), amount.unwrap_or(all))
        }
    };
    let remaining = remaining(rows, &account, now)?;
    Ok(Transferred { amount, account, remaining, replayed: true })
}

fn remaining(rows: &mut Staged<'_>, id: &AccountId, now: i64) -> Step<Option<Credits>> {
    let Some(account) = rows.present(id, now)? else {
        return inconsistent(format!("account {id:?} is missing"));
    };
    Ok(account.headroom(now).map(Credits::of_balance))
}

/// The account that a transfer is about, and how much of it moved.
type Movement = Result<(AccountId, Credits), TransferRefused>;

fn mint(rows: &mut Staged<'_>, id: &AccountId, amount: Credits, now: i64) -> Step<Movement> {
    if amount == Credits::ZERO {
        return Ok(Err(TransferRefused::Nothing));
    }
    let Some(mut account) = rows.present(id, now)? else {
        return Ok(Err(HoldRefused::NoAccount(id.clone()).into()));
    };
    if !account.takes_holds(now) {
        return Ok(Err(HoldRefused::Closed(id.clone()).into()));
    }
    match &mut account.kind {
        AccountKind::Funded(funds) => {
            let Some(issued) = funds.issued.checked_add(amount) else {
                return Ok(Err(TransferRefused::TooMuch));
            };
            funds.issued = issued;
            funds.available = moved(funds.available, amount.signed())?;
        }
        AccountKind::Ceiling(ceiling) => {
            *ceiling = ceiling.at(now);
            let granted = ceiling.granted.checked_add(amount);
            let fits = |granted: &Credits| ceiling.limit.checked_add(*granted).is_some();
            let Some(granted) = granted.filter(fits) else {
                return Ok(Err(TransferRefused::TooMuch));
            };
            ceiling.granted = granted;
        }
    }
    rows.put_account(id, account);
    Ok(Ok((id.clone(), amount)))
}

fn carve(
    rows: &mut Staged<'_>,
    from: &AccountId,
    to: &AccountId,
    amount: Credits,
    expires: Option<i64>,
    now: i64,
) -> Step<Movement> {
    if amount == Credits::ZERO {
        return Ok(Err(TransferRefused::Nothing));
    }
    if rows.account(to)?.is_some() {
        return Ok(Err(TransferRefused::Exists(to.clone())));
    }
    let (through, expires) = match below(rows, from, expires, now)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    if let Some(short) = shortage(&through, amount, now) {
        return Ok(Err(HoldRefused::Short(short).into()));
    }
    if through.iter().any(|(_, account)| gives_too_much(account, amount)) {
        return Ok(Err(TransferRefused::TooMuchGiven));
    }
    let path = take_out(rows, through, amount, now)?;
    let funds = Funds {
        net: amount.signed(),
        available: amount.signed(),
        source: Some(Source { path, given: amount, owed: amount }),
        ..Funds::default()
    };
    let child = Account { expires, ..Account::new(Some(from.clone()), AccountKind::Funded(funds)) };
    rows.put_account(to, child);
    Ok(Ok((from.clone(), amount)))
}

/// Whether an account without a limit would give away more than can be counted beside its calls.
fn gives_too_much(account: &Account, amount: Credits) -> bool {
    let AccountKind::Funded(Funds { unlimited: true, net, .. }) = &account.kind else {
        return false;
    };
    let given = amount.signed().saturating_sub(*net);
    u64::try_from(given).is_ok_and(|given| given > MOST_GIVEN)
}

/// What a new account draws through, and when it ends.
type Below = Result<(Path, Option<i64>), TransferRefused>;

/// Whether an account may be opened below one.
fn below(rows: &mut Staged<'_>, from: &AccountId, expires: Option<i64>, now: i64) -> Step<Below> {
    if expires.is_some_and(|at| at <= now) {
        return Ok(Err(TransferRefused::Past));
    }
    let through = match path(rows, from, now)? {
        Ok(path) => path,
        Err(refused) => return Ok(Err(refused.into())),
    };
    if depth(rows, from)? >= MOST_LEVELS {
        return Ok(Err(TransferRefused::TooDeep));
    }
    // Who gives credits gives them for no longer than it has them, with ceilings between or not.
    let above = through.iter().map(|(_, account)| account.expires);
    let expires = above.chain([expires]).flatten().min();
    Ok(Ok((through, expires)))
}

fn cap(
    rows: &mut Staged<'_>,
    from: &AccountId,
    to: &AccountId,
    limit: Credits,
    expires: Option<i64>,
    now: i64,
) -> Step<Movement> {
    let expires = match below(rows, from, expires, now)? {
        Ok((_, expires)) => expires,
        Err(refused) => return Ok(Err(refused)),
    };
    let kind = AccountKind::Ceiling(Ceiling::new(limit, None));
    rows.put_account(to, Account { expires, ..Account::new(Some(from.clone()), kind) });
    Ok(Ok((to.clone(), limit)))
}

/// Whether a ceiling that is asked for is there already, or something else in its place.
fn capped(
    rows: &mut Staged<'_>,
    from: &AccountId,
    to: &AccountId,
    limit: Credits,
    now: i64,
) -> Step<Option<Result<(), TransferRefused>>> {
    let Some(there) = rows.account(to)? else { return Ok(None) };
    let same = match &there.kind {
        AccountKind::Ceiling(ceiling) => ceiling.limit == limit && ceiling.period.is_none(),
        AccountKind::Funded(_) => false,
    };
    Ok(Some(if !same || there.parent.as_ref() != Some(from) {
        Err(TransferRefused::Exists(to.clone()))
    } else if !there.takes_holds(now) {
        Err(HoldRefused::Closed(to.clone()).into())
    } else {
        Ok(())
    }))
}

/// Takes what is given to a new account out of those that it comes through.
fn take_out(rows: &mut Staged<'_>, through: Path, amount: Credits, now: i64) -> Step<Vec<Leg>> {
    let mut legs = Vec::with_capacity(through.len());
    for (id, mut account) in through {
        let window = match &mut account.kind {
            AccountKind::Funded(funds) => {
                funds.available = moved(funds.available, -amount.signed())?;
                funds.net = moved(funds.net, -amount.signed())?;
                0
            }
            AccountKind::Ceiling(ceiling) => {
                *ceiling = ceiling.at(now);
                ceiling.carved = sum(ceiling.carved, amount)?;
                ceiling.begins()
            }
        };
        rows.put_account(&id, account);
        legs.push(Leg { account: id, window });
    }
    Ok(legs)
}

/// How many levels there are down to an account, its own included.
fn depth(rows: &mut Staged<'_>, id: &AccountId) -> Step<usize> {
    let mut levels = 0;
    let mut next = Some(id.clone());
    while let Some(id) = next.filter(|_| levels < MOST_LEVELS) {
        levels += 1;
        next = rows.known(&id)?.parent;
    }
    Ok(levels)
}

fn refund(rows: &mut Staged<'_>, text: &str, amount: Option<Credits>, now: i64) -> Step<Movement> {
    let no_hold = || Ok(Err(TransferRefused::NoHold(text.to_owned())));
    let Some(id) = HoldId::parse(text) else { return no_hold() };
    let Some(mut hold) = rows.hold(id)? else { return no_hold() };
    let HoldState::Posted { amount: posted, uncertain, refunded } = hold.state else {
        return Ok(Err(TransferRefused::NothingPosted(text.to_owned())));
    };
    let left = difference(posted, refunded)?;
    let asked = amount.unwrap_or(left);
    if left == Credits::ZERO {
        return Ok(Err(TransferRefused::NothingPosted(text.to_owned())));
    }
    if asked == Credits::ZERO {
        return Ok(Err(TransferRefused::Nothing));
    }
    if asked > left {
        let hold = text.to_owned();
        return Ok(Err(TransferRefused::BeyondPosted { hold, left, asked }));
    }
    for leg in &hold.path {
        // Recounted, if it must be, before anything of the hold changes.
        rows.present(&leg.account, now)?;
        let mut account = rows.known(&leg.account)?;
        account.count_spent(-asked.signed())?;
        rows.put_account(&leg.account, account);
        give_back(rows, leg, asked)?;
    }
    let Some(leaf) = hold.path.first().map(|leg| leg.account.clone()) else {
        return inconsistent("a hold has no account");
    };
    hold.state = HoldState::Posted { amount: posted, uncertain, refunded: sum(refunded, asked)? };
    rows.put_hold(id, hold);
    Ok(Ok((leaf, asked)))
}
