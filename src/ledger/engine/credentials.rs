//! The steps that change tokens, nonces and API keys.

use super::{
    closing, drafts,
    tx::{LedgerTx, RowDigest},
};
use crate::domain::{
    account_id::token_of,
    auth::ApiKey,
    delegation::{Delegate, Delegation, OpenDelegation, Standing},
    ledger::{
        AccountId, Broken, CLOCK_TOLERANCE, Closed, HoldRefused, Step, Transfer, TransferId,
        TransferRefused, Transferred, transfer,
    },
    record::{Draft, Event, hex},
    stamp::LONGEST_GOOD,
    token::{TokenId, denial_of_api_key},
};

fn as_text(digest: RowDigest) -> Option<String> {
    digest.map(|digest| hex(&digest))
}

/// Opens a token's account and stores the delegation.
pub(super) fn delegate(
    tx: &mut dyn LedgerTx,
    now: i64,
    asked: Delegate,
    draft: Draft,
) -> Step<Result<Transferred, TransferRefused>> {
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
    let done = transfer::transfer(tx.tables(), TransferId(delegation.token.0), &carve, now)?;
    match &done {
        // A transfer that was no delegation used this id.
        Ok(done) if done.replayed && kept.is_none() => {
            return Ok(Err(TransferRefused::KeyReuse));
        }
        Ok(done) if !done.replayed => {
            let row = as_text(tx.add_delegation(&delegation)?);
            let token = Some(delegation.token.to_string());
            // The note names the account, whatever the draft says.
            let label = delegation.label.clone();
            let draft = Draft { token, label, row, note: None, ..draft };
            let draft = drafts::transferred(tx, &carve, done, draft)?;
            tx.append(draft)?;
        }
        _ => {}
    }
    Ok(done)
}

pub(super) fn standing(tx: &mut dyn LedgerTx, now: i64, token: TokenId) -> Step<Standing> {
    let delegation = tx.delegation(token)?;
    // A token without an account may be used; one whose delegation row was deleted must not be.
    if delegation.is_none() && tx.tables().transfer(TransferId(token.0))?.is_some() {
        return Err(Broken::Inconsistent(format!("the delegation of token {token} is missing")));
    }
    let usable = !tx.is_denied(token)?
        && match &delegation {
            Some(delegation) => takes_holds(tx, delegation, now)?,
            None => true,
        };
    Ok(Standing { delegation, usable })
}

pub(super) fn open_delegations(
    tx: &mut dyn LedgerTx,
    now: i64,
    from: &AccountId,
    most: usize,
) -> Step<Vec<OpenDelegation>> {
    let mut found = Vec::new();
    for id in tx.open_below(from, most)? {
        let Some(account) = tx.tables().account(&id)?.filter(|account| account.takes_holds(now))
        else {
            continue;
        };
        let delegation = token_of(&id).map(|token| tx.delegation(token)).transpose()?;
        found.extend(delegation.flatten().map(|delegation| OpenDelegation { delegation, account }));
    }
    Ok(found)
}

pub(super) fn standing_of(
    tx: &mut dyn LedgerTx,
    delegation: Delegation,
    now: i64,
) -> Step<Standing> {
    let denied = tx.is_denied(delegation.token)?;
    let usable = !denied && takes_holds(tx, &delegation, now)?;
    Ok(Standing { delegation: Some(delegation), usable })
}

