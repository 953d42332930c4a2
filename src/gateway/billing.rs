//! What calls cost, and who pays. Credits are held before a call goes to its server, and the hold
//! ends with the call, whatever becomes of it.

pub(super) mod hold;
pub(super) mod settling;

use std::sync::Arc;

use tokio::sync::OnceCell;

use self::settling::Settlements;
use super::{
    key_ring::KeyRing,
    refusals::{denied, ledger_unavailable, token_ended},
};
use crate::{
    domain::{
        budget::{Budgeting, Mode},
        caller::Caller,
        credits::Credits,
        digest,
        ledger::{
            AccountId, Adjusted, Balance, Declaration, Transfer, TransferId, Undeclarable,
            declare::{account_of, caps, paying},
        },
        policy::Permit,
        record::{Draft, hex},
        refusal::Refusal,
        rules::Rules,
        settings::Settings,
    },
    host::random,
    ledger::{Ledger, LedgerUnavailable},
};

/// How calls are paid for under one state of the settings.
#[derive(Debug)]
pub(super) struct Billing {
    settings: Arc<Settings>,
    policy: Arc<BillingPolicy>,
    settlements: Settlements,
    key_ring: Arc<KeyRing>,
}

/// What one state of the settings asks of the ledger.
#[derive(Debug)]
pub(super) struct BillingPolicy {
    declaration: Declaration,
    /// The limits that stay as they were; set once the ledger has the declaration.
    declared: OnceCell<Arc<[Undeclarable]>>,
    /// Names rules and prices in records.
    id: String,
}

impl BillingPolicy {
    pub(super) fn of(settings: &Settings) -> Self {
        let declaration = Declaration::of(&settings.budgeting, &settings.rules);
        Self {
            declaration,
            declared: OnceCell::new(),
            id: policy_id(&settings.rules, &settings.budgeting),
        }
    }

    /// This policy, as it succeeds another: what that one has declared need not be declared again.
    pub(super) fn after(mut self, before: &Self) -> Self {
        if self.asks_the_same(before) {
            self.declared = OnceCell::new_with(before.declared.get().cloned());
        }
        self
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.declaration.is_unlimited()
    }

    pub(super) fn is_declared(&self) -> bool {
        self.declared.initialized()
    }

    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        self.declaration == other.declaration
    }

    /// Brings the accounts in line, once, and returns the limits that stay as they were. A policy that
    /// was once in force is never declared again, so a call that began before a reload does not
    /// undo it.
    pub(super) async fn declare(
        &self,
        ledger: &Arc<dyn Ledger>,
    ) -> Result<&[Undeclarable], LedgerUnavailable> {
        let declare = || async {
            let Adjusted { changed, undeclarable } = self.open_accounts(ledger).await?;
            changed.iter().for_each(|change| tracing::info!("ledger: account {change}"));
            undeclarable.iter().for_each(|limit| tracing::error!("{limit}"));
            Ok(undeclarable.into())
        };
        self.declared.get_or_try_init(declare).await.map(AsRef::as_ref)
    }

    async fn open_accounts(&self, ledger: &Arc<dyn Ledger>) -> Result<Adjusted, LedgerUnavailable> {
        let draft = Draft { policy: Some(self.id.clone()), ..Draft::default() };
        ledger.declare(self.declaration.clone(), draft).await
    }
}

/// A digest of the rules and prices in canonical form: the same for the same rules and prices,
/// whatever else the settings say.
fn policy_id(rules: &Rules, budgeting: &Budgeting) -> String {
    let in_force = [
        ("rules", serde_json::to_value(rules)),
        ("tariff", serde_json::to_value(&budgeting.tariff)),
        ("terms", serde_json::to_value(budgeting.terms())),
    ];
    let in_force = in_force.map(|(name, value)| (name.to_owned(), value.unwrap_or_default()));
    let mut id = hex(&digest::of_members(&in_force.into_iter().collect()));
    id.truncate(12);
    id
}

/// A permitted call, and its price.
pub(super) struct Priced {
    permit: Permit,
    cost: Credits,
}

impl Priced {
    pub(super) fn permit(&self) -> &Permit {
        &self.permit
    }

    pub(super) fn cost(&self) -> Credits {
        self.cost
    }
}

impl Billing {
    pub(super) fn new(
        settings: &Arc<Settings>,
        policy: Arc<BillingPolicy>,
        settlements: &Settlements,
        key_ring: &Arc<KeyRing>,
    ) -> Self {
        let (settings, settlements) = (settings.clone(), settlements.clone());
        Self { settings, policy, settlements, key_ring: key_ring.clone() }
    }

