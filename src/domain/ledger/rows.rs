//! What the machine works on: rows of accounts, holds and transfers.

use std::collections::BTreeMap;

use super::{
    AccountId, Failure,
    account::{Account, Drawn},
    holds::{HoldEntry, HoldId},
};
use crate::domain::credits::Credits;

/// Names a transfer; asking twice moves once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub u128);

/// Rows, kept somewhere. All that one step writes is kept whole or not at all.
pub trait Tables {
    /// The account, if there is one.
    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, Failure>;

    /// Writes the account.
    fn put_account(&mut self, id: &AccountId, account: Account) -> Result<(), Failure>;

    /// The accounts directly below one, in order of their ids.
    fn children(&mut self, id: &AccountId) -> Result<Vec<AccountId>, Failure>;

    /// Open accounts that expire at a moment or before, in order of their ids, up to a limit.
    fn expired(&mut self, now: i64, most: usize) -> Result<Vec<AccountId>, Failure>;

    /// The hold, if there is one.
    fn hold(&mut self, id: HoldId) -> Result<Option<HoldEntry>, Failure>;

    /// Writes the hold.
    fn put_hold(&mut self, id: HoldId, hold: HoldEntry) -> Result<(), Failure>;

    /// Open holds whose deadline is at a moment or before, the oldest first, up to a limit.
    fn overdue(&mut self, now: i64, most: usize) -> Result<Vec<HoldId>, Failure>;

    /// Returns open holds whose deadline is after a moment, up to a limit.
    fn due_after(&mut self, moment: i64, most: usize) -> Result<Vec<HoldId>, Failure>;

    /// Amounts drawn through a ceiling in the window that began at a moment. May look at all holds there
    /// ever were: it is asked for after the clock was wrong.
    fn drawn(&mut self, id: &AccountId, begins: i64) -> Result<Drawn, Failure>;

    /// The fingerprint of the transfer, if it was made.
    fn transfer(&mut self, id: TransferId) -> Result<Option<[u8; 32]>, Failure>;

    /// Remembers that the transfer was made.
    fn put_transfer(&mut self, id: TransferId, fingerprint: [u8; 32]) -> Result<(), Failure>;
}

/// Rows in memory.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// All accounts.
    pub accounts: BTreeMap<AccountId, Account>,
    /// All holds, ended ones included.
    pub holds: BTreeMap<HoldId, HoldEntry>,
    /// Open holds by deadline.
    due: std::collections::BTreeSet<(i64, HoldId)>,
    /// All transfers.
    pub transfers: BTreeMap<TransferId, [u8; 32]>,
}

impl Tables for Rows {
    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, Failure> {
        Ok(self.accounts.get(id).cloned())
    }

    fn put_account(&mut self, id: &AccountId, account: Account) -> Result<(), Failure> {
        self.accounts.insert(id.clone(), account);
        Ok(())
    }

    fn children(&mut self, id: &AccountId) -> Result<Vec<AccountId>, Failure> {
        let below = self.accounts.iter().filter(|(_, account)| account.parent.as_ref() == Some(id));
        Ok(below.map(|(id, _)| id.clone()).collect())
    }

    fn expired(&mut self, now: i64, most: usize) -> Result<Vec<AccountId>, Failure> {
        let expired =
            |account: &Account| account.open && account.expires.is_some_and(|at| at <= now);
        let found = self.accounts.iter().filter(|(_, account)| expired(account));
        Ok(found.map(|(id, _)| id.clone()).take(most).collect())
    }

    fn hold(&mut self, id: HoldId) -> Result<Option<HoldEntry>, Failure> {
        Ok(self.holds.get(&id).cloned())
    }

    fn put_hold(&mut self, id: HoldId, hold: HoldEntry) -> Result<(), Failure> {
        if let Some(before) = self.holds.get(&id) {
            self.due.remove(&(before.deadline, id));
        }
        if hold.is_open() {
            self.due.insert((hold.deadline, id));
        }
        self.holds.insert(id, hold);
        Ok(())
    }

    fn overdue(&mut self, now: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        let due = self.due.iter().take_while(|(deadline, _)| *deadline <= now);
        Ok(due.map(|(_, id)| *id).take(most).collect())
    }

    fn due_after(&mut self, moment: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        let due = self.due.iter().rev().take_while(|(deadline, _)| *deadline > moment);
        Ok(due.map(|(_, id)| *id).take(most).collect())
    }

    fn drawn(&mut self, id: &AccountId, begins: i64) -> Result<Drawn, Failure> {
        let (mut used, mut carved, mut later) = (0, 0, false);
        for hold in self.holds.values() {
            for leg in hold.path.iter().filter(|leg| leg.account == *id) {
                used += if leg.window == begins { hold.taken().signed() } else { 0 };
                later |= leg.window > begins;
            }
        }
        for source in self.accounts.values().filter_map(Account::source) {
            for leg in source.path.iter().filter(|leg| leg.account == *id) {
                carved += if leg.window == begins { source.owed.signed() } else { 0 };
                later |= leg.window > begins;
            }
        }
        Ok(Drawn { used: Credits::of_balance(used), carved: Credits::of_balance(carved), later })
    }

    fn transfer(&mut self, id: TransferId) -> Result<Option<[u8; 32]>, Failure> {
        Ok(self.transfers.get(&id).copied())
    }

    fn put_transfer(&mut self, id: TransferId, fingerprint: [u8; 32]) -> Result<(), Failure> {
        self.transfers.insert(id, fingerprint);
        Ok(())
    }
}
