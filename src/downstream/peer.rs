//! One MCP session, over either transport: requests of ours and their answers, what the server asks
//! of us, and what it tells.
//!
//! Results stay the JSON text that arrived, as rmcp's typed results lose what they do not know.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientJsonRpcMessage, ClientNotification,
    ClientRequest, ClientResult, CustomResult, ErrorCode, ErrorData, RequestId,
};
use serde_json::{Value, json};
use tokio::{
    runtime::Handle,
    sync::{
        mpsc,
        oneshot::{self, error::RecvError},
    },
};

use super::{
    backlog::Backlog,
    changes::Changes,
    pace::Pace,
    pending::{PendingRequests, Reply},
    questions::{QuestionRoom, Questions},
    stdin_writer::StdinWriter,
};
use crate::domain::{
    envelope::Envelope,
    frame::line_of,
    json::{MOST_VALUES, RawJson},
    refusal::RpcError,
    settings::{Elicitation, ServerSpec},
};

/// The method of a question to the user.
pub const ELICITATION: &str = "elicitation/create";

/// How a server withdraws a question.
pub(super) const WITHDRAWAL: &str = "notifications/cancelled";

/// The gateway's end of a session.
#[derive(Debug)]
pub(super) struct Peer {
    outlet: Outlet,
    elicitation: Elicitation,
    pub(super) pending: PendingRequests,
    pub(super) questions: Arc<Questions>,
    pub(super) changes: Changes,
    pub(super) backlog: Backlog,
    /// The last request of the handshake: an error without an id answers it.
    handshake: AtomicI64,
    /// Whether some tool wants arguments repeated as HTTP headers.
    pub(super) mirrors_arguments: AtomicBool,
    /// Of all notifications but withdrawals.
    pace: Pace,
    /// Of withdrawals; no other notifications may crowd them out.
    withdrawals: Pace,
}

/// Where messages to the server go.
#[derive(Clone, Debug)]
pub(super) enum Outlet {
    Stdin(Arc<StdinWriter>),
    Http(mpsc::UnboundedSender<Outbound>),
}

impl Outlet {
    /// Starts to send a message in the background. The receiver resolves when the server has taken the
    /// message, and fails if it does not.
    fn begin(&self, message: ClientJsonRpcMessage) -> oneshot::Receiver<()> {
        let (sent, taken) = oneshot::channel();
        match self {
            Self::Stdin(writer) => {
                if let (Ok(line), Ok(runtime)) = (line_of(&message), Handle::try_current()) {
                    let writing = writer.clone().write(line, None);
                    runtime.spawn(async move { writing.await.is_ok().then(|| sent.send(())) });
                }
            }
            // A session that has ended drops it.
            Self::Http(queue) => drop(queue.send(Outbound { message, sent })),
        }
        taken
    }
}

/// A message that is to be sent over HTTP.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) message: ClientJsonRpcMessage,
    /// Notified when the server has taken it; dropped if it does not.
    pub(super) sent: oneshot::Sender<()>,
}

/// A message from a server.
#[derive(Debug)]
pub(super) enum ServerMessage {
    Request {
        id: RequestId,
        method: String,
        params: Option<RawJson>,
    },
    Notification {
        method: String,
        params: Option<RawJson>,
    },
    /// Without an id it is an error.
    Answer {
        id: Option<i64>,
        reply: Reply,
    },
}

impl ServerMessage {
    pub(super) fn read(message: &RawJson) -> Option<Self> {
        let Envelope { id, method, params, result, error, .. } = Envelope::of(message);
        // Null is the same as none.
        let id = id.and_then(|id| id.tree(1).ok()).filter(|id| !id.is_null());
        match (method, id) {
            (Some(method), Some(id)) => {
                let id = serde_json::from_value(id).ok()?;
                Some(Self::Request { id, method: method.string()?, params })
            }
            (Some(method), None) => Some(Self::Notification { method: method.string()?, params }),
            (None, None) => Some(Self::Answer { id: None, reply: Reply::Error(error_in(&error?)) }),
            (None, Some(id)) => {
                let reply = match result {
                    Some(result) => Reply::Result(result),
                    None => Reply::Error(error_in(&error.unwrap_or_else(|| Value::Null.into()))),
                };
                Some(Self::Answer { id: Some(own_id(&id)?), reply })
            }
        }
    }
}

