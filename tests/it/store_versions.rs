//! Files of older versions are brought up to date where they are.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use rusqlite::Connection;
use tollgate::{
    domain::{
        ledger::{AccountId, Finish, HoldId, Transfer, TransferId},
        record::Draft,
        token::TokenId,
    },
    store::{
        Ledger, Verdict,
        sqlite::{Place, Sqlite},
    },
};

use crate::{
    delegation_store::asked,
    store::{clock, credits, done, request, root, sqlite, wait},
};

const BEGIN: i64 = 1_795_212_000_000;
const VERSION_1: &str = include_str!("data/ledger-v1.sql");

/// A file of version 1 with what a life leaves in it, written under the key in this directory.
fn version_1(dir: &Path) -> Place {
    let (account, declaration) = root(1_000);
    let ledger = sqlite(dir, clock(&Arc::new(AtomicI64::new(BEGIN))));
    done(ledger.declare(declaration, Draft::default())).unwrap();
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
    Place { path, keys: Some(dir.to_owned()), durability: Default::default() }
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
    assert_eq!(done(ledger.head()).seq, 6);
    let (account, _) = root(1_000);
    let child = AccountId::new("book", "child");
    let left = |id: &AccountId| done(ledger.read(id.clone())).unwrap().remaining;
    assert_eq!((left(&account), left(&child)), (Some(credits(790)), Some(credits(186))));
    // What was begun ends, and what is new can be done.
    done(ledger.finish(HoldId(3), Finish::Void, Draft::default())).unwrap();
    done(ledger.delegate(asked(7, &child, 100, None), Draft::default())).unwrap();
    assert!(done(ledger.standing(TokenId(7))).usable);
    assert!(done(ledger.first_time([1; 32], BEGIN + 1)));
    assert_eq!(done(ledger.revoke(TokenId(7), Draft::default())).unwrap().len(), 1);
    assert_eq!(left(&child), Some(credits(196)));
    is_whole(&ledger);
    let db = Connection::open(&place.path).unwrap();
    let version = db.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0));
    assert_eq!(version.unwrap(), 2);
}

#[test]
fn a_file_of_version_1_is_brought_up_to_date_by_many_at_once() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let place = version_1(dir.path());
        let at = Arc::new(AtomicI64::new(BEGIN));
        let handles: Vec<_> = (0..6).map(|_| Sqlite::new(place.clone(), clock(&at))).collect();
        let firsts = handles.iter().map(|handle| handle.first_time([1; 32], BEGIN + 1));
        let firsts: Vec<_> = firsts.collect::<Vec<_>>().into_iter().map(wait).collect();
        let firsts = firsts.into_iter().filter(|first| *first.as_ref().unwrap()).count();
        assert_eq!(firsts, 1);
        handles.iter().for_each(is_whole);
    }
}

#[test]
fn a_file_of_version_1_that_another_process_uses_goes_on_for_both() {
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
