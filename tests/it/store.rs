//! Stores against the pure machine: the same histories, the same outcomes and accounts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::join_all;
use proptest::{prelude::*, sample::select, test_runner::TestCaseResult};
use tollgate::{
    domain::{
        budget::{Budgeting, Limit},
        call::AgentId,
        credits::Credits,
        ledger::{
            Account, AccountId, Broken, Declaration, Finish, HoldId, HoldRefused, HoldRequest,
            Rows, Step, Transfer, TransferId, close, declare, hold, proof::Recount, transfer,
        },
        period::Period,
        record::Draft,
        rules::{AgentRules, Rules},
    },
    ledger::{Answered, Ledger, Turn, Verdict, memory::Memory, sqlite::Sqlite, transact},
};

use crate::support::{
    properties::drawn,
    store::{clock, credits, done, request, root, sqlite, wait},
};

const HOUR: i64 = 3_600_000;
/// A minute before a full hour, so that windows end within histories.
const BEGIN: i64 = 1_000_000 * HOUR - 60_000;

fn is_whole(ledger: &impl Ledger) {
    let proof = done(ledger.prove());
    assert_eq!(proof.faults, Vec::<String>::new());
    let Verdict { broken, incomplete, .. } = done(ledger.verify());
    assert_eq!((broken, incomplete), (None, None));
}

/// What may be asked of a ledger, small enough that commands meet.
#[derive(Clone, Debug)]
enum Command {
    Declare {
        root: u64,
        agent: Option<u64>,
    },
    Hold {
        id: u128,
        account: usize,
        amount: u64,
        mark: u8,
        forced: bool,
        lifetime: i64,
        lost: bool,
    },
    Extend {
        id: u128,
        lifetime: i64,
    },
    Finish {
        id: u128,
        finish: Finish,
    },
    Mint {
        id: u128,
        account: usize,
        amount: u64,
    },
    Carve {
        id: u128,
        from: usize,
        to: usize,
        amount: u64,
        expires: Option<i64>,
    },
    Cap {
        id: u128,
        from: usize,
        to: usize,
        limit: u64,
    },
    Refund {
        id: u128,
        hold: u128,
        amount: Option<u64>,
    },
    Close {
        account: usize,
    },
    Sweep,
    Pass(i64),
    /// The file is closed and opened, or the other handle goes on.
    Reopen,
    Other,
}

/// Accounts: the root, an agent's ceiling with a period, and children to be.
fn account(index: usize) -> AccountId {
    let names = ["root", "agent/a/hour", "child/1", "child/2", "child/3", "none"];
    AccountId::new("book", names[index])
}

fn command() -> impl Strategy<Value = Command> {
    let id = || 0..40u128;
    let funded = || select(vec![0usize, 0, 1, 1, 1, 2, 2, 3, 4, 5]);
    let child = || select(vec![2usize, 3, 4]);
    let amount = || select(vec![0u64, 1, 1, 3, 5, 10, 40]);
    let finish = prop_oneof![
        4 => amount().prop_map(|amount| Finish::Post(credits(amount))),
        1 => Just(Finish::Uncertain),
        1 => Just(Finish::Void),
        1 => Just(Finish::Lost),
    ];
    let lifetime = || select(vec![1i64, 1_000, 30_000, HOUR]);
    prop_oneof![
        1 => (select(vec![300u64, 300, 1_000, 20]), select(vec![None, Some(60), Some(200)]))
            .prop_map(|(root, agent)| Command::Declare { root, agent }),
        12 => (id(), funded(), amount(), 0..8u8, 0..10u8, lifetime(), any::<bool>()).prop_map(
            |(id, account, amount, mark, forced, lifetime, lost)| Command::Hold {
                id, account, amount, mark: mark / 7, forced: forced == 0, lifetime, lost
            }),
        1 => (id(), lifetime()).prop_map(|(id, lifetime)| Command::Extend { id, lifetime }),
        9 => (id(), finish).prop_map(|(id, finish)| Command::Finish { id, finish }),
        2 => (id(), funded(), amount())
            .prop_map(|(id, account, amount)| Command::Mint { id, account, amount }),
        4 => (id(), funded(), child(), amount(), select(vec![None, None, Some(5_000i64)])).prop_map(
            |(id, from, to, amount, expires)| Command::Carve { id, from, to, amount, expires }),
        1 => (id(), funded(), child(), select(vec![3u64, 10]))
            .prop_map(|(id, from, to, limit)| Command::Cap { id, from, to, limit }),
        2 => (id(), id(), select(vec![None, Some(1), Some(5)]))
            .prop_map(|(id, hold, amount)| Command::Refund { id, hold, amount }),
        1 => child().prop_map(|account| Command::Close { account }),
        2 => Just(Command::Sweep),
        3 => select(vec![1i64, 500, 2_000, 40_000, HOUR]).prop_map(Command::Pass),
        1 => Just(Command::Reopen),
        2 => Just(Command::Other),
    ]
}

