//! Accounts, holds and rights rebuilt from the records, and compared with the rows of a store. This shares no code with the steps that move
//! credits: it shows their faults, and rows that were changed behind their back.
//!
//! [`moves`]: what one record does to accounts. [`compare`]: the comparison with rows.
//!
//! Records say how accounts were opened and limited since version 3 of the tables. When a store of
//! an earlier version is opened, its accounts are recorded as they are found, as [`Baseline`], and
//! the replay of accounts begins there.

mod compare;
mod moves;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    About, Account, AccountId, AccountKind, Ceiling, Funds, HoldId, HoldState, Leg, Source,
};
use crate::domain::{
    credits::Credits,
    period::moment,
    record::{AccountState, Decision, Draft, Event, Record},
    token::denial_of_api_key,
};

pub use compare::{Right, RightRow};

/// More faults than this are not listed.
const MOST_FAULTS: usize = 1_000;

/// The state that the records lead to.
#[derive(Debug, Default)]
pub struct Replay {
    accounts: BTreeMap<AccountId, Account>,
    holds: HashMap<HoldId, ReplayedHold>,
    contexts: HashSet<Arc<Context>>,
    rights: Rights,
    transfers: u64,
    /// Set by records that do not say how accounts were opened, until a baseline.
    unknown: bool,
    /// The first record from which on accounts are known, if that is not the first of all.
    since: Option<u64>,
    /// The place of the record at hand.
    seq: u64,
    /// The number of rows that no record explains, or that the records explain only in part.
    ahead: usize,
    faults: Vec<String>,
}

/// A hold as the records have it. There may be very many.
#[derive(Debug)]
struct ReplayedHold {
    context: Arc<Context>,
    amount: Credits,
    state: HoldState,
    forced: bool,
    /// Whether its row was compared.
    compared: bool,
}

/// What many holds have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Context {
    /// None while accounts were not known.
    path: Option<Vec<Leg>>,
    /// Known when it has ended.
    about: Option<About>,
}

/// Rows that give or take rights, with the keyed digest of each as its last record has it.
#[derive(Debug, Default)]
struct Rights {
    delegations: BTreeMap<String, Option<String>>,
    api_keys: BTreeMap<String, Option<String>>,
    denied: BTreeSet<String>,
}

/// The rows of a store as they were found when it was brought to a version whose records can be
/// replayed. One record has some of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Baseline {
    /// Accounts.
    pub accounts: Vec<(AccountId, Account)>,
    /// The paths of open holds.
    pub holds: Vec<(String, Vec<Leg>)>,
    /// Delegations by token, with their keyed digests.
    pub delegations: Vec<(String, String)>,
    /// API keys by id, with their keyed digests.
    pub api_keys: Vec<(String, String)>,
    /// Tokens that were denied.
    pub denied: Vec<String>,
    /// Given with the last of these records: how many transfers there were.
    pub transfers: Option<u64>,
}

impl Replay {
    /// Takes the next record.
    pub fn record(&mut self, record: &Record) {
        self.seq = record.seq;
        let draft = &record.draft;
        let now = moment(&record.at).unwrap_or_default();
        match draft.event {
            Event::Hold => self.begin(draft, now),
            Event::Post | Event::Void => self.end(draft),
            Event::Refund => self.refund(draft, now),
            Event::Grant => self.grant(draft, now),
            Event::Delegate => self.delegate(draft, now),
            Event::Cap => self.open(draft, now),
            Event::Declare => self.open(draft, now),
            Event::Close => self.close(draft),
            Event::Baseline => self.baseline(draft),
            Event::Revoke => self.rights.denied.extend(draft.token.clone()),
            Event::Key => self.key(draft),
            Event::Refusal | Event::Call | Event::Reload | Event::Discovery => {}
        }
        if matches!(draft.event, Event::Refund | Event::Grant | Event::Delegate | Event::Cap) {
            self.transfers += 1;
        }
    }

    /// A record that cannot be read, or that is not the next.
    pub fn unread(&mut self, why: impl Into<String>) {
        self.fault(why.into());
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < MOST_FAULTS {
            self.faults.push(fault);
        } else if self.faults.len() == MOST_FAULTS {
            self.faults.push("there are more faults, which are not listed".to_owned());
        }
    }