/// The id of a request of ours. Some servers answer a number with the same number as a string.
pub(super) fn own_id(id: &Value) -> Option<i64> {
    id.as_i64().or_else(|| id.as_str()?.parse().ok())
}

/// A JSON-RPC error as far as it can be read; a malformed one is still an answer.
fn error_in(error: &RawJson) -> RpcError {
    let error = error.tree(MOST_VALUES).unwrap_or_default();
    let known = serde_json::from_value(error.clone()).unwrap_or_else(|_| {
        let text = error.get("message").and_then(Value::as_str).unwrap_or("malformed error");
        ErrorData::internal_error(text.to_owned(), Some(error))
    });
    RpcError { code: known.code.0, message: known.message.into_owned(), data: known.data }
}

impl Peer {
    pub(super) fn new(spec: &ServerSpec, outlet: Outlet, backlog: Backlog) -> Arc<Self> {
        Arc::new(Self {
            outlet,
            elicitation: spec.elicitation,
            pending: PendingRequests::default(),
            questions: Questions::new(),
            changes: Changes::default(),
            backlog,
            handshake: AtomicI64::default(),
            mirrors_arguments: AtomicBool::default(),
            pace: Pace::new(spec.name.clone()),
            withdrawals: Pace::new(spec.name.clone()),
        })
    }

    pub(super) fn outlet(&self) -> &Outlet {
        &self.outlet
    }

