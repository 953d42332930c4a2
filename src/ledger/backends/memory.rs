//! A store in the memory of one process, lost when it ends.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
};

use crate::{
    domain::{
        auth::ApiKey,
        delegation::Delegation,
        ledger::{
            Account, AccountId, Failure, HoldEntry, HoldId, Rows, Tables,
            replay::{Right, RightRow},
        },
        period::timestamp,
        record::{Draft, Head, Sealed},
        token::TokenId,
    },
    host::{clock::Clock, mutex::Mutex},
    ledger::{
        answer::LedgerUnavailable,
        engine::{Credentials, Job, Ledger, LedgerTx, RowDigest},
    },
};

/// The number of records that are kept; older ones are forgotten.
const MOST_RECORDS: usize = 65_536;

/// A store in memory.
#[derive(Clone)]
pub struct Memory {
    kept: Arc<Mutex<Contents>>,
    clock: Clock,
}

#[derive(Default)]
struct Contents {
    rows: Rows,
    /// The chain before the first record that is kept.
    origin: Head,
    head: Head,
    records: VecDeque<Sealed>,
    delegations: BTreeMap<TokenId, Delegation>,
    /// Which of them has a handle.
    handles: BTreeMap<[u8; 32], TokenId>,
    denied: BTreeSet<TokenId>,
    /// Nonces, and when each may be forgotten.
    nonces: BTreeMap<[u8; 32], i64>,
    nonces_forgotten: Option<i64>,
    api_keys: BTreeMap<String, ApiKey>,
}

/// What a step works on.
struct MemoryTx<'a> {
    kept: &'a mut Contents,
    now: i64,
}

impl Memory {
    /// An empty store, whose chain has this name.
    pub fn new(chain: &str, clock: Clock) -> Self {
        let (origin, head) = (Head::genesis(chain), Head::genesis(chain));
        let kept = Contents { origin, head, ..Contents::default() };
        Self { kept: Arc::new(Mutex::new(kept)), clock }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl Ledger for Memory {
    fn submit(&self, mut job: Box<dyn Job>) {
        let mut kept = self.kept.lock();
        let now = (self.clock)();
        let failed = job.run(&mut MemoryTx { kept: &mut kept, now }, now).err();
        let unavailable = |cause| LedgerUnavailable { cause, maybe_applied: true };
        job.answer(failed.map(|broken| unavailable(broken.to_string())));
    }

    fn share(&self) -> Arc<dyn Ledger> {
        Arc::new(self.clone())
    }
}

impl Contents {
    fn rights(&self) -> Vec<RightRow> {
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

impl LedgerTx for MemoryTx<'_> {
    fn tables(&mut self) -> &mut dyn Tables {
        &mut self.kept.rows
    }

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
    ) -> Result<Vec<(HoldId, HoldEntry)>, Failure> {
        let found = self.kept.rows.holds.range(from..=to).take(most);
        Ok(found.map(|(id, hold)| (*id, hold.clone())).collect())
    }

    fn rights(&mut self) -> Result<Vec<RightRow>, Failure> {
        Ok(self.kept.rights())
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

impl Credentials for MemoryTx<'_> {
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure> {
        Ok(self.kept.delegations.get(&token).cloned())
    }

    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure> {
        // The digest is keyed: how long the search takes says nothing of the handle.
        let Contents { delegations, handles, .. } = &*self.kept;
        Ok(handles.get(handle).and_then(|token| delegations.get(token)).cloned())
    }

    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure> {
        let mut all: Vec<_> = self.kept.delegations.values().cloned().collect();
        all.sort_by(|a, b| a.account.cmp(&b.account));
        Ok(all)
    }

    fn made_with(&mut self, credential: &str) -> Result<Vec<AccountId>, Failure> {
        let all = self.kept.delegations.values();
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
        let Contents { delegations, handles, .. } = &mut *self.kept;
        handles.extend(delegation.handle.map(|handle| (handle, delegation.token)));
        delegations.insert(delegation.token, delegation.clone());
        Ok(None)
    }

    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure> {
        Ok(self.kept.denied.contains(&token))
    }

    fn deny(&mut self, token: TokenId) -> Result<(), Failure> {
        self.kept.denied.insert(token);
        Ok(())
    }

    fn add_nonce(&mut self, nonce: &[u8; 32], until: i64) -> Result<bool, Failure> {
        Ok(self.kept.nonces.insert(*nonce, until).is_none())
    }

    fn forget_nonces(&mut self, now: i64) -> Result<Option<i64>, Failure> {
        let nonces = &mut self.kept.nonces;
        let last = nonces.values().copied().filter(|until| *until <= now).max();
        nonces.retain(|_, until| *until > now);
        Ok(last)
    }

    fn nonces_forgotten(&mut self) -> Result<Option<i64>, Failure> {
        Ok(self.kept.nonces_forgotten)
    }

    fn put_nonces_forgotten(&mut self, until: i64) -> Result<(), Failure> {
        self.kept.nonces_forgotten = Some(until);
        Ok(())
    }

    fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>, Failure> {
        Ok(self.kept.api_keys.get(id).cloned())
    }

    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Failure> {
        let mut all = self.kept.api_keys.values();
        Ok(all.find(|key| key.is_of(&(*digest).into())).cloned())
    }

    fn api_keys(&mut self) -> Result<Vec<ApiKey>, Failure> {
        Ok(self.kept.api_keys.values().cloned().collect())
    }

    fn put_api_key(&mut self, key: &ApiKey) -> Result<RowDigest, Failure> {
        self.kept.api_keys.insert(key.id.clone(), key.clone());
        Ok(None)
    }
}
