//! Reading tool results.

use serde_json::Value;

/// The text of a result's first block.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {result}"))
}

/// The JSON in the text of a result of the gateway's own.
pub fn json_in(result: &Value) -> Value {
    serde_json::from_str(text(result)).unwrap()
}

/// The error of a refusal.
#[track_caller]
pub fn refusal(result: &Value) -> Value {
    assert_eq!(result["isError"], true, "{result}");
    json_in(result)["error"].clone()
}

/// A result without what the gateway adds to its `_meta`: what it cost, and what is left.
pub fn unpriced(mut result: Value, expected: &Value) -> Value {
    let members = result.as_object_mut().unwrap();
    let meta = members["_meta"].as_object_mut().unwrap();
    assert!(meta.shift_remove("tollgate/cost").is_some(), "{meta:?}");
    assert!(meta.shift_remove("tollgate/remaining").is_some(), "{meta:?}");
    if meta.is_empty() && expected.get("_meta").is_none() {
        members.shift_remove("_meta");
    }
    result
}