    /// Sends a request and waits for its answer; None if the session ends without one. The server is
    /// told if this is dropped before.
    pub(super) async fn request(&self, request: ClientRequest) -> Option<Reply> {
        let handshake = matches!(
            request,
            ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_)
        );
        let mut pending = self.pending.register(None)?;
        let id = pending.id();
        if handshake {
            self.handshake.store(id, Ordering::Relaxed);
        }
        let mut unanswered = Unanswered { peer: self, id: (!handshake).then_some(id) };
        // A request that is not sent is ended by the transport.
        let _ = self.send(ClientJsonRpcMessage::request(request, RequestId::Number(id))).await;
        let reply = pending.reply().await;
        unanswered.id = None;
        reply
    }

    /// Sends a message, even if this is dropped: half a message would spoil all that follow.
    ///
    /// # Errors
    /// The server did not take it.
    pub(super) async fn send(&self, message: ClientJsonRpcMessage) -> Result<(), RecvError> {
        self.outlet.begin(message).await
    }

    /// Withdraws a request (`notifications/cancelled`). This happens in the background, as the server
    /// may not be reading. A runtime that ends takes the session with it.
    pub(super) fn withdraw(&self, id: i64, reason: &str) {
        let params =
            CancelledNotificationParam::new(Some(RequestId::Number(id)), Some(reason.to_owned()));
        let message = ClientJsonRpcMessage::notification(
            ClientNotification::CancelledNotification(CancelledNotification::new(params)),
        );
        // A server that does not take it is gone or stuck, and will be noticed as such.
        drop(self.outlet.begin(message));
    }

    /// An answer to a request of ours.
    pub(super) fn answered(&self, id: Option<i64>, reply: Reply) {
        self.pending.complete(id.unwrap_or_else(|| self.handshake.load(Ordering::Relaxed)), reply);
    }

    /// Answers a request of the server in the background. `origin` is the request of ours that it
    /// belongs to, where that is known.
    pub(super) fn asked(
        self: &Arc<Self>,
        id: RequestId,
        method: String,
        params: Option<RawJson>,
        origin: Option<i64>,
        room: QuestionRoom,
    ) {
        let peer = self.clone();
        let question = self.questions.open(&id, room);
        // Read before anything waits, so that no long message is kept meanwhile.
        let params = params.filter(|_| method == ELICITATION);
        let params = params.and_then(|params| params.tree(MOST_VALUES).ok());
        tokio::spawn(async move {
            // The room is kept until the answer is written, so a server that does not read is not
            // read from either.
            let question = match question {
                Ok(question) => question,
                Err(_room) => {
                    tracing::debug!(%id, "refused a request: its id is still open");
                    let error = ErrorData::invalid_request(
                        "a request with this id is still open; give each request an id of its own",
                        None,
                    );
                    let _ = peer.send(ClientJsonRpcMessage::error(error, Some(id))).await;
                    return;
                }
            };
            let answer = tokio::select! {
                answer = peer.answer(&method, params, origin) => answer,
                () = question.withdrawn() => return,
            };
            if question.begin_answer() {
                // A server that cannot be written to is noticed as such.
                let _ = peer.send(message_of(answer, id)).await;
            }
        });
    }

    async fn answer(
        &self,
        method: &str,
        params: Option<Value>,
        origin: Option<i64>,
    ) -> Result<Value, ErrorData> {
        match method {
            "ping" => Ok(json!({})),
            "roots/list" => Ok(json!({"roots": []})),
            ELICITATION => self.ask(params.unwrap_or_default(), origin).await,
            _ => Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, method.to_owned(), None)),
        }
    }

    /// The client's answer to a question. If no client can be asked, the question counts as
    /// dismissed; if none may be asked, as declined.
    async fn ask(&self, params: Value, origin: Option<i64>) -> Result<Value, ErrorData> {
        if self.elicitation == Elicitation::Deny {
            return Ok(json!({"action": "decline"}));
        }
        let call = match origin {
            Some(call) => self.pending.call(call),
            // Nothing tells whose call it belongs to, unless there is only one.
            None => self.pending.only_call(),
        };
        let answer = match call {
            Some(call) => call.ask(params).await,
            None => None,
        };
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                Err(ErrorData::new(ErrorCode(error.code), error.message, error.data))
            }
            None => Ok(json!({"action": "cancel"})),
        }
    }

    /// Whether one more notification may be read now; if not, it is dropped.
    pub(super) fn admits(&self, method: &str) -> bool {
        let pace = if method == WITHDRAWAL { &self.withdrawals } else { &self.pace };
        pace.admits()
    }

    /// Whether the server sends notifications faster than it may.
    pub(super) fn is_flooded(&self) -> bool {
        self.pace.is_exceeded() || self.withdrawals.is_exceeded()
    }

    /// Takes note of a notification.
    pub(super) fn notified(&self, method: &str, params: Option<&RawJson>) {
        match method {
            "notifications/progress" => self.progress(params),
            "notifications/tools/list_changed" => self.changes.note(),
            "notifications/subscriptions/acknowledged" => self.changes.subscribed(),
            WITHDRAWAL => {
                let id = params.and_then(|params| params.member("requestId")?.tree(1).ok());
                if let Some(id) = id.and_then(|id| serde_json::from_value(id).ok()) {
                    self.withdrawn(&id);
                }
            }
            _ => {}
        }
    }

    /// The server withdraws a question, or ends a subscription.
    pub(super) fn withdrawn(&self, id: &RequestId) {
        if !self.questions.withdraw(id)
            && let Some(id) = serde_json::to_value(id).ok().as_ref().and_then(own_id)
        {
            self.pending.abandon_own(id);
        }
    }

    /// Passes progress on to the client; that of a call that has ended, or for which there is no
    /// room, is dropped.
    fn progress(&self, params: Option<&RawJson>) {
        let Some(params) = params else { return };
        let token = params.member("progressToken").and_then(|token| token.tree(1).ok());
        let call = token.and_then(|token| self.pending.call(own_id(&token)?));
        let Some(call) = call else { return };
        call.heard();
        if let Some(room) = self.backlog.room_now(params.length()) {
            call.pass_progress(params.clone().guarded_by(room));
        }
    }
}

fn message_of(answer: Result<Value, ErrorData>, id: RequestId) -> ClientJsonRpcMessage {
    match answer {
        Ok(answer) => {
            let result = ClientResult::CustomResult(CustomResult::new(answer));
            ClientJsonRpcMessage::response(result, id)
        }
        Err(error) => ClientJsonRpcMessage::error(error, Some(id)),
    }
}

/// A request that is withdrawn when this is dropped: over HTTP it would hold one of the few places
/// for requests as long as the session lives.
struct Unanswered<'a> {
    peer: &'a Peer,
    id: Option<i64>,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.peer.withdraw(id, "it took too long");
        }
    }
}
