//! The life of a server: started at first need and again after a death, with pauses if that comes to
//! nothing; stopped when it is idle; stopped for good.
//!
//! Each connection is watched by a task of its own, [`Server::watch`], from its handshake to the end
//! of its process. So a death is noticed when it happens, whether anybody calls or not.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    connection::Connection,
    failure::ServerUnavailable,
    handshake::Era,
    server::Server,
    session::Opening,
    state::{PendingStart, Phase, ServerState, StartOutcome},
    uses::Use,
};
use crate::{
    domain::{settings::Endpoint, supervision::Attempt},
    host::{activity::Activity, blocking, clock},
};

/// A start that does nothing for this long is given up: no processor time, nothing read or written.
/// Callers wait no longer than their own timeout; a slow start (a first `npx`) goes on for the calls
/// that follow.
const IDLE_START: Duration = Duration::from_secs(30);

/// The same where nothing can be seen of what the server does.
const UNSEEN_START: Duration = Duration::from_secs(60);

/// A start that takes longer than this is given up, whatever it does.
pub const LONGEST_START: Duration = Duration::from_secs(10 * 60);

/// Backs off after listing, rendering and counting changed tools: waits this many times as long as
/// that took.
const REST: u32 = 4;

impl Server {
    /// A live connection; starts the server if need be, and waits for that at most `wait`. It stays
    /// live as long as the server is in use, unless the server ends by itself.
    pub(super) async fn connection(
        self: &Arc<Self>,
        _in_use: &Use<'_>,
        wait: Duration,
    ) -> Result<Arc<Connection>, ServerUnavailable> {
        let mut start = match self.look()? {
            Phase::Up(connection) => return Ok(connection),
            Phase::Starting(start) => start.outcome,
            Phase::Down => {
                return Err(ServerUnavailable::because("it could not be started"));
            }
        };
        let seen = tokio::time::timeout(wait, start.wait_for(Option::is_some)).await;
        match seen {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => Err(ServerUnavailable::because("its start was given up")),
            },
            Ok(Err(_)) => Err(ServerUnavailable::because("its start was given up")),
            Err(_) => Err(ServerUnavailable {
                cause: format!(
                    "it has not answered the MCP handshake after {} ms and is still starting",
                    wait.as_millis()
                ),
                retry_after_ms: Some(1_000),
                needs_login: false,
            }),
        }
    }

    /// The state, after a start was begun if nothing is up; never [`Phase::Down`] on success.
    pub(super) fn look(self: &Arc<Self>) -> Result<Phase, ServerUnavailable> {
        let mut state = self.state.lock();
        if self.halt.is_cancelled() {
            return Err(ServerUnavailable::because("the gateway is stopping"));
        }
        match &state.phase {
            Phase::Up(connection) if connection.session.is_alive() => {
                Ok(Phase::Up(connection.clone()))
            }
            Phase::Starting(start) => Ok(Phase::Starting(start.clone())),
            Phase::Up(dead) => {
                let dead = dead.clone();
                self.note_death(&mut state, &dead);
                self.begin(&mut state)
            }
            Phase::Down => self.begin(&mut state),
        }
    }

    /// Begins a start, unless it is too early for one.
    fn begin(self: &Arc<Self>, state: &mut ServerState) -> Result<Phase, ServerUnavailable> {
        let begun = state.supervision.begin(self.now());
        let attempt = begun.map_err(|pause| state.refusal(&pause))?;
        let (send, outcome) = watch::channel(None);
        let activity = Arc::new(Activity::new(self.launcher.processes.clone()));
        let start =
            PendingStart { since: clock::tokio_instant(), activity: activity.clone(), outcome };
        state.phase = Phase::Starting(start.clone());
        tokio::spawn(self.clone().start(attempt, state.last.clone(), activity, send));
        Ok(Phase::Starting(start))
    }

    async fn start(
        self: Arc<Self>,
        attempt: Attempt,
        last: Option<Arc<Connection>>,
        activity: Arc<Activity>,
        done: watch::Sender<Option<StartOutcome>>,
    ) {
        let _in_use = self.in_use();
        tracing::debug!(server = %self.name(), "starting");
        let patience = match &self.spec.endpoint {
            Endpoint::Stdio(_) => IDLE_START,
            Endpoint::Http(_) => UNSEEN_START,
        };
        let outcome = tokio::select! {
            outcome = self.open(last, &activity) => outcome,
            () = activity.until_idle_for(patience) => Err(ServerUnavailable::because(format!(
                "it did not answer the MCP handshake, and has done nothing for {} s",
                patience.as_secs()
            ))),
            () = tokio::time::sleep(LONGEST_START) => Err(ServerUnavailable::because(format!(
                "it did not answer the MCP handshake within {} minutes",
                LONGEST_START.as_secs() / 60
            ))),
            () = self.halt.cancelled() => {
                Err(ServerUnavailable::because("the gateway is stopping"))
            }
        };
        match outcome {
            Ok(connection) => self.came_up(attempt, connection, &done).await,
            Err(failure) => {
                tracing::warn!(server = %self.name(), "not started: {}", failure.cause);
                done.send_replace(Some(Err(self.note_failure(attempt, failure))));
            }
        }
    }

    async fn open(
        self: &Arc<Self>,
        last: Option<Arc<Connection>>,
        activity: &Activity,
    ) -> Result<Arc<Connection>, ServerUnavailable> {
        // Over HTTP there is no process, and calls may still be in flight on the last session.
        if let (Some(last), Endpoint::Stdio(_)) = (last, &self.spec.endpoint) {
            last.session.close().await;
        }
        let era = self.known_era().await;
        let opening = Opening { spec: &self.spec, launcher: &self.launcher, activity };
        Connection::open(opening, era).await.map(Arc::new)
    }

    /// The era that this gateway has learned, or an earlier one if this is the first start.
    async fn known_era(self: &Arc<Self>) -> Option<Era> {
        let first = {
            let mut state = self.state.lock();
            !std::mem::replace(&mut state.recalled, true) && state.era.is_none()
        };
        if first {
            let server = self.clone();
            let notes = blocking(move || server.cache.notes(&server.spec)).await;
            self.state.lock().era = notes.and_then(|notes| notes.era);
        }
        self.state.lock().era
    }

    /// The era that is spoken, as far as it is known.
    pub(super) fn era(&self) -> Option<Era> {
        self.state.lock().era
    }

    async fn came_up(
        self: &Arc<Self>,
        attempt: Attempt,
        connection: Arc<Connection>,
        done: &watch::Sender<Option<StartOutcome>>,
    ) {
        let era = Some(connection.session.era());
        let mut learned = false;
        let in_time = {
            let mut state = self.state.lock();
            learned |= state.era != era;
            state.supervision.came_up(attempt, self.now());
            state.era = era;
            state.failure = None;
            state.last = None;
            let in_time = !self.halt.is_cancelled();
            state.phase = if in_time { Phase::Up(connection.clone()) } else { Phase::Down };
            in_time
        };
        if !in_time {
            connection.session.close().await;
            return;
        }
        tokio::spawn(self.clone().watch(connection.clone()));
        tokio::spawn(self.clone().keep_fresh(connection.clone()));
        done.send_replace(Some(Ok(connection.clone())));
        if learned || self.cache.has(&self.spec) {
            // The tools that were kept are compared with those of now.
            self.refresh(&connection).await;
        }
    }

    fn note_failure(&self, attempt: Attempt, mut failure: ServerUnavailable) -> ServerUnavailable {
        let mut state = self.state.lock();
        // A server that was replaced by another version may speak another era.
        state.era = None;
        state.last = None;
        state.phase = Phase::Down;
        state.supervision.failed(attempt, self.now());
        state.failure = Some(failure.clone());
        let pause = state.supervision.pause(self.now()).map(|pause| pause.left_ms());
        failure.retry_after_ms = failure.retry_after_ms.max(pause);
        failure
    }

    /// Lists the tools again whenever the server says that they have changed.
    async fn keep_fresh(self: Arc<Self>, connection: Arc<Connection>) {
        while connection.changed().await {
            let begun = clock::tokio_instant();
            self.refresh(&connection).await;
            // A server that changes its tools all the time gets a share of our time, not all of it.
            tokio::time::sleep(begun.elapsed() * REST).await;
        }
    }

    /// Renders and counts the tools as they are now. Calls wait while they are listed, so a server
    /// that does not answer is asked no longer than one of them would wait.
    async fn refresh(self: &Arc<Self>, connection: &Connection) {
        let listed = tokio::time::timeout(self.spec.timeout, connection.catalogue()).await;
        if let Ok(Ok(catalogue)) = listed {
            self.render_catalog(catalogue).await;
        }
    }

    /// Watches a connection until it ends or is idle; then ends its process.
    async fn watch(self: Arc<Self>, connection: Arc<Connection>) {
        tokio::select! {
            () = connection.session.gone() => self.note_death(&mut self.state.lock(), &connection),
            () = self.stop_idle(&connection) => {}
        }
        connection.session.close().await;
    }

    /// Waits until the server is idle for too long, and takes the connection out of use.
    async fn stop_idle(&self, connection: &Arc<Connection>) {
        loop {
            self.uses.over().await;
            let mut state = self.state.lock();
            // A use that begins from now on finds the server down.
            if self.uses.are_over() {
                if state.take_down(connection) {
                    state.supervision.stopped_idle(self.now());
                    tracing::debug!(server = %self.name(), "stopped: idle");
                }
                return;
            }
        }
    }

    /// Gives a connection up that turned out to be dead, unless a newer one is there already. A
    /// server over HTTP may still answer what it was asked before.
    pub(super) fn replace(&self, dead: &Arc<Connection>) {
        let mut state = self.state.lock();
        self.note_death(&mut state, dead);
        if matches!(self.spec.endpoint, Endpoint::Http(_)) {
            // Another server may answer at the same address by now.
            state.era = None;
        }
        drop(state);
        let dead = dead.clone();
        tokio::spawn(async move {
            dead.session.peer.pending.no_calls().await;
            dead.session.close().await;
        });
    }

    fn note_death(&self, state: &mut ServerState, dead: &Arc<Connection>) {
        // A server that is being stopped for good is down already, so it does not die.
        if !state.take_down(dead) {
            return;
        }
        state.supervision.died(self.now());
        if let Some(pause) = state.supervision.pause(self.now()) {
            tracing::warn!(server = %self.name(), "not started again for now: {pause}");
        }
    }

    /// A call was answered over this connection.
    pub(super) fn note_answer(&self, connection: &Arc<Connection>) {
        let mut state = self.state.lock();
        let just_died = || {
            let last = state.last.as_ref();
            matches!(state.phase, Phase::Down)
                && last.is_some_and(|last| Arc::ptr_eq(last, connection))
        };
        if state.is_up(connection) || just_died() {
            state.supervision.answered();
        }
    }

    /// Retires the server: from now on it runs only while it is used. It is stopped as soon as
    /// nothing is in flight; a call that still comes is served by a start of its own.
    pub fn retire(&self) {
        self.uses.retire();
    }

    /// Stops the server for good: closes its stdin, then ends its whole tree.
    pub async fn stop(&self) {
        let (phase, last) = {
            let mut state = self.state.lock();
            self.halt.cancel();
            (std::mem::take(&mut state.phase), state.last.take())
        };
        if let Some(last) = last {
            last.session.close().await;
        }
        match phase {
            Phase::Up(connection) => connection.session.close().await,
            // Ends at once; a connection that comes up all the same is closed by `start`.
            Phase::Starting(mut start) => {
                let _ = start.outcome.wait_for(Option::is_some).await;
            }
            Phase::Down => {}
        }
    }
}
