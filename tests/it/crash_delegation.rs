//! Gateways that are killed with -9 while their callers delegate, spend, revoke and let expire.
//! `crash_delegation.py` kills them and checks the store from outside; `scripts/soak-crash
//! --delegations` does the same thousands of times.

use std::sync::Arc;

use crate::support::{
    crash::{LIFETIME, driver_of},
    store::{done, sqlite},
};
use tollgate::ledger::{Ledger, Verdict};

const DRIVER: &str = "crash_delegation.py";

/// Kills gateways on one store, ends by the operator's hand what is open, and then what is left once
/// its time is over.
fn check(mode: &str, gateways: &str, steps: &str, kills: &str) {
    let home = tempfile::tempdir().unwrap();
    let args = ["--mode", mode, "--gateways", gateways, "--steps", steps, "--kills", kills];
    let told = driver_of(DRIVER, "run", home.path(), &args);
    for what in ["delegated", "paid", "revoked", "revoked by the operator"] {
        assert!(told[what].as_u64() > Some(0), "{what}: {told}");
    }
    // A handle ends with its gateway; a token goes on.
    let survive = told["by survivors"].as_u64().unwrap() > 0;
    assert_eq!(survive, mode == "header", "{told}");
    let state = home.path().join(".local/state/tollgate");
    let now = tollgate::host::clock::wall_clock()();
    let old = sqlite(&state, Arc::new(move || now + LIFETIME + 1_000));
    assert_eq!(done(old.sweep(usize::MAX)) as u64, told["open"].as_u64().unwrap());
    let proof = done(old.prove());
    assert_eq!((proof.open, proof.reserved, proof.faults), (0, 0, Vec::new()));
    let Verdict { broken, incomplete, .. } = done(old.verify());
    assert_eq!((broken, incomplete), (None, None));
    driver_of(DRIVER, "settle", home.path(), &[]);
}

#[test]
fn handles_of_killed_gateways_lose_no_credit() {
    check("none", "1", "8", "14");
}

#[test]
fn tokens_outlive_killed_gateways_and_lose_no_credit() {
    check("header", "2", "8", "14");
}
