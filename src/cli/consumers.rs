//! The credentials behind records and accounts, by the names that people gave them.

use std::collections::HashMap;

use super::context::{OpenStore, answer, configured_keys};
use crate::domain::{
    delegation::Delegation,
    ledger::AccountId,
    usage::{Names, is_token},
};

/// The delegations and API keys of a store and its settings.
pub(super) struct Consumers {
    by_account: HashMap<AccountId, Delegation>,
    parents: HashMap<AccountId, AccountId>,
    /// The names of API keys, by their ids.
    keys: HashMap<String, String>,
}

impl Consumers {
    pub(super) async fn of(store: &OpenStore) -> anyhow::Result<Self> {
        let delegations = answer(store.ledger.delegations()).await?.into_iter();
        let delegations = delegations.filter_map(|standing| standing.delegation);
        let accounts = store.accounts().await?.into_iter();
        let stored = answer(store.ledger.api_keys()).await?;
        let keys = stored.iter().chain(configured_keys(&store.settings));
        Ok(Self {
            by_account: delegations.map(|one| (one.account.clone(), one)).collect(),
            parents: accounts.filter_map(|(id, account)| Some((id, account.parent?))).collect(),
            keys: keys.map(|key| (key.id.clone(), key.name.clone())).collect(),
        })
    }

    /// The delegation whose account this is.
    pub(super) fn delegation(&self, account: &AccountId) -> Option<&Delegation> {
        self.by_account.get(account)
    }

    /// The API key with which an account, or the nearest one above it, was made.
    pub(super) fn key(&self, account: &AccountId) -> Option<&str> {
        let above = std::iter::successors(Some(account), |id| self.parents.get(*id));
        let mut made_with = above.filter_map(|id| self.by_account.get(id)?.made_with.as_deref());
        made_with.find(|id| !is_token(id))
    }

    /// The account of a token, by the first digits of its id or by its label, if that is unique.
    pub(super) fn account(&self, named: &str) -> Option<&AccountId> {
        const FEWEST_DIGITS: usize = 8;
        let is_meant = |one: &&Delegation| {
            let id = one.token.to_string();
            one.label.as_deref() == Some(named)
                || named.len() >= FEWEST_DIGITS && id.starts_with(named)
        };
        let mut meant = self.by_account.values().filter(is_meant);
        meant.next().filter(|_| meant.next().is_none()).map(|one| &one.account)
    }

    /// Labels and keys of credentials, which records do not have.
    pub(super) fn names(&self) -> Names {
        let mut names = Names { labels: self.keys.clone(), ..Names::default() };
        for (account, one) in &self.by_account {
            let id = one.token.to_string();
            names.keys.extend(self.key(account).map(|key| (id.clone(), key.to_owned())));
            names.labels.extend(one.label.clone().map(|label| (id, label)));
        }
        names
    }
}
