//! Where calls are paid for: credits are held before a call goes to its server, and the hold ends
//! with the call, whatever becomes of it.

use std::{
    fmt::Display,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use super::{
    Snapshot,
    entry::Entry,
    fence::{Moment, Unsendable},
    key_ring::KeyRing,
    measured::{Measured, Text, off_worker},
    settling::{Charges, End},
};
use crate::{
    domain::{
        budget::{ChargeOn, Mode},
        caller::Caller,
        charge::Outcome,
        credits::Credits,
        json::RawJson,
        ledger::{
            About, AccountId, Adjusted, Declaration, Finish, Held, HoldId, HoldRefused,
            HoldRequest, HoldState, Shortage, Undeclarable,
        },
        policy::Permit,
        record::{Draft, hex},
        refusal::Refusal,
        settings::Settings,
    },
    host::{clock, random},
    ledger::{self, Ledger, Unavailable},
};

/// How long a hold stays open if this process ends, or does not say that the call goes on.
pub(super) const LIFETIME: Duration = Duration::from_secs(60);

/// How often it says so.
pub(super) const EXTEND_EVERY: Duration = Duration::from_secs(20);

/// How long an answer waits until what it gave back is there to be spent again.
const VOID_DEADLINE: Duration = Duration::from_secs(5);

/// What calls are paid with; the same for all settings.
#[derive(Clone, Debug)]
pub(super) struct Billing {
    pub(super) ledger: Arc<dyn Ledger>,
    /// What the gateway signs and digests with.
    pub(super) key_ring: Arc<KeyRing>,
    /// Names this process, and the one client that started it.
    pub(super) session: u128,
    /// Holds that end after their call was answered.
    pub(super) background: TaskTracker,
    /// Charges that nobody waits for.
    pub(super) charges: Arc<Charges>,
}

/// What one state of the settings asks of the ledger.
#[derive(Debug)]
pub(super) struct BillingPolicy {
    pub(super) declaration: Declaration,
    /// Set once the ledger has it: the limits that stay as they were.
    declared: OnceCell<Arc<[Undeclarable]>>,
    /// Names rules and prices in records.
    pub(super) policy: String,
}

impl Billing {
    /// What these settings ask to pay with; `state` is the user's directory for what cannot be made
    /// again.
    pub(super) fn new(settings: &Settings, state: Option<&Path>, background: &TaskTracker) -> Self {
        Self {
            ledger: ledger::open(&settings.budgeting.store, state),
            key_ring: Arc::new(KeyRing::new(ledger::place_of_key(
                &settings.budgeting.store,
                state,
            ))),
            session: random::id(),
            background: background.clone(),
            charges: Arc::default(),
        }
    }
}

impl BillingPolicy {
    pub(super) fn of(settings: &Settings) -> Self {
        let in_force = format!("{:?}{:?}", settings.rules, settings.budgeting);
        let mut policy = hex(&Sha256::digest(in_force));
        policy.truncate(12);
        let declaration = Declaration::of(&settings.budgeting, &settings.rules);
        Self { declaration, declared: OnceCell::new(), policy }
    }

    /// These terms, as they succeed others: what those have declared need not be declared again.
    pub(super) fn after(mut self, before: &Self) -> Self {
        if self.asks_the_same(before) {
            self.declared = OnceCell::new_with(before.declared.get().cloned());
        }
        self
    }

    pub(super) fn is_declared(&self) -> bool {
        self.declared.initialized()
    }

    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        self.declaration == other.declaration
    }

    /// Brings the accounts in line, once, and answers the limits that stay as they were. BillingPolicy that
    /// were once in force are never declared again, so a call that began before a reload does not
    /// undo it.
    pub(super) async fn declare(&self, billing: &Billing) -> Result<&[Undeclarable], Unavailable> {
        let declare = || async {
            let draft = Draft { policy: Some(self.policy.clone()), ..Draft::default() };
            let Adjusted { changed, undeclarable } =
                billing.ledger.declare(self.declaration.clone(), draft).await?;
            changed.iter().for_each(|change| tracing::info!("ledger: account {change}"));
            undeclarable.iter().for_each(|limit| tracing::error!("{limit}"));
            Ok(undeclarable.into())
        };
        self.declared.get_or_try_init(declare).await.map(AsRef::as_ref)
    }
}

