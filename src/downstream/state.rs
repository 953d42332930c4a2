//! Where a server is in its life: down, starting or up, and what is known of its starts.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{connection::Connection, failure::ServerUnavailable, handshake::Era};
use crate::{
    domain::supervision::{Pause, Supervision},
    host::activity::Activity,
};

/// Where a server is in its life.
#[derive(Debug, Default)]
pub(super) struct ServerState {
    pub(super) phase: Phase,
    /// The connection before; its process may not have ended yet. The next start waits for that, as
    /// two of a kind may get into each other's way.
    pub(super) last: Option<Arc<Connection>>,
    /// Learned at the last handshake, of this gateway or of an earlier one.
    pub(super) era: Option<Era>,
    /// Whether what an earlier gateway learned was looked up.
    pub(super) recalled: bool,
    /// The start ahead of need that waits for its turn or is under way.
    pub(super) wanted: Option<WantedStart>,
    /// Why the last start failed, until one succeeds.
    pub(super) failure: Option<ServerUnavailable>,
    pub(super) supervision: Supervision,
}

#[derive(Debug, Default)]
pub(super) enum Phase {
    #[default]
    Down,
    Starting(PendingStart),
    Up(Arc<Connection>),
}

/// A start under way.
#[derive(Clone, Debug)]
pub(super) struct PendingStart {
    pub(super) since: Instant,
    pub(super) activity: Arc<Activity>,
    /// None until it has ended.
    pub(super) outcome: watch::Receiver<Option<StartOutcome>>,
}

/// What a start came to.
pub(super) type StartOutcome = Result<Arc<Connection>, ServerUnavailable>;

impl ServerState {
    /// Why the server is not up, and when it may be: None if all it takes is a call.
    pub(super) fn obstacle(&self, now: Duration) -> Option<ServerUnavailable> {
        match self.supervision.pause(now) {
            Some(pause) => Some(self.refusal(&pause)),
            None => self.failure.clone(),
        }
    }

    pub(super) fn refusal(&self, pause: &Pause) -> ServerUnavailable {
        let (cause, needs_login) = match &self.failure {
            Some(failure) => (format!("{}; {pause}", failure.cause), failure.needs_login),
            None => (pause.to_string(), false),
        };
        ServerUnavailable { cause, retry_after_ms: Some(pause.left_ms()), needs_login }
    }

    pub(super) fn is_up(&self, connection: &Arc<Connection>) -> bool {
        matches!(&self.phase, Phase::Up(up) if Arc::ptr_eq(up, connection))
    }

    /// Takes a connection out of use; whether it was in use.
    pub(super) fn take_down(&mut self, connection: &Arc<Connection>) -> bool {
        let was_up = self.is_up(connection);
        if was_up {
            self.phase = Phase::Down;
            self.last = Some(connection.clone());
        }
        was_up
    }
}

/// A start ahead of need that waits for its turn or is under way.
#[derive(Clone, Debug)]
pub(super) struct WantedStart {
    /// When it was first asked for.
    pub(super) since: Instant,
    /// Closed when it has ended.
    pub(super) over: watch::Receiver<()>,
    /// Whether the server has failed before.
    pub(super) again: bool,
}
