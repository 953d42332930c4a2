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

/// What a book keeps beside accounts and records, within one transaction. Every method fails where
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
    engine.run(move |book, now| {
        let Delegate { from, amount, expires, delegation } = asked;
        let kept = book.delegation(delegation.token)?;
        let handle_taken = match (&kept, &delegation.handle) {
            (None, Some(handle)) => book.delegation_by_handle(handle)?.is_some(),
            _ => false,
        };
        if handle_taken || kept.as_ref().is_some_and(|kept| *kept != delegation) {
            return Ok(Err(TransferRefused::KeyReuse));
        }
        let carve = Transfer::Carve { from, to: delegation.account.clone(), amount, expires };
        let done = transfer::transfer(book, TransferId(delegation.token.0), &carve, now)?;
        match &done {
            // Credits were moved under this id, and not for a token.
            Ok(done) if done.replayed && kept.is_none() => {
                return Ok(Err(TransferRefused::KeyReuse));
            }
            Ok(done) if !done.replayed => {
                let row = as_text(book.add_delegation(&delegation)?);
                let accounts = terms::opened_by(book, &carve)?;
                let token = Some(delegation.token.to_string());
                // The note says which account it is, whatever else there is to say.
                let label = delegation.label.clone();
                let draft = Draft { token, label, accounts, row, note: None, ..draft };
                book.append(steps::transferred_record(&carve, done, draft))?;
            }
            _ => {}
        }
        Ok(done)
    })
}

pub(super) fn standing(engine: &impl Engine, token: TokenId) -> Answered<Standing> {
    engine.look(move |book, now| {
        let delegation = book.delegation(token)?;
        // A token without an account may be used, and one whose delegation was deleted would be one.
        if delegation.is_none() && book.transfer(TransferId(token.0))?.is_some() {
            return Err(Broken::Inconsistent(format!(
                "the delegation of token {token} is missing"
            )));
        }
        let usable = !book.is_denied(token)?
            && match &delegation {
                Some(delegation) => takes_holds(book, delegation, now)?,
                None => true,
            };
        Ok(Standing { delegation, usable })
    })
}

pub(super) fn by_handle(engine: &impl Engine, handle: [u8; 32]) -> Answered<Option<Standing>> {
    engine.look(move |book, now| {
        let found = book.delegation_by_handle(&handle)?;
        found.map(|delegation| standing_of(book, delegation, now)).transpose()
    })
}

pub(super) fn delegations(engine: &impl Engine) -> Answered<Vec<Standing>> {
    engine.look(move |book, now| {
        let all = book.delegations()?.into_iter();
        all.map(|delegation| standing_of(book, delegation, now)).collect()
    })
}

pub(super) fn open_delegations(
    engine: &impl Engine,
    from: AccountId,
    most: usize,
) -> Answered<Vec<OpenDelegation>> {
    engine.look(move |book, now| {
        let mut found = Vec::new();
        for id in book.open_below(&from, most)? {
            let Some(account) = book.account(&id)?.filter(|account| account.takes_holds(now))
            else {
                continue;
            };
            let delegation = token_of(&id).map(|token| book.delegation(token)).transpose()?;
            found.extend(
                delegation.flatten().map(|delegation| OpenDelegation { delegation, account }),
            );
        }
        Ok(found)
    })
}

fn standing_of(
    book: &mut dyn LedgerTx,
    delegation: Delegation,
    now: i64,
) -> Step<Standing, Failure> {
    let denied = book.is_denied(delegation.token)?;
    let usable = !denied && takes_holds(book, &delegation, now)?;
    Ok(Standing { delegation: Some(delegation), usable })
}

