//! The steps of a [`Ledger`], each one transaction: credits move, and a record tells of it.

use std::{fmt, time::Duration};

use super::{Answered, Credentials, Ledger, Verdict, credentials, prove, terms};
use crate::domain::{
    auth::ApiKey,
    credits::Credits,
    delegation::{Delegate, OpenDelegation, Standing},
    ledger::{
        Account, AccountId, Adjusted, Balance, Broken, Closed, Declaration, Extended, Finish,
        Finished, Held, Hold, HoldId, HoldRefused, HoldRequest, HoldState, Kind, Step, Swept,
        Tables, Transfer, TransferId, TransferRefused, Transferred, declare, hold, present,
        proof::Proof, replay::RightRow, transfer,
    },
    record::{Decision, Draft, Event, Head, Sealed},
    token::TokenId,
};

/// How a store failed, for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Rows and records, within one transaction.
pub trait LedgerTx: Tables<Error = Failure> + Credentials {
    /// Adds a record to the chain.
    ///
    /// # Errors
    /// A store that cannot be written.
    fn append(&mut self, draft: Draft) -> Result<(), Failure>;

    /// All accounts, in order of their ids.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn accounts(&mut self) -> Result<Vec<(AccountId, Account)>, Failure>;

    /// The holds whose ids lie between two, both included, in order, at most this many.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn holds(
        &mut self,
        from: HoldId,
        to: HoldId,
        most: usize,
    ) -> Result<Vec<(HoldId, Hold)>, Failure>;

    /// All rows that give or take rights, those too that were altered.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn rights(&mut self) -> Result<Vec<RightRow>, Failure>;

    /// How many transfers were made.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn transfers(&mut self) -> Result<u64, Failure>;

    /// The records after a place, in order, so many at most.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn records(&mut self, after: u64, most: usize) -> Result<Vec<Sealed>, Failure>;

    /// The end of the chain.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn head(&mut self) -> Result<Head, Failure>;

    /// The chain before the first record that is kept.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn origin(&mut self) -> Result<Head, Failure>;

    /// Whether the end of the chain is one that this store wrote.
    ///
    /// # Errors
    /// A store that cannot be read.
    fn vouched(&mut self) -> Result<bool, Failure>;
}

/// Runs steps one after the other, each whole or not at all. A clone runs them on the same rows.
pub trait Engine: Clone + fmt::Debug + Send + Sync + 'static {
    /// Runs a step at the present moment of the store's clock, in milliseconds since 1970. Steps are
    /// run in the order in which they were given.
    fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T>;

    /// Runs a step in its place among the others, within a few milliseconds: nobody waits for it.
    fn run_soon<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.run(step)
    }

    /// Runs a step that writes nothing, in its place among the others. It need not keep other
    /// processes from writing.
    fn look<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        self.run(step)
    }
}

impl<E: Engine> Ledger for E {
    fn declare(&self, declaration: Declaration, draft: Draft) -> Answered<Adjusted> {
        self.run(move |tx, now| {
            let before = terms::of_all(tx, &declaration)?;
            let adjusted = declare::declare(tx, &declaration, now)?;
            if !adjusted.changed.is_empty() {
                let note = Some(adjusted.changed.join("; "));
                let mut accounts = terms::of_all(tx, &declaration)?;
                accounts.retain(|terms| !before.contains(terms));
                tx.append(Draft { event: Event::Declare, accounts, note, ..draft })?;
            }
            Ok(adjusted)
        })
    }

    fn hold(&self, request: HoldRequest, draft: Draft) -> Answered<Result<Held, HoldRefused>> {
        self.run(move |tx, now| {
            let (id, account, cost) = (request.id, request.account.clone(), request.amount);
            let held = hold::hold(tx, request, now)?;
            match &held {
                Ok(held) if held.replayed.is_some() => {}
                Ok(held) => tx.append(held_record(held, id, &account, cost, draft))?,
                Err(refused) => tx.append(refused_record(refused, account, cost, draft))?,
            }
            Ok(held)
        })
    }

    fn extend(&self, id: HoldId, lifetime: i64) -> Answered<Extended> {
        self.run(move |tx, now| hold::extend(tx, id, lifetime, now))
    }

    fn finish(&self, id: HoldId, finish: Finish, draft: Draft) -> Answered<Option<Finished>> {
        let step = move |tx: &mut dyn LedgerTx, _| {
            let finished = hold::finish(tx, id, finish)?;
            if let Some(finished) = finished.as_ref().filter(|finished| !finished.replayed) {
                tx.append(finished_record(id, finished, draft))?;
            }
            Ok(finished)
        };
        match finish {
            // What goes back is there to be spent when this answers.
            Finish::Void => self.run(step),
            Finish::Post(_) | Finish::Uncertain | Finish::Lost => self.run_soon(step),
        }
    }

