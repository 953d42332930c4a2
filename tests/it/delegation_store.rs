//! Tokens, their accounts, stamps and API keys: every store does the same.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
};

use tollgate::{
    domain::{
        auth::ApiKey,
        call::AgentId,
        ledger::{
            AccountId, Broken, Finish, HoldId, HoldRefused, Step, Transfer, TransferId,
            TransferRefused, Transferred,
        },
        record::{Draft, Event},
        token::TokenId,
    },
    ledger::{Ledger, Turn, memory::Memory, transact},
};

use crate::support::{
    delegated::{BEGIN, World, account, asked},
    store::{clock, credits, done, request, root, sqlite, wait},
};

/// Does the same with a store in memory and one in a file.
fn in_every_store(amount: u64, check: fn(&World)) {
    let at = Arc::new(AtomicI64::new(BEGIN));
    let memory = Memory::new("memory", clock(&at));
    check(&World::new(Arc::new(memory), at, amount));
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let file = sqlite(dir.path(), clock(&at));
    check(&World::new(Arc::new(file), at, amount));
}

#[test]
fn delegated_credits_leave_the_parent() {
    in_every_store(500, |world| {
        let made = world.delegate(1, &world.root, 200).unwrap();
        let expected = Transferred {
            amount: credits(200),
            account: world.root.clone(),
            remaining: Some(credits(300)),
            replayed: false,
        };
        assert_eq!(made, expected);
        assert_eq!((world.left(&world.root), world.left(&account(1))), (300, 200));
        world.is_whole();
    });
    in_every_store(1_000, |world| {
        for token in 1..=3 {
            world.delegate(token, &world.root, 200).unwrap();
            world.is_whole();
        }
        assert_eq!(world.left(&world.root), 400);
        assert_eq!(done(world.ledger.delegations()).len(), 3);
    });
}

#[test]
fn token_record_is_read_back_and_journalled_once() {
    in_every_store(500, |world| {
        world.delegate(1, &world.root, 200).unwrap();
        let kept = done(world.ledger.standing(TokenId(1)));
        assert_eq!(kept.delegation, Some(asked(1, &world.root, 200, None).delegation));
        assert!(kept.usable);
        // Asked again, it is the same; otherwise, another.
        assert!(world.delegate(1, &world.root, 200).unwrap().replayed);
        assert_eq!(world.delegate(1, &world.root, 100), Err(TransferRefused::KeyReuse));
        let mut other = asked(1, &world.root, 200, None);
        other.delegation.label = None;
        let refused = done(world.ledger.delegate(other, Draft::default()));
        assert_eq!(refused, Err(TransferRefused::KeyReuse));
        let mut stolen = asked(2, &world.root, 100, None);
        stolen.delegation.handle = asked(1, &world.root, 200, None).delegation.handle;
        let refused = done(world.ledger.delegate(stolen, Draft::default()));
        assert_eq!(refused, Err(TransferRefused::KeyReuse));
        let mut same_account = asked(3, &world.root, 100, None);
        same_account.delegation.account = account(1);
        let refused = done(world.ledger.delegate(same_account, Draft::default()));
        assert_eq!(refused, Err(TransferRefused::Exists(account(1))));
        // The id of a transfer that was no delegation makes none.
        let mint = Transfer::Mint { account: world.root.clone(), amount: credits(1) };
        done(world.ledger.transfer(TransferId(4), mint, Draft::default())).unwrap();
        assert_eq!(world.delegate(4, &world.root, 1), Err(TransferRefused::KeyReuse));
        assert_eq!(done(world.ledger.delegations()), vec![kept]);
        let [told] = &world.events(Event::Delegate)[..] else { panic!("not one record") };
        assert_eq!(told.token.as_deref(), Some("00000000000000000000000000000001"));
        assert_eq!(told.note.as_deref(), Some(account(1).as_str()));
        assert_eq!((told.agent.as_deref(), told.cost), (Some("a"), Some(200)));
        world.is_whole();
    });
}

