//! What a call works on from its begin to its end.

use std::sync::{Arc, OnceLock};

use tokio_util::task::TaskTracker;

use super::{
    Answer,
    billing::{Billing, BillingPolicy},
    context::UsageLog,
    entry::LookUps,
};
use crate::{
    domain::{refusal::Refusal, settings::Settings, token::TokenKeys},
    downstream::Fleet,
};

/// Settings, and the servers that they name. Never changed: what comes after is another one, and a
/// call keeps the one that it began with.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) settings: Settings,
    pub(super) fleet: Fleet,
    /// What these settings ask of the ledger.
    pub(super) terms: Arc<BillingPolicy>,
    /// What signs and verifies tokens; made when first needed.
    pub(super) token_keys: OnceLock<TokenKeys>,
    /// What calls are paid with.
    pub(super) billing: Billing,
    pub(super) usage: Arc<UsageLog>,
    /// Look-ups that are recorded after their answer.
    pub(super) look_ups: Arc<LookUps>,
    /// For what goes on after an answer, and is waited for when the gateway stops.
    pub(super) background: TaskTracker,
    /// Made for a command of the shell: ends after its call, so nothing is started ahead of need.
    pub(super) one_call: bool,
}

impl Snapshot {
    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The servers.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// What comes after this, with other settings.
    pub(super) fn with(&self, settings: Settings, fleet: Fleet, terms: Arc<BillingPolicy>) -> Self {
        Self {
            terms,
            token_keys: OnceLock::new(),
            billing: self.billing.clone(),
            settings,
            fleet,
            usage: self.usage.clone(),
            look_ups: self.look_ups.clone(),
            background: self.background.clone(),
            one_call: self.one_call,
        }
    }

    /// What leaves the gateway for a call.
    pub(super) fn answered(&self, outcome: Result<Answer, Refusal>) -> Answer {
        outcome.unwrap_or_else(|refusal| Answer::Refused(self.masked(refusal)))
    }

    /// A refusal that may leave the gateway: secrets are masked where it repeats the words of
    /// callers and servers.
    pub(super) fn masked(&self, refusal: Refusal) -> Refusal {
        refusal.masked(&self.settings.redactor)
    }
}
