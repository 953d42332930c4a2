//! Rows and records within one transaction. What steps write is kept here and written at the end,
//! each row once: a step that fails has written nothing, and costs nothing to undo.

use std::{collections::HashMap, hash::Hash};

use rusqlite::{Connection, Params};

use super::{file::File, rights, rows};
use crate::{
    domain::{
        keyed::Key,
        ledger::{
            Account, AccountId, Drawn, Failure, HoldEntry, HoldId, Tables, TransferId,
            replay::RightRow,
        },
        period::timestamp,
        record::{Draft, Head, Sealed},
    },
    ledger::{answer::LedgerUnavailable, engine::LedgerTx},
};

pub(super) struct Transaction<'f> {
    file: &'f File,
    /// Rows that were read, or written by earlier steps.
    kept: WriteSet,
    /// Rows written by the current step.
    step: WriteSet,
    now: i64,
    /// Whether the step at hand wrote into the file before its end, behind a savepoint.
    spilled: bool,
    /// Set when the file could not be written; then all of the transaction fails.
    failed: Option<LedgerUnavailable>,
}

#[derive(Default)]
struct WriteSet {
    accounts: HashMap<AccountId, Cached<Account>>,
    holds: HashMap<HoldId, Cached<HoldEntry>>,
    transfers: HashMap<TransferId, Cached<[u8; 32]>>,
    records: Vec<Sealed>,
    head: Option<Cached<Head>>,
}

struct Cached<T> {
    row: T,
    /// Whether it has yet to be written.
    dirty: bool,
}

impl<T> Cached<T> {
    fn read(row: T) -> Self {
        Self { row, dirty: false }
    }

    fn written(row: T) -> Self {
        Self { row, dirty: true }
    }
}

impl WriteSet {
    fn take_over(&mut self, step: &mut Self) {
        self.accounts.extend(step.accounts.drain());
        self.holds.extend(step.holds.drain());
        self.transfers.extend(step.transfers.drain());
        self.records.append(&mut step.records);
        self.head = step.head.take().or(self.head.take());
    }

    fn write(&mut self, file: &File) -> rusqlite::Result<()> {
        let db = &file.db;
        unwritten(&mut self.accounts, |id, account| rows::put_account(db, id, account))?;
        unwritten(&mut self.holds, |id, hold| rows::put_hold(db, *id, hold))?;
        unwritten(&mut self.transfers, |id, mark| rows::put_transfer(db, *id, mark))?;
        for sealed in self.records.drain(..) {
            rows::put_record(db, &sealed)?;
        }
        if let Some(head) = self.head.as_mut().filter(|head| head.dirty) {
            rows::put_head(db, &file.key, &head.row)?;
            head.dirty = false;
        }
        Ok(())
    }
}

fn unwritten<K, T>(
    entries: &mut HashMap<K, Cached<T>>,
    write: impl Fn(&K, &T) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    for (id, entry) in entries.iter_mut().filter(|(_, entry)| entry.dirty) {
        write(id, &entry.row)?;
        entry.dirty = false;
    }
    Ok(())
}

impl<'f> Transaction<'f> {
    pub(super) fn new(file: &'f File) -> Self {
        let (kept, step) = (WriteSet::default(), WriteSet::default());
        Self { file, kept, step, now: 0, spilled: false, failed: None }
    }

    /// Begins a step.
    pub(super) fn begin(&mut self, now: i64) {
        self.now = now;
    }

    /// Keeps what the step wrote.
    pub(super) fn keep(&mut self) -> Result<(), LedgerUnavailable> {
        self.end("RELEASE step")?;
        self.kept.take_over(&mut self.step);
        Ok(())
    }

    /// Forgets what the step wrote.
    pub(super) fn forget(&mut self) -> Result<(), LedgerUnavailable> {
        self.step = WriteSet::default();
        if self.spilled {
            self.end("ROLLBACK TO step")?;
            self.spilled = true;
        }
        self.end("RELEASE step")
    }

