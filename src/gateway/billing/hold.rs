//! Credits that are held for one call, and how the hold ends.

use std::time::{Duration, Instant, SystemTime};

use sha2::Digest;

use super::{
    Billing, Priced,
    settling::{End, Settlements},
};
use crate::{
    domain::{
        budget::{ChargeOn, Mode},
        caller::Caller,
        charge::CallOutcome,
        credits::Credits,
        json::RawJson,
        ledger::{
            About, AccountId, Extended, Finish, Held, HoldId, HoldRefused, HoldRequest, HoldState,
            Shortage,
        },
        policy::Permit,
        record::{Draft, Event, hex},
        refusal::Refusal,
    },
    gateway::{
        fingerprint::{CheckedArguments, Text, off_worker},
        journal::CallRecord,
        refusals::{because, ledger_unavailable, token_ended},
    },
    host::{clock, mutex::Mutex, random},
    ledger::LedgerUnavailable,
};

/// How long a hold stays open if this process ends, or does not say that the call goes on.
const LIFETIME: Duration = Duration::from_secs(60);

/// How often it says so.
pub const EXTEND_EVERY: Duration = Duration::from_secs(20);

/// How long a hold is taken to be open without asking again.
const STALE: Duration = Duration::from_secs(5);

/// How long an answer waits for its released credits to be available again.
const VOID_DEADLINE: Duration = Duration::from_secs(5);

/// Credits that are held for one call. It ends with [`Hold::settle`]; one that is dropped before,
/// as its task panicked or was aborted, counts as lost.
#[must_use = "a hold ends with its call"]
pub(in crate::gateway) struct Hold {
    settlements: Settlements,
    charge_on: ChargeOn,
    /// None if nothing is held: beyond a shadow budget.
    open: Option<HoldId>,
    priced: Priced,
    remaining: Option<Credits>,
    mode: Mode,
    over: Option<Shortage>,
    begun: Instant,
    /// When the hold was last known to be open.
    seen_open: Mutex<TwoClocks>,
    /// What records of the call have in common.
    draft: Draft,
}

/// A call that has ended and was paid for.
pub(in crate::gateway) struct Settled {
    pub(in crate::gateway) cost: Credits,
    pub(in crate::gateway) remaining: Option<Credits>,
    pub(in crate::gateway) mode: Mode,
    pub(in crate::gateway) over: Option<Shortage>,
}

impl Billing {
    /// Holds the price of a call.
    pub(in crate::gateway) async fn hold(
        &self,
        priced: Priced,
        arguments: &CheckedArguments,
        record: &mut CallRecord,
    ) -> Result<Hold, Refusal> {
        let budgeting = &self.settings.budgeting;
        let id = HoldId(random::id());
        let account = self.paying_account(priced.permit().caller()).await?;
        let fingerprint = self.note_arguments(arguments, &mut record.draft).await?;
        let request = self.request(&priced, id, account, fingerprint);
        let mut hold = Hold {
            settlements: self.settlements.clone(),
            charge_on: budgeting.charge_on,
            open: None,
            priced,
            remaining: None,
            mode: budgeting.mode,
            over: None,
            begun: clock::instant(),
            seen_open: Mutex::new(TwoClocks::now()),
            draft: record.draft.clone(),
        };
        // From here on the steps of the ledger record the call.
        record.recorded = true;
        match self.held(request, hold.permit().caller(), &record.draft).await {
            Ok(Ok(Held { remaining, over, .. })) => {
                hold.open = Some(id);
                hold.remaining = remaining;
                hold.over = over;
            }
            Ok(Err(HoldRefused::Short(shortage))) if budgeting.mode == Mode::Hard => {
                return Err(Refusal::Budget { shortage, tool: hold.permit().tool().clone() });
            }
            Ok(Err(HoldRefused::Short(short))) => {
                hold.remaining = Some(short.remaining);
                hold.over = Some(short);
            }
            Ok(Err(HoldRefused::Closed(_) | HoldRefused::NoAccount(_)))
                if hold.permit().caller().has_account() =>
            {
                return Err(token_ended());
            }
            Ok(Err(refused)) => return Err(ledger_unavailable(refused)),
            Err(unavailable) => {
                // If it was held all the same, it goes back as soon as that can be said.
                hold.open = unavailable.maybe_applied.then_some(id);
                hold.give_up();
                return Err(unavailable.into());
            }
        }
        hold.warn_if_over();
        Ok(hold)
    }

