//! What records say of one call, gathered as it goes its way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tokio::sync::Semaphore;

use super::{Snapshot, facade};
use crate::{
    domain::{
        budget::{Discovery, Mode},
        call::{ServerName, ToolName},
        caller::{Assurance, Caller},
        identity::Credential,
        json::RawJson,
        policy::Permit,
        record::{Decision, Draft, Event},
        refusal::Refusal,
    },
    host::blocking,
};

/// Longer names are cut in records: whatever a caller writes, records stay short.
const LONGEST_NAME: usize = 128;

/// So is what a look-up asks for.
const LONGEST_QUERY: usize = 256;

/// What is longer than this as JSON is not read for a record.
const LONGEST_READ: usize = 8 * 1024;

/// At most this many records of look-ups wait for the store.
const MOST_WAITING: usize = 1_024;

/// Look-ups that are recorded after their answer.
#[derive(Debug)]
pub(super) struct LookUps {
    /// How many were answered.
    answered: AtomicUsize,
    /// A permit for each record that may wait for the store.
    waiting: Arc<Semaphore>,
}

impl Default for LookUps {
    fn default() -> Self {
        let waiting = Arc::new(Semaphore::new(MOST_WAITING));
        Self { answered: AtomicUsize::new(0), waiting }
    }
}

impl LookUps {
    /// Counts an answer; whether it is one of those that are recorded.
    fn is_due(&self, recorded: Discovery) -> bool {
        let before = self.answered.fetch_add(1, Ordering::Relaxed);
        matches!(recorded, Discovery::OneIn(many) if before.is_multiple_of(many))
    }
}

/// What is known of a call so far.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) draft: Draft,
    /// Whether records tell of the call already.
    pub(super) recorded: bool,
    /// What a look-up was answered, if its tokens are not counted yet.
    pub(super) uncounted: Option<String>,
}

impl Entry {
    /// What the call asks for, as it was written.
    pub(super) fn asks(&mut self, server: Option<&str>, tool: Option<&str>, agent: Option<&str>) {
        self.draft.server = server.map(str::to_owned);
        self.draft.tool = tool.map(str::to_owned);
        // Of one that is signed, the name without the signature.
        let name = agent.and_then(|agent| agent.split('~').next());
        self.draft.agent = name.map(str::to_owned);
    }

    /// What a call of one of the three tools asks for, even if it cannot be read as a whole.
    pub(super) fn asks_by(&mut self, tool: &str, arguments: &RawJson) {
        let member = |name: &str| {
            let value = arguments.member(name).filter(|value| value.length() <= LONGEST_READ)?;
            value.tree(LONGEST_READ).ok()
        };
        let text = |name: &str| member(name).and_then(|value| value.as_str().map(str::to_owned));
        let asked = if tool == facade::EXECUTE_TOOL { text("tool") } else { Some(tool.into()) };
        self.asks(text("server").as_deref(), asked.as_deref(), text("agent_id").as_deref());
        let filters = ["query", "pattern", "names"].into_iter();
        let filters = filters.filter_map(|name| match member(name)? {
            Value::String(text) => Some(format!("{name} {text}")),
            Value::Array(list) => {
                let names = list.iter().filter_map(Value::as_str).collect::<Vec<_>>();
                Some(format!("{name} {}", names.join(",")))
            }
            _ => None,
        });
        let filters = filters.collect::<Vec<_>>().join("; ");
        self.draft.query = Some(filters).filter(|_| tool == facade::GET_SERVER_TOOLS);
        self.draft.query.take_if(|query| query.is_empty());
    }

    /// What a look-up was answered: how many servers or tools.
    pub(super) fn found(&mut self, found: usize) {
        self.draft.found = u64::try_from(found).ok();
    }

    /// How many tokens that is.
    pub(super) fn tokens(&mut self, tokens: usize) {
        self.draft.tokens = u64::try_from(tokens).ok();
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

fn short(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

impl Snapshot {
    /// An entry for a call under these settings.
    pub(super) fn new_entry(&self) -> Entry {
        let mode = self.settings.budgeting.mode;
        let mode = (mode != Mode::Hard).then(|| mode.as_str().to_owned());
        let policy = Some(self.terms.policy.clone());
        Entry { draft: Draft { mode, policy, ..Draft::default() }, ..Entry::default() }
    }

    /// Records a refusal that no step of the ledger told of.
    pub(super) async fn note(&self, entry: Entry, refusal: Option<&Refusal>) {
        let (Some(refusal), false) = (refusal, entry.recorded) else { return };
        if *refusal == Refusal::LedgerUnavailable {
            return;
        }
        if let Err(unavailable) = self.billing.ledger.record(self.refused(entry, refusal)).await {
            tracing::error!("a refusal was not recorded: {unavailable}");
        }
    }

    /// Records a look-up, some time after its answer.
    pub(super) fn note_look_up(&self, mut entry: Entry, outcome: Result<(), &Refusal>) {
        let uncounted = entry.uncounted.take();
        let recorded = self.settings.budgeting.discovery;
        let draft = match outcome {
            // A call from the shell is in no agent's context.
            _ if self.one_call => return,
            Err(Refusal::LedgerUnavailable) => return,
            Err(refusal) => self.refused(entry, refusal),
            Ok(()) if !self.look_ups.is_due(recorded) => return,
            Ok(()) => Draft { event: Event::Discovery, ..self.shortened(entry.draft) },
        };
        let draft = match recorded {
            Discovery::OneIn(many) if outcome.is_ok() && many > 1 => {
                Draft { note: Some(format!("one in {many} is recorded")), ..draft }
            }
            _ => draft,
        };
        let Ok(permit) = self.look_ups.waiting.clone().try_acquire_owned() else {
            tracing::warn!("a look-up was not recorded: {MOST_WAITING} wait for the store");
            return;
        };
        let (ledger, encoding) = (self.billing.ledger.clone(), self.settings.rules.encoding);
        self.background.spawn(async move {
            let tokens = match uncounted {
                Some(text) => u64::try_from(blocking(move || encoding.count(&text)).await).ok(),
                None => draft.tokens,
            };
            if let Err(unavailable) = ledger.record_soon(Draft { tokens, ..draft }).await {
                tracing::error!("a look-up was not recorded: {unavailable}");
            }
            drop(permit);
        });
    }

    fn refused(&self, entry: Entry, refusal: &Refusal) -> Draft {
        let draft = self.shortened(entry.draft);
        let rule = match refusal {
            Refusal::Denied { rule, .. } => Some(rule.pointer.clone()),
            _ => draft.rule,
        };
        let (event, decision) = (Event::Refusal, Some(Decision::Refused));
        Draft { event, decision, code: Some(refusal.code().to_owned()), rule, ..draft }
    }

    /// What callers wrote, masked before it is cut: of a secret, not even the beginning stays.
    fn shortened(&self, draft: Draft) -> Draft {
        let masked = |text: String| self.settings.redactor.redact(&text).into_owned();
        let name = |text: String| short(&masked(text), LONGEST_NAME);
        let query = |text: String| short(&masked(text), LONGEST_QUERY);
        Draft {
            server: draft.server.map(name),
            tool: draft.tool.map(name),
            agent: draft.agent.map(name),
            query: draft.query.map(query),
            ..draft
        }
    }
}
