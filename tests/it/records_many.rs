//! Commands over a store with very many records and holds.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
    thread,
};

use rusqlite::{Connection, params};
use serde_json::json;
use tollgate::{
    domain::{
        ledger::{AccountId, Finish, HoldId},
        record::{Draft, Event, Head},
    },
    host::clock::wall_clock,
    ledger::{
        Ledger, keys,
        sqlite::{Sqlite, StoreLocation},
    },
};

use crate::support::{
    Setup,
    store::{credits, done, request},
};

/// A gateway's directory whose store has a root with this limit.
fn metered(limit: u64) -> (Setup, Sqlite, AccountId) {
    let setup = Setup::new(json!({}), None).gateway(&json!({"budget": {"limit": limit}}));
    let (code, _, err) = setup.run(&["budget", "show"]);
    assert_eq!(code, 0, "{err}");
    let state = setup.path().join(".local/state/tollgate");
    let ledger = store(&state);
    let accounts = done(ledger.accounts());
    let root = accounts.into_iter().map(|(id, _)| id).find(|id| id.name() == "root").unwrap();
    (setup, ledger, root)
}

/// A handle of its own on a store.
fn store(state: &Path) -> Sqlite {
    let (path, keys) = (state.join("ledger.db"), Some(state.to_owned()));
    Sqlite::new(StoreLocation { path, keys, durability: Default::default() }, wall_clock())
}

#[test]
fn refund_takes_each_hold_as_the_log_shows_it() {
    let (setup, ledger, root) = metered(100_000);
    // All of one millisecond, as on a busy gateway: they differ in their last digits.
    let first = 0x01a1_fb32_bfde_7458_a0db_2294_f0e1_066d_u128;
    for id in first..first + 300 {
        done(ledger.hold(request(id, &root, 7), Draft::default())).unwrap();
        done(ledger.finish(HoldId(id), Finish::Uncertain, Draft::default()));
    }
    let (code, log, err) = setup.run(&["audit", "log", "--event", "post", "--limit", "3"]);
    assert_eq!(code, 0, "{err}");
    let shown: Vec<&str> =
        log.lines().skip(1).map(|line| line.split_whitespace().next_back().unwrap()).collect();
    assert_eq!(shown.len(), 3, "{log}");
    for hold in shown {
        let (code, out, err) = setup.run(&["budget", "refund", hold]);
        assert_eq!(code, 0, "{hold}: {err}");
        assert!(out.contains("7 credits given back"), "{out}");
    }
    let left = done(ledger.balance(root)).unwrap().remaining;
    assert_eq!(left, Some(credits(100_000 - 297 * 7)));
}

/// Adds records to a chain in one transaction, as quickly as that can be done.
fn lengthen(state: &Path, records: u64) {
    let mut db = Connection::open(state.join("ledger.db")).unwrap();
    let tx = db.transaction().unwrap();
    let mut head = tx
        .query_row("SELECT chain, seq, hash FROM head", [], |row| {
            let (chain, seq, hash) = (row.get(0)?, row.get::<_, i64>(1)?, row.get(2)?);
            Ok(Head { chain, seq: u64::try_from(seq).unwrap(), hash })
        })
        .unwrap();
    let note = Some("x".repeat(600));
    let mut add = tx.prepare("INSERT INTO record VALUES (?1, ?2, ?3)").unwrap();
    for _ in 0..records {
        let draft = Draft { event: Event::Call, note: note.clone(), ..Draft::default() };
        let sealed = head.seal(draft, "2026-11-20T00:00:00.000Z".to_owned()).unwrap();
        add.execute(params![i64::try_from(sealed.seq).unwrap(), sealed.line, sealed.hash]).unwrap();
    }
    drop(add);
    let seq = i64::try_from(head.seq).unwrap();
    let text = [&head.seq.to_be_bytes()[..], &head.hash, head.chain.as_bytes()].concat();
    let mac = keys::key(Some(state)).unwrap().derive("record head").mac(&text);
    let end = params![seq, head.hash, mac];
    tx.execute("UPDATE head SET seq = ?1, hash = ?2, mac = ?3", end).unwrap();
    tx.commit().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_log_is_written_in_little_memory() {
    const RECORDS: u64 = 120_000;
    let (setup, ledger, _) = metered(10);
    drop(ledger);
    lengthen(&setup.path().join(".local/state/tollgate"), RECORDS);
    let mut log = setup.command(&["audit", "log", "--json", "--limit", "1000000"]);
    let mut log = log.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(log.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The last lines wait in the pipe while the process is looked at.
    let read = lines.by_ref().take(usize::try_from(RECORDS).unwrap() - 500).count();
    let status = fs::read_to_string(format!("/proc/{}/status", log.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    let places: Vec<String> = lines.collect();
    assert!(log.wait().unwrap().success());
    assert!(read + places.len() >= usize::try_from(RECORDS).unwrap());
    assert!(places.last().unwrap().contains(&format!("\"seq\":{}", RECORDS + 1)));
    assert!(peak < 80 << 10, "{peak} kB at the most");
}

/// Writes a record of 100 kB.
fn write(ledger: &Sqlite) {
    let note = Some("x".repeat(100_000));
    done(ledger.record(Draft { event: Event::Call, note, ..Draft::default() }));
}

fn log_size(state: &Path) -> u64 {
    fs::metadata(state.join("ledger.db-wal")).unwrap().len()
}

#[test]
fn proof_of_a_busy_store_leaves_its_log_short() {
    let (setup, ledger, root) = metered(1_000);
    let state = setup.path().join(".local/state/tollgate");
    for id in 1..50 {
        done(ledger.hold(request(id, &root, 7), Draft::default())).unwrap();
    }
    lengthen(&state, 60_000);
    drop(ledger);
    let prover = thread::spawn({
        let state = state.clone();
        move || done(store(&state).prove())
    });
    let writer = store(&state);
    let mut longest = 0;
    for _ in 0..2_000 {
        write(&writer);
        longest = longest.max(log_size(&state));
        if prover.is_finished() {
            break;
        }
    }
    let proof = prover.join().unwrap();
    assert_eq!((proof.faults, proof.open), (vec![], 49));
    assert!(longest < 40 << 20, "the log grew to {longest} bytes");
}

#[test]
fn log_that_grew_is_cut_back() {
    let (setup, ledger, _) = metered(10);
    let state = setup.path().join(".local/state/tollgate");
    let reader = Connection::open(state.join("ledger.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM record").unwrap();
    (0..600).for_each(|_| write(&ledger));
    assert!(log_size(&state) > 50 << 20);
    reader.execute_batch("COMMIT").unwrap();
    (0..200).for_each(|_| write(&ledger));
    assert!(log_size(&state) <= 33 << 20, "{}", log_size(&state));
}