    fn request(
        &self,
        priced: &Priced,
        id: HoldId,
        account: AccountId,
        fingerprint: [u8; 32],
    ) -> HoldRequest {
        let (budgeting, permit) = (&self.settings.budgeting, priced.permit());
        HoldRequest {
            id,
            account,
            amount: priced.cost(),
            fingerprint,
            lifetime: milliseconds(LIFETIME),
            forced: budgeting.mode == Mode::Soft,
            charge_if_lost: budgeting.charge_on.lost,
            about: About {
                agent: permit.caller().agent().to_string(),
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
    ) -> Result<Result<Held, HoldRefused>, LedgerUnavailable> {
        let ledger = self.settlements.ledger();
        let held = ledger.hold(request.clone(), draft.clone()).await?;
        let Err(HoldRefused::NoAccount(account)) = &held else { return Ok(held) };
        if caller.has_account() {
            return Ok(held);
        }
        tracing::warn!("the store has no account `{account}`: opening its accounts again");
        self.policy.open_accounts(ledger).await?;
        ledger.hold(request, draft.clone()).await
    }

    /// Notes in the record what the arguments are, and returns a digest that tells the call from others.
    async fn note_arguments(
        &self,
        arguments: &CheckedArguments,
        draft: &mut Draft,
    ) -> Result<[u8; 32], LedgerUnavailable> {
        let mac = self.key_ring.keys()?.arguments.mac(arguments.digest());
        draft.args_bytes = Some(arguments.bytes());
        draft.args_mac = Some(hex(mac.get(..16).unwrap_or(&mac)));
        if self.settings.budgeting.full_arguments {
            let redactor = self.settings.redactor.clone();
            let mask = move |text: &RawJson| redactor.redact(&text.compact()).into_owned();
            draft.args = Some(off_worker(arguments.text(), mask).await);
        }
        Ok(mac)
    }
}

impl Hold {
    pub(in crate::gateway) fn permit(&self) -> &Permit {
        self.priced.permit()
    }

    /// Logs a call that the budget does not cover and that its mode allows.
    fn warn_if_over(&self) {
        let (Some(short), permit) = (&self.over, self.permit()) else { return };
        tracing::warn!(
            agent = %permit.caller().agent(),
            server = %permit.server(),
            tool = %permit.tool(),
            cost = self.priced.cost().amount(),
            "allowed as the mode is {}, and would be refused in mode hard, as it is {}",
            self.mode.as_str(),
            over_budget(short)
        );
    }

    /// Whether enough time has passed for a sweep to have ended the hold. The process may have
    /// been stopped meanwhile, and the machine may have slept.
    pub(in crate::gateway) fn is_stale(&self) -> bool {
        self.seen_open.lock().elapsed() >= STALE
    }

    /// Refuses a call that must not be sent, as its hold has ended.
    pub(in crate::gateway) async fn check_open(&self) -> Result<(), Refusal> {
        match self.extend().await? {
            Extended::Open => Ok(()),
            Extended::Closed(_) => Err(token_ended()),
            Extended::Ended => Err(because(self.permit().server(), SWEPT)),
        }
    }

    async fn extend(&self) -> Result<Extended, LedgerUnavailable> {
        let Some(id) = self.open else { return Ok(Extended::Open) };
        let moment = TwoClocks::now();
        let extended = self.settlements.ledger().extend(id, milliseconds(LIFETIME)).await?;
        if extended == Extended::Open {
            *self.seen_open.lock() = moment;
        }
        Ok(extended)
    }

    /// Runs the call; as long as it runs, the hold is kept open.
    pub(in crate::gateway) async fn during<T>(&self, call: impl Future<Output = T>) -> T {
        let keep_open = async {
            let mut ticks =
                tokio::time::interval_at(clock::tokio_instant() + EXTEND_EVERY, EXTEND_EVERY);
            loop {
                ticks.tick().await;
                if let Err(unavailable) = self.extend().await {
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
    pub(in crate::gateway) async fn settle(
        mut self,
        outcome: CallOutcome,
        result: Option<&RawJson>,
    ) -> Settled {
        let mut draft = self.draft.clone();
        draft.status = Some(outcome.as_str().to_owned());
        draft.latency_us = u64::try_from(self.begun.elapsed().as_micros()).ok();
        if let Some(result) = result {
            let text = off_worker(result, Text::of).await;
            draft.result_bytes = Some(text.bytes);
            draft.result_sha256 = Some(hex(&text.hash.finalize()));
        }
        let finish = outcome.finish(self.priced.cost(), &self.charge_on);
        let mut charged = finish != Finish::Void;
        match self.open.take() {
            Some(id) => {
                // What the records of the hold say need not be said again.
                let draft =
                    Draft { args_mac: None, args: None, args_bytes: None, rule: None, ..draft };
                let end = End { id, finish, draft };
                if charged {
                    self.settlements.charge(end);
                } else {
                    // A sweep may have been there before, and then it is charged all the same.
                    charged = self.give_back(end, outcome).await;
                }
            }
            None => {
                let recorded = self.settlements.ledger().record(Draft {
                    event: Event::Call,
                    hold: None,
                    ..draft
                });
                self.settlements.background().spawn(async move {
                    if let Err(unavailable) = recorded.await {
                        tracing::error!("a call was not recorded: {unavailable}");
                    }
                });
            }
        }
        Settled {
            cost: if charged { self.priced.cost() } else { Credits::ZERO },
            remaining: match (self.remaining, &self.over) {
                // What there was before the call is there again.
                (Some(_), Some(short)) if !charged => Some(short.remaining),
                (Some(left), None) if !charged => {
                    left.checked_add(self.priced.cost()).or(Some(left))
                }
                (left, _) => left,
            },
            mode: self.mode,
            over: self.over.take(),
        }
    }

    /// Ends a hold that is not charged. Answers whether it was charged before. What a sweep charged
    /// for a call that was never sent is refunded.
    async fn give_back(&self, end: End, outcome: CallOutcome) -> bool {
        let (settlements, id, draft) = (self.settlements.clone(), end.id, end.draft.clone());
        let ended = self.settlements.background().spawn(async move {
            match settlements.settle(end).await {
                Some(HoldState::Posted { uncertain: true, .. })
                    if outcome == CallOutcome::NotSent =>
                {
                    settlements.refund(id, draft).await
                }
                state => state,
            }
        });
        // If the store cannot be used in that time, the log says so, and the task goes on.
        let ended = tokio::time::timeout(VOID_DEADLINE, ended).await;
        matches!(ended, Ok(Ok(Some(HoldState::Posted { .. }))))
    }

    /// The call is not made after all.
    fn give_up(mut self) {
        if let Some(id) = self.open.take() {
            let draft = Draft {
                status: Some(CallOutcome::NotSent.as_str().to_owned()),
                ..self.draft.clone()
            };
            let (settlements, end) =
                (self.settlements.clone(), End { id, finish: Finish::Void, draft });
            self.settlements.background().spawn(async move { settlements.settle(end).await });
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(id) = self.open.take() {
            let status = Some(CallOutcome::Lost.as_str().to_owned());
            let draft = Draft { status, ..self.draft.clone() };
            let ended = self.settlements.ledger().finish(id, Finish::Lost, draft);
            // It is on its way; without a runtime no task is left to hear of it.
            drop(ended);
        }
    }
}

/// A moment by two clocks: one that is never set but may stand still while the machine sleeps, and
/// one that goes on.
struct TwoClocks {
    awake: Instant,
    wall: SystemTime,
}

impl TwoClocks {
    fn now() -> Self {
        Self { awake: clock::instant(), wall: clock::system() }
    }

    fn elapsed(&self) -> Duration {
        self.awake.elapsed().max(self.wall.elapsed().unwrap_or_default())
    }
}

const SWEPT: &str = "the call was not sent, as the gateway was stopped or asleep until the credits held for it went back; call again";

/// What records and results say of a call beyond the budget.
pub(in crate::gateway) fn over_budget(short: &Shortage) -> String {
    format!(
        "over budget: it costs {}, and {} in account `{}`",
        short.cost.in_words(),
        short.remaining.left(),
        short.account
    )
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
