//! Delegated accounts in every kind of store.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tollgate::{
    domain::{
        account_id::account_name,
        call::AgentId,
        caveat::{Caveat, Caveats},
        delegation::{Delegate, Delegation},
        ledger::{AccountId, Finish, HoldId, TransferRefused, Transferred},
        record::{Draft, Event, Record},
        scope::Scope,
        token::TokenId,
    },
    ledger::{Ledger, Verdict},
};

use crate::support::store::{credits, done, request, root};

pub const BEGIN: i64 = 1_795_212_000_000;

/// The account of a token.
pub fn account(token: u128) -> AccountId {
    AccountId::new("book", &account_name(TokenId(token)))
}

/// Asks for credits for a token, which has a handle and caveats of its own.
pub fn asked(token: u128, from: &AccountId, amount: u64, expires: Option<i64>) -> Delegate {
    let mut handle = [0; 32];
    handle[..16].copy_from_slice(&token.to_be_bytes());
    let caveats = vec![
        Caveat::Servers(Scope::parse("db_*").unwrap()),
        Caveat::Tools(Scope::parse("db/get_*, list").unwrap()),
        Caveat::Agent(AgentId::from("a")),
        Caveat::MostCost(credits(5)),
        Caveat::Depth(2),
        Caveat::Tenant("t".to_owned()),
        Caveat::Expires(BEGIN),
    ];
    let delegation = Delegation {
        token: TokenId(token),
        account: account(token),
        handle: Some(handle),
        principal: Some([9; 32]),
        made_with: None,
        caveats: Caveats(caveats),
        label: Some("tests, \"quoted\"".to_owned()),
    };
    Delegate { from: from.clone(), amount: credits(amount), expires, delegation }
}

/// A store with one root, and its clock.
pub struct World {
    pub ledger: Arc<dyn Ledger>,
    at: Arc<AtomicI64>,
    pub root: AccountId,
}

impl World {
    pub fn new(ledger: Arc<dyn Ledger>, at: Arc<AtomicI64>, amount: u64) -> Self {
        let (root, declaration) = root(amount);
        done(ledger.declare(declaration, Draft::default()));
        Self { ledger, at, root }
    }

    pub fn delegate(
        &self,
        token: u128,
        from: &AccountId,
        amount: u64,
    ) -> Result<Transferred, TransferRefused> {
        self.delegate_until(token, from, amount, None)
    }

    pub fn delegate_until(
        &self,
        token: u128,
        from: &AccountId,
        amount: u64,
        expires: Option<i64>,
    ) -> Result<Transferred, TransferRefused> {
        let draft = Draft { agent: Some("a".to_owned()), ..Draft::default() };
        done(self.ledger.delegate(asked(token, from, amount, expires), draft))
    }

    pub fn left(&self, account: &AccountId) -> u64 {
        done(self.ledger.balance(account.clone())).unwrap().remaining.unwrap().amount()
    }

    pub fn spend(&self, id: u128, account: &AccountId, amount: u64) {
        done(self.ledger.hold(request(id, account, amount), Draft::default())).unwrap();
        let finish = Finish::Post(credits(amount));
        done(self.ledger.finish(HoldId(id), finish, Draft::default())).unwrap();
    }

    pub fn revoke(&self, token: u128) -> Vec<(AccountId, u64)> {
        let closed = done(self.ledger.revoke(TokenId(token), Draft::default())).unwrap();
        closed.into_iter().map(|closed| (closed.account, closed.returned.amount())).collect()
    }

    pub fn usable(&self, token: u128) -> bool {
        done(self.ledger.standing(TokenId(token))).usable
    }

    pub fn pass(&self, by: i64) {
        self.at.fetch_add(by, Ordering::SeqCst);
    }

    pub fn events(&self, event: Event) -> Vec<Draft> {
        let records = done(self.ledger.records(0, usize::MAX));
        let drafts = records.iter().map(|sealed| serde_json::from_str::<Record>(&sealed.line));
        drafts.map(|record| record.unwrap().draft).filter(|draft| draft.event == event).collect()
    }

    /// Everything adds up, and the records say so.
    pub fn is_whole(&self) {
        assert_eq!(done(self.ledger.prove()).faults, Vec::<String>::new());
        let Verdict { broken, incomplete, .. } = done(self.ledger.verify());
        assert_eq!((broken, incomplete), (None, None));
    }
}
