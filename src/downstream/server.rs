//! One server: started at first need, started again after a death, stopped for good.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    blocking,
    cache::{Known, SchemaCache},
    child::Launcher,
    connection::{Connection, Era},
    failure::{CallFailure, Unavailable},
};
use crate::domain::{
    call::{ServerName, ToolName},
    catalog::{Catalogue, Tool},
    settings::{Endpoint, ServerSpec},
    shelf::Shelf,
    tokens::Encoding,
};

/// A start that takes longer than this is given up. Callers wait no longer than their own timeout;
/// a slow start (a first `npx`) goes on for the calls that follow.
pub(super) const START_DEADLINE: Duration = Duration::from_secs(60);

/// How often a retired server looks whether it is still held.
const RETIRED_POLL: Duration = Duration::from_millis(20);

/// One server of the settings.
#[derive(Debug)]
pub struct Server {
    /// As it was when the server was made: right in all that decides how it runs. What else the
    /// settings say of it may have changed; see [`super::Member`].
    spec: ServerSpec,
    launcher: Arc<Launcher>,
    /// Held only for looking and replacing, never across an await.
    state: Mutex<State>,
    /// Cancelled when the server is stopped for good.
    halt: CancellationToken,
    cache: SchemaCache,
    /// The tools as they are sent; locked while they are rendered and counted, so that they are
    /// once.
    shelf: tokio::sync::Mutex<Option<Arc<Shelf>>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Learned at the first handshake.
    era: Option<Era>,
    /// Why the last start failed, until one succeeds.
    failure: Option<String>,
}

#[derive(Debug)]
enum Phase {
    Down,
    Starting(watch::Receiver<Option<Start>>),
    Up(Arc<Connection>),
}

/// What a start came to.
type Start = Result<Arc<Connection>, String>;

/// How a server stands, for people and agents.
#[derive(Clone, Debug)]
pub enum Status {
    /// Not started yet, or ended; the next call starts it.
    NotStarted,
    /// On its way up.
    Starting,
    /// Up, with these tools if they are not being listed right now.
    Ready(Option<Arc<Catalogue>>),
    /// The last start failed; the next call tries again.
    Failed(String),
    /// This version of the gateway cannot reach it.
    Unsupported,
}

impl Status {
    /// The status in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Failed(_) => "failed",
            Self::Unsupported => "unsupported",
        }
    }
}

