//! A schema with fewer words and the same meaning: what it accepts and what it tells a caller stay.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{bounds::is_machine_width, visible};

/// Deeper schemas are left as they are.
const DEEPEST: usize = 64;

/// Keywords that say nothing to a caller and change nothing in what is accepted.
const SILENT: [&str; 4] = ["$schema", "$id", "$comment", "title"];

/// The schema without what neither accepts nor tells anything.
pub(super) fn schema(schema: &Value) -> Value {
    let Value::Object(object) = schema else { return json!({"type": "object"}) };
    if has_unevaluated(schema, 0) {
        // There even `additionalProperties: true` has a meaning.
        return schema.clone();
    }
    let mut out = object_schema(object, 0);
    drop_unused_definitions(&mut out);
    Value::Object(out)
}

fn has_unevaluated(schema: &Value, depth: usize) -> bool {
    match schema {
        _ if depth > DEEPEST => true,
        Value::Object(object) => object.iter().any(|(key, value)| {
            key.starts_with("unevaluated") || has_unevaluated(value, depth + 1)
        }),
        Value::Array(items) => items.iter().any(|item| has_unevaluated(item, depth + 1)),
        _ => false,
    }
}

fn sub_schema(schema: &Value, depth: usize) -> Value {
    match schema {
        Value::Object(object) if depth < DEEPEST => Value::Object(object_schema(object, depth + 1)),
        other => other.clone(),
    }
}

fn object_schema(schema: &Map<String, Value>, depth: usize) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, value) in schema {
        // An `$id` below the top may be the base of references.
        if SILENT.contains(&key.as_str()) && (value.is_string() && (key != "$id" || depth == 0)) {
            continue;
        }
        match minified(key, value, schema, depth) {
            Some(value) => out.insert(key.clone(), value),
            None => None,
        };
    }
    out
}

/// A keyword's value, minified; None if the keyword can go.
fn minified(key: &str, value: &Value, schema: &Map<String, Value>, depth: usize) -> Option<Value> {
    match (key, value) {
        (
            "properties" | "$defs" | "definitions" | "patternProperties" | "dependentSchemas",
            Value::Object(map),
        ) => {
            let map = map.iter().map(|(name, sub)| (name.clone(), sub_schema(sub, depth)));
            Some(Value::Object(map.collect()))
        }
        ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(list)) => {
            Some(Value::Array(list.iter().map(|sub| sub_schema(sub, depth)).collect()))
        }
        ("additionalProperties" | "unevaluatedProperties", Value::Bool(true)) => None,
        ("additionalProperties", Value::Object(any)) if any.is_empty() => None,
        (
            "items"
            | "additionalProperties"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "unevaluatedProperties"
            | "unevaluatedItems",
            sub,
        ) => Some(sub_schema(sub, depth)),
        ("required", Value::Array(names)) if names.is_empty() => None,
        ("default", Value::Null) => None,
        ("description", Value::String(text)) => {
            let text = visible(text);
            let text = text.trim();
            (!text.is_empty()).then(|| text.into())
        }
        ("minimum" | "maximum", bound) if is_machine_bound(bound, schema) => None,
        ("type", Value::Array(names)) if names.len() == 1 => names.first().cloned(),
        (_, other) => Some(other.clone()),
    }
}

/// A bound that only says how wide the server's integers are.
fn is_machine_bound(bound: &Value, schema: &Map<String, Value>) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("integer") && is_machine_width(bound)
}

/// Definitions that nothing refers to, however indirectly, can go.
fn drop_unused_definitions(schema: &mut Map<String, Value>) {
    const PLACES: [&str; 2] = ["$defs", "definitions"];
    let mut targets = HashSet::new();
    for (key, value) in schema.iter().filter(|(key, _)| !PLACES.contains(&key.as_str())) {
        let _ = key;
        collect_refs(value, &mut targets, 0);
    }
    if targets.contains("#") {
        return;
    }
    loop {
        let before = targets.len();
        let mut more = HashSet::new();
        for place in PLACES {
            let Some(Value::Object(definitions)) = schema.get(place) else { continue };
            for (name, definition) in definitions {
                if is_target(&targets, place, name) {
                    collect_refs(definition, &mut more, 0);
                }
            }
        }
        targets.extend(more);
        if targets.len() == before {
            break;
        }
    }
    for place in PLACES {
        let Some(Value::Object(definitions)) = schema.get_mut(place) else { continue };
        definitions.retain(|name, _| is_target(&targets, place, name));
        if definitions.is_empty() {
            schema.shift_remove(place);
        }
    }
}

fn is_target(targets: &HashSet<String>, place: &str, name: &str) -> bool {
    let name = name.replace('~', "~0").replace('/', "~1");
    let exact = format!("#/{place}/{name}");
    let below = format!("{exact}/");
    // A reference that is not a plain pointer (an anchor, an escaped one) may mean any of them.
    targets.iter().any(|target| {
        *target == exact
            || target.starts_with(&below)
            || !target.starts_with("#/")
            || target.contains('%')
    })
}

fn collect_refs(schema: &Value, into: &mut HashSet<String>, depth: usize) {
    if depth > 2 * DEEPEST {
        into.insert("#".into());
        return;
    }
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" || key == "$dynamicRef" => {
                        into.insert(target.clone());
                    }
                    value => collect_refs(value, into, depth + 1),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_refs(item, into, depth + 1)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::schema;

    #[track_caller]
    fn check(from: Value, expected: Value) {
        assert_eq!(schema(&from), expected);
    }

    #[test]
    fn what_says_nothing_goes_and_what_means_something_stays() {
        check(
            json!({"$schema": "x", "title": "T", "type": "object", "required": [], "additionalProperties": true,
                "properties": {"title": {"type": ["string"], "title": "Title", "default": null,
                    "description": " a\u{200b}b "}}}),
            json!({"type": "object", "properties": {"title": {"type": "string", "description": "ab"}}}),
        );
        check(
            json!({"type": "object", "additionalProperties": false, "properties": {
                "a": {"type": "integer", "minimum": -9007199254740991_i64, "maximum": 10, "default": 0}}}),
            json!({"type": "object", "additionalProperties": false, "properties": {
                "a": {"type": "integer", "maximum": 10, "default": 0}}}),
        );
        check(json!(null), json!({"type": "object"}));
    }

    #[test]
    fn unused_definitions_go_and_used_ones_stay() {
        check(
            json!({"properties": {"a": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {}, "C": {"$ref": "#/$defs/D"}, "D": {}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {}}}),
        );
        check(json!({"type": "object", "definitions": {"X": {}}}), json!({"type": "object"}));
        let kept = json!({"properties": {"a": {"$ref": "#anchor"}}, "$defs": {"A": {"$anchor": "anchor"}}});
        check(kept.clone(), kept);
    }
}
