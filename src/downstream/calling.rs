//! How a call goes to a server and comes back.
//!
//! Over pipes a call is written by whoever makes it, and its answer handed to them by the reader:
//! the way through rmcp's tasks costs several times as much. Over HTTP rmcp's worker keeps the
//! session, and so sends the calls.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt;
use rmcp::{
    RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CancelledNotificationParam, ClientRequest,
        GetExtensions, MetaObject, RequestId, RequestMetaObject,
    },
    service::{Peer, PeerRequestOptions, ServiceError},
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    connection::Connection,
    failure::{CallFailure, Unavailable},
    findings::{Finding, Unusable},
    opening::{Era, Line},
    outgoing::Outgoing,
    pending::{PendingCall, Reply},
    stdin_writer::{Seen, StdinWriter},
};
use crate::{
    domain::{
        json::{MOST_VALUES, RawJson},
        refusal::RpcError,
        settings::Elicitation,
    },
    host::http::Reached,
};

/// How long after the end of a server's stdout its process may still be seen to live.
pub(super) const END_GRACE: Duration = Duration::from_secs(1);

/// How long telling a server of a withdrawn request may take.
const NOTICE_DEADLINE: Duration = Duration::from_secs(5);

/// What every request of the stateless version says of the client (2026-07-28, `_meta`).
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Why a call is given up, for us and for the server.
type GivenUp = (CallFailure, &'static str);

/// A `tools/call` as it is written.
#[derive(Serialize)]
struct Request<'a> {
    jsonrpc: &'static str,
    id: i64,
    method: &'static str,
    params: Params<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    name: &'a str,
    arguments: &'a RawJson,
    #[serde(rename = "_meta")]
    meta: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_responses: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<&'a str>,
}

impl Connection {
    /// Forwards one call and answers the result as it arrived.
    pub(super) async fn call(
        &self,
        call: &Outgoing,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<RawJson, CallFailure> {
        let mut flight = PendingCall::new(call.client.channel.clone(), timeout);
        flight.answers = call.client.answers.clone().filter(|_| self.era() == Era::Stateless);
        match &self.line {
            Line::Pipes(writer) => self.over_pipes(writer, call, &Arc::new(flight), cancel).await,
            Line::Http => self.over_http(call, flight, cancel).await,
        }
    }

    async fn over_pipes(
        &self,
        writer: &Arc<StdinWriter>,
        call: &Outgoing,
        flight: &Arc<PendingCall>,
        cancel: &CancellationToken,
    ) -> Result<RawJson, CallFailure> {
        let mut departed = self.wire.pending_calls.register(flight).ok_or(CallFailure::NotSent)?;
        let id = departed.id();
        let line = self.line_of(id, call, flight).map_err(|_| CallFailure::NotSent)?;
        let mut writing = Box::pin(writer.clone().write(line, Some(id)));
        if writing.as_mut().now_or_never().is_none() {
            // Somebody else is writing, or the pipe is full.
            tokio::spawn(writing);
        }
        let outcome = given_up_or(departed.reply(), flight, cancel).await;
        let seen = writer.take_seen(id);
        match outcome {
            Ok(Some(reply)) => result_of(reply),
            Ok(None) => Err(self.lost(seen).await),
            Err((failure, reason)) => {
                // Written after the call, as lines are in the order in which they were begun.
                withdraw(&self.peer, RequestId::Number(id), reason);
                Err(failure)
            }
        }
    }

    fn line_of(
        &self,
        id: i64,
        call: &Outgoing,
        flight: &PendingCall,
    ) -> serde_json::Result<Vec<u8>> {
        let mut meta = self.meta(call);
        meta.insert("progressToken".into(), id.into());
        if self.era() == Era::Stateless {
            let us = json!({"name": "tollgate", "version": env!("CARGO_PKG_VERSION")});
            meta.insert(VERSION.into(), self.version.as_str().into());
            meta.insert(CLIENT_INFO.into(), us);
        }
        let params = Params {
            name: call.tool.as_str(),
            arguments: &call.arguments,
            meta,
            input_responses: flight.answers.as_ref(),
            request_state: self.state(call),
        };
        let request = Request { jsonrpc: "2.0", id, method: "tools/call", params };
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        Ok(line)
    }

    /// The server ended, or its stream did.
    async fn lost(&self, seen: Seen) -> CallFailure {
        match seen {
            Seen::NotWritten => CallFailure::NotSent,
            Seen::Maybe => CallFailure::Lost,
            // One that only closed its stdout could still read the call.
            Seen::NotRead => match tokio::time::timeout(END_GRACE, self.ended.cancelled()).await {
                Ok(()) => CallFailure::NotSent,
                Err(_) => CallFailure::Lost,
            },
        }
    }

    async fn over_http(
        &self,
        call: &Outgoing,
        mut flight: PendingCall,
        cancel: &CancellationToken,
    ) -> Result<RawJson, CallFailure> {
        let meta = RequestMetaObject(MetaObject(self.meta(call)));
        let options = PeerRequestOptions::no_options().with_meta(meta);
        let arguments = match call.arguments.tree(MOST_VALUES) {
            Ok(Value::Object(arguments)) => Some(arguments),
            _ => {
                flight.arguments = Some(call.arguments.clone());
                None
            }
        };
        let flight = &Arc::new(flight);
        let request = self.request(call, arguments, flight);
        let sending = self.peer.send_cancellable_request(request, options);
        let sent = given_up_or(sending, flight, cancel).await.map_err(|(failure, _)| failure)?;
        let handle = sent.map_err(|_| CallFailure::NotSent)?;
        let (id, token) = (handle.id.clone(), handle.progress_token.clone());
        let outcome = given_up_or(handle.await_response(), flight, cancel).await;
        self.wire.pending_calls.complete(flight, &id, &token);
        let because = |cause: &str| Unavailable::because(cause.into());
        match (outcome, flight.take_reply()) {
            (Err((failure, reason)), _) => {
                withdraw(&self.peer, id, reason);
                Err(failure)
            }
            (Ok(_), Some(reply)) => result_of(reply),
            (Ok(Err(ServiceError::TransportSend(_))), None) => {
                Err(CallFailure::Unavailable(because("its session ended and could not be renewed")))
            }
            // Nothing came of it, whatever rmcp makes of that.
            (Ok(_), None) => {
                Err(CallFailure::Broken(because("its stream or session ended without the answer")))
            }
        }
    }

    fn request(
        &self,
        call: &Outgoing,
        arguments: Option<Map<String, Value>>,
        flight: &Arc<PendingCall>,
    ) -> ClientRequest {
        let mut params = CallToolRequestParams::new(call.tool.as_str().to_owned());
        params.arguments = arguments;
        params.request_state = self.state(call).map(str::to_owned);
        let mut request = CallToolRequest::new(params);
        request.extensions_mut().insert(flight.clone());
        ClientRequest::CallToolRequest(request)
    }

    fn state<'a>(&self, call: &'a Outgoing) -> Option<&'a str> {
        call.client.state.as_deref().filter(|_| self.era() == Era::Stateless)
    }

    /// The call's own `_meta`; in the stateless version also what the client can be asked, of which
    /// nothing but elicitation is ever passed on.
    fn meta(&self, call: &Outgoing) -> Map<String, Value> {
        let mut meta = call.meta.clone();
        if self.era() == Era::Stateless {
            let asked = call.client.elicitation.clone();
            let capabilities = match asked.filter(|_| self.elicitation == Elicitation::Allow) {
                Some(elicitation) => json!({ "elicitation": elicitation }),
                None => Value::Object(Map::new()),
            };
            meta.insert(CLIENT_CAPABILITIES.into(), capabilities);
        }
        meta
    }
}

