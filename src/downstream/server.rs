//! One server as others see it: how it stands, its tools, its calls.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    cache::{SchemaCache, ServerNotes},
    failure::{CallFailure, ServerUnavailable},
    launcher::Launcher,
    outgoing::Outgoing,
    slots::{Slot, Slots},
    state::{Phase, ServerState},
    uses::{Use, Uses},
};
use crate::{
    domain::{
        call::ServerName,
        catalog::{Catalogue, Tool},
        json::RawJson,
        refusal::Refusal,
        rendered::RenderedCatalog,
        settings::{Endpoint, ServerSpec},
        tokens::Encoding,
    },
    host::{blocking, clock, mutex::Mutex},
};

/// One server of the settings.
#[derive(Debug)]
pub struct Server {
    /// As it was when the server was made: right in all that decides how it runs. What else the
    /// settings say of it may have changed; see [`super::Member`].
    pub(super) spec: ServerSpec,
    pub(super) launcher: Arc<Launcher>,
    /// Held only for looking and replacing, never across an await.
    pub(super) state: Mutex<ServerState>,
    pub(super) uses: Uses,
    /// Cancelled when the server is stopped for good.
    pub(super) halt: CancellationToken,
    /// Bounds the calls that are forwarded at a time; None without `maxConcurrency`.
    slots: Option<Slots>,
    /// One check of arguments at a time, where that takes long.
    checks: Arc<Semaphore>,
    /// What the time of its supervision is counted from.
    made: Instant,
    pub(super) cache: SchemaCache,
    /// The tools as they are sent; locked while they are rendered and counted, so that they are
    /// once.
    rendered: tokio::sync::Mutex<Option<Arc<RenderedCatalog>>>,
    /// Whether it did not list its tools in time when a search last asked.
    pub(super) slow_to_list: AtomicBool,
    /// What it said of itself before, once that was looked for.
    about: Mutex<Option<Option<String>>>,
}

/// How a server stands, for people and agents.
#[derive(Clone, Debug)]
pub enum Status {
    /// Not started yet, or ended; the next call starts it.
    NotStarted,
    /// On its way up, or in the queue of those that are.
    Starting,
    /// Up, with these tools if they are not being listed right now.
    Ready(Option<Arc<Catalogue>>),
    /// It did not start, or ended too often.
    Failed {
        /// Why, in words for an agent.
        cause: String,
        /// No start is tried before; the next call tries again if None.
        retry_after_ms: Option<u64>,
    },
}

impl Status {
    /// The status in one word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Failed { .. } => "failed",
        }
    }
}

impl Server {
    /// A server that is not started.
    pub fn new(spec: ServerSpec, launcher: Arc<Launcher>, cache: SchemaCache) -> Self {
        let slots = spec.most_calls.map(|most| Slots::new(most.get()));
        Self {
            uses: Uses::new(spec.idle),
            slots,
            checks: Arc::new(Semaphore::new(1)),
            spec,
            launcher,
            state: Mutex::default(),
            halt: CancellationToken::new(),
            made: clock::tokio_instant(),
            cache,
            rendered: tokio::sync::Mutex::default(),
            slow_to_list: AtomicBool::new(false),
            about: Mutex::default(),
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
        let state = self.state.lock();
        match &state.phase {
            Phase::Up(connection) if connection.session.is_alive() => {
                Status::Ready(connection.known_catalogue())
            }
            Phase::Starting(_) => Status::Starting,
            Phase::Up(_) | Phase::Down if state.wanted.is_some() => Status::Starting,
            Phase::Up(_) | Phase::Down => match state.obstacle(self.now()) {
                Some(ServerUnavailable { cause, retry_after_ms, .. }) => {
                    Status::Failed { cause, retry_after_ms }
                }
                None => Status::NotStarted,
            },
        }
    }

    /// How often it has ended by itself.
    pub fn deaths(&self) -> u64 {
        self.state.lock().supervision.deaths()
    }

    /// Marks a use that may need the server several times: as long as it lasts, the server is not
    /// stopped for want of use. Starts nothing.
    pub fn in_use(&self) -> Use<'_> {
        self.uses.begin()
    }

    /// Waits until no other call of this server is being checked against what the server wrote.
    pub async fn turn_to_check(&self) -> Option<OwnedSemaphorePermit> {
        self.checks.clone().acquire_owned().await.ok()
    }