impl Server {
    /// A server that is not started.
    pub fn new(spec: ServerSpec, launcher: Arc<Launcher>, cache: SchemaCache) -> Self {
        let state = State { phase: Phase::Down, era: None, failure: None };
        Self {
            spec,
            launcher,
            state: Mutex::new(state),
            halt: CancellationToken::new(),
            cache,
            shelf: tokio::sync::Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &ServerName {
        &self.spec.name
    }

    /// How the tokens of its tools are counted.
    pub(super) fn encoding(&self) -> Encoding {
        self.cache.encoding()
    }

    /// How it stands; starts nothing.
    pub fn status(&self) -> Status {
        if matches!(self.spec.endpoint, Endpoint::Http { .. }) {
            return Status::Unsupported;
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (&state.phase, &state.failure) {
            (Phase::Up(connection), _) if connection.is_alive() => {
                Status::Ready(connection.known_catalogue())
            }
            (Phase::Starting(_), _) => Status::Starting,
            (_, Some(cause)) => Status::Failed(cause.clone()),
            _ => Status::NotStarted,
        }
    }

    /// The server's tools; starts it if need be, and waits for that at most `wait`.
    ///
    /// # Errors
    /// Why the server cannot be used.
    pub async fn catalogue(
        self: &Arc<Self>,
        wait: Duration,
    ) -> Result<Arc<Catalogue>, Unavailable> {
        let until = Instant::now() + wait;
        let connection = self.connection(wait).await?;
        let listed = tokio::time::timeout_at(until, connection.catalogue()).await;
        listed
            .unwrap_or_else(|_| Err("it did not list its tools in time".into()))
            .map_err(Unavailable::because)
    }

    /// The server's tools as they are sent. A server that is not up answers from what was kept of
    /// it, and with `warm` is started meanwhile, as a call is likely to follow.
    ///
    /// # Errors
    /// Why the server cannot be used.
    pub async fn shelf(
        self: &Arc<Self>,
        wait: Duration,
        warm: bool,
    ) -> Result<Arc<Shelf>, Unavailable> {
        if self.is_up() {
            return Ok(self.shelve(self.catalogue(wait).await?).await);
        }
        if let Some(shelf) = self.remembered().await {
            if warm {
                // A failure shows in the status, and in the call that follows.
                let _ = self.look();
            }
            return Ok(shelf);
        }
        Ok(self.shelve(self.catalogue(wait).await?).await)
    }

    fn is_up(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&state.phase, Phase::Up(connection) if connection.is_alive())
    }

    /// The tools as they are sent, if they are known without starting the server.
    pub async fn known_shelf(self: &Arc<Self>) -> Option<Arc<Shelf>> {
        match self.is_up() {
            true => self.shelf(self.spec.timeout, false).await.ok(),
            false => self.remembered().await,
        }
    }

    /// What was kept of the server, in this run or on disk.
    async fn remembered(self: &Arc<Self>) -> Option<Arc<Shelf>> {
        let mut shelf = self.shelf.lock().await;
        if shelf.is_none() {
            let server = self.clone();
            *shelf = blocking(move || server.cache.load(&server.spec)).await.map(Arc::new);
        }
        shelf.clone()
    }

    /// These tools, rendered and counted; counts that are known are taken over, new ones kept.
    async fn shelve(self: &Arc<Self>, catalogue: Arc<Catalogue>) -> Arc<Shelf> {
        let mut shelf = self.shelf.lock().await;
        if let Some(shelf) = &*shelf
            && Arc::ptr_eq(shelf.catalogue(), &catalogue)
        {
            return shelf.clone();
        }
        let (server, before) = (self.clone(), shelf.clone());
        let fresh = Arc::new(blocking(move || server.count(catalogue, before)).await);
        *shelf = Some(fresh.clone());
        fresh
    }

    /// Blocks: reads and writes the disk, and may load the tokenizer's tables.
    fn count(&self, catalogue: Arc<Catalogue>, before: Option<Arc<Shelf>>) -> Shelf {
        let before = before.or_else(|| self.cache.load(&self.spec).map(Arc::new));
        let known = before.as_deref().map(Known::of);
        let counts = |tool: &Tool| known.as_ref()?.counts_of(tool);
        let shelf = Shelf::new(self.name(), catalogue, self.cache.encoding(), counts);
        let same = before.is_some_and(|before| before.catalogue().is_same(shelf.catalogue()));
        if !same || !self.cache.has(&self.spec) {
            self.cache.store(&self.spec, &shelf);
        }
        shelf
    }

    /// Calls a tool and answers the result as it arrived. A call that the server provably never saw is sent
    /// once more, over a new connection.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn call(
        self: &Arc<Self>,
        tool: &ToolName,
        arguments: &Map<String, Value>,
        meta: &Map<String, Value>,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<Value, CallFailure> {
        let until = Instant::now() + timeout;
        let mut again = true;
        loop {
            let timeout = until.saturating_duration_since(Instant::now());
            let connection = tokio::select! {
                connection = self.connection(timeout) => connection.map_err(CallFailure::Unavailable)?,
                () = cancel.cancelled() => return Err(CallFailure::Cancelled),
            };
            let outcome =
                connection.call(tool, arguments.clone(), meta.clone(), timeout, cancel).await;
            match outcome {
                Err(CallFailure::NotSent) if again => {
                    again = false;
                    self.replace(&connection);
                }
                outcome => return outcome,
            }
        }
    }

    /// A live connection; starts the server if need be, and waits for that at most `wait`.
    pub(super) async fn connection(
        self: &Arc<Self>,
        wait: Duration,
    ) -> Result<Arc<Connection>, Unavailable> {
        let mut start = match self.look()? {
            Phase::Up(connection) => return Ok(connection),
            Phase::Starting(start) => start,
            Phase::Down => return Err(Unavailable::because("it could not be started".into())),
        };
        let seen = tokio::time::timeout(wait, start.wait_for(Option::is_some)).await;
        match seen {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Ok(connection)) => Ok(connection.clone()),
                Some(Err(cause)) => Err(Unavailable::because(cause.clone())),
                None => Err(Unavailable::because("its start was given up".into())),
            },
            Ok(Err(_)) => Err(Unavailable::because("its start was given up".into())),
            Err(_) => Err(Unavailable {
                cause: format!(
                    "it has not answered the MCP handshake after {} ms and is still starting",
                    wait.as_millis()
                ),
                retry_after_ms: Some(1_000),
            }),
        }
    }

