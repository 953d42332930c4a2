//! A store in the memory of one process, forgotten with it.

mod credentials;

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::FutureExt;

use super::{Answered, Engine, Failure, LedgerTx, Unavailable};
use crate::{
    domain::{
        ledger::{
            Account, AccountId, Drawn, Hold, HoldId, Rows, Step, Tables, TransferId,
            replay::RightRow,
        },
        period::timestamp,
        record::{Draft, Head, Sealed},
    },
    host::clock::Clock,
};

/// So many records are kept; older ones are forgotten.
const MOST_RECORDS: usize = 65_536;

/// A store in memory.
#[derive(Clone)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
    clock: Clock,
}

struct Kept {
    rows: Rows,
    /// The chain before the first record that is kept.
    origin: Head,
    head: Head,
    records: VecDeque<Sealed>,
    credentials: credentials::Kept,
}

/// What a step works on.
struct Open<'a> {
    kept: &'a mut Kept,
    now: i64,
}

impl Memory {
    /// An empty store, whose chain has this name.
    pub fn new(chain: &str, clock: Clock) -> Self {
        let head = Head::genesis(chain);
        let kept = Kept {
            rows: Rows::default(),
            origin: head.clone(),
            head,
            records: VecDeque::new(),
            credentials: credentials::Kept::default(),
        };
        Self { kept: Arc::new(Mutex::new(kept)), clock }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Engine for Memory {
    fn run<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut dyn LedgerTx, i64) -> Step<T, Failure> + Send + 'static,
    ) -> Answered<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let outcome = step(&mut Open { kept: &mut kept, now }, now);
        let unavailable = |broken: crate::domain::ledger::Broken<Failure>| Unavailable {
            cause: broken.to_string(),
            maybe_applied: true,
        };
        std::future::ready(outcome.map_err(unavailable)).boxed()
    }
}

impl LedgerTx for Open<'_> {
    fn append(&mut self, draft: Draft) -> Result<(), Failure> {
        let sealed = self.kept.head.seal(draft, timestamp(self.now));
        let sealed = sealed.map_err(|error| Failure(error.to_string()))?;
        self.kept.records.push_back(sealed);
        if self.kept.records.len() > MOST_RECORDS
            && let Some(forgotten) = self.kept.records.pop_front()
        {
            self.kept.origin.seq = forgotten.seq;
            self.kept.origin.hash = forgotten.hash;
        }
        Ok(())
    }

    fn accounts(&mut self) -> Result<Vec<(AccountId, Account)>, Failure> {
        let accounts = self.kept.rows.accounts.iter();
        Ok(accounts.map(|(id, account)| (id.clone(), account.clone())).collect())
    }

    fn holds(
        &mut self,
        from: HoldId,
        to: HoldId,
        most: usize,
    ) -> Result<Vec<(HoldId, Hold)>, Failure> {
        let found = self.kept.rows.holds.range(from..=to).take(most);
        Ok(found.map(|(id, hold)| (*id, hold.clone())).collect())
    }

    fn rights(&mut self) -> Result<Vec<RightRow>, Failure> {
        Ok(self.kept.credentials.rights())
    }

    fn transfers(&mut self) -> Result<u64, Failure> {
        Ok(u64::try_from(self.kept.rows.transfers.len()).unwrap_or(u64::MAX))
    }

    fn records(&mut self, after: u64, most: usize) -> Result<Vec<Sealed>, Failure> {
        let later = self.kept.records.iter().filter(|sealed| sealed.seq > after);
        Ok(later.take(most).cloned().collect())
    }

    fn head(&mut self) -> Result<Head, Failure> {
        Ok(self.kept.head.clone())
    }

    fn origin(&mut self) -> Result<Head, Failure> {
        Ok(self.kept.origin.clone())
    }

    fn vouched(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }
}

/// Memory does not fail.
fn never<T>(outcome: Result<T, std::convert::Infallible>) -> Result<T, Failure> {
    outcome.map_err(|never| match never {})
}

impl Tables for Open<'_> {
    type Error = Failure;

    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, Failure> {
        never(self.kept.rows.account(id))
    }

    fn put_account(&mut self, id: &AccountId, account: Account) -> Result<(), Failure> {
        never(self.kept.rows.put_account(id, account))
    }

    fn children(&mut self, id: &AccountId) -> Result<Vec<AccountId>, Failure> {
        never(self.kept.rows.children(id))
    }

    fn expired(&mut self, now: i64, most: usize) -> Result<Vec<AccountId>, Failure> {
        never(self.kept.rows.expired(now, most))
    }

    fn hold(&mut self, id: HoldId) -> Result<Option<Hold>, Failure> {
        never(self.kept.rows.hold(id))
    }

    fn put_hold(&mut self, id: HoldId, hold: Hold) -> Result<(), Failure> {
        never(self.kept.rows.put_hold(id, hold))
    }

    fn overdue(&mut self, now: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        never(self.kept.rows.overdue(now, most))
    }

    fn due_after(&mut self, moment: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        never(self.kept.rows.due_after(moment, most))
    }

    fn drawn(&mut self, id: &AccountId, begins: i64) -> Result<Drawn, Failure> {
        never(self.kept.rows.drawn(id, begins))
    }

    fn transfer(&mut self, id: TransferId) -> Result<Option<[u8; 32]>, Failure> {
        never(self.kept.rows.transfer(id))
    }

    fn put_transfer(&mut self, id: TransferId, fingerprint: [u8; 32]) -> Result<(), Failure> {
        never(self.kept.rows.put_transfer(id, fingerprint))
    }
}