    fn transfer(
        &self,
        id: TransferId,
        asked: Transfer,
        draft: Draft,
    ) -> Answered<Result<Transferred, TransferRefused>> {
        self.run(move |tx, now| {
            let done = transfer::transfer(tx, id, &asked, now)?;
            if let Some(done) = done.as_ref().ok().filter(|done| !done.replayed) {
                let accounts = terms::opened_by(tx, &asked)?;
                let draft = Draft { accounts, ..draft };
                tx.append(transferred_record(&asked, done, draft))?;
            }
            Ok(done)
        })
    }

    fn close(
        &self,
        account: AccountId,
        draft: Draft,
    ) -> Answered<Result<Vec<Closed>, HoldRefused>> {
        self.run(move |tx, _| close(tx, &account, &draft))
    }

    fn delegate(
        &self,
        asked: Delegate,
        draft: Draft,
    ) -> Answered<Result<Transferred, TransferRefused>> {
        credentials::delegate(self, asked, draft)
    }

    fn standing(&self, token: TokenId) -> Answered<Standing> {
        credentials::standing(self, token)
    }

    fn by_handle(&self, handle: [u8; 32]) -> Answered<Option<Standing>> {
        credentials::by_handle(self, handle)
    }

    fn delegations(&self) -> Answered<Vec<Standing>> {
        credentials::delegations(self)
    }

    fn open_delegations(&self, from: AccountId, most: usize) -> Answered<Vec<OpenDelegation>> {
        credentials::open_delegations(self, from, most)
    }

    fn lies_below(&self, account: AccountId, above: AccountId) -> Answered<bool> {
        credentials::lies_below(self, account, above)
    }

    fn revoke(&self, token: TokenId, draft: Draft) -> Answered<Result<Vec<Closed>, HoldRefused>> {
        credentials::revoke(self, token, draft)
    }

    fn consume_nonce(&self, what: [u8; 32], until: i64) -> Answered<bool> {
        credentials::consume_nonce(self, what, until)
    }

    fn add_api_key(&self, key: ApiKey, draft: Draft) -> Answered<bool> {
        credentials::add_api_key(self, key, draft)
    }

    fn api_key(&self, digest: [u8; 32]) -> Answered<Option<ApiKey>> {
        credentials::api_key(self, digest)
    }

    fn api_keys(&self) -> Answered<Vec<ApiKey>> {
        self.look(|tx, _| Ok(tx.api_keys()?))
    }

    fn revoke_api_key(&self, id: String, draft: Draft) -> Answered<Option<Vec<Closed>>> {
        credentials::revoke_api_key(self, id, draft)
    }

    fn record(&self, draft: Draft) -> Answered<()> {
        self.run(move |tx, _| Ok(tx.append(draft)?))
    }

    fn record_soon(&self, draft: Draft) -> Answered<()> {
        self.run_soon(move |tx, _| Ok(tx.append(draft)?))
    }

    fn sweep_late(&self, late: Duration, most: usize) -> Answered<usize> {
        let late = i64::try_from(late.as_millis()).unwrap_or(i64::MAX);
        self.run(move |tx, now| {
            let Swept { ended, closed, faults } = transfer::sweep_late(tx, now, late, most)?;
            faults.iter().for_each(|fault| tracing::error!("{fault}"));
            for (id, finished) in &ended {
                let status = Some("lost".to_owned());
                tx.append(finished_record(*id, finished, Draft { status, ..Draft::default() }))?;
            }
            for closed in &closed {
                let note = Some("it expired".to_owned());
                tx.append(closed_record(closed, Draft { note, ..Draft::default() }))?;
            }
            Ok(ended.len() + closed.len())
        })
    }

    fn balance(&self, account: AccountId) -> Answered<Option<Balance>> {
        self.look(move |tx, now| balance(tx, &account, now))
    }

    fn holds(&self, from: HoldId, to: HoldId, most: usize) -> Answered<Vec<(HoldId, Hold)>> {
        self.look(move |tx, _| Ok(tx.holds(from, to, most)?))
    }

    fn accounts(&self) -> Answered<Vec<(AccountId, Account)>> {
        self.look(|tx, _| Ok(tx.accounts()?))
    }

    fn prove(&self) -> Answered<Proof> {
        prove::prove(self)
    }

    fn verify(&self) -> Answered<Verdict> {
        prove::verify(self)
    }

