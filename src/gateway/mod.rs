//! Floor 3: what happens to a call.
//!
//! The path: [`path`] runs every call, one line a step, and records it. [`call`] is what its steps
//! share, its [`deadline`] included; [`request`] is what comes in, [`operation`] what it asks for.
//!
//! What it works on is a [`snapshot`], whose parts are
//! - [`identify`]: who calls. [`key_ring`]: the keys.
//! - [`directory`]: which servers and tools there are, what a caller may know of them, and which it means.
//! - [`billing`]: what calls cost, who pays, and the holds of credits.
//! - [`journal`]: what is recorded.
//!
//! The steps: [`check`]: whether arguments fit. [`forward`]: a call on its way, and what came of it.
//! [`result`]: its answer, on the way to the client. [`discovery`]: `list_servers` and
//! `get_server_tools`, which [`query`] reads; [`advice`] says what to ask instead. [`builtin`]: the server
//! `gateway`, [`arguments`] what its tools take; [`builtin_tools`] answers them, [`delegate`] and
//! [`delegations`] those that give credits to subagents. [`status`]: the debug tool.
//!
//! Below all: [`facade`]: the three tools as clients see them. [`fields`]: their arguments, read
//! strictly; [`aliases`]: other names of these. [`fingerprint`]: checked arguments, and the length and
//! digest of JSON.
//! [`refusals`]: how causes become refusals. [`usage`]: what discovery costs each agent. [`root`]: the
//! root token of the start.

mod advice;
mod aliases;
mod arguments;

mod billing;
pub(crate) mod builtin;
mod builtin_tools;
mod call;
mod check;
mod deadline;
mod delegate;
mod delegations;
mod directory;
mod discovery;
pub mod facade;
pub(crate) mod fields;
mod fingerprint;
mod forward;
mod identify;
mod journal;
mod key_ring;
mod operation;
mod path;
mod query;
mod refusals;
mod request;
mod result;
mod root;
mod snapshot;
mod status;
mod usage;

use std::{
    path::PathBuf,
    sync::{Arc, MutexGuard, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use self::{
    billing::BillingPolicy, identify::PresentedCredentials, journal::CallRecord,
    refusals::internal_error, request::EntryPoint, snapshot::SharedState,
};
pub use self::{
    billing::hold::EXTEND_EVERY,
    request::{CallRequest, Granted},
    result::{Answer, ToolResult, as_sent, refused},
    root::Root,
    snapshot::Snapshot,
};
use crate::{
    domain::{
        call::AgentId,
        readings::Readings,
        record::Draft,
        refusal::{Refusal, RpcError},
        settings::Settings,
    },
    downstream::{self, ClientContext, Fleet, Launcher, SchemaCache, Server, Succession},
    host::mutex::Mutex,
    ledger::{Ledger, LedgerUnavailable},
};

/// How long pending records may still be written when the gateway stops.
const WRITE_OUT: Duration = Duration::from_secs(1);

/// The gateway: what is in force, and the calls in flight.
#[derive(Debug)]
pub struct Gateway {
    current: ArcSwap<Snapshot>,
    /// Held while one snapshot succeeds another, and while the gateway stops.
    succession: Mutex<Retired>,
    /// Cancelled when calls in flight are to end.
    stopping: CancellationToken,
    shared: SharedState,
    launcher: Arc<Launcher>,
    /// Where the tools of servers are kept.
    catalogues: Option<PathBuf>,
}

/// What only succession and the end are concerned with.
#[derive(Debug, Default)]
struct Retired {
    /// Servers of earlier snapshots that may still serve calls of these.
    servers: Vec<Weak<Server>>,
    /// Whether the gateway stops, and no snapshot comes after.
    stopped: bool,
}

/// Where the gateway keeps files; None where the user has no such directory.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// For files that can be made again: the tools of servers.
    pub cache: Option<PathBuf>,
    /// For files that cannot: usage.
    pub state: Option<PathBuf>,
}

/// Settings whose accounts are open.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    policy: Arc<BillingPolicy>,
}

impl Prepared {
    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Gateway {
    /// A gateway over these settings; starts nothing.
    pub fn new(settings: Settings, launcher: &Arc<Launcher>, places: &Places) -> Arc<Self> {
        Self::with(settings, launcher, places, false)
    }

    /// A gateway for one call from the shell, whose tokens count as no agent's context.
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
        let shared = SharedState::new(&settings, places.state.as_deref(), one_call);
        let policy = Arc::new(BillingPolicy::of(&settings));
        let snapshot = Snapshot::new(settings, fleet, policy, shared.clone());
        Arc::new(Self {
            current: ArcSwap::from_pointee(snapshot),
            succession: Mutex::default(),
            stopping: CancellationToken::new(),
            shared,
            launcher: launcher.clone(),
            catalogues,
        })
    }

