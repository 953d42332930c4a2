//! The operations of a ledger, the same whatever keeps its rows.
//!
//! - [`Ledger`]: every operation there is. A backend only says how a step is run ([`Ledger::submit`]).
//! - [`job`]: a step on its way to the store. [`tx`]: what a step can read and write.
//! - [`closing`]: accounts and holds that end. [`credentials`]: tokens, nonces and API keys.
//!   [`drafts`]: the record of each step. [`prove`]: rows compared with records.

mod closing;
mod credentials;
mod drafts;
mod job;
mod prove;
mod tx;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::FutureExt;

pub use job::{Job, Turn};
pub use tx::{Credentials, LedgerTx, RowDigest};

use super::answer::{Answered, Verdict};
use crate::domain::{
    auth::ApiKey,
    delegation::{Delegate, OpenDelegation, Standing},
    ledger::{
        Account, AccountId, Adjusted, Balance, Closed, Declaration, Extended, Finish, Finished,
        Held, HoldEntry, HoldId, HoldRefused, HoldRequest, Step, Transfer, TransferId,
        TransferRefused, Transferred, balance, declare, hold, proof::Proof, transfer,
    },
    record::{Draft, Event, Head, Sealed},
    token::{TokenId, denial_of_api_key},
};

/// Runs a step in its turn, whole or not at all.
pub fn transact<T: Send + 'static>(
    ledger: &(impl Ledger + ?Sized),
    turn: Turn,
    step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T> + Send + 'static,
) -> Answered<T> {
    let (job, answer) = job::job(turn, step);
    ledger.submit(job);
    answer
}

/// A store of accounts, holds and records.
///
/// Every step that changes something writes exactly one record in the same transaction; a step that
/// was taken before, under the same id, writes none. The record is the `draft`, to which the step
/// adds what it knows itself: event, hold, account, amounts, decision. Every operation fails with
/// [`LedgerUnavailable`](super::LedgerUnavailable) where the store cannot be used.
pub trait Ledger: fmt::Debug + Send + Sync {
    /// Runs a step at the present moment of the store's clock, after all that were submitted before.
    fn submit(&self, job: Box<dyn Job>);

    /// Another handle to the same store.
    fn share(&self) -> Arc<dyn Ledger>;

    /// Brings accounts in line with settings, as far as possible. Recorded if anything changed.
    fn declare(&self, declaration: Declaration, draft: Draft) -> Answered<Adjusted> {
        transact(self, Turn::Now, move |tx, now| {
            let before = drafts::declared(tx, &declaration)?;
            let adjusted = declare::declare(tx.tables(), &declaration, now)?;
            if !adjusted.changed.is_empty() {
                let note = Some(adjusted.changed.join("; "));
                let mut accounts = drafts::declared(tx, &declaration)?;
                accounts.retain(|account| !before.contains(account));
                tx.append(Draft { event: Event::Declare, accounts, note, ..draft })?;
            }
            Ok(adjusted)
        })
    }

    /// Reserves credits. A refusal is recorded.
    fn hold(&self, request: HoldRequest, draft: Draft) -> Answered<Result<Held, HoldRefused>> {
        transact(self, Turn::Now, move |tx, now| {
            let (id, account, cost) = (request.id, request.account.clone(), request.amount);
            let held = hold::hold(tx.tables(), request, now)?;
            match &held {
                Ok(held) if held.replayed.is_some() => {}
                Ok(held) => tx.append(drafts::held(held, id, &account, cost, draft))?,
                Err(refused) => tx.append(drafts::refused(refused, account, cost, draft))?,
            }
            Ok(held)
        })
    }

    /// Keeps an open hold from being swept for this many milliseconds from now. Not recorded.
    fn extend(&self, id: HoldId, lifetime: i64) -> Answered<Extended> {
        transact(self, Turn::Now, move |tx, now| hold::extend(tx.tables(), id, lifetime, now))
    }

