//! Floor 3: what happens to a call.
//!
//! - [`snapshot`]: settings and servers that belong together; a call works on one to its end.
//! - [`facade`]: the three tools as clients see them.
//! - [`request`]: the path of a call, one line per step. [`resolve`]: which tool it means;
//!   [`owners`]: who has it.
//!   [`checking`]: whether its arguments fit.
//! - [`billing`]: where calls are paid for. [`awake`]: whose holds may be ended after a sleep. [`forward`]: a call on its way, and what came of it.
//!   [`fence`]: the last look before it is sent. [`settling`]: how holds end in the store. [`entry`]: what records say of a call. [`builtin`]: the server that is built in, [`arguments`] what its tools take.
//! - [`identify`]: who calls. [`key_ring`]: what is signed and digested with. [`delegating`]: credits and
//!   rights for subagents.
//! - [`discovery`]: `list_servers`, `get_server_tools`; [`search`]: over all servers; [`advice`]: what to
//!   ask instead. [`context`]: what they cost each agent.
//! - [`fields`]: arguments of the three tools, read strictly. [`slips`]: their names as they are
//!   written by mistake.
//! - [`result`]: tool results on their way to the client.
//! - [`front`], [`stdio`]: MCP in and out. [`carried`]: what passes by the MCP library. [`relay`]: what
//!   servers say in the middle of a call.
//! - [`measured`]: the length and the digest of JSON. [`status`]: the debug tool.

mod advice;
mod arguments;
mod awake;
mod billing;
pub(crate) mod builtin;
mod checking;
mod context;
mod delegating;
mod discovery;
mod entry;
pub mod facade;
mod fence;
pub(crate) mod fields;
mod forward;
mod identify;
mod key_ring;
mod measured;
mod owners;
mod request;
mod resolve;
pub(crate) mod result;
mod root;
mod search;
mod settling;
mod slips;
mod snapshot;
mod status;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use awake::surely_abandoned;
use billing::{Billing, BillingPolicy};
use context::UsageLog;
use identify::Shown;
pub use result::ToolResult;
pub use root::Root;
pub use snapshot::Snapshot;

use crate::{
    domain::{
        json::RawJson,
        readings::Readings,
        record::Draft,
        refusal::{MARK, Refusal, RpcError},
        settings::Settings,
    },
    downstream::{self, Client, Fleet, Launcher, SchemaCache, Server, Succession},
    ledger::{Ledger, Unavailable},
};

/// How long calls in flight may still run when the gateway stops.
pub const DRAIN: Duration = Duration::from_millis(1_800);

/// How long what is kept may still be written when the gateway stops.
const WRITE_OUT: Duration = Duration::from_secs(1);

/// The gateway: what is in force, and the calls in flight.
#[derive(Debug)]
pub struct Gateway {
    current: ArcSwap<Snapshot>,
    /// Held while one snapshot succeeds another, and while the gateway stops.
    order: Mutex<Order>,
    /// How the settings files were read.
    readings: Mutex<Readings>,
    calls: TaskTracker,
    /// Cancelled when calls in flight are to end.
    stopping: CancellationToken,
    usage: Arc<UsageLog>,
    billing: Billing,
    launcher: Arc<Launcher>,
    /// Where the tools of servers are kept.
    catalogues: Option<PathBuf>,
}

/// What only succession and the end are concerned with.
#[derive(Debug, Default)]
struct Order {
    /// Servers of earlier snapshots that may still serve calls of these.
    retired: Vec<Weak<Server>>,
    /// Whether the gateway stops: nothing comes after.
    over: bool,
}

/// Where the gateway keeps what outlives it; None where the user has no such place.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// For what can be made again: the tools of servers.
    pub cache: Option<PathBuf>,
    /// For what cannot: usage.
    pub state: Option<PathBuf>,
}

/// Settings whose accounts are open.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    terms: Arc<BillingPolicy>,
}

