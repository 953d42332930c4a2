//! A schema with fewer words and the same meaning: what it accepts and what it tells a caller stay.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{bounds::is_machine_width, visible};

/// Deeper schemas are left as they are.
const DEEPEST: usize = 64;

/// Keywords that say nothing to a caller and change nothing in what is accepted.
const SILENT: [&str; 4] = ["$schema", "$id", "$comment", "title"];

/// The schema without what neither accepts nor tells anything.
pub(super) fn schema(schema: &Value) -> Value {
    let Value::Object(object) = schema else { return json!({"type": "object"}) };
    if is_delicate(schema, 0) {
        return schema.clone();
    }
    let mut out = object_schema(object, 0);
    if let Some(dialect) = object.get("$schema").filter(|dialect| matters(dialect, schema)) {
        out.shift_insert(0, "$schema".into(), dialect.clone());
    }
    drop_unused_definitions(&mut out);
    let mut out = Value::Object(out);
    inline_definitions(&mut out);
    out
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

/// Whether words are used beside which every other has a meaning: beside `unevaluated…` even
/// `additionalProperties: true`, and with anchors the place where a definition stands.
fn is_delicate(schema: &Value, depth: usize) -> bool {
    const ANCHORS: [&str; 2] = ["$anchor", "$dynamicAnchor"];
    match schema {
        _ if depth > DEEPEST => true,
        Value::Object(object) => object.iter().any(|(key, value)| {
            key.starts_with("unevaluated")
                || (ANCHORS.contains(&key.as_str()) && value.is_string())
                || is_delicate(value, depth + 1)
        }),
        Value::Array(items) => items.iter().any(|item| is_delicate(item, depth + 1)),
        _ => false,
    }
}

/// Whether the schema would mean something else in the dialect that is meant where none is named.
fn matters(dialect: &Value, schema: &Value) -> bool {
    let current = dialect.as_str().is_none_or(|name| name.contains("2020-12"));
    !current && differs(schema, 0)
}

/// Words whose meaning changed from one dialect to another.
fn differs(schema: &Value, depth: usize) -> bool {
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
    match schema {
        _ if depth > 2 * DEEPEST => true,
        Value::Object(object) => {
            let company = object.keys().any(|key| !SAYS_NOTHING.contains(&key.as_str()));
            (company && object.get("$ref").is_some_and(Value::is_string))
                || object.iter().any(|(key, value)| {
                    CHANGED.contains(&key.as_str())
                        || (key == "items" && value.is_array())
                        || (key.starts_with("exclusive") && value.is_boolean())
                        || differs(value, depth + 1)
                })
        }
        Value::Array(items) => items.iter().any(|item| differs(item, depth + 1)),
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
    let mut open = HashSet::new();
    for (_, value) in schema.iter().filter(|(key, _)| !PLACES.contains(&key.as_str())) {
        collect_refs(value, &mut open, 0);
    }
    let mut open: Vec<String> = open.into_iter().collect();
    let mut used = HashSet::new();
    while let Some(target) = open.pop() {
        if is_unclear(&target) {
            return;
        }
        let Some((place, name, _)) = definition_of(&target) else { continue };
        let name = name.replace("~1", "/").replace("~0", "~");
        let definition = schema.get(place).and_then(|all| all.get(&name));
        if let Some(definition) = definition
            && used.insert((place.to_owned(), name))
        {
            let mut more = HashSet::new();
            collect_refs(definition, &mut more, 0);
            open.extend(more);
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

/// Whether a reference may lead to any definition: an anchor, the whole, or an escaped pointer.
fn is_unclear(target: &str) -> bool {
    !target.starts_with("#/") || target.contains('%')
}

/// The definition that a pointer leads to: its place, its name as written there, and whether the
/// pointer goes on into it.
fn definition_of(target: &str) -> Option<(&str, &str, bool)> {
    let (place, rest) = target.strip_prefix("#/")?.split_once('/')?;
    let (name, into) = rest.split_once('/').map_or((rest, false), |(name, _)| (name, true));
    PLACES.contains(&place).then_some((place, name, into))
}

/// Puts definitions that are referred to once, and not from within definitions, where they are
/// used.
fn inline_definitions(schema: &mut Value) {
    const PLACE: &str = "$defs";
    // Each is a pass over everything; this bounds how many a server can cause.
    const MOST_LOOKED_AT: usize = 400_000;
    let most = MOST_LOOKED_AT / values(schema).max(1);
    for _ in 0..most.min(MOST_INLINED) {
        let Some(Value::Object(definitions)) = schema.get(PLACE) else { return };
        let mut uses = HashMap::new();
        count_refs(schema, &mut uses, 0);
        let Some(name) = used_once(definitions, PLACE, &uses).cloned() else { return };
        let Value::Object(object) = schema else { return };
        let Some(Value::Object(definitions)) = object.get_mut(PLACE) else { return };
        let Some(definition) = definitions.shift_remove(&name) else { return };
        if definitions.is_empty() {
            object.shift_remove(PLACE);
        }
        let target = target_of(PLACE, &name);
        if !replace(schema, &target, &definition, 0) {
            // Only the definition itself refers to it, or the reference has company; put it back.
            if let Value::Object(object) = schema {
                let place = object.entry(PLACE).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(place) = place {
                    place.insert(name, definition);
                }
            }
            return;
        }
    }
}

/// The first definition that one reference leads to, and none, as far as can be told, into.
fn used_once<'s>(
    definitions: &'s Map<String, Value>,
    place: &str,
    uses: &HashMap<String, usize>,
) -> Option<&'s String> {
    if uses.keys().any(|target| !target.starts_with('#') || target.contains('%')) {
        return None;
    }
    let entered: HashSet<&str> = uses
        .keys()
        .filter_map(|target| definition_of(target))
        .filter(|(at, _, into)| *into && *at == place)
        .map(|(_, name, _)| name)
        .collect();
    definitions.keys().find(|name| {
        let target = target_of(place, name);
        let written = definition_of(&target).map(|(_, name, _)| name);
        uses.get(&target) == Some(&1) && written.is_none_or(|name| !entered.contains(name))
    })
}

/// How many values a value is made of.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

/// More definitions than this are left where they are.
const MOST_INLINED: usize = 64;

/// Replaces the reference by what it refers to; whether it was found.
fn replace(schema: &mut Value, target: &str, definition: &Value, depth: usize) -> bool {
    match schema {
        _ if depth > DEEPEST => false,
        Value::Object(object) => {
            let refers = object.get("$ref").and_then(Value::as_str) == Some(target);
            if refers && object.len() == 1 {
                *schema = definition.clone();
                return true;
            }
            !refers
                && object.values_mut().any(|value| replace(value, target, definition, depth + 1))
        }
        Value::Array(items) => {
            items.iter_mut().any(|item| replace(item, target, definition, depth + 1))
        }
        _ => false,
    }
}

fn count_refs(schema: &Value, uses: &mut HashMap<String, usize>, depth: usize) {
    match schema {
        _ if depth > 2 * DEEPEST => {}
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(target) if key == "$ref" => {
                        *uses.entry(target.clone()).or_default() += 1;
                    }
                    value => count_refs(value, uses, depth + 1),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| count_refs(item, uses, depth + 1)),
        _ => {}
    }
}

fn target_of(place: &str, name: &str) -> String {
    format!("#/{place}/{}", name.replace('~', "~0").replace('/', "~1"))
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
            json!({"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}, "C": {"$ref": "#/$defs/D"}, "D": {}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}}),
        );
        check(
            json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"type": "string"}}}),
            json!({"properties": {"a": {"items": {"type": "string"}}}}),
        );
        let recursive = json!({"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}});
        check(recursive.clone(), recursive);
        check(json!({"type": "object", "definitions": {"X": {}}}), json!({"type": "object"}));
        let kept = json!({"properties": {"a": {"$ref": "#anchor"}}, "$defs": {"A": {"$anchor": "anchor"}}});
        check(kept.clone(), kept);
    }
}