    pub(super) fn now(&self) -> Duration {
        self.made.elapsed()
    }

    /// The server's tools; starts it if need be, and waits for that at most `wait`.
    ///
    /// # Errors
    /// Why the server cannot be used.
    pub async fn catalogue(
        self: &Arc<Self>,
        wait: Duration,
    ) -> Result<Arc<Catalogue>, ServerUnavailable> {
        let until = clock::tokio_instant() + wait;
        let in_use = self.in_use();
        let late = || ServerUnavailable::because("it did not list its tools in time");
        let mut again = matches!(self.spec.endpoint, Endpoint::Http(_));
        loop {
            let wait = until.saturating_duration_since(clock::tokio_instant());
            let connection = self.connection(&in_use, wait).await?;
            match tokio::time::timeout_at(until, connection.catalogue()).await {
                Err(_) => return Err(late()),
                // A remote server may have been replaced by another without our notice.
                Ok(Err(_)) if again => {
                    again = false;
                    self.replace(&connection);
                }
                Ok(listed) => return listed,
            }
        }
    }

    /// The tools as they are sent; starts the server if need be.
    pub(super) async fn rendered(
        self: &Arc<Self>,
        wait: Duration,
    ) -> Result<Arc<RenderedCatalog>, ServerUnavailable> {
        Ok(self.render_catalog(self.catalogue(wait).await?).await)
    }

    /// The server's tools as they are sent. A server that is not up answers from what was kept of
    /// it, and with `warm` is started meanwhile, as a call is likely to follow.
    ///
    /// # Errors
    /// Why the server cannot be used.
    pub async fn kept_or_rendered(
        self: &Arc<Self>,
        wait: Duration,
        warm: bool,
    ) -> Result<Arc<RenderedCatalog>, ServerUnavailable> {
        let kept = if self.is_up() { None } else { self.kept().await };
        let Some(kept) = kept else { return self.rendered(wait).await };
        if warm {
            // A failure shows in the status, and in the call that follows.
            let _ = self.look();
        }
        Ok(kept)
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(&self.state.lock().phase, Phase::Up(connection) if connection.session.is_alive())
    }

    /// The tools, if they are known; asks and starts nothing.
    pub async fn known_catalogue(self: &Arc<Self>) -> Option<Arc<Catalogue>> {
        let listed = match &self.state.lock().phase {
            Phase::Up(connection) if connection.session.is_alive() => connection.known_catalogue(),
            _ => None,
        };
        match listed {
            Some(listed) => Some(listed),
            None => self.kept().await.map(|rendered| rendered.catalogue().clone()),
        }
    }

    /// What the server says of itself, in one sentence: now, in an earlier session, or in an earlier
    /// run. Starts nothing.
    pub async fn about(self: &Arc<Self>) -> Option<String> {
        if let Some(said) = self.said() {
            return Some(said);
        }
        let known = self.about.lock().clone();
        match known {
            Some(about) => about,
            None => {
                let server = self.clone();
                let notes = blocking(move || server.cache.notes(&server.spec)).await;
                let about = notes.and_then(|notes| notes.about);
                self.remember(about.clone());
                about
            }
        }
    }

    fn remember(&self, about: Option<String>) {
        *self.about.lock() = Some(about);
    }

    /// What it says of itself in the session that it has.
    fn said(&self) -> Option<String> {
        match &self.state.lock().phase {
            Phase::Up(connection) => connection.session.agreement.about.clone(),
            _ => None,
        }
    }

    /// The tools that were kept, in this run or on disk.
    pub(super) async fn kept(self: &Arc<Self>) -> Option<Arc<RenderedCatalog>> {
        let mut rendered = self.rendered.lock().await;
        if rendered.is_none() {
            let server = self.clone();
            *rendered = blocking(move || server.cache.load(&server.spec)).await.map(Arc::new);
        }
        rendered.clone()
    }

    /// These tools, rendered and counted; counts that are known are taken over, new ones kept.
    pub(super) async fn render_catalog(
        self: &Arc<Self>,
        catalogue: Arc<Catalogue>,
    ) -> Arc<RenderedCatalog> {
        let mut rendered = self.rendered.lock().await;
        if let Some(rendered) = &*rendered
            && Arc::ptr_eq(rendered.catalogue(), &catalogue)
        {
            return rendered.clone();
        }
        let (server, before) = (self.clone(), rendered.clone());
        let fresh = Arc::new(blocking(move || server.count(catalogue, before)).await);
        *rendered = Some(fresh.clone());
        fresh
    }

