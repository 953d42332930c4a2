//! A clock that was wrong for a while: what it left behind is put right when the clock is.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tollgate::{
    domain::{
        budget::{Budgeting, Limit},
        ledger::{AccountId, Declaration, Finish, HoldId},
        period::Period,
        record::Draft,
        rules::Rules,
    },
    ledger::memory::Memory,
};

use crate::support::{
    delegated::BEGIN,
    store::{clock, credits, done, request, sqlite},
};

const MINUTE: i64 = 60_000;
const DAY: i64 = 86_400_000;
const YEAR: i64 = 366 * DAY;

/// Runs a check with every kind of store.
fn with_each(check: impl Fn(&dyn tollgate::ledger::Ledger, &AtomicI64)) {
    let at = Arc::new(AtomicI64::new(BEGIN));
    check(&Memory::new("memory", clock(&at)), &at);
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    check(&sqlite(dir.path(), clock(&at)), &at);
}

/// A root that may spend a hundred a day.
fn a_day() -> (AccountId, Declaration) {
    let limit = Some(Limit { credits: credits(100), period: Some(Period::Day) });
    let budgeting = Budgeting { limit, namespace: "book".into(), ..Budgeting::default() };
    (AccountId::new("book", "root/day"), Declaration::of(&budgeting, &Rules::default()))
}

fn left(ledger: &dyn tollgate::ledger::Ledger, account: &AccountId) -> u64 {
    done(ledger.balance(account.clone())).unwrap().remaining.unwrap().amount()
}

fn spend(
    ledger: &dyn tollgate::ledger::Ledger,
    id: u128,
    account: &AccountId,
    amount: u64,
) -> bool {
    let held = done(ledger.hold(request(id, account, amount), Draft::default())).is_ok();
    if held {
        done(ledger.finish(HoldId(id), Finish::Post(credits(amount)), Draft::default()));
    }
    held
}

fn whole(ledger: &dyn tollgate::ledger::Ledger) {
    assert_eq!(done(ledger.prove()).faults, [""; 0]);
}

#[test]
fn future_window_ends_when_the_clock_is_corrected() {
    with_each(|ledger, at| {
        let (root, declaration) = a_day();
        done(ledger.declare(declaration, Draft::default()));
        assert!(spend(ledger, 1, &root, 80));
        at.fetch_add(3 * YEAR, Ordering::SeqCst);
        assert!(spend(ledger, 2, &root, 90));
        at.fetch_sub(3 * YEAR, Ordering::SeqCst);
        assert_eq!(left(ledger, &root), 20, "what was spent today counts, and nothing else");
        assert!(!spend(ledger, 3, &root, 21));
        assert!(spend(ledger, 4, &root, 20));
        whole(ledger);
        at.fetch_add(DAY, Ordering::SeqCst);
        assert!(spend(ledger, 5, &root, 100), "the next day is another one");
        assert!(!spend(ledger, 6, &root, 1));
        whole(ledger);
        // On the day that the clock was ahead to, what was spent then counts.
        at.store(BEGIN + 3 * YEAR, Ordering::SeqCst);
        assert_eq!(left(ledger, &root), 10);
        assert!(!spend(ledger, 7, &root, 11));
        assert!(spend(ledger, 8, &root, 10));
        whole(ledger);
    });
}

#[test]
fn small_clock_step_back_reopens_no_window() {
    with_each(|ledger, at| {
        let (root, declaration) = a_day();
        done(ledger.declare(declaration, Draft::default()));
        assert!(spend(ledger, 1, &root, 100));
        for back in [MINUTE, DAY / 2, DAY] {
            at.store(BEGIN - back, Ordering::SeqCst);
            assert!(!spend(ledger, 2, &root, 1));
        }
        // Far back is another day, which is left when the clock is right again.
        at.store(BEGIN - 40 * DAY, Ordering::SeqCst);
        assert!(spend(ledger, 3, &root, 1));
        at.store(BEGIN, Ordering::SeqCst);
        assert!(!spend(ledger, 4, &root, 1), "this day's credits are spent");
        whole(ledger);
    });
}

#[test]
fn future_hold_is_swept_when_the_clock_is_corrected() {
    with_each(|ledger, at| {
        let (root, declaration) = a_day();
        done(ledger.declare(declaration, Draft::default()));
        at.fetch_add(3 * YEAR, Ordering::SeqCst);
        for id in [1, 2] {
            done(ledger.hold(request(id, &root, 10), Draft::default())).unwrap();
        }
        at.fetch_sub(3 * YEAR, Ordering::SeqCst);
        // Its gateway may be there, and has time to say so.
        assert_eq!(done(ledger.sweep(10)), 0);
        at.fetch_add(30_000, Ordering::SeqCst);
        done(ledger.extend(HoldId(1), MINUTE));
        at.fetch_add(45_000, Ordering::SeqCst);
        assert_eq!(done(ledger.sweep(10)), 1);
        assert_eq!(done(ledger.prove()).open, 1);
        at.fetch_add(MINUTE, Ordering::SeqCst);
        assert_eq!(done(ledger.sweep(10)), 1);
        whole(ledger);
    });
}

#[test]
fn used_stamp_stays_used_when_the_clock_goes_back() {
    with_each(|ledger, at| {
        let until = BEGIN + 10 * MINUTE;
        assert!(done(ledger.consume_nonce([1; 32], until)));
        at.fetch_add(YEAR, Ordering::SeqCst);
        assert!(done(ledger.consume_nonce([2; 32], BEGIN + YEAR + 10 * MINUTE)));
        at.fetch_add(YEAR, Ordering::SeqCst);
        assert!(done(ledger.consume_nonce([3; 32], BEGIN + 2 * YEAR + 10 * MINUTE)));
        at.store(BEGIN + 1_000, Ordering::SeqCst);
        assert!(!done(ledger.consume_nonce([1; 32], until)), "it was used before");
        // Those that are made from now on are taken, once clocks that are a minute ahead are past.
        at.fetch_add(MINUTE + 1_000, Ordering::SeqCst);
        let fresh = at.load(Ordering::SeqCst) + 10 * MINUTE;
        assert!(done(ledger.consume_nonce([4; 32], fresh)));
        assert!(!done(ledger.consume_nonce([4; 32], fresh)));
        assert!(!done(ledger.consume_nonce([1; 32], until)));
    });
}
