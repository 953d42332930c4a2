//! What records say of one call, gathered as it goes its way.

use super::Snapshot;
use crate::domain::{
    budget::Mode,
    call::{Assurance, Caller, ServerName, ToolName},
    identity::Credential,
    policy::Permit,
    record::{Decision, Draft, Event},
    refusal::Refusal,
};

/// Longer names are cut in records: whatever a caller writes, records stay short.
const LONGEST_NAME: usize = 128;

/// What is known of a call so far.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) draft: Draft,
    /// Whether records tell of the call already.
    pub(super) recorded: bool,
}

impl Entry {
    /// What the call asks for, as it was written.
    pub(super) fn asks(&mut self, server: Option<&str>, tool: &str, agent: Option<&str>) {
        self.draft.server = server.map(str::to_owned);
        self.draft.tool = Some(tool.to_owned());
        // Of one that is signed, the name without the signature.
        let name = agent.and_then(|agent| agent.split('~').next());
        self.draft.agent = name.map(str::to_owned);
    }

    /// What is proven of who calls.
    pub(super) fn proves(&mut self, assurance: Assurance, credential: Option<&Credential>) {
        self.draft.assurance = Some(assurance.as_str().to_owned());
        self.draft.token = credential.and_then(Credential::id);
    }

    /// Who calls.
    pub(super) fn calls(&mut self, caller: &Caller) {
        self.draft.agent = Some(caller.agent().to_string());
        self.draft.assurance = Some(caller.assurance().as_str().to_owned());
        self.draft.instance = caller.instance().map(str::to_owned);
        self.draft.token = caller.token().map(str::to_owned);
    }

    /// What it means.
    pub(super) fn means(&mut self, server: &ServerName, tool: &ToolName) {
        self.draft.server = Some(server.to_string());
        self.draft.tool = Some(tool.to_string());
    }

    /// By which rule it may be made.
    pub(super) fn permits(&mut self, permit: &Permit) {
        self.draft.rule = Some(permit.rule().pointer.clone());
    }
}

fn short(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

impl Snapshot {
    /// An entry for a call under these settings.
    pub(super) fn new_entry(&self) -> Entry {
        let mode = self.settings.budgeting.mode;
        let mode = (mode != Mode::Hard).then(|| mode.as_str().to_owned());
        let policy = Some(self.terms.policy.clone());
        Entry { draft: Draft { mode, policy, ..Draft::default() }, recorded: false }
    }

    /// Records a refusal that no step of the ledger told of.
    pub(super) async fn note(&self, entry: Entry, refusal: Option<&Refusal>) {
        let (Some(refusal), false) = (refusal, entry.recorded) else { return };
        if *refusal == Refusal::LedgerUnavailable {
            return;
        }
        // Masked before it is cut: of a secret, not even the beginning stays.
        let masked = |text: String| short(&self.settings.redactor.redact(&text));
        let Draft { server, tool, agent, rule, .. } = entry.draft;
        let denied = match refusal {
            Refusal::Denied { rule, .. } => Some(rule.pointer.clone()),
            _ => rule,
        };
        let draft = Draft {
            event: Event::Refusal,
            decision: Some(Decision::Refused),
            code: Some(refusal.code().to_owned()),
            server: server.map(masked),
            tool: tool.map(masked),
            agent: agent.map(masked),
            rule: denied,
            ..entry.draft
        };
        if let Err(unavailable) = self.till.ledger.record(draft).await {
            tracing::error!("a refusal was not recorded: {unavailable}");
        }
    }
}
