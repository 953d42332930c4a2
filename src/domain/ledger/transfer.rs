//! Credits between accounts: made, carved out for a child, returned when an account closes, given
//! back by an operator.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Account, AccountId, Broken, Finish, Finished, Funds, HoldId, HoldRefused, HoldState, Kind,
    MOST_LEVELS, Shortage, Step, Tables,
    account::{difference, moved, sum},
    hold::{finish, give_back, path, shortage},
    inconsistent,
};
use crate::domain::credits::Credits;

/// Names a transfer; asking twice moves once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub u128);

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
    /// How many credits moved.
    pub amount: Credits,
    /// The account that gave or got them.
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
    /// A transfer of nothing.
    #[error("0 credits cannot be moved")]
    Nothing,
    /// More than an account can count.
    #[error("the account would have more than {} credits", Credits::MAX)]
    TooMuch,
    /// The hold that is to be refunded does not exist.
    #[error("there is no hold `{0}`")]
    NoHold(String),
    /// Nothing was posted, or all of it was given back.
    #[error("hold `{0}` has nothing posted that could be given back")]
    NothingPosted(String),
    /// More than was posted.
    #[error("hold `{hold}` has {left} credits posted, of which {asked} cannot be given back")]
    BeyondPosted {
        /// The hold.
        hold: String,
        /// What of it can be given back.
        left: Credits,
        /// What was asked for.
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
    fn fingerprint<E>(&self) -> Step<[u8; 32], E> {
        let text = serde_json::to_vec(self).map_err(|e| Broken::Inconsistent(e.to_string()))?;
        Ok(Sha256::digest(text).into())
    }
}

/// Moves credits, or says why not; then nothing has changed.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn transfer<T: Tables + ?Sized>(
    tables: &mut T,
    id: TransferId,
    transfer: &Transfer,
    now: i64,
) -> Step<Result<Transferred, TransferRefused>, T::Error> {
    let fingerprint = transfer.fingerprint()?;
    let replayed = tables.transfer(id)?;
    if replayed.is_some_and(|before| before != fingerprint) {
        return Ok(Err(TransferRefused::KeyReuse));
    }
    if replayed.is_some() {
        return replay(tables, transfer, now).map(Ok);
    }
    let outcome = match transfer {
        Transfer::Mint { account, amount } => mint(tables, account, *amount, now)?,
        Transfer::Carve { from, to, amount, expires } => {
            carve(tables, from, to, *amount, *expires, now)?
        }
        Transfer::Refund { hold, amount } => refund(tables, hold, *amount)?,
    };
    let (account, amount) = match outcome {
        Ok(done) => done,
        Err(refused) => return Ok(Err(refused)),
    };
    tables.put_transfer(id, fingerprint)?;
    let remaining = remaining(tables, &account, now)?;
    Ok(Ok(Transferred { amount, account, remaining, replayed: false }))
}

fn replay<T: Tables + ?Sized>(
    tables: &mut T,
    transfer: &Transfer,
    now: i64,
) -> Step<Transferred, T::Error> {
    let (account, amount) = match transfer {
        Transfer::Mint { account, amount } => (account.clone(), *amount),
        Transfer::Carve { from, amount, .. } => (from.clone(), *amount),
        Transfer::Refund { hold, amount } => {
            let kept = match HoldId::parse(hold) {
                Some(id) => tables.hold(id)?,
                None => None,
            };
            let Some(leg) = kept.as_ref().and_then(|kept| kept.path.first()) else {
                return inconsistent("a refunded hold is missing");
            };
            (leg.account.clone(), amount.unwrap_or_default())
        }
    };
    let remaining = remaining(tables, &account, now)?;
    Ok(Transferred { amount, account, remaining, replayed: true })
}

fn remaining<T: Tables + ?Sized>(
    tables: &mut T,
    id: &AccountId,
    now: i64,
) -> Step<Option<Credits>, T::Error> {
    let account = tables.account(id)?;
    Ok(account.and_then(|account| account.headroom(now)).map(Credits::of_balance))
}

/// The account that a transfer is about, and how much of it moved.
type Moved = Result<(AccountId, Credits), TransferRefused>;