/// Whether a token's account and all above it take holds.
fn takes_holds(book: &mut dyn LedgerTx, delegation: &Delegation, now: i64) -> Step<bool, Failure> {
    let mut chain = above_of(book, &delegation.account)?;
    chain.push(delegation.account.clone());
    for id in chain {
        if !book.account(&id)?.is_some_and(|account| account.takes_holds(now)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The accounts above one, the nearest first.
fn above_of(book: &mut dyn LedgerTx, account: &AccountId) -> Step<Vec<AccountId>, Failure> {
    let mut above = Vec::new();
    let mut next = account.clone();
    loop {
        let Some(account) = book.account(&next)? else {
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
    engine.run(move |book, _| {
        let draft = Draft { token: Some(token.to_string()), ..draft };
        if let Some(delegation) = book.delegation(token)? {
            return steps::close(book, &delegation.account, &draft);
        }
        if !book.is_denied(token)? {
            book.deny(token)?;
            let note = draft.note.clone().or(Some(format!("token {token}")));
            book.append(Draft { event: Event::Revoke, note, ..draft.clone() })?;
        }
        Ok(Ok(close_made_with(book, &token.to_string(), &draft)?))
    })
}

/// Closes what was delegated with a credential that has no account of its own.
fn close_made_with(
    book: &mut dyn LedgerTx,
    credential: &str,
    draft: &Draft,
) -> Step<Vec<Closed>, Failure> {
    let mut all = Vec::new();
    for account in book.made_with(credential)? {
        match steps::close(book, &account, draft)? {
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
    engine.look(move |book, _| Ok(above_of(book, &account)?.contains(&above)))
}

pub(super) fn first_time(engine: &impl Engine, what: [u8; 32], until: i64) -> Answered<bool> {
    engine.run(move |book, now| {
        if until <= now {
            return Ok(false);
        }
        // What was forgotten while the clock was ahead is not good again when it is right.
        let before = book.forgotten()?;
        // Unless it was shown while the clock was ahead as well: then only what is made from now on
        // was surely never shown.
        let wrong = |moment: &i64| *moment > now.saturating_add(CLOCK_TOLERANCE);
        let known = match before.filter(wrong) {
            Some(_) => Some(now.saturating_add(LONGEST_GOOD)),
            None => before,
        };
        let forgotten = known.max(book.forget_shown(now)?);
        if let Some(moment) = forgotten.filter(|_| forgotten != before) {
            book.put_forgotten(moment)?;
        }
        let remembered = forgotten.is_none_or(|moment| until > moment);
        Ok(remembered && book.show(&what, until)?)
    })
}

pub(super) fn add_api_key(engine: &impl Engine, key: ApiKey, draft: Draft) -> Answered<bool> {
    engine.run(move |book, _| {
        let taken = book.api_key(&key.id)?.or(book.api_key_by_digest(&key.digest)?).is_some();
        if !taken {
            let row = as_text(book.put_api_key(&key)?);
            let agents: Vec<_> = key.agents.iter().map(|agent| agent.as_str()).collect();
            let note = format!("API key {} ({}) made for {}", key.id, key.name, agents.join(", "));
            let (token, note) = (Some(key.id.clone()), Some(note));
            book.append(Draft { event: Event::Key, token, row, note, ..draft })?;
        }
        Ok(!taken)
    })
}

/// An API key as it may be shown: one that was taken back stays so, whatever its row says.
pub(super) fn api_key(engine: &impl Engine, digest: [u8; 32]) -> Answered<Option<ApiKey>> {
    engine.look(move |book, _| {
        let Some(key) = book.api_key_by_digest(&digest)? else { return Ok(None) };
        let revoked = key.revoked || book.is_denied(denial_of_api_key(&key.id))?;
        Ok(Some(ApiKey { revoked, ..key }))
    })
}

pub(super) fn revoke_api_key(
    engine: &impl Engine,
    id: String,
    draft: Draft,
) -> Answered<Option<Vec<Closed>>> {
    engine.run(move |book, _| {
        let Some(key) = book.api_key(&id)?.filter(|key| !key.revoked) else { return Ok(None) };
        let row = as_text(book.put_api_key(&ApiKey { revoked: true, ..key })?);
        // The row of before, put back, gives no right.
        let denial = denial_of_api_key(&id);
        if !book.is_denied(denial)? {
            book.deny(denial)?;
        }
        let (token, note) = (Some(id.clone()), Some(format!("API key {id} revoked")));
        book.append(Draft { event: Event::Key, token, row, note, ..draft.clone() })?;
        close_made_with(book, &id, &draft).map(Some)
    })
}
