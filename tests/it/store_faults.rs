//! What befalls a file: locks, strangers, damage, and hands that rewrite what was recorded.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, params};
use tollgate::{
    domain::{
        ledger::{AccountId, Finish, HoldId, HoldRefused},
        record::{Draft, Event, Hash},
    },
    ledger::{Ledger, Verdict, keys, sqlite::Sqlite},
};

use crate::support::store::{credits, declared, done, fresh, request, root, wait, works};

/// A chain of this number of records.
fn chain(dir: &Path, records: u64) -> Sqlite {
    let ledger = fresh(dir);
    for n in 1..=records {
        let draft = Draft { event: Event::Call, cost: Some(n), ..Draft::default() };
        done(ledger.record(draft));
    }
    ledger
}

/// Another hand, which no trigger stops.
fn hand(dir: &Path) -> Connection {
    let db = Connection::open(dir.join("ledger.db")).unwrap();
    db.execute_batch(
        "PRAGMA synchronous = OFF; DROP TRIGGER record_stays; DROP TRIGGER record_remains;",
    )
    .unwrap();
    db
}

fn lines(db: &Connection) -> Vec<(i64, String, Hash)> {
    let mut sql = db.prepare("SELECT seq, line, hash FROM record ORDER BY seq").unwrap();
    let rows = sql.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn broken_at(ledger: &Sqlite) -> Option<u64> {
    done(ledger.verify()).broken.map(|(seq, _)| seq)
}

#[test]
fn every_altered_byte_of_every_record_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = chain(dir.path(), 40);
    let whole = Verdict { records: 40, ..Verdict::default() };
    assert_eq!(done(ledger.verify()), whole);
    let db = hand(dir.path());
    const SET: &str = "UPDATE record SET line = CAST(?2 AS TEXT) WHERE seq = ?1";
    let mut set = db.prepare(SET).unwrap();
    for (seq, line, _) in lines(&db) {
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            // Every other time into what is not even text.
            bytes[at] ^= if at % 2 == 0 { 1 } else { 0x80 };
            set.execute(params![seq, bytes]).unwrap();
            assert_eq!(broken_at(&ledger), u64::try_from(seq).ok(), "byte {at} of {line}");
        }
        set.execute(params![seq, line.as_bytes()]).unwrap();
    }
    assert_eq!(done(ledger.verify()), whole);
}

