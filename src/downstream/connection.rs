//! One live MCP session with a server: handshake, tools, calls.

use std::{sync::Arc, time::Duration};

use rmcp::{
    RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientRequest,
        GetExtensions, MetaObject, RequestId, RequestMetaObject, ServerResult, SubscriptionFilter,
    },
    service::{Peer, PeerRequestOptions, RunningService, ServiceError},
};
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    child::Launcher,
    failure::{CallFailure, Unavailable},
    flight::Flight,
    handler::Handler,
    listing::{Listing, list},
    opening::{Era, Line, Opened, outlast},
    outgoing::Outgoing,
    transport::Seen,
    wire::{Failed, Reached, TOO_LONG, UNREADABLE, Wire},
};
use crate::domain::{
    call::ServerName,
    catalog::Catalogue,
    refusal::RpcError,
    settings::{Elicitation, ServerSpec},
};

/// What the client of one request can do (2026-07-28, `_meta`).
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// How long after the end of a server's stdout its process may still be seen to live.
const END_GRACE: Duration = Duration::from_secs(1);

/// How long telling a server of a withdrawn call may take.
const NOTICE_DEADLINE: Duration = Duration::from_secs(5);

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
    peer: Peer<RoleClient>,
    wire: Arc<Wire>,
    line: Line,
    /// Locked while the tools are listed, so that they are listed once.
    listed: Mutex<Listed>,
    era: Era,
    elicitation: Elicitation,
    /// Ends the session and the process when cancelled.
    stop: CancellationToken,
    /// Cancelled when the process has ended, or the session that has none.
    ended: CancellationToken,
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
    ) -> Result<Self, Unavailable> {
        let wire = Arc::<Wire>::default();
        let handler = Handler { wire: wire.clone(), elicitation: spec.elicitation };
        let opened = Opened::new(spec, launcher, handler, era).await?;
        let guard = opened.stop.clone().drop_guard();
        let era = opened.era();
        let service = opened.service;
        let listing = list(&spec.name, service.peer()).await?;
        let tells = era == Era::Handshake || tells_of_changes(&service);
        if era == Era::Stateless && tells {
            tokio::spawn(listen(service.peer().clone(), opened.stop.clone()));
        }
        guard.disarm();
        Ok(Self {
            server: spec.name.clone(),
            peer: service.peer().clone(),
            wire,
            line: opened.line,
            listed: Mutex::new(Listed::new(listing, tells)),
            era,
            elicitation: spec.elicitation,
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
        self.era
    }

    /// The tools; listed again first if the server said that they changed, or if what it said of
    /// them has run out.
    pub(super) async fn catalogue(&self) -> Result<Arc<Catalogue>, Unavailable> {
        let mut listed = self.listed.lock().await;
        let change = self.wire.changes.take();
        let stale = listed.stale_at.is_some_and(|stale_at| stale_at <= Instant::now());
        if change.is_some() || stale {
            tokio::time::sleep_until(listed.at + DEBOUNCE).await;
            let tells = listed.stale_at.is_none();
            *listed = Listed::new(list(&self.server, &self.peer).await?, tells);
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

    /// Forwards one call and answers the result as it arrived.
    pub(super) async fn call(
        &self,
        call: &Outgoing,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<Value, CallFailure> {
        let answers = call.client.answers.clone().filter(|_| self.era == Era::Stateless);
        let flight = Flight::new(call.client.uplink.clone(), timeout, answers);
        let options = PeerRequestOptions::no_options().with_meta(self.meta(call));
        let sent = tokio::select! {
            sent = self.peer.send_cancellable_request(self.request(call, &flight), options) => sent,
            () = cancel.cancelled() => return Err(CallFailure::Cancelled),
            () = flight.expired() => return Err(CallFailure::Timeout),
        };
        let handle = sent.map_err(|_| CallFailure::NotSent)?;
        let (id, token) = (handle.id.clone(), handle.progress_token.clone());
        let outcome = tokio::select! {
            biased;
            answer = handle.await_response() => Ok(answer),
            () = cancel.cancelled() => Err((CallFailure::Cancelled, "the client cancelled the call")),
            () = flight.expired() => Err((CallFailure::Timeout, "the call timed out")),
        };
        self.wire.flights.land(&id, &token);
        let seen = match &self.line {
            Line::Pipes(traffic) => traffic.take_seen(&id),
            Line::Http => Seen::Maybe,
        };
        match outcome {
            Ok(answer) => self.answer_of(answer, seen).await,
            Err((failure, reason)) => {
                self.withdraw(id, reason);
                Err(failure)
            }
        }
    }

    fn request(&self, call: &Outgoing, flight: &Arc<Flight>) -> ClientRequest {
        let mut params = CallToolRequestParams::new(call.tool.as_str().to_owned())
            .with_arguments(call.arguments.clone());
        params.request_state = call.client.state.clone().filter(|_| self.era == Era::Stateless);
        let mut request = CallToolRequest::new(params);
        request.extensions_mut().insert(flight.clone());
        ClientRequest::CallToolRequest(request)
    }

    /// The call's own `_meta`; in the stateless version also what the client can be asked, of which
    /// nothing but elicitation is ever passed on.
    fn meta(&self, call: &Outgoing) -> RequestMetaObject {
        let mut meta = call.meta.clone();
        if self.era == Era::Stateless {
            let asked = call.client.elicitation.clone();
            let capabilities = match asked.filter(|_| self.elicitation == Elicitation::Allow) {
                Some(elicitation) => json!({ "elicitation": elicitation }),
                None => Value::Object(Map::new()),
            };
            meta.insert(CLIENT_CAPABILITIES.into(), capabilities);
        }
        RequestMetaObject(MetaObject(meta))
    }

    async fn answer_of(
        &self,
        answer: Result<ServerResult, ServiceError>,
        seen: Seen,
    ) -> Result<Value, CallFailure> {
        match answer {
            Ok(ServerResult::CustomResult(result)) => Ok(result.0),
            // The transports hand up every other result raw.
            Ok(_) => Err(CallFailure::Lost),
            Err(ServiceError::McpError(error)) if error.code == TOO_LONG => {
                Err(CallFailure::TooLong)
            }
            Err(ServiceError::McpError(error)) if error.code == UNREADABLE => {
                Err(CallFailure::Unreadable)
            }
            Err(ServiceError::McpError(error)) => Err(match Failed::of(&error) {
                Some(failed) => failure_of(failed),
                None => CallFailure::Rpc(RpcError {
                    code: error.code.0,
                    message: error.message.into_owned(),
                    data: error.data,
                }),
            }),
            Err(ServiceError::TransportSend(_)) if matches!(self.line, Line::Http) => {
                Err(CallFailure::Unavailable(Unavailable::because(
                    "its session ended and could not be renewed".into(),
                )))
            }
            Err(_) if matches!(self.line, Line::Http) => Err(CallFailure::Broken(
                Unavailable::because("its stream ended without the answer".into()),
            )),
            Err(_) => Err(match seen {
                Seen::NotWritten => CallFailure::NotSent,
                Seen::Maybe => CallFailure::Lost,
                // One that only closed its stdout could still read the call.
                Seen::NotRead => {
                    match tokio::time::timeout(END_GRACE, self.ended.cancelled()).await {
                        Ok(()) => CallFailure::NotSent,
                        Err(_) => CallFailure::Lost,
                    }
                }
            }),
        }
    }

    /// Tells the server that nobody waits any more; in the background, as it may not be reading.
    fn withdraw(&self, id: RequestId, reason: &'static str) {
        let peer = self.peer.clone();
        let notice = CancelledNotificationParam::new(Some(id), Some(reason.to_owned()));
        tokio::spawn(async move {
            // A server that cannot be told is gone or stuck, and will be noticed as such.
            let _ = tokio::time::timeout(NOTICE_DEADLINE, peer.notify_cancelled(notice)).await;
        });
    }

    /// Closes the session and ends the process, if there is one, with all its descendants.
    pub(super) async fn close(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }
}

impl Listed {
    fn new(listing: Listing, tells_of_changes: bool) -> Self {
        let at = Instant::now();
        let ttl = listing.ttl.filter(|_| !tells_of_changes);
        Self {
            catalogue: Arc::new(listing.catalogue),
            at,
            stale_at: ttl.and_then(|ttl| at.checked_add(ttl.max(LEAST_TTL))),
        }
    }
}

/// Whether a server of the stateless version tells of changes to those who listen.
fn tells_of_changes(service: &RunningService<RoleClient, Handler>) -> bool {
    let info = service.peer_info();
    let tools = info.as_ref().and_then(|info| info.capabilities.tools.as_ref());
    tools.and_then(|tools| tools.list_changed) == Some(true)
}

/// Keeps a subscription to changed tools open. The changes themselves are heard by the transport.
async fn listen(peer: Peer<RoleClient>, stop: CancellationToken) {
    let listening = async {
        while !peer.is_transport_closed() {
            let filter = SubscriptionFilter::builder().tools_list_changed().build();
            if let Ok(mut subscription) = peer.listen(filter).await {
                while let Ok(Some(_)) = subscription.next().await {}
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    };
    tokio::select! { () = listening => {}, () = stop.cancelled() => {} }
}

fn failure_of(failed: Failed) -> CallFailure {
    match failed.reached {
        Reached::No => CallFailure::NotSent,
        Reached::Refused => CallFailure::Unavailable(failed.unavailable),
        Reached::Maybe => CallFailure::Broken(failed.unavailable),
    }
}