    /// Runs one call to its end, even if the client hangs up: it runs in a task of its own, and
    /// `cancel`, which is one of [`Gateway::cancellation`], is passed on to the server as a request to
    /// stop. A refusal of a call by a tool's own name is a JSON-RPC error.
    ///
    /// # Errors
    /// A refusal, secrets masked. Its wire form, [`refused`], is a tool result.
    pub async fn call_tool(
        self: &Arc<Self>,
        request: CallRequest,
        cancel: CancellationToken,
    ) -> Result<Answer, Refusal> {
        let snapshot = self.current();
        let entry_point = EntryPoint::of_tool(&request.tool, snapshot.settings.debug);
        match self.run(snapshot, entry_point, request, cancel).await {
            Err(_) => Ok(Answer::Error(internal_error())),
            Ok(Err(refusal)) if entry_point == EntryPoint::Direct => {
                Ok(Answer::Error(refusal.to_rpc_error()))
            }
            Ok(outcome) => outcome,
        }
    }

    /// Answers one of the gateway's own JSON-RPC methods; runs to its end, even if the client hangs up.
    pub(crate) async fn call_method(
        self: &Arc<Self>,
        tool: &'static str,
        mut params: Value,
        credential: Option<SecretString>,
        granted: Granted,
    ) -> Result<Value, RpcError> {
        if let Value::Object(params) = &mut params {
            params.shift_remove("_meta");
        }
        let (tool, arguments) = (tool.to_owned(), params.into());
        let (meta, client) = (Map::new(), ClientContext::absent());
        let request = CallRequest { tool, arguments, meta, credential, granted, client };
        let cancel = self.cancellation();
        match self.run(self.current(), EntryPoint::Method, request, cancel).await {
            Ok(Ok(Answer::Result(ToolResult { json: Some(value), .. }))) => Ok(value),
            Ok(Err(refusal)) => Err(refusal.to_rpc_error()),
            Ok(Ok(_)) | Err(_) => Err(internal_error()),
        }
    }

    /// Runs a call in a task of its own.
    ///
    /// # Errors
    /// The call panicked.
    async fn run(
        self: &Arc<Self>,
        snapshot: Arc<Snapshot>,
        entry_point: EntryPoint,
        request: CallRequest,
        cancel: CancellationToken,
    ) -> Result<Result<Answer, Refusal>, JoinError> {
        if self.shared.background.is_closed() {
            return Ok(Err(Refusal::Cancelled));
        }
        let task = self
            .shared
            .background
            .spawn(async move { path::run(&snapshot, entry_point, request, &cancel).await });
        match task.await {
            Err(error) if error.is_panic() => {
                // The panic is in the log already; a client must get an answer all the same.
                tracing::error!("a call panicked: {error}");
                Err(error)
            }
            Err(_) => Ok(Err(Refusal::Cancelled)),
            Ok(outcome) => Ok(outcome),
        }
    }

    /// A token that cancels a call, and that the end of the gateway cancels as well.
    pub fn cancellation(&self) -> CancellationToken {
        self.stopping.child_token()
    }

    /// The agent that a call is made as; None if it would be refused.
    pub async fn agent_of(&self, request: &CallRequest) -> Option<AgentId> {
        let CallRequest { tool, arguments, credential, granted, .. } = request;
        let entry_point = EntryPoint::of_tool(tool, false);
        let credential = credential.clone();
        let presented =
            PresentedCredentials::read(entry_point, tool, arguments, credential, *granted).ok()?;
        let current = self.current();
        let caller = current.identifier.identify(&presented, &mut CallRecord::default()).await;
        Some(caller.ok()?.agent().clone())
    }

