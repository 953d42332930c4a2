//! What commands that read accounts and records share: the store, and its records as the journal
//! reads them.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail};

use super::output::note;
use crate::{
    app::wiring,
    domain::{
        budget::Backend,
        credits::Credits,
        ledger::{Account, AccountId, Closed},
        render::revealed,
        settings::Settings,
    },
    host::environment::Environment,
    ledger::{
        self, Answered, Ledger, Unavailable,
        queries::records::{Entry, NewestFirst},
    },
};

/// The store of these settings, as far as it can be seen from another process than the gateway.
pub(super) fn ledger(settings: &Settings) -> anyhow::Result<Arc<dyn Ledger>> {
    let store = &settings.budgeting.store;
    let state = wiring::places(&Environment::of_process()).state;
    if store.backend == Backend::Memory {
        bail!(
            "accounts and records are in the memory of each gateway (`budget.backend: memory`), where no command can see them; use `sqlite`, the default, or have a gateway copy its records into a file (GATEWAY_AUDIT_LOG)"
        );
    }
    if store.path.is_none() && state.is_none() {
        bail!("there is no place for accounts and records: set HOME, or `store.path`");
    }
    Ok(ledger::open(store, state.as_deref().map(Path::new)))
}

/// What a store answers, for a command.
pub(super) async fn answer<T>(answered: Answered<T>) -> anyhow::Result<T> {
    answered.await.context("the store of accounts and records cannot be used")
}

/// Shows every record to `each`, the newest first, until it answers that it has seen enough. Says how
/// many cannot be read.
pub(super) async fn walk(
    mut records: NewestFirst,
    mut each: impl FnMut(Entry) -> bool,
) -> anyhow::Result<()> {
    let mut unreadable = 0;
    let mut more = true;
    while more {
        let Some(batch) = records.next().await.map_err(unusable)? else { break };
        unreadable += batch.unreadable.len();
        more = batch.entries.into_iter().all(&mut each);
    }
    if unreadable > 0 {
        note(&format!(
            "warning: {unreadable} records cannot be read and are left out; see `tollgate audit verify`"
        ));
    }
    Ok(())
}

/// A store that cannot be used, for people.
pub(super) fn unusable(cause: Unavailable) -> anyhow::Error {
    anyhow!(cause).context("the store of accounts and records cannot be used")
}

/// Text of records for a terminal: agents choose some of it, and nothing of it may act there.
pub(super) fn plain(text: &str) -> String {
    revealed(text).replace(['\n', '\r', '\t'], " ")
}

/// What went back of what was closed, and where: to which account, if it was one. None if nothing was
/// closed.
pub(super) async fn returned(
    ledger: &Arc<dyn Ledger>,
    closed: &[Closed],
) -> anyhow::Result<Option<(Credits, Option<AccountId>)>> {
    if closed.is_empty() {
        return Ok(None);
    }
    let accounts = answer(ledger.accounts()).await?;
    let find = |id: &AccountId| accounts.iter().find(|(other, _)| other == id);
    let above = |(_, account): &&(AccountId, Account)| find(account.parent.as_ref()?);
    let (mut all, mut to) = (Credits::ZERO, BTreeSet::new());
    for Closed { account, returned } in closed {
        let parent = find(account).and_then(|account| above(&account));
        // Of those below one that was closed as well, it is in what that one had left.
        let Some((_, Account { open: true, .. })) = parent else { continue };
        all = all.checked_add(*returned).unwrap_or(Credits::MAX);
        to.extend(parent.map(|(id, _)| id.clone()));
    }
    let to = if to.len() == 1 { to.pop_first() } else { None };
    Ok(Some((all, to)))
}
