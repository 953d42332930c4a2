//! Servers over Streamable HTTP, of both eras.
//!
//! rmcp's worker keeps the session: it negotiates, resumes streams, renews what has expired. It
//! reads messages into rmcp's types, so [`client`] hands it only what it needs and keeps the
//! results themselves in [`Kept`], from where [`Remoted`] gives them back raw.
//!
//! - [`client`]: one HTTP request each, and what its answer means.
//! - [`events`]: server-sent events of bounded size.
//! - [`mirrored`]: tools that want arguments as HTTP headers.

mod client;
mod events;
mod mirrored;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderName, HeaderValue};
use rmcp::{
    RoleClient,
    model::{JsonRpcMessage, JsonRpcResponse, RequestId, ServerResult},
    service::{RxJsonRpcMessage, TxJsonRpcMessage},
    transport::{
        Transport, WorkerTransport,
        common::client_side_sse::ExponentialBackoff,
        streamable_http_client::{
            StreamableHttpClientTransportConfig, StreamableHttpClientWorker, StreamableHttpError,
        },
    },
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    failure::Unavailable,
    questions::{Heard, Questions, Said, repeated},
    wire::{self, Wire},
};
use crate::{
    domain::{frame::MAX_MESSAGE_BYTES, settings::Remote},
    host::http::Guard,
};
use client::{Client, Fault, LONGEST_PAUSE};

/// This many requests of one server may wait for the beginning of their answers.
const MOST_REQUESTS: usize = 256;

/// Results that rmcp does not see, until they are given back.
#[derive(Debug, Default)]
struct Kept(Mutex<HashMap<RequestId, Value>>);

impl Kept {
    /// Keeps the first result of a request.
    fn put(&self, id: RequestId, result: Value) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(id).or_insert(result);
    }

    fn take(&self, id: &RequestId) -> Option<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

/// The worker's transport, with results raw.
pub(super) struct Remoted {
    worker: WorkerTransport<StreamableHttpClientWorker<Client>>,
    wire: Arc<Wire>,
    kept: Arc<Kept>,
    questions: Arc<Questions>,
    /// Cancelled when the session has ended.
    ended: CancellationToken,
}

/// Refuses a remote server whose URL names an address that may not be reached.
pub(super) fn check(remote: &Remote) -> Result<(), String> {
    Guard(remote.allow_private.clone()).check(&remote.url)
}

/// A transport to `remote`; connects at the first message.
///
/// # Errors
/// Why the settings admit no connection.
pub(super) fn connect(
    remote: &Remote,
    wire: Arc<Wire>,
    ended: CancellationToken,
) -> Result<Remoted, Unavailable> {
    let kept = Arc::<Kept>::default();
    let client = Client::new(remote, wire.clone(), kept.clone()).map_err(Unavailable::because)?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(remote.url.as_str())
        .max_concurrent_requests(MOST_REQUESTS)
        .custom_headers(headers(remote)?);
    config.max_sse_event_size = MAX_MESSAGE_BYTES;
    let mut pauses = ExponentialBackoff::default();
    pauses.max_delay = Some(LONGEST_PAUSE);
    config.retry_config = Arc::new(pauses);
    let worker = WorkerTransport::spawn(StreamableHttpClientWorker::new(client, config));
    Ok(Remoted { worker, wire, kept, questions: Questions::new(), ended })
}

fn headers(remote: &Remote) -> Result<HashMap<HeaderName, HeaderValue>, Unavailable> {
    let header = |(name, value): (&String, &String)| {
        let mut value = HeaderValue::from_str(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
    };
    let headers = remote.headers.iter().map(header).collect::<Option<_>>();
    headers.ok_or_else(|| Unavailable::because("one of its `headers` cannot be sent".into()))
}

impl Transport<RoleClient> for Remoted {
    type Error = StreamableHttpError<Fault>;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleClient>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        if let JsonRpcMessage::Request(request) = &message {
            self.wire.begin(&request.id, &request.request);
        }
        let said = self.questions.said(&message);
        let sent = self.worker.send(message);
        async move {
            match said {
                Said::TooLate => Ok(()),
                Said::Answer(_answering) => sent.await,
                Said::Plain => sent.await,
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            let message = self.worker.receive().await?;
            if let JsonRpcMessage::Response(response) = message {
                return Some(match self.kept.take(&response.id) {
                    Some(result) => given_back(response, result),
                    None => JsonRpcMessage::Response(response),
                });
            }
            // Our answers leave through the worker, which must not wait for room here.
            match self.questions.heard(&message, self.questions.room_now()) {
                Heard::Passed => return Some(message),
                Heard::Repeated(id, room) => {
                    let refused = self.worker.send(repeated(id));
                    tokio::spawn(async move {
                        // A session that cannot be sent to is noticed as such.
                        let _ = refused.await;
                        drop(room);
                    });
                }
                Heard::Dropped => {}
            }
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.worker.close().await
    }
}

impl Drop for Remoted {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// The result itself. Of a list of tools rmcp saw those that name HTTP headers for their arguments,
/// and took out those that name them wrongly: they may not be called.
fn given_back(
    seen: JsonRpcResponse<ServerResult>,
    mut result: Value,
) -> RxJsonRpcMessage<RoleClient> {
    if let ServerResult::ListToolsResult(left) = &seen.result
        && let Some(Value::Array(tools)) = result.get_mut("tools")
    {
        let left: HashSet<&str> = left.tools.iter().map(|tool| tool.name.as_ref()).collect();
        tools.retain(|tool| {
            !mirrored::names_headers(tool)
                || tool.get("name").and_then(Value::as_str).is_some_and(|name| left.contains(name))
        });
    }
    wire::raw(result, seen.id)
}
