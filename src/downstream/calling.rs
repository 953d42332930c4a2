//! How a call goes to a server and comes back.
//!
//! Whoever makes a call writes its line to the child, and the reader hands them the answer. Over HTTP
//! the line is the body of a request, which rmcp's worker sends in its session.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientJsonRpcMessage, ClientRequest, MetaObject,
    RequestId, RequestMetaObject,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    failure::{CallFailure, ServerUnavailable, Unusable},
    handshake::Era,
    http::Body,
    outgoing::Outgoing,
    peer::{Outbound, Outlet},
    pending::{AwaitedReply, PendingCall, Reply},
    session::{END_GRACE, ServerSession},
    stdin_writer::Seen,
};
use crate::{
    domain::{
        frame::line_of,
        json::{MOST_VALUES, RawJson},
        settings::Elicitation,
    },
    host::http::Reached,
};

/// What every request of the stateless version says of the client (2026-07-28, `_meta`).
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A `tools/call` as it is written.
#[derive(Serialize)]
struct CallMessage<'a> {
    jsonrpc: &'static str,
    id: i64,
    method: &'static str,
    params: CallMessageParams<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallMessageParams<'a> {
    name: &'a str,
    arguments: &'a RawJson,
    #[serde(rename = "_meta")]
    meta: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_responses: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_state: Option<&'a str>,
}

impl ServerSession {
    /// Forwards one call and answers the result as it arrived.
    pub(super) async fn call(
        &self,
        call: &Outgoing,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<RawJson, CallFailure> {
        let pending = Arc::new(PendingCall::new(call.client.channel.clone(), timeout));
        let registered = self.peer.pending.register(Some(pending.clone()));
        let mut registered = registered.ok_or(CallFailure::NotSent)?;
        let id = registered.id();
        let meta = self.meta(call, id);
        let line = self.line(call, id, &meta).map_err(|_| CallFailure::NotSent)?;
        let lost = match self.peer.outlet() {
            Outlet::Stdin(writer) => {
                let mut writing = Box::pin(writer.clone().write(line, Some(id)));
                if writing.as_mut().now_or_never().is_none() {
                    // Somebody else is writing, or the pipe is full.
                    tokio::spawn(writing);
                }
                let outcome = self.outcome(&mut registered, &pending, cancel).await;
                let seen = writer.take_seen(id);
                match outcome {
                    Some(outcome) => return outcome,
                    None => self.lost(seen).await,
                }
            }
            Outlet::Http(queue) => {
                self.post(queue, call, id, meta, line)?;
                match self.outcome(&mut registered, &pending, cancel).await {
                    Some(outcome) => return outcome,
                    None => CallFailure::Broken(ServerUnavailable::because(
                        "its stream or session ended without the answer",
                    )),
                }
            }
        };
        Err(lost)
    }

    /// Waits for the answer, unless the client withdraws the call or its time runs out; None if the
    /// session ends without one.
    async fn outcome(
        &self,
        registered: &mut AwaitedReply<'_>,
        pending: &PendingCall,
        cancel: &CancellationToken,
    ) -> Option<Result<RawJson, CallFailure>> {
        let id = registered.id();
        let (failure, reason) = tokio::select! {
            biased;
            reply = registered.reply() => return reply.map(result_of),
            () = cancel.cancelled() => (CallFailure::Cancelled, "the client cancelled the call"),
            () = pending.expired() => (CallFailure::Timeout, "the call timed out"),
        };
        // Written after the call, as lines are in the order in which they were begun.
        self.peer.withdraw(id, reason);
        Some(Err(failure))
    }

    fn line(
        &self,
        call: &Outgoing,
        id: i64,
        meta: &Map<String, Value>,
    ) -> serde_json::Result<Vec<u8>> {
        let stateless = self.era() == Era::Stateless;
        let params = CallMessageParams {
            name: call.tool.as_str(),
            arguments: &call.arguments,
            meta,
            input_responses: call.client.answers.as_ref().filter(|_| stateless),
            request_state: call.client.state.as_deref().filter(|_| stateless),
        };
        line_of(&CallMessage { jsonrpc: "2.0", id, method: "tools/call", params })
    }

    /// The call's own `_meta`; in the stateless version also what the client can be asked, of which
    /// nothing but elicitation is ever passed on.
    fn meta(&self, call: &Outgoing, id: i64) -> Map<String, Value> {
        let mut meta = call.meta.clone();
        meta.insert("progressToken".into(), id.into());
        if self.era() == Era::Stateless {
            let asked = call.client.elicitation.as_ref();
            let capabilities = match asked.filter(|_| self.elicitation == Elicitation::Allow) {
                Some(elicitation) => json!({ "elicitation": elicitation }),
                None => json!({}),
            };
            let us = json!({"name": "tollgate", "version": env!("CARGO_PKG_VERSION")});
            meta.insert(CLIENT_CAPABILITIES.into(), capabilities);
            meta.insert(VERSION.into(), self.agreement.version.as_str().into());
            meta.insert(CLIENT_INFO.into(), us);
        }
        meta
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

    /// Has the line sent over HTTP. rmcp's worker makes headers of the name, the version, and the
    /// arguments that a tool wants as headers; it does not see the line.
    fn post(
        &self,
        queue: &mpsc::UnboundedSender<Outbound>,
        call: &Outgoing,
        id: i64,
        meta: Map<String, Value>,
        line: Vec<u8>,
    ) -> Result<(), CallFailure> {
        let mut params = CallToolRequestParams::new(call.tool.as_str().to_owned());
        if self.peer.mirrors_arguments.load(Ordering::Relaxed)
            && let Ok(Value::Object(arguments)) = call.arguments.tree(MOST_VALUES)
        {
            params.arguments = Some(arguments);
        }
        let mut request = CallToolRequest::new(params);
        request.extensions.insert(RequestMetaObject(MetaObject(meta)));
        request.extensions.insert(Body(Bytes::from(line)));
        let request = ClientRequest::CallToolRequest(request);
        let message = ClientJsonRpcMessage::request(request, RequestId::Number(id));
        let (sent, _) = oneshot::channel();
        queue.send(Outbound { message, sent }).map_err(|_| CallFailure::NotSent)
    }
}

fn result_of(reply: Reply) -> Result<RawJson, CallFailure> {
    Err(match reply {
        Reply::Result(result) => return Ok(result),
        Reply::Error(error) => CallFailure::Rpc(error),
        Reply::Unusable(Unusable::TooLong) => CallFailure::TooLong,
        Reply::Unusable(Unusable::Unreadable) => CallFailure::Unreadable,
        Reply::Failed(failed) => match failed.reached {
            Reached::No => CallFailure::NotSent,
            Reached::Refused => CallFailure::Unavailable(failed.unavailable),
            Reached::Maybe => CallFailure::Broken(failed.unavailable),
        },
    })
}
