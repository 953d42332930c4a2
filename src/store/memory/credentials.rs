//! Tokens, stamps and API keys in memory.

use std::collections::{BTreeMap, BTreeSet};

use super::Open;
use crate::{
    domain::{auth::ApiKey, delegation::Delegation, ledger::AccountId, token::TokenId},
    store::{Failure, credentials::Credentials},
};

#[derive(Default)]
pub(super) struct Kept {
    delegations: BTreeMap<AccountId, Delegation>,
    denied: BTreeSet<TokenId>,
    /// What was shown, and when it may be forgotten.
    shown: BTreeMap<[u8; 32], i64>,
    api_keys: BTreeMap<String, ApiKey>,
}

impl Credentials for Open<'_> {
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure> {
        let mut all = self.kept.credentials.delegations.values();
        Ok(all.find(|delegation| delegation.token == token).cloned())
    }

    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure> {
        let mut all = self.kept.credentials.delegations.values();
        // The digest is keyed: how long the search takes says nothing of the handle.
        Ok(all.find(|delegation| delegation.handle.as_ref() == Some(handle)).cloned())
    }

    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure> {
        Ok(self.kept.credentials.delegations.values().cloned().collect())
    }

    fn add_delegation(&mut self, delegation: &Delegation) -> Result<(), Failure> {
        let account = delegation.account.clone();
        self.kept.credentials.delegations.insert(account, delegation.clone());
        Ok(())
    }

    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure> {
        Ok(self.kept.credentials.denied.contains(&token))
    }

    fn deny(&mut self, token: TokenId) -> Result<(), Failure> {
        self.kept.credentials.denied.insert(token);
        Ok(())
    }

    fn show(&mut self, what: &[u8; 32], until: i64, now: i64) -> Result<bool, Failure> {
        let shown = &mut self.kept.credentials.shown;
        shown.retain(|_, until| *until > now);
        Ok(shown.insert(*what, until).is_none())
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

    fn put_api_key(&mut self, key: &ApiKey) -> Result<(), Failure> {
        self.kept.credentials.api_keys.insert(key.id.clone(), key.clone());
        Ok(())
    }
}