    pub(super) fn policy(&self) -> &Arc<BillingPolicy> {
        &self.policy
    }

    /// Prices a call, unless the caller's credential does not allow to spend that.
    pub(super) fn price(&self, permit: Permit) -> Result<Priced, Refusal> {
        let tariff = &self.settings.budgeting.tariff;
        let cost = tariff.price(permit.server(), permit.tool()).cost;
        match self.settings.rules.affords(&permit, cost) {
            Ok(()) => Ok(Priced { permit, cost }),
            Err(why) => {
                let cost = cost.in_words();
                Err(denied(format!("tool `{}`, which costs {cost},", permit.tool()), why))
            }
        }
    }

    /// The account that pays for what a caller does, with the accounts of the settings open.
    pub(super) async fn paying_account(
        &self,
        caller: &Caller,
    ) -> Result<AccountId, LedgerUnavailable> {
        self.policy.declare(self.settlements.ledger()).await?;
        self.account(caller).await
    }

    /// The account of the caller's token, or its agent's.
    pub(super) fn account_of(&self, caller: &Caller) -> AccountId {
        paying(&self.settings.budgeting, &self.settings.rules, caller)
    }

    /// The account that pays for a caller. The caps of its token are put on it when it is first used.
    async fn account(&self, caller: &Caller) -> Result<AccountId, LedgerUnavailable> {
        let (budgeting, rules) = (&self.settings.budgeting, &self.settings.rules);
        let account = self.account_of(caller);
        let in_shadow = budgeting.mode == Mode::Shadow;
        let capped = caller.grant().is_some_and(|grant| !grant.ceilings.is_empty());
        if !caller.has_account() || !(in_shadow || capped) {
            return Ok(account);
        }
        let ledger = self.settlements.ledger();
        if ledger.balance(account.clone()).await?.is_none() {
            self.cap(caller).await?;
            // A token that was made under another mode has none here; a shadow stops no call.
            if in_shadow && ledger.balance(account.clone()).await?.is_none() {
                return Ok(account_of(budgeting, rules, caller.billed_agent()));
            }
        }
        Ok(account)
    }

    /// Puts the caps of a caller's token on its account; those that are there stay as they are.
    async fn cap(&self, caller: &Caller) -> Result<(), LedgerUnavailable> {
        for (to, from, limit) in caps(&self.settings.budgeting, caller) {
            let id = TransferId(random::id());
            let cap = Transfer::Cap { from, to, limit, expires: None };
            let draft = Draft { token: caller.token().map(str::to_owned), ..Draft::default() };
            if let Err(refused) = self.settlements.ledger().transfer(id, cap, draft).await? {
                tracing::warn!("a token is not capped: {refused}");
                // Nothing can be below an account that is not there.
                break;
            }
        }
        Ok(())
    }

    /// The balance of the account that pays for a caller.
    pub(super) async fn balance(&self, caller: &Caller) -> Result<Balance, Refusal> {
        let account = self.paying_account(caller).await?;
        match self.settlements.ledger().balance(account).await? {
            Some(balance) => Ok(balance),
            None if caller.has_account() => Err(token_ended()),
            None => Err(ledger_unavailable("the account is missing")),
        }
    }

    /// What the caller may still spend, if anything limits it. Where nothing does, the store is not
    /// asked.
    pub(super) async fn remaining(&self, caller: &Caller) -> Option<Credits> {
        if self.policy.is_unlimited() && !caller.has_account() {
            return None;
        }
        self.balance(caller).await.ok()?.remaining
    }
}

#[cfg(test)]
mod tests {
    use super::policy_id;
    use crate::domain::{
        budget::{Budgeting, Mode},
        call::AgentId,
        credits::Credits,
        rules::{AgentRules, Rules},
    };

    #[test]
    fn a_policy_is_named_by_its_rules_and_prices() {
        let (rules, budgeting) = (Rules::for_single_user(), Budgeting::default());
        let id = policy_id(&rules, &budgeting);
        assert_eq!(id.len(), 12);
        let elsewhere = Budgeting { namespace: "elsewhere".into(), ..budgeting.clone() };
        assert_eq!(policy_id(&rules, &elsewhere), id);
        let mut dear = budgeting.clone();
        dear.tariff.default = Credits::new(7).unwrap();
        let soft = Budgeting { mode: Mode::Soft, ..budgeting.clone() };
        let mut more = rules.clone();
        more.agents.insert(AgentId::from("clerk"), AgentRules::default());
        let ids =
            [policy_id(&rules, &dear), policy_id(&rules, &soft), policy_id(&more, &budgeting)];
        assert!(ids.iter().all(|other| *other != id), "{ids:?} {id}");
    }
}
