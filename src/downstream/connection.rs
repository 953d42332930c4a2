//! One live MCP session with a server, and its tools.

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{ProtocolVersion, SubscriptionFilter},
    service::{Peer, RunningService},
};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Launcher,
    cache::LONGEST_ABOUT,
    calling::END_GRACE,
    failure::Unavailable,
    handler::Handler,
    listing::{Listing, list},
    opening::{Era, Line, Opened, outlast},
    wire::Wire,
};
use crate::{
    domain::{
        call::ServerName,
        catalog::Catalogue,
        render::first_sentence,
        settings::{Elicitation, ServerSpec},
    },
    host::{activity::Activity, clock},
};

/// The tools are not listed again within this time: some servers say several times in a row that
/// they have changed.
const DEBOUNCE: Duration = Duration::from_millis(250);

/// However short a server says that its tools stay as they are, they are listed no more often.
const LEAST_TTL: Duration = Duration::from_secs(10);

/// A subscription that ended is opened again after this time.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// A live session.
#[derive(Debug)]
pub(super) struct Connection {
    server: ServerName,
    pub(super) peer: Peer<RoleClient>,
    pub(super) wire: Arc<Wire>,
    pub(super) line: Line,
    /// Locked while the tools are listed, so that they are listed once.
    listed: Mutex<Listed>,
    /// The version of MCP that is spoken.
    pub(super) version: ProtocolVersion,
    pub(super) elicitation: Elicitation,
    /// What the server says of itself, in one sentence.
    pub(super) about: Option<String>,
    /// Ends the session and the process when cancelled.
    stop: CancellationToken,
    /// Cancelled when the process has ended, or the session that has none.
    pub(super) ended: CancellationToken,
    /// Cancelled when the session has ended.
    closed: CancellationToken,
}

#[derive(Debug)]
struct Listed {
    catalogue: Arc<Catalogue>,
    at: Instant,
    /// When the server's own word for the list runs out; None if it tells of changes.
    stale_at: Option<Instant>,
}

impl Connection {
    /// Reaches the server, completes the handshake and lists the tools.
    ///
    /// # Errors
    /// What went wrong, in words for an agent. A process is being ended by then.
    pub(super) async fn open(
        spec: &ServerSpec,
        launcher: &Arc<Launcher>,
        era: Option<Era>,
        activity: &Activity,
    ) -> Result<Self, Unavailable> {
        let opened = Opened::new(spec, launcher, era, activity).await?;
        let wire = opened.wire();
        let guard = opened.stop.clone().drop_guard();
        let version = opened.version();
        let era = Era::of(&version);
        let service = opened.service;
        let about = about(&service);
        let listing = list(&spec.name, service.peer(), &wire.findings).await?;
        let tells = era == Era::Handshake || tells_of_changes(&service);
        if era == Era::Stateless && tells {
            tokio::spawn(listen(service.peer().clone(), wire.clone(), opened.stop.clone()));
        }
        guard.disarm();
        Ok(Self {
            server: spec.name.clone(),
            peer: service.peer().clone(),
            wire,
            line: opened.line,
            listed: Mutex::new(Listed::new(listing, tells)),
            version,
            elicitation: spec.elicitation,
            about,
            closed: outlast(service, opened.stop.clone()),
            stop: opened.stop,
            ended: opened.ended,
        })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.peer.is_transport_closed() && !self.stop.is_cancelled()
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

    pub(super) fn era(&self) -> Era {
        Era::of(&self.version)
    }

    /// The tools; listed again first if the server said that they changed, or if what it said of
    /// them has run out.
    pub(super) async fn catalogue(&self) -> Result<Arc<Catalogue>, Unavailable> {
        let mut listed = self.listed.lock().await;
        let change = self.wire.changes.take();
        let stale = listed.stale_at.is_some_and(|stale_at| stale_at <= clock::tokio_instant());
        if change.is_some() || stale {
            tokio::time::sleep_until(listed.at + DEBOUNCE).await;
            let tells = listed.stale_at.is_none();
            *listed =
                Listed::new(list(&self.server, &self.peer, &self.wire.findings).await?, tells);
            if let Some(change) = change {
                change.settled();
            }
        }
        Ok(listed.catalogue.clone())
    }

    /// The tools, unless they are being listed right now.
    pub(super) fn known_catalogue(&self) -> Option<Arc<Catalogue>> {
        self.listed.try_lock().ok().map(|listed| listed.catalogue.clone())
    }

    /// Waits until the server says that its tools have changed; false when the session has ended.
    pub(super) async fn changed(&self) -> bool {
        tokio::select! {
            () = self.wire.changes.told() => true,
            () = self.ended.cancelled() => false,
            () = self.stop.cancelled() => false,
        }
    }

    /// Waits until no call is in flight.
    pub(super) async fn landed(&self) {
        self.wire.pending_calls.landed().await;
    }

    /// Closes the session and ends the process, if there is one, with all its descendants.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

impl Listed {
    fn new(listing: Listing, tells_of_changes: bool) -> Self {
        let at = clock::tokio_instant();
        let ttl = listing.ttl.filter(|_| !tells_of_changes);
        Self {
            catalogue: Arc::new(listing.catalogue),
            at,
            stale_at: ttl.and_then(|ttl| at.checked_add(ttl.max(LEAST_TTL))),
        }
    }
}

/// The first sentence of a server's instructions, else its title, else what describes it.
fn about(service: &RunningService<RoleClient, Handler>) -> Option<String> {
    let info = service.peer_info()?;
    let own = info.server_info.as_ref();
    let said = [
        info.instructions.as_deref(),
        own.and_then(|own| own.title.as_deref()),
        own.and_then(|own| own.description.as_deref()),
    ];
    let mut said = said.into_iter().flatten().map(|text| first_sentence(text, LONGEST_ABOUT));
    said.find(|sentence| !sentence.is_empty())
}

/// Whether a server of the stateless version tells of changes to those who listen.
fn tells_of_changes(service: &RunningService<RoleClient, Handler>) -> bool {
    let info = service.peer_info();
    let tools = info.as_ref().and_then(|info| info.capabilities.tools.as_ref());
    tools.and_then(|tools| tools.list_changed) == Some(true)
}

/// Keeps a subscription to changed tools open. The changes themselves are heard by the transport.
async fn listen(peer: Peer<RoleClient>, wire: Arc<Wire>, stop: CancellationToken) {
    let listening = async {
        let mut missed = false;
        while !peer.is_transport_closed() {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            if let Ok(mut subscription) = peer.listen(filter).await {
                if missed {
                    // Nobody was told of what changed in the meantime.
                    wire.changes.note();
                }
                while let Ok(Some(_)) = subscription.next().await {}
            }
            missed = true;
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    };
    tokio::select! { () = listening => {}, () = stop.cancelled() => {} }
}