fn mint<T: Tables + ?Sized>(
    tables: &mut T,
    id: &AccountId,
    amount: Credits,
    now: i64,
) -> Step<Moved, T::Error> {
    if amount == Credits::ZERO {
        return Ok(Err(TransferRefused::Nothing));
    }
    let Some(mut account) = tables.account(id)? else {
        return Ok(Err(HoldRefused::NoAccount(id.clone()).into()));
    };
    if !account.takes_holds(now) {
        return Ok(Err(HoldRefused::Closed(id.clone()).into()));
    }
    match &mut account.kind {
        Kind::Funded(funds) => {
            let Some(issued) = funds.issued.checked_add(amount) else {
                return Ok(Err(TransferRefused::TooMuch));
            };
            funds.issued = issued;
            funds.available = moved(funds.available, amount.signed())?;
        }
        Kind::Ceiling(ceiling) => {
            *ceiling = ceiling.at(now);
            let granted = ceiling.granted.checked_add(amount);
            let fits = |granted: &Credits| ceiling.limit.checked_add(*granted).is_some();
            let Some(granted) = granted.filter(fits) else {
                return Ok(Err(TransferRefused::TooMuch));
            };
            ceiling.granted = granted;
        }
    }
    tables.put_account(id, account)?;
    Ok(Ok((id.clone(), amount)))
}

fn carve<T: Tables + ?Sized>(
    tables: &mut T,
    from: &AccountId,
    to: &AccountId,
    amount: Credits,
    expires: Option<i64>,
    now: i64,
) -> Step<Moved, T::Error> {
    if amount == Credits::ZERO {
        return Ok(Err(TransferRefused::Nothing));
    }
    if tables.account(to)?.is_some() {
        return Ok(Err(TransferRefused::Exists(to.clone())));
    }
    let through = match path(tables, from, now)? {
        Ok(path) => path,
        Err(refused) => return Ok(Err(refused.into())),
    };
    if let Some(short @ Shortage { .. }) = shortage(&through, amount, now) {
        return Ok(Err(HoldRefused::Short(short).into()));
    }
    let Some((_, leaf)) = through.first() else { return inconsistent("a path is empty") };
    let expires = [expires, leaf.expires].into_iter().flatten().min();
    if depth(tables, from)? + 1 > MOST_LEVELS {
        return Ok(Err(TransferRefused::TooDeep));
    }
    for (id, mut account) in through {
        match &mut account.kind {
            Kind::Funded(funds) => {
                funds.available = moved(funds.available, -amount.signed())?;
                funds.net = moved(funds.net, -amount.signed())?;
            }
            Kind::Ceiling(ceiling) => {
                *ceiling = ceiling.at(now);
                ceiling.carved = sum(ceiling.carved, amount)?;
            }
        }
        tables.put_account(&id, account)?;
    }
    let funds = Funds { net: amount.signed(), available: amount.signed(), ..Funds::default() };
    let child = Account { expires, ..Account::new(Some(from.clone()), Kind::Funded(funds)) };
    tables.put_account(to, child)?;
    Ok(Ok((from.clone(), amount)))
}

fn depth<T: Tables + ?Sized>(tables: &mut T, id: &AccountId) -> Step<usize, T::Error> {
    let mut levels = 0;
    let mut next = Some(id.clone());
    while let Some(id) = next {
        levels += 1;
        next = tables.account(&id)?.and_then(|account| account.parent);
        if levels > MOST_LEVELS {
            break;
        }
    }
    Ok(levels)
}

fn refund<T: Tables + ?Sized>(
    tables: &mut T,
    text: &str,
    amount: Option<Credits>,
) -> Step<Moved, T::Error> {
    let no_hold = || Ok(Err(TransferRefused::NoHold(text.to_owned())));
    let Some(id) = HoldId::parse(text) else { return no_hold() };
    let Some(mut hold) = tables.hold(id)? else { return no_hold() };
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
        let Some(mut account) = tables.account(&leg.account)? else {
            return inconsistent(format!("account {:?} of a hold is missing", leg.account));
        };
        account.spent = difference(account.spent, asked)?;
        tables.put_account(&leg.account, account)?;
        give_back(tables, leg, asked)?;
    }
    let Some(leaf) = hold.path.first().map(|leg| leg.account.clone()) else {
        return inconsistent("a hold has no account");
    };
    hold.state = HoldState::Posted { amount: posted, uncertain, refunded: sum(refunded, asked)? };
    tables.put_hold(id, hold)?;
    Ok(Ok((leaf, asked)))
}

