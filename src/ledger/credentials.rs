//! What is kept of tokens, stamps and API keys, and the steps that change it.

use super::{Answered, Engine, Failure, LedgerTx, steps, terms};
use crate::domain::{
    auth::ApiKey,
    delegation::{Delegate, Delegation, OpenDelegation, Standing, token_of},
    ledger::{
        AccountId, Broken, CLOCK_TOLERANCE, Closed, HoldRefused, Step, Transfer, TransferId,
        TransferRefused, Transferred, transfer,
    },
    record::{Draft, Event, hex},
    stamp::LONGEST_GOOD,
    token::{TokenId, denial_of_api_key},
};

/// What a tx keeps beside accounts and records, within one transaction. Every method fails where
/// the store cannot be read or written.
#[expect(clippy::missing_errors_doc, reason = "said once, above")]
pub trait Credentials {
    /// The delegation of a token.
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure>;

    /// The delegation whose handle has this keyed digest.
    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure>;

    /// All delegations, in order of their accounts' ids.
    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure>;

    /// The accounts of what was delegated with a credential that has none.
    fn made_with(&mut self, credential: &str) -> Result<Vec<AccountId>, Failure>;

    /// Returns open accounts directly below one that were given credits, the last ids first, up to
    /// a limit.
    fn open_below(&mut self, id: &AccountId, most: usize) -> Result<Vec<AccountId>, Failure>;

    /// Keeps a delegation whose token, account and handle no other has. Answers the row's digest.
    fn add_delegation(&mut self, delegation: &Delegation) -> Result<RowDigest, Failure>;

    /// Whether a token was denied.
    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure>;

    /// Denies a token that was not.
    fn deny(&mut self, token: TokenId) -> Result<(), Failure>;

    /// Whether this is not among what was shown, to which it is added.
    fn show(&mut self, what: &[u8; 32], until: i64) -> Result<bool, Failure>;

    /// Forgets what was shown and need not be remembered at a moment. Answers until when the last of
    /// it had to be.
    fn forget_shown(&mut self, now: i64) -> Result<Option<i64>, Failure>;

    /// What need not be remembered after this moment may have been shown and forgotten.
    fn forgotten(&mut self) -> Result<Option<i64>, Failure>;

    /// Writes that moment.
    fn put_forgotten(&mut self, moment: i64) -> Result<(), Failure>;

    /// The API key of that id.
    fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>, Failure>;

    /// The API key with this digest.
    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Failure>;

    /// All API keys, in order of their ids.
    fn api_keys(&mut self) -> Result<Vec<ApiKey>, Failure>;

    /// Writes an API key, in place of the one of that id. Answers the row's digest.
    fn put_api_key(&mut self, key: &ApiKey) -> Result<RowDigest, Failure>;
}

/// The keyed digest that a row is kept with, of a store that has a key.
pub(super) type RowDigest = Option<[u8; 32]>;

fn as_text(digest: RowDigest) -> Option<String> {
    digest.map(|digest| hex(&digest))
}

/// Opens a token's account and keeps what is to be known of the token.
pub(super) fn delegate(
    engine: &impl Engine,
    asked: Delegate,
    draft: Draft,
) -> Answered<Result<Transferred, TransferRefused>> {
    engine.run(move |tx, now| {
        let Delegate { from, amount, expires, delegation } = asked;
        let kept = tx.delegation(delegation.token)?;
        let handle_taken = match (&kept, &delegation.handle) {
            (None, Some(handle)) => tx.delegation_by_handle(handle)?.is_some(),
            _ => false,
        };
        if handle_taken || kept.as_ref().is_some_and(|kept| *kept != delegation) {
            return Ok(Err(TransferRefused::KeyReuse));
        }
        let carve = Transfer::Carve { from, to: delegation.account.clone(), amount, expires };
        let done = transfer::transfer(tx, TransferId(delegation.token.0), &carve, now)?;
        match &done {
            // Credits were moved under this id, and not for a token.
            Ok(done) if done.replayed && kept.is_none() => {
                return Ok(Err(TransferRefused::KeyReuse));
            }
            Ok(done) if !done.replayed => {
                let row = as_text(tx.add_delegation(&delegation)?);
                let accounts = terms::opened_by(tx, &carve)?;
                let token = Some(delegation.token.to_string());
                // The note says which account it is, whatever else there is to say.
                let label = delegation.label.clone();
                let draft = Draft { token, label, accounts, row, note: None, ..draft };
                tx.append(steps::transferred_record(&carve, done, draft))?;
            }
            _ => {}
        }
        Ok(done)
    })
}