fn declaration(root: u64, agent: Option<u64>) -> Declaration {
    let limit = Some(Limit { credits: credits(root), period: None });
    let budgeting = Budgeting { limit, namespace: "book".into(), ..Budgeting::default() };
    let of = |limit| AgentRules {
        budget: Some(Limit { credits: credits(limit), period: Some(Period::Hour) }),
        ..AgentRules::default()
    };
    let agents = agent.map(|limit| (AgentId::from("a"), of(limit)));
    let rules = Rules { agents: agents.into_iter().collect(), ..Rules::default() };
    Declaration::of(&budgeting, &rules)
}

fn asked(command: &Command, now: i64) -> Option<(TransferId, Transfer)> {
    Some(match command {
        Command::Mint { id, account: to, amount } => {
            (TransferId(*id), Transfer::Mint { account: account(*to), amount: credits(*amount) })
        }
        Command::Carve { id, from, to, amount, expires } => {
            let (from, to, amount) = (account(*from), account(*to), credits(*amount));
            // Given as a moment: it must be the same when the command is repeated.
            let expires = expires.map(|after| (now / 10_000) * 10_000 + after);
            (TransferId(*id), Transfer::Carve { from, to, amount, expires })
        }
        Command::Cap { id, from, to, limit } => {
            let (from, to, limit) = (account(*from), account(*to), credits(*limit));
            (TransferId(*id), Transfer::Cap { from, to, limit, expires: None })
        }
        Command::Refund { id, hold, amount } => {
            let hold = HoldId(*hold).to_string();
            (TransferId(*id), Transfer::Refund { hold, amount: amount.map(credits) })
        }
        _ => return None,
    })
}

fn hold_request(command: &Command) -> Option<HoldRequest> {
    let Command::Hold { id, account: of, amount, mark, forced, lifetime, lost } = command else {
        return None;
    };
    Some(HoldRequest {
        fingerprint: [*mark; 32],
        forced: *forced,
        lifetime: *lifetime,
        charge_if_lost: *lost,
        ..request(*id, &account(*of), *amount)
    })
}

/// The outcome of a command, in words.
fn by_machine(rows: &mut Rows, command: &Command, now: i64) -> String {
    fn told<T: std::fmt::Debug>(step: Step<T>) -> String {
        step.map_or_else(|broken| failed(&broken), |outcome| format!("{outcome:?}"))
    }
    let before = rows.clone();
    let outcome = match command {
        Command::Declare { root, agent } => {
            told(declare::declare(rows, &declaration(*root, *agent), now))
        }
        Command::Hold { .. } => told(hold::hold(rows, hold_request(command).unwrap(), now)),
        Command::Extend { id, lifetime } => told(hold::extend(rows, HoldId(*id), *lifetime, now)),
        Command::Finish { id, finish } => told(hold::finish(rows, HoldId(*id), *finish)),
        Command::Close { account: id } => told(close::close(rows, &account(*id))),
        Command::Sweep => {
            let swept = close::sweep(rows, now, 3);
            told(swept.map(|swept| swept.ended.len() + swept.closed.len()))
        }
        Command::Pass(_) | Command::Reopen | Command::Other => String::new(),
        moving => {
            let (id, asked) = asked(moving, now).unwrap();
            told(transfer::transfer(rows, id, &asked, now))
        }
    };
    if outcome.starts_with(BROKEN) {
        // The machine alone does not undo what it began.
        *rows = before;
    }
    outcome
}

const BROKEN: &str = "broken: ";

fn failed<E: std::fmt::Display>(broken: &E) -> String {
    let text = broken.to_string();
    // Stores say where.
    format!("{BROKEN}{}", text.split_once("itself: ").map_or(&*text, |(_, what)| what))
}

fn by_ledger(ledger: &dyn Ledger, command: &Command, now: i64) -> String {
    fn told<T: std::fmt::Debug>(answered: Answered<T>) -> String {
        wait(answered).map_or_else(|broken| failed(&broken), |outcome| format!("{outcome:?}"))
    }
    let draft = Draft::default();
    match command {
        Command::Declare { root, agent } => told(ledger.declare(declaration(*root, *agent), draft)),
        Command::Hold { .. } => told(ledger.hold(hold_request(command).unwrap(), draft)),
        Command::Extend { id, lifetime } => told(ledger.extend(HoldId(*id), *lifetime)),
        Command::Finish { id, finish } => told(ledger.finish(HoldId(*id), *finish, draft)),
        Command::Close { account: id } => told(ledger.close(account(*id), draft)),
        Command::Sweep => told(ledger.sweep(3)),
        Command::Pass(_) | Command::Reopen | Command::Other => String::new(),
        moving => {
            let (id, asked) = asked(moving, now).unwrap();
            told(ledger.transfer(id, asked, draft))
        }
    }
}

fn cases() -> ProptestConfig {
    let asked = std::env::var("TOLLGATE_CASES").ok().and_then(|cases| cases.parse().ok());
    drawn(asked.unwrap_or(200))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn stores_do_what_the_machine_does(history in prop::collection::vec(command(), 60)) {
        check(&history)?;
    }
}

