//! Digests of JSON values that do not depend on how they are written.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The digest of an object's members. Their order does not matter; numbers count as they are
/// written.
pub fn of_members(members: &Map<String, Value>) -> [u8; 32] {
    let mut hash = Sha256::new();
    feed_members(&mut hash, members, None);
    hash.finalize().into()
}

/// Every value feeds its kind and its length first, so that no two values feed the same bytes.
fn feed(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hash.update(b"0"),
        Value::Bool(false) => hash.update(b"f"),
        Value::Bool(true) => hash.update(b"t"),
        Value::Number(number) => {
            let text = number.to_string();
            feed_length(hash, b'n', text.len());
            hash.update(text);
        }
        Value::String(text) => feed_text(hash, text),
        Value::Array(items) => {
            feed_length(hash, b'[', items.len());
            items.iter().for_each(|item| feed(hash, item));
        }
        Value::Object(members) => feed_members(hash, members, None),
    }
}

/// Feeds the members of an object, but for one of that name.
pub(super) fn feed_members(hash: &mut Sha256, members: &Map<String, Value>, but: Option<&str>) {
    let mut members: Vec<_> = members.iter().filter(|(key, _)| Some(key.as_str()) != but).collect();
    members.sort_unstable_by_key(|(key, _)| key.as_str());
    feed_length(hash, b'{', members.len());
    for (key, value) in members {
        feed_text(hash, key);
        feed(hash, value);
    }
}

/// Feeds a text.
pub(super) fn feed_text(hash: &mut Sha256, text: &str) {
    feed_length(hash, b's', text.len());
    hash.update(text);
}

fn feed_length(hash: &mut Sha256, kind: u8, length: usize) {
    hash.update([kind]);
    hash.update((length as u64).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::of_members;

    #[test]
    fn only_what_is_said_counts() {
        let digest =
            |text: &str| of_members(&serde_json::from_str::<Map<String, Value>>(text).unwrap());
        let one = digest(r#"{"a": 1, "b": {"x": [1, 2], "y": null}}"#);
        assert_eq!(one, digest(r#"{"b":{"y":null,"x":[1,2]},"a":1}"#));
        for other in [
            r#"{"a": 1, "b": {"x": [2, 1], "y": null}}"#,
            r#"{"a": 1.0, "b": {"x": [1, 2], "y": null}}"#,
            r#"{"a": "1", "b": {"x": [1, 2], "y": null}}"#,
            r#"{"a": 1, "b": {"x": [[1], 2], "y": null}}"#,
            r#"{"a": 1, "b": {"x": [1, 2]}}"#,
            r#"{"a": 1, "b": {"x": [1, 2], "y": false}}"#,
        ] {
            assert_ne!(one, digest(other), "{other}");
        }
    }
}