pub(super) fn standing(engine: &impl Engine, token: TokenId) -> Answered<Standing> {
    engine.look(move |tx, now| {
        let delegation = tx.delegation(token)?;
        // A token without an account may be used, and one whose delegation was deleted would be one.
        if delegation.is_none() && tx.transfer(TransferId(token.0))?.is_some() {
            return Err(Broken::Inconsistent(format!(
                "the delegation of token {token} is missing"
            )));
        }
        let usable = !tx.is_denied(token)?
            && match &delegation {
                Some(delegation) => takes_holds(tx, delegation, now)?,
                None => true,
            };
        Ok(Standing { delegation, usable })
    })
}

pub(super) fn by_handle(engine: &impl Engine, handle: [u8; 32]) -> Answered<Option<Standing>> {
    engine.look(move |tx, now| {
        let found = tx.delegation_by_handle(&handle)?;
        found.map(|delegation| standing_of(tx, delegation, now)).transpose()
    })
}

pub(super) fn delegations(engine: &impl Engine) -> Answered<Vec<Standing>> {
    engine.look(move |tx, now| {
        let all = tx.delegations()?.into_iter();
        all.map(|delegation| standing_of(tx, delegation, now)).collect()
    })
}

pub(super) fn open_delegations(
    engine: &impl Engine,
    from: AccountId,
    most: usize,
) -> Answered<Vec<OpenDelegation>> {
    engine.look(move |tx, now| {
        let mut found = Vec::new();
        for id in tx.open_below(&from, most)? {
            let Some(account) = tx.account(&id)?.filter(|account| account.takes_holds(now)) else {
                continue;
            };
            let delegation = token_of(&id).map(|token| tx.delegation(token)).transpose()?;
            found.extend(
                delegation.flatten().map(|delegation| OpenDelegation { delegation, account }),
            );
        }
        Ok(found)
    })
}

fn standing_of(tx: &mut dyn LedgerTx, delegation: Delegation, now: i64) -> Step<Standing, Failure> {
    let denied = tx.is_denied(delegation.token)?;
    let usable = !denied && takes_holds(tx, &delegation, now)?;
    Ok(Standing { delegation: Some(delegation), usable })
}