    /// Blocks: reads and writes the disk, and may load the tokenizer's tables.
    fn count(
        &self,
        catalogue: Arc<Catalogue>,
        before: Option<Arc<RenderedCatalog>>,
    ) -> RenderedCatalog {
        let before = before.or_else(|| self.cache.load(&self.spec).map(Arc::new));
        let counted: HashMap<_, _> = before
            .iter()
            .flat_map(|before| before.tools())
            .map(|counted| (counted.name(), counted))
            .collect();
        let known = |tool: &Tool| {
            let counted = counted.get(tool.name())?;
            (counted.tool().definition() == tool.definition()).then(|| counted.costs().clone())
        };
        let rendered = RenderedCatalog::new(self.name(), catalogue, self.cache.encoding(), known);
        let same = before.as_ref();
        let same = same.is_some_and(|before| before.catalogue().is_same(rendered.catalogue()));
        let kept = self.cache.notes(&self.spec);
        let about = self.said().or_else(|| kept.as_ref()?.about.clone());
        let notes = ServerNotes { era: self.era(), about };
        if !same || kept.as_ref() != Some(&notes) {
            self.cache.store(&self.spec, &rendered, &notes);
        }
        self.remember(notes.about);
        rendered
    }

    /// Calls a tool and answers the result as it arrived. A call that the server provably never saw is sent
    /// once more, over a new connection. Where the settings bound the calls at a time, others wait.
    /// `before_send` runs before each sending and may refuse it; its argument says whether the call had
    /// to wait for a slot.
    ///
    /// # Errors
    /// Why there is no result.
    pub async fn call<F: Future<Output = Result<(), Refusal>>>(
        self: &Arc<Self>,
        call: &Outgoing,
        cancel: &CancellationToken,
        before_send: impl Fn(bool) -> F,
    ) -> Result<RawJson, CallFailure> {
        let in_use = self.in_use();
        let end = clock::tokio_instant() + call.timeout;
        let queued = self.slots.as_ref().is_some_and(Slots::is_busy);
        let _slot = self.slot(call, call.left_until(end)?, cancel).await?;
        let mut again = true;
        loop {
            let (before, wait) = (clock::tokio_instant(), call.left_until(end)?);
            let connection = tokio::select! {
                // First, so that a call which is cancelled by now is not sent.
                biased;
                () = cancel.cancelled() => return Err(CallFailure::Withdrawn),
                connection = self.connection(&in_use, wait) => connection.map_err(CallFailure::Unavailable)?,
            };
            before_send(queued).await.map_err(CallFailure::Barred)?;
            if cancel.is_cancelled() {
                return Err(CallFailure::Withdrawn);
            }
            // What the start took is taken from the client's time, not from the server's.
            let timeout = call.left_until(end + before.elapsed())?;
            match connection.session.call(call, timeout, cancel).await {
                Err(CallFailure::NotSent) if again => {
                    again = false;
                    self.replace(&connection);
                }
                outcome => {
                    if matches!(outcome, Ok(_) | Err(CallFailure::Rpc(_))) {
                        self.note_answer(&connection);
                    }
                    return outcome;
                }
            }
        }
    }

    /// Waits for a slot, in the order in which the client made its calls; None where calls need none.
    async fn slot(
        &self,
        call: &Outgoing,
        wait: Duration,
        cancel: &CancellationToken,
    ) -> Result<Option<Slot>, CallFailure> {
        let Some(slots) = &self.slots else { return Ok(None) };
        let busy = || {
            ServerUnavailable::because(format!(
                "all {} slots (`maxConcurrency`) were busy for {} ms, so the call was not sent",
                self.spec.most_calls.map_or(0, std::num::NonZero::get),
                wait.as_millis()
            ))
        };
        tokio::select! {
            // First, so that a call which is withdrawn before its turn is not sent.
            biased;
            () = cancel.cancelled() => Err(CallFailure::Withdrawn),
            slot = slots.take(call.client.arrival) => Ok(slot),
            () = tokio::time::sleep(wait) => Err(CallFailure::Unavailable(busy())),
        }
    }
}
