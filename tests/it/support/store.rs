//! A ledger in a directory, its clock and its requests.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tollgate::{
    domain::{
        auth::ApiKey,
        budget::{Budgeting, Durability, Limit},
        call::AgentId,
        credits::Credits,
        ledger::{About, AccountId, Declaration, HoldId, HoldRequest},
        record::Draft,
        rules::Rules,
    },
    host::clock::Clock,
    ledger::{
        Answered, Ledger as _, Verdict,
        sqlite::{Sqlite, StoreLocation},
    },
};

pub fn sqlite(dir: &Path, clock: Clock) -> Sqlite {
    let path = dir.join("ledger.db");
    let keys = Some(dir.to_owned());
    Sqlite::new(StoreLocation { path, keys, durability: Durability::Process }, clock)
}

pub fn clock(at: &Arc<AtomicI64>) -> Clock {
    let at = at.clone();
    Arc::new(move || at.load(Ordering::SeqCst))
}

pub fn done<T>(answered: Answered<T>) -> T {
    wait(answered).unwrap()
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn credits(amount: u64) -> Credits {
    Credits::new(amount).unwrap()
}

/// One root with this number of credits.
pub fn root(amount: u64) -> (AccountId, Declaration) {
    let limit = Some(Limit { credits: credits(amount), period: None });
    let budgeting = Budgeting { limit, namespace: "book".into(), ..Budgeting::default() };
    (AccountId::new("book", "root"), Declaration::of(&budgeting, &Rules::default()))
}

pub fn request(id: u128, account: &AccountId, amount: u64) -> HoldRequest {
    HoldRequest {
        id: HoldId(id),
        account: account.clone(),
        amount: credits(amount),
        fingerprint: [7; 32],
        lifetime: 60_000,
        forced: false,
        charge_if_lost: true,
        about: About { agent: "a".into(), server: "s".into(), tool: "t".into() },
    }
}

pub fn fresh(dir: &Path) -> Sqlite {
    sqlite(dir, clock(&Arc::new(AtomicI64::new(1_000))))
}

/// A ledger with this number of credits.
pub fn declared(dir: &Path, amount: u64) -> (Sqlite, AccountId) {
    let ledger = fresh(dir);
    let (account, declaration) = root(amount);
    done(ledger.declare(declaration, Draft::default()));
    (ledger, account)
}

pub fn works(ledger: &Sqlite, account: &AccountId, id: u128) {
    done(ledger.hold(request(id, account, 1), Draft::default())).unwrap();
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
    let Verdict { broken, incomplete, .. } = done(ledger.verify());
    assert_eq!((broken, incomplete), (None, None));
}

pub fn api_key(id: &str, digest: u8) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        name: "tests".to_owned(),
        digest: [digest; 32].into(),
        agents: vec![AgentId::from("a")],
        roles: vec![],
        created: 1,
        expires: None,
        revoked: false,
    }
}
