//! `tools/call`: its params, and the call with what its server says meanwhile. Arguments and results
//! stay the text that arrived.

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    message::{INVALID_PARAMS, error, name_in},
    outbox::ResultText,
    protocol::Protocol,
    session::Session,
};
use crate::{
    domain::{
        json::{MOST_VALUES, RawJson},
        refusal::RpcError,
    },
    downstream::{ClientChannel, ClientContext, ClientEvent, ClientEvents, Question},
    gateway::{CallRequest, as_sent},
};

/// Progress that has more values is passed over: a notice is a number and a few words.
const MOST_VALUES_OF_PROGRESS: usize = 1_024;

/// Where clients put a credential in `_meta`.
const TOKEN: &str = "token";

/// A longer text is no credential, in bytes.
const LONGEST_CREDENTIAL: usize = 8 * 1024;

const PROGRESS_TOKEN: &str = "progressToken";

/// The params of `tools/call`.
pub(super) struct ToolCall {
    name: String,
    pub(super) arguments: RawJson,
    pub(super) meta: Map<String, Value>,
    answers: Option<Value>,
    state: Option<String>,
}

impl ToolCall {
    /// Reads params; None if they are not what the method takes.
    ///
    /// # Errors
    /// A name that is too long, or `_meta` or `inputResponses` that are too large.
    pub(super) fn read(params: &RawJson) -> Result<Option<Self>, RpcError> {
        let wrong = |cause: String| error(INVALID_PARAMS, cause);
        let tree = |what: &str, value: &RawJson| {
            value.tree(MOST_VALUES).map_err(|cause| wrong(format!("`{what}` has {cause}")))
        };
        let (mut name, mut arguments, mut meta, mut answers, mut state) = Default::default();
        for member in params.members().filter(|member| !member.value.is_null()) {
            match &*member.name {
                "name" => name = Some(member.value),
                "arguments" => arguments = Some(member.value),
                "_meta" => meta = Some(member.value),
                "inputResponses" => answers = Some(member.value),
                "requestState" => state = member.value.string(),
                _ => {}
            }
        }
        let is_object = |value: &Option<RawJson>| value.as_ref().is_none_or(RawJson::is_object);
        if !is_object(&arguments) || !is_object(&meta) {
            return Ok(None);
        }
        let name = name.as_ref().map(|name| name_in("name", name)).transpose();
        let Some(name) = name.map_err(wrong)?.flatten() else { return Ok(None) };
        if let Some(token) = meta.as_ref().and_then(|meta| meta.member(PROGRESS_TOKEN)) {
            name_in(PROGRESS_TOKEN, &token).map_err(wrong)?;
        }
        let answers =
            answers.as_ref().map(|answers| tree("inputResponses", answers)).transpose()?;
        let meta = match meta.as_ref().map(|meta| tree("_meta", meta)).transpose()? {
            Some(Value::Object(meta)) => meta,
            _ => Map::new(),
        };
        let arguments = arguments.unwrap_or_else(|| Value::Object(Map::new()).into());
        Ok(Some(Self { name, arguments, meta, answers, state }))
    }

    /// Makes the call and passes on what its server says meanwhile: all of it, in order, and before
    /// the answer.
    pub(super) async fn run(
        self,
        session: &Arc<Session>,
        protocol: Protocol,
        arrival: u64,
        cancel: CancellationToken,
    ) -> Result<ResultText, RpcError> {
        let Protocol { stateless, elicitation, .. } = protocol;
        let (channel, events) = ClientChannel::new(!stateless && elicitation.is_some());
        let relay = Relay {
            session: session.clone(),
            progress_token: self.meta.get(PROGRESS_TOKEN).cloned(),
            opens_urls: elicitation.as_ref().is_some_and(|modes| modes.get("url").is_some()),
            over: CancellationToken::new(),
        };
        let request = CallRequest {
            tool: self.name,
            arguments: self.arguments,
            credential: credential(&self.meta),
            granted: session.granted,
            meta: for_downstream(self.meta),
            client: ClientContext {
                arrival,
                channel,
                elicitation: elicitation.filter(|_| stateless),
                answers: self.answers,
                state: self.state,
            },
        };
        let answer = relay.during(events, session.gateway.call_tool(request, cancel)).await;
        as_sent(answer).map(|result| result.pieces(stateless))
    }
}

/// The credential that a request shows; one that is no text is good nowhere.
pub(super) fn credential(meta: &Map<String, Value>) -> Option<SecretString> {
    match meta.get(TOKEN)? {
        Value::Null => None,
        Value::String(text) if text.len() <= LONGEST_CREDENTIAL => {
            Some(SecretString::from(text.as_str()))
        }
        _ => Some(SecretString::default()),
    }
}

/// The request's `_meta` without what belongs to this hop: credentials, the progress token, and
/// MCP's own keys.
fn for_downstream(mut meta: Map<String, Value>) -> Map<String, Value> {
    meta.retain(|key, _| {
        !matches!(key.as_str(), TOKEN | PROGRESS_TOKEN)
            && !key.starts_with("io.modelcontextprotocol/")
            && !key.starts_with("tollgate/")
    });
    meta
}

/// What passes between a server and the client while a call runs.
struct Relay {
    session: Arc<Session>,
    /// What the client calls this call's progress; None if it wants none.
    progress_token: Option<Value>,
    /// Whether the client opens addresses for the user, besides showing forms.
    opens_urls: bool,
    over: CancellationToken,
}

impl Relay {
    async fn during<T>(self, mut events: ClientEvents, call: impl Future<Output = T>) -> T {
        let _over = self.over.clone().drop_guard();
        let mut call = std::pin::pin!(call);
        let answer = loop {
            tokio::select! {
                biased;
                event = events.next() => self.pass(event).await,
                answer = &mut call => break answer,
            }
        };
        while let Some(ClientEvent::Progress(params)) = events.ready() {
            self.progress(params).await;
        }
        answer
    }

    async fn pass(&self, event: ClientEvent) {
        match event {
            ClientEvent::Progress(params) => self.progress(params).await,
            ClientEvent::Question(question) if is_url(&question) && !self.opens_urls => {
                question.answer(Ok(json!({"action": "cancel"})));
            }
            ClientEvent::Question(question) => {
                let (session, over) = (self.session.clone(), self.over.clone());
                let ask =
                    async move { session.questions.ask(&session.outbox, question, over).await };
                tokio::spawn(ask);
            }
        }
    }

    /// The text is held until the notice is written, and its room with it.
    async fn progress(&self, text: RawJson) {
        let Some(token) = &self.progress_token else { return };
        let Ok(Value::Object(mut params)) = text.tree(MOST_VALUES_OF_PROGRESS) else { return };
        params.insert(PROGRESS_TOKEN.into(), token.clone());
        let note = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params});
        // A client that is gone needs no progress.
        let _ = self.session.outbox.message(&note).await;
    }
}

fn is_url(question: &Question) -> bool {
    question.params.get("mode").and_then(Value::as_str) == Some("url")
}
