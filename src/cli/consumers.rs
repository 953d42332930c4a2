//! Who uses what: the credentials behind records and accounts, as people know them.

use std::{collections::HashMap, sync::Arc};

use super::records::answer;
use crate::{
    domain::{
        auth::AuthMode,
        delegation::Delegation,
        ledger::AccountId,
        settings::Settings,
        usage::{Names, is_token},
    },
    ledger::Ledger,
};

/// The delegations and API keys of a store and its settings.
pub(super) struct Consumers {
    by_account: HashMap<AccountId, Delegation>,
    parents: HashMap<AccountId, AccountId>,
    /// The names of API keys, by their ids.
    keys: HashMap<String, String>,
}

impl Consumers {
    pub(super) async fn of(settings: &Settings, ledger: &Arc<dyn Ledger>) -> anyhow::Result<Self> {
        let delegations = answer(ledger.delegations()).await?;
        let delegations = delegations.into_iter().filter_map(|standing| standing.delegation);
        let accounts = answer(ledger.accounts()).await?.into_iter();
        let kept = answer(ledger.api_keys()).await?;
        let of_settings = match &settings.auth.mode {
            AuthMode::ApiKey(keys) => keys.as_slice(),
            _ => &[],
        };
        let keys = kept.iter().chain(of_settings);
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

    /// The API key with which an account was made, or the one that it lies below.
    pub(super) fn key(&self, account: &AccountId) -> Option<&str> {
        let above = std::iter::successors(Some(account), |id| self.parents.get(*id));
        let mut made_with = above.filter_map(|id| self.by_account.get(id)?.made_with.as_deref());
        made_with.find(|id| !is_token(id))
    }

    /// The account of a token, by the first digits of its id or by its label, if only one has it.
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

    /// What records do not say of credentials.
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