/// Tells the server that nobody waits for a request any more; in the background, as it may not be
/// reading. A runtime that ends takes the session with it.
pub(super) fn withdraw(peer: &Peer<RoleClient>, id: RequestId, reason: &'static str) {
    let Ok(runtime) = Handle::try_current() else { return };
    let peer = peer.clone();
    let notice = CancelledNotificationParam::new(Some(id), Some(reason.to_owned()));
    runtime.spawn(async move {
        // A server that cannot be told is gone or stuck, and will be noticed as such.
        let _ = tokio::time::timeout(NOTICE_DEADLINE, peer.notify_cancelled(notice)).await;
    });
}

/// Waits for something of a call, unless the client withdraws it or its time runs out.
async fn given_up_or<T>(
    step: impl Future<Output = T>,
    flight: &PendingCall,
    cancel: &CancellationToken,
) -> Result<T, GivenUp> {
    let step = pin!(step);
    tokio::select! {
        biased;
        done = step => Ok(done),
        () = cancel.cancelled() => Err((CallFailure::Cancelled, "the client cancelled the call")),
        () = flight.expired() => Err((CallFailure::Timeout, "the call timed out")),
    }
}

fn result_of(reply: Reply) -> Result<RawJson, CallFailure> {
    let failed = match reply {
        Reply::Result(result) => return Ok(result),
        Reply::Error(error) => {
            return Err(CallFailure::Rpc(RpcError {
                code: error.code.0,
                message: error.message.into_owned(),
                data: error.data,
            }));
        }
        Reply::Finding(Finding::Unusable(Unusable::TooLong)) => return Err(CallFailure::TooLong),
        Reply::Finding(Finding::Unusable(Unusable::Unreadable)) => {
            return Err(CallFailure::Unreadable);
        }
        Reply::Finding(Finding::Failed(failed)) => failed,
    };
    Err(match failed.reached {
        Reached::No => CallFailure::NotSent,
        Reached::Refused => CallFailure::Unavailable(failed.unavailable),
        Reached::Maybe => CallFailure::Broken(failed.unavailable),
    })
}
