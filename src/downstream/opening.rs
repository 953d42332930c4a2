//! The begin of a session: the process or the HTTP client, and the handshake.

use std::{pin::pin, sync::Arc};

use rmcp::{
    RoleClient,
    model::ProtocolVersion,
    service::{ClientInitializeError, ClientLifecycleMode, ClientServiceExt, RunningService},
};
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::{
    Launcher,
    failure::Unavailable,
    findings,
    handler::Handler,
    http,
    listing::cut,
    negotiation::{Finding, negotiate},
    stderr,
    stdin_writer::StdinWriter,
    transport::Pipes,
    wire::Wire,
};
use crate::{
    domain::{
        call::ServerName,
        settings::{ChildCommand, Endpoint, Remote, ServerSpec},
    },
    host::activity::Activity,
};

/// Whether a server speaks a version with a handshake. Remembered, in this process and on disk, so that
/// an older server is not asked again what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Era {
    Handshake,
    Stateless,
}

impl Era {
    /// The era that a version is of.
    pub(super) fn of(version: &ProtocolVersion) -> Self {
        if version.has_initialize() { Self::Handshake } else { Self::Stateless }
    }
}

/// What the session runs over.
#[derive(Debug)]
pub(super) enum Line {
    Pipes(Arc<StdinWriter>),
    Http,
}

/// A session that was opened, before its tools are known.
pub(super) struct Opened {
    pub(super) service: RunningService<RoleClient, Handler>,
    pub(super) line: Line,
    /// Ends the session and the process when cancelled.
    pub(super) stop: CancellationToken,
    /// Cancelled when the process has ended, or the session that has none.
    pub(super) ended: CancellationToken,
}

/// Why a session was not opened.
struct NotOpened {
    why: Unavailable,
    /// What to try instead, where the server was spoken to in the wrong era: another one, or whichever
    /// it answers in.
    instead: Option<Option<Era>>,
}

impl NotOpened {
    /// After a handshake that failed. `instead` is what to try if the server was reached and refused
    /// what it was asked.
    fn new(error: ClientInitializeError, wire: &Wire, instead: Option<Option<Era>>) -> Self {
        match wire.findings.of_handshake() {
            Some(findings::Finding::Failed(failed)) => failed.unavailable.into(),
            Some(findings::Finding::Unusable(_)) => Unavailable::because(
                "its answer to the MCP handshake is too long, or cannot be read".into(),
            )
            .into(),
            None => Self {
                instead: instead.filter(|_| is_refusal(&error)),
                why: handshake_failure(error),
            },
        }
    }
}

impl From<Unavailable> for NotOpened {
    fn from(why: Unavailable) -> Self {
        Self { why, instead: None }
    }
}

impl Opened {
    /// Reaches the server and completes the handshake, in the era that it is known to speak if it is.
    ///
    /// # Errors
    /// What went wrong, in words for an agent. A process is being ended by then.
    pub(super) async fn new(
        spec: &ServerSpec,
        launcher: &Arc<Launcher>,
        era: Option<Era>,
        activity: &Activity,
    ) -> Result<Self, Unavailable> {
        match Self::once(spec, launcher, era, activity).await {
            Err(NotOpened { instead: Some(era), why }) => {
                tracing::debug!(server = %spec.name, ?era, "tried in another era: {}", why.cause);
                let again = Self::once(spec, launcher, era, activity).await;
                again.map_err(|failure| failure.why)
            }
            outcome => outcome.map_err(|failure| failure.why),
        }
    }

    async fn once(
        spec: &ServerSpec,
        launcher: &Arc<Launcher>,
        era: Option<Era>,
        activity: &Activity,
    ) -> Result<Self, NotOpened> {
        let wire = Arc::new(Wire::new(&spec.name, launcher.backlog.clone()));
        let handler = Handler { wire, elicitation: spec.elicitation };
        match &spec.endpoint {
            Endpoint::Stdio(command) => {
                Self::process(&spec.name, command, launcher, handler, era, activity).await
            }
            Endpoint::Http(remote) => Self::remote(remote, handler, era).await,
        }
    }

    /// What both directions of the session know.
    pub(super) fn wire(&self) -> Arc<Wire> {
        self.service.service().wire.clone()
    }

    /// The version of MCP that is spoken.
    pub(super) fn version(&self) -> ProtocolVersion {
        let info = self.service.peer_info();
        info.map_or(ProtocolVersion::LATEST_WITH_INITIALIZE, |info| info.protocol_version.clone())
    }

