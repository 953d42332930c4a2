//! What records say of a call, gathered as it goes its way, and when it is written.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::request::EntryPoint;
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
        settings::Settings,
    },
    host::blocking,
    ledger::Ledger,
};

/// Longer names are cut in records: whatever a caller writes, records stay short.
const LONGEST_NAME: usize = 128;

/// The same for what a look-up asks for.
const LONGEST_QUERY: usize = 256;

/// Longer JSON is not read for a record.
const LONGEST_READ: usize = 8 * 1024;

/// At most this many records of look-ups wait for the store.
const MOST_WAITING: usize = 1_024;

/// Records the calls of one state of the settings.
#[derive(Debug)]
pub(super) struct Journal {
    settings: Arc<Settings>,
    /// Names rules and prices in records.
    policy: String,
    recorder: Arc<Recorder>,
}

/// Writes records; the same for all settings.
#[derive(Debug)]
pub(super) struct Recorder {
    ledger: Arc<dyn Ledger>,
    background: TaskTracker,
    /// A command of the shell, whose look-ups are not recorded.
    one_call: bool,
    /// How many look-ups were answered.
    answered: AtomicUsize,
    /// A permit for each record that may wait for the store.
    waiting: Arc<Semaphore>,
}

/// The record of a call, as far as the call has come.
#[derive(Debug, Default)]
pub(super) struct CallRecord {
    pub(super) draft: Draft,
    /// Whether a step of the ledger has recorded the call already.
    pub(super) recorded: bool,
    /// The answer to a look-up, if its tokens are not counted yet.
    pub(super) uncounted: Option<String>,
}

impl Recorder {
    pub(super) fn new(ledger: Arc<dyn Ledger>, background: &TaskTracker, one_call: bool) -> Self {
        let waiting = Arc::new(Semaphore::new(MOST_WAITING));
        let background = background.clone();
        Self { ledger, background, one_call, answered: AtomicUsize::new(0), waiting }
    }

    /// Counts an answer, and returns whether it is one of those that are recorded.
    fn is_due(&self, recorded: Discovery) -> bool {
        let before = self.answered.fetch_add(1, Ordering::Relaxed);
        matches!(recorded, Discovery::OneIn(many) if before.is_multiple_of(many))
    }
}

impl Journal {
    pub(super) fn new(settings: &Arc<Settings>, policy: &str, recorder: &Arc<Recorder>) -> Self {
        Self { settings: settings.clone(), policy: policy.to_owned(), recorder: recorder.clone() }
    }

    /// The record of a call that comes in under these settings.
    pub(super) fn open(
        &self,
        entry_point: EntryPoint,
        tool: &str,
        arguments: &RawJson,
    ) -> CallRecord {
        let mode = self.settings.budgeting.mode;
        let mode = (mode != Mode::Hard).then(|| mode.as_str().to_owned());
        let policy = Some(self.policy.clone());
        let mut record = CallRecord {
            draft: Draft { mode, policy, ..Draft::default() },
            ..CallRecord::default()
        };
        record.asks(entry_point, tool, arguments);
        record
    }

    /// Writes the record of a call that is over, unless a step of the ledger did. A refusal is
    /// recorded before it is reported, and a look-up some time after its answer.
    pub(super) async fn close(
        &self,
        entry_point: EntryPoint,
        record: CallRecord,
        outcome: Result<(), &Refusal>,
    ) {
        match outcome {
            _ if record.recorded => {}
            Err(Refusal::LedgerUnavailable) => {}
            Err(refusal) if refusal.is_denial() || !entry_point.is_look_up() => {
                let refused = self.refused(record.draft, refusal);
                if let Err(unavailable) = self.recorder.ledger.record(refused).await {
                    tracing::error!("a refusal was not recorded: {unavailable}");
                }
            }
            _ if entry_point.is_look_up() => self.note_look_up(record, outcome),
            _ => {}
        }
    }

