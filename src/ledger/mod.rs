//! Floor 2: where credits and records are kept.
//!
//! - [`Ledger`]: what a store does. Every step that moves credits is one transaction with its
//!   record. [`steps`]: these steps, the same for every store that can run them.
//! - [`credentials`]: the same for tokens, stamps and API keys.
//! - [`memory`]: one process, forgotten with it. [`sqlite`]: one file, for many processes at once.
//! - [`keys`]: the secret of an installation. [`Verdict`]: whether the records are
//!   what was written.

pub mod context;
mod credentials;
mod exposed;
pub mod filter;
pub mod keys;
pub mod line;
pub mod memory;
pub mod mirror;
mod prove;
pub mod source;
pub mod sqlite;
pub mod stats;
mod steps;
mod terms;
pub mod verify;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use credentials::Credentials;
pub use exposed::exposed;
pub use steps::{Engine, Failure, LedgerTx};

use crate::{
    domain::{
        auth::ApiKey,
        budget::{Backend, StoreSettings},
        delegation::{Delegate, OpenDelegation, Standing},
        ledger::{
            Account, AccountId, Adjusted, Balance, Closed, Declaration, Extended, Finish, Finished,
            Held, Hold, HoldId, HoldRefused, HoldRequest, Transfer, TransferId, TransferRefused,
            Transferred, proof::Proof,
        },
        record::{Draft, Head, Sealed},
        token::TokenId,
    },
    host::{clock, random},
};

/// The store that the settings ask for; `state` is the user's directory for what cannot be made
/// again. Nothing is opened before the first step, and a store that cannot be opened is tried again
/// at the next one.
pub fn open(settings: &StoreSettings, state: Option<&Path>) -> Arc<dyn Ledger> {
    let default = || state.map(|state| state.join("ledger.db"));
    match (settings.backend, settings.path.clone().or_else(default)) {
        (Backend::Sqlite, Some(path)) => {
            let keys = place_of_key(settings, state).map(Path::to_owned);
            let place = sqlite::Place { path, keys, durability: settings.durability };
            Arc::new(sqlite::Sqlite::new(place, clock::wall_clock()))
        }
        (Backend::Sqlite, None) => {
            tracing::warn!(
                "there is no directory to keep credits and records in: they are forgotten with this process; set `store.path`"
            );
            Arc::new(in_memory())
        }
        (Backend::Memory, _) => Arc::new(in_memory()),
    }
}

/// Where the installation's key is: where there is no directory of the user's, it lies beside the
/// file that it signs. None if only the process itself can keep it.
pub fn place_of_key<'a>(settings: &'a StoreSettings, state: Option<&'a Path>) -> Option<&'a Path> {
    let beside = || match settings.backend {
        Backend::Sqlite => settings.path.as_deref()?.parent(),
        Backend::Memory => None,
    };
    state.or_else(beside)
}

/// Every such store has a chain of its own, so that copies of its records tell it from others.
fn in_memory() -> memory::Memory {
    let chain = format!("memory-{:032x}", random::id());
    memory::Memory::new(&chain, clock::wall_clock())
}

/// What a store answers, some time. The step is on its way when the future is made, not when it is
/// awaited: who need not know the answer may drop it.
pub type Answered<T> = BoxFuture<'static, Result<T, Unavailable>>;

/// The store cannot be used, or contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct Unavailable {
    /// Why, for the log. May name files.
    pub cause: String,
    /// Whether the step may have been taken all the same. Where it was not, nothing has changed.
    pub maybe_applied: bool,
}

/// Whether the records of a store are those that were written, all of them, in order. Whole if
/// nothing is broken or incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// How many records are as they were written, from the first that is kept.
    pub records: u64,
    /// The place of the first record that is not what was written, and in which way.
    pub broken: Option<(u64, String)>,
    /// What is missing at the end.
    pub incomplete: Option<String>,
}