/// Credits that are held for one call. It ends with [`Hold::settle`]; one that is dropped before,
/// as its task panicked or was taken down, counts as lost.
#[must_use = "a hold ends with its call"]
pub(super) struct Hold {
    pub(super) billing: Billing,
    charge_on: ChargeOn,
    /// None if nothing is held: beyond a shadow budget.
    pub(super) open: Option<HoldId>,
    cost: Credits,
    remaining: Option<Credits>,
    mode: Mode,
    over: Option<Shortage>,
    begun: Instant,
    /// When the hold was last known to be open.
    pub(super) seen_open: Mutex<Moment>,
    /// What records of the call have in common.
    entry: Draft,
}

/// Shows that a call was paid for as it ended, and with what.
pub(super) struct Settled {
    cost: Credits,
    remaining: Option<Credits>,
    mode: Mode,
    over: Option<Shortage>,
}

impl Snapshot {
    /// Holds the price of a call. `entry` is what records say of the call.
    pub(super) async fn hold(
        &self,
        permit: &Permit,
        arguments: &RawJson,
        entry: &mut Entry,
    ) -> Result<Hold, Refusal> {
        let budgeting = &self.settings.budgeting;
        self.terms.declare(&self.billing).await.map_err(unusable)?;
        let id = HoldId(random::id());
        let fingerprint =
            self.note_arguments(arguments, &mut entry.draft).await.map_err(unusable)?;
        let account = self.payable(permit.caller()).await.map_err(unusable)?;
        let request = self.request(permit, id, account, fingerprint);
        let mut hold = Hold {
            billing: self.billing.clone(),
            charge_on: budgeting.charge_on,
            open: None,
            cost: request.amount,
            remaining: None,
            mode: budgeting.mode,
            over: None,
            begun: clock::instant(),
            seen_open: Mutex::new(Moment::now()),
            entry: entry.draft.clone(),
        };
        // From here on the steps of the ledger tell of the call.
        entry.recorded = true;
        let own = permit.caller().has_account();
        match self.held(request, permit.caller(), &entry.draft).await {
            Ok(Ok(Held { remaining, over, .. })) => {
                hold.open = Some(id);
                hold.remaining = remaining;
                hold.over = over;
            }
            Ok(Err(HoldRefused::Short(short))) => {
                hold.remaining = Some(short.remaining);
                hold.over = Some(short);
            }
            Ok(Err(HoldRefused::Closed(_) | HoldRefused::NoAccount(_))) if own => {
                return Err(ended());
            }
            Ok(Err(refused)) => return Err(unusable(refused)),
            Err(unavailable) => {
                // If it was held all the same, it goes back as soon as that can be said.
                hold.open = unavailable.maybe_applied.then_some(id);
                hold.give_up();
                return Err(unusable(unavailable));
            }
        }
        hold.or_refused(permit)
    }

    fn request(
        &self,
        permit: &Permit,
        id: HoldId,
        account: AccountId,
        fingerprint: [u8; 32],
    ) -> HoldRequest {
        let budgeting = &self.settings.budgeting;
        let agent = permit.caller().agent();
        HoldRequest {
            id,
            account,
            amount: budgeting.tariff.price(permit.server(), permit.tool()).cost,
            fingerprint,
            lifetime: milliseconds(LIFETIME),
            forced: budgeting.mode == Mode::Soft,
            charge_if_lost: budgeting.charge_on.lost,
            about: About {
                agent: agent.to_string(),
                server: permit.server().to_string(),
                tool: permit.tool().to_string(),
            },
        }
    }

