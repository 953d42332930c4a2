//! The accounts that settings ask for, brought in line with those there are.

use super::{
    Account, AccountId, AccountKind, Ceiling, Funds, Step, Tables,
    account::{difference, moved},
    inconsistent,
    staged::staged,
};
use crate::domain::{
    account_id::account_name,
    budget::{Budgeting, Limit, Mode},
    call::AgentId,
    caller::{Caller, Grant},
    credits::Credits,
    period::Period,
    record::hex,
    rules::Rules,
    token::TokenId,
};

/// All accounts that one state of the settings asks for, those above before those below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    accounts: Vec<Declared>,
}

/// One account that settings ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its id.
    pub id: AccountId,
    /// The account above it.
    pub parent: Option<AccountId>,
    /// What it is to be.
    pub limit: DeclaredLimit,
}

/// What an account is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredLimit {
    /// Funded, and never refuses.
    Unlimited,
    /// Funded with this amount.
    Funded(Credits),
    /// Caps what is drawn through it.
    Ceiling(Credits, Option<Period>),
}

/// What a declaration came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adjusted {
    /// The accounts that were opened or changed, in words.
    pub changed: Vec<String>,
    /// The limits that stay as they were. All else that was asked for is in force.
    pub undeclarable: Vec<Undeclarable>,
}

/// Why a limit stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit of account `{account}` cannot be {asked}: {reason}; it stays {stays}")]
pub struct Undeclarable {
    /// The account.
    pub account: AccountId,
    /// The limit that was asked for.
    pub asked: Credits,
    /// Why not.
    pub reason: Unadjusted,
    /// The limit that stays.
    pub stays: Credits,
}

/// Why a limit cannot be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unadjusted {
    /// It would be below what is spent, reserved and given to others.
    #[error("{0} credits of it are spent, reserved or delegated, and the least it can be is {0}")]
    Taken(Credits),
    /// With what was granted, it would be more than can be counted.
    #[error("with what was granted, the account would have more than {} credits", Credits::MAX)]
    Uncountable,
}

/// The name of the root of an unmetered namespace.
const UNMETERED: &str = "unmetered";
/// The names of shadow accounts begin with this.
const SHADOW: &str = "shadow/";
/// The name of a metered root.
const ROOT: &str = "root";

impl Declaration {
    /// What these settings ask for.
    pub fn of(budgeting: &Budgeting, rules: &Rules) -> Self {
        let declared = |name: String, parent: Option<&Declared>, limit| Declared {
            id: account_id(budgeting, &name),
            parent: parent.map(|above| above.id.clone()),
            limit,
        };
        let (above, limit) = match budgeting.limit {
            None => (None, DeclaredLimit::Unlimited),
            Some(Limit { credits, period: None }) => (None, DeclaredLimit::Funded(credits)),
            // A limit per period is a ceiling, which owns nothing: the account above it pays.
            Some(Limit { credits, period }) => (
                Some(declared(UNMETERED.to_owned(), None, DeclaredLimit::Unlimited)),
                DeclaredLimit::Ceiling(credits, period),
            ),
        };
        let root = declared(root_name(budgeting), above.as_ref(), limit);
        let limited = rules.agents.iter().filter_map(|(agent, rules)| Some((agent, rules.budget?)));
        let agents: Vec<_> = limited
            .map(|(agent, limit)| {
                let cap = DeclaredLimit::Ceiling(limit.credits, limit.period);
                declared(agent_name(budgeting, agent, limit), Some(&root), cap)
            })
            .collect();
        let accounts = above.into_iter().chain([root]).chain(agents).collect();
        Self { accounts }
    }

    /// The accounts.
    pub fn accounts(&self) -> &[Declared] {
        &self.accounts
    }

    /// Whether it limits nothing.
    pub fn is_unlimited(&self) -> bool {
        self.accounts.iter().all(|declared| declared.limit == DeclaredLimit::Unlimited)
    }
}

/// The account that all others of these settings draw on.
pub fn root_of(budgeting: &Budgeting) -> AccountId {
    account_id(budgeting, &root_name(budgeting))
}

/// The account that pays for an agent's calls.
pub fn account_of(budgeting: &Budgeting, rules: &Rules, agent: &AgentId) -> AccountId {
    let limit = rules.agents.get(agent).and_then(|rules| rules.budget);
    let name =
        limit.map_or_else(|| root_name(budgeting), |limit| agent_name(budgeting, agent, limit));
    account_id(budgeting, &name)
}

/// The account that pays for what a caller does: that of its token, or its agent's.
pub fn paying(budgeting: &Budgeting, rules: &Rules, caller: &Caller) -> AccountId {
    let Some(Grant { account: Some(account), ceilings, .. }) = caller.grant() else {
        return account_of(budgeting, rules, caller.billed_agent());
    };
    let account = in_force(budgeting, account);
    match ceilings.last() {
        Some((cap, _)) => cap_of(&account, cap),
        None => account,
    }
}

/// The account of a token under these settings. One that was made in the shadow pays for nothing
/// real, and a real one for nothing in the shadow.
fn in_force(budgeting: &Budgeting, account: &AccountId) -> AccountId {
    let name = account.name();
    account_id(budgeting, name.strip_prefix(SHADOW).unwrap_or(name))
}

/// The caps that narrowing put on the account of a caller's token, the outermost first: their
/// accounts, what each is below, and how much it lets through.
pub fn caps(budgeting: &Budgeting, caller: &Caller) -> Vec<(AccountId, AccountId, Credits)> {
    let Some(Grant { account: Some(account), ceilings, .. }) = caller.grant() else {
        return Vec::new();
    };
    let account = in_force(budgeting, account);
    let mut above = account.clone();
    let below = |(cap, limit): &([u8; 8], Credits)| {
        let id = cap_of(&account, cap);
        (id.clone(), std::mem::replace(&mut above, id), *limit)
    };
    ceilings.iter().map(below).collect()
}