/// A store of accounts, holds and records.
///
/// Every step that changes something writes exactly one record in the same transaction; a step that
/// was taken before, under the same id, writes none. The record is the `draft`, to which the step
/// adds what it knows itself: event, hold, account, amounts, decision.
///
/// # Errors
/// Of every method: a store that cannot be used answers [`Unavailable`].
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Brings accounts in line with settings, as far as that can be. Answers what changed; records it
    /// if anything did.
    fn declare(&self, declaration: Declaration, draft: Draft) -> Answered<Adjusted>;

    /// Reserves credits. A refusal is recorded.
    fn hold(&self, request: HoldRequest, draft: Draft) -> Answered<Result<Held, HoldRefused>>;

    /// Keeps an open hold from being swept for so many milliseconds from now, and answers whether it
    /// is open. Not recorded.
    fn extend(&self, hold: HoldId, lifetime: i64) -> Answered<Extended>;

    /// Ends a hold; None if there is none of that id. A charge may be taken some milliseconds later,
    /// with the next step, since a sweep would come to the same; what goes back goes at once.
    fn finish(&self, hold: HoldId, finish: Finish, draft: Draft) -> Answered<Option<Finished>>;

    /// Moves credits. Refusals are not recorded.
    fn transfer(
        &self,
        id: TransferId,
        transfer: Transfer,
        draft: Draft,
    ) -> Answered<Result<Transferred, TransferRefused>>;

    /// Closes an account and all below it, with a record each. Answers what was closed.
    fn close(&self, account: AccountId, draft: Draft)
    -> Answered<Result<Vec<Closed>, HoldRefused>>;

    /// Opens a token's account with credits of another's, and keeps what is to be known of the token.
    /// Asking again for the same opens nothing more; refusals are not recorded.
    fn delegate(
        &self,
        asked: Delegate,
        draft: Draft,
    ) -> Answered<Result<Transferred, TransferRefused>>;

    /// What is kept of a token, and whether it may be used now.
    fn standing(&self, token: TokenId) -> Answered<Standing>;

    /// The delegation whose handle has this keyed digest.
    fn by_handle(&self, handle: [u8; 32]) -> Answered<Option<Standing>>;

    /// All delegations, ended ones too.
    fn delegations(&self) -> Answered<Vec<Standing>>;

    /// Returns the delegations directly below an account that have not ended, up to a limit.
    fn open_delegations(&self, from: AccountId, most: usize) -> Answered<Vec<OpenDelegation>>;

    /// Whether an account lies below another.
    fn lies_below(&self, account: AccountId, above: AccountId) -> Answered<bool>;

    /// Ends a token. Closes its account and all below, with a record each, and answers what was
    /// closed; of a token without an account, denies its id from now on, which is recorded once.
    fn revoke(&self, token: TokenId, draft: Draft) -> Answered<Result<Vec<Closed>, HoldRefused>>;

    /// Whether this is shown for the first time. It is remembered until a moment, in milliseconds
    /// since 1970; never the first time once that is past. Not recorded.
    fn consume_nonce(&self, what: [u8; 32], until: i64) -> Answered<bool>;

    /// Keeps an API key; false if there is one of that id or digest already.
    fn add_api_key(&self, key: ApiKey, draft: Draft) -> Answered<bool>;

    /// The API key with this digest, even if it was revoked or has expired.
    fn api_key(&self, digest: [u8; 32]) -> Answered<Option<ApiKey>>;

    /// All API keys, in order of their ids; those that have ended too.
    fn api_keys(&self) -> Answered<Vec<ApiKey>>;

    /// Takes an API key back, and closes what was delegated with it. Answers what was closed; None if
    /// there is no key of that id, or it was taken back before.
    fn revoke_api_key(&self, id: String, draft: Draft) -> Answered<Option<Vec<Closed>>>;

    /// Records what moved nothing.
    fn record(&self, draft: Draft) -> Answered<()>;

    /// The same for a record that no caller waits for: written some milliseconds later, with the
    /// next step.
    fn record_soon(&self, draft: Draft) -> Answered<()>;

    /// Ends holds and accounts whose time is over, so many of each at most. Answers how many.
    fn sweep(&self, most: usize) -> Answered<usize> {
        self.sweep_late(Duration::ZERO, most)
    }

    /// [`Ledger::sweep`] that leaves holds whose time has been over for no longer than this: their
    /// gateways may have slept, and have yet to extend them.
    fn sweep_late(&self, late: Duration, most: usize) -> Answered<usize>;

    /// An account as its owner sees it; None if there is none of that id.
    fn balance(&self, account: AccountId) -> Answered<Option<Balance>>;

    /// The holds whose ids lie between two, both included, in order, at most this many.
    fn holds(&self, from: HoldId, to: HoldId, most: usize) -> Answered<Vec<(HoldId, Hold)>>;

    /// All accounts, in order of their ids.
    fn accounts(&self) -> Answered<Vec<(AccountId, Account)>>;

    /// Follows the records and compares all rows with what they come to. Goes on only while it is
    /// awaited: the steps of others come between.
    fn prove(&self) -> Answered<Proof>;

    /// Follows the chain of records from its beginning to the end that the store vouches for, and
    /// compares the rows as [`Ledger::prove`] does.
    fn verify(&self) -> Answered<Verdict>;

    /// The records after a place, in order, so many at most. A store that forgets may begin later.
    fn records(&self, after: u64, most: usize) -> Answered<Vec<Sealed>>;

    /// The end of the chain.
    fn head(&self) -> Answered<Head>;

    /// Answers when every step that was begun before is taken.
    fn flush(&self) -> Answered<()>;
}