    /// The state, after a start was begun if nothing is up; never [`Phase::Down`] on success.
    fn look(self: &Arc<Self>) -> Result<Phase, Unavailable> {
        let Endpoint::Stdio(_) = self.spec.endpoint else {
            return Err(Unavailable::because(
                "servers reached over HTTP are not supported by this version of the gateway".into(),
            ));
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.halt.is_cancelled() {
            return Err(Unavailable::because("the gateway is stopping".into()));
        }
        match &state.phase {
            Phase::Up(connection) if connection.is_alive() => Ok(Phase::Up(connection.clone())),
            Phase::Starting(start) => Ok(Phase::Starting(start.clone())),
            _ => {
                let (send, start) = watch::channel(None);
                state.phase = Phase::Starting(start.clone());
                tokio::spawn(self.clone().start(send, state.era));
                Ok(Phase::Starting(start))
            }
        }
    }

    async fn start(self: Arc<Self>, done: watch::Sender<Option<Start>>, era: Option<Era>) {
        let Endpoint::Stdio(command) = &self.spec.endpoint else { return };
        tracing::debug!(server = %self.name(), "starting");
        let outcome = tokio::select! {
            outcome = Connection::open(self.name(), command, &self.launcher, era) => {
                outcome.map(Arc::new)
            }
            () = tokio::time::sleep(START_DEADLINE) => Err(format!(
                "it did not answer the MCP handshake within {} s",
                START_DEADLINE.as_secs()
            )),
            () = self.halt.cancelled() => Err("the gateway is stopping".into()),
        };
        if let Err(cause) = &outcome {
            tracing::warn!(server = %self.name(), "not started: {cause}");
        }
        let late = self.settle(&outcome);
        done.send_replace(Some(outcome.clone()));
        if let (Ok(connection), None) = (&outcome, &late)
            && self.cache.has(&self.spec)
            && let Ok(catalogue) = connection.catalogue().await
        {
            // What was kept is checked against what the server says now.
            self.shelve(catalogue).await;
        }
        if let Some(connection) = late {
            connection.close().await;
        }
    }

    /// Takes the outcome of a start into the state; hands back a connection that came too late.
    fn settle(&self, outcome: &Start) -> Option<Arc<Connection>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.phase = match outcome {
            Ok(connection) if self.halt.is_cancelled() => {
                state.phase = Phase::Down;
                return Some(connection.clone());
            }
            Ok(connection) => {
                state.era = Some(connection.era());
                state.failure = None;
                Phase::Up(connection.clone())
            }
            Err(cause) => {
                // A server that was replaced by another version may speak another era.
                state.era = None;
                state.failure = Some(cause.clone());
                Phase::Down
            }
        };
        None
    }

    /// Gives a connection up that turned out to be dead, unless a newer one is there already.
    fn replace(&self, dead: &Arc<Connection>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&state.phase, Phase::Up(connection) if Arc::ptr_eq(connection, dead)) {
            state.phase = Phase::Down;
            let dead = dead.clone();
            tokio::spawn(async move { dead.close().await });
        }
    }

    /// Stops the server for good as soon as nobody else holds it.
    pub fn retire(self: &Arc<Self>) {
        let server = self.clone();
        tokio::spawn(async move {
            while Arc::strong_count(&server) > 1 {
                tokio::time::sleep(RETIRED_POLL).await;
            }
            server.stop().await;
        });
    }

    /// Stops the server for good: closes its stdin, then ends its whole tree.
    pub async fn stop(&self) {
        let phase = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.halt.cancel();
            std::mem::replace(&mut state.phase, Phase::Down)
        };
        match phase {
            Phase::Up(connection) => connection.close().await,
            // Ends at once; a connection that comes up all the same is closed by `start`.
            Phase::Starting(mut start) => {
                let _ = start.wait_for(Option::is_some).await;
            }
            Phase::Down => {}
        }
    }
}
