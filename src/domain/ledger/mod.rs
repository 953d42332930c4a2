//! Accounts of credits, and every way in which credits move. A pure state machine over [`Tables`]:
//! time and identifiers come in as arguments, and what is kept is up to the store.
//!
//! One primitive: a hold reserves credits before a call, and is then posted or voided. Accounts form
//! trees. A *funded* account owns credits; a *ceiling* only caps what is drawn through it. A hold
//! walks from the caller's account up to the first funded one, and must fit everywhere.
//!
//! What holds after every step:
//! - Of a funded account, available + reserved + spent = issued + what it was given − what it gave.
//! - Available is never below zero, unless an account is unlimited or a hold was forced.
//! - Reserved is the sum of the open holds; spent that of what was posted and not refunded.
//! - A hold has one end, and what is posted is at most what was held.
//! - A closed account has nothing available, no debt, and nothing new is held on it.
//! - What a ceiling counts is what is held and spent through it in its window, and what it let through
//!   to accounts below that has not gone back.
//! - A command that is given twice does what it does once, and one that is refused or fails does
//!   nothing: what a step changes is staged, and written when the step has gone well to its end.
//!
//! - [`account`], [`holds`]: accounts and holds as kept. [`rows`]: where the steps read and write
//!   them; [`staged`]: what one step writes.
//! - [`hold`]: hold, extend, finish. [`transfer`]: mint, carve, cap, refund. [`close`]: close, sweep.
//!   [`climb`]: what a closed account had goes up. [`declare`]: the accounts that settings ask for.
//! - [`proof`]: a recount of everything, apart from the code that counts. [`replay`]: accounts as the
//!   records tell of them.

pub mod account;
mod climb;
pub mod close;
pub mod declare;
pub mod hold;
mod holds;
pub mod proof;
pub mod replay;
pub mod rows;
mod staged;
pub mod transfer;

pub use super::account_id::AccountId;
pub use account::{Account, AccountKind, Balance, Ceiling, Drawn, Funds, Leg, ROUND, Source};
pub use close::{Closed, Swept};
pub use declare::{Adjusted, Declaration, Declared, Unadjusted, Undeclarable};
pub use holds::{
    About, Extended, Finish, Finished, Held, HoldEntry, HoldId, HoldRefused, HoldRequest,
    HoldState, Shortage,
};
pub use rows::{Rows, Tables, TransferId};
pub use staged::balance;
pub use transfer::{Transfer, TransferRefused, Transferred};

/// Accounts are at most this many below each other, the funding ones included.
pub const MOST_LEVELS: usize = 8;

/// A moment that is further ahead than this was written while the clock was wrong, in milliseconds: a
/// window's begin beyond the end of the present one, a hold's deadline beyond now.
pub const CLOCK_TOLERANCE: i64 = 24 * 60 * 60 * 1000;

/// How a store failed, for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Why a step failed. Nothing of it was applied.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] Failure),
    /// The stored rows contradict each other.
    #[error("the ledger contradicts itself: {0}")]
    Inconsistent(String),
}

/// What a step returns.
pub type Step<T> = Result<T, Broken>;

fn inconsistent<T>(what: impl Into<String>) -> Step<T> {
    Err(Broken::Inconsistent(what.into()))
}
