//! What a JSON-RPC message of the client says, read without a tree of its values.

use rmcp::model::RequestId;
use serde_json::{Map, Value};

use crate::{
    domain::{
        envelope::Envelope,
        frame::id_of_request,
        json::{MOST_VALUES, Malformed, RawJson},
        refusal::RpcError,
    },
    gateway::fields::LONGEST_NAME,
};

pub(super) const PARSE_ERROR: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;

/// A message that the session acts on.
pub(super) enum Message {
    Request(ClientRequest),
    /// The client withdraws a request of its own.
    Cancelled(RequestId),
    /// The client answers a question.
    Answer(RequestId, Result<Value, RpcError>),
}

/// A request as it came.
pub(super) struct ClientRequest {
    pub(super) id: RequestId,
    pub(super) method: String,
    pub(super) params: Option<RawJson>,
}

/// A message that gets an error for an answer before any method is looked at.
pub(super) struct Rejection {
    /// Null where the message has no id that can be read.
    pub(super) id: Value,
    pub(super) error: Box<RpcError>,
}

impl Rejection {
    pub(super) fn invalid(message: impl Into<String>, id: Option<Value>) -> Self {
        Self { id: id.unwrap_or_default(), error: Box::new(error(INVALID_REQUEST, message)) }
    }
}

/// An error without data.
pub(super) fn error(code: i32, message: impl Into<String>) -> RpcError {
    RpcError { code, message: message.into(), data: None }
}

/// Reads a message; None for a notification or an answer that no one acts on.
pub(super) fn read(text: Vec<u8>) -> Result<Option<Message>, Rejection> {
    let message = RawJson::parse(text).map_err(|(cause, text)| unreadable(cause, &text))?;
    if !message.is_object() {
        let cause = "a message is one JSON object; batches are not supported";
        return Err(Rejection::invalid(cause, None));
    }
    let envelope = Envelope::of(&message);
    let id = id_in(&envelope)?;
    if envelope.method.is_none() {
        return answer(&envelope, id);
    }
    let is_request = envelope.id.is_some();
    if is_request && !id.as_ref().is_some_and(|id| id.is_string() || id.is_i64()) {
        return Err(Rejection::invalid("`id` must be a string or an integer", id));
    }
    let method = envelope.method.as_ref().map(|method| name_in("method", method));
    let method = method.transpose().map_err(|cause| Rejection::invalid(cause, id.clone()))?;
    let valid = envelope.is_of_version_2() && envelope.result.is_none();
    match (method.flatten().filter(|_| valid), request_id(id.as_ref())) {
        (Some(method), Some(id)) => {
            Ok(Some(Message::Request(ClientRequest { id, method, params: envelope.params })))
        }
        (Some(method), None) => Ok(notification(&method, envelope.params.as_ref())),
        (None, _) if is_request => Err(not_a_message(id)),
        (None, _) => Ok(None),
    }
}

fn not_a_message(id: Option<Value>) -> Rejection {
    Rejection::invalid("not a JSON-RPC 2.0 message", id)
}

/// Only cancellations are acted on.
fn notification(method: &str, params: Option<&RawJson>) -> Option<Message> {
    let id = params.filter(|_| method == CANCELLED)?.member("requestId")?;
    request_id(id.tree(1).ok().as_ref()).map(Message::Cancelled)
}

pub(super) const CANCELLED: &str = "notifications/cancelled";

/// The client's answer to a question, as it came.
fn answer(envelope: &Envelope, id: Option<Value>) -> Result<Option<Message>, Rejection> {
    let outcome = match (&envelope.result, &envelope.error) {
        // An answer too large to be read is one to which no one listens.
        (Some(result), _) => result.tree(MOST_VALUES).ok().map(Ok),
        (None, Some(error)) if envelope.is_of_version_2() => {
            error.tree(MOST_VALUES).ok().and_then(error_in).map(Err)
        }
        (None, _) => None,
    };
    match (request_id(id.as_ref()), outcome) {
        (Some(id), Some(outcome)) => Ok(Some(Message::Answer(id, outcome))),
        (_, None) if envelope.result.is_some() => Ok(None),
        _ if id.is_some() => Err(not_a_message(id)),
        _ => Ok(None),
    }
}

fn error_in(error: Value) -> Option<RpcError> {
    let Value::Object(mut error) = error else { return None };
    let code = error.get("code")?.as_i64()?;
    let message = error.get("message")?.as_str()?.to_owned();
    Some(RpcError { code: i32::try_from(code).ok()?, message, data: error.shift_remove("data") })
}

fn request_id(id: Option<&Value>) -> Option<RequestId> {
    serde_json::from_value(id?.clone()).ok()
}

/// The id of a message, if it is a string or a number.
fn id_in(envelope: &Envelope) -> Result<Option<Value>, Rejection> {
    let Some(id) = &envelope.id else { return Ok(None) };
    name_in("id", id).map_err(|cause| Rejection::invalid(cause, None))?;
    Ok(id.tree(1).ok().filter(|id| id.is_string() || id.is_number()))
}

/// The text of a string that names something; None of any other value.
pub(super) fn name_in(what: &str, value: &RawJson) -> Result<Option<String>, String> {
    // Every byte may be escaped, as six.
    let short = value.length() <= 6 * LONGEST_NAME + 2;
    match value.string().filter(|_| short) {
        None if short => Ok(None),
        Some(name) if name.len() <= LONGEST_NAME => Ok(Some(name)),
        _ => Err(format!("`{what}` is too long; no name is longer than {LONGEST_NAME} bytes")),
    }
}

fn unreadable(cause: Malformed, text: &[u8]) -> Rejection {
    let id = id_of_request(text);
    match cause {
        Malformed::TooDeep => Rejection::invalid("the message is nested too deeply", id),
        Malformed::NotJson => Rejection {
            id: id.unwrap_or_default(),
            error: Box::new(error(PARSE_ERROR, "not valid JSON in UTF-8")),
        },
    }
}

impl ClientRequest {
    /// The params as values; without any, there are none.
    pub(super) fn members(&self) -> Result<Map<String, Value>, RpcError> {
        let Some(params) = &self.params else { return Ok(Map::new()) };
        let params = params.tree(MOST_VALUES);
        let params =
            params.map_err(|cause| error(INVALID_REQUEST, format!("the message has {cause}")))?;
        let params = match params {
            Value::Object(params) => params,
            Value::Null => Map::new(),
            _ => return Err(odd_params()),
        };
        match params.get("_meta") {
            None | Some(Value::Null | Value::Object(_)) => Ok(params),
            Some(_) => Err(odd_params()),
        }
    }
}

fn odd_params() -> RpcError {
    error(INVALID_PARAMS, "`params` must be an object, and so must its `_meta`")
}
