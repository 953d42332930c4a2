//! What cannot be ended keeps no other from its end.

use std::sync::{Arc, atomic::AtomicI64};

use rusqlite::Connection;
use tollgate::{
    domain::{
        ledger::{
            About, Account, AccountId, AccountKind, Funds, HoldEntry, HoldId, HoldRequest,
            HoldState, Leg,
        },
        record::{Draft, Event},
    },
    ledger::{Ledger, Turn, memory::Memory, transact},
};

use crate::support::{
    delegated::{BEGIN, World, account},
    store::{clock, credits, done, request, sqlite},
};

/// Leaves what contradicts itself: a hold on an account that is not there, and an account over its
/// time that got its credits from no account. Both come before all others.
fn contradicts(ledger: &impl Ledger) {
    let hold = HoldEntry {
        amount: credits(1),
        state: HoldState::Open,
        forced: false,
        fingerprint: [0; 32],
        deadline: BEGIN - 1,
        charge_if_lost: true,
        path: vec![Leg { account: AccountId::new("a", "nobody"), window: 0 }],
        about: About::default(),
    };
    let funds =
        Funds { issued: credits(5), available: 5, declared: credits(5), ..Funds::default() };
    let orphan = AccountId::new("a", "orphan");
    let account = Account::new(Some(AccountId::new("book", "root")), AccountKind::Funded(funds));
    let account = Account { expires: Some(BEGIN), ..account };
    done(transact(ledger, Turn::Now, move |tx, _| {
        tx.tables().put_hold(HoldId(0), hold)?;
        Ok(tx.tables().put_account(&orphan, account)?)
    }));
}

#[test]
fn what_contradicts_itself_keeps_no_other_from_its_end() {
    fn check(ledger: impl Ledger + Clone + 'static, at: Arc<AtomicI64>) {
        let world = World::new(Arc::new(ledger.clone()), at, 100);
        for token in 1..=3 {
            world.delegate_until(token, &world.root, 10, Some(BEGIN + 1)).unwrap();
            let request = HoldRequest { lifetime: 1, ..request(token, &account(token), 2) };
            done(world.ledger.hold(request, Draft::default())).unwrap();
        }
        contradicts(&ledger);
        world.pass(1);
        // One of each at a time, and those that cannot be ended before all others.
        for _ in 1..=3 {
            assert_eq!(done(world.ledger.sweep(1)), 2);
        }
        assert_eq!(done(world.ledger.sweep(1)), 0);
        assert_eq!(world.left(&world.root), 94);
        assert_eq!((world.events(Event::Post).len(), world.events(Event::Close).len()), (3, 3));
        let faults = done(world.ledger.prove()).faults;
        assert!(
            faults.iter().all(|fault| {
                ["nobody", "orphan", &HoldId(0).to_string()].iter().any(|own| fault.contains(own))
            }),
            "{faults:?}"
        );
    }
    let at = Arc::new(AtomicI64::new(BEGIN));
    check(Memory::new("memory", clock(&at)), at);
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    check(sqlite(dir.path(), clock(&at)), at);
}

#[test]
fn unreadable_account_does_not_stop_the_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let world = World::new(Arc::new(sqlite(dir.path(), clock(&at))), at, 100);
    for hold in 1..=3 {
        let request = HoldRequest { lifetime: 1, ..request(hold, &world.root, 2) };
        done(world.ledger.hold(request, Draft::default())).unwrap();
    }
    let db = Connection::open(dir.path().join("ledger.db")).unwrap();
    db.execute("UPDATE hold SET path = '?' WHERE id = ?1", [1u128.to_be_bytes()]).unwrap();
    world.pass(1);
    assert_eq!(done(world.ledger.sweep(10)), 2);
    assert_eq!(world.events(Event::Post).len(), 2);
}