fn cap_of(account: &AccountId, cap: &[u8; 8]) -> AccountId {
    AccountId::new(account.namespace(), &format!("{}/cap/{}", account.name(), hex(cap)))
}

/// The account of a token that is made under these settings.
pub fn account_of_token(budgeting: &Budgeting, token: TokenId) -> AccountId {
    account_id(budgeting, &account_name(token))
}

/// Shadow accounts are others than the real ones, which a shadow never touches.
fn account_id(budgeting: &Budgeting, name: &str) -> AccountId {
    match budgeting.mode {
        Mode::Shadow => AccountId::new(&budgeting.namespace, &format!("{SHADOW}{name}")),
        Mode::Hard | Mode::Soft => AccountId::new(&budgeting.namespace, name),
    }
}

fn root_name(budgeting: &Budgeting) -> String {
    budgeting.limit.map_or_else(|| UNMETERED.to_owned(), |limit| with_period(ROOT, limit.period))
}

/// No agent's name holds an `@`.
fn agent_name(budgeting: &Budgeting, agent: &AgentId, limit: Limit) -> String {
    let name = match &budgeting.agents {
        Some(namespace) => format!("agent/{agent}@{namespace}"),
        None => format!("agent/{agent}"),
    };
    with_period(&name, limit.period)
}

/// A limit that is counted otherwise is another account.
fn with_period(name: &str, period: Option<Period>) -> String {
    match period {
        Some(period) => format!("{name}/{}", period.as_str()),
        None => name.to_owned(),
    }
}

/// Makes accounts what the settings ask for: raising a limit issues the difference, lowering it
/// takes from what is available. A ceiling may be lowered below what is taken, and then refuses
/// until enough has come back. A root cannot: its old limit stays, and
/// everything else comes into force.
pub fn declare(tables: &mut dyn Tables, declaration: &Declaration, now: i64) -> Step<Adjusted> {
    staged(tables, |rows| {
        let mut outcome = Adjusted::default();
        for declared in &declaration.accounts {
            let before = rows.present(&declared.id, now)?;
            let (after, undeclarable) = match before.clone() {
                None => (created(declared, now), None),
                Some(before) => adjusted(before, declared, now)?,
            };
            outcome.undeclarable.extend(undeclarable);
            if before.as_ref() != Some(&after) {
                let verb = if before.is_some() { "changed" } else { "opened" };
                outcome.changed.push(format!("{} {verb}: {}", declared.id, declared.limit));
                rows.put_account(&declared.id, after);
            }
        }
        Ok(outcome)
    })
}

impl std::fmt::Display for DeclaredLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Funded(limit) | Self::Ceiling(limit, None) => f.write_str(&limit.in_words()),
            Self::Ceiling(limit, Some(period)) => {
                write!(f, "{} per {}", limit.in_words(), period.as_str())
            }
        }
    }
}

fn created(declared: &Declared, now: i64) -> Account {
    let kind = match declared.limit {
        DeclaredLimit::Unlimited => {
            AccountKind::Funded(Funds { unlimited: true, ..Funds::default() })
        }
        DeclaredLimit::Funded(limit) => AccountKind::Funded(Funds {
            issued: limit,
            declared: limit,
            available: limit.signed(),
            ..Funds::default()
        }),
        DeclaredLimit::Ceiling(limit, period) => {
            AccountKind::Ceiling(Ceiling::new(limit, period).at(now))
        }
    };
    Account::new(declared.parent.clone(), kind)
}

fn adjusted(
    mut account: Account,
    declared: &Declared,
    now: i64,
) -> Step<(Account, Option<Undeclarable>)> {
    account.parent.clone_from(&declared.parent);
    account.open = true;
    let mut kept = None;
    match (&mut account.kind, declared.limit) {
        (AccountKind::Funded(funds), DeclaredLimit::Unlimited) if funds.unlimited => {}
        (AccountKind::Funded(funds), DeclaredLimit::Funded(limit)) if !funds.unlimited => {
            let (account, stays) = (declared.id.clone(), funds.declared);
            kept = reissued(funds, limit)?.err().map(|reason| Undeclarable {
                account,
                asked: limit,
                reason,
                stays,
            });
        }
        (AccountKind::Ceiling(ceiling), DeclaredLimit::Ceiling(limit, period))
            if ceiling.period == period =>
        {
            if limit != ceiling.limit {
                *ceiling = Ceiling { limit, ..ceiling.at(now) };
            }
        }
        _ => return inconsistent(format!("account {:?} is of another kind", declared.id)),
    }
    Ok((account, kept))
}

/// Issues what a limit has more than before, or takes back what it has less, if that is there.
fn reissued(funds: &mut Funds, limit: Credits) -> Step<Result<(), Unadjusted>> {
    let by = limit.signed() - funds.declared.signed();
    if by < 0 && funds.available + by < 0 {
        let taken = funds.declared.signed() - funds.available;
        return Ok(Err(Unadjusted::Taken(Credits::of_balance(taken))));
    }
    funds.issued = match u64::try_from(by).ok().and_then(Credits::new) {
        Some(more) => match funds.issued.checked_add(more) {
            Some(issued) => issued,
            None => return Ok(Err(Unadjusted::Uncountable)),
        },
        None => difference(funds.issued, Credits::of_balance(-by))?,
    };
    funds.available = moved(funds.available, by)?;
    funds.declared = limit;
    Ok(Ok(()))
}
