//! Accounts.

use serde::{Deserialize, Serialize};

use super::{Broken, CLOCK_TOLERANCE, Step};
use crate::domain::{
    account_id::AccountId,
    credits::Credits,
    period::{Period, Window},
};

/// One account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account above it; none above a root.
    pub parent: Option<AccountId>,
    /// What it is.
    pub kind: AccountKind,
    /// Whether anything may still be held on it.
    pub open: bool,
    /// Held through it, and not ended.
    pub reserved: Credits,
    /// Posted through it, and not refunded.
    pub spent: Credits,
    /// When it closes by itself, in milliseconds since 1970.
    pub expires: Option<i64>,
}

/// What an account is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountKind {
    /// Owns credits.
    Funded(Funds),
    /// Caps what is drawn through it from the account above, and owns nothing.
    Ceiling(Ceiling),
}

/// The credits of a funded account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Funds {
    /// Made here, by the settings or by an operator.
    pub issued: Credits,
    /// How much of that the settings asked for when they were last declared.
    pub declared: Credits,
    /// What other accounts gave, less what they were given.
    pub net: i64,
    /// What can be held. Below zero after a forced hold, and of an unlimited account.
    pub available: i64,
    /// Never refuses.
    pub unlimited: bool,
    /// Where its credits came from, if another account gave them.
    pub source: Option<Source>,
}

/// What an account was given by another, and through which ceilings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The accounts it was drawn through, up to the funded one that gave it and gets back the rest.
    pub path: Vec<Leg>,
    /// How much it was.
    pub given: Credits,
    /// How much of it has not gone back, and counts as carved on the ceilings of the path.
    pub owed: Credits,
}

/// One account of the path that credits were drawn through.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leg {
    /// The account.
    pub account: AccountId,
    /// The window of the ceiling in which it counts; 0 without a period.
    pub window: i64,
}

/// A cap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ceiling {
    /// The most that may be drawn, in each window if there is a period.
    pub limit: Credits,
    /// How often it is counted anew.
    pub period: Option<Period>,
    /// When the window began that `used` and `granted` count; 0 without a period. It is odd, by one
    /// millisecond, after the clock ran ahead and was set right: later windows may have been used.
    pub window: i64,
    /// Reserved and spent in this window.
    pub used: Credits,
    /// Given through it to accounts below, in this window, and not returned.
    pub carved: Credits,
    /// What an operator added in this window.
    pub granted: Credits,
}

/// Amounts drawn through a ceiling in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// Reserved and spent.
    pub used: Credits,
    /// Given to accounts below, and not returned.
    pub carved: Credits,
    /// Whether anything was ever drawn in a later window.
    pub later: bool,
}

/// An account as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// The account's name.
    #[serde(rename = "account")]
    pub name: String,
    /// The credits issued or given to it, or the cap; None if unlimited.
    pub limit: Option<Credits>,
    /// What may still be held, here and in all accounts above that pay; None if unlimited.
    pub remaining: Option<Credits>,
    /// Held by calls in flight.
    pub reserved: Credits,
    /// Spent; in this window, if there is a period. Too low there while calls that began in an
    /// earlier window are still open, as their credits are reserved and count in none.
    pub spent: Credits,
    /// How far it is below zero, after calls that were allowed over budget.
    #[serde(skip_serializing_if = "is_zero")]
    pub overdrawn: Credits,
    /// How often it is counted anew.
    pub period: Option<Period>,
    /// When that is next, in milliseconds since 1970.
    #[serde(skip)]
    pub resets_at: Option<i64>,
}

fn is_zero(credits: &Credits) -> bool {
    *credits == Credits::ZERO
}

impl Account {
    /// A new account with nothing in it.
    pub fn new(parent: Option<AccountId>, kind: AccountKind) -> Self {
        Self {
            parent,
            kind,
            open: true,
            reserved: Credits::ZERO,
            spent: Credits::ZERO,
            expires: None,
        }
    }

    /// What may still be drawn at a moment, below zero where it was overdrawn; None if unlimited.
    pub fn headroom(&self, now: i64) -> Option<i64> {
        match &self.kind {
            AccountKind::Funded(funds) => (!funds.unlimited).then_some(funds.available),
            AccountKind::Ceiling(ceiling) => {
                let ceiling = ceiling.at(now);
                let most = ceiling.limit.signed() + ceiling.granted.signed();
                Some(most - ceiling.used.signed() - ceiling.carved.signed())
            }
        }
    }

    /// As its owner sees it, if the least that it and those above it have left is known.
    pub fn balance(&self, id: &AccountId, least: Option<i64>, now: i64) -> Balance {
        let own = self.headroom(now);
        let (limit, spent, period) = match &self.kind {
            AccountKind::Funded(funds) => {
                let given = funds.source.as_ref().map_or(Credits::ZERO, |source| source.given);
                let limit = funds.issued.checked_add(given).unwrap_or(Credits::MAX);
                ((!funds.unlimited).then_some(limit), self.spent, None)
            }
            AccountKind::Ceiling(ceiling) => {
                let current = ceiling.at(now);
                let limit = current.limit.checked_add(current.granted).unwrap_or(Credits::MAX);
                let in_window = match ceiling.period {
                    Some(_) => current.used.saturating_sub(self.reserved),
                    None => self.spent,
                };
                (Some(limit), in_window, ceiling.period)
            }
        };
        Balance {
            name: id.name().to_owned(),
            limit,
            remaining: least.map(Credits::of_balance),
            reserved: self.reserved,
            spent,
            overdrawn: own.map_or(Credits::ZERO, |own| Credits::of_balance(-own)),
            period,
            resets_at: self.resets_at(now),
        }
    }

