//! The records of a store, as commands read them.

use std::collections::BTreeSet;

use super::{
    context::{OpenStore, unusable},
    output::note,
};
use crate::{
    domain::{
        credits::Credits,
        ledger::{Account, AccountId, Closed},
        render::revealed,
    },
    ledger::{LedgerUnavailable, queries::Extent},
};

/// The result of a query over records. Warns if some of them cannot be read.
pub(super) fn complete<T>(found: Result<(T, Extent), LedgerUnavailable>) -> anyhow::Result<T> {
    let (found, Extent { unreadable, .. }) = found.map_err(unusable)?;
    if unreadable > 0 {
        note(&format!(
            "warning: {unreadable} records cannot be read and are left out; see `tollgate audit verify`"
        ));
    }
    Ok(found)
}

/// Text of records in one line, control characters escaped: agents choose some of it.
pub(super) fn plain(text: &str) -> String {
    revealed(text).replace(['\n', '\r', '\t'], " ")
}

/// The credits that went back when accounts were closed.
pub(super) struct Returned {
    pub(super) amount: Credits,
    /// The account that has them, if it is only one.
    pub(super) to: Option<AccountId>,
}

impl Returned {
    /// None if nothing was closed.
    pub(super) async fn from(store: &OpenStore, closed: &[Closed]) -> anyhow::Result<Option<Self>> {
        if closed.is_empty() {
            return Ok(None);
        }
        let accounts = store.accounts().await?;
        let find = |id: &AccountId| accounts.iter().find(|(other, _)| other == id);
        let (mut amount, mut to) = (Credits::ZERO, BTreeSet::new());
        for Closed { account, returned } in closed {
            let parent = find(account).and_then(|(_, account)| find(account.parent.as_ref()?));
            // What accounts below a closed one returned is part of what that one returned.
            let Some((parent, Account { open: true, .. })) = parent else { continue };
            amount = amount.checked_add(*returned).unwrap_or(Credits::MAX);
            to.insert(parent.clone());
        }
        let to = if to.len() == 1 { to.pop_first() } else { None };
        Ok(Some(Self { amount, to }))
    }

    pub(super) fn in_words(&self) -> String {
        let to = self.to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
        format!("{} went back{to}", self.amount.in_words())
    }
}