    fn wrong(&mut self, what: &str) {
        let seq = self.seq;
        self.fault(format!("record {seq} {what}"));
    }

    fn context(&mut self, context: Context) -> Arc<Context> {
        if let Some(known) = self.contexts.get(&context) {
            return known.clone();
        }
        let context = Arc::new(context);
        self.contexts.insert(context.clone());
        context
    }

    fn begin(&mut self, draft: &Draft, now: i64) {
        let account = draft.account.as_deref().map(AccountId::from);
        let (Some(id), Some(account)) = (hold_of(draft), account) else {
            return self.wrong("is about a hold but does not say which");
        };
        let amount = amount(draft);
        let path = match self.unknown {
            true => None,
            false => Some(self.reserve(&account, amount, now)),
        };
        let context = self.context(Context { path, about: None });
        let forced = draft.decision == Some(Decision::OverBudget);
        let told =
            ReplayedHold { context, amount, state: HoldState::Open, forced, compared: false };
        if self.holds.insert(id, told).is_some() {
            self.wrong(&format!("begins hold {id} again"));
        }
    }

    fn end(&mut self, draft: &Draft) {
        let Some((id, told)) = hold_of(draft).and_then(|id| self.holds.get_key_value(&id)) else {
            return self.wrong("ends a hold that no record begins");
        };
        let (id, held, before) = (*id, told.amount, told.state);
        let posted = amount(draft);
        if before != HoldState::Open || posted > held {
            return self.wrong(&format!("is not what can become of hold {id}"));
        }
        let state = match draft.event {
            Event::Void => HoldState::Voided,
            _ => HoldState::Posted {
                amount: posted,
                uncertain: draft.uncertain,
                refunded: Credits::ZERO,
            },
        };
        let path = told.context.path.clone();
        let context = self.context(Context { path: path.clone(), about: about(draft) });
        if let Some(told) = self.holds.get_mut(&id) {
            (told.state, told.context) = (state, context);
        }
        if !self.unknown {
            let path = path.unwrap_or_else(|| self.guessed(draft, id));
            self.settle(
                &path,
                held,
                if state == HoldState::Voided { Credits::ZERO } else { posted },
            );
        }
    }

    fn refund(&mut self, draft: &Draft, now: i64) {
        // Ceilings whose clock was wrong are recounted before anything of the hold changes.
        let told = hold_of(draft).and_then(|id| self.holds.get(&id));
        let path = told.and_then(|told| told.context.path.clone()).unwrap_or_default();
        path.iter().for_each(|leg| self.present(&leg.account, now));
        let Some((id, told)) =
            hold_of(draft).and_then(|id| self.holds.get_mut(&id).map(|told| (id, told)))
        else {
            return self.wrong("gives back of a hold that no record begins");
        };
        let asked = amount(draft);
        let HoldState::Posted { amount: posted, refunded, .. } = &mut told.state else {
            return self.wrong(&format!("gives back of hold {id}, of which nothing is posted"));
        };
        match refunded.checked_add(asked).filter(|sum| sum <= posted) {
            Some(sum) => *refunded = sum,
            None => return self.wrong(&format!("gives back more of hold {id} than was posted")),
        }
        let path = told.context.path.clone();
        if !self.unknown {
            let path = path.unwrap_or_else(|| self.guessed(draft, id));
            self.give_back_spent(&path, asked);
        }
    }

    /// The path of a hold from before accounts were known: as it would be now, in the window of the
    /// time with which its id begins.
    fn guessed(&self, draft: &Draft, id: HoldId) -> Vec<Leg> {
        let begun = i64::try_from(id.0 >> 80).unwrap_or_default();
        let leaf = draft.account.as_deref().map(AccountId::from);
        let path = leaf.map(|leaf| self.path(&leaf)).unwrap_or_default();
        let window = |id: &AccountId| match self.accounts.get(id).map(|account| &account.kind) {
            Some(AccountKind::Ceiling(Ceiling { period: Some(period), .. })) => {
                period.window(begun).begins
            }
            _ => 0,
        };
        path.into_iter().map(|id| Leg { window: window(&id), account: id }).collect()
    }

