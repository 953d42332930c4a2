//! A tool's parameters as one line: `name(required: type, optional?: type = default)`.

use serde_json::{Map, Value};

/// Deeper structure is shown as `object`; it also bounds recursive `$ref`.
const DEEPEST: usize = 4;

/// The line for a tool with this schema. Required parameters come first; types, enums, defaults and
/// nested objects are kept.
pub fn signature(name: &str, schema: &Value) -> String {
    format!("{name}({})", parameters(schema, schema, 0))
}

fn parameters(schema: &Value, root: &Value, depth: usize) -> String {
    let required = |key: &str| {
        let list = schema.get("required").and_then(Value::as_array);
        list.is_some_and(|list| list.iter().any(|name| name == key))
    };
    let none = Map::new();
    let all = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    let (first, rest): (Vec<_>, Vec<_>) = all.iter().partition(|(key, _)| required(key));
    let shown: Vec<String> = first
        .into_iter()
        .chain(rest)
        .map(|(key, property)| parameter(key, property, required(key), root, depth))
        .collect();
    shown.join(", ")
}

fn parameter(key: &str, schema: &Value, required: bool, root: &Value, depth: usize) -> String {
    let mark = if required { "" } else { "?" };
    let default = schema.get("default").filter(|value| !value.is_null());
    let default = default.map(|value| format!(" = {value}")).unwrap_or_default();
    format!("{key}{mark}: {}{default}", type_of(schema, root, depth + 1))
}

fn type_of(schema: &Value, root: &Value, depth: usize) -> String {
    if depth > DEEPEST {
        return "object".into();
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.map_or("any".into(), |target| type_of(target, root, depth + 1));
    }
    if let Some(value) = schema.get("const") {
        return value.to_string();
    }
    for union in ["enum", "anyOf", "oneOf"] {
        if let Some(members) = schema.get(union).and_then(Value::as_array) {
            return alternatives(members.iter().map(|member| match union {
                "enum" => member.to_string(),
                _ => type_of(member, root, depth),
            }));
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => named(name, schema, root, depth),
        Some(Value::Array(names)) => alternatives(
            names.iter().filter_map(Value::as_str).map(|name| named(name, schema, root, depth)),
        ),
        _ if schema.get("properties").is_some() => named("object", schema, root, depth),
        _ => "any".into(),
    }
}

fn named(name: &str, schema: &Value, root: &Value, depth: usize) -> String {
    match name {
        "array" => match schema.get("items") {
            Some(items) => array(&type_of(items, root, depth + 1)),
            None => "any[]".into(),
        },
        "object" if schema.get("properties").is_some() && depth < DEEPEST => {
            format!("{{{}}}", parameters(schema, root, depth))
        }
        other => other.to_owned(),
    }
}

fn array(item: &str) -> String {
    if item.contains('|') { format!("({item})[]") } else { format!("{item}[]") }
}

fn alternatives(members: impl Iterator<Item = String>) -> String {
    let mut seen: Vec<String> = Vec::new();
    for member in members {
        if !seen.contains(&member) {
            seen.push(member);
        }
    }
    seen.join("|")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::signature;

    fn check(schema: Value, expected: &str) {
        assert_eq!(signature("t", &schema), expected);
    }

    #[test]
    fn a_signature_names_every_parameter_with_its_type() {
        check(json!({}), "t()");
        check(json!(null), "t()");
        check(
            json!({"properties": {
                "limit": {"type": "integer", "default": 10},
                "path": {"type": "string"},
                "state": {"enum": ["open", "closed"]},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
                "at": {"type": ["string", "null"]},
                "deep": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]},
            }, "required": ["path"]}),
            r#"t(path: string, limit?: integer = 10, state?: "open"|"closed", tags?: ("a"|"b")[], at?: string|null, deep?: {x: number})"#,
        );
        check(
            json!({"properties": {"n": {"$ref": "#/$defs/node"}, "m": {"$ref": "http://x"}},
                "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}}}}),
            "t(n?: {next?: object}, m?: any)",
        );
    }
}
