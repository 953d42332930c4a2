//! What servers send, whatever it comes over, and what is sent to them.
//!
//! rmcp's typed results lose what they do not know, so only the answers of the handshake are
//! decoded; every other result is handed up as the JSON value that arrived. Progress and changed
//! tools are taken note of here, in the order in which they arrive; rmcp would run a task for each.

use std::{io, sync::Arc};

use rmcp::{
    RoleClient,
    model::{
        ClientJsonRpcMessage, ClientRequest, CustomRequest, CustomResult, ErrorCode, ErrorData,
        GetExtensions, GetMeta, JsonRpcMessage, RequestId, ServerRequest, ServerResult,
    },
    service::RxJsonRpcMessage,
};
use serde_json::{Value, json};

use super::{
    backlog::Backlog,
    changes::Changes,
    findings::{Finding, Findings, PLACEHOLDER, Unusable},
    pace::Pace,
    pending::{PendingCall, PendingCalls, Reply},
};
use crate::domain::{
    call::ServerName,
    envelope::Envelope,
    json::{Change, MOST_VALUES, NoTree, RawJson},
};

/// The most values in an answer that is not the result of a call: a page of tools may have many.
const MOST_LISTED: usize = 8 * MOST_VALUES;

/// The method of a question to the user.
pub const ELICITATION: &str = "elicitation/create";

/// How a server takes a question back.
const WITHDRAWAL: &str = "notifications/cancelled";

/// What rmcp knows a question to the user as. Under its own name it would be decoded into a type
/// that does not keep it whole.
pub(super) const QUESTION: &str = "tollgate/question";

/// What the two directions of a connection both know.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) pending_calls: PendingCalls,
    pub(super) changes: Changes,
    pub(super) backlog: Backlog,
    pub(super) findings: Findings,
    /// Of all notifications but the next.
    pace: Pace,
    /// Of those that take a question back; no others may crowd them out.
    withdrawals: Pace,
}

/// How results are handed up.
#[derive(Clone, Debug)]
pub(super) enum Answers {
    /// As the values that arrived. The result of a call goes to its flight.
    Raw,
    /// The same for this one; no other is expected.
    Own(RequestId),
    /// This one as rmcp's type: it answers a request of the handshake, and older probes are void.
    Typed(RequestId),
}

impl Answers {
    /// How the answer to a request is handed up: rmcp itself reads those of the handshake.
    pub(super) fn to(id: &RequestId, request: &ClientRequest) -> Self {
        match request {
            ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_) => {
                Self::Typed(id.clone())
            }
            _ => Self::Raw,
        }
    }
}

impl Wire {
    /// What the connection to this server needs.
    pub(super) fn new(server: &ServerName, backlog: Backlog) -> Self {
        Self {
            backlog,
            pending_calls: PendingCalls::default(),
            changes: Changes::default(),
            findings: Findings::default(),
            pace: Pace::new(server.clone()),
            withdrawals: Pace::new(server.clone()),
        }
    }

