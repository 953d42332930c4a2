//! What a server says in the middle of a call, on its way to the client: progress, and questions
//! to the user.

use rmcp::{
    RoleServer,
    model::{
        ClientCapabilities, ClientResult, CustomNotification, CustomRequest, ServerNotification,
        ServerRequest,
    },
    service::{Peer, PeerRequestOptions, RequestContext, ServiceError},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::carried::{Came, RawAnswers};
use crate::{
    domain::{json::RawJson, refusal::RpcError},
    downstream::{Client, ClientChannel, ClientEvent, ClientEvents, ELICITATION, Question},
};

/// Progress that has more values is passed over: a notice is a number and a few words.
const MOST_VALUES_OF_PROGRESS: usize = 1_024;

/// The client's end of a call in flight.
pub(super) struct Relay {
    peer: Peer<RoleServer>,
    /// What the client calls this call's progress; None if it wants none.
    token: Option<Value>,
    /// Whether the client opens addresses for the user, besides showing forms.
    opens_urls: bool,
    events: ClientEvents,
}

impl Relay {
    /// The way back to the client of this request: an end for the server, and one for us.
    pub(super) fn new(
        context: &RequestContext<RoleServer>,
        state: Option<String>,
    ) -> (Client, Self) {
        let stateless = context.protocol_version().is_some_and(|version| !version.has_initialize());
        let elicitation = context.client_capabilities().and_then(elicitation_of);
        let asks = !stateless && elicitation.is_some();
        let (channel, events) = ClientChannel::new(asks);
        let opens_urls = elicitation.as_ref().is_some_and(|modes| modes.get("url").is_some());
        let client = Client {
            came: context.extensions.get::<Came>().map_or(0, |came| came.0),
            channel,
            elicitation: elicitation.filter(|_| stateless),
            answers: context.extensions.get::<RawAnswers>().map(|answers| answers.0.clone()),
            state,
        };
        let token = context.meta.get("progressToken").cloned();
        (client, Self { peer: context.peer.clone(), token, opens_urls, events })
    }

    /// Runs a call to its end and passes on what its server says meanwhile: all of it, in order,
    /// and before the answer.
    pub(super) async fn during<T>(mut self, call: impl Future<Output = T>) -> T {
        let over = CancellationToken::new();
        let _guard = over.clone().drop_guard();
        let mut call = std::pin::pin!(call);
        let answer = loop {
            tokio::select! {
                biased;
                news = self.events.next() => self.pass(news, &over).await,
                answer = &mut call => break answer,
            }
        };
        while let Some(ClientEvent::Progress(params)) = self.events.ready() {
            self.progress(params).await;
        }
        answer
    }

    async fn pass(&self, news: ClientEvent, over: &CancellationToken) {
        match news {
            ClientEvent::Progress(params) => self.progress(params).await,
            ClientEvent::Question(question) if is_url(&question) && !self.opens_urls => {
                question.answer(Ok(json!({"action": "cancel"})));
            }
            ClientEvent::Question(question) => {
                tokio::spawn(ask(self.peer.clone(), question, over.clone()));
            }
        }
    }

    /// The text is held until the notice is written, and its room with it.
    async fn progress(&self, text: RawJson) {
        let Some(token) = &self.token else { return };
        let Ok(Value::Object(mut params)) = text.tree(MOST_VALUES_OF_PROGRESS) else { return };
        params.insert("progressToken".into(), token.clone());
        let note = CustomNotification::new("notifications/progress", Some(Value::Object(params)));
        // A client that is gone needs no progress.
        let _ = self.peer.send_notification(ServerNotification::CustomNotification(note)).await;
    }
}

/// Asks the client, and withdraws the question when the call is over.
async fn ask(peer: Peer<RoleServer>, question: Question, over: CancellationToken) {
    let request = CustomRequest::new(ELICITATION, Some(question.params.clone()));
    let request = ServerRequest::CustomRequest(request);
    let options = PeerRequestOptions::no_options();
    let Ok(mut handle) = peer.send_cancellable_request(request, options).await else { return };
    let answered = tokio::select! {
        answered = &mut handle.rx => answered,
        () = over.cancelled() => {
            // A client that is gone has no question open.
            let _ = handle.cancel(Some("the call is over".into())).await;
            return;
        }
    };
    match answered {
        Ok(Ok(answer)) => question.answer(Ok(raw(answer))),
        Ok(Err(ServiceError::McpError(error))) => question.answer(Err(RpcError {
            code: error.code.0,
            message: error.message.into_owned(),
            data: error.data,
        })),
        // Dropped unanswered: the client is gone.
        _ => {}
    }
}

fn raw(answer: ClientResult) -> Value {
    match answer {
        ClientResult::CustomResult(answer) => answer.0,
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

fn is_url(question: &Question) -> bool {
    question.params.get("mode").and_then(Value::as_str) == Some("url")
}

/// What the client can be asked, as it declared it.
fn elicitation_of(capabilities: ClientCapabilities) -> Option<Value> {
    serde_json::to_value(capabilities.elicitation?).ok()
}