/// Whether a token's account and all above it take holds.
fn takes_holds(tx: &mut dyn LedgerTx, delegation: &Delegation, now: i64) -> Step<bool> {
    let mut chain = above(tx, &delegation.account)?;
    chain.push(delegation.account.clone());
    for id in chain {
        if !tx.tables().account(&id)?.is_some_and(|account| account.takes_holds(now)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The accounts above one, the nearest first.
pub(super) fn above(tx: &mut dyn LedgerTx, account: &AccountId) -> Step<Vec<AccountId>> {
    let mut found = Vec::new();
    let mut next = account.clone();
    loop {
        let Some(account) = tx.tables().account(&next)? else {
            return Err(Broken::Inconsistent(format!("account {next:?} is missing")));
        };
        match account.parent {
            // A circle of parents.
            Some(parent) if found.contains(&parent) => {
                return Err(Broken::Inconsistent(format!("account {parent:?} is above itself")));
            }
            Some(parent) => {
                next = parent.clone();
                found.push(parent);
            }
            None => return Ok(found),
        }
    }
}

pub(super) fn revoke(
    tx: &mut dyn LedgerTx,
    token: TokenId,
    draft: Draft,
) -> Step<Result<Vec<Closed>, HoldRefused>> {
    let draft = Draft { token: Some(token.to_string()), ..draft };
    if let Some(delegation) = tx.delegation(token)? {
        return closing::close(tx, &delegation.account, &draft);
    }
    if !tx.is_denied(token)? {
        tx.deny(token)?;
        let note = draft.note.clone().or(Some(format!("token {token}")));
        tx.append(Draft { event: Event::Revoke, note, ..draft.clone() })?;
    }
    Ok(Ok(close_made_with(tx, &token.to_string(), &draft)?))
}

/// Closes the delegations made with a credential that has no account of its own.
fn close_made_with(tx: &mut dyn LedgerTx, credential: &str, draft: &Draft) -> Step<Vec<Closed>> {
    let mut all = Vec::new();
    for account in tx.made_with(credential)? {
        match closing::close(tx, &account, draft)? {
            Ok(closed) => all.extend(closed),
            Err(refused) => return Err(Broken::Inconsistent(refused.to_string())),
        }
    }
    Ok(all)
}

pub(super) fn consume_nonce(
    tx: &mut dyn LedgerTx,
    now: i64,
    nonce: &[u8; 32],
    until: i64,
) -> Step<bool> {
    if until <= now {
        return Ok(false);
    }
    // A nonce that was forgotten while the clock was ahead is not valid again when it is right.
    let before = tx.nonces_forgotten()?;
    // If that moment is far ahead, the clock was wrong, and only stamps made from now on were
    // surely never used.
    let wrong = |moment: &i64| *moment > now.saturating_add(CLOCK_TOLERANCE);
    let known = match before.filter(wrong) {
        Some(_) => Some(now.saturating_add(LONGEST_GOOD)),
        None => before,
    };
    let forgotten = known.max(tx.forget_nonces(now)?);
    if let Some(moment) = forgotten.filter(|_| forgotten != before) {
        tx.put_nonces_forgotten(moment)?;
    }
    let remembered = forgotten.is_none_or(|moment| until > moment);
    Ok(remembered && tx.add_nonce(nonce, until)?)
}

pub(super) fn add_api_key(tx: &mut dyn LedgerTx, key: &ApiKey, draft: Draft) -> Step<bool> {
    let taken = tx.api_key(&key.id)?.or(tx.api_key_by_digest(key.digest.expose())?).is_some();
    if !taken {
        let row = as_text(tx.put_api_key(key)?);
        let agents: Vec<_> = key.agents.iter().map(|agent| agent.as_str()).collect();
        let note = format!("API key {} ({}) made for {}", key.id, key.name, agents.join(", "));
        let (token, note) = (Some(key.id.clone()), Some(note));
        tx.append(Draft { event: Event::Key, token, row, note, ..draft })?;
    }
    Ok(!taken)
}

pub(super) fn revoke_api_key(
    tx: &mut dyn LedgerTx,
    id: &str,
    draft: Draft,
) -> Step<Option<Vec<Closed>>> {
    let Some(key) = tx.api_key(id)?.filter(|key| !key.revoked) else { return Ok(None) };
    let row = as_text(tx.put_api_key(&ApiKey { revoked: true, ..key })?);
    // Restoring the row of before does not restore the key.
    let denial = denial_of_api_key(id);
    if !tx.is_denied(denial)? {
        tx.deny(denial)?;
    }
    let (token, note) = (Some(id.to_owned()), Some(format!("API key {id} revoked")));
    tx.append(Draft { event: Event::Key, token, row, note, ..draft.clone() })?;
    close_made_with(tx, id, &draft).map(Some)
}
