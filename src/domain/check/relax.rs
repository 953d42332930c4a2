//! Parameters with a default may be left out, whatever `required` says: a server that names a
//! default fills it in.

use serde_json::{Map, Value};

/// The schema with every `required` parameter that has a default optional; None if there is none.
///
/// Only where that can do no more than accept more: not below `not`, `oneOf`, `if` and the like, nor
/// in definitions that may be used there.
pub(super) fn relaxed(schema: &Value) -> Option<Value> {
    let definitions = !decides(schema);
    if !has_any(schema, definitions) {
        return None;
    }
    let mut out = schema.clone();
    relax(&mut out, definitions);
    Some(out)
}

/// Keywords whose parts can only accept more when they are relaxed.
const LISTS: [&str; 3] = ["allOf", "anyOf", "prefixItems"];
const MAPS: [&str; 2] = ["properties", "patternProperties"];
const SINGLE: [&str; 2] = ["items", "additionalProperties"];
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// Whether anything depends on a part not being satisfied, or on how many parts are.
fn decides(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.iter().any(|(key, value)| {
            matches!(key.as_str(), "not" | "oneOf" | "if" | "maxContains") || decides(value)
        }),
        Value::Array(items) => items.iter().any(decides),
        _ => false,
    }
}

/// Whether `name` is a parameter of this object with a default.
pub(in crate::domain) fn has_default(schema: &Map<String, Value>, name: &str) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    let own = properties.and_then(|properties| properties.get(name));
    own.is_some_and(|own| own.get("default").is_some())
}

fn has_any(schema: &Value, definitions: bool) -> bool {
    let Value::Object(object) = schema else { return false };
    let required = object.get("required").and_then(Value::as_array).into_iter().flatten();
    let mut required = required.filter_map(Value::as_str);
    required.any(|name| has_default(object, name))
        || object.iter().any(|(key, value)| match value {
            Value::Array(parts) if LISTS.contains(&key.as_str()) => {
                parts.iter().any(|part| has_any(part, definitions))
            }
            Value::Object(parts) if is_map(key, definitions) => {
                parts.values().any(|part| has_any(part, definitions))
            }
            part => SINGLE.contains(&key.as_str()) && has_any(part, definitions),
        })
}

fn is_map(key: &str, definitions: bool) -> bool {
    MAPS.contains(&key) || (definitions && DEFINITIONS.contains(&key))
}

fn relax(schema: &mut Value, definitions: bool) {
    let Value::Object(object) = schema else { return };
    if let Some(Value::Array(required)) = object.get("required") {
        let needed = required
            .iter()
            .filter(|name| name.as_str().is_none_or(|name| !has_default(object, name)));
        let needed: Vec<Value> = needed.cloned().collect();
        // An empty list is no schema in older dialects.
        match needed.is_empty() {
            true => object.shift_remove("required"),
            false => object.insert("required".into(), Value::Array(needed)),
        };
    }
    for (key, value) in object.iter_mut() {
        match value {
            Value::Array(parts) if LISTS.contains(&key.as_str()) => {
                parts.iter_mut().for_each(|part| relax(part, definitions));
            }
            Value::Object(parts) if is_map(key, definitions) => {
                parts.values_mut().for_each(|part| relax(part, definitions));
            }
            part if SINGLE.contains(&key.as_str()) => relax(part, definitions),
            _ => {}
        }
    }
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
