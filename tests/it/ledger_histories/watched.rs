//! Rows that tell when they are written.

use tollgate::domain::ledger::{
    Account, AccountId, AccountKind, Drawn, Failure, HoldEntry, HoldId, Rows, Tables, TransferId,
    proof::Recount,
};

use super::words;
use crate::support::ledger_model::Model;

#[derive(Default)]
pub struct Watched {
    pub rows: Rows,
    pub writes: u64,
    /// Accounts written since they were last compared.
    touched: Vec<AccountId>,
}

impl Watched {
    /// Compares what was written with the naive ledger, and the sum of everything with what was
    /// issued.
    pub fn compare(&mut self, model: &Model) -> Result<(), String> {
        for id in std::mem::take(&mut self.touched) {
            self.compare_account(&id, model)?;
        }
        let (mut there, mut issued) = (0, 0);
        for account in self.rows.accounts.values() {
            if let AccountKind::Funded(funds) = &account.kind {
                there += i128::from(funds.available) + words::whole(account.reserved);
                there += words::whole(account.spent);
                issued += words::whole(funds.issued);
            }
        }
        (there == issued).then_some(()).ok_or(format!("{issued} were issued, {there} are there"))
    }

    /// Compares everything, and recounts it.
    pub fn prove(&self, model: &Model) -> Result<(), String> {
        for id in self.rows.accounts.keys() {
            self.compare_account(id, model)?;
        }
        let holds = model.holds.iter().map(|hold| (hold.id, hold.state, hold.deadline));
        let real = self.rows.holds.iter();
        let real = real.map(|(id, hold)| (id.0, words::state(hold.state), hold.deadline));
        let (mut holds, real): (Vec<_>, Vec<_>) = (holds.collect(), real.collect());
        holds.sort_unstable_by_key(|(id, ..)| *id);
        if holds != real {
            return Err(format!("the holds are {real:?}, by the model {holds:?}"));
        }
        let mut recount = Recount::new(self.rows.accounts.clone());
        self.rows.holds.iter().for_each(|(id, hold)| recount.hold(*id, hold));
        let proof = recount.finish();
        let counts = (proof.accounts, proof.holds) == (model.accounts.len(), model.holds.len());
        (counts && proof.faults.is_empty()).then_some(()).ok_or(format!("{proof:#?}"))
    }

    fn compare_account(&self, id: &AccountId, model: &Model) -> Result<(), String> {
        let real = words::seen(&self.rows.accounts[id]);
        let at = model.find(id.as_str()).ok_or(format!("the model has no account {id:?}"))?;
        let naive = model.seen(at);
        (real == naive).then_some(()).ok_or(format!("{id:?} is {real:?}, by the model {naive:?}"))
    }
}

impl Tables for Watched {
    fn account(&mut self, id: &AccountId) -> Result<Option<Account>, Failure> {
        self.rows.account(id)
    }

    fn put_account(&mut self, id: &AccountId, account: Account) -> Result<(), Failure> {
        self.writes += 1;
        self.touched.push(id.clone());
        self.rows.put_account(id, account)
    }

    fn children(&mut self, id: &AccountId) -> Result<Vec<AccountId>, Failure> {
        self.rows.children(id)
    }

    fn expired(&mut self, now: i64, most: usize) -> Result<Vec<AccountId>, Failure> {
        self.rows.expired(now, most)
    }

    fn hold(&mut self, id: HoldId) -> Result<Option<HoldEntry>, Failure> {
        self.rows.hold(id)
    }

    fn put_hold(&mut self, id: HoldId, hold: HoldEntry) -> Result<(), Failure> {
        self.writes += 1;
        self.rows.put_hold(id, hold)
    }

    fn overdue(&mut self, now: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        self.rows.overdue(now, most)
    }

    fn due_after(&mut self, moment: i64, most: usize) -> Result<Vec<HoldId>, Failure> {
        self.rows.due_after(moment, most)
    }

    fn drawn(&mut self, id: &AccountId, begins: i64) -> Result<Drawn, Failure> {
        self.rows.drawn(id, begins)
    }

    fn transfer(&mut self, id: TransferId) -> Result<Option<[u8; 32]>, Failure> {
        self.rows.transfer(id)
    }

    fn put_transfer(&mut self, id: TransferId, fingerprint: [u8; 32]) -> Result<(), Failure> {
        self.writes += 1;
        self.rows.put_transfer(id, fingerprint)
    }
}
