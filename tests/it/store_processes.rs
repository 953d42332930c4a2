//! Several processes on one file, and processes that meet what they cannot write or are killed.

use std::{
    collections::HashMap,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Child,
    thread,
    time::Duration,
};

use tollgate::{
    domain::{
        ledger::{Finish, HoldId, HoldState},
        record::Draft,
    },
    ledger::{Ledger, keys},
};

use crate::support::{
    second_process::{as_a_child, child, own_ids, said, say, shared},
    store::{credits, declared, done, request, root, wait, works},
};

/// What a child says in its life.
fn all_said(child: &mut Child) -> String {
    let said: Vec<String> = said(child).collect();
    assert!(child.wait().unwrap().success(), "the child fails: {said:?}");
    said.concat()
}

#[test]
fn as_a_child_holds_one_by_one() {
    let Some(dir) = as_a_child() else { return };
    let ledger = shared(&dir);
    let (account, declaration) = root(100);
    done(ledger.declare(declaration, Draft::default()));
    let hold = |id| done(ledger.hold(request(id, &account, 1), Draft::default())).is_ok();
    let granted = own_ids().take(250).filter(|id| hold(*id)).count();
    say(&granted.to_string());
}

#[test]
fn four_processes_at_once_take_exactly_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    // Not even the file is there when they begin.
    let children = (0..4).map(|_| child("as_a_child_holds_one_by_one", dir.path(), &[]).spawn());
    let mut children: Vec<Child> = children.map(Result::unwrap).collect();
    let granted: Vec<usize> =
        children.iter_mut().map(|child| all_said(child).parse().unwrap()).collect();
    assert_eq!(granted.iter().sum::<usize>(), 100, "{granted:?}");
    let ledger = shared(dir.path());
    let (account, _) = root(100);
    assert_eq!(done(ledger.balance(account)).unwrap().remaining, Some(credits(0)));
    assert_eq!(done(ledger.verify()).records, 1 + 4 * 250);
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
}

#[test]
fn as_a_child_works_until_it_is_killed() {
    let Some(dir) = as_a_child() else { return };
    let ledger = shared(&dir);
    let (account, _) = root(100);
    for ids in own_ids().collect_chunks(8) {
        let held: Vec<_> =
            ids.iter().map(|id| ledger.hold(request(*id, &account, 1), Draft::default())).collect();
        for (id, held) in ids.iter().zip(held) {
            done(held).unwrap();
            say(&format!("held {id}"));
        }
        for id in &ids[..4] {
            let finish = Finish::Post(credits(1));
            done(ledger.finish(HoldId(*id), finish, Draft::default()));
            say(&format!("posted {id}"));
        }
    }
}

trait Chunks: Iterator<Item = u128> + Sized {
    fn collect_chunks(mut self, size: usize) -> impl Iterator<Item = Vec<u128>> {
        std::iter::from_fn(move || Some(self.by_ref().take(size).collect()))
    }
}

impl<I: Iterator<Item = u128>> Chunks for I {}

#[test]
fn what_was_answered_survives_kill_9() {
    let kills = std::env::var("TOLLGATE_KILLS").ok().and_then(|kills| kills.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = declared(dir.path(), 1 << 40);
    let mut answered = Vec::new();
    for round in 0..kills.unwrap_or(20) {
        let mut child =
            child("as_a_child_works_until_it_is_killed", dir.path(), &[]).spawn().unwrap();
        let mut said = said(&mut child);
        answered.push(said.next().expect("the child fails"));
        thread::sleep(Duration::from_millis(round * 7 % 50));
        child.kill().unwrap();
        child.wait().unwrap();
        answered.extend(said.filter(|line| line.contains(' ')));
        let verdict = done(ledger.verify());
        assert_eq!((verdict.broken, verdict.incomplete), (None, None));
    }
    let holds = done(ledger.holds(HoldId(0), HoldId(u128::MAX), usize::MAX)).into_iter();
    let holds: HashMap<_, _> = holds.map(|(id, hold)| (id, hold.state)).collect();
    assert!(answered.len() > 20, "only {} answers: are the children at work?", answered.len());
    for line in &answered {
        let (what, id) = line.split_once(' ').unwrap();
        // The last line may have been cut by the kill.
        let Some(state) = id.parse().ok().and_then(|id| holds.get(&HoldId(id))) else {
            let cut =
                answered.iter().any(|other| other != line && other.starts_with(line.as_str()));
            assert!(cut, "{line} is not there");
            continue;
        };
        assert!(what == "held" || matches!(state, HoldState::Posted { .. }), "{line}: {state:?}");
    }
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
}

#[test]
fn as_a_child_fills_what_it_may() {
    let Some(dir) = as_a_child() else { return };
    let ledger = shared(&dir);
    let (account, _) = root(100);
    for id in own_ids() {
        match wait(ledger.hold(request(id, &account, 1), Draft::default())) {
            Ok(held) => assert!(held.is_ok()),
            Err(unavailable) => {
                assert!(!unavailable.maybe_applied);
                say(&format!("{} {}", id & 0xffff_ffff, unavailable.cause));
                break;
            }
        }
    }
    // The store can still be read, and is whole.
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
}

#[test]
fn full_disk_fails_whole_steps_only() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, account) = declared(dir.path(), 1 << 40);
    // Files of at most 512 KiB, and no signal for trying.
    let limited = ["sh", "-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""];
    let mut child = child("as_a_child_fills_what_it_may", dir.path(), &limited).spawn().unwrap();
    let said = all_said(&mut child);
    let (held, cause) = said.split_once(' ').unwrap();
    assert!(cause.contains("ledger.db") && cause.contains("disk"), "{cause}");
    let balance = done(ledger.balance(account.clone())).unwrap();
    assert_eq!(balance.reserved.amount().to_string(), held);
    works(&ledger, &account, 1);
}

#[test]
fn as_a_child_meets_what_is_read_only() {
    let Some(dir) = as_a_child() else { return };
    let ledger = shared(&dir);
    let (account, _) = root(100);
    let unavailable = wait(ledger.hold(request(1, &account, 1), Draft::default())).unwrap_err();
    assert!(!unavailable.maybe_applied);
    say(&unavailable.cause);
}

#[test]
fn unwritable_store_is_reported_with_advice() {
    for (what, mode, words) in [
        ("ledger.db", 0o400, "cannot be written"),
        ("ledger.db", 0o000, "cannot be opened"),
        (".", 0o500, "ledger.db"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        if what != "." {
            let (ledger, _) = declared(&state, 10);
            drop(ledger);
        } else {
            keys::key(Some(&state)).unwrap();
        }
        let mut command = child("as_a_child_meets_what_is_read_only", &state, &[]);
        // No mode keeps root from writing.
        if am_root() {
            for path in fs::read_dir(&state).unwrap().flatten().map(|entry| entry.path()) {
                // SQLite's own files go when the ledger above is closed, in its thread.
                match std::os::unix::fs::chown(path, Some(65_534), Some(65_534)) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    changed => changed.unwrap(),
                }
            }
            std::os::unix::fs::chown(&state, Some(65_534), Some(65_534)).unwrap();
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
            command.uid(65_534).gid(65_534);
        }
        fs::set_permissions(state.join(what), fs::Permissions::from_mode(mode)).unwrap();
        let mut child = command.spawn().unwrap();
        let cause = all_said(&mut child);
        let advises = cause.contains("writable") || cause.contains("permissions");
        assert!(cause.contains(words) && advises, "{what} {mode:o}: {cause}");
        fs::set_permissions(state.join(what), fs::Permissions::from_mode(0o700)).unwrap();
    }
}

fn am_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}
