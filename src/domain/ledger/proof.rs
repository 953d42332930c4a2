//! A recount of all accounts and holds, from scratch. It shares no code with the steps that move
//! credits, so that a fault of theirs shows here.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Account, AccountId, AccountKind, Ceiling, Funds, HoldEntry, HoldId, HoldState, MOST_LEVELS,
    ROUND,
};

/// What a recount came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// How many accounts there are.
    pub accounts: usize,
    /// How many holds there are, ended ones included.
    pub holds: usize,
    /// How many of them are open.
    pub open: usize,
    /// All credits that were ever issued and not taken back.
    pub issued: i128,
    /// All credits that can be held, without those of unlimited accounts.
    pub available: i128,
    /// All credits that are held.
    pub reserved: i128,
    /// All credits that were spent.
    pub spent: i128,
    /// The record from which on accounts could be replayed, if that is not the first: what was
    /// before, an earlier version wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts_since: Option<u64>,
    /// Every difference that was found; empty if all is well.
    pub faults: Vec<String>,
}

/// What the holds of one account come to.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    reserved: i128,
    spent: i128,
    forced: i128,
    /// Of the account's present window alone.
    in_window: i128,
    /// What accounts below were given through it in that window, and have not given back.
    carved: i128,
}

/// A recount in progress: every hold is counted with [`Recount::hold`], then all is compared.
#[derive(Debug)]
pub struct Recount {
    accounts: BTreeMap<AccountId, Account>,
    tallies: BTreeMap<AccountId, Counted>,
    proof: Proof,
}

impl Recount {
    /// Begins with all accounts that there are.
    pub fn new(accounts: impl IntoIterator<Item = (AccountId, Account)>) -> Self {
        let accounts: BTreeMap<_, _> = accounts.into_iter().collect();
        let proof = Proof { accounts: accounts.len(), ..Proof::default() };
        let tallies = carved(&accounts);
        Self { accounts, tallies, proof }
    }

    /// Counts a hold.
    pub fn hold(&mut self, id: HoldId, hold: &HoldEntry) {
        self.proof.holds += 1;
        let amount = i128::from(hold.amount.signed());
        let (reserved, spent) = match hold.state {
            HoldState::Open => (amount, 0),
            HoldState::Voided => (0, 0),
            HoldState::Posted { amount: posted, refunded, .. } => {
                if posted > hold.amount || refunded > posted {
                    self.fault(format!(
                        "hold {id}: held {amount}, posted {posted}, refunded {refunded}"
                    ));
                }
                (0, i128::from(posted.signed()) - i128::from(refunded.signed()))
            }
        };
        if hold.is_open() {
            self.proof.open += 1;
        }
        if hold.path.is_empty() {
            self.fault(format!("hold {id} has no account"));
        }
        for leg in &hold.path {
            let window = match self.accounts.get(&leg.account).map(|account| &account.kind) {
                Some(AccountKind::Ceiling(ceiling)) => ceiling.begins(),
                Some(AccountKind::Funded(_)) => 0,
                None => {
                    self.fault(format!("hold {id}: there is no account {:?}", leg.account));
                    continue;
                }
            };
            let tally = self.tallies.entry(leg.account.clone()).or_default();
            tally.reserved += reserved;
            tally.spent += spent;
            tally.forced += if hold.forced { reserved + spent } else { 0 };
            tally.in_window += if leg.window == window { reserved + spent } else { 0 };
        }
        if hold.forced {
            self.debt(hold, reserved + spent);
        }
    }

    /// What a closed account is overdrawn by is with those that gave it its credits.
    fn debt(&mut self, hold: &HoldEntry, amount: i128) {
        let mut at = hold.path.last().map(|leg| &leg.account);
        for _ in 0..MOST_LEVELS {
            let closed = at.and_then(|id| self.accounts.get(id)).filter(|account| !account.open);
            let Some(AccountKind::Funded(Funds { source: Some(source), .. })) =
                closed.map(|it| &it.kind)
            else {
                return;
            };
            for leg in &source.path {
                self.tallies.entry(leg.account.clone()).or_default().forced += amount;
            }
            at = source.path.last().map(|leg| &leg.account);
        }
    }

