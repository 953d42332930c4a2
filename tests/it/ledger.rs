//! Credits by example: the cases of older gateways, and the faults they had.

use tollgate::domain::{
    budget::{Budgeting, Limit},
    credits::Credits,
    ledger::{
        About, AccountId, AccountKind, Adjusted, Declaration, Finish, Held, HoldEntry, HoldId,
        HoldRefused, HoldRequest, HoldState, Leg, Rows, Tables, Transfer, TransferId,
        TransferRefused, Transferred, Unadjusted, close, declare, hold,
        proof::{Proof, Recount},
        transfer,
    },
    period::Period,
    rules::Rules,
};

/// 2026-11-20T12:00:00Z.
const NOW: i64 = 1_795_176_000_000;
const DAY: i64 = 86_400_000;

/// A ledger whose root has this amount.
struct TestAccounts {
    rows: Rows,
    now: i64,
    ids: u128,
}

fn credits(amount: u64) -> Credits {
    Credits::new(amount).unwrap()
}

fn account(name: &str) -> AccountId {
    AccountId::new("b", name)
}

fn declaration(amount: u64, period: Option<Period>) -> Declaration {
    let limit = Some(Limit { credits: credits(amount), period });
    let budgeting = Budgeting { limit, namespace: "b".to_owned(), ..Budgeting::default() };
    Declaration::of(&budgeting, &Rules::default())
}

impl TestAccounts {
    fn new(amount: u64, period: Option<Period>) -> Self {
        let mut accounts = Self { rows: Rows::default(), now: NOW, ids: 0 };
        declare::declare(&mut accounts.rows, &declaration(amount, period), NOW).unwrap();
        accounts
    }

    fn hold(&mut self, name: &str, amount: u64, forced: bool) -> Result<Held, HoldRefused> {
        self.ids += 1;
        let request = HoldRequest {
            id: HoldId(self.ids),
            account: account(name),
            amount: credits(amount),
            fingerprint: [0; 32],
            lifetime: 60_000,
            forced,
            charge_if_lost: true,
            about: About::default(),
        };
        hold::hold(&mut self.rows, request, self.now).unwrap()
    }

    /// Ends the last hold.
    fn finish(&mut self, how: Finish) {
        hold::finish(&mut self.rows, HoldId(self.ids), how).unwrap().unwrap();
    }

    /// Whether it could be paid for.
    fn spend(&mut self, name: &str, amount: u64) -> bool {
        let held = self.hold(name, amount, false).is_ok();
        if held {
            self.finish(Finish::Post(credits(amount)));
        }
        held
    }

    fn transfer(&mut self, asked: &Transfer) -> Result<Transferred, TransferRefused> {
        self.ids += 1;
        transfer::transfer(&mut self.rows, TransferId(self.ids), asked, self.now).unwrap()
    }

    fn carve(&mut self, from: &str, to: &str, amount: u64) -> Result<Transferred, TransferRefused> {
        let (from, to) = (account(from), account(to));
        self.transfer(&Transfer::Carve { from, to, amount: credits(amount), expires: None })
    }

    fn left(&self, name: &str) -> i64 {
        self.rows.accounts[&account(name)].headroom(self.now).unwrap()
    }

    fn prove(&self) -> Proof {
        let mut recount = Recount::new(self.rows.accounts.clone());
        self.rows.holds.iter().for_each(|(id, hold)| recount.hold(*id, hold));
        let proof = recount.finish();
        assert_eq!(proof.faults, [""; 0]);
        proof
    }
}

#[test]
fn case_70_exhausted_budget_refuses() {
    let mut accounts = TestAccounts::new(100, None);
    assert!(accounts.spend("root", 30));
    assert_eq!(accounts.left("root"), 70);
    assert!(accounts.spend("root", 70));
    let refused = accounts.hold("root", 1, false).unwrap_err();
    assert_eq!(refused.code(), "budget_exhausted");
    assert_eq!((accounts.left("root"), accounts.rows.holds.len()), (0, 2));
    assert_eq!(accounts.prove().spent, 100);
}

#[test]
fn case_72_child_and_parent_spend_separately() {
    let mut accounts = TestAccounts::new(500, None);
    accounts.carve("root", "child", 200).unwrap();
    assert_eq!((accounts.left("child"), accounts.left("root")), (200, 300));
    let calls = (0..50).take_while(|_| accounts.spend("child", 5)).count();
    assert_eq!(calls, 40);
    assert_eq!(accounts.hold("child", 5, false).unwrap_err().code(), "budget_exhausted");
    assert_eq!(accounts.left("root"), 300);
    assert!(accounts.spend("root", 5));
    let child = &accounts.rows.accounts[&account("child")];
    assert_eq!(child.balance(&account("child"), None, NOW).limit, Some(credits(200)));
    accounts.prove();
}