    /// Whether the server sends notifications faster than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.pace.is_exceeded() || self.withdrawals.is_exceeded()
    }

    /// A request is about to be sent through rmcp: if it is a call, it is in flight from now on.
    pub(super) fn begin(&self, id: &RequestId, request: &ClientRequest) {
        self.findings.expect(id, request);
        if let Some(flight) = request.extensions().get::<Arc<PendingCall>>() {
            self.pending_calls.begin(id, request.get_meta().get_progress_token(), flight);
        }
    }

    /// What arrived, as rmcp wants it; None for what rmcp need not know.
    pub(super) fn read(
        &self,
        message: &RawJson,
        answers: &Answers,
    ) -> Option<RxJsonRpcMessage<RoleClient>> {
        let message = Envelope::of(message);
        // Null is the same as none.
        let id = message.id.as_ref().and_then(|id| id.tree(1).ok()).filter(|id| !id.is_null());
        match (&message.method, id) {
            (Some(method), Some(id)) => question(&method.string()?, &id, message.params.as_ref()),
            (Some(method), None) => self.notification(&method.string()?, &message),
            (None, Some(id)) => self.answer(&id, message, answers),
            (None, None) => {
                message.error.map(|error| JsonRpcMessage::error(error_in(&error), None))
            }
        }
    }

    /// An answer goes to the call that waits for it, or else to rmcp.
    fn answer(
        &self,
        id: &Value,
        message: Envelope,
        answers: &Answers,
    ) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Some(waiting) = self.pending_calls.waiting_for(id) else {
            return self.answer_to_rmcp(id, message, answers);
        };
        waiting.answer(match (message.result, message.error) {
            (Some(result), _) => Reply::Result(result),
            (None, error) => Reply::Error(error_in(&error.unwrap_or_else(|| Value::Null.into()))),
        });
        None
    }

    /// Tells whoever waits for a request of ours what became of it; rmcp only gets word that it has
    /// ended.
    pub(super) fn end(&self, id: RequestId, finding: Finding) -> RxJsonRpcMessage<RoleClient> {
        match self.pending_calls.get(&id) {
            Some(flight) => flight.put(Reply::Finding(finding)),
            None => self.findings.note(&id, finding),
        }
        let error = ErrorData::new(PLACEHOLDER, "see what the gateway found", None);
        JsonRpcMessage::error(error, Some(id))
    }

    /// An answer to a request of rmcp's. Of a call it gets only word that there is a result.
    fn answer_to_rmcp(
        &self,
        id: &Value,
        message: Envelope,
        answers: &Answers,
    ) -> Option<RxJsonRpcMessage<RoleClient>> {
        let id = own_id(id)?;
        if matches!(answers, Answers::Own(own) | Answers::Typed(own) if *own != id) {
            return None;
        }
        if let Some(error) = message.error {
            return Some(self.error(id, error_in(&error)));
        }
        let result = message.result?;
        if let Some(flight) = self.pending_calls.get(&id) {
            flight.put(Reply::Result(result));
            return Some(JsonRpcMessage::response(ServerResult::empty(()), id));
        }
        let result = match result.tree(MOST_LISTED) {
            Ok(result) => result,
            Err(NoTree::TooManyValues(_)) => return Some(self.end(id, Unusable::TooLong.into())),
            Err(NoTree::ReservedName) => return Some(self.end(id, Unusable::Unreadable.into())),
        };
        Some(match answers {
            Answers::Raw | Answers::Own(_) => raw(result, id),
            Answers::Typed(_) => handshake_answer(result, id),
        })
    }

    /// A server's own error in answer to a request of ours.
    pub(super) fn error(&self, id: RequestId, error: ErrorData) -> RxJsonRpcMessage<RoleClient> {
        if let Some(flight) = self.pending_calls.get(&id) {
            flight.put(Reply::Error(error.clone()));
        }
        JsonRpcMessage::error(error, Some(id))
    }

    /// An answer that cannot be handed up as it came.
    pub(super) fn lose(&self, why: Unusable, id: &Value) -> Option<RxJsonRpcMessage<RoleClient>> {
        let Some(waiting) = self.pending_calls.waiting_for(id) else {
            return Some(self.end(own_id(id)?, why.into()));
        };
        waiting.answer(Reply::Finding(why.into()));
        None
    }

    fn notification(
        &self,
        method: &str,
        message: &Envelope,
    ) -> Option<RxJsonRpcMessage<RoleClient>> {
        let pace = if method == WITHDRAWAL { &self.withdrawals } else { &self.pace };
        if !pace.admits() {
            return None;
        }
        match method {
            "notifications/progress" => {
                self.pending_calls.progress(message.params.clone()?, &self.backlog);
                None
            }
            "notifications/tools/list_changed" => {
                self.changes.note();
                None
            }
            WITHDRAWAL | "notifications/subscriptions/acknowledged" => {
                let params = message.params.as_ref()?.tree(MOST_VALUES).ok()?;
                let known = json!({"jsonrpc": "2.0", "method": method, "params": params});
                serde_json::from_value(known).ok()
            }
            _ => None,
        }
    }
}

