//! What a server's messages mean: answers go to whoever waits for them, notifications are taken note
//! of, and rmcp's worker gets what it needs to keep the session.

use std::sync::{Arc, atomic::Ordering};

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, CustomRequest, ErrorCode, ErrorData, JsonRpcMessage,
    RequestId, ServerJsonRpcMessage, ServerRequest, ServerResult,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::mirrored::{Judged, header_tools};
use crate::{
    domain::{
        frame::id_of,
        json::{MOST_VALUES, RawJson},
    },
    downstream::{
        backlog::Room,
        failure::Unusable,
        listing::MOST_LISTED,
        peer::{ELICITATION, Peer, ServerMessage, WITHDRAWAL, own_id},
        pending::Reply,
    },
};

/// A server's request as it goes through rmcp's worker, which would decode it into a type that does
/// not keep it whole.
#[derive(Serialize, Deserialize)]
pub(super) struct ServerRequestParams {
    pub(super) method: String,
    pub(super) params: Option<Value>,
}

/// Reads the messages of one server.
#[derive(Clone)]
pub(super) struct Answers {
    pub(super) peer: Arc<Peer>,
    pub(super) judged: Arc<Judged>,
}

impl Answers {
    /// The data of one event as rmcp's worker is to read it; None for what it need not know.
    pub(super) fn data(
        &self,
        data: String,
        room: Option<Room>,
        waits: Option<&Waits>,
        answered: &mut bool,
    ) -> Option<String> {
        let message = match RawJson::parse(data.into_bytes()) {
            Ok(message) => message.guarded_by(room),
            // Whatever else it is, it answers a request that waits.
            Err((_, data)) => {
                let id = own_id(&id_of(&data)?)?;
                return text(&self.deliver(None, id, Reply::Unusable(Unusable::Unreadable)));
            }
        };
        text(&self.read(&message, waits, answered)?)
    }

    /// A message as rmcp's worker is to have it; None for what it need not know.
    pub(super) fn read(
        &self,
        message: &RawJson,
        waits: Option<&Waits>,
        answered: &mut bool,
    ) -> Option<ServerJsonRpcMessage> {
        match ServerMessage::read(message)? {
            ServerMessage::Request { id, method, params } => {
                let params = params.filter(|_| method == ELICITATION);
                let params = params.and_then(|params| params.tree(MOST_VALUES).ok());
                let params = serde_json::to_value(ServerRequestParams { method, params }).ok();
                let request = CustomRequest::new("tollgate/request", params);
                Some(JsonRpcMessage::request(ServerRequest::CustomRequest(request), id))
            }
            ServerMessage::Notification { method, params } => {
                if !self.peer.admits(&method) {
                    return None;
                }
                if method != WITHDRAWAL {
                    self.peer.notified(&method, params.as_ref());
                    return None;
                }
                // In its place after the question.
                let params = params?.tree(MOST_VALUES).ok()?;
                let known = json!({"jsonrpc": "2.0", "method": method, "params": params});
                serde_json::from_value(known).ok()
            }
            ServerMessage::Answer { id, reply } => {
                let own = waits.map(|waits| waits.id);
                let id = id.or(own)?;
                // Of two answers the first counts, and none of somebody else's.
                if own.is_some_and(|own| own != id) || std::mem::replace(answered, own.is_some()) {
                    return None;
                }
                Some(self.deliver(waits, id, reply))
            }
        }
    }

    /// Hands an answer to whoever waits for it; returns what rmcp's worker is to know of it.
    pub(super) fn deliver(
        &self,
        waits: Option<&Waits>,
        id: i64,
        reply: Reply,
    ) -> ServerJsonRpcMessage {
        let request = RequestId::Number(id);
        let placeholder = |text| ErrorData::new(ErrorCode::INTERNAL_ERROR, text, None);
        let kind = waits.map_or(RequestKind::Other, |waits| waits.kind);
        let known = match (&reply, kind) {
            (Reply::Result(result), RequestKind::Handshake) => {
                let known = result.tree(MOST_LISTED).ok();
                match known.and_then(|known| serde_json::from_value(known).ok()) {
                    Some(
                        known @ (ServerResult::InitializeResult(_)
                        | ServerResult::DiscoverResult(_)),
                    ) => JsonRpcMessage::response(known, request),
                    _ => JsonRpcMessage::error(placeholder("not a handshake"), Some(request)),
                }
            }
            (Reply::Result(result), RequestKind::List) => {
                if let Ok(list) = result.tree(MOST_LISTED)
                    && let Some(tools) = header_tools(&list)
                {
                    self.peer.mirrors_arguments.store(true, Ordering::Relaxed);
                    self.judged.put(request.clone(), list);
                    return JsonRpcMessage::response(ServerResult::ListToolsResult(tools), request);
                }
                JsonRpcMessage::response(ServerResult::empty(()), request)
            }
            (Reply::Result(_), RequestKind::Other) => {
                JsonRpcMessage::response(ServerResult::empty(()), request)
            }
            (Reply::Error(error), _) => {
                let code = ErrorCode(error.code);
                let error = ErrorData::new(code, error.message.clone(), error.data.clone());
                JsonRpcMessage::error(error, Some(request))
            }
            (Reply::Failed(_) | Reply::Unusable(_), _) => {
                JsonRpcMessage::error(placeholder("no answer"), Some(request))
            }
        };
        self.peer.pending.complete(id, reply);
        known
    }

    pub(super) fn unusable(&self, waits: &Waits, why: Unusable) -> ServerJsonRpcMessage {
        self.deliver(Some(waits), waits.id, Reply::Unusable(why))
    }
}

/// The request that waits for an answer.
#[derive(Clone, Copy)]
pub(super) struct Waits {
    pub(super) id: i64,
    kind: RequestKind,
}

/// How the result of a request is read.
#[derive(Clone, Copy)]
enum RequestKind {
    Handshake,
    List,
    Other,
}

impl Waits {
    pub(super) fn of(message: &ClientJsonRpcMessage) -> Option<Self> {
        let JsonRpcMessage::Request(request) = message else { return None };
        let kind = match request.request {
            ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_) => {
                RequestKind::Handshake
            }
            ClientRequest::ListToolsRequest(_) => RequestKind::List,
            _ => RequestKind::Other,
        };
        Some(Self { id: number(&request.id)?, kind })
    }
}

/// Whether it can end a request, as opposed to what a server says meanwhile.
pub(super) fn is_answer(message: &ServerJsonRpcMessage) -> bool {
    matches!(message, JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_))
}

pub(super) fn text(message: &ServerJsonRpcMessage) -> Option<String> {
    serde_json::to_string(message).ok()
}

/// The id of a request of ours.
pub(super) fn number(id: &RequestId) -> Option<i64> {
    own_id(&serde_json::to_value(id).ok()?)
}