#[test]
fn case_73_delegation_moves_credits() {
    let mut accounts = TestAccounts::new(1000, None);
    let moved = accounts.carve("root", "child", 300).unwrap();
    assert_eq!(moved.remaining, Some(credits(700)));
    assert_eq!((accounts.left("root"), accounts.left("child")), (700, 300));
}

#[test]
fn case_74_who_has_too_little_delegates_nothing() {
    let mut accounts = TestAccounts::new(100, None);
    assert!(matches!(accounts.carve("root", "child", 500), Err(TransferRefused::Account(_))));
    assert_eq!((accounts.left("root"), accounts.rows.accounts.len()), (100, 1));
    // Nothing is not unlimited either.
    assert_eq!(accounts.carve("root", "child", 0), Err(TransferRefused::Nothing));
    assert_eq!(accounts.rows.accounts.len(), 1);
}

#[test]
fn case_75_siblings_do_not_touch_each_other() {
    let mut accounts = TestAccounts::new(1000, None);
    for child in ["a", "b", "c"] {
        accounts.carve("root", child, 200).unwrap();
    }
    assert!(accounts.spend("a", 150));
    assert_eq!(["root", "a", "b", "c"].map(|name| accounts.left(name)), [400, 50, 200, 200]);
}

#[test]
fn an_account_that_is_not_there_is_never_unlimited() {
    let mut accounts = TestAccounts::new(100, None);
    for amount in [0, 1] {
        for forced in [false, true] {
            let refused = accounts.hold("made-up", amount, forced).unwrap_err();
            assert_eq!(refused, HoldRefused::NoAccount(account("made-up")));
        }
    }
    assert!(accounts.carve("made-up", "child", 1).is_err());
    assert_eq!(accounts.rows.accounts.len(), 1);
}

#[test]
fn a_thousand_declarations_of_the_same_refill_nothing() {
    let mut accounts = TestAccounts::new(100, None);
    assert!(accounts.spend("root", 60));
    for _ in 0..1000 {
        let same = declare::declare(&mut accounts.rows, &declaration(100, None), NOW);
        assert_eq!(same.unwrap(), Adjusted::default());
    }
    assert!(!accounts.spend("root", 41));
    assert!(accounts.spend("root", 40));
}

#[test]
fn a_window_begins_with_nothing_used_and_never_twice() {
    let mut accounts = TestAccounts::new(100, Some(Period::Day));
    assert!(accounts.spend("root/day", 100));
    assert!(!accounts.spend("root/day", 1));
    // One hold is under way while the day ends.
    accounts.now += DAY;
    assert!(accounts.hold("root/day", 30, false).is_ok());
    accounts.now += DAY;
    assert!(accounts.hold("root/day", 100, false).is_ok());
    let over = HoldId(accounts.ids - 1);
    hold::finish(&mut accounts.rows, over, Finish::Void).unwrap();
    assert_eq!(accounts.left("root/day"), 0, "what is voided late belongs to its own day");
    accounts.now -= DAY;
    assert_eq!(accounts.left("root/day"), 0, "a clock that goes back resets nothing");
    accounts.prove();
}

#[test]
fn closing_strands_nothing() {
    let mut accounts = TestAccounts::new(1000, None);
    accounts.carve("root", "child", 300).unwrap();
    accounts.carve("child", "grandchild", 100).unwrap();
    assert!(accounts.hold("grandchild", 40, false).is_ok());
    let closed = close::close(&mut accounts.rows, &account("child")).unwrap().unwrap();
    let returned: Vec<_> = closed.iter().map(|closed| closed.returned.amount()).collect();
    assert_eq!((returned, accounts.left("root")), (vec![60, 260], 960));
    accounts.finish(Finish::Post(credits(15)));
    assert_eq!(accounts.left("root"), 985);
    let hold = HoldId(accounts.ids).to_string();
    accounts.transfer(&Transfer::Refund { hold, amount: None }).unwrap();
    assert_eq!(accounts.left("root"), 1000);
    assert!(matches!(accounts.hold("grandchild", 0, false), Err(HoldRefused::Closed(_))));
    accounts.prove();
}