    /// Where its credits came from, if they were carved out of another's.
    pub fn source(&self) -> Option<&Source> {
        match &self.kind {
            AccountKind::Funded(funds) => funds.source.as_ref(),
            AccountKind::Ceiling(_) => None,
        }
    }

    /// When it is counted anew, if it has a period.
    pub fn resets_at(&self, now: i64) -> Option<i64> {
        match &self.kind {
            AccountKind::Funded(_) => None,
            // A window that a clock ran ahead into lasts until it is over.
            AccountKind::Ceiling(ceiling) => {
                ceiling.period.map(|period| period.window(now.max(ceiling.window)).ends)
            }
        }
    }

    /// Whether it takes holds at a moment.
    pub fn takes_holds(&self, now: i64) -> bool {
        self.open && self.expires.is_none_or(|at| now < at)
    }
}

impl Ceiling {
    /// A new ceiling, through which nothing was drawn.
    pub fn new(limit: Credits, period: Option<Period>) -> Self {
        let zero = Credits::ZERO;
        Self { limit, period, window: 0, used: zero, carved: zero, granted: zero }
    }

    /// When the window at hand began; what is drawn in it is marked with that.
    pub fn begins(&self) -> i64 {
        self.window - self.window.rem_euclid(2)
    }

    /// The ceiling in the window of a moment that comes after the one at hand. A clock that goes
    /// back a little opens no window again; if it goes back far, see [`Ceiling::to_recount`].
    pub fn at(&self, now: i64) -> Self {
        let begins = self.period.map_or(0, |period| period.window(now).begins);
        match begins > self.begins() {
            true => self.opened(begins, Drawn::default()),
            false => self.clone(),
        }
    }

    /// The window of a moment, if what was drawn in it must be recounted: the clock ran ahead of it
    /// by more than [`CLOCK_TOLERANCE`], or had done so before and this window may have been used.
    pub fn to_recount(&self, now: i64) -> Option<i64> {
        let Window { begins, ends } = self.period?.window(now);
        let ran_ahead = self.begins() > ends.saturating_add(CLOCK_TOLERANCE);
        let used_before = self.begins() != self.window && begins > self.begins();
        (ran_ahead || used_before).then_some(begins)
    }

    /// The ceiling in another window, in which this was drawn. Grants lapse with their window.
    pub(super) fn opened(&self, begins: i64, drawn: Drawn) -> Self {
        Self {
            window: begins + i64::from(drawn.later),
            used: drawn.used,
            carved: drawn.carved,
            granted: Credits::ZERO,
            ..self.clone()
        }
    }
}

/// A sum that must fit.
pub(super) fn sum(a: Credits, b: Credits) -> Step<Credits> {
    a.checked_add(b).ok_or_else(|| Broken::Inconsistent(format!("{a} + {b} credits overflow")))
}

/// A difference that must not be below zero.
pub(super) fn difference(a: Credits, b: Credits) -> Step<Credits> {
    a.checked_sub(b).ok_or_else(|| Broken::Inconsistent(format!("{a} - {b} credits underflow")))
}

/// What accounts have spent that are never spent to the end, ceilings and those without a limit, is
/// counted up to this, and then from 0 again.
pub const ROUND: i64 = 1 << 52;

/// The most that a balance may be, above or below zero. Credits of several accounts, each within
/// [`Credits::MAX`], may come back to one.
const MOST_BALANCE: i64 = 1 << 60;

impl Account {
    /// How much more can be held before a number is beyond what is counted; whatever the limit.
    pub(super) fn countable(&self, now: i64) -> i64 {
        let counted = match &self.kind {
            AccountKind::Funded(Funds { unlimited: false, .. }) => {
                self.reserved.signed() + self.spent.signed()
            }
            AccountKind::Funded(_) => self.reserved.signed(),
            AccountKind::Ceiling(ceiling) => self.reserved.max(ceiling.at(now).used).signed(),
        };
        Credits::MAX.signed() - counted
    }

    /// Counts an amount as spent, or, below zero, as given back.
    pub(super) fn count_spent(&mut self, amount: i64) -> Step<()> {
        let spent = self.spent.signed() + amount;
        let rounded = match &mut self.kind {
            AccountKind::Funded(Funds { unlimited: false, .. }) => spent,
            AccountKind::Ceiling(_) => spent.rem_euclid(ROUND),
            AccountKind::Funded(funds) => {
                let rounded = spent.rem_euclid(ROUND);
                funds.available = moved(funds.available, spent - rounded)?;
                rounded
            }
        };
        let counted = u64::try_from(rounded).ok().and_then(Credits::new);
        let overflow = || Broken::Inconsistent(format!("{rounded} credits cannot be spent"));
        self.spent = counted.ok_or_else(overflow)?;
        Ok(())
    }
}

/// A balance moved by an amount.
pub(super) fn moved(balance: i64, by: i64) -> Step<i64> {
    balance
        .checked_add(by)
        .filter(|moved| (-MOST_BALANCE..=MOST_BALANCE).contains(moved))
        .ok_or_else(|| Broken::Inconsistent(format!("balance {balance} moved by {by} overflows")))
}
