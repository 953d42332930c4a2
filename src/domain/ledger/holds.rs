//! Holds: credits reserved for a call, as they are asked for, kept, refused and ended.

use serde::{Deserialize, Serialize};

use super::{AccountId, account::Leg};
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
pub struct HoldEntry {
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
    /// Whether it is posted if the outcome of the call is never known.
    pub charge_if_lost: bool,
    /// The accounts it was drawn through, from the caller's up to the funded one.
    pub path: Vec<Leg>,
    /// What it is for.
    pub about: About,
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
        /// It is unknown whether the call ran; an operator may refund it.
        uncertain: bool,
        /// How many an operator gave back.
        refunded: Credits,
    },
    /// Everything went back.
    Voided,
}

impl HoldEntry {
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
    /// Whether it is posted if the outcome of the call is never known.
    pub charge_if_lost: bool,
    /// What it is for.
    pub about: About,
}

/// A hold that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Credits left to hold on the same path; None if nothing limits it, and of one that was there
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
    /// The amount asked for.
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
    /// Posts this amount and releases the rest.
    Post(Credits),
    /// Posts all of it, though it is unknown whether the call ran.
    Uncertain,
    /// Releases all of it.
    Void,
    /// As [`HoldEntry::charge_if_lost`] says.
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