#[test]
fn debt_moves_up_when_its_account_closes() {
    let mut accounts = TestAccounts::new(100, None);
    accounts.carve("root", "child", 10).unwrap();
    assert!(accounts.hold("child", 25, true).unwrap().over.is_some());
    close::close(&mut accounts.rows, &account("child")).unwrap().unwrap();
    assert_eq!(accounts.left("root"), 75);
    accounts.prove();
    accounts.finish(Finish::Void);
    assert_eq!(accounts.left("root"), 100);
    accounts.prove();
}

#[test]
fn ceiling_regains_only_what_it_let_through() {
    let mut accounts = TestAccounts::new(100, Some(Period::Day));
    accounts.carve("root/day", "a", 40).unwrap();
    accounts.carve("root/day", "b", 40).unwrap();
    let grant = Transfer::Mint { account: account("a"), amount: credits(50) };
    accounts.transfer(&grant).unwrap();
    close::close(&mut accounts.rows, &account("a")).unwrap().unwrap();
    assert_eq!(accounts.left("root/day"), 60, "the credits of `b` are still out");
    accounts.now += DAY;
    close::close(&mut accounts.rows, &account("b")).unwrap().unwrap();
    assert_eq!(accounts.left("root/day"), 100, "what was given yesterday does not raise today");
    accounts.prove();
}

#[test]
fn a_step_that_fails_halfway_leaves_nothing_behind() {
    let mut accounts = TestAccounts::new(100, Some(Period::Day));
    let AccountKind::Funded(funds) =
        &mut accounts.rows.accounts.get_mut(&account("unmetered")).unwrap().kind
    else {
        panic!("the root is funded");
    };
    funds.available = -(1 << 60);
    let before = accounts.rows.accounts.clone();
    let request = HoldRequest {
        id: HoldId(1),
        account: account("root/day"),
        amount: credits(1),
        fingerprint: [0; 32],
        lifetime: 1,
        forced: false,
        charge_if_lost: true,
        about: About::default(),
    };
    assert!(hold::hold(&mut accounts.rows, request, NOW).is_err());
    assert_eq!((accounts.rows.accounts, accounts.rows.holds.len()), (before, 0));
}

#[test]
fn accounts_below_an_expiring_account_expire_with_it() {
    let mut accounts = TestAccounts::new(100, None);
    let (from, to) = (account("root"), account("token"));
    let expires = Some(NOW + 1000);
    accounts.transfer(&Transfer::Carve { from, to, amount: credits(50), expires }).unwrap();
    let mut ceiling =
        TestAccounts::new(20, Some(Period::Day)).rows.accounts[&account("root/day")].clone();
    ceiling.parent = Some(account("token"));
    accounts.rows.accounts.insert(account("token/agent"), ceiling);
    accounts.carve("token/agent", "below", 10).unwrap();
    assert_eq!(accounts.rows.accounts[&account("below")].expires, expires);
}

#[test]
fn limit_beyond_the_countable_stays_as_it_was() {
    let mut accounts = TestAccounts::new(10, None);
    let amount = credits(Credits::MAX.amount() - 10);
    accounts.transfer(&Transfer::Mint { account: account("root"), amount }).unwrap();
    let adjusted = declare::declare(&mut accounts.rows, &declaration(11, None), NOW).unwrap();
    let [refused] = adjusted.undeclarable.as_slice() else { panic!("{adjusted:?}") };
    assert_eq!((refused.reason, refused.stays), (Unadjusted::Uncountable, credits(10)));
    assert_eq!(accounts.left("root"), Credits::MAX.signed());
    accounts.prove();
}

#[test]
fn contradictory_hold_keeps_no_other_from_its_sweep() {
    let mut accounts = TestAccounts::new(10, None);
    accounts.hold("root", 4, false).unwrap();
    let contradictory = HoldEntry {
        amount: credits(1),
        state: HoldState::Open,
        forced: false,
        fingerprint: [0; 32],
        deadline: NOW,
        charge_if_lost: false,
        path: vec![Leg { account: account("missing"), window: 0 }],
        about: About::default(),
    };
    // Its deadline is the first, so it comes before the other.
    accounts.rows.put_hold(HoldId(0), contradictory).unwrap();
    let swept = close::sweep(&mut accounts.rows, NOW + DAY, 1).unwrap();
    let ended: Vec<HoldId> = swept.ended.iter().map(|(id, _)| *id).collect();
    assert_eq!((ended, swept.faults.len()), (vec![HoldId(1)], 1));
    assert_eq!(accounts.left("root"), 6);
}