#[test]
fn deleted_swapped_added_and_resigned_records_are_found() {
    #[rustfmt::skip]
    let cases: &[(&str, Option<u64>)] = &[
        ("DELETE FROM record WHERE seq = 1", Some(1)),
        ("DELETE FROM record WHERE seq = 20", Some(20)),
        ("UPDATE record SET seq = 99 WHERE seq = 20; UPDATE record SET seq = 20 WHERE seq = 21;
          UPDATE record SET seq = 21 WHERE seq = 99", Some(20)),
        ("INSERT INTO record SELECT 41, line, hash FROM record WHERE seq = 40", Some(41)),
        ("UPDATE record SET line = (SELECT line FROM record WHERE seq = 5),
          hash = (SELECT hash FROM record WHERE seq = 5) WHERE seq = 6", Some(6)),
        ("UPDATE record SET hash = zeroblob(32) WHERE seq = 17", Some(17)),
        ("UPDATE record SET hash = zeroblob(32) WHERE seq = 40", Some(40)),
        ("UPDATE head SET mac = zeroblob(32)", Some(40)),
        ("UPDATE head SET hash = zeroblob(32)", Some(40)),
        ("UPDATE head SET seq = 39", Some(40)),
        ("UPDATE head SET seq = 41", Some(40)),
        ("UPDATE head SET chain = 'another'", Some(1)),
        ("DELETE FROM head", Some(1)),
        // Cut, and the end moved to where it fits: no one without the key can sign that.
        ("DELETE FROM record WHERE seq > 30; UPDATE head SET seq = 30,
          hash = (SELECT hash FROM record WHERE seq = 30)", Some(30)),
        // Tables that hold anything.
        ("CREATE TABLE other (seq, line, hash); INSERT INTO other SELECT * FROM record;
          DROP TABLE record; ALTER TABLE other RENAME TO record;
          UPDATE record SET line = NULL, hash = 7 WHERE seq = 12", Some(12)),
        ("CREATE TABLE other (seq, line, hash); INSERT INTO other SELECT * FROM record;
          DROP TABLE record; ALTER TABLE other RENAME TO record;
          UPDATE record SET line = CAST(line AS BLOB) WHERE seq = 13", Some(13)),
        ("DELETE FROM record WHERE seq = 40", None),
        ("DELETE FROM record WHERE seq > 1", None),
        ("DELETE FROM record", None),
    ];
    for (tamper, first) in cases {
        let dir = tempfile::tempdir().unwrap();
        let ledger = chain(dir.path(), 40);
        hand(dir.path()).execute_batch(tamper).unwrap();
        let verdict = done(ledger.verify());
        assert_eq!(verdict.broken.as_ref().map(|(seq, _)| *seq), *first, "{tamper}: {verdict:?}");
        assert_eq!(verdict.incomplete.is_some(), first.is_none(), "{tamper}: {verdict:?}");
    }
}

#[test]
fn next_record_does_not_sign_a_forged_end() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = chain(dir.path(), 40);
    let forge = "DELETE FROM record WHERE seq > 30; UPDATE head SET seq = 30,
        hash = (SELECT hash FROM record WHERE seq = 30)";
    hand(dir.path()).execute_batch(forge).unwrap();
    let unavailable = wait(ledger.record(Draft::default())).unwrap_err();
    assert!(unavailable.cause.contains("audit verify"), "{unavailable}");
    assert!(!unavailable.maybe_applied);
    assert_eq!(broken_at(&ledger), Some(30));
}

#[test]
fn file_itself_guards_records_and_ended_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, account) = declared(dir.path(), 10);
    done(ledger.hold(request(1, &account, 4), Draft::default())).unwrap();
    done(ledger.finish(HoldId(1), Finish::Void, Draft::default()));
    let db = Connection::open(dir.path().join("ledger.db")).unwrap();
    for refused in [
        "UPDATE record SET line = ''",
        "DELETE FROM record",
        "UPDATE hold SET state = 0",
        "UPDATE hold SET state = 1, posted = 5",
        "UPDATE account SET reserved = -1",
        "UPDATE account SET available = available + 1",
        "INSERT INTO head SELECT 2, chain, seq, hash, mac FROM head",
    ] {
        assert!(db.execute_batch(refused).is_err(), "{refused}");
    }
}

/// Takes a hold, which must fail with such words and leave nothing.
fn fails(ledger: &Sqlite, account: &AccountId, id: u128, words: &[&str]) {
    let unavailable = wait(ledger.hold(request(id, account, 1), Draft::default())).unwrap_err();
    for word in words {
        assert!(unavailable.cause.contains(word), "`{word}`: {unavailable}");
    }
    assert!(!unavailable.maybe_applied, "{unavailable}");
}

#[test]
fn locked_file_is_unavailable_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, account) = declared(dir.path(), 10);
    let other = Connection::open(dir.path().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    fails(&ledger, &account, 1, &["ledger.db", "locked by another process"]);
    // Reading goes on meanwhile.
    assert_eq!(done(ledger.balance(account.clone())).unwrap().remaining, Some(credits(10)));
    other.execute_batch("ROLLBACK").unwrap();
    works(&ledger, &account, 1);
}

#[test]
fn removed_file_is_recreated_and_a_new_one_used() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, account) = declared(dir.path(), 10);
    let kept = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        fs::rename(dir.path().join(name), kept.path().join(name)).unwrap();
    }
    let refused = done(ledger.hold(request(1, &account, 1), Draft::default()));
    assert_eq!(refused, Err(HoldRefused::NoAccount(account.clone())));
    for name in ["ledger.db-wal", "ledger.db-shm"] {
        fs::remove_file(dir.path().join(name)).unwrap();
    }
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        fs::rename(kept.path().join(name), dir.path().join(name)).unwrap();
    }
    works(&ledger, &account, 1);
}

