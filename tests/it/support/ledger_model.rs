//! A ledger so naive that it can be seen to be right: lists of what happened, and sums over them.
//!
//! It keeps no balance. What an account has is counted anew at every question: what was issued and
//! given, less what holds took and what was given on, and with what closed accounts below pass up.
//! It shares no code with `src/domain/ledger`; even windows of time are computed here. Commands
//! answer in words, which the machine's answers are compared with.

mod commands;

use std::collections::BTreeSet;

/// 2^53 − 1.
pub const MOST: i128 = (1 << 53) - 1;

/// What accounts have spent that are never spent to the end is counted up to here.
const ROUND: i128 = 1 << 52;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Hour,
    Day,
    Week,
    Month,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Is {
    Unlimited,
    Funded,
    Ceiling(Option<Span>),
}

#[derive(Clone, Debug)]
pub struct Account {
    pub id: String,
    pub parent: Option<usize>,
    pub is: Is,
    pub open: bool,
    pub expires: Option<i64>,
    /// How much it was given, through which accounts in which windows.
    given: Option<(i128, Vec<(usize, i64)>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Open,
    Posted { amount: i128, uncertain: bool, refunded: i128 },
    Voided,
}

#[derive(Clone, Debug)]
pub struct Hold {
    pub id: u128,
    pub amount: i128,
    pub fingerprint: u8,
    pub state: State,
    pub deadline: i64,
    charge: bool,
    path: Vec<(usize, i64)>,
}

/// What a command names besides ids and time.
#[derive(Clone, Debug, PartialEq)]
pub enum Transfer {
    Mint { account: String, amount: i128 },
    Carve { from: String, to: String, amount: i128, expires: Option<i64> },
    Cap { from: String, to: String, limit: i128, expires: Option<i64> },
    Refund { hold: u128, amount: Option<i128> },
}

/// All numbers of an account, as the machine's row must have them.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub open: bool,
    pub expires: Option<i64>,
    pub reserved: i128,
    pub spent: i128,
    /// Funded: issued, available, net, owed. Ceiling: limit, used, carved, granted.
    pub numbers: [i128; 4],
}

pub type Limit = Option<(i128, Option<Span>)>;

#[derive(Clone, Default)]
pub struct Model {
    pub accounts: Vec<Account>,
    pub holds: Vec<Hold>,
    /// Account, limit, window.
    limits: Vec<(usize, i128, i64)>,
    /// Account, amount, window; what an operator gave lapses with its window.
    mints: Vec<(usize, i128, i64)>,
    /// Account, window: in the order in which they were come to.
    windows: Vec<(usize, i64)>,
    /// Accounts whose clock ran ahead: later windows than the one at hand were used.
    ahead: BTreeSet<usize>,
    /// How often a clock that ran ahead was found out.
    pub recounts: u64,
    pub transfers: Vec<(u128, Transfer)>,
}

/// When the window began in which a moment lies.
pub fn window(span: Option<Span>, at: i64) -> i64 {
    const DAY: i64 = 86_400_000;
    let Some(span) = span else { return 0 };
    let day = at.div_euclid(DAY);
    match span {
        Span::Hour => at - at.rem_euclid(3_600_000),
        Span::Day => day * DAY,
        // 1970-01-01 was a Thursday, three days after a Monday.
        Span::Week => (day - (day + 3).rem_euclid(7)) * DAY,
        Span::Month => (day - day_of_month(day)) * DAY,
    }
}

/// When the window ends in which a moment lies.
fn window_ends(span: Span, at: i64) -> i64 {
    let begins = window(Some(span), at);
    let mut hours = (1..).map(|hours| begins + hours * 3_600_000);
    hours.find(|end| window(Some(span), *end) != begins).unwrap()
}

/// From 0, by walking through the years and months since 1970.
fn day_of_month(mut day: i64) -> i64 {
    for year in 1970.. {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if leap { 29 } else { 28 };
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if day < length {
                return day;
            }
            day -= length;
        }
    }
    day
}

impl Hold {
    /// What it takes of every account of its path.
    fn takes(&self) -> i128 {
        match self.state {
            State::Open => self.amount,
            State::Posted { amount, refunded, .. } => amount - refunded,
            State::Voided => 0,
        }
    }

    fn on(&self, account: usize) -> bool {
        self.path.iter().any(|(leg, _)| *leg == account)
    }
}

impl Model {
    pub fn find(&self, id: &str) -> Option<usize> {
        self.accounts.iter().position(|account| account.id == id)
    }

    fn giver(&self, account: usize) -> Option<usize> {
        self.accounts[account].given.as_ref().map(|(_, path)| path.last().unwrap().0)
    }

    fn below(&self, account: usize) -> impl Iterator<Item = (usize, &Account)> {
        let all = self.accounts.iter().enumerate();
        all.filter(move |(below, _)| self.giver(*below) == Some(account))
    }

    fn limit(&self, account: usize) -> i128 {
        self.limits.iter().rev().find(|(at, ..)| *at == account).map_or(0, |(_, limit, _)| *limit)
    }