/// An account that was closed, and what it had left, which went up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The account.
    pub account: AccountId,
    /// What it had left, with what those below it gave up before.
    pub returned: Credits,
}

/// Closes an account and all below it. What they have available goes up to the nearest open account
/// that owns credits; their open holds live on, and what these do not spend follows. Answers what
/// was closed, the lowest first; nothing of what was closed before.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn close<T: Tables + ?Sized>(
    tables: &mut T,
    id: &AccountId,
) -> Step<Result<Vec<Closed>, HoldRefused>, T::Error> {
    let Some(account) = tables.account(id)? else {
        return Ok(Err(HoldRefused::NoAccount(id.clone())));
    };
    if account.parent.is_none() {
        return inconsistent("a root account cannot be closed");
    }
    let mut closed = Vec::new();
    if !account.open {
        return Ok(Ok(closed));
    }
    for child in tables.children(id)? {
        match close(tables, &child)? {
            Ok(below) => closed.extend(below),
            Err(refused) => return inconsistent(refused.to_string()),
        }
    }
    // What its children gave up is with it by now.
    let Some(account) = tables.account(id)? else { return inconsistent("an account vanished") };
    tables.put_account(id, Account { open: false, ..account })?;
    let returned = climb(tables, id)?;
    closed.push(Closed { account: id.clone(), returned });
    Ok(Ok(closed))
}

/// Moves what a closed account has available up to the nearest open one that owns credits.
pub(super) fn climb<T: Tables + ?Sized>(tables: &mut T, id: &AccountId) -> Step<Credits, T::Error> {
    let Some(mut account) = tables.account(id)? else { return inconsistent("no such account") };
    let Kind::Funded(funds) = &mut account.kind else { return Ok(Credits::ZERO) };
    let rest = Credits::of_balance(funds.available);
    if rest == Credits::ZERO {
        return Ok(rest);
    }
    funds.available = 0;
    funds.net = moved(funds.net, -rest.signed())?;
    let mut above = account.parent.clone();
    tables.put_account(id, account)?;
    while let Some(id) = above {
        let Some(mut account) = tables.account(&id)? else { return inconsistent("no such parent") };
        above = account.parent.clone();
        let open = account.open;
        let arrived = match &mut account.kind {
            Kind::Funded(funds) if open => {
                funds.available = moved(funds.available, rest.signed())?;
                funds.net = moved(funds.net, rest.signed())?;
                true
            }
            // Of a window that may be another by now, nothing is given back.
            Kind::Ceiling(ceiling) if ceiling.period.is_none() => {
                ceiling.carved = ceiling.carved.saturating_sub(rest);
                false
            }
            _ => false,
        };
        tables.put_account(&id, account)?;
        if arrived {
            return Ok(rest);
        }
    }
    inconsistent("no account is left that could take credits back")
}

/// What a sweep ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds.
    pub ended: Vec<(HoldId, Finished)>,
    /// Accounts.
    pub closed: Vec<Closed>,
}

/// Ends holds and accounts whose time is over, so many of each at most. Answers which.
///
/// # Errors
/// What is stored cannot be read, written, or true.
pub fn sweep<T: Tables + ?Sized>(tables: &mut T, now: i64, most: usize) -> Step<Swept, T::Error> {
    let mut swept = Swept::default();
    for id in tables.overdue(now, most)? {
        if let Some(finished) = finish(tables, id, Finish::Lost)? {
            swept.ended.push((id, finished));
        }
    }
    for id in tables.expired(now, most)? {
        if let Ok(closed) = close(tables, &id)? {
            swept.closed.extend(closed);
        }
    }
    Ok(swept)
}