fn check(history: &[Command]) -> TestCaseResult {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let mut rows = Rows::default();
    let memory = Memory::new("memory", clock(&at));
    let mut handles = [sqlite(dir.path(), clock(&at)), sqlite(dir.path(), clock(&at))];
    let opening = Command::Declare { root: 300, agent: Some(60) };
    for command in std::iter::once(&opening).chain(history) {
        match command {
            Command::Pass(by) => drop(at.fetch_add(*by, Ordering::SeqCst)),
            Command::Reopen => handles[0] = sqlite(dir.path(), clock(&at)),
            Command::Other => handles.swap(0, 1),
            _ => {}
        }
        let now = at.load(Ordering::SeqCst);
        let expected = by_machine(&mut rows, command, now);
        if !expected.starts_with(BROKEN) {
            prop_assert_eq!(&by_ledger(&memory, command, now), &expected, "memory: {:?}", command);
        }
        prop_assert_eq!(&by_ledger(&handles[0], command, now), &expected, "{:?}", command);
    }
    compare(&rows, &handles[1])?;
    prop_assert!(done(memory.accounts()) == done(handles[0].accounts()));
    Ok(())
}

fn compare(rows: &Rows, ledger: &Sqlite) -> TestCaseResult {
    let kept: Vec<(AccountId, Account)> = done(ledger.accounts());
    let expected: Vec<_> = rows.accounts.clone().into_iter().collect();
    prop_assert_eq!(kept, expected);
    let holds = done(ledger.holds(HoldId(0), HoldId(u128::MAX), usize::MAX));
    prop_assert_eq!(holds.into_iter().collect::<BTreeMap<_, _>>(), rows.holds.clone());
    let mut recount = Recount::new(rows.accounts.clone());
    rows.holds.iter().for_each(|(id, hold)| recount.hold(*id, hold));
    let sound = recount.finish().faults.is_empty();
    let faults = done(ledger.prove()).faults;
    prop_assert!(faults.is_empty() || !sound, "{faults:?}");
    let Verdict { broken, incomplete, .. } = done(ledger.verify());
    prop_assert_eq!((broken, incomplete), (None, None));
    Ok(())
}

#[test]
fn concurrent_holds_take_exactly_the_balance() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let ledger = sqlite(dir.path(), clock(&at));
    let (account, declaration) = root(100);
    done(ledger.declare(declaration, Draft::default()));
    let holds = (0..1_000).map(|id| ledger.hold(request(id, &account, 1), Draft::default()));
    let held = wait(join_all(holds.collect::<Vec<_>>()));
    let granted = held.iter().filter(|held| held.as_ref().unwrap().is_ok()).count();
    assert_eq!(granted, 100);
    assert_eq!(done(ledger.balance(account)).unwrap().remaining, Some(Credits::ZERO));
    is_whole(&ledger);
}

#[test]
fn failed_step_leaves_nothing_and_spares_others() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let ledger = sqlite(dir.path(), clock(&at));
    let (account, declaration) = root(100);
    done(ledger.declare(declaration, Draft::default()));
    // They wait in the queue together, behind a step that takes its time.
    let slow = transact(&ledger, Turn::Now, |_, _| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        Ok(())
    });
    let first = ledger.hold(request(1, &account, 10), Draft::default());
    let breaks = |how: u8| {
        let account = account.clone();
        transact(&ledger, Turn::Now, move |tx, now| -> Step<()> {
            assert!(hold::hold(tx.tables(), request(2, &account, 50), now)?.is_ok());
            tx.append(Draft::default())?;
            if how > 0 {
                // What this asks of the file makes it write what is not yet kept.
                assert_eq!(tx.accounts()?[0].1.reserved, credits(60));
            }
            assert!(how < 2, "how it ends");
            Err(Broken::Inconsistent("as was asked for".to_owned()))
        })
    };
    let broken = [breaks(0), breaks(1), breaks(2)];
    let last = ledger.hold(request(3, &account, 20), Draft::default());
    drop(slow);
    assert!(done(first).is_ok());
    for (broken, why) in broken.into_iter().zip(["asked for", "asked for", "how it ends"]) {
        let unavailable = wait(broken).unwrap_err();
        assert!(unavailable.cause.contains(why), "{unavailable}");
        assert!(!unavailable.maybe_applied);
    }
    assert_eq!(done(last).unwrap().remaining, Some(credits(70)));
    assert_eq!(done(ledger.head()).seq, 3);
    is_whole(&ledger);
}

#[test]
fn a_dropped_future_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let ledger = sqlite(dir.path(), clock(&at));
    let (account, declaration) = root(100);
    drop(ledger.declare(declaration, Draft::default()));
    drop(ledger.hold(request(1, &account, 10), Draft::default()));
    drop(ledger.finish(HoldId(1), Finish::Post(credits(4)), Draft::default()));
    done(ledger.flush());
    let balance = done(ledger.balance(account.clone())).unwrap();
    assert_eq!((balance.remaining, balance.spent), (Some(credits(96)), credits(4)));
    let no_account = AccountId::new("book", "other");
    let refused = done(ledger.hold(request(9, &no_account, 1), Draft::default()));
    assert_eq!(refused, Err(HoldRefused::NoAccount(no_account)));
    is_whole(&ledger);
}