impl Prepared {
    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// A `tools/call` as the client made it.
#[derive(Debug)]
pub struct CallRequest {
    /// The tool: one of the three, or a server's own, called directly.
    pub tool: String,
    /// Its arguments: an object.
    pub arguments: RawJson,
    /// Its `_meta`, without what belongs to the client's hop.
    pub meta: Map<String, Value>,
    /// What it shows to prove who calls (`_meta.token`).
    pub credential: Option<SecretString>,
    /// What the listener grants to a call that shows no credential.
    pub granted: Granted,
    /// The way back to the client.
    pub client: Client,
}

/// What a listener grants to calls that show no credential of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The credential of this process (`TOLLGATE_TOKEN`): for the client that started it, on stdio.
    ProcessCredential,
    /// Nothing: anyone may be at the other end.
    Nothing,
}

/// What a call comes to, as the client gets it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A tool result: a downstream's own, or one of ours.
    Result(ToolResult),
    /// A JSON-RPC error: a downstream's own, or a refusal of a direct call.
    Error(RpcError),
    /// One of the gateway's refusals, secrets masked; its wire form, [`refused`], is a tool result.
    Refused(Refusal),
}

impl CallRequest {
    /// What the call shows of who makes it.
    fn shown(&self) -> Result<Shown, Refusal> {
        Shown::by(&self.tool, &self.arguments, self.credential.as_ref(), self.granted)
    }
}

impl Gateway {
    /// A gateway over these settings; starts nothing.
    pub fn new(settings: Settings, launcher: &Arc<Launcher>, places: &Places) -> Arc<Self> {
        Self::with(settings, launcher, places, false)
    }

    /// A gateway for one call from the shell, which is nobody's context and is not accounted.
    pub fn for_one_call(
        settings: Settings,
        launcher: &Arc<Launcher>,
        places: &Places,
    ) -> Arc<Self> {
        Self::with(settings, launcher, places, true)
    }

    fn with(
        settings: Settings,
        launcher: &Arc<Launcher>,
        places: &Places,
        one_call: bool,
    ) -> Arc<Self> {
        let catalogues = places.cache.as_ref().map(|dir| dir.join("catalogues"));
        let cache = SchemaCache::new(catalogues.clone(), settings.rules.encoding);
        let fleet = Fleet::new(&settings.servers, launcher, &cache);
        let usage = places.state.as_ref().filter(|_| !one_call);
        let usage = usage.map(|dir| dir.join("context.json"));
        let usage = Arc::new(UsageLog::new(usage));
        let calls = TaskTracker::new();
        let readings = Mutex::new(Readings::begun(&settings.sources));
        let billing = Billing::new(&settings, places.state.as_deref(), &calls);
        let snapshot = Snapshot {
            terms: Arc::new(BillingPolicy::of(&settings)),
            token_keys: OnceLock::new(),
            billing: billing.clone(),
            settings,
            fleet,
            usage: usage.clone(),
            look_ups: Arc::default(),
            background: calls.clone(),
            one_call,
        };
        Arc::new(Self {
            current: ArcSwap::from_pointee(snapshot),
            order: Mutex::default(),
            readings,
            calls,
            stopping: CancellationToken::new(),
            usage,
            billing,
            launcher: launcher.clone(),
            catalogues,
        })
    }

    /// Brings the accounts in line with the settings, unless they limit nothing: then the first call
    /// does. Limits that stay as they were are logged, and warned of by the status.
    ///
    /// # Errors
    /// A store that cannot be used; the next call tries again.
    pub async fn open_accounts(&self) -> Result<(), Unavailable> {
        let current = self.current();
        if !current.terms.declaration.is_unlimited() {
            let stay = current.terms.declare(&self.billing).await?;
            let warnings = stay.iter().map(ToString::to_string);
            self.readings().gateway.last_warnings.extend(warnings);
        }
        Ok(())
    }