    fn note_look_up(&self, record: CallRecord, outcome: Result<(), &Refusal>) {
        let recorder = &self.recorder;
        let recorded = self.settings.budgeting.discovery;
        let draft = match (outcome, recorded) {
            // A call from the shell is in no agent's context.
            _ if recorder.one_call => return,
            (Err(refusal), _) => self.refused(record.draft, refusal),
            (Ok(()), _) if !recorder.is_due(recorded) => return,
            (Ok(()), Discovery::OneIn(many)) => Draft {
                event: Event::Discovery,
                note: (many > 1).then(|| format!("one in {many} is recorded")),
                ..self.shortened(record.draft)
            },
            (Ok(()), Discovery::Off) => return,
        };
        let Ok(permit) = recorder.waiting.clone().try_acquire_owned() else {
            tracing::warn!("a look-up was not recorded: {MOST_WAITING} wait for the store");
            return;
        };
        let (ledger, encoding) = (recorder.ledger.clone(), self.settings.rules.encoding);
        let uncounted = record.uncounted;
        recorder.background.spawn(async move {
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

    fn refused(&self, draft: Draft, refusal: &Refusal) -> Draft {
        let draft = self.shortened(draft);
        let rule = match refusal {
            Refusal::Denied { rule, .. } => Some(rule.pointer.clone()),
            _ => draft.rule,
        };
        let (event, decision) = (Event::Refusal, Some(Decision::Refused));
        Draft { event, decision, code: Some(refusal.code().to_owned()), rule, ..draft }
    }

    /// What callers wrote, masked before it is cut: of a secret, not even the beginning stays.
    fn shortened(&self, draft: Draft) -> Draft {
        let cut = |text: String, longest| {
            self.settings.redactor.redact(&text).chars().take(longest).collect::<String>()
        };
        let name = |text| cut(text, LONGEST_NAME);
        Draft {
            server: draft.server.map(name),
            tool: draft.tool.map(name),
            agent: draft.agent.map(name),
            query: draft.query.map(|text| cut(text, LONGEST_QUERY)),
            ..draft
        }
    }
}

impl CallRecord {
    /// What the call asks for, as it was written, even if it cannot be read as a whole.
    fn asks(&mut self, entry_point: EntryPoint, tool: &str, arguments: &RawJson) {
        let member = |name: &str| {
            let value = arguments.member(name).filter(|value| value.length() <= LONGEST_READ)?;
            value.tree(LONGEST_READ).ok()
        };
        let text = |name: &str| member(name).and_then(|value| value.as_str().map(str::to_owned));
        let (server, tool) = match entry_point {
            EntryPoint::ExecuteTool => (text("server"), text("tool")),
            EntryPoint::Method => (Some(ServerName::BUILT_IN.to_owned()), Some(tool.to_owned())),
            // Whatever the arguments of a server's own tool are called, they are that server's.
            EntryPoint::Direct => (None, Some(tool.to_owned())),
            _ => (text("server"), Some(tool.to_owned())),
        };
        self.draft.server = server;
        self.draft.tool = tool;
        if entry_point != EntryPoint::Direct {
            // Of one that is signed, the name without the signature.
            let agent = text("agent_id");
            self.draft.agent = agent.and_then(|agent| agent.split('~').next().map(str::to_owned));
        }
        if entry_point == EntryPoint::GetServerTools {
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
            self.draft.query = Some(filters).filter(|filters| !filters.is_empty());
        }
    }

    /// The server and the tool that the call asks for, once its arguments are read.
    pub(super) fn names(&mut self, server: Option<&str>, tool: &ToolName) {
        self.draft.server = server.map(str::to_owned);
        self.draft.tool = Some(tool.to_string());
    }

    /// How many servers or tools a look-up was answered, and how many tokens that is, if it is known.
    pub(super) fn found(&mut self, found: usize, tokens: Option<usize>) {
        self.draft.found = u64::try_from(found).ok();
        self.draft.tokens = tokens.and_then(|tokens| u64::try_from(tokens).ok());
    }

    /// Notes the proof of who calls.
    pub(super) fn proves(&mut self, assurance: Assurance, credential: Option<&Credential>) {
        self.draft.assurance = Some(assurance.as_str().to_owned());
        self.draft.token = credential.and_then(Credential::id);
    }

    pub(super) fn calls(&mut self, caller: &Caller) {
        self.draft.agent = Some(caller.agent().to_string());
        self.draft.assurance = Some(caller.assurance().as_str().to_owned());
        self.draft.instance = caller.instance().map(str::to_owned);
        self.draft.token = caller.token().map(str::to_owned);
    }

    /// By which rule the call may be made.
    pub(super) fn permits(&mut self, permit: &Permit) {
        self.draft.rule = Some(permit.rule().pointer.clone());
    }
}
