//! Files of older versions are brought up to date where they are.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use rusqlite::Connection;
use tollgate::{
    domain::{
        ledger::{AccountId, Finish, HoldId, Transfer, TransferId},
        record::{Draft, Event, Head, Record, Sealed},
        token::TokenId,
    },
    ledger::{
        Ledger, Verdict, keys,
        sqlite::{Sqlite, StoreLocation},
    },
};

use crate::support::{
    delegated::{account as delegated, asked},
    store::{api_key, clock, credits, done, request, root, sqlite, wait},
};

const BEGIN: i64 = 1_795_212_000_000;
const VERSION_1: &str = include_str!("data/ledger-v1.sql");
const VERSION_2: &str = include_str!("data/ledger-v2.sql");

/// A file of version 1 with what a life leaves in it, written under the key in this directory.
fn version_1(dir: &Path) -> StoreLocation {
    let (account, declaration) = root(1_000);
    let ledger = sqlite(dir, clock(&Arc::new(AtomicI64::new(BEGIN))));
    done(ledger.declare(declaration, Draft::default()));
    let child = AccountId::new("book", "child");
    let carve = Transfer::Carve {
        from: account.clone(),
        to: child.clone(),
        amount: credits(200),
        expires: Some(BEGIN + 60_000),
    };
    done(ledger.transfer(TransferId(1), carve, Draft::default())).unwrap();
    for (id, account) in [(1, &account), (2, &child), (3, &child)] {
        done(ledger.hold(request(id, account, 10), Draft::default())).unwrap();
    }
    done(ledger.finish(HoldId(2), Finish::Post(credits(4)), Draft::default())).unwrap();
    let path = dir.join("old.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.execute("ATTACH ?1 AS new", [dir.join("ledger.db").to_str().unwrap()]).unwrap();
    for table in ["account", "hold", "transfer", "record", "head"] {
        db.execute_batch(&format!("INSERT INTO main.{table} SELECT * FROM new.{table}")).unwrap();
    }
    db.execute_batch("PRAGMA application_id = 0x544f4c47; PRAGMA user_version = 1").unwrap();
    StoreLocation { path, keys: Some(dir.to_owned()), durability: Default::default() }
}

fn is_whole(ledger: &Sqlite) {
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
    let Verdict { broken, incomplete, .. } = done(ledger.verify());
    assert_eq!((broken, incomplete), (None, None));
}

#[test]
fn a_file_of_version_1_opens_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = version_1(dir.path());
    let at = Arc::new(AtomicI64::new(BEGIN));
    let ledger = Sqlite::new(place.clone(), clock(&at));
    is_whole(&ledger);
    // One record tells how everything was found.
    assert_eq!(done(ledger.head()).seq, 7);
    let (account, _) = root(1_000);
    let child = AccountId::new("book", "child");
    let left = |id: &AccountId| done(ledger.balance(id.clone())).unwrap().remaining;
    assert_eq!((left(&account), left(&child)), (Some(credits(790)), Some(credits(186))));
    // Open holds can end, and new commands work.
    done(ledger.finish(HoldId(3), Finish::Void, Draft::default())).unwrap();
    done(ledger.delegate(asked(7, &child, 100, None), Draft::default())).unwrap();
    assert!(done(ledger.standing(TokenId(7))).usable);
    assert!(done(ledger.consume_nonce([1; 32], BEGIN + 1)));
    assert_eq!(done(ledger.revoke(TokenId(7), Draft::default())).unwrap().len(), 1);
    assert_eq!(left(&child), Some(credits(196)));
    is_whole(&ledger);
    let db = Connection::open(&place.path).unwrap();
    let version = db.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0));
    assert_eq!(version.unwrap(), 3);
}

#[test]
fn version_1_file_is_migrated_once_by_many() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let place = version_1(dir.path());
        let at = Arc::new(AtomicI64::new(BEGIN));
        let handles: Vec<_> = (0..6).map(|_| Sqlite::new(place.clone(), clock(&at))).collect();
        let consumed = handles.iter().map(|handle| handle.consume_nonce([1; 32], BEGIN + 1));
        let consumed: Vec<_> = consumed.collect::<Vec<_>>().into_iter().map(wait).collect();
        let consumed = consumed.into_iter().filter(|first| *first.as_ref().unwrap()).count();
        assert_eq!(consumed, 1);
        handles.iter().for_each(is_whole);
    }
}