#[test]
fn a_revoked_token_returns_what_it_did_not_spend() {
    in_every_store(500, |world| {
        world.delegate(1, &world.root, 200).unwrap();
        world.spend(1, &account(1), 60);
        assert_eq!(world.left(&account(1)), 140);
        world.is_whole();
        assert_eq!(world.revoke(1), [(account(1), 140)]);
        assert_eq!(world.left(&world.root), 440);
        assert!(!world.usable(1));
        let closed = HoldRefused::Closed(account(1));
        let refused = done(world.ledger.hold(request(2, &account(1), 1), Draft::default()));
        assert_eq!(refused, Err(closed.clone()));
        assert_eq!(world.delegate(2, &account(1), 1), Err(closed.into()));
        assert!(done(world.ledger.standing(TokenId(2))).delegation.is_none());
        // Once more changes nothing, and is not recorded.
        let head = done(world.ledger.head());
        assert_eq!(world.revoke(1), []);
        assert_eq!(done(world.ledger.head()), head);
        let [told] = &world.events(Event::Close)[..] else { panic!("not one record") };
        assert_eq!(told.token.as_deref(), Some("00000000000000000000000000000001"));
        world.is_whole();
    });
}

#[test]
fn expired_token_returns_what_it_did_not_spend() {
    in_every_store(500, |world| {
        world.delegate_until(1, &world.root, 200, Some(BEGIN + 1_000)).unwrap();
        world.spend(1, &account(1), 60);
        // Who is given credits by one that ends, ends with it.
        world.delegate_until(2, &account(1), 40, Some(BEGIN + 9_000)).unwrap();
        world.pass(999);
        assert_eq!(done(world.ledger.sweep(10)), 0);
        assert!(world.usable(1) && world.usable(2));
        world.pass(1);
        // Before anything was swept, it is over.
        assert!(!world.usable(1) && !world.usable(2));
        assert_eq!(done(world.ledger.sweep(10)), 2);
        assert_eq!(world.left(&world.root), 440);
        world.is_whole();
        let past = world.delegate_until(3, &world.root, 1, Some(BEGIN + 1_000));
        assert_eq!(past, Err(TransferRefused::Past));
    });
}

#[test]
fn a_remainder_climbs_to_the_nearest_open_account() {
    in_every_store(1_000, |world| {
        world.delegate(1, &world.root, 500).unwrap();
        world.delegate(2, &account(1), 200).unwrap();
        world.delegate(3, &account(2), 100).unwrap();
        world.spend(1, &account(3), 30);
        // A call of the lowest is under way when the one above it is revoked.
        done(world.ledger.hold(request(2, &account(3), 20), Draft::default())).unwrap();
        assert_eq!(world.revoke(2), [(account(3), 50), (account(2), 150)]);
        assert_eq!((world.left(&account(1)), world.left(&world.root)), (450, 500));
        assert_eq!([1, 2, 3].map(|token| world.usable(token)), [true, false, false]);
        world.is_whole();
        done(world.ledger.finish(HoldId(2), Finish::Void, Draft::default())).unwrap();
        assert_eq!(world.left(&account(1)), 470);
        world.is_whole();
        let below = |low: u128, high| done(world.ledger.lies_below(account(low), account(high)));
        assert_eq!([(3, 1), (3, 2), (2, 1)].map(|(low, high)| below(low, high)), [true; 3]);
        assert_eq!(
            [(1, 3), (2, 3), (1, 1), (2, 9)].map(|(low, high)| below(low, high)),
            [false; 4]
        );
        assert!(done(world.ledger.lies_below(account(1), world.root.clone())));
        assert_eq!(done(world.ledger.delegations()).len(), 3);
    });
}

#[test]
fn nothing_is_given_that_is_not_there() {
    in_every_store(100, |world| {
        assert_eq!(world.delegate(1, &world.root, 0), Err(TransferRefused::Nothing));
        let short = world.delegate(1, &world.root, 101).unwrap_err();
        assert!(matches!(short, TransferRefused::Account(HoldRefused::Short(_))), "{short:?}");
        let missing = AccountId::new("book", "nobody");
        let refused = world.delegate(1, &missing, 1);
        assert_eq!(refused, Err(HoldRefused::NoAccount(missing).into()));
        let mut above = world.root.clone();
        for token in 1..=7 {
            world.delegate(token, &above, 20 - token as u64).unwrap();
            above = account(token);
        }
        assert_eq!(world.delegate(8, &above, 1), Err(TransferRefused::TooDeep));
        assert_eq!(done(world.ledger.delegations()).len(), 7);
        assert_eq!(world.events(Event::Delegate).len(), 7);
        let roots = done(world.ledger.close(world.root.clone(), Draft::default()));
        assert_eq!(roots, Err(HoldRefused::Root(world.root.clone())));
        world.is_whole();
    });
}