    /// The settings and servers that are in force.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// How the settings files were read, for whoever reads them to note more.
    pub fn readings(&self) -> MutexGuard<'_, Readings> {
        self.shared.readings()
    }

    /// What calls are paid with, and where they are recorded.
    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        self.shared.settlements.ledger()
    }

    /// Records something that is not a call; a store that cannot be used is worth a line in the log.
    pub async fn record(&self, draft: Draft) {
        if let Err(unavailable) = self.ledger().record(draft).await {
            tracing::error!("a record could not be written: {unavailable}");
        }
    }

    /// Tries the charges again that did not reach the store.
    pub fn retry_charges(&self) {
        self.shared.settlements.look_back();
    }

    /// Brings the accounts in line with the settings, unless they limit nothing: then the first call
    /// does. Limits that stay as they were are logged, and warned of by the status.
    ///
    /// # Errors
    /// A store that cannot be used; the next call tries again.
    pub async fn open_accounts(&self) -> Result<(), LedgerUnavailable> {
        let current = self.current();
        let policy = current.billing.policy();
        if !policy.is_unlimited() {
            let unchanged = policy.declare(self.ledger()).await?;
            let warnings = unchanged.iter().map(ToString::to_string);
            self.readings().gateway.last_warnings.extend(warnings);
        }
        Ok(())
    }

    /// Opens the accounts that other settings ask for, so that these can be put in force.
    ///
    /// A store that cannot be used does not hold that up, as rules may forbid what was allowed. Until
    /// it can be used, calls are refused, as after a start. A limit that cannot be lowered stays as it
    /// was, and the settings that are prepared warn of it.
    pub async fn prepare(&self, mut settings: Settings) -> Prepared {
        let current = self.current();
        let before = current.billing.policy();
        let policy = BillingPolicy::of(&settings).after(before);
        // The next call tries again, and waits for the store.
        let tried = !policy.is_declared() && before.asks_the_same(&policy);
        if !policy.is_unlimited() && !tried {
            match policy.declare(self.ledger()).await {
                Ok(unchanged) => {
                    let warnings = unchanged.iter().map(ToString::to_string);
                    settings.sources.gateway.warnings.extend(warnings);
                }
                Err(unavailable) => tracing::error!("the ledger cannot be used: {unavailable}"),
            }
        }
        Prepared { settings, policy: Arc::new(policy) }
    }

    /// Starts the servers that are to be started with the gateway.
    pub fn start_eager(&self) {
        downstream::start(self.current().fleet().eager());
    }

    /// Puts other settings in force, for all calls that begin from now on. Servers that run the
    /// same are kept; others are stopped when no call of earlier settings needs them any more.
    /// Returns what became of servers; None if the gateway stops, and nothing has changed.
    pub fn replace(&self, Prepared { settings, policy }: Prepared) -> Option<Succession> {
        let mut retired = self.succession.lock();
        if retired.stopped {
            return None;
        }
        let cache = SchemaCache::new(self.catalogues.clone(), settings.rules.encoding);
        let before = self.current();
        let (fleet, mut succession) =
            before.fleet().succeeded_by(&settings.servers, &self.launcher, &cache);
        let snapshot = Snapshot::new(settings, fleet, policy, self.shared.clone());
        self.current.store(Arc::new(snapshot));
        retired.servers.retain(|server| server.strong_count() > 0);
        for server in succession.left.drain(..) {
            retired.servers.push(Arc::downgrade(&server));
            server.retire();
        }
        downstream::start(std::mem::take(&mut succession.eager));
        Some(succession)
    }

    /// Refuses new calls and waits for those in flight.
    pub(crate) async fn refuse_calls(&self) {
        self.shared.background.close();
        self.shared.background.wait().await;
    }

    /// Cancels the calls in flight.
    pub(crate) fn cancel_calls(&self) {
        self.stopping.cancel();
    }

    /// Stops all servers, and writes what is not written yet.
    pub(crate) async fn stop_servers(&self) {
        self.shared.background.close();
        let written = async {
            self.shared.usage.flush().await;
            self.shared.background.wait().await;
            // Charges that are on their way to the store arrive there.
            self.shared.settlements.settle_up().await;
            let _ = self.ledger().flush().await;
        };
        // A call that does not end must not hold up the end of the gateway.
        let written = tokio::time::timeout(WRITE_OUT, written);
        let _ = tokio::join!(downstream::stop(self.last_servers()), written);
    }

    /// Every server that may still run, and from here on none is added.
    fn last_servers(&self) -> Vec<Arc<Server>> {
        let mut retired = self.succession.lock();
        retired.stopped = true;
        let earlier = retired.servers.iter().filter_map(Weak::upgrade);
        let current = self.current();
        let members = current.fleet().members().iter().map(|member| member.server().clone());
        members.chain(earlier).collect()
    }
}
