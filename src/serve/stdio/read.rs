//! What a line of the client's says.

use rmcp::{
    RoleServer,
    model::{
        CallToolRequest, CallToolRequestParams, ClientRequest, ClientResult, CustomResult,
        ErrorCode, ErrorData, GetExtensions, GetMeta, JsonRpcMessage, MetaObject, RequestId,
        RequestMetaObject,
    },
    service::RxJsonRpcMessage,
};
use serde_json::{Map, Value, json};

use crate::{
    domain::{
        envelope::Envelope,
        frame::{Frame, id_of_request},
        json::{MOST_VALUES, Malformed, NoTree, RawJson},
    },
    gateway::fields::LONGEST_NAME,
    serve::carried::{RawAnswers, RawArguments},
};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

type Message = RxJsonRpcMessage<RoleServer>;

/// Input that cannot be used, as it is answered.
pub(super) struct Fault {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    pub(super) id: Value,
}

impl Fault {
    /// What is no request, or one that is refused as it stands.
    pub(super) fn because(message: &str, id: Option<Value>) -> Self {
        Self {
            code: ErrorCode::INVALID_REQUEST,
            message: message.to_owned(),
            id: id.unwrap_or_default(),
        }
    }

    fn params(message: String, id: &Value) -> Self {
        Self { code: ErrorCode::INVALID_PARAMS, message, id: id.clone() }
    }

    pub(super) fn to_json(&self) -> Value {
        let error = ErrorData::new(self.code, self.message.clone(), None);
        json!({"jsonrpc": "2.0", "id": self.id, "error": error})
    }
}

/// Returns the message in a frame; None for an empty line and for an unknown notification.
pub(super) fn read(frame: Frame) -> Result<Option<Message>, Fault> {
    let mut line = match frame {
        Frame::Line(line) => line,
        Frame::TooLong(id) => {
            return Err(Fault::because("the message is longer than 16 MiB", id));
        }
    };
    if line.starts_with(BYTE_ORDER_MARK) {
        line.drain(..BYTE_ORDER_MARK.len());
    }
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let message = RawJson::parse(line).map_err(|(cause, line)| unreadable(cause, &line))?;
    if !message.is_object() {
        return Err(Fault::because(
            "a message is one JSON object; batches are not supported",
            None,
        ));
    }
    let envelope = Envelope::of(&message);
    let id = id_in(&envelope)?;
    let is_request = envelope.method.is_some() && envelope.id.is_some();
    if is_request && !id.as_ref().is_some_and(|id| id.is_string() || id.is_i64()) {
        return Err(Fault::because("`id` must be a string or an integer", id));
    }
    let method = envelope.method.as_ref().map(|method| name_in("method", method)).transpose();
    let method = method.map_err(|cause| Fault::because(&cause, id.clone()))?.flatten();
    if let (Some("tools/call"), Some(id)) = (method.as_deref(), &id)
        && let Some(call) = tool_call(&envelope, id)?
    {
        return Ok(Some(call));
    }
    match message.tree(MOST_VALUES) {
        Ok(message) => typed(message, id, is_request),
        Err(cause) if is_request => Err(Fault::because(&format!("the message has {cause}"), id)),
        // An answer or a notification, for which no one waits.
        Err(_) => Ok(None),
    }
}

/// A message as rmcp reads it.
fn typed(
    mut message: Value,
    id: Option<Value>,
    is_request: bool,
) -> Result<Option<Message>, Fault> {
    let has_odd_params = message.get("params").is_some_and(|params| {
        !params.is_object() || params.get("_meta").is_some_and(|meta| !meta.is_object())
    });
    if let Some(answer) = message.as_object_mut().and_then(answer) {
        return Ok(Some(answer));
    }
    match serde_json::from_value(message) {
        Ok(message) => Ok(Some(message)),
        Err(_) if !is_request && id.is_none() => Ok(None),
        Err(_) if is_request && has_odd_params => Err(Fault::params(
            "`params` must be an object, and so must its `_meta`".into(),
            &id.unwrap_or_default(),
        )),
        Err(_) => Err(Fault::because("not a JSON-RPC 2.0 message", id)),
    }
}