    /// Ends a hold; None if there is none of that id. A charge may be posted some milliseconds later,
    /// with the next step, since a sweep would do the same; a release can be spent as
    /// soon as this answers.
    fn finish(&self, id: HoldId, finish: Finish, draft: Draft) -> Answered<Option<Finished>> {
        let turn = if finish == Finish::Void { Turn::Now } else { Turn::Soon };
        transact(self, turn, move |tx, _| {
            let finished = hold::finish(tx.tables(), id, finish)?;
            if let Some(finished) = finished.as_ref().filter(|finished| !finished.replayed) {
                tx.append(drafts::finished(id, finished, draft))?;
            }
            Ok(finished)
        })
    }

    /// Moves credits. Refusals are not recorded.
    fn transfer(
        &self,
        id: TransferId,
        asked: Transfer,
        draft: Draft,
    ) -> Answered<Result<Transferred, TransferRefused>> {
        transact(self, Turn::Now, move |tx, now| {
            let done = transfer::transfer(tx.tables(), id, &asked, now)?;
            if let Some(done) = done.as_ref().ok().filter(|done| !done.replayed) {
                let draft = drafts::transferred(tx, &asked, done, draft)?;
                tx.append(draft)?;
            }
            Ok(done)
        })
    }

    /// Closes an account and all below it, with a record each. Returns what was closed.
    fn close(&self, id: AccountId, draft: Draft) -> Answered<Result<Vec<Closed>, HoldRefused>> {
        transact(self, Turn::Now, move |tx, _| closing::close(tx, &id, &draft))
    }

    /// Ends holds and accounts whose time is over, up to a limit of each. Returns how many.
    fn sweep(&self, most: usize) -> Answered<usize> {
        self.sweep_late(Duration::ZERO, most)
    }

    /// [`Ledger::sweep`] that leaves holds whose time has been over for no longer than `late`: their
    /// gateways may have slept, and have yet to extend them.
    fn sweep_late(&self, late: Duration, most: usize) -> Answered<usize> {
        transact(self, Turn::Now, move |tx, now| closing::sweep(tx, now, late, most))
    }

    /// Opens a token's account with credits of another's, and keeps what is known of the token.
    /// Asking again for the same opens nothing more; refusals are not recorded.
    fn delegate(
        &self,
        asked: Delegate,
        draft: Draft,
    ) -> Answered<Result<Transferred, TransferRefused>> {
        transact(self, Turn::Now, move |tx, now| credentials::delegate(tx, now, asked, draft))
    }

    /// The stored delegation of a token, and whether it may be used now.
    fn standing(&self, token: TokenId) -> Answered<Standing> {
        transact(self, Turn::Read, move |tx, now| credentials::standing(tx, now, token))
    }

    /// The delegation whose handle has this keyed digest.
    fn by_handle(&self, handle: [u8; 32]) -> Answered<Option<Standing>> {
        transact(self, Turn::Read, move |tx, now| {
            let found = tx.delegation_by_handle(&handle)?;
            found.map(|delegation| credentials::standing_of(tx, delegation, now)).transpose()
        })
    }

    /// All delegations, ended ones too.
    fn delegations(&self) -> Answered<Vec<Standing>> {
        transact(self, Turn::Read, |tx, now| {
            let all = tx.delegations()?.into_iter();
            all.map(|delegation| credentials::standing_of(tx, delegation, now)).collect()
        })
    }

    /// The delegations directly below an account that have not ended, up to a limit.
    fn open_delegations(&self, from: AccountId, most: usize) -> Answered<Vec<OpenDelegation>> {
        transact(self, Turn::Read, move |tx, now| {
            credentials::open_delegations(tx, now, &from, most)
        })
    }

    /// Whether an account lies below another.
    fn lies_below(&self, account: AccountId, above: AccountId) -> Answered<bool> {
        transact(self, Turn::Read, move |tx, _| {
            Ok(credentials::above(tx, &account)?.contains(&above))
        })
    }

    /// Ends a token: closes its account and all below, with a record each, and returns what was
    /// closed. A token without an account is denied from now on, which is recorded once.
    fn revoke(&self, token: TokenId, draft: Draft) -> Answered<Result<Vec<Closed>, HoldRefused>> {
        transact(self, Turn::Now, move |tx, _| credentials::revoke(tx, token, draft))
    }