    fn end(&mut self, sql: &str) -> Result<(), LedgerUnavailable> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.file.still_begun()?;
        match std::mem::take(&mut self.spilled) {
            true => self.file.execute(sql),
            false => Ok(()),
        }
    }

    /// Writes everything, before the transaction is committed.
    pub(super) fn write(&mut self) -> Result<(), LedgerUnavailable> {
        self.kept.write(self.file).map_err(|error| self.file.unwritten(&error))
    }

    /// Writes everything so far, before a query that reads more than one row.
    fn spill(&mut self) -> Result<(), Failure> {
        let spilled = self.try_spill();
        spilled.map_err(|failed| self.fails(failed))
    }

    /// Makes the whole transaction fail.
    fn fails(&mut self, failed: LedgerUnavailable) -> Failure {
        let failure = Failure(failed.cause.clone());
        self.failed = Some(failed);
        failure
    }

    fn try_spill(&mut self) -> Result<(), LedgerUnavailable> {
        let unwritten = |error: rusqlite::Error| self.file.unwritten(&error);
        if !self.spilled {
            self.kept.write(self.file).map_err(unwritten)?;
            self.file.execute("SAVEPOINT step")?;
            self.spilled = true;
        }
        self.step.write(self.file).map_err(unwritten)
    }

    /// All rows of a query, with everything that was written here.
    fn all<T>(
        &mut self,
        sql: &str,
        params: impl Params,
        read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Failure> {
        self.query(|db| rows::all(db, sql, params, read))
    }

    /// Reads with everything that was written here.
    fn query<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.spill()?;
        self.ask(read)
    }

    /// Reads what is never cached here.
    pub(super) fn ask<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        read(&self.file.db).map_err(|error| self.file.unread(&error))
    }

    /// Writes what is never cached here, behind the savepoint of the step.
    pub(super) fn tell<T>(
        &mut self,
        write: impl FnOnce(&Connection, &Key) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        self.spill()?;
        write(&self.file.db, &self.file.rights)
            .map_err(|error| self.fails(self.file.unwritten(&error)))
    }

    /// The key that binds rows which give or take rights.
    pub(super) fn rights_key(&self) -> &Key {
        &self.file.rights
    }

    /// The error for an altered row.
    pub(super) fn altered(&self, what: &str) -> Failure {
        self.file.altered(what)
    }

    fn end_of_chain(&mut self) -> Result<Head, Failure> {
        if let Some(head) = self.step.head.as_ref().or(self.kept.head.as_ref()) {
            return Ok(head.row.clone());
        }
        let (head, vouched) = self.ask(|db| rows::head(db, &self.file.key))?;
        if !vouched {
            return Err(self.file.not_vouched());
        }
        self.file.sees(&head)?;
        self.kept.head = Some(Cached::read(head.clone()));
        Ok(head)
    }
}

/// A row as it was last written or read in this transaction; else as the file has it, which is then
/// kept.
fn known<K: Hash + Eq + Clone, T: Clone>(
    step: &HashMap<K, Cached<T>>,
    kept: &mut HashMap<K, Cached<T>>,
    id: &K,
    file: &File,
    read: impl FnOnce(&Connection) -> rusqlite::Result<Option<T>>,
) -> Result<Option<T>, Failure> {
    if let Some(entry) = step.get(id).or_else(|| kept.get(id)) {
        return Ok(Some(entry.row.clone()));
    }
    let found = read(&file.db).map_err(|error| file.unread(&error))?;
    kept.extend(found.clone().map(|row| (id.clone(), Cached::read(row))));
    Ok(found)
}

