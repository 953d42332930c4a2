//! What one record does to accounts.

use super::{
    Account, AccountId, AccountKind, AccountState, Credits, Draft, Funds, HoldState, Leg, Replay,
    Source,
};
use super::{amount, given, opened};
use crate::domain::ledger::{Drawn, MOST_LEVELS, ROUND};

impl Replay {
    /// The accounts that a draw on one goes through.
    pub(super) fn path(&self, leaf: &AccountId) -> Vec<AccountId> {
        let mut path = vec![leaf.clone()];
        let mut next = self.accounts.get(leaf);
        while let Some(Account { parent: Some(above), kind: AccountKind::Ceiling(_), .. }) = next
            && path.len() < MOST_LEVELS
        {
            path.push(above.clone());
            next = self.accounts.get(above);
        }
        path
    }

    /// Changes an account, which must be there, within what can be counted.
    fn change(&mut self, id: &AccountId, change: impl FnOnce(&mut Account) -> bool) {
        match self.accounts.get_mut(id).map(change) {
            Some(true) => {}
            Some(false) => self.wrong(&format!("takes account {id:?} beyond what it can have")),
            None => self.wrong(&format!("is of account {id:?}, which no record opens")),
        }
    }

    /// Brings a ceiling whose clock was wrong to the window of a moment, as it counts there.
    pub(super) fn present(&mut self, id: &AccountId, now: i64) {
        let Some(Account { kind: AccountKind::Ceiling(ceiling), .. }) = self.accounts.get(id)
        else {
            return;
        };
        let Some(begins) = ceiling.to_recount(now) else { return };
        let recounted = ceiling.opened(begins, self.drawn(id, begins));
        if let Some(account) = self.accounts.get_mut(id) {
            account.kind = AccountKind::Ceiling(recounted);
        }
    }

    /// Amounts drawn through a ceiling in the window that began at a moment.
    pub(super) fn drawn(&self, id: &AccountId, begins: i64) -> Drawn {
        let (mut used, mut carved, mut later) = (0, 0, false);
        for told in self.holds.values() {
            let taken = match told.state {
                HoldState::Open => told.amount,
                HoldState::Posted { amount, refunded, .. } => amount.saturating_sub(refunded),
                HoldState::Voided => Credits::ZERO,
            };
            for leg in told.context.path.iter().flatten().filter(|leg| leg.account == *id) {
                used += if leg.window == begins { taken.signed() } else { 0 };
                later |= leg.window > begins;
            }
        }
        for source in self.accounts.values().filter_map(Account::source) {
            for leg in source.path.iter().filter(|leg| leg.account == *id) {
                carved += if leg.window == begins { source.owed.signed() } else { 0 };
                later |= leg.window > begins;
            }
        }
        Drawn { used: Credits::of_balance(used), carved: Credits::of_balance(carved), later }
    }

    pub(super) fn reserve(&mut self, leaf: &AccountId, amount: Credits, now: i64) -> Vec<Leg> {
        let (mut legs, held) = (Vec::new(), amount.signed());
        for id in self.path(leaf) {
            let mut window = 0;
            self.present(&id, now);
            self.change(&id, |account| {
                raise(&mut account.reserved, held)
                    && match &mut account.kind {
                        AccountKind::Funded(funds) => shift(&mut funds.available, -held),
                        AccountKind::Ceiling(ceiling) => {
                            *ceiling = ceiling.at(now);
                            window = ceiling.begins();
                            raise(&mut ceiling.used, held)
                        }
                    }
            });
            if self.accounts.get(&id).is_some_and(|account| !account.open) {
                self.wrong(&format!("holds on account {id:?}, which is closed"));
            }
            legs.push(Leg { account: id, window });
        }
        legs
    }

    pub(super) fn settle(&mut self, path: &[Leg], held: Credits, posted: Credits) {
        for leg in path {
            self.change(&leg.account, |account| {
                raise(&mut account.reserved, -held.signed()) && spend(account, posted.signed())
            });
            self.give_back(leg, held.signed() - posted.signed());
        }
    }

    pub(super) fn give_back_spent(&mut self, path: &[Leg], amount: Credits) {
        for leg in path {
            self.change(&leg.account, |account| spend(account, -amount.signed()));
            self.give_back(leg, amount.signed());
        }
    }

    fn give_back(&mut self, leg: &Leg, amount: i64) {
        self.change(&leg.account, |account| match &mut account.kind {
            AccountKind::Ceiling(ceiling) if ceiling.begins() == leg.window => {
                raise(&mut ceiling.used, -amount)
            }
            AccountKind::Ceiling(_) => true,
            AccountKind::Funded(funds) => shift(&mut funds.available, amount),
        });
        self.climb(&leg.account);
    }

    pub(super) fn grant(&mut self, draft: &Draft, now: i64) {
        let (Some(account), false) = (&draft.account, self.unknown) else { return };
        let more = amount(draft).signed();
        let id = AccountId::from(account.as_str());
        self.present(&id, now);
        self.change(&id, |account| match &mut account.kind {
            AccountKind::Funded(funds) => {
                raise(&mut funds.issued, more) && shift(&mut funds.available, more)
            }
            AccountKind::Ceiling(ceiling) => {
                *ceiling = ceiling.at(now);
                raise(&mut ceiling.granted, more)
            }
        });
    }

