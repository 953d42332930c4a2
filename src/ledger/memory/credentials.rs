//! Tokens, stamps and API keys in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::Open;
use crate::{
    domain::{
        auth::ApiKey,
        delegation::Delegation,
        ledger::{
            AccountId,
            replay::{Right, RightRow},
        },
        token::TokenId,
    },
    ledger::{
        Failure,
        credentials::{Credentials, RowDigest},
    },
};

#[derive(Default)]
pub(super) struct Kept {
    delegations: BTreeMap<TokenId, Delegation>,
    /// Which of them has a handle.
    handles: BTreeMap<[u8; 32], TokenId>,
    denied: BTreeSet<TokenId>,
    /// What was shown, and when it may be forgotten.
    shown: BTreeMap<[u8; 32], i64>,
    /// Until when the last that was forgotten had to be remembered.
    forgotten: Option<i64>,
    api_keys: BTreeMap<String, ApiKey>,
}

impl Kept {
    pub(super) fn rights(&self) -> Vec<RightRow> {
        let row = |right, id: String, account| RightRow {
            right,
            id,
            account,
            digest: None,
            is_sound: true,
        };
        let delegations = self.delegations.values();
        let delegations = delegations
            .map(|it| row(Right::Delegation, it.token.to_string(), Some(it.account.clone())));
        let keys = self.api_keys.keys().map(|id| row(Right::ApiKey, id.clone(), None));
        let denied = self.denied.iter().map(|token| row(Right::Denied, token.to_string(), None));
        delegations.chain(keys).chain(denied).collect()
    }
}

impl Credentials for Open<'_> {
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure> {
        Ok(self.kept.credentials.delegations.get(&token).cloned())
    }

    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure> {
        // The digest is keyed: how long the search takes says nothing of the handle.
        let Kept { delegations, handles, .. } = &self.kept.credentials;
        Ok(handles.get(handle).and_then(|token| delegations.get(token)).cloned())
    }

    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure> {
        let mut all: Vec<_> = self.kept.credentials.delegations.values().cloned().collect();
        all.sort_by(|a, b| a.account.cmp(&b.account));
        Ok(all)
    }

    fn made_with(&mut self, credential: &str) -> Result<Vec<AccountId>, Failure> {
        let all = self.kept.credentials.delegations.values();
        let made = all.filter(|one| one.made_with.as_deref() == Some(credential));
        Ok(made.map(|delegation| delegation.account.clone()).collect())
    }

    fn open_below(&mut self, id: &AccountId, most: usize) -> Result<Vec<AccountId>, Failure> {
        let below = self.kept.rows.accounts.iter().rev().filter(|(_, account)| {
            account.open && account.parent.as_ref() == Some(id) && account.source().is_some()
        });
        Ok(below.map(|(id, _)| id.clone()).take(most).collect())
    }

    fn add_delegation(&mut self, delegation: &Delegation) -> Result<RowDigest, Failure> {
        let Kept { delegations, handles, .. } = &mut self.kept.credentials;
        handles.extend(delegation.handle.map(|handle| (handle, delegation.token)));
        delegations.insert(delegation.token, delegation.clone());
        Ok(None)
    }

    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure> {
        Ok(self.kept.credentials.denied.contains(&token))
    }

    fn deny(&mut self, token: TokenId) -> Result<(), Failure> {
        self.kept.credentials.denied.insert(token);
        Ok(())
    }

    fn show(&mut self, what: &[u8; 32], until: i64) -> Result<bool, Failure> {
        Ok(self.kept.credentials.shown.insert(*what, until).is_none())
    }

    fn forget_shown(&mut self, now: i64) -> Result<Option<i64>, Failure> {
        let shown = &mut self.kept.credentials.shown;
        let last = shown.values().copied().filter(|until| *until <= now).max();
        shown.retain(|_, until| *until > now);
        Ok(last)
    }

    fn forgotten(&mut self) -> Result<Option<i64>, Failure> {
        Ok(self.kept.credentials.forgotten)
    }

    fn put_forgotten(&mut self, moment: i64) -> Result<(), Failure> {
        self.kept.credentials.forgotten = Some(moment);
        Ok(())
    }

    fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>, Failure> {
        Ok(self.kept.credentials.api_keys.get(id).cloned())
    }

    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Failure> {
        let mut all = self.kept.credentials.api_keys.values();
        Ok(all.find(|key| key.digest == *digest).cloned())
    }

    fn api_keys(&mut self) -> Result<Vec<ApiKey>, Failure> {
        Ok(self.kept.credentials.api_keys.values().cloned().collect())
    }

    fn put_api_key(&mut self, key: &ApiKey) -> Result<RowDigest, Failure> {
        self.kept.credentials.api_keys.insert(key.id.clone(), key.clone());
        Ok(None)
    }
}
