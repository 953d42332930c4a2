//! Commands over a store with very many records and holds.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use rusqlite::{Connection, params};
use serde_json::json;
use tollgate::{
    domain::{
        ledger::{AccountId, Finish, HoldId},
        record::{Draft, Event, Head},
    },
    store::{Ledger, memory::wall_clock, sqlite::Sqlite},
};

use crate::{
    store::{credits, done, request},
    support::Setup,
};

/// A gateway's directory whose store has a root with this limit.
fn metered(limit: u64) -> (Setup, Sqlite, AccountId) {
    let setup = Setup::new(json!({}), None).gateway(&json!({"budget": {"limit": limit}}));
    let (code, _, err) = setup.run(&["budget", "show"]);
    assert_eq!(code, 0, "{err}");
    let state = setup.path().join(".local/state/tollgate");
    let place = tollgate::store::sqlite::Place {
        path: state.join("ledger.db"),
        keys: Some(state),
        durability: Default::default(),
    };
    let ledger = Sqlite::new(place, wall_clock());
    let accounts = done(ledger.accounts());
    let root = accounts.into_iter().map(|(id, _)| id).find(|id| id.name() == "root").unwrap();
    (setup, ledger, root)
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
    let left = done(ledger.read(root)).unwrap().remaining;
    assert_eq!(left, Some(credits(100_000 - 297 * 7)));
}

/// Adds records to a chain in one transaction, as quickly as that can be done.
fn lengthen(db: &mut Connection, records: u64) {
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
    tx.execute("UPDATE head SET seq = ?1, hash = ?2", params![seq, head.hash]).unwrap();
    tx.commit().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_long_log_is_written_in_little_memory() {
    const RECORDS: u64 = 120_000;
    let (setup, ledger, _) = metered(10);
    drop(ledger);
    let path = setup.path().join(".local/state/tollgate/ledger.db");
    lengthen(&mut Connection::open(path).unwrap(), RECORDS);
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
