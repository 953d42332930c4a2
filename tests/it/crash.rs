//! Gateways that are killed with -9 while calls are in flight. `crash.py` kills them and checks the
//! store from outside; `scripts/soak-crash` does the same thousands of times.

use std::{path::Path, sync::Arc};

use serde_json::Value;
use tollgate::ledger::{Ledger, Verdict};

use crate::support::{
    crash::{LIFETIME, driver_of},
    store::{done, sqlite, wait},
};

fn driver(what: &str, dir: &Path, args: &[&str]) -> Value {
    driver_of("crash.py", what, dir, args)
}

/// Kills gateways on one store, then ends what they left open, once its time is over.
fn check(gateways: &str, kills: &str) {
    let home = tempfile::tempdir().unwrap();
    let told = driver("run", home.path(), &["--gateways", gateways, "--kills", kills]);
    assert!(told["paid"].as_u64() > Some(0), "{told}");
    let state = home.path().join(".local/state/tollgate");
    let open = told["open"].as_u64().unwrap();

    let now = tollgate::host::clock::wall_clock()();
    let young = sqlite(&state, tollgate::host::clock::wall_clock());
    let before = done(young.prove());
    assert_eq!(before.open as u64, open, "what is open is what the records do not end");
    let old = sqlite(&state, Arc::new(move || now + LIFETIME + 1_000));
    assert_eq!(done(old.sweep(usize::MAX)) as u64, open);
    let after = done(old.prove());
    assert_eq!((after.open, after.reserved), (0, 0));
    assert_eq!(after.spent, before.spent + before.reserved, "what is lost is charged");
    assert_eq!(after.faults, Vec::<String>::new());
    let Verdict { broken, incomplete, .. } = done(old.verify());
    assert_eq!((broken, incomplete), (None, None));
    driver("settle", home.path(), &[]);
}

#[test]
fn repeatedly_killed_gateway_loses_no_credit_or_record() {
    check("1", "16");
}

#[test]
fn gateways_that_share_a_store_survive_each_other() {
    check("3", "20");
}

#[test]
fn store_created_by_many_at_once_is_one() {
    for round in 0..40 {
        let home = tempfile::tempdir().unwrap();
        let begun: Vec<_> = (0..8)
            .map(|_| {
                let ledger = sqlite(home.path(), tollgate::host::clock::wall_clock());
                std::thread::spawn(move || wait(ledger.head()).map(|head| head.chain))
            })
            .collect();
        let chains: Vec<_> = begun.into_iter().map(|thread| thread.join().unwrap()).collect();
        let first = chains[0].as_ref();
        assert!(
            first.is_ok() && chains.iter().all(|chain| chain.as_ref() == first),
            "{round}: {chains:?}"
        );
    }
}