#[test]
fn a_handle_is_found_by_its_digest_alone() {
    in_every_store(100, |world| {
        world.delegate(1, &world.root, 10).unwrap();
        let handle = asked(1, &world.root, 10, None).delegation.handle.unwrap();
        let found = done(world.ledger.by_handle(handle)).unwrap();
        assert_eq!(found, done(world.ledger.standing(TokenId(1))));
        assert!(found.usable);
        for bit in 0..256 {
            let mut other = handle;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(done(world.ledger.by_handle(other)), None);
        }
        world.revoke(1);
        assert!(!done(world.ledger.by_handle(handle)).unwrap().usable);
        // Some have none, and none is that of others.
        for token in [2, 3] {
            let mut without = asked(token, &world.root, 10, None);
            without.delegation.handle = None;
            done(world.ledger.delegate(without, Draft::default())).unwrap();
        }
        assert_eq!(done(world.ledger.by_handle([0; 32])), None);
        world.is_whole();
    });
}

#[test]
fn token_without_account_can_be_revoked_by_id() {
    in_every_store(100, |world| {
        assert!(world.usable(1));
        assert_eq!(world.revoke(1), []);
        assert_eq!(world.revoke(1), []);
        assert!(!world.usable(1));
        assert!(world.usable(2));
        let [told] = &world.events(Event::Revoke)[..] else { panic!("not one record") };
        assert_eq!(told.token.as_deref(), Some("00000000000000000000000000000001"));
        world.is_whole();
    });
}

#[test]
fn a_ceiling_caps_what_an_offline_token_draws() {
    in_every_store(100, |world| {
        world.delegate(1, &world.root, 50).unwrap();
        let cap = |to: &str, from: &AccountId, limit, expires| {
            let to = AccountId::new("book", to);
            let (from, limit) = (from.clone(), credits(limit));
            Transfer::Cap { from, to, limit, expires }
        };
        let mut ids = 100..;
        let mut transfer = |asked| {
            let id = TransferId(ids.next().unwrap());
            done(world.ledger.transfer(id, asked, Draft::default()))
        };
        assert!(!transfer(cap("cap/1", &account(1), 20, None)).unwrap().replayed);
        // Every gateway that meets the token asks for it.
        assert!(transfer(cap("cap/1", &account(1), 20, None)).unwrap().replayed);
        let there = AccountId::new("book", "cap/1");
        let refused = Err(TransferRefused::Exists(there.clone()));
        assert_eq!(transfer(cap("cap/1", &account(1), 21, None)), refused);
        assert_eq!(transfer(cap("cap/1", &world.root, 20, None)), refused);
        let past = transfer(cap("cap/2", &there, 5, Some(BEGIN)));
        assert_eq!(past, Err(TransferRefused::Past));
        transfer(cap("cap/2", &there, 5, Some(BEGIN + 1_000))).unwrap();
        let lower = AccountId::new("book", "cap/2");
        world.spend(1, &lower, 4);
        assert_eq!([&lower, &there, &account(1)].map(|id| world.left(id)), [1, 16, 46]);
        let refused = done(world.ledger.hold(request(2, &lower, 2), Draft::default()));
        assert!(matches!(refused, Err(HoldRefused::Short(_))));
        world.pass(1_000);
        assert_eq!(done(world.ledger.sweep(10)), 1);
        let again = transfer(cap("cap/2", &there, 5, Some(BEGIN + 2_000)));
        assert_eq!(again, Err(HoldRefused::Closed(lower).into()));
        assert_eq!(world.revoke(1).len(), 2);
        assert_eq!(world.left(&world.root), 96);
        assert_eq!(world.events(Event::Cap).len(), 2);
        world.is_whole();
    });
}

#[test]
fn a_stamp_is_good_once() {
    in_every_store(1, |world| {
        let until = BEGIN + 1_000;
        assert!(done(world.ledger.consume_nonce([1; 32], until)));
        assert!(!done(world.ledger.consume_nonce([1; 32], until)));
        assert!(done(world.ledger.consume_nonce([2; 32], until)));
        world.pass(999);
        assert!(!done(world.ledger.consume_nonce([1; 32], until)));
        // An expired delegation stays invalid after it is forgotten.
        world.pass(1);
        assert!(!done(world.ledger.consume_nonce([1; 32], until)));
        assert!(!done(world.ledger.consume_nonce([3; 32], until)));
        assert!(done(world.ledger.consume_nonce([1; 32], until + 1)));
    });
}