impl Tables for Transaction<'_> {
    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, Failure> {
        let (step, kept) = (&self.step.accounts, &mut self.kept.accounts);
        known(step, kept, id, self.file, |db| rows::account(db, id))
    }

    fn put_account(&mut self, id: &AccountId, account: Account) -> Result<(), Failure> {
        self.step.accounts.insert(id.clone(), Cached::written(account));
        Ok(())
    }

    fn children(&mut self, id: &AccountId) -> Result<Vec<AccountId>, Failure> {
        self.all(rows::CHILDREN, [id.as_str()], rows::account_id)
    }

    fn expired(&mut self, now: i64, most: usize) -> Result<Vec<AccountId>, Failure> {
        self.all(rows::EXPIRED, (now, rows::at_most(most)), rows::account_id)
    }

    fn hold(&mut self, id: HoldId) -> Result<Option<HoldEntry>, Failure> {
        let (step, kept) = (&self.step.holds, &mut self.kept.holds);
        known(step, kept, &id, self.file, |db| rows::hold(db, id))
    }

    fn put_hold(&mut self, id: HoldId, hold: HoldEntry) -> Result<(), Failure> {
        self.step.holds.insert(id, Cached::written(hold));
        Ok(())
    }

    fn overdue(&mut self, now: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        self.all(rows::OVERDUE, (now, rows::at_most(most)), rows::hold_id)
    }

    fn due_after(&mut self, moment: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        self.all(rows::DUE_AFTER, (moment, rows::at_most(most)), rows::hold_id)
    }

    fn drawn(&mut self, id: &AccountId, begins: i64) -> Result<Drawn, Failure> {
        self.query(|db| rows::drawn(db, id, begins))
    }

    fn transfer(&mut self, id: TransferId) -> Result<Option<[u8; 32]>, Failure> {
        let (step, kept) = (&self.step.transfers, &mut self.kept.transfers);
        known(step, kept, &id, self.file, |db| rows::transfer(db, id))
    }

    fn put_transfer(&mut self, id: TransferId, fingerprint: [u8; 32]) -> Result<(), Failure> {
        self.step.transfers.insert(id, Cached::written(fingerprint));
        Ok(())
    }
}

impl LedgerTx for Transaction<'_> {
    fn tables(&mut self) -> &mut dyn Tables {
        self
    }

    fn append(&mut self, draft: Draft) -> Result<(), Failure> {
        let mut head = self.end_of_chain()?;
        let sealed = head.seal(draft, timestamp(self.now));
        self.step.records.push(sealed.map_err(|error| Failure(error.to_string()))?);
        self.step.head = Some(Cached::written(head));
        Ok(())
    }

    fn accounts(&mut self) -> Result<Vec<(AccountId, Account)>, Failure> {
        self.all(rows::ACCOUNTS, [], rows::account_row)
    }

    fn holds(
        &mut self,
        from: HoldId,
        to: HoldId,
        most: usize,
    ) -> Result<Vec<(HoldId, HoldEntry)>, Failure> {
        let between = (from.0.to_be_bytes(), to.0.to_be_bytes(), rows::at_most(most));
        self.all(rows::HOLDS, between, |row| Ok((rows::hold_id(row)?, rows::hold_row(row)?)))
    }

    fn rights(&mut self) -> Result<Vec<RightRow>, Failure> {
        let file = self.file;
        self.query(|db| rights::rights(db, &file.rights))
    }

    fn transfers(&mut self) -> Result<u64, Failure> {
        self.query(rows::transfers)
    }

    fn records(&mut self, after: u64, most: usize) -> Result<Vec<Sealed>, Failure> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        self.all(rows::RECORDS, (after, rows::at_most(most)), rows::record)
    }

    fn head(&mut self) -> Result<Head, Failure> {
        let file = self.file;
        self.query(|db| rows::head(db, &file.key)).map(|(head, _)| head)
    }

    fn origin(&mut self) -> Result<Head, Failure> {
        self.head().map(|head| Head::genesis(&head.chain))
    }

    fn vouched(&mut self) -> Result<bool, Failure> {
        let file = self.file;
        self.query(|db| rows::head(db, &file.key)).map(|(_, vouched)| vouched)
    }
}