    pub(super) fn carve(
        &mut self,
        from: &AccountId,
        child: &AccountState,
        amount: Credits,
        now: i64,
    ) {
        let (mut legs, moved) = (Vec::new(), amount.signed());
        for id in self.path(from) {
            let mut window = 0;
            self.present(&id, now);
            self.change(&id, |account| match &mut account.kind {
                AccountKind::Funded(funds) => {
                    shift(&mut funds.available, -moved) && shift(&mut funds.net, -moved)
                }
                AccountKind::Ceiling(ceiling) => {
                    *ceiling = ceiling.at(now);
                    window = ceiling.begins();
                    raise(&mut ceiling.carved, moved)
                }
            });
            legs.push(Leg { account: id, window });
        }
        let source = given(legs, amount);
        let funds = Funds { net: moved, available: moved, source, ..Funds::default() };
        let account = Account { kind: AccountKind::Funded(funds), ..opened(child) };
        let id = AccountId::from(child.id.as_str());
        if self.accounts.insert(id.clone(), account).is_some() {
            self.wrong(&format!("opens account {id:?}, which is there"));
        }
    }

    /// Brings an account to the state in a record, and opens it if it is new.
    pub(super) fn adjust(&mut self, state: &AccountState, now: i64) {
        let id = AccountId::from(state.id.as_str());
        self.present(&id, now);
        self.accounts.entry(id.clone()).or_insert_with(|| opened(state));
        let parent = state.parent.as_deref().map(AccountId::from);
        let credits = |amount: Option<u64>| amount.and_then(Credits::new).unwrap_or_default();
        self.change(&id, |account| {
            (account.parent, account.open, account.expires) = (parent, true, state.expires);
            match (&mut account.kind, state.cap.and_then(Credits::new)) {
                (AccountKind::Funded(funds), None) => {
                    let issued = credits(state.issued);
                    let by = issued.signed() - funds.issued.signed();
                    (funds.issued, funds.declared) = (issued, credits(state.declared));
                    funds.unlimited = state.unlimited;
                    shift(&mut funds.available, by)
                }
                (AccountKind::Ceiling(ceiling), Some(limit)) if ceiling.period == state.period => {
                    let window = state.window.unwrap_or_default();
                    ceiling.limit = limit;
                    if ceiling.window != window {
                        ceiling.window = window;
                        ceiling.used = Credits::ZERO;
                        ceiling.carved = Credits::ZERO;
                        ceiling.granted = Credits::ZERO;
                    }
                    true
                }
                _ => false,
            }
        });
    }

    pub(super) fn close(&mut self, draft: &Draft) {
        let (Some(account), false) = (&draft.account, self.unknown) else { return };
        let id = AccountId::from(account.as_str());
        self.change(&id, |account| std::mem::replace(&mut account.open, false));
        self.climb(&id);
    }

    /// What a closed account has, or owes, goes to who gave it its credits, and on from there.
    fn climb(&mut self, id: &AccountId) {
        let mut from = id.clone();
        for _ in 0..MOST_LEVELS {
            let Some(Account { open: false, kind: AccountKind::Funded(funds), .. }) =
                self.accounts.get(&from)
            else {
                return;
            };
            let (rest, source) = (funds.available, funds.source.clone());
            let Some((giver, path)) = source.as_ref().and_then(|it| it.path.split_last()) else {
                return;
            };
            if rest == 0 {
                return;
            }
            self.hand_up(&from, giver, path, rest);
            from = giver.account.clone();
        }
    }

    fn hand_up(&mut self, id: &AccountId, giver: &Leg, through: &[Leg], rest: i64) {
        let mut freed = 0;
        self.change(id, |account| {
            let AccountKind::Funded(Funds { available, net, source: Some(source), .. }) =
                &mut account.kind
            else {
                return false;
            };
            let Source { owed, .. } = source;
            // Below zero it is a debt, which counts as drawn again.
            freed = rest.min(owed.signed());
            raise(owed, -freed) && shift(available, -rest) && shift(net, -rest)
        });
        for leg in through {
            self.change(&leg.account, |account| match &mut account.kind {
                AccountKind::Ceiling(ceiling) if ceiling.begins() == leg.window => {
                    raise(&mut ceiling.carved, -freed)
                }
                _ => true,
            });
        }
        self.change(&giver.account, |account| match &mut account.kind {
            AccountKind::Funded(funds) => {
                shift(&mut funds.available, rest) && shift(&mut funds.net, rest)
            }
            AccountKind::Ceiling(_) => false,
        });
    }
}

/// Counts an amount as spent. What is never spent to the end is counted up to [`ROUND`].
fn spend(account: &mut Account, amount: i64) -> bool {
    let Some(spent) = account.spent.signed().checked_add(amount) else { return false };
    let rounded = match &account.kind {
        AccountKind::Funded(Funds { unlimited: false, .. }) => spent,
        _ => spent.rem_euclid(ROUND),
    };
    let rest = match &mut account.kind {
        AccountKind::Funded(funds) => shift(&mut funds.available, spent - rounded),
        AccountKind::Ceiling(_) => true,
    };
    rest && raise(&mut account.spent, rounded - spent + amount)
}

/// Raises an amount, or lowers it; returns false if it would leave its range.
fn raise(amount: &mut Credits, by: i64) -> bool {
    let sum = amount.signed().checked_add(by).and_then(|sum| u64::try_from(sum).ok());
    sum.and_then(Credits::new).map(|sum| *amount = sum).is_some()
}

/// Moves a balance; returns false if it would leave its range.
fn shift(balance: &mut i64, by: i64) -> bool {
    balance.checked_add(by).map(|sum| *balance = sum).is_some()
}