    /// What calls are paid with, and where they are recorded.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.billing.ledger
    }

    /// Records something that is not a call; a store that cannot be used is worth a line in the log.
    pub async fn record(&self, draft: Draft) {
        if let Err(unavailable) = self.billing.ledger.record(draft).await {
            tracing::error!("a record could not be written: {unavailable}");
        }
    }

    /// Opens the accounts that other settings ask for, so that these can be put in force.
    ///
    /// Nothing holds that up, as rules may forbid what was allowed. While the store cannot be used,
    /// calls are refused, as after a start. A limit that cannot be lowered stays as it was, and the
    /// settings that are prepared warn of it.
    pub async fn prepare(&self, mut settings: Settings) -> Prepared {
        let terms = BillingPolicy::of(&settings).after(&self.current().terms);
        // What was tried before is tried again by the next call, which waits for the store.
        let tried = !terms.is_declared() && self.current().terms.asks_the_same(&terms);
        if !terms.declaration.is_unlimited() && !tried {
            match terms.declare(&self.billing).await {
                Ok(stay) => {
                    let warnings = stay.iter().map(ToString::to_string);
                    settings.sources.gateway.warnings.extend(warnings);
                }
                Err(unavailable) => tracing::error!("the ledger cannot be used: {unavailable}"),
            }
        }
        Prepared { settings, terms: Arc::new(terms) }
    }

    /// Starts the servers that are to be started with the gateway.
    pub fn start_eager(&self) {
        downstream::start(self.current().fleet.eager());
    }

    /// Puts other settings in force, for all calls that begin from now on. Servers that run the
    /// same are kept; others are stopped when no call of earlier settings needs them any more.
    /// Answers what became of servers; None if the gateway stops, and nothing has changed.
    pub fn replace(&self, Prepared { settings, terms }: Prepared) -> Option<Succession> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.over {
            return None;
        }
        let before = self.current();
        let cache = SchemaCache::new(self.catalogues.clone(), settings.rules.encoding);
        let (fleet, mut succession) =
            before.fleet.succeeded_by(&settings.servers, &self.launcher, &cache);
        self.current.store(Arc::new(before.with(settings, fleet, terms)));
        order.retired.retain(|server| server.strong_count() > 0);
        for server in succession.left.drain(..) {
            order.retired.push(Arc::downgrade(&server));
            server.retire();
        }
        downstream::start(std::mem::take(&mut succession.eager));
        Some(succession)
    }

    /// How the settings files were read, for whoever reads them to note more.
    pub fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings and servers that are in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Cancels a call or whatever else is under way: cancelled by whoever holds it, and when the
    /// gateway stops.
    pub fn cancellation(&self) -> CancellationToken {
        self.stopping.child_token()
    }

    /// Runs one call to its end, whoever hangs up: it runs in a task of its own, and `cancel`, which
    /// is one of [`Gateway::cancellation`], is passed on to the server as a request to stop.
    pub async fn call_tool(
        self: &Arc<Self>,
        asked: CallRequest,
        cancel: CancellationToken,
    ) -> Answer {
        if self.calls.is_closed() {
            return Answer::Refused(Refusal::Cancelled);
        }
        let gateway = self.clone();
        let snapshot = self.current();
        let task =
            self.calls.spawn(async move { gateway.dispatch(&snapshot, asked, &cancel).await });
        match task.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => {
                // The panic is in the log already; a client must get an answer all the same.
                tracing::error!("a call panicked: {error}");
                Answer::Error(internal_error())
            }
            Err(_) => Answer::Refused(Refusal::Cancelled),
        }
    }

    /// Answers one of the gateway's own JSON-RPC methods; runs to its end, whoever hangs up.
    pub(crate) async fn call_method(
        &self,
        tool: &'static str,
        params: Value,
        credential: Option<SecretString>,
        granted: Granted,
    ) -> Result<Value, RpcError> {
        let snapshot = self.current();
        let task = async move { snapshot.method(tool, params, credential, granted).await };
        self.calls.spawn(task).await.unwrap_or_else(|error| {
            tracing::error!("a method panicked: {error}");
            Err(internal_error())
        })
    }

    async fn dispatch(
        &self,
        snapshot: &Arc<Snapshot>,
        asked: CallRequest,
        cancel: &CancellationToken,
    ) -> Answer {
        let tool = asked.tool.clone();
        let mut entry = snapshot.new_entry();
        let looks_up = [facade::LIST_SERVERS, facade::GET_SERVER_TOOLS].contains(&tool.as_str());
        let outcome = match tool.as_str() {
            facade::LIST_SERVERS => snapshot.list_servers(asked, &mut entry).await,
            facade::GET_SERVER_TOOLS => snapshot.get_server_tools(asked, &mut entry, cancel).await,
            // Which records its own refusals.
            facade::EXECUTE_TOOL => {
                let outcome = snapshot.execute_tool(asked, cancel).await;
                return snapshot.answered(outcome);
            }
            facade::GET_GATEWAY_STATUS if snapshot.settings.debug => {
                // It tells of all agents, so it is nobody's by name: any good credential will do.
                let admitted = snapshot.credential(asked.credential.as_ref(), asked.granted).await;
                admitted.and_then(|_| status::status(snapshot, &self.readings(), &asked.arguments))
            }
            _ => {
                let direct = snapshot.execute_directly(asked, cancel).await;
                return direct.unwrap_or_else(Answer::Error);
            }
        };
        match &outcome {
            // Recorded before it is reported.
            Err(refusal) if refusal.is_denial() => snapshot.note(entry, Some(refusal)).await,
            _ if looks_up => snapshot.note_look_up(entry, outcome.as_ref().map(|_| ())),
            _ => {}
        }
        snapshot.answered(outcome)
    }

    /// Waits for calls in flight, then cancels those that are left, then stops all servers.
    pub async fn stop(&self) {
        self.drain().await;
        self.cancel_calls();
        self.stop_servers().await;
    }

    /// Refuses new calls and waits, a short while, for those in flight.
    pub(crate) async fn drain(&self) {
        self.calls.close();
        // Those that are left are cancelled next.
        let _ = tokio::time::timeout(DRAIN, self.calls.wait()).await;
    }

    /// Stops all servers, and writes down what is not written yet.
    pub(crate) async fn stop_servers(&self) {
        self.calls.close();
        let written = async {
            self.usage.flush().await;
            self.calls.wait().await;
            // What is on its way to the store arrives there.
            self.billing.settle_up().await;
            let _ = self.billing.ledger.flush().await;
        };
        // A call that does not end holds nothing up that matters.
        let written = tokio::time::timeout(WRITE_OUT, written);
        let _ = tokio::join!(downstream::stop(self.last_servers()), written);
    }

    /// Every server that may still run, and from here on none is added.
    fn last_servers(&self) -> Vec<Arc<Server>> {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.over = true;
        let retired = order.retired.iter().filter_map(Weak::upgrade);
        let current = self.current();
        let members = current.fleet.members().iter().map(|member| member.server().clone());
        members.chain(retired).collect()
    }

    pub(crate) fn cancel_calls(&self) {
        self.stopping.cancel();
    }
}

/// The wire form of a refusal: a tool result with one line of JSON, and the gateway's mark.
pub fn refused(refusal: &Refusal) -> Value {
    let mut result = text_result(&refusal.to_json().to_string());
    if let Value::Object(result) = &mut result {
        result.insert("isError".into(), true.into());
        result.insert("_meta".into(), json!({ MARK: refusal.code() }));
    }
    result
}

/// A result of ours: one text block.
fn text_result(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

fn internal_error() -> RpcError {
    const INTERNAL_ERROR: i32 = -32603;
    let message = "the gateway failed on this call; its log says more";
    RpcError { code: INTERNAL_ERROR, message: message.into(), data: None }.marked("INTERNAL_ERROR")
}

fn no_such_tool(name: &str, not_known: &str) -> RpcError {
    let name: String = name.chars().take(64).collect();
    const INVALID_PARAMS: i32 = -32602;
    let (list, get, execute) =
        (facade::LIST_SERVERS, facade::GET_SERVER_TOOLS, facade::EXECUTE_TOOL);
    let message =
        format!("unknown tool `{name}`; the tools here are {list}, {get} and {execute}{not_known}");
    RpcError { code: INVALID_PARAMS, message, data: None }.marked("TOOL_NOT_FOUND")
}