    /// Accounts that settings ask for, and ceilings of tokens.
    fn open(&mut self, draft: &Draft, now: i64) {
        if draft.accounts.is_empty() {
            return self.lose_track();
        }
        if !self.unknown {
            draft.accounts.iter().for_each(|state| self.adjust(state, now));
        }
    }

    /// Of what a record of an earlier version opened, nothing more is known.
    fn lose_track(&mut self) {
        if self.since.is_some() {
            return self.wrong(
                "was written by an earlier version of tollgate and does not say what it changed",
            );
        }
        self.unknown = true;
        self.accounts.clear();
    }

    fn delegate(&mut self, draft: &Draft, now: i64) {
        if let Some(token) = &draft.token {
            let again = self.rights.delegations.insert(token.clone(), draft.row.clone());
            if again.is_some() {
                self.wrong(&format!("makes delegation {token} again"));
            }
        }
        match (draft.account.as_deref(), draft.accounts.as_slice()) {
            (Some(from), [child]) if !self.unknown => {
                self.carve(&AccountId::from(from), child, amount(draft), now);
            }
            (_, [_]) => {}
            _ => self.lose_track(),
        }
    }

    /// A key is made, and then taken back; taken back, it is denied as well.
    fn key(&mut self, draft: &Draft) {
        let Some(id) = &draft.token else { return };
        if self.rights.api_keys.insert(id.clone(), draft.row.clone()).is_some() {
            self.rights.denied.insert(denial_of_api_key(id).to_string());
        }
    }

    fn baseline(&mut self, draft: &Draft) {
        let found = draft.baseline.clone().map(serde_json::from_value::<Baseline>);
        let Some(Ok(found)) = found else {
            return self.wrong("has a baseline that cannot be read");
        };
        self.since.get_or_insert(self.seq);
        for (id, account) in found.accounts {
            // What earlier records tell of it, if they can be replayed, is still true.
            match self.accounts.contains_key(&id) {
                true if !self.unknown => self.account(&id, &account),
                _ => drop(self.accounts.insert(id, account)),
            }
        }
        for (id, path) in found.holds {
            let Some(id) = HoldId::parse(&id) else { continue };
            let context = self.context(Context { path: Some(path), about: None });
            if let Some(told) = self.holds.get_mut(&id) {
                told.context = context;
            }
        }
        let with_digest = |(id, digest)| (id, Some(digest));
        self.rights.delegations.extend(found.delegations.into_iter().map(with_digest));
        self.rights.api_keys.extend(found.api_keys.into_iter().map(with_digest));
        self.rights.denied.extend(found.denied);
        if let Some(transfers) = found.transfers {
            self.transfers = transfers;
            self.unknown = false;
        }
    }
}

fn hold_of(draft: &Draft) -> Option<HoldId> {
    draft.hold.as_deref().and_then(HoldId::parse)
}

/// An amount beyond what can be counted is one that nothing fits.
fn amount(draft: &Draft) -> Credits {
    draft.cost.and_then(Credits::new).unwrap_or_default()
}

fn about(draft: &Draft) -> Option<About> {
    Some(About {
        agent: draft.agent.clone()?,
        server: draft.server.clone()?,
        tool: draft.tool.clone()?,
    })
}

/// An account as a record opened it, with nothing drawn.
fn opened(state: &AccountState) -> Account {
    let kind = match state.cap.and_then(Credits::new) {
        Some(limit) => {
            let window = state.window.unwrap_or_default();
            AccountKind::Ceiling(Ceiling { window, ..Ceiling::new(limit, state.period) })
        }
        None => AccountKind::Funded(Funds::default()),
    };
    let parent = state.parent.as_deref().map(AccountId::from);
    Account { expires: state.expires, ..Account::new(parent, kind) }
}

/// Where the credits of an account came from.
fn given(path: Vec<Leg>, amount: Credits) -> Option<Source> {
    Some(Source { path, given: amount, owed: amount })
}
