//! Parameters with a default may be left out, whatever `required` says: a server that names a
//! default fills it in.

use serde_json::{Map, Value};

use crate::domain::json::objects;

/// The schema with every `required` parameter that has a default optional; None if there is none.
///
/// Only where that can do no more than accept more: not below `not`, `oneOf`, `if` and the like, nor
/// in definitions that may be used there.
pub(super) fn relaxed(schema: &Value) -> Option<Value> {
    let mut out = schema.clone();
    relax(&mut out, !decides(schema)).then_some(out)
}

/// Keywords whose parts can only accept more when they are relaxed.
const LISTS: [&str; 3] = ["allOf", "anyOf", "prefixItems"];
const MAPS: [&str; 2] = ["properties", "patternProperties"];
const SINGLE: [&str; 2] = ["items", "additionalProperties"];
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// Whether anything depends on a part not being satisfied, or on how many parts are.
fn decides(schema: &Value) -> bool {
    const DECIDING: [&str; 4] = ["not", "oneOf", "if", "maxContains"];
    objects(schema).any(|(_, object)| DECIDING.iter().any(|key| object.contains_key(*key)))
}

/// Whether `name` is a parameter of this object with a default.
pub(in crate::domain) fn has_default(schema: &Map<String, Value>, name: &str) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    let own = properties.and_then(|properties| properties.get(name));
    own.is_some_and(|own| own.get("default").is_some())
}

fn is_map(key: &str, definitions: bool) -> bool {
    MAPS.contains(&key) || (definitions && DEFINITIONS.contains(&key))
}

/// Returns whether anything became optional.
fn relax(schema: &mut Value, definitions: bool) -> bool {
    let Value::Object(object) = schema else { return false };
    let mut changed = drop_defaulted(object);
    for (key, value) in object.iter_mut() {
        changed |= match value {
            Value::Array(parts) if LISTS.contains(&key.as_str()) => {
                parts.iter_mut().fold(false, |any, part| relax(part, definitions) | any)
            }
            Value::Object(parts) if is_map(key, definitions) => {
                parts.values_mut().fold(false, |any, part| relax(part, definitions) | any)
            }
            part => SINGLE.contains(&key.as_str()) && relax(part, definitions),
        };
    }
    changed
}

/// Takes the parameters with a default out of `required`; returns whether there were any.
fn drop_defaulted(object: &mut Map<String, Value>) -> bool {
    let Some(Value::Array(required)) = object.get("required") else { return false };
    let is_needed = |name: &&Value| name.as_str().is_none_or(|name| !has_default(object, name));
    let needed: Vec<Value> = required.iter().filter(is_needed).cloned().collect();
    let dropped = needed.len() < required.len();
    if needed.is_empty() && dropped {
        // An empty list is no schema in older dialects.
        object.shift_remove("required");
    } else if dropped {
        object.insert("required".into(), Value::Array(needed));
    }
    dropped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::relaxed;

    #[test]
    fn required_parameters_with_a_default_are_optional() {
        let schema = json!({"required": ["a", "b"], "properties": {
            "a": {"default": null}, "b": {"items": {"required": ["c"], "properties": {"c": {"default": 1}}}}}});
        assert_eq!(
            relaxed(&schema).unwrap(),
            json!({"required": ["b"], "properties": {
                "a": {"default": null}, "b": {"items": {"properties": {"c": {"default": 1}}}}}})
        );
        assert_eq!(relaxed(&json!({"required": ["a"], "properties": {"a": {}}})), None);
    }

    #[test]
    fn nothing_that_was_accepted_is_refused() {
        let part = json!({"required": ["a"], "properties": {"a": {"default": 1}}});
        for key in ["not", "if"] {
            assert_eq!(relaxed(&json!({key: part})), None);
        }
        assert_eq!(relaxed(&json!({"oneOf": [part]})), None);
        let shared = json!({"oneOf": [{"$ref": "#/$defs/P"}], "$defs": {"P": part}});
        assert_eq!(relaxed(&shared), None);
        assert!(
            relaxed(&json!({"anyOf": [{"$ref": "#/$defs/P"}], "$defs": {"P": part}})).is_some()
        );
    }
}