/// A server's own request. Those that are refused anyhow come without their params, which rmcp may
/// not be able to decode: the server must get its answer.
fn question(
    method: &str,
    id: &Value,
    params: Option<&RawJson>,
) -> Option<RxJsonRpcMessage<RoleClient>> {
    let id = request_id(id)?;
    let params = || params.and_then(|params| params.tree(MOST_VALUES).ok());
    if let "ping" | "roots/list" = method {
        let mut known = json!({"jsonrpc": "2.0", "id": id, "method": method});
        if let (Some(params), Value::Object(known)) = (params(), &mut known) {
            known.insert("params".into(), params);
        }
        if let Ok(known) = serde_json::from_value(known) {
            return Some(known);
        }
    }
    let request = match method {
        ELICITATION => CustomRequest::new(QUESTION, params()),
        _ => CustomRequest::new(method, None),
    };
    let request = ServerRequest::CustomRequest(request);
    Some(JsonRpcMessage::request(request, id))
}

/// Some servers answer what they do not know with a result of no meaning. To rmcp that is the end of
/// the handshake; an error lets it try the older one.
fn handshake_answer(result: Value, id: RequestId) -> RxJsonRpcMessage<RoleClient> {
    match serde_json::from_value(result) {
        Ok(known @ (ServerResult::InitializeResult(_) | ServerResult::DiscoverResult(_))) => {
            JsonRpcMessage::response(known, id)
        }
        _ => {
            let error = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "not an MCP handshake", None);
            JsonRpcMessage::error(error, Some(id))
        }
    }
}

/// A result as the value that arrived.
pub(super) fn raw(result: Value, id: RequestId) -> RxJsonRpcMessage<RoleClient> {
    JsonRpcMessage::response(ServerResult::CustomResult(CustomResult::new(result)), id)
}

pub(super) fn request_id(value: &Value) -> Option<RequestId> {
    serde_json::from_value(value.clone()).ok()
}

/// The id of a request of ours, which is a number. Some servers answer it as a string.
pub(super) fn own_id(value: &Value) -> Option<RequestId> {
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.map(RequestId::Number).or_else(|| request_id(value))
}

/// Some servers answer a number with the same number as a string.
pub(super) fn same(expected: &RequestId, id: &RequestId) -> bool {
    expected == id || expected.to_string() == id.to_string()
}

/// A JSON-RPC error as far as it can be read; a malformed one is still an answer.
fn error_in(error: &RawJson) -> ErrorData {
    let error = error.tree(MOST_VALUES).unwrap_or_default();
    serde_json::from_value(error.clone()).unwrap_or_else(|_| {
        let text = error.get("message").and_then(Value::as_str).unwrap_or("malformed error");
        ErrorData::internal_error(text.to_owned(), Some(error))
    })
}

/// A message as it is sent through rmcp. Answers to questions of an earlier attempt, and arguments that
/// are too many for rmcp's types, are put in as they came from the client.
pub(super) fn written(message: &ClientJsonRpcMessage) -> io::Result<Vec<u8>> {
    let flight = match message {
        JsonRpcMessage::Request(request) => request.request.extensions().get::<Arc<PendingCall>>(),
        _ => None,
    };
    let Some(flight) = flight.filter(|f| f.answers.is_some() || f.arguments.is_some()) else {
        return Ok(serde_json::to_vec(message)?);
    };
    let text = serde_json::to_vec(message)?;
    let Ok(message) = RawJson::parse(text) else { return Err(io::ErrorKind::InvalidData.into()) };
    let mut added = Vec::new();
    added.extend(flight.answers.as_ref().map(|answers| ("inputResponses", answers.into())));
    added.extend(flight.arguments.clone().map(|arguments| ("arguments", arguments)));
    let unless_added = |name: &str, _: &RawJson| match added.iter().any(|(put, _)| *put == name) {
        true => Change::Remove,
        false => Change::Keep,
    };
    let pieces = message.changed(
        |name, value| match name {
            "params" => Change::Replace(value.changed(unless_added, &added)),
            _ => Change::Keep,
        },
        &[],
    );
    Ok(pieces.concat())
}
