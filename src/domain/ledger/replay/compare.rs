//! The state that the records lead to, compared with the rows of a store.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Account, AccountId, AccountKind, Context, HoldId, HoldState, Replay, ReplayedHold};
use crate::domain::{
    ledger::{
        HoldEntry,
        proof::{Proof, Recount},
    },
    record::hex,
};

/// What a row gives or takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// A delegation, by its token.
    Delegation,
    /// An API key, by its id.
    ApiKey,
    /// A token that was denied.
    Denied,
}

/// A row that gives or takes a right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightRow {
    /// What it gives or takes.
    pub right: Right,
    /// Its token or id.
    pub id: String,
    /// The account of a delegation.
    pub account: Option<AccountId>,
    /// Its keyed digest, if the store has a key.
    pub digest: Option<[u8; 32]>,
    /// Whether the digest is that of the row.
    pub is_sound: bool,
}

impl Replay {
    /// Compares all accounts.
    pub fn accounts(&mut self, rows: &[(AccountId, Account)]) {
        if self.unknown {
            return self.unread(
                "the records do not say how accounts were opened: they are of an earlier version",
            );
        }
        for (id, row) in rows {
            self.account(id, row);
        }
        let there: BTreeSet<&AccountId> = rows.iter().map(|(id, _)| id).collect();
        let gone = self.accounts.keys().filter(|id| !there.contains(id));
        let gone: Vec<String> = gone.map(|id| format!("account {id:?} is missing")).collect();
        gone.into_iter().for_each(|fault| self.fault(fault));
    }

    pub(super) fn account(&mut self, id: &AccountId, row: &Account) {
        let Some(told) = self.accounts.get(id) else {
            self.ahead += 1;
            return self.fault(format!("account {id:?} is there, and no record opens it"));
        };
        let recounted = self.recounted(id, told, row);
        let told = recounted.as_ref().unwrap_or(told);
        if told == row {
            return;
        }
        let (row, told) = (parts(row), parts(told));
        let all: BTreeSet<&String> = row.keys().chain(told.keys()).collect();
        let text = |value: Option<&Value>| value.unwrap_or(&Value::Null).to_string();
        let faults: Vec<String> = all
            .into_iter()
            .map(|what| (what, text(row.get(what)), text(told.get(what))))
            .filter(|(_, row, told)| row != told)
            .map(|(what, row, told)| {
                format!("account {id:?}: {what} is {row}; by the records it is {told}")
            })
            .collect();
        faults.into_iter().for_each(|fault| self.fault(fault));
    }

    /// An account whose clock was wrong may have been recounted by a step without a record. It then
    /// has what the records tell of its window.
    fn recounted(&self, id: &AccountId, told: &Account, row: &Account) -> Option<Account> {
        let (AccountKind::Ceiling(told_ceiling), AccountKind::Ceiling(found)) =
            (&told.kind, &row.kind)
        else {
            return None;
        };
        let begins = told_ceiling.to_recount(found.begins())?;
        let kind = AccountKind::Ceiling(told_ceiling.opened(begins, self.drawn(id, begins)));
        Some(Account { kind, ..told.clone() })
    }

    /// Compares all rows that give or take rights, and the number of transfers.
    pub fn rights(&mut self, rows: &[RightRow], transfers: u64) {
        for row in rows {
            self.right(row);
        }
        let there = |right, id: &String| rows.iter().any(|row| row.right == right && row.id == *id);
        let rights = std::mem::take(&mut self.rights);
        let gone = |right: Right, ids: Vec<&String>| {
            let gone = ids.into_iter().filter(|id| !there(right, id));
            gone.map(|id| format!("{} is missing", named(right, id))).collect::<Vec<_>>()
        };
        let mut faults = gone(Right::Delegation, rights.delegations.keys().collect());
        faults.extend(gone(Right::ApiKey, rights.api_keys.keys().collect()));
        faults.extend(gone(Right::Denied, rights.denied.iter().collect()));
        faults.into_iter().for_each(|fault| self.fault(fault));
        self.rights = rights;
        if transfers != self.transfers {
            let told = self.transfers;
            self.ahead += usize::from(transfers > told);
            self.fault(format!("there are {transfers} transfers; by the records there are {told}"));
        }
    }

