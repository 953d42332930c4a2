//! A schema with fewer words and the same meaning: what it accepts and what it tells a caller stay.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{bounds::is_machine_width, visible};
use crate::domain::json::objects;

/// Deeper schemas are left as they are.
const DEEPEST: usize = 64;

/// Keywords that say nothing to a caller and change nothing in what is accepted.
const SILENT: [&str; 4] = ["$schema", "$id", "$comment", "title"];

/// The schema without what neither accepts nor tells anything.
pub(super) fn schema(schema: &Value) -> Value {
    let Value::Object(object) = schema else { return json!({"type": "object"}) };
    if is_delicate(schema) {
        return schema.clone();
    }
    let mut out = object_schema(object, 0);
    if let Some(dialect) = object.get("$schema").filter(|dialect| matters(dialect, schema)) {
        out.shift_insert(0, "$schema".into(), dialect.clone());
    }
    drop_unused_definitions(&mut out);
    Value::Object(out)
}

/// A description without hidden characters and without the indentation that all its lines after the
/// first have in common.
pub(super) fn prose(text: &str) -> String {
    let text = visible(text);
    let indent = |line: &&str| line.len() - line.trim_start_matches(' ').len();
    let rest = text.lines().skip(1).filter(|line| !line.trim().is_empty());
    let common = rest.map(|line| indent(&line)).min().unwrap_or_default();
    let lines = text.lines().enumerate().map(|(number, line)| {
        let line = if number > 0 { line.get(common..).unwrap_or_default() } else { line };
        line.trim_end()
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Whether keywords are used beside which every other has a meaning: beside `unevaluated…` even
/// `additionalProperties: true`, and with anchors the place where a definition stands.
fn is_delicate(schema: &Value) -> bool {
    objects(schema).any(|(depth, object)| {
        depth >= DEEPEST
            || object.keys().any(|key| key.starts_with("unevaluated"))
            || ["$anchor", "$dynamicAnchor"].iter().any(|anchor| is_text(object.get(*anchor)))
    })
}

fn is_text(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_string)
}

/// Whether the schema means something else in the dialect that applies where none is named: it uses
/// keywords whose meaning changed between dialects.
fn matters(dialect: &Value, schema: &Value) -> bool {
    const CHANGED: [&str; 8] = [
        "additionalItems",
        "dependencies",
        "prefixItems",
        "dependentRequired",
        "dependentSchemas",
        "minContains",
        "maxContains",
        "$recursiveRef",
    ];
    const SAYS_NOTHING: [&str; 5] = ["$ref", "description", "title", "default", "examples"];
    let is_changed = |(key, value): (&String, &Value)| {
        CHANGED.contains(&key.as_str())
            || (key == "items" && value.is_array())
            || (key.starts_with("exclusive") && value.is_boolean())
    };
    let has_company = |object: &Map<String, Value>| {
        is_text(object.get("$ref"))
            && object.keys().any(|key| !SAYS_NOTHING.contains(&key.as_str()))
    };
    let current = dialect.as_str().is_none_or(|name| name.contains("2020-12"));
    !current
        && objects(schema).any(|(_, object)| object.iter().any(is_changed) || has_company(object))
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
            let text = prose(text);
            (!text.is_empty()).then(|| text.into())
        }
        // Beside a format, the pattern only spells the format out, at great length.
        ("pattern", Value::String(_)) if schema.contains_key("format") => None,
        ("minimum" | "maximum", bound) if is_machine_bound(bound, schema) => None,
        ("type", Value::Array(names)) if names.len() == 1 => names.first().cloned(),
        (_, other) => Some(other.clone()),
    }
}

/// A bound that only says how wide the server's integers are.
fn is_machine_bound(bound: &Value, schema: &Map<String, Value>) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("integer") && is_machine_width(bound)
}

/// Where definitions stand.
const PLACES: [&str; 2] = ["$defs", "definitions"];

/// Definitions that nothing refers to, however indirectly, can go.
fn drop_unused_definitions(schema: &mut Map<String, Value>) {
    let outside = schema.iter().filter(|(key, _)| !PLACES.contains(&key.as_str()));
    let mut open: Vec<&str> = outside.flat_map(|(_, value)| targets(value)).collect();
    let mut used = HashSet::new();
    while let Some(target) = open.pop() {
        if is_unclear(target) {
            return;
        }
        let Some((place, name)) = definition_of(target) else { continue };
        if let Some(definition) = schema.get(place).and_then(|all| all.get(&name))
            && used.insert((place.to_owned(), name))
        {
            open.extend(targets(definition));
        }
    }
    for place in PLACES {
        let Some(Value::Object(definitions)) = schema.get_mut(place) else { continue };
        definitions.retain(|name, _| used.contains(&(place.to_owned(), name.clone())));
        if definitions.is_empty() {
            schema.shift_remove(place);
        }
    }
}

fn targets(schema: &Value) -> impl Iterator<Item = &str> {
    objects(schema)
        .flat_map(|(_, object)| [object.get("$ref"), object.get("$dynamicRef")])
        .filter_map(|target| target?.as_str())
}

/// Whether a reference may lead to any definition: an anchor, the whole, or an escaped pointer.
fn is_unclear(target: &str) -> bool {
    !target.starts_with("#/") || target.contains('%')
}

/// The definition that a pointer leads to, or into: its place and its name.
fn definition_of(target: &str) -> Option<(&str, String)> {
    let (place, rest) = target.strip_prefix("#/")?.split_once('/')?;
    let name = rest.split('/').next()?.replace("~1", "/").replace("~0", "~");
    PLACES.contains(&place).then_some((place, name))
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
            json!({"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}, "C": {"$ref": "#/$defs/D"}, "D": {}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}}),
        );
        check(
            json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"type": "string"}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"type": "string"}}}),
        );
        let recursive = json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}});
        check(recursive.clone(), recursive);
        check(json!({"type": "object", "definitions": {"X": {}}}), json!({"type": "object"}));
        let kept = json!({"properties": {"a": {"$ref": "#anchor"}}, "$defs": {"A": {"$anchor": "anchor"}}});
        check(kept.clone(), kept);
    }
}
