//! Servers over Streamable HTTP, of both eras.
//!
//! rmcp's worker keeps the session: it opens it, resumes streams, renews what has expired. It reads
//! messages into rmcp's types, so [`answers`] hands each answer to whoever waits for it, and gives the
//! worker only what it needs.
//!
//! - [`client`]: one HTTP request each. [`answers`]: what the messages in its answer mean.
//! - [`events`]: server-sent events of bounded size.
//! - [`mirrored`]: tools that want arguments as HTTP headers.

mod answers;
mod client;
mod events;
mod mirrored;

use std::{collections::HashMap, sync::Arc};

use http::{HeaderName, HeaderValue};
use rmcp::{
    model::{
        JsonRpcMessage, ServerJsonRpcMessage, ServerNotification, ServerRequest, ServerResult,
    },
    service::InboundStreamOrigin,
    transport::{
        Transport, WorkerTransport,
        common::client_side_sse::ExponentialBackoff,
        streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpClientWorker},
    },
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    failure::{Failed, ServerUnavailable},
    peer::{Outbound, Peer},
    pending::Reply,
};
use crate::{
    domain::{frame::MAX_MESSAGE_BYTES, settings::Remote},
    host::http::{Guard, Reached},
};
use answers::{ServerRequestParams, number};
pub(super) use client::Body;
use client::{HttpClient, LONGEST_PAUSE};
use mirrored::Judged;

/// This many requests of one server may wait for the beginning of their answers.
const MOST_REQUESTS: usize = 256;

/// The session that rmcp's worker keeps with a server.
pub(super) struct HttpTransport {
    worker: WorkerTransport<StreamableHttpClientWorker<HttpClient>>,
    peer: Arc<Peer>,
    judged: Arc<Judged>,
}

/// Refuses a remote server whose URL names an address that may not be reached.
pub(super) fn check(remote: &Remote) -> Result<(), String> {
    Guard(remote.allow_private.clone()).check(&remote.url)
}

impl HttpTransport {
    /// A transport to `remote`; connects at the first message.
    ///
    /// # Errors
    /// Why the settings admit no connection.
    pub(super) fn new(remote: &Remote, peer: Arc<Peer>) -> Result<Self, ServerUnavailable> {
        let judged = Arc::<Judged>::default();
        let client = HttpClient::new(remote, peer.clone(), judged.clone())
            .map_err(ServerUnavailable::because)?;
        let mut config = StreamableHttpClientTransportConfig::with_uri(remote.url.as_str())
            .max_concurrent_requests(MOST_REQUESTS)
            .custom_headers(headers(remote)?);
        config.max_sse_event_size = MAX_MESSAGE_BYTES;
        let mut pauses = ExponentialBackoff::default();
        pauses.max_delay = Some(LONGEST_PAUSE);
        config.retry_config = Arc::new(pauses);
        let worker = WorkerTransport::spawn(StreamableHttpClientWorker::new(client, config));
        Ok(Self { worker, peer, judged })
    }

    /// Sends and receives until the session ends or `stop` is cancelled. No request gets an answer
    /// after that.
    pub(super) async fn run(
        mut self,
        mut outbound: mpsc::UnboundedReceiver<Outbound>,
        stop: CancellationToken,
    ) {
        loop {
            tokio::select! {
                message = self.worker.receive() => match message {
                    Some(message) => self.receive(message),
                    None => break,
                },
                Some(outbound) = outbound.recv() => self.send(outbound),
                () = stop.cancelled() => break,
            }
        }
        self.peer.pending.end();
        // A session that cannot be ended ends by itself.
        let _ = self.worker.close().await;
    }

    fn send(&mut self, Outbound { message, sent }: Outbound) {
        let id = match &message {
            JsonRpcMessage::Request(request) => number(&request.id),
            _ => None,
        };
        let (sending, peer) = (self.worker.send(message), self.peer.clone());
        tokio::spawn(async move {
            match (sending.await, id) {
                (Ok(()), _) => {
                    // One who gave up does not wait for it.
                    let _ = sent.send(());
                }
                (Err(_), Some(id)) => {
                    let cause = "its session ended and could not be renewed".to_owned();
                    let unavailable = ServerUnavailable::because(cause);
                    let failed = Failed { unavailable, reached: Reached::Refused };
                    peer.pending.complete(id, Reply::Failed(failed));
                }
                (Err(_), None) => {}
            }
        });
    }

    /// Takes what the worker has for us. Answers went to those who wait for them before it saw them.
    fn receive(&self, message: ServerJsonRpcMessage) {
        match message {
            JsonRpcMessage::Request(request) => {
                let ServerRequest::CustomRequest(custom) = request.request else { return };
                let origin = match custom.extensions.get::<InboundStreamOrigin>() {
                    Some(InboundStreamOrigin::OutboundRequest(id)) => number(id),
                    _ => None,
                };
                let params = custom.params.and_then(|params| serde_json::from_value(params).ok());
                // Our answers leave through the worker, which must not wait for room here.
                if let (Some(params), Some(room)) = (params, self.peer.questions.room_now()) {
                    let ServerRequestParams { method, params } = params;
                    self.peer.asked(request.id, method, params.map(Into::into), origin, room);
                }
            }
            JsonRpcMessage::Notification(notification) => {
                if let ServerNotification::CancelledNotification(cancelled) =
                    notification.notification
                    && let Some(id) = cancelled.params.request_id
                {
                    self.peer.withdrawn(&id);
                }
            }
            JsonRpcMessage::Response(response) => {
                let Some(id) = number(&response.id) else { return };
                if let (ServerResult::ListToolsResult(left), Some(list)) =
                    (response.result, self.judged.take(&response.id))
                {
                    let list = mirrored::without_rejected(list, &left);
                    self.peer.pending.complete(id, Reply::Result(list.into()));
                }
                self.peer.pending.abandon(id);
            }
            JsonRpcMessage::Error(error) => {
                if let Some(id) = error.id.as_ref().and_then(number) {
                    self.peer.pending.abandon(id);
                }
            }
        }
    }
}

fn headers(remote: &Remote) -> Result<HashMap<HeaderName, HeaderValue>, ServerUnavailable> {
    let header = |(name, value): (&String, &String)| {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    };
    let headers = remote.headers.iter().map(header).collect::<Option<_>>();
    headers.ok_or_else(|| ServerUnavailable::because("one of its `headers` cannot be sent"))
}