    fn right(&mut self, row: &RightRow) {
        let name = named(row.right, &row.id);
        if !row.is_sound {
            self.fault(format!("the row of {name} was altered, and gives no right"));
        }
        let told = match row.right {
            Right::Delegation => self.rights.delegations.get(&row.id).cloned(),
            Right::ApiKey => self.rights.api_keys.get(&row.id).cloned(),
            Right::Denied => self.rights.denied.contains(&row.id).then_some(None),
        };
        match (told, row.digest) {
            (None, _) => {
                self.ahead += 1;
                self.fault(format!("{name} is there, and no record explains it"));
            }
            (Some(Some(told)), Some(digest)) if told != hex(&digest) => {
                self.fault(format!("{name} is not what its last record made it"));
            }
            _ => {}
        }
        let gives = |account: &Account| account.source().is_some();
        if let Some(account) = &row.account
            && !self.accounts.get(account).is_some_and(gives)
        {
            self.fault(format!("{name} has no account {account:?} that was given credits"));
        }
    }

    /// Compares a hold.
    pub fn hold(&mut self, id: HoldId, row: &HoldEntry) {
        let Some(told) = self.holds.get_mut(&id) else {
            self.ahead += 1;
            return self.fault(format!("hold {id} is there, and no record begins it"));
        };
        told.compared = true;
        let ReplayedHold { context, amount, state, forced, .. } = told;
        let Context { path, about } = &**context;
        let differs: Vec<&str> = [
            ("amount", *amount != row.amount),
            ("state", *state != row.state),
            ("being over budget", *forced != row.forced),
            ("path", path.as_ref().is_some_and(|path| *path != row.path)),
            ("purpose", about.as_ref().is_some_and(|about| *about != row.about)),
        ]
        .into_iter()
        .filter_map(|(what, differs)| differs.then_some(what))
        .collect();
        let ended = *state == HoldState::Open && !row.is_open();
        // Where the records do not have a path, the row does.
        let found =
            path.is_none().then(|| Context { path: Some(row.path.clone()), about: about.clone() });
        if let Some(found) = found {
            let context = self.context(found);
            if let Some(told) = self.holds.get_mut(&id) {
                told.context = context;
            }
        }
        self.ahead += usize::from(ended);
        if !differs.is_empty() {
            self.fault(format!("hold {id}: its {} is not as recorded", differs.join(", its ")));
        }
    }

    /// Holds that were not compared, at most this many.
    pub fn not_compared(&self, most: usize) -> Vec<HoldId> {
        let left = self.holds.iter().filter(|(_, told)| !told.compared);
        left.map(|(id, _)| *id).take(most).collect()
    }

    /// A hold that there is not.
    pub fn no_hold(&mut self, id: HoldId) {
        self.fault(format!("hold {id} is missing"));
    }

    /// Recounts what the records come to, which must add up by itself. Answers that, and how many
    /// rows no record explains.
    pub fn finish(self) -> (Proof, usize) {
        let Self { accounts, holds, faults, ahead, since, .. } = self;
        let mut recount = Recount::new(accounts);
        for (id, told) in &holds {
            recount.hold(*id, &as_kept(told));
        }
        let mut proof = recount.finish();
        proof.faults.splice(0..0, faults);
        proof.accounts_since = since;
        (proof, ahead)
    }
}

/// A hold as a recount wants it.
fn as_kept(told: &ReplayedHold) -> HoldEntry {
    HoldEntry {
        amount: told.amount,
        state: told.state,
        forced: told.forced,
        fingerprint: [0; 32],
        deadline: 0,
        charge_if_lost: true,
        path: told.context.path.clone().unwrap_or_default(),
        about: told.context.about.clone().unwrap_or_default(),
    }
}

fn named(right: Right, id: &str) -> String {
    match right {
        Right::Delegation => format!("delegation {id}"),
        Right::ApiKey => format!("API key {id}"),
        Right::Denied => format!("the denial of token {id}"),
    }
}

/// Each value that an account holds, by its path in the account's JSON form.
fn parts(account: &Account) -> BTreeMap<String, Value> {
    let mut parts = BTreeMap::new();
    let mut open = vec![(String::new(), serde_json::to_value(account).unwrap_or_default())];
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(members) => open.extend(members.into_iter().map(|(key, value)| {
                (if path.is_empty() { key } else { format!("{path}.{key}") }, value)
            })),
            value => drop(parts.insert(path, value)),
        }
    }
    parts
}