#[test]
fn api_key_is_stored_until_it_is_revoked() {
    in_every_store(1, |world| {
        let key = |id: &str, digest| ApiKey {
            id: id.to_owned(),
            name: "for \"tests\"".to_owned(),
            digest: [digest; 32].into(),
            agents: vec![AgentId::from("a"), AgentId::from("b")],
            roles: vec!["admin".to_owned()],
            created: BEGIN,
            expires: Some(BEGIN + 1),
            revoked: false,
        };
        let add = |key| done(world.ledger.add_api_key(key, Draft::default()));
        let revoke = |id: &str| done(world.ledger.revoke_api_key(id.to_owned(), Draft::default()));
        assert!(add(key("k2", 2)) && add(key("k1", 1)));
        assert!(!add(key("k1", 3)), "the id is taken");
        assert!(!add(key("k3", 1)), "the digest is taken");
        assert_eq!(done(world.ledger.api_key([1; 32])), Some(key("k1", 1)));
        assert_eq!(done(world.ledger.api_key([3; 32])), None);
        assert_eq!(revoke("k1"), Some(Vec::new()));
        assert_eq!((revoke("k1"), revoke("k3")), (None, None));
        let revoked = ApiKey { revoked: true, ..key("k1", 1) };
        assert_eq!(done(world.ledger.api_key([1; 32])), Some(revoked.clone()));
        assert_eq!(done(world.ledger.api_keys()), [revoked, key("k2", 2)]);
        let notes: Vec<_> = world.events(Event::Key).into_iter().map(|it| it.note).collect();
        assert_eq!(notes.len(), 3);
        assert!(!format!("{notes:?}").contains("[1, 1"), "digests are no business of records");
        world.is_whole();
    });
}

/// Several handles on one file, as several processes have them.
fn handles(dir: &Path) -> Vec<impl Ledger + use<>> {
    let at = Arc::new(AtomicI64::new(BEGIN));
    (0..4).map(|_| sqlite(dir, clock(&at))).collect()
}

#[test]
fn first_of_several_handles_on_one_file_wins() {
    let dir = tempfile::tempdir().unwrap();
    let handles = handles(dir.path());
    let (root, declaration) = root(100);
    done(handles[0].declare(declaration, Draft::default()));
    for stamp in 0..20u8 {
        let asked = handles.iter().map(|handle| handle.consume_nonce([stamp; 32], BEGIN + 1));
        let answers: Vec<_> = asked.collect::<Vec<_>>().into_iter().map(done).collect();
        assert_eq!(answers.iter().filter(|first| **first).count(), 1, "{answers:?}");
    }
    // What one writes, the others see.
    done(handles[1].delegate(asked(1, &root, 10, None), Draft::default())).unwrap();
    done(handles[2].revoke(TokenId(2), Draft::default())).unwrap();
    for handle in &handles {
        assert!(done(handle.standing(TokenId(1))).delegation.is_some());
        assert!(!done(handle.standing(TokenId(2))).usable);
    }
}

#[test]
fn failed_step_leaves_nothing_written() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = sqlite(dir.path(), clock(&Arc::new(AtomicI64::new(BEGIN))));
    let (root, declaration) = root(100);
    done(ledger.declare(declaration, Draft::default()));
    // They share a transaction, behind a step that takes its time.
    let slow = transact(&ledger, Turn::Now, |_, _| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        Ok(())
    });
    let before = ledger.delegate(asked(1, &root, 10, None), Draft::default());
    let delegation = asked(2, &root, 10, None).delegation;
    let broken = transact(&ledger, Turn::Now, move |tx, _| -> Step<()> {
        tx.add_delegation(&delegation)?;
        tx.deny(TokenId(3))?;
        assert!(tx.add_nonce(&[1; 32], BEGIN + 1)?);
        Err(Broken::Inconsistent("as was asked for".to_owned()))
    });
    let after = ledger.delegate(asked(4, &root, 10, None), Draft::default());
    drop(slow);
    done(before).unwrap();
    assert!(!wait(broken).unwrap_err().maybe_applied);
    done(after).unwrap();
    assert_eq!(done(ledger.delegations()).len(), 2);
    assert!(done(ledger.standing(TokenId(3))).usable);
    assert!(done(ledger.consume_nonce([1; 32], BEGIN + 1)));
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
}