#[test]
fn version_1_file_in_use_keeps_working() {
    let dir = tempfile::tempdir().unwrap();
    let place = version_1(dir.path());
    let old = Connection::open(&place.path).unwrap();
    let mut reserved = old.prepare("SELECT reserved FROM account WHERE id = 'book/child'").unwrap();
    let mut ask = || reserved.query_row([], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(ask(), 10);
    let ledger = Sqlite::new(place.clone(), clock(&Arc::new(AtomicI64::new(BEGIN))));
    done(ledger.finish(HoldId(3), Finish::Void, Draft::default())).unwrap();
    assert_eq!(ask(), 0);
    is_whole(&ledger);
}

/// Brings a file of version 1 to version 2, with rights, and with records as that version wrote them.
fn version_2(dir: &Path) -> StoreLocation {
    let (account, declaration) = root(1_000);
    let ledger = sqlite(dir, clock(&Arc::new(AtomicI64::new(BEGIN))));
    done(ledger.declare(declaration, Draft::default()));
    done(ledger.delegate(asked(7, &account, 100, None), Draft::default())).unwrap();
    for (id, account) in [(1, &account), (2, &delegated(7)), (3, &delegated(7))] {
        done(ledger.hold(request(id, account, 10), Draft::default())).unwrap();
    }
    done(ledger.finish(HoldId(2), Finish::Post(credits(4)), Draft::default())).unwrap();
    done(ledger.revoke(TokenId(30), Draft::default())).unwrap();
    for (id, digest) in [("k1", 1), ("k2", 2)] {
        assert!(done(ledger.add_api_key(api_key(id, digest), Draft::default())));
    }
    assert!(done(ledger.revoke_api_key("k2".to_owned(), Draft::default())).is_some());
    let path = dir.join("old.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(VERSION_2).unwrap();
    db.execute("ATTACH ?1 AS new", [dir.join("ledger.db").to_str().unwrap()]).unwrap();
    for (table, columns) in [
        ("account", "*"),
        ("hold", "*"),
        ("transfer", "*"),
        ("delegation", "token, account, handle, principal, made_with, caveats, label"),
        ("api_key", "id, digest, about"),
    ] {
        let copy = format!("INSERT INTO main.{table} SELECT {columns} FROM new.{table}");
        db.execute_batch(&copy).unwrap();
    }
    db.execute("INSERT INTO main.denied VALUES (?1)", [30_u128.to_be_bytes()]).unwrap();
    let mut head = Head::genesis("old");
    for sealed in done(ledger.records(0, usize::MAX)) {
        let Record { at, draft, .. } = serde_json::from_str(&sealed.line).unwrap();
        let token = draft.token.filter(|_| draft.event != Event::Key);
        let draft = Draft { accounts: Vec::new(), row: None, token, ..draft };
        let Sealed { seq, line, hash } = head.seal(draft, at).unwrap();
        let seq = i64::try_from(seq).unwrap();
        db.execute("INSERT INTO main.record VALUES (?1, ?2, ?3)", (seq, line, hash)).unwrap();
    }
    let text = [&head.seq.to_be_bytes()[..], &head.hash, head.chain.as_bytes()].concat();
    let mac = keys::key(Some(dir)).unwrap().derive("record head").mac(&text);
    let seq = i64::try_from(head.seq).unwrap();
    db.execute(
        "INSERT INTO main.head VALUES (1, ?1, ?2, ?3, ?4)",
        (&head.chain, seq, head.hash, mac),
    )
    .unwrap();
    db.execute_batch("PRAGMA application_id = 0x544f4c47; PRAGMA user_version = 2").unwrap();
    StoreLocation { path, keys: Some(dir.to_owned()), durability: Default::default() }
}

#[test]
fn rights_of_version_2_are_bound_and_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let place = version_2(dir.path());
    let ledger = Sqlite::new(place.clone(), clock(&Arc::new(AtomicI64::new(BEGIN))));
    is_whole(&ledger);
    let since = done(ledger.head()).seq;
    assert_eq!(done(ledger.prove()).accounts_since, Some(since));
    assert!(done(ledger.standing(TokenId(7))).usable);
    assert!(!done(ledger.standing(TokenId(30))).usable);
    let revoked = |digest| done(ledger.api_key([digest; 32])).unwrap().revoked;
    assert_eq!((revoked(1), revoked(2)), (false, true));
    // Older holds end, and their credits return.
    done(ledger.finish(HoldId(3), Finish::Uncertain, Draft::default())).unwrap();
    for id in [2, 3] {
        let refund = Transfer::Refund { hold: HoldId(id).to_string(), amount: None };
        done(ledger.transfer(TransferId(id), refund, Draft::default())).unwrap();
    }
    assert_eq!(done(ledger.revoke(TokenId(7), Draft::default())).unwrap().len(), 1);
    done(ledger.finish(HoldId(1), Finish::Void, Draft::default())).unwrap();
    is_whole(&ledger);
    let db = Connection::open(&place.path).unwrap();
    db.execute_batch(
        "UPDATE account SET issued = 2000, declared = 2000, available = available + 1000",
    )
    .unwrap_err();
    db.execute_batch(
        "UPDATE account SET issued = 2000, declared = 2000, available = available + 1000
            WHERE id = 'book/root'",
    )
    .unwrap();
    assert_eq!(done(ledger.prove()).faults.len(), 3);
}

#[test]
fn version_2_process_adds_nothing_unprovable() {
    let dir = tempfile::tempdir().unwrap();
    let place = version_2(dir.path());
    let old = Connection::open(&place.path).unwrap();
    let ledger = Sqlite::new(place.clone(), clock(&Arc::new(AtomicI64::new(BEGIN))));
    is_whole(&ledger);
    for refused in [
        "INSERT INTO delegation VALUES (zeroblob(16), 'x', NULL, NULL, NULL, '[]', NULL)",
        "INSERT INTO api_key VALUES ('x', zeroblob(32), '{}')",
        "INSERT INTO denied VALUES (zeroblob(16))",
        r#"INSERT INTO record VALUES (99, '{"v":1,"event":"declare","note":"x"}', zeroblob(32))"#,
    ] {
        assert!(old.execute_batch(refused).is_err(), "{refused}");
    }
    old.execute_batch(r#"INSERT INTO record VALUES (99, '{"v":1,"event":"hold"}', zeroblob(32))"#)
        .unwrap();
}