/// Whether a token's account and all above it take holds.
fn takes_holds(tx: &mut dyn LedgerTx, delegation: &Delegation, now: i64) -> Step<bool, Failure> {
    let mut chain = above_of(tx, &delegation.account)?;
    chain.push(delegation.account.clone());
    for id in chain {
        if !tx.account(&id)?.is_some_and(|account| account.takes_holds(now)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The accounts above one, the nearest first.
fn above_of(tx: &mut dyn LedgerTx, account: &AccountId) -> Step<Vec<AccountId>, Failure> {
    let mut above = Vec::new();
    let mut next = account.clone();
    loop {
        let Some(account) = tx.account(&next)? else {
            return Err(Broken::Inconsistent(format!("account {next:?} is missing")));
        };
        match account.parent {
            // Accounts that go in a circle are not above anything.
            Some(parent) if above.contains(&parent) => {
                return Err(Broken::Inconsistent(format!("account {parent:?} is above itself")));
            }
            Some(parent) => {
                next = parent.clone();
                above.push(parent);
            }
            None => return Ok(above),
        }
    }
}

pub(super) fn revoke(
    engine: &impl Engine,
    token: TokenId,
    draft: Draft,
) -> Answered<Result<Vec<Closed>, HoldRefused>> {
    engine.run(move |tx, _| {
        let draft = Draft { token: Some(token.to_string()), ..draft };
        if let Some(delegation) = tx.delegation(token)? {
            return steps::close(tx, &delegation.account, &draft);
        }
        if !tx.is_denied(token)? {
            tx.deny(token)?;
            let note = draft.note.clone().or(Some(format!("token {token}")));
            tx.append(Draft { event: Event::Revoke, note, ..draft.clone() })?;
        }
        Ok(Ok(close_made_with(tx, &token.to_string(), &draft)?))
    })
}

/// Closes what was delegated with a credential that has no account of its own.
fn close_made_with(
    tx: &mut dyn LedgerTx,
    credential: &str,
    draft: &Draft,
) -> Step<Vec<Closed>, Failure> {
    let mut all = Vec::new();
    for account in tx.made_with(credential)? {
        match steps::close(tx, &account, draft)? {
            Ok(closed) => all.extend(closed),
            Err(refused) => return Err(Broken::Inconsistent(refused.to_string())),
        }
    }
    Ok(all)
}

/// Whether an account lies below another.
pub(super) fn lies_below(
    engine: &impl Engine,
    account: AccountId,
    above: AccountId,
) -> Answered<bool> {
    engine.look(move |tx, _| Ok(above_of(tx, &account)?.contains(&above)))
}

pub(super) fn consume_nonce(engine: &impl Engine, what: [u8; 32], until: i64) -> Answered<bool> {
    engine.run(move |tx, now| {
        if until <= now {
            return Ok(false);
        }
        // What was forgotten while the clock was ahead is not good again when it is right.
        let before = tx.forgotten()?;
        // Unless it was shown while the clock was ahead as well: then only what is made from now on
        // was surely never shown.
        let wrong = |moment: &i64| *moment > now.saturating_add(CLOCK_TOLERANCE);
        let known = match before.filter(wrong) {
            Some(_) => Some(now.saturating_add(LONGEST_GOOD)),
            None => before,
        };
        let forgotten = known.max(tx.forget_shown(now)?);
        if let Some(moment) = forgotten.filter(|_| forgotten != before) {
            tx.put_forgotten(moment)?;
        }
        let remembered = forgotten.is_none_or(|moment| until > moment);
        Ok(remembered && tx.show(&what, until)?)
    })
}

pub(super) fn add_api_key(engine: &impl Engine, key: ApiKey, draft: Draft) -> Answered<bool> {
    engine.run(move |tx, _| {
        let taken = tx.api_key(&key.id)?.or(tx.api_key_by_digest(&key.digest)?).is_some();
        if !taken {
            let row = as_text(tx.put_api_key(&key)?);
            let agents: Vec<_> = key.agents.iter().map(|agent| agent.as_str()).collect();
            let note = format!("API key {} ({}) made for {}", key.id, key.name, agents.join(", "));
            let (token, note) = (Some(key.id.clone()), Some(note));
            tx.append(Draft { event: Event::Key, token, row, note, ..draft })?;
        }
        Ok(!taken)
    })
}

/// An API key as it may be shown: one that was taken back stays so, whatever its row says.
pub(super) fn api_key(engine: &impl Engine, digest: [u8; 32]) -> Answered<Option<ApiKey>> {
    engine.look(move |tx, _| {
        let Some(key) = tx.api_key_by_digest(&digest)? else { return Ok(None) };
        let revoked = key.revoked || tx.is_denied(denial_of_api_key(&key.id))?;
        Ok(Some(ApiKey { revoked, ..key }))
    })
}

pub(super) fn revoke_api_key(
    engine: &impl Engine,
    id: String,
    draft: Draft,
) -> Answered<Option<Vec<Closed>>> {
    engine.run(move |tx, _| {
        let Some(key) = tx.api_key(&id)?.filter(|key| !key.revoked) else { return Ok(None) };
        let row = as_text(tx.put_api_key(&ApiKey { revoked: true, ..key })?);
        // The row of before, put back, gives no right.
        let denial = denial_of_api_key(&id);
        if !tx.is_denied(denial)? {
            tx.deny(denial)?;
        }
        let (token, note) = (Some(id.clone()), Some(format!("API key {id} revoked")));
        tx.append(Draft { event: Event::Key, token, row, note, ..draft.clone() })?;
        close_made_with(tx, &id, &draft).map(Some)
    })
}
