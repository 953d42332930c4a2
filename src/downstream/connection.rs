//! One live session with a server, and its tools.

use std::{sync::Arc, time::Duration};

use rmcp::model::{
    ClientRequest, RequestMetaObject, SubscriptionFilter, SubscriptionsListenRequest,
    SubscriptionsListenRequestParams,
};
use tokio::{sync::Mutex, time::Instant};

use super::{
    failure::ServerUnavailable,
    handshake::Era,
    listing::{Listing, list},
    session::{Opening, ServerSession},
};
use crate::{
    domain::{call::ServerName, catalog::Catalogue},
    host::clock,
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
    pub(super) session: Arc<ServerSession>,
    /// Locked while the tools are listed, so that they are listed once.
    listed: Mutex<Listed>,
}

#[derive(Debug)]
struct Listed {
    catalogue: Arc<Catalogue>,
    at: Instant,
    /// When the list is out of date, as the server said; None if it reports changes.
    stale_at: Option<Instant>,
}

impl Connection {
    /// Reaches the server, completes the handshake and lists the tools.
    ///
    /// # Errors
    /// What went wrong, in words for an agent. A process is being ended by then.
    pub(super) async fn open(
        opening: Opening<'_>,
        era: Option<Era>,
    ) -> Result<Self, ServerUnavailable> {
        let session = Arc::new(ServerSession::open(opening, era).await?);
        let guard = session.stop.clone().drop_guard();
        let server = opening.spec.name.clone();
        let meta = session.agreement.meta(session.elicitation);
        let listing = list(&server, &session.peer, meta.clone()).await?;
        let tells = session.agreement.tells_of_changes;
        if let Some(meta) = meta.filter(|_| tells) {
            tokio::spawn(listen(session.clone(), meta));
        }
        guard.disarm();
        Ok(Self { server, session, listed: Mutex::new(Listed::new(listing, tells)) })
    }

    /// The tools; listed again first if the server said that they changed, or if what it said of
    /// them has run out.
    pub(super) async fn catalogue(&self) -> Result<Arc<Catalogue>, ServerUnavailable> {
        let mut listed = self.listed.lock().await;
        let change = self.session.peer.changes.take();
        let stale = listed.stale_at.is_some_and(|stale_at| stale_at <= clock::tokio_instant());
        if change.is_some() || stale {
            tokio::time::sleep_until(listed.at + DEBOUNCE).await;
            let tells = listed.stale_at.is_none();
            let meta = self.session.agreement.meta(self.session.elicitation);
            *listed = Listed::new(list(&self.server, &self.session.peer, meta).await?, tells);
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
            () = self.session.peer.changes.told() => true,
            () = self.session.ended.cancelled() => false,
            () = self.session.stop.cancelled() => false,
        }
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

/// Keeps a subscription to changed tools open.
async fn listen(session: Arc<ServerSession>, meta: RequestMetaObject) {
    let listening = async {
        while session.is_alive() {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            let params = SubscriptionsListenRequestParams::new(filter);
            let mut request = SubscriptionsListenRequest::new(params);
            request.extensions.insert(meta.clone());
            session.peer.request(ClientRequest::SubscriptionsListenRequest(request)).await;
            session.peer.changes.unsubscribed();
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    };
    tokio::select! { () = listening => {}, () = session.stop.cancelled() => {} }
}
