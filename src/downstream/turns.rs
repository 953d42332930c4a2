//! Starts ahead of need: for searches, for commands that ask all servers, and at the start of the
//! gateway. They take turns, as `npx` and `uvx` are heavy at start. A call never waits for a turn.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{
    failure::ServerUnavailable,
    server::Server,
    state::{Phase, ServerState, WantedStart},
};
use crate::{
    domain::rendered::RenderedCatalog,
    host::{activity::Activity, clock},
};

/// A start that does nothing for this long gives its turn to the next: it sleeps, or never answers.
const IDLE_TURN: Duration = Duration::from_secs(2);

/// A server that was slow to list its tools has this long to list them again before an earlier list
/// is used.
const AT_HAND: Duration = Duration::from_millis(50);

/// Why the tools of a server are not known now.
#[derive(Clone, Debug)]
pub enum NotYet {
    /// It is starting, or waits for its turn to start.
    Starting,
    /// It cannot be used.
    Unavailable(ServerUnavailable),
}

impl Server {
    /// Starts the server in its turn, in the background, unless it is up, on its way, or not to be
    /// tried now.
    pub(super) fn want(self: &Arc<Self>) -> Option<WantedStart> {
        let mut state = self.state.lock();
        let wanted = self.wanted_in(&mut state)?;
        state.wanted = Some(wanted.clone());
        Some(wanted)
    }

    fn wanted_in(self: &Arc<Self>, state: &mut ServerState) -> Option<WantedStart> {
        if let Some(wanted) = &state.wanted {
            return Some(wanted.clone());
        }
        let since = match &state.phase {
            Phase::Up(connection) if connection.session.is_alive() => return None,
            Phase::Starting(start) => start.since,
            Phase::Up(_) | Phase::Down => clock::tokio_instant(),
        };
        let obstacle = state.obstacle(self.now());
        if self.halt.is_cancelled() || obstacle.as_ref().is_some_and(|o| o.retry_after_ms.is_some())
        {
            return None;
        }
        let (done, over) = watch::channel(());
        tokio::spawn(self.clone().start_in_turn(done));
        Some(WantedStart { since, over, again: obstacle.is_some() })
    }

    async fn start_in_turn(self: Arc<Self>, _done: watch::Sender<()>) {
        let in_turn = async {
            let turn = self.launcher.start_turns.clone().acquire_owned().await;
            let _in_use = self.in_use();
            if let (Ok(turn), Ok(Phase::Starting(start))) = (turn, self.look()) {
                let mut outcome = start.outcome.clone();
                tokio::select! {
                    // Ends with the start, even if that is dropped.
                    _ = outcome.wait_for(Option::is_some) => return,
                    () = hold(turn, &start.activity) => {}
                }
                // As above.
                let _ = outcome.wait_for(Option::is_some).await;
            }
        };
        tokio::select! { () = in_turn => {}, () = self.halt.cancelled() => {} }
        self.state.lock().wanted = None;
    }

    /// The tools as they are sent. If nothing is known of them the server is started in its turn, and
    /// waited for at most `wait`, counted from when that start was first asked for: a server that
    /// has been starting for long, or has failed before, is not waited for again. Without `wait` it is
    /// waited for until its start has ended.
    ///
    /// # Errors
    /// It is not up yet, or cannot be used.
    pub async fn rendered_in_turn(
        self: &Arc<Self>,
        wait: Option<Duration>,
    ) -> Result<Arc<RenderedCatalog>, NotYet> {
        if let Some(rendered) = self.rendered_at_hand(wait).await {
            return Ok(rendered);
        }
        let _in_use = self.in_use();
        if let Some(mut wanted) = self.want() {
            // Ends with the start, as nothing is ever sent.
            let over = wanted.over.changed();
            let ended = match wait {
                None => over.await.is_err(),
                Some(_) if wanted.again => false,
                Some(wait) => tokio::time::timeout_at(wanted.since + wait, over).await.is_ok(),
            };
            if !ended {
                return Err(NotYet::Starting);
            }
        }
        let listing = self.spec.timeout;
        let listing = wait.map_or(listing, |wait| wait.min(listing));
        if !self.is_up() {
            return Err(NotYet::Unavailable(self.why_down()));
        }
        self.rendered(listing).await.map_err(NotYet::Unavailable)
    }

    /// The tools if they are known without a start. A server that is up may have to list them anew: if
    /// that takes too long, the list before will do, and the next time it is not waited for.
    async fn rendered_at_hand(
        self: &Arc<Self>,
        wait: Option<Duration>,
    ) -> Option<Arc<RenderedCatalog>> {
        if !self.is_up() {
            return self.kept().await;
        }
        let rendering = self.rendered(self.spec.timeout);
        let Some(wait) = wait else { return rendering.await.ok() };
        let wait = if self.slow_to_list.load(Ordering::Relaxed) { AT_HAND } else { wait };
        let listed = tokio::time::timeout(wait, rendering).await;
        self.slow_to_list.store(listed.is_err(), Ordering::Relaxed);
        match listed {
            Ok(rendered) => rendered.ok(),
            Err(_) => self.kept().await,
        }
    }

    fn why_down(&self) -> ServerUnavailable {
        let state = self.state.lock();
        // When the next start may be is of no use to a search.
        let why = state.failure.clone().or_else(|| state.obstacle(self.now()));
        why.unwrap_or_else(|| ServerUnavailable::because("it ended after its start"))
    }
}

/// Keeps a turn until the start that has it does nothing for a while.
async fn hold(turn: OwnedSemaphorePermit, activity: &Activity) {
    while activity.idle() < IDLE_TURN {
        tokio::time::sleep(IDLE_TURN / 4).await;
    }
    drop(turn);
}
