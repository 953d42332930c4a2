//! One MCP session: the child process or the HTTP client below it, and the handshake.

use std::{sync::Arc, time::Duration};

use tokio::{process::Child, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    failure::ServerUnavailable,
    handshake::{Agreement, Era, NotOpened, SILENCE, agree, silence},
    http::HttpTransport,
    launcher::Launcher,
    peer::{Outlet, Peer},
    pipes, stderr,
    stdin_writer::StdinWriter,
};
use crate::{
    domain::{
        call::ServerName,
        settings::{ChildCommand, Elicitation, Endpoint, Remote, ServerSpec},
    },
    host::activity::Activity,
};

/// How long after the end of a server's stdout its process may still be seen to live.
pub(super) const END_GRACE: Duration = Duration::from_secs(1);

/// An open session.
#[derive(Debug)]
pub(super) struct ServerSession {
    pub(super) peer: Arc<Peer>,
    pub(super) agreement: Agreement,
    pub(super) elicitation: Elicitation,
    /// Ends the session and the process when cancelled.
    pub(super) stop: CancellationToken,
    /// Cancelled when nothing is read any more.
    pub(super) closed: CancellationToken,
    /// Cancelled when the process has ended, or the session that has none.
    pub(super) ended: CancellationToken,
}

/// What a session is opened with.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    pub(super) spec: &'a ServerSpec,
    pub(super) launcher: &'a Arc<Launcher>,
    pub(super) activity: &'a Activity,
}

impl ServerSession {
    /// Reaches the server and completes the handshake, in the era that it is known to speak if it is.
    ///
    /// # Errors
    /// What went wrong, in words for an agent. A process is being ended by then.
    pub(super) async fn open(
        opening: Opening<'_>,
        era: Option<Era>,
    ) -> Result<Self, ServerUnavailable> {
        match opening.attempt(era).await {
            Err(NotOpened { instead: Some(era), why }) => {
                tracing::debug!(server = %opening.spec.name, ?era, "tried in another era: {}", why.cause);
                opening.attempt(era).await.map_err(|failure| failure.why)
            }
            outcome => outcome.map_err(|failure| failure.why),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.peer.pending.is_ended() && !self.stop.is_cancelled()
    }

    /// Waits until the session or the process has ended by itself. What an ended process has left to
    /// read is read first.
    pub(super) async fn gone(&self) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            () = self.ended.cancelled() => {
                // Longer only if another process holds its stdout; nothing more is waited for then.
                let _ = tokio::time::timeout(END_GRACE, self.closed.cancelled()).await;
            }
        }
    }

    /// Closes the session and ends the process, if there is one, with all its descendants.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    pub(super) fn era(&self) -> Era {
        self.agreement.era()
    }
}

impl Opening<'_> {
    async fn attempt(self, era: Option<Era>) -> Result<ServerSession, NotOpened> {
        match &self.spec.endpoint {
            Endpoint::Stdio(command) => self.over_pipes(command, era).await,
            Endpoint::Http(remote) => self.over_http(remote, era).await,
        }
    }

    async fn over_pipes(
        self,
        command: &ChildCommand,
        era: Option<Era>,
    ) -> Result<ServerSession, NotOpened> {
        let Self { spec, launcher, activity } = self;
        let child = launcher.children.spawn(command).map_err(ServerUnavailable::because)?;
        activity.runs_below(child.process.id());
        let tail = stderr::Tail::default();
        tokio::spawn(stderr::log(spec.name.clone(), child.stderr, tail.clone()));
        let (stop, ended) = watch_exit(&spec.name, launcher, child.process, child.mark);
        let guard = stop.clone().drop_guard();
        let writer = StdinWriter::new(child.stdin);
        let peer = Peer::new(spec, Outlet::Stdin(writer.clone()), launcher.backlog.clone());
        let closed = CancellationToken::new();
        let (name, done) = (spec.name.clone(), closed.clone().drop_guard());
        let reading = pipes::read(name, child.stdout, writer.clone(), peer.clone(), stop.clone());
        tokio::spawn(async move {
            reading.await;
            drop(done);
        });
        match agree(&peer, spec.elicitation, era, silence(&writer, activity)).await {
            Ok(agreement) => {
                guard.disarm();
                let elicitation = spec.elicitation;
                Ok(ServerSession { peer, agreement, elicitation, stop, closed, ended })
            }
            Err(failure) => {
                log_stderr(&spec.name, &tail);
                if failure.instead.is_some() {
                    // Two of a kind may get into each other's way.
                    stop.cancel();
                    ended.cancelled().await;
                }
                Err(failure)
            }
        }
    }

    async fn over_http(
        self,
        remote: &Remote,
        era: Option<Era>,
    ) -> Result<ServerSession, NotOpened> {
        let Self { spec, launcher, .. } = self;
        let (queue, outbound) = mpsc::unbounded_channel();
        let peer = Peer::new(spec, Outlet::Http(queue), launcher.backlog.clone());
        let transport = HttpTransport::new(remote, peer.clone())?;
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let (guard, done) = (stop.clone().drop_guard(), ended.clone().drop_guard());
        let running = transport.run(outbound, stop.clone());
        tokio::spawn(async move {
            running.await;
            drop(done);
        });
        let agreement = agree(&peer, spec.elicitation, era, tokio::time::sleep(SILENCE)).await?;
        guard.disarm();
        let (elicitation, closed) = (spec.elicitation, ended.clone());
        Ok(ServerSession { peer, agreement, elicitation, stop, closed, ended })
    }
}

/// Waits for the end of the process in a task of its own. Cancelling the first token ends it; the
/// second is cancelled when it has ended.
fn watch_exit(
    server: &ServerName,
    launcher: &Arc<Launcher>,
    process: Child,
    mark: String,
) -> (CancellationToken, CancellationToken) {
    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let (server, launcher) = (server.clone(), launcher.clone());
    let tokens = (stop.clone(), ended.clone());
    tokio::spawn(async move {
        let status = launcher.children.wait_for_exit(process, mark, stop.clone()).await;
        ended.cancel();
        if !stop.is_cancelled() {
            tracing::warn!(%server, "its process ended: {status}");
        }
    });
    tokens
}

/// Logs the last lines of the server's stderr, for people; agents are not shown them.
fn log_stderr(server: &ServerName, tail: &stderr::Tail) {
    for line in tail.take() {
        tracing::warn!(%server, "its stderr: {line}");
    }
}
