//! A process that delegates, nests, spends, revokes and lets expire is killed at every step and at
//! random: what it was answered is there, and what is there is whole.

use std::{collections::BTreeMap, path::Path, thread, time::Duration};

use tollgate::{
    domain::{
        delegation::Standing,
        ledger::{AccountId, Finish, HoldId, TransferRefused},
        record::Draft,
        token::TokenId,
    },
    host::clock::wall_clock,
    ledger::{Ledger, Verdict, sqlite::Sqlite},
};

use crate::support::{
    delegated::{account, asked},
    second_process::{another_process, as_a_child, own_ids, said, say, shared},
    store::{credits, declared, done, request, root},
};

/// What the child does over and over, and is answered each time.
const STEPS: usize = 9;

#[test]
fn as_a_child_delegates_until_it_is_killed() {
    let Some(dir) = as_a_child() else { return };
    let ledger = shared(&dir);
    let mut ids = own_ids();
    loop {
        turn(&ledger, &mut ids);
    }
}

fn turn(ledger: &Sqlite, ids: &mut impl Iterator<Item = u128>) {
    let (root, _) = root(0);
    let [parent, child, grandchild, brief] = [(); 4].map(|()| ids.next().unwrap());
    let make = |token, from: AccountId, amount, expires| {
        let asked = asked(token, &from, amount, expires);
        match done(ledger.delegate(asked, Draft::default())) {
            // A busy machine may have taken longer than it was to last.
            Err(TransferRefused::Past) => {}
            made => {
                made.unwrap();
                say(&format!("made {token}"));
            }
        }
    };
    make(parent, root, 100, None);
    make(child, account(parent), 50, None);
    make(grandchild, account(child), 20, None);
    let hold = ids.next().unwrap();
    done(ledger.hold(request(hold, &account(grandchild), 7), Draft::default())).unwrap();
    say(&format!("held {hold}"));
    let finish = Finish::Post(credits(5));
    done(ledger.finish(HoldId(hold), finish, Draft::default())).unwrap();
    say(&format!("posted {hold}"));
    // Ended while a call of the grandchild is under way, which stays open for a later sweep.
    let left = ids.next().unwrap();
    done(ledger.hold(request(left, &account(grandchild), 3), Draft::default())).unwrap();
    done(ledger.revoke(TokenId(child), Draft::default())).unwrap();
    say(&format!("ended {child}"));
    make(brief, account(parent), 10, Some(wall_clock()() + 2));
    thread::sleep(Duration::from_millis(3));
    done(ledger.sweep(1_000));
    if done(ledger.standing(TokenId(brief))).delegation.is_some() {
        say(&format!("ended {brief}"));
    }
    done(ledger.revoke(TokenId(parent), Draft::default())).unwrap();
    say(&format!("ended {parent}"));
}

#[test]
fn delegations_survive_kill_9_whole() {
    let kills = std::env::var("TOLLGATE_KILLS").ok().and_then(|kills| kills.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = declared(dir.path(), 1 << 40);
    let mut answered = Answered::default();
    for round in 0..kills.unwrap_or(4 * STEPS) {
        // After each step of a turn, and then somewhere within the next.
        let (steps, within) = (1 + round % STEPS, round / STEPS);
        let steps = if within < 2 { steps } else { steps + round * 7 % 40 };
        let within = if within == 0 { 0 } else { round as u64 * 137 % 1_500 };
        killed_after(dir.path(), steps, Duration::from_micros(within), &mut answered);
        is_whole(&ledger, &answered);
    }
    assert!(answered.made.len() > STEPS, "{answered:?}: are the children at work?");
    // Interrupted delegations are returned in the end.
    for token in answered.made {
        done(ledger.revoke(TokenId(token), Draft::default())).unwrap();
    }
    is_whole(&ledger, &Answered::default());
}

/// The ids that a child was answered about.
#[derive(Debug, Default)]
struct Answered {
    made: Vec<u128>,
    ended: Vec<u128>,
    held: Vec<u128>,
    posted: Vec<u128>,
}

fn killed_after(dir: &Path, steps: usize, within: Duration, answered: &mut Answered) {
    let test = "delegation_crash::as_a_child_delegates_until_it_is_killed";
    let mut child = another_process(test, dir, &[]).spawn().unwrap();
    let mut said = said(&mut child);
    let mut lines: Vec<String> = said.by_ref().take(steps).collect();
    assert_eq!(lines.len(), steps, "the child fails: {lines:?}");
    thread::sleep(within);
    child.kill().unwrap();
    child.wait().unwrap();
    // The last line may have been cut by the kill; then it was not said.
    let mut later: Vec<String> = said.collect();
    later.pop();
    lines.extend(later);
    for line in lines {
        let (what, id) = line.split_once(' ').unwrap();
        let list = match what {
            "made" => &mut answered.made,
            "ended" => &mut answered.ended,
            "held" => &mut answered.held,
            _ => &mut answered.posted,
        };
        list.push(id.parse().unwrap());
    }
}

fn is_whole(ledger: &Sqlite, answered: &Answered) {
    let Verdict { broken, incomplete, .. } = done(ledger.verify());
    assert_eq!((broken, incomplete), (None, None));
    // Among others: a delegation has its account, and one record.
    assert_eq!(done(ledger.prove()).faults, Vec::<String>::new());
    let standings = done(ledger.delegations());
    let by_token: BTreeMap<u128, &Standing> = standings
        .iter()
        .map(|standing| (standing.delegation.as_ref().unwrap().token.0, standing))
        .collect();
    let accounts = done(ledger.accounts());
    let carved = accounts.iter().filter(|(_, account)| account.source().is_some());
    let carved: Vec<_> = carved.map(|(id, _)| id.clone()).collect();
    let kept = standings.iter().map(|it| it.delegation.as_ref().unwrap().account.clone());
    assert_eq!(carved, kept.collect::<Vec<_>>(), "accounts, and what is kept of their tokens");
    assert!(answered.made.iter().all(|token| by_token.contains_key(token)));
    assert!(answered.ended.iter().all(|token| !by_token[token].usable));
    let holds = done(ledger.holds(HoldId(0), HoldId(u128::MAX), usize::MAX)).into_iter();
    let holds: BTreeMap<_, _> = holds.map(|(id, hold)| (id.0, hold.is_open())).collect();
    assert!(answered.held.iter().all(|id| holds.contains_key(id)));
    assert!(answered.posted.iter().all(|id| !holds[id]));
}