    /// Compares everything.
    pub fn finish(mut self) -> Proof {
        let mut net = 0;
        for id in self.astray() {
            self.fault(format!("account {id:?} hangs below nothing, or too deep"));
        }
        for (id, account) in std::mem::take(&mut self.accounts) {
            let tally = self.tallies.get(&id).copied().unwrap_or_default();
            self.compare(&id, "reserved", account.reserved.signed().into(), tally.reserved);
            let mut spent = (i128::from(account.spent.signed()), tally.spent);
            if !matches!(account.kind, AccountKind::Funded(Funds { unlimited: false, .. })) {
                spent = (spent.0.rem_euclid(ROUND.into()), spent.1.rem_euclid(ROUND.into()));
            }
            self.compare(&id, "spent", spent.0, spent.1);
            match &account.kind {
                AccountKind::Funded(funds) => {
                    net += i128::from(funds.net);
                    self.funded(&id, &account, funds, tally);
                }
                AccountKind::Ceiling(ceiling) => {
                    if account.parent.is_none() {
                        self.fault(format!("ceiling {id:?} has nothing above it"));
                    }
                    self.ceiling(&id, ceiling, tally);
                }
            }
        }
        self.compare(&AccountId::from("all"), "given − got", net, 0);
        self.proof
    }

    fn funded(&mut self, id: &AccountId, account: &Account, funds: &Funds, tally: Counted) {
        let (issued, available) = (i128::from(funds.issued.signed()), i128::from(funds.available));
        let owned = issued + i128::from(funds.net);
        let counted = available + tally.reserved + i128::from(account.spent.signed());
        self.compare(id, "available + reserved + spent", counted, owned);
        if available < 0 && !funds.unlimited && tally.forced < -available {
            self.fault(format!("account {id:?} has {available} available"));
        }
        if !account.open && available != 0 {
            self.fault(format!("account {id:?} is closed with {available} available"));
        }
        self.proof.issued += issued;
        self.proof.available += if funds.unlimited { 0 } else { available };
        self.proof.reserved += tally.reserved;
        self.proof.spent += tally.spent;
    }

    fn ceiling(&mut self, id: &AccountId, ceiling: &Ceiling, tally: Counted) {
        self.compare(id, "used", ceiling.used.signed().into(), tally.in_window);
        // That may be more than the limit, which can be lowered at any time.
        self.compare(id, "carved", ceiling.carved.signed().into(), tally.carved);
    }

    /// Accounts from which no way leads up to a root.
    fn astray(&self) -> Vec<AccountId> {
        let leads_up = |account: &Account| {
            let mut above = account.parent.as_ref();
            for _ in 0..=MOST_LEVELS {
                let Some(id) = above else { return true };
                let Some(account) = self.accounts.get(id) else { return false };
                above = account.parent.as_ref();
            }
            false
        };
        let astray = self.accounts.iter().filter(|(_, account)| !leads_up(account));
        astray.map(|(id, _)| id.clone()).collect()
    }

    fn compare(&mut self, id: &AccountId, what: &str, kept: i128, counted: i128) {
        if kept != counted {
            self.fault(format!("account {id:?}: {what} is {kept}, counted {counted}"));
        }
    }

    fn fault(&mut self, fault: String) {
        self.proof.faults.push(fault);
    }
}

/// What the accounts say that they were given through each ceiling.
fn carved(accounts: &BTreeMap<AccountId, Account>) -> BTreeMap<AccountId, Counted> {
    let mut tallies: BTreeMap<AccountId, Counted> = BTreeMap::new();
    for account in accounts.values() {
        let AccountKind::Funded(Funds { source: Some(source), .. }) = &account.kind else {
            continue;
        };
        for leg in &source.path {
            let through = accounts.get(&leg.account).map(|account| &account.kind);
            if matches!(through, Some(AccountKind::Ceiling(ceiling)) if ceiling.begins() == leg.window)
            {
                let tally = tallies.entry(leg.account.clone()).or_default();
                tally.carved += i128::from(source.owed.signed());
            }
        }
    }
    tallies
}