/// The id of a message, if it is a string or a number.
fn id_in(envelope: &Envelope) -> Result<Option<Value>, Fault> {
    let Some(id) = &envelope.id else { return Ok(None) };
    name_in("id", id).map_err(|cause| Fault::because(&cause, None))?;
    Ok(id.tree(1).ok().filter(|id| id.is_string() || id.is_number()))
}

/// The text of a string that names something; None of any other value.
fn name_in(what: &str, value: &RawJson) -> Result<Option<String>, String> {
    // Every byte may be escaped, as six.
    let name = if value.length() <= 6 * LONGEST_NAME + 2 { value.string() } else { None };
    match name {
        Some(name) if name.len() <= LONGEST_NAME => Ok(Some(name)),
        None if value.length() <= 6 * LONGEST_NAME + 2 => Ok(None),
        _ => Err(format!("`{what}` is too long; no name is longer than {LONGEST_NAME} bytes")),
    }
}

/// A well-formed `tools/call`, put together by hand: rmcp's decoding refuses numbers that fit no
/// machine type, and arguments are the caller's own.
fn tool_call(envelope: &Envelope, id: &Value) -> Result<Option<Message>, Fault> {
    let Some(params) = envelope.params.as_ref().filter(|_| envelope.is_of_version_2()) else {
        return Ok(None);
    };
    let Ok(known) = serde_json::from_value::<RequestId>(id.clone()) else { return Ok(None) };
    let mut given = Params::default();
    for member in params.members().filter(|member| !member.value.is_null()) {
        match &*member.name {
            "name" => given.name = Some(member.value),
            "arguments" => given.arguments = Some(member.value),
            "_meta" => given.meta = Some(member.value),
            "inputResponses" => given.answers = Some(member.value),
            "requestState" => given.state = member.value.string(),
            _ => {}
        }
    }
    let is_object = |value: &Option<RawJson>| value.as_ref().is_none_or(RawJson::is_object);
    if !is_object(&given.arguments) || !is_object(&given.meta) {
        return Ok(None);
    }
    let wrong = |cause: String| Fault::params(cause, id);
    let name = given.name.as_ref().map(|name| name_in("name", name)).transpose();
    let Some(name) = name.map_err(wrong)?.flatten() else { return Ok(None) };
    let mut call = CallToolRequestParams::new(name);
    call.request_state = given.state;
    let mut request = ClientRequest::CallToolRequest(CallToolRequest::new(call));
    if let Some(arguments) = given.arguments {
        request.extensions_mut().insert(RawArguments(arguments));
    }
    let large = |what: &str, cause: NoTree| wrong(format!("`{what}` has {cause}"));
    if let Some(answers) = given.answers {
        let answers = answers.tree(MOST_VALUES).map_err(|cause| large("inputResponses", cause))?;
        request.extensions_mut().insert(RawAnswers(answers));
    }
    if let Some(meta) = given.meta {
        if let Some(token) = meta.member("progressToken") {
            name_in("progressToken", &token).map_err(wrong)?;
        }
        let meta = meta.tree(MOST_VALUES).map_err(|cause| large("_meta", cause))?;
        if let Value::Object(meta) = meta {
            request.get_meta_mut().extend(RequestMetaObject(MetaObject(meta)));
        }
    }
    Ok(Some(JsonRpcMessage::request(request, known)))
}

/// The params of a call.
#[derive(Default)]
struct Params {
    name: Option<RawJson>,
    arguments: Option<RawJson>,
    meta: Option<RawJson>,
    answers: Option<RawJson>,
    state: Option<String>,
}

/// The client's answer to a question, as it came.
fn answer(message: &mut Map<String, Value>) -> Option<Message> {
    if message.contains_key("method") {
        return None;
    }
    let id = serde_json::from_value(message.get("id")?.clone()).ok()?;
    let result = CustomResult::new(message.get_mut("result")?.take());
    Some(JsonRpcMessage::response(ClientResult::CustomResult(result), id))
}

fn unreadable(cause: Malformed, text: &[u8]) -> Fault {
    let id = id_of_request(text);
    match cause {
        Malformed::TooDeep => Fault::because("the message is nested too deeply", id),
        Malformed::NotJson => {
            Fault { code: ErrorCode::PARSE_ERROR, ..Fault::because("not valid JSON in UTF-8", id) }
        }
    }
}