    fn records(&self, after: u64, most: usize) -> Answered<Vec<Sealed>> {
        self.look(move |tx, _| Ok(tx.records(after, most)?))
    }

    fn head(&self) -> Answered<Head> {
        self.look(|tx, _| Ok(tx.head()?))
    }

    fn flush(&self) -> Answered<()> {
        self.look(|_, _| Ok(()))
    }
}

fn held_record(held: &Held, id: HoldId, account: &AccountId, cost: Credits, draft: Draft) -> Draft {
    let decision = if held.over.is_some() { Decision::OverBudget } else { Decision::Allowed };
    Draft {
        event: Event::Hold,
        decision: Some(decision),
        hold: Some(id.to_string()),
        account: Some(account.as_str().to_owned()),
        cost: Some(cost.amount()),
        remaining: held.remaining.map(Credits::amount),
        ..draft
    }
}

fn refused_record(refused: &HoldRefused, account: AccountId, cost: Credits, draft: Draft) -> Draft {
    let shadow = draft.mode.as_deref() == Some("shadow");
    let short = match refused {
        HoldRefused::Short(short) => Some(short),
        _ => None,
    };
    let account = short.map_or(account, |short| short.account.clone());
    Draft {
        event: Event::Refusal,
        decision: Some(if shadow { Decision::WouldRefuse } else { Decision::Refused }),
        code: Some(refused.code().to_owned()),
        account: Some(account.as_str().to_owned()),
        cost: Some(cost.amount()),
        remaining: short.map(|short| short.remaining.amount()),
        note: short.is_none().then(|| refused.to_string()),
        ..draft
    }
}

fn finished_record(id: HoldId, finished: &Finished, draft: Draft) -> Draft {
    let (event, cost, uncertain) = match finished.state {
        HoldState::Posted { amount, uncertain, .. } => (Event::Post, amount, uncertain),
        HoldState::Voided | HoldState::Open => (Event::Void, Credits::ZERO, false),
    };
    let about = finished.about.clone();
    Draft {
        event,
        agent: Some(about.agent),
        server: Some(about.server),
        tool: Some(about.tool),
        hold: Some(id.to_string()),
        account: Some(finished.account.as_str().to_owned()),
        cost: Some(cost.amount()),
        uncertain,
        ..draft
    }
}

pub(super) fn transferred_record(asked: &Transfer, done: &Transferred, draft: Draft) -> Draft {
    let (event, hold, note) = match asked {
        Transfer::Mint { .. } => (Event::Grant, None, None),
        Transfer::Carve { to, .. } => (Event::Delegate, None, Some(to.as_str().to_owned())),
        Transfer::Cap { from, .. } => (Event::Cap, None, Some(format!("below {from}"))),
        Transfer::Refund { hold, .. } => (Event::Refund, Some(hold.clone()), None),
    };
    Draft {
        event,
        hold,
        account: Some(done.account.as_str().to_owned()),
        // A ceiling moves nothing; what it has left is all of its limit.
        cost: (event != Event::Cap).then(|| done.amount.amount()),
        remaining: done.remaining.map(Credits::amount),
        note: draft.note.clone().or(note),
        ..draft
    }
}

/// Closes an account and all below it, with a record each.
pub(super) fn close(
    tx: &mut dyn LedgerTx,
    account: &AccountId,
    draft: &Draft,
) -> Step<Result<Vec<Closed>, HoldRefused>, Failure> {
    let closed = transfer::close(tx, account)?;
    for closed in closed.iter().flatten() {
        tx.append(closed_record(closed, draft.clone()))?;
    }
    Ok(closed)
}

fn closed_record(closed: &Closed, draft: Draft) -> Draft {
    Draft {
        event: Event::Close,
        account: Some(closed.account.as_str().to_owned()),
        cost: Some(closed.returned.amount()),
        ..draft
    }
}

/// What an account and those above it have.
fn balance(tx: &mut dyn LedgerTx, id: &AccountId, now: i64) -> Step<Option<Balance>, Failure> {
    let Some(account) = present(tx, id, now)? else { return Ok(None) };
    let mut least = account.headroom(now);
    let mut next = account.clone();
    while let (Kind::Ceiling(_), Some(above)) = (&next.kind, &next.parent) {
        let Some(above) = present(tx, above, now)? else {
            return Err(Broken::Inconsistent(format!("nothing is above account {id:?}")));
        };
        least = [least, above.headroom(now)].into_iter().flatten().min();
        next = above;
    }
    Ok(Some(account.balance(id, least, now)))
}