    async fn process(
        server: &ServerName,
        command: &ChildCommand,
        launcher: &Arc<Launcher>,
        handler: Handler,
        era: Option<Era>,
        activity: &Activity,
    ) -> Result<Self, NotOpened> {
        let child = launcher.children.spawn(command).map_err(Unavailable::because)?;
        activity.runs_below(child.process.id());
        let tail = stderr::Tail::default();
        tokio::spawn(stderr::log(server.clone(), child.stderr, tail.clone()));
        let (stop, ended) = attend(server, launcher, child.process, child.mark);
        let guard = stop.clone().drop_guard();
        let writer = StdinWriter::new(child.stdin);
        let pipes = Pipes::new(server.clone(), handler.wire.clone(), writer.clone(), child.stdout);
        match converse(handler, pipes, era, activity).await {
            Ok(service) => {
                guard.disarm();
                Ok(Self { service, line: Line::Pipes(writer), stop, ended })
            }
            Err(failure) => {
                tell_stderr(server, &tail);
                if failure.instead.is_some() {
                    // Two of a kind may get into each other's way.
                    stop.cancel();
                    ended.cancelled().await;
                }
                Err(failure)
            }
        }
    }

    async fn remote(
        remote: &Remote,
        handler: Handler,
        era: Option<Era>,
    ) -> Result<Self, NotOpened> {
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let wire = handler.wire.clone();
        let transport = http::connect(remote, wire.clone(), ended.clone())?;
        let service = handler.serve_with_lifecycle(transport, lifecycle(era)).await;
        let instead = era.is_some().then_some(None);
        let service = service.map_err(|error| NotOpened::new(error, &wire, instead))?;
        Ok(Self { service, line: Line::Http, stop, ended })
    }
}

/// The handshake over pipes. A server that is not known to speak an older version is asked first.
async fn converse(
    handler: Handler,
    mut pipes: Pipes,
    known: Option<Era>,
    activity: &Activity,
) -> Result<RunningService<RoleClient, Handler>, NotOpened> {
    let patient = known == Some(Era::Stateless);
    let (era, instead) = match known {
        Some(Era::Handshake) => (Era::Handshake, Some(None)),
        _ => match negotiate(&mut pipes, &handler, activity, patient).await? {
            Finding::Answered(era) => (era, None),
            Finding::Ignored => (Era::Handshake, Some(Some(Era::Stateless))),
        },
    };
    let wire = handler.wire.clone();
    let service = handler.serve_with_lifecycle(pipes, lifecycle(Some(era))).await;
    service.map_err(|error| NotOpened::new(error, &wire, instead))
}

/// Whether the server was reached and refused what it was asked.
fn is_refusal(error: &ClientInitializeError) -> bool {
    matches!(
        error,
        ClientInitializeError::JsonRpcError(_)
            | ClientInitializeError::ExpectedInitResult(_)
            | ClientInitializeError::NoCompatibleProtocolVersion { .. }
    )
}

/// Waits for the end of the process in a task of its own. Cancelling the first token ends it; the
/// second is cancelled when it has ended.
fn attend(
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

/// Keeps a session in a task of its own until it ends, or is ended by `stop`, which closes the child's
/// stdin. The token is cancelled then.
pub(super) fn outlast(
    service: RunningService<RoleClient, Handler>,
    stop: CancellationToken,
) -> CancellationToken {
    let closed = CancellationToken::new();
    let done = closed.clone().drop_guard();
    tokio::spawn(async move {
        let hang_up = service.cancellation_token();
        let mut end = pin!(service.waiting());
        tokio::select! {
            _ = &mut end => {}
            () = stop.cancelled() => {
                hang_up.cancel();
                // However it ended, it has.
                let _ = end.await;
            }
        }
        drop(done);
    });
    closed
}

fn lifecycle(era: Option<Era>) -> ClientLifecycleMode {
    let newest = || vec![ProtocolVersion::V_2026_07_28];
    match era {
        Some(Era::Handshake) => ClientLifecycleMode::Initialize,
        Some(Era::Stateless) => ClientLifecycleMode::Discover { preferred_versions: newest() },
        None => ClientLifecycleMode::Auto {
            preferred_versions: newest(),
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        },
    }
}

/// What the server said last, for the people who read the log; agents are not shown it.
fn tell_stderr(server: &ServerName, tail: &stderr::Tail) {
    for line in tail.take() {
        tracing::warn!(%server, "its stderr: {line}");
    }
}

/// In words for an agent; rmcp's own name Rust types.
fn handshake_failure(error: ClientInitializeError) -> Unavailable {
    tracing::debug!(%error, "handshake failed");
    Unavailable::because(match error {
        ClientInitializeError::ConnectionClosed(_)
        | ClientInitializeError::TransportError { .. } => {
            "it ended before it answered the MCP handshake; the gateway's log has its stderr".into()
        }
        ClientInitializeError::JsonRpcError(error) => {
            format!("it refused the MCP handshake: {}", cut(&error.message))
        }
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => {
            return handshake_failure(*fallback);
        }
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            "it speaks no MCP version that is known here".into()
        }
        _ => "it did not answer the MCP handshake as a server does".into(),
    })
}