    /// Asks the ledger for a hold. A store that has no account but a token's was put in place of
    /// another since the accounts were opened; they are opened in it as well.
    async fn held(
        &self,
        request: HoldRequest,
        caller: &Caller,
        draft: &Draft,
    ) -> Result<Result<Held, HoldRefused>, Unavailable> {
        let held = self.billing.ledger.hold(request.clone(), draft.clone()).await?;
        let Err(HoldRefused::NoAccount(account)) = &held else { return Ok(held) };
        if caller.has_account() {
            return Ok(held);
        }
        tracing::warn!("the store has no account `{account}`: its accounts are opened anew");
        let opening = Draft { policy: Some(self.terms.policy.clone()), ..Draft::default() };
        self.billing.ledger.declare(self.terms.declaration.clone(), opening).await?;
        self.billing.ledger.hold(request, draft.clone()).await
    }

    /// What records say of a call's arguments; answers what tells this call from others.
    async fn note_arguments(
        &self,
        arguments: &RawJson,
        entry: &mut Draft,
    ) -> Result<[u8; 32], Unavailable> {
        let mask = self.settings.budgeting.full_arguments.then(|| self.settings.redactor.clone());
        let noted = off_worker(arguments, move |arguments| Measured::of(arguments, mask)).await;
        let mac = self.billing.key_ring.keys()?.arguments.mac(&noted.digest);
        entry.args_bytes = Some(noted.bytes);
        entry.args_mac = Some(hex(mac.get(..16).unwrap_or(&mac)));
        entry.args = noted.masked;
        Ok(mac)
    }
}

/// A token whose account was closed while it was used.
pub(super) fn ended() -> Refusal {
    Refusal::unauthenticated(
        "the credits of this token or handle were taken back, its time is over, or it has more ceilings than accounts can be nested",
    )
}

/// Calls that cannot be paid for are not made; the log says why.
pub(super) fn unusable(cause: impl Display) -> Refusal {
    tracing::error!("no call is made, as the ledger cannot be used: {cause}");
    Refusal::LedgerUnavailable
}

impl Hold {
    /// The hold, unless the budget does not cover the call and its mode is hard.
    fn or_refused(mut self, permit: &Permit) -> Result<Self, Refusal> {
        let Some(short) = &self.over else { return Ok(self) };
        match self.mode {
            Mode::Hard => {
                let tool = permit.tool().clone();
                Err(Refusal::Budget { shortage: short.clone(), tool })
            }
            Mode::Soft => {
                tell_of_over(permit, self.cost, "allowed as the mode is soft", short);
                Ok(self)
            }
            Mode::Shadow => {
                self.open = None;
                tell_of_over(permit, self.cost, "allowed as the mode is shadow", short);
                Ok(self)
            }
        }
    }

    /// Runs the call; as long as it runs, the hold is kept open.
    pub(super) async fn during<T>(&self, call: impl Future<Output = T>) -> T {
        let keep_open = async {
            let mut ticks =
                tokio::time::interval_at(clock::tokio_instant() + EXTEND_EVERY, EXTEND_EVERY);
            loop {
                ticks.tick().await;
                if let Err(Unsendable::Unavailable(unavailable)) = self.check_open().await {
                    tracing::warn!("a hold could not be extended: {unavailable}");
                }
            }
        };
        tokio::select! {
            biased;
            done = call => done,
            () = keep_open => std::future::pending().await,
        }
    }

