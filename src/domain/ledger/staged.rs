//! What a step is about to change, kept apart from the rows until the step has gone well to its end.

use std::collections::BTreeMap;

use super::{
    AccountId, Failure, MOST_LEVELS, Step,
    account::{Account, AccountKind, Balance},
    holds::{HoldEntry, HoldId},
    inconsistent,
    rows::{Tables, TransferId},
};

/// Rows as a step means to leave them.
pub(super) struct Staged<'a> {
    tables: &'a mut dyn Tables,
    accounts: BTreeMap<AccountId, Account>,
    holds: BTreeMap<HoldId, HoldEntry>,
    transfer: Option<(TransferId, [u8; 32])>,
}

/// Takes a step whole or not at all: of one that fails halfway nothing is written, whether or not
/// the store can take back what was.
pub(super) fn staged<R>(
    tables: &mut dyn Tables,
    step: impl FnOnce(&mut Staged<'_>) -> Step<R>,
) -> Step<R> {
    let (accounts, holds) = (BTreeMap::new(), BTreeMap::new());
    let mut rows = Staged { tables, accounts, holds, transfer: None };
    let outcome = step(&mut rows)?;
    let Staged { tables, accounts, holds, transfer } = rows;
    for (id, account) in accounts {
        tables.put_account(&id, account)?;
    }
    for (id, hold) in holds {
        tables.put_hold(id, hold)?;
    }
    if let Some((id, fingerprint)) = transfer {
        tables.put_transfer(id, fingerprint)?;
    }
    Ok(outcome)
}

/// An account at a moment: one whose clock was wrong is recounted, and not written.
fn present(tables: &mut dyn Tables, id: &AccountId, now: i64) -> Result<Option<Account>, Failure> {
    let found = tables.account(id)?;
    found.map(|account| recounted(tables, id, account, now)).transpose()
}

/// An account as its owner sees it, with the least that it and those above it have left; None if
/// there is none of that id.
pub fn balance(tables: &mut dyn Tables, id: &AccountId, now: i64) -> Step<Option<Balance>> {
    let Some(account) = present(tables, id, now)? else { return Ok(None) };
    let mut least = account.headroom(now);
    let (mut next, mut levels) = (account.clone(), 0);
    while let (AccountKind::Ceiling(_), Some(above)) = (&next.kind, &next.parent) {
        if levels > MOST_LEVELS {
            return inconsistent("accounts are nested too deeply");
        }
        levels += 1;
        let Some(above) = present(tables, above, now)? else {
            return inconsistent(format!("nothing is above account {id:?}"));
        };
        least = [least, above.headroom(now)].into_iter().flatten().min();
        next = above;
    }
    Ok(Some(account.balance(id, least, now)))
}

fn recounted(
    tables: &mut dyn Tables,
    id: &AccountId,
    mut account: Account,
    now: i64,
) -> Result<Account, Failure> {
    if let AccountKind::Ceiling(ceiling) = &mut account.kind
        && let Some(begins) = ceiling.to_recount(now)
    {
        *ceiling = ceiling.opened(begins, tables.drawn(id, begins)?);
    }
    Ok(account)
}

impl Staged<'_> {
    /// An account at a moment. One that is recounted for that is written, even if the step then
    /// refuses: otherwise the next one would count again.
    pub(super) fn present(&mut self, id: &AccountId, now: i64) -> Result<Option<Account>, Failure> {
        let Some(before) = self.account(id)? else { return Ok(None) };
        let account = recounted(self.tables, id, before.clone(), now)?;
        if account != before {
            self.put_account(id, account.clone());
        }
        Ok(Some(account))
    }

    pub(super) fn account(&mut self, id: &AccountId) -> Result<Option<Account>, Failure> {
        match self.accounts.get(id) {
            Some(account) => Ok(Some(account.clone())),
            None => self.tables.account(id),
        }
    }

    /// An account that others speak of, and that must be there for that.
    pub(super) fn known(&mut self, id: &AccountId) -> Step<Account> {
        match self.account(id)? {
            Some(account) => Ok(account),
            None => inconsistent(format!("account {id:?} is missing")),
        }
    }

    pub(super) fn put_account(&mut self, id: &AccountId, account: Account) {
        self.accounts.insert(id.clone(), account);
    }

    /// Those that were there when the step began.
    pub(super) fn children(&mut self, id: &AccountId) -> Result<Vec<AccountId>, Failure> {
        self.tables.children(id)
    }

    pub(super) fn hold(&mut self, id: HoldId) -> Result<Option<HoldEntry>, Failure> {
        match self.holds.get(&id) {
            Some(hold) => Ok(Some(hold.clone())),
            None => self.tables.hold(id),
        }
    }

    pub(super) fn put_hold(&mut self, id: HoldId, hold: HoldEntry) {
        self.holds.insert(id, hold);
    }

    pub(super) fn transfer(&mut self, id: TransferId) -> Result<Option<[u8; 32]>, Failure> {
        self.tables.transfer(id)
    }

    pub(super) fn put_transfer(&mut self, id: TransferId, fingerprint: [u8; 32]) {
        self.transfer = Some((id, fingerprint));
    }
}