    /// What a funded account would have if nothing went up when it closed.
    fn raw(&self, account: usize) -> i128 {
        let given = self.accounts[account].given.as_ref().map_or(0, |(amount, _)| *amount);
        let taken: i128 = self
            .holds
            .iter()
            .filter(|hold| hold.path.last().unwrap().0 == account)
            .map(Hold::takes)
            .sum();
        self.issued(account) + given - taken + self.with_those_below(account)
    }

    fn issued(&self, account: usize) -> i128 {
        let minted = self.mints.iter().filter(|(at, ..)| *at == account);
        self.limit(account) + minted.map(|(_, amount, _)| amount).sum::<i128>()
    }

    /// What those below passed up, less what they were given.
    fn with_those_below(&self, account: usize) -> i128 {
        let moved = self.below(account).map(|(id, below)| {
            let up = if below.open { 0 } else { self.raw(id) };
            up - below.given.as_ref().unwrap().0
        });
        moved.sum()
    }

    /// What of the credits it was given has not gone back.
    fn owed(&self, account: usize) -> i128 {
        let Account { open, given, .. } = &self.accounts[account];
        let Some((given, _)) = given else { return 0 };
        if *open { *given } else { (given - self.raw(account)).max(0) }
    }

    /// The last window in which anything was changed on a ceiling.
    fn touched(&self, account: usize) -> i64 {
        let of = self.windows.iter().rev().find(|(at, _)| *at == account);
        of.map_or(0, |(_, window)| *window)
    }

    fn touch(&mut self, account: usize, window: i64) {
        if self.touched(account) != window {
            self.windows.push((account, window));
            if let Is::Ceiling(_) = self.accounts[account].is {
                self.mints.retain(|(at, ..)| *at != account);
            }
        }
    }

    /// Comes to the window of a moment, if a clock ran ahead of that.
    fn present(&mut self, account: usize, now: i64) {
        const DAY: i64 = 86_400_000;
        let Is::Ceiling(Some(span)) = self.accounts[account].is else { return };
        let (own, begins) = (self.touched(account), window(Some(span), now));
        let ran_ahead = own > window_ends(span, now) + DAY;
        if !(ran_ahead || self.ahead.contains(&account) && begins > own) {
            return;
        }
        self.recounts += 1;
        self.touch(account, begins);
        let holds = self.holds.iter().flat_map(|hold| &hold.path);
        let carves = self.accounts.iter().filter_map(|a| a.given.as_ref()).flat_map(|g| &g.1);
        let later = holds.chain(carves).any(|(leg, at)| *leg == account && *at > begins);
        self.ahead.remove(&account);
        self.ahead.extend(later.then_some(account));
    }

    /// What open holds took of an account, and what ended ones did.
    fn taken(&self, account: usize) -> (i128, i128) {
        let on = self.holds.iter().filter(|hold| hold.on(account));
        let (live, ended): (Vec<_>, Vec<_>) = on.partition(|hold| hold.state == State::Open);
        (live.into_iter().map(Hold::takes).sum(), ended.into_iter().map(Hold::takes).sum())
    }

    fn window_at(&self, account: usize, now: i64) -> i64 {
        match self.accounts[account].is {
            Is::Ceiling(span) => self.touched(account).max(window(span, now)),
            Is::Unlimited | Is::Funded => 0,
        }
    }

    /// Used, carved and granted in a window.
    fn drawn(&self, account: usize, window: i64) -> [i128; 3] {
        let leg = (account, window);
        let used = self.holds.iter().filter(|hold| hold.path.contains(&leg)).map(Hold::takes);
        let through = |a: &Account| a.given.as_ref().is_some_and(|(_, path)| path.contains(&leg));
        let carved = self.accounts.iter().enumerate().filter(|(_, a)| through(a));
        let granted = self.mints.iter().filter(|(at, _, when)| (*at, *when) == leg);
        [
            used.sum(),
            carved.map(|(id, _)| self.owed(id)).sum(),
            granted.map(|(_, amount, _)| amount).sum(),
        ]
    }

    pub fn headroom(&self, account: usize, now: i64) -> Option<i128> {
        match self.accounts[account].is {
            Is::Unlimited => None,
            Is::Funded if !self.accounts[account].open => Some(0),
            Is::Funded => Some(self.raw(account)),
            Is::Ceiling(_) => {
                let [used, carved, granted] = self.drawn(account, self.window_at(account, now));
                Some(self.limit(account) + granted - used - carved)
            }
        }
    }

    pub fn seen(&self, account: usize) -> Seen {
        let Account { is, open, expires, given, .. } = &self.accounts[account];
        let (reserved, spent) = self.taken(account);
        // An unlimited balance is counted in rounds.
        let rounds = if *is == Is::Funded { 0 } else { spent - spent % ROUND };
        let numbers = match is {
            Is::Ceiling(_) => {
                let [used, carved, granted] = self.drawn(account, self.touched(account));
                [self.limit(account), used, carved, granted]
            }
            Is::Unlimited | Is::Funded => {
                let raw = self.raw(account);
                let (available, up) = if *open { (raw + rounds, 0) } else { (0, raw) };
                let given = given.as_ref().map_or(0, |(amount, _)| *amount);
                let net = given + self.with_those_below(account) - up;
                [self.issued(account), available, net, self.owed(account)]
            }
        };
        Seen { open: *open, expires: *expires, reserved, spent: spent - rounds, numbers }
    }
}
