//! Which answer a message gets.

use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::InitializeRequestParams;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    in_flight::AnswerSlot,
    message::{ClientRequest, INVALID_PARAMS, METHOD_NOT_FOUND, Message, Rejection, error},
    outbox::ResultText,
    protocol::{Protocol, VERSIONS},
    session::Session,
    tool_call::{ToolCall, credential},
};
use crate::{
    domain::refusal::RpcError,
    gateway::{Gateway, builtin, facade},
};

/// How long clients may keep the list of tools, in milliseconds.
const TOOLS_TTL_MS: u64 = 3_600_000;

/// How a request is answered.
enum Answering {
    Answered(ResultText),
    Call(Box<ToolCall>, Protocol),
    /// One of the gateway's own methods.
    Own {
        tool: &'static str,
        params: Map<String, Value>,
    },
}

/// Acts on one message. What takes time runs in a task of its own, so messages are taken in the order
/// in which they came, and `slot` is held until an answer is written.
pub(super) fn receive(
    session: &Arc<Session>,
    message: Result<Option<Message>, Rejection>,
    slot: AnswerSlot,
) {
    match message {
        Ok(Some(Message::Request(request))) => begin(session, request, slot),
        Ok(Some(Message::Cancelled(id))) => session.in_flight.withdraw(&id),
        Ok(Some(Message::Answer(id, outcome))) => session.questions.answered(&id, outcome),
        Ok(None) => {}
        Err(Rejection { id, error }) => reject(session, id, *error, slot),
    }
}

fn reject(session: &Arc<Session>, id: Value, error: RpcError, slot: AnswerSlot) {
    let this = session.clone();
    session.tasks.spawn(async move {
        // A client that takes no answers is noticed by the outbox.
        let _ = this.outbox.answer(&id, Err(error)).await;
        drop(slot);
    });
}

fn begin(session: &Arc<Session>, request: ClientRequest, mut slot: AnswerSlot) {
    let cancel = session.gateway.cancellation();
    if let Err(error) = session.in_flight.register(&request.id, cancel.clone()) {
        return reject(session, json!(request.id), error, slot);
    }
    let mut answering = answering(session, &request);
    if let Ok(Answering::Call(call, _)) = &mut answering {
        match session.in_flight.admit(&mut call.arguments) {
            Ok(call_slot) => slot = call_slot,
            Err(error) => answering = Err(error),
        }
    }
    let (id, arrival, this) = (request.id, session.arrival(), session.clone());
    session.tasks.spawn(async move {
        let answer = match answering {
            Ok(answering) => answering.finish(&this, arrival, cancel).await,
            Err(error) => Err(error),
        };
        if this.in_flight.complete(&id) {
            // A client that takes no answers is noticed by the outbox.
            let _ = this.outbox.answer(&id, answer).await;
        }
        drop(slot);
    });
}

impl Answering {
    async fn finish(
        self,
        session: &Arc<Session>,
        arrival: u64,
        cancel: CancellationToken,
    ) -> Result<ResultText, RpcError> {
        match self {
            Self::Answered(result) => Ok(result),
            Self::Call(call, protocol) => call.run(session, protocol, arrival, cancel).await,
            Self::Own { tool, params } => {
                let credential = meta_of(&params).and_then(credential);
                let (gateway, granted) = (&session.gateway, session.granted);
                let answer = gateway.call_method(tool, params.into(), credential, granted).await;
                answer.map(|value| text(&value))
            }
        }
    }
}

fn text(value: &Value) -> ResultText {
    vec![Bytes::from(value.to_string())]
}

fn meta_of(params: &Map<String, Value>) -> Option<&Map<String, Value>> {
    params.get("_meta").and_then(Value::as_object)
}

/// # Errors
/// A request that no work can answer.
fn answering(session: &Arc<Session>, request: &ClientRequest) -> Result<Answering, RpcError> {
    let method = request.method.as_str();
    let call = request.params.as_ref().filter(|_| method == "tools/call");
    if let Some(call) = call.map(ToolCall::read).transpose()?.flatten() {
        let protocol = session.lifecycle().protocol_of(method, &call.meta)?;
        return Ok(Answering::Call(Box::new(call), protocol));
    }
    let params = request.members()?;
    if method == "initialize" {
        return initialize(session, params);
    }
    let none = Map::new();
    let meta = meta_of(&params).unwrap_or(&none);
    let protocol = session.lifecycle().protocol_of(method, meta)?;
    let result = match method {
        "ping" if !protocol.self_contained => json!({}),
        "server/discover" => discover(&session.gateway),
        "tools/list" => tools(&session.gateway, &protocol),
        "tools/call" => return Err(bad_params(method)),
        _ => match builtin::of_method(method) {
            Some(tool) => return Ok(Answering::Own { tool, params }),
            None => return Err(unsupported(method)),
        },
    };
    Ok(Answering::Answered(text(&result)))
}

fn initialize(session: &Session, params: Map<String, Value>) -> Result<Answering, RpcError> {
    let params: InitializeRequestParams =
        serde_json::from_value(params.into()).map_err(|_| bad_params("initialize"))?;
    let version = session.lifecycle().handshake(params.protocol_version, params.capabilities);
    Ok(Answering::Answered(text(&json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": server_info(&session.gateway),
        "instructions": facade::INSTRUCTIONS,
    }))))
}

fn discover(gateway: &Gateway) -> Value {
    json!({
        "resultType": "complete",
        "supportedVersions": VERSIONS,
        "capabilities": {"tools": {}},
        "instructions": facade::INSTRUCTIONS,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info(gateway)},
    })
}

fn server_info(gateway: &Gateway) -> Value {
    let current = gateway.current();
    let (name, version) = &current.settings().presented_as;
    let version = version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    json!({"name": name.as_deref().unwrap_or("tollgate"), "version": version})
}

fn tools(gateway: &Gateway, protocol: &Protocol) -> Value {
    let tools = facade::tools(gateway.current().settings().debug);
    if !protocol.stateless {
        return json!({"tools": tools});
    }
    json!({
        "tools": tools,
        "ttlMs": TOOLS_TTL_MS,
        "cacheScope": "public",
        "resultType": "complete",
    })
}

fn bad_params(method: &str) -> RpcError {
    error(INVALID_PARAMS, format!("the params of `{method}` are not what the method takes"))
}

/// What to say of a method that is not served, and what to use instead.
fn unsupported(method: &str) -> RpcError {
    const LONGEST: usize = 64;
    const TOOLS: &str = "tools are found with get_server_tools and called with execute_tool";
    let family = method.split_once('/').map_or(method, |(family, _)| family);
    let instead = match family {
        "resources" | "prompts" | "completion" => {
            format!("{family} of servers are not passed on; {TOOLS}")
        }
        "logging" => {
            "nothing is logged to clients; `logging.level` of gateway.yaml sets what standard error gets".to_owned()
        }
        "tollgate" | "satgate" | "budget" => {
            "use tollgate/budget, tollgate/delegate or tollgate/revoke".to_owned()
        }
        _ => format!("this gateway offers tools only; {TOOLS}"),
    };
    let method: String = method.chars().take(LONGEST).collect();
    error(METHOD_NOT_FOUND, format!("method `{method}` is not supported: {instead}"))
}
