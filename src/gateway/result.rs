//! The answer to a call. A tool result is its server's text, with what the gateway says of it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::billing::hold::{Settled, over_budget};
use crate::domain::{
    budget::Mode,
    credits::Credits,
    json::{Change, RawJson},
    refusal::{MARK, RESERVED, Refusal, RpcError},
};

/// 2026-07-28 requires this member on every result; earlier versions do not know it.
const RESULT_TYPE: &str = "resultType";
const COMPLETE: &str = "\"complete\"";

/// The answer to a call that was not refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A tool result: a server's own, or one of ours.
    Result(ToolResult),
    /// A JSON-RPC error: a server's own, a refusal of a direct call, or an internal error.
    Error(RpcError),
}

impl Answer {
    /// The gateway's own answer: a text for the agent.
    pub(super) fn text(text: &str) -> Self {
        Self::Result(text_result(text).into())
    }

    /// The gateway's own answer, as JSON.
    pub(super) fn json(value: Value) -> Self {
        let text = text_result(&value.to_string()).into();
        Self::Result(ToolResult { text, priced: None, json: Some(value) })
    }
}

/// What a client is sent for a call: a tool result, or a JSON-RPC error.
pub fn as_sent(answer: Result<Answer, Refusal>) -> Result<ToolResult, RpcError> {
    match answer {
        Ok(Answer::Result(result)) => Ok(result),
        Ok(Answer::Error(error)) => Err(error),
        Err(refusal) if refusal.is_rpc_error() => Err(refusal.to_rpc_error()),
        Err(refusal) => Ok(refused(&refusal).into()),
    }
}

/// A tool result, as it came but for its `_meta`.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// An object.
    text: RawJson,
    /// What the gateway puts into its `_meta`; None of a result of its own.
    priced: Option<Vec<(&'static str, Value)>>,
    /// What its text says, where that is JSON of the gateway's own.
    pub(super) json: Option<Value>,
}

impl ToolResult {
    /// A server's result, with what the gateway says of it in its `_meta`. One that is no object is
    /// no tool result; it is kept as text.
    pub(super) fn priced(text: RawJson, settled: &Settled) -> Self {
        Self::with_meta(text, price_of(settled))
    }

    fn with_meta(text: RawJson, says: Vec<(&'static str, Value)>) -> Self {
        let is_result = text.is_object();
        let text = if is_result { text } else { text_result(&text.compact()).into() };
        Self { text, priced: Some(says), json: None }
    }

    /// The result as JSON for a client: in pieces, so that it is not copied.
    pub(crate) fn pieces(&self, stateless: bool) -> Vec<Bytes> {
        let says = self.says();
        let (mut has_meta, mut has_type) = (says.is_none(), false);
        for member in self.text.members() {
            has_meta |= member.name == "_meta";
            has_type |= member.name == RESULT_TYPE;
        }
        let mut added: Vec<(&str, RawJson)> = Vec::new();
        if let (Some(says), false) = (&says, has_meta) {
            added.push(("_meta", RawJson::object(says)));
        }
        if stateless && !has_type {
            added.push((RESULT_TYPE, Value::from("complete").into()));
        }
        self.text.changed(
            |name, value| match name {
                "_meta" => says.as_ref().map_or(Change::Keep, |says| meta(value, says)),
                RESULT_TYPE if !stateless && value.as_str() == COMPLETE => Change::Remove,
                _ => Change::Keep,
            },
            &added,
        )
    }

    /// The result as values, however many; as a text, if it cannot be read as values.
    pub fn to_value(&self) -> Value {
        let text = String::from_utf8(self.pieces(false).concat()).unwrap_or_default();
        let raw = RawJson::parse_str(&text);
        raw.and_then(|raw| raw.tree(usize::MAX).ok()).unwrap_or_else(|| Value::from(text))
    }

    fn says(&self) -> Option<Vec<(&'static str, RawJson)>> {
        let says = self.priced.as_ref()?;
        Some(says.iter().map(|(name, value)| (*name, value.into())).collect())
    }
}

impl From<Value> for ToolResult {
    fn from(result: Value) -> Self {
        Self { text: result.into(), priced: None, json: None }
    }
}

/// What a result says of its price.
fn price_of(settled: &Settled) -> Vec<(&'static str, Value)> {
    let mut says = vec![
        ("tollgate/cost", settled.cost.amount().into()),
        ("tollgate/remaining", settled.remaining.map(Credits::amount).into()),
    ];
    if settled.mode == Mode::Shadow {
        says.push(("tollgate/mode", settled.mode.as_str().into()));
    }
    if let Some(short) = &settled.over {
        says.push(("tollgate/warning", over_budget(short).into()));
    }
    says
}

/// A result of ours: one text block.
fn text_result(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}]})
}

/// The wire form of a refusal: a tool result with one line of JSON, and the gateway's mark.
pub fn refused(refusal: &Refusal) -> Value {
    let mut result = text_result(&refusal.to_json().to_string());
    if let Value::Object(result) = &mut result {
        result.insert("isError".into(), true.into());
        result.insert("_meta".into(), json!({ MARK: refusal.code() }));
    }
    result
}

/// A server's `_meta` with what the gateway says; no server speaks in its name. One that is no object
/// is the server's own slip, and stays as it is.
fn meta(theirs: &RawJson, says: &[(&str, RawJson)]) -> Change {
    if theirs.is_null() {
        return Change::Replace(vec![RawJson::object(says).bytes().clone()]);
    }
    if !theirs.is_object() {
        return Change::Keep;
    }
    let others = |name: &str, _: &RawJson| {
        if name.starts_with(RESERVED) { Change::Remove } else { Change::Keep }
    };
    Change::Replace(theirs.changed(others, says))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{RawJson, ToolResult};

    fn sent(text: &str, stateless: bool) -> String {
        let says = vec![("tollgate/cost", json!(1)), ("tollgate/remaining", Value::Null)];
        let result = ToolResult::with_meta(RawJson::parse_str(text).unwrap(), says);
        String::from_utf8(result.pieces(stateless).concat()).unwrap()
    }

    #[test]
    fn a_result_gets_its_price_and_keeps_the_rest() {
        let ours = r#""tollgate/cost":1,"tollgate/remaining":null"#;
        for (text, expected) in [
            ("{}", format!("{{\"_meta\":{{{ours}}}}}")),
            (
                r#"{"content": [1.0e5, "\u00e9"] }"#,
                format!("{{\"content\": [1.0e5, \"\\u00e9\"],\"_meta\":{{{ours}}}}}"),
            ),
            (
                r#"{"_meta":{"tollgate/cost":0,"k":[ ]},"isError":true,"_meta":null}"#,
                format!("{{\"_meta\":{{\"k\":[ ],{ours}}},\"isError\":true,\"_meta\":{{{ours}}}}}"),
            ),
            (r#"{"_meta":3}"#, r#"{"_meta":3}"#.to_owned()),
            (r#"{"resultType":"complete","_meta":3}"#, r#"{"_meta":3}"#.to_owned()),
            (
                "[1, 2]",
                format!(
                    "{{\"content\":[{{\"type\":\"text\",\"text\":\"[1,2]\"}}],\"_meta\":{{{ours}}}}}"
                ),
            ),
        ] {
            assert_eq!(sent(text, false), expected, "{text}");
        }
        assert_eq!(sent(r#"{"_meta":3}"#, true), r#"{"_meta":3,"resultType":"complete"}"#);
        let asks = r#"{"resultType":"input_required","_meta":3}"#;
        assert_eq!(sent(asks, true), asks);
    }
}
