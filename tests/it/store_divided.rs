//! The files that SQLite keeps beside the store are removed or replaced while gateways run.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    credits::{paid, reached},
    journal::state,
    refusal, within,
};

const LIMIT: usize = 12;

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Went {
    Made,
    Exhausted,
    Unavailable,
}

fn call(client: &mut Client) -> Went {
    let asked =
        json!({"name": "execute_tool", "arguments": {"server": "s", "tool": "echo", "args": {}}});
    let answer = client.request("tools/call", asked);
    if answer["error"]["code"] == -32000 {
        return Went::Exhausted;
    }
    if answer["result"]["isError"] == true {
        assert_eq!(refusal(&answer["result"])["code"], "LEDGER_UNAVAILABLE", "{answer}");
        return Went::Unavailable;
    }
    assert!(answer["result"]["content"].is_array(), "{answer}");
    Went::Made
}

fn metered() -> Setup {
    paid(&["echo"], &json!({"budget": {"limit": LIMIT}}), None)
}

fn remove(file: &Path, names: &[&str]) {
    for name in names {
        fs::remove_file(file.with_file_name(name)).unwrap();
    }
}

fn is_whole(setup: &Setup) {
    let (status, proof, err) = setup.run(&["budget", "prove", "--json"]);
    assert_eq!(status, 0, "{proof}{err}");
    let proof: Value = serde_json::from_str(&proof).unwrap();
    assert_eq!((&proof["spent"], &proof["open"]), (&json!(reached(setup)), &json!(0)), "{proof}");
    let (status, verdict, err) = setup.run(&["audit", "verify"]);
    assert_eq!(status, 0, "{verdict}{err}");
}

#[test]
fn deleted_log_gives_no_second_budget() {
    let cases: [&[&str]; 3] =
        [&["ledger.db-wal", "ledger.db-shm"], &["ledger.db-wal"], &["ledger.db-shm"]];
    for names in cases {
        let setup = metered();
        let file = state(&setup).join("ledger.db");
        let mut running = [setup.connect(), setup.connect()];
        for client in &mut running {
            assert_eq!(call(client), Went::Made);
            assert_eq!(call(client), Went::Made);
        }
        remove(&file, names);
        let mut clients: Vec<Client> = running.into_iter().collect();
        clients.insert(0, setup.connect());
        let begun = Instant::now();
        let mut refused = 0;
        loop {
            let went: Vec<Went> = clients.iter_mut().map(call).collect();
            assert!(reached(&setup) <= LIMIT, "{names:?}: {} of {LIMIT}", reached(&setup));
            refused += went.iter().filter(|went| **went == Went::Unavailable).count();
            if went.iter().all(|went| *went == Went::Exhausted) {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "{names:?}: {went:?}");
            thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(reached(&setup), LIMIT, "{names:?}: {refused} refused");
        let logs: Vec<String> = clients.into_iter().map(|client| client.finish().2).collect();
        let logs = logs.join("\n");
        assert!(logs.contains("ledger.db-wal` or `"), "{names:?}: {logs}");
        is_whole(&setup);
    }
}

#[test]
fn replaced_log_is_refused_until_its_user_is_gone() {
    let setup = metered();
    let file = state(&setup).join("ledger.db");
    let mut client = setup.connect();
    assert_eq!(call(&mut client), Went::Made);
    remove(&file, &["ledger.db-wal", "ledger.db-shm"]);
    let other = Connection::open(&file).unwrap();
    // It sees nothing of what the gateway wrote, and makes a log of its own.
    let _ = other.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
    assert_eq!(call(&mut client), Went::Unavailable);
    assert_eq!(call(&mut client), Went::Unavailable);
    assert_eq!(reached(&setup), 1);
    drop(other);
    assert!(within(Duration::from_secs(60), || call(&mut client) == Went::Made));
    let (_, _, log) = client.finish();
    assert!(log.contains("were replaced while the store was in use"), "{log}");
    assert!(log.contains("everything that was in it is kept"), "{log}");
    is_whole(&setup);
}

#[test]
fn commands_beside_a_gateway_leave_it_undisturbed() {
    let setup = metered();
    let file = state(&setup).join("ledger.db");
    let mut client = setup.connect();
    for _ in 0..4 {
        assert_eq!(call(&mut client), Went::Made);
        assert_eq!(setup.run(&["budget", "show"]).0, 0);
        let other = Connection::open(&file).unwrap();
        other.query_row("SELECT count(*) FROM record", [], |row| row.get::<_, i64>(0)).unwrap();
    }
    assert_eq!(call(&mut client), Went::Made);
    let (_, _, log) = client.finish();
    assert!(!log.contains("-wal"), "{log}");
    is_whole(&setup);
}