#[test]
fn foreign_file_is_refused_until_it_is_removed() {
    type Make = fn(&Path);
    let cases: &[(Make, &str)] = &[
        (|path| fs::write(path, [0x55; 8192]).unwrap(), "is not a database"),
        (|path| fs::create_dir(path).unwrap(), "is a directory"),
        (|path| sql(path, "CREATE TABLE theirs (x)"), "another application"),
        (|path| sql(path, "PRAGMA application_id = 5"), "another application"),
        (
            |path| sql(path, "PRAGMA application_id = 0x544f4c47; PRAGMA user_version = 4"),
            "another version of tollgate",
        ),
    ];
    for (make, words) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.db");
        make(&path);
        let before = fs::read(&path).ok();
        let ledger = fresh(dir.path());
        let (account, declaration) = root(10);
        fails(&ledger, &account, 1, &["ledger.db", words]);
        assert_eq!(fs::read(&path).ok(), before, "{words}: it was changed");
        fs::rename(&path, dir.path().join("moved away")).unwrap();
        done(ledger.declare(declaration, Draft::default()));
        works(&ledger, &account, 1);
    }
}

fn sql(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn damaged_file_is_reported_and_a_restored_one_works() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, account) = declared(dir.path(), 1_000);
    for id in 0..200 {
        done(ledger.hold(request(id, &account, 1), Draft::default())).unwrap();
    }
    let path = dir.path().join("ledger.db");
    sql(&path, "PRAGMA wal_checkpoint(TRUNCATE)");
    let whole = fs::read(&path).unwrap();
    for page in 0..whole.len() / 4096 {
        let mut damaged = whole.clone();
        damaged[page * 4096 + 100..(page + 1) * 4096].fill(0xa5);
        // In place: the file remains the same one.
        fs::write(&path, &damaged).unwrap();
        let ledger = fresh(dir.path());
        let id = 1_000_000 + u128::try_from(page).unwrap();
        // Whatever it answers, it says so and goes on.
        for answer in [
            wait(ledger.hold(request(id, &account, 1), Draft::default())).err(),
            wait(ledger.finish(HoldId(7), Finish::Void, Draft::default())).err(),
            wait(ledger.sweep(10)).err(),
            wait(ledger.prove()).err(),
            wait(ledger.verify()).err(),
        ]
        .into_iter()
        .flatten()
        {
            let known = ["is damaged", "not a database", "another application", "audit verify"];
            let known = known.iter().any(|words| answer.cause.contains(words));
            assert!(known || answer.cause.contains("ledger.db"), "page {page}: {answer}");
        }
        drop(ledger);
        thread::sleep(Duration::from_millis(20));
        for beside in ["ledger.db-wal", "ledger.db-shm"] {
            let _ = fs::remove_file(dir.path().join(beside));
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, &whole).unwrap();
    }
    works(&ledger, &account, 5_000);
}

#[test]
fn file_and_key_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("a/b");
    let (ledger, account) = declared(&state, 10);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.clone()), 0o700);
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "key"] {
        assert_eq!(mode(state.join(name)), 0o600, "{name}");
    }
    drop(ledger);
    let key = state.join("key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    fails(&fresh(&state), &account, 1, &["chmod 600", "key"]);
    fs::write(&key, "no key").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fails(&fresh(&state), &account, 1, &["64 hexadecimal digits"]);
    // Another key than the one that signed.
    fs::remove_file(&key).unwrap();
    fails(&fresh(&state), &account, 1, &["restore both", "ledger.db"]);
}

#[test]
fn key_created_by_many_at_once_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let state = &dir.path().join("state");
    let make = || keys::key(Some(state)).unwrap().mac(b"same");
    let macs: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(macs.iter().all(|mac| *mac == macs[0]));
    assert_eq!(fs::read_dir(state).unwrap().count(), 1, "nothing is left beside it");
    let own = || keys::key(None).unwrap().mac(b"same");
    assert_ne!(own(), own());
}