    /// Ends the hold as the call ended. What was not charged is back before this answers; a charge
    /// need not be waited for, as a sweep would come to the same.
    pub(super) async fn settle(mut self, outcome: Outcome, result: Option<&RawJson>) -> Settled {
        let mut draft = self.entry.clone();
        draft.status = Some(outcome.as_str().to_owned());
        draft.latency_us = u64::try_from(self.begun.elapsed().as_micros()).ok();
        if let Some(result) = result {
            let text = off_worker(result, Text::of).await;
            draft.result_bytes = Some(text.bytes);
            draft.result_sha256 = Some(hex(&text.hash.finalize()));
        }
        let finish = outcome.finish(self.cost, &self.charge_on);
        let mut charged = finish != Finish::Void;
        match self.open.take() {
            Some(id) => {
                // What the records of the hold say need not be said again.
                let draft =
                    Draft { args_mac: None, args: None, args_bytes: None, rule: None, ..draft };
                let end = End { id, finish, draft };
                match charged {
                    true => self.billing.charge(end),
                    // A sweep may have been there before, and then it is charged all the same.
                    false => charged = self.give_back(end, outcome).await,
                }
            }
            None => {
                let recorded = self.billing.ledger.record(draft_of_call(draft));
                self.billing.background.spawn(async move {
                    if let Err(unavailable) = recorded.await {
                        tracing::error!("a call was not recorded: {unavailable}");
                    }
                });
            }
        }
        Settled {
            cost: if charged { self.cost } else { Credits::ZERO },
            remaining: match (self.remaining, &self.over) {
                // What there was before the call is there again.
                (Some(_), Some(short)) if !charged => Some(short.remaining),
                (Some(left), None) if !charged => left.checked_add(self.cost).or(Some(left)),
                (left, _) => left,
            },
            mode: self.mode,
            over: self.over.take(),
        }
    }

    /// Ends a hold that is not charged. Answers whether it was charged before. What a sweep charged
    /// for a call that was never sent is refunded.
    async fn give_back(&self, end: End, outcome: Outcome) -> bool {
        let (billing, id, draft) = (self.billing.clone(), end.id, end.draft.clone());
        let ended = self.billing.background.spawn(async move {
            match billing.settle(end).await {
                Some(HoldState::Posted { uncertain: true, .. }) if outcome == Outcome::NotSent => {
                    billing.refund(id, draft).await
                }
                state => state,
            }
        });
        // A store that cannot be used for so long is in the log; the task goes on.
        let ended = tokio::time::timeout(VOID_DEADLINE, ended).await;
        matches!(ended, Ok(Ok(Some(HoldState::Posted { .. }))))
    }

    /// The call is not made after all.
    fn give_up(mut self) {
        if let Some(id) = self.open.take() {
            let draft =
                Draft { status: Some(Outcome::NotSent.as_str().to_owned()), ..self.entry.clone() };
            let (billing, end) = (self.billing.clone(), End { id, finish: Finish::Void, draft });
            self.billing.background.spawn(async move { billing.settle(end).await });
        }
    }
}

/// A call for which nothing was held.
fn draft_of_call(draft: Draft) -> Draft {
    Draft { event: crate::domain::record::Event::Call, hold: None, ..draft }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(id) = self.open.take() {
            let status = Some(Outcome::Lost.as_str().to_owned());
            let draft = Draft { status, ..self.entry.clone() };
            let ended = self.billing.ledger.finish(id, Finish::Lost, draft);
            // It is on its way; without a runtime nobody is left to hear of it.
            drop(ended);
        }
    }
}

impl Settled {
    /// What the result says of its price.
    pub(super) fn says(&self) -> Vec<(&'static str, Value)> {
        let mut says = vec![
            ("tollgate/cost", self.cost.amount().into()),
            ("tollgate/remaining", self.remaining.map(Credits::amount).into()),
        ];
        if self.mode == Mode::Shadow {
            says.push(("tollgate/mode", self.mode.as_str().into()));
        }
        if let Some(short) = &self.over {
            says.push(("tollgate/warning", warning(short).into()));
        }
        says
    }
}

/// Logs a call that hard mode would have refused.
fn tell_of_over(permit: &Permit, cost: Credits, why: &str, short: &Shortage) {
    tracing::warn!(
        agent = %permit.caller().agent(),
        server = %permit.server(),
        tool = %permit.tool(),
        cost = cost.amount(),
        "{why}, and would be refused in mode hard, as it is {}",
        warning(short)
    );
}

fn warning(short: &Shortage) -> String {
    format!(
        "over budget: it costs {}, and {} in account `{}`",
        short.cost.in_words(),
        short.remaining.left(),
        short.account
    )
}

pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