    /// Returns whether this is used for the first time. It is remembered until a moment, in
    /// milliseconds since 1970; once that is past, it is never the first time. Not recorded.
    fn consume_nonce(&self, nonce: [u8; 32], until: i64) -> Answered<bool> {
        transact(self, Turn::Now, move |tx, now| credentials::consume_nonce(tx, now, &nonce, until))
    }

    /// Keeps an API key; false if there is one of that id or digest already.
    fn add_api_key(&self, key: ApiKey, draft: Draft) -> Answered<bool> {
        transact(self, Turn::Now, move |tx, _| credentials::add_api_key(tx, &key, draft))
    }

    /// The API key with this digest, even if it was revoked or has expired.
    fn api_key(&self, digest: [u8; 32]) -> Answered<Option<ApiKey>> {
        transact(self, Turn::Read, move |tx, _| {
            let Some(key) = tx.api_key_by_digest(&digest)? else { return Ok(None) };
            // One that was revoked stays revoked, whatever its row says.
            let revoked = key.revoked || tx.is_denied(denial_of_api_key(&key.id))?;
            Ok(Some(ApiKey { revoked, ..key }))
        })
    }

    /// All API keys, in order of their ids, ended ones too.
    fn api_keys(&self) -> Answered<Vec<ApiKey>> {
        transact(self, Turn::Read, |tx, _| Ok(tx.api_keys()?))
    }

    /// Revokes an API key, and closes what was delegated with it. Returns what was closed; None if
    /// there is no key of that id, or it was revoked before.
    fn revoke_api_key(&self, id: String, draft: Draft) -> Answered<Option<Vec<Closed>>> {
        transact(self, Turn::Now, move |tx, _| credentials::revoke_api_key(tx, &id, draft))
    }

    /// Records an event that moved nothing.
    fn record(&self, draft: Draft) -> Answered<()> {
        transact(self, Turn::Now, move |tx, _| Ok(tx.append(draft)?))
    }

    /// [`Ledger::record`] for which no caller waits: written with the next step.
    fn record_soon(&self, draft: Draft) -> Answered<()> {
        transact(self, Turn::Soon, move |tx, _| Ok(tx.append(draft)?))
    }

    /// An account as its owner sees it; None if there is none of that id.
    fn balance(&self, account: AccountId) -> Answered<Option<Balance>> {
        transact(self, Turn::Read, move |tx, now| balance(tx.tables(), &account, now))
    }

    /// The holds whose ids lie between two, both included, in order, up to a limit.
    fn holds(&self, from: HoldId, to: HoldId, most: usize) -> Answered<Vec<(HoldId, HoldEntry)>> {
        transact(self, Turn::Read, move |tx, _| Ok(tx.holds(from, to, most)?))
    }

    /// All accounts, in order of their ids.
    fn accounts(&self) -> Answered<Vec<(AccountId, Account)>> {
        transact(self, Turn::Read, |tx, _| Ok(tx.accounts()?))
    }

    /// Follows the records and compares all rows with them. Goes on only while it is awaited: the
    /// steps of others come between.
    fn prove(&self) -> Answered<Proof> {
        prove::prove(self.share()).boxed()
    }

    /// Follows the chain of records from its beginning to the end that the store vouches for, and
    /// compares the rows as [`Ledger::prove`] does.
    fn verify(&self) -> Answered<Verdict> {
        prove::verify(self.share()).boxed()
    }

    /// The records after a place, in order, up to a limit. A store that forgets may begin later.
    fn records(&self, after: u64, most: usize) -> Answered<Vec<Sealed>> {
        transact(self, Turn::Read, move |tx, _| Ok(tx.records(after, most)?))
    }

    /// The end of the chain.
    fn head(&self) -> Answered<Head> {
        transact(self, Turn::Read, |tx, _| Ok(tx.head()?))
    }

    /// Answers when every step submitted before has been run.
    fn flush(&self) -> Answered<()> {
        transact(self, Turn::Read, |_, _| Ok(()))
    }
}
