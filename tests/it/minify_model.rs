//! The minified schema against the original: both accept the same arguments.
//!
//! Schemas and instances are drawn from small pools, so that they meet often. Two deviations are
//! meant, and no schema here has them: a `pattern` beside a `format` goes, and so does an integer's
//! bound that only says how wide a machine's integers are.

use std::{fs, path::Path};

use proptest::{prelude::*, sample::select, test_runner::TestCaseError};
use serde_json::{Map, Value, json};
use tollgate::domain::render;

use crate::support::properties::drawn;

proptest! {
    #![proptest_config(drawn(1_000))]

    #[test]
    fn the_minified_schema_accepts_what_the_original_accepts(
        schema in whole_schema(),
        instances in prop::collection::vec(instance(), 24),
    ) {
        let shown = render::full("t", "", &schema)["inputSchema"].clone();
        let Ok(original) = validator(&schema) else { return Ok(()) };
        let minified = validator(&shown)
            .map_err(|fault| TestCaseError::fail(format!("{schema}\n-> {shown}: {fault}")))?;
        for instance in &instances {
            prop_assert_eq!(
                original.is_valid(instance),
                minified.is_valid(instance),
                "{} under\n{}\n-> {}", instance, schema, shown
            );
        }
    }
}

/// Whether `format` is asserted is up to who validates, whatever the dialect; here it is.
fn validator(
    schema: &Value,
) -> Result<jsonschema::Validator, jsonschema::ValidationError<'static>> {
    jsonschema::options().should_validate_formats(true).build(schema)
}

const NAMES: [&str; 4] = ["a", "b", "title", "description"];

/// References to definitions, to a part of one, to the whole, and to a place that is no definition.
const TARGETS: [&str; 6] =
    ["#/$defs/A", "#/$defs/B", "#/$defs/C~1c", "#/$defs/A/properties/a", "#", "#/properties/a"];

const DIALECTS: [Option<&str>; 3] = [
    None,
    Some("https://json-schema.org/draft/2020-12/schema"),
    Some("http://json-schema.org/draft-07/schema#"),
];

fn whole_schema() -> impl Strategy<Value = Value> {
    let definitions = prop::collection::vec(schema(), 3);
    let parts = (object_schema(schema().boxed()), definitions, select(&DIALECTS));
    parts.prop_map(|(mut root, all, dialect)| {
        let names = ["A", "B", "C/c"].map(str::to_owned).into_iter();
        let mut definitions: Map<String, Value> = names.zip(all).collect();
        // So that every target is there.
        definitions["A"] = json!({"type": "object", "properties": {"a": definitions["A"]}});
        root["properties"].as_object_mut().unwrap().entry("a").or_insert(json!({}));
        root["$defs"] = definitions.into();
        if let Some(dialect) = dialect {
            root["$schema"] = json!(dialect);
        }
        root
    })
}

fn schema() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(3, 16, 3, |inner| {
        let some = || prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            object_schema(inner.clone()),
            inner.clone().prop_map(|item| json!({"type": "array", "items": item, "maxItems": 2})),
            inner.clone().prop_map(|inner| json!({"not": inner})),
            inner.clone().prop_map(|inner| json!({"type": ["array"], "contains": inner})),
            some().prop_map(|items| json!({"prefixItems": items, "items": false})),
            (select(&["anyOf", "oneOf", "allOf"]), some()).prop_map(|(key, all)| json!({key: all})),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
        ]
    })
}

fn leaf() -> impl Strategy<Value = Value> {
    let types = select(&["string", "integer", "number", "boolean", "null"]);
    let values = prop::collection::vec(scalar(), 1..3);
    let bounds = (-3..3, 0..4).prop_map(|(least, more)| (least, least + more));
    let lengths = (0..2, 0..3).prop_map(|(least, more)| (least, least + more));
    prop_oneof![
        types.prop_map(|name| json!({"type": name, "title": "T", "description": " d "})),
        select(&TARGETS).prop_map(|target| json!({"$ref": target})),
        (select(&TARGETS), -2..3).prop_map(|(to, least)| json!({"$ref": to, "minimum": least})),
        bounds.prop_map(|(least, most)| json!({"type": ["integer"], "minimum": least,
            "maximum": most, "default": null})),
        lengths.prop_map(|(least, most)| json!({"type": "string", "minLength": least,
            "maxLength": most, "format": "date"})),
        (0..2).prop_map(|n| json!({"exclusiveMinimum": n, "multipleOf": n + 1})),
        values.prop_map(|values| json!({"enum": values, "$comment": "c"})),
        scalar().prop_map(|value| json!({"const": value, "default": value})),
        Just(json!({"type": "string", "pattern": "^a"})),
        Just(json!({"const": {"title": "a"}})),
        Just(json!({})),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn object_schema(
    inner: impl Strategy<Value = Value> + Clone + 'static,
) -> impl Strategy<Value = Value> {
    let properties =
        prop::collection::btree_map(select(&NAMES).prop_map(str::to_owned), inner.clone(), 0..4);
    let required = prop::collection::btree_set(select(&NAMES), 0..2);
    let others =
        prop::option::of(prop_oneof![inner, Just(json!({})), any::<bool>().prop_map(Value::Bool)]);
    (properties, required, others, any::<bool>()).prop_map(
        |(properties, required, others, named)| {
            let mut schema =
                json!({"type": "object", "properties": properties, "required": required});
            if let Some(others) = others {
                schema["additionalProperties"] = others;
            }
            if named {
                schema["propertyNames"] = json!({"maxLength": 5, "title": "N"});
            }
            schema
        },
    )
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        select(&["", "a", "ab", "title"]).prop_map(Value::from),
        (-2_i64..4).prop_map(Value::from),
        Just(json!(0.5)),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn instance() -> impl Strategy<Value = Value> {
    let value = scalar().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            members(inner),
        ]
    });
    prop_oneof![8 => members(value.clone()), 1 => value]
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((select(&["a", "b", "title", "other"]), value), 0..4)
        .prop_map(|all| all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[test]
fn older_dialects_keep_their_meaning_when_minified() {
    let draft = |n: &str, rest: Value| {
        let mut schema = json!({"$schema": format!("http://json-schema.org/draft-{n}/schema#")});
        schema.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        schema
    };
    let tuple = json!([{"type": "string"}, {"type": "integer"}]);
    let cases = [
        draft("07", json!({"properties": {"a": {"items": tuple, "additionalItems": false}}})),
        draft("07", json!({"dependencies": {"a": ["b"]}})),
        draft(
            "07",
            json!({"properties": {"a": {"$ref": "#/definitions/A", "type": "string"}},
            "definitions": {"A": {"type": ["integer", "array"]}}}),
        ),
        draft("07", json!({"properties": {"a": {"prefixItems": [false]}}})),
        draft("04", json!({"properties": {"a": {"minimum": 1, "exclusiveMinimum": true}}})),
    ];
    let values = [json!(1), json!(2), json!("x"), json!(["x", 1]), json!([1]), json!(["x", 1, 2])];
    for schema in cases {
        let shown = render::full("t", "", &schema)["inputSchema"].clone();
        let original = validator(&schema).unwrap();
        let minified =
            validator(&shown).unwrap_or_else(|fault| panic!("{schema} -> {shown}: {fault}"));
        for value in &values {
            let instance = json!({"a": value});
            let valid = original.is_valid(&instance);
            assert_eq!(valid, minified.is_valid(&instance), "{instance}: {schema} -> {shown}");
        }
    }
}

/// Arguments that a schema's own words suggest: its defaults and first values, by kind else.
fn suggested(schema: &Value, depth: usize) -> Value {
    let first = |key: &str| schema[key].get(0).map(|sub| suggested(sub, depth + 1));
    if let Some(value) = schema.get("default").or(schema.get("const")).or(schema["enum"].get(0)) {
        return value.clone();
    }
    if let Some(value) = first("anyOf").or_else(|| first("oneOf")).filter(|_| depth < 8) {
        return value;
    }
    match schema["type"].as_str() {
        Some("string") => json!("text"),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("array") if depth < 8 => json!([suggested(&schema["items"], depth + 1)]),
        Some("object") if depth < 8 => {
            let required = schema["required"].as_array().into_iter().flatten();
            let names = required.filter_map(Value::as_str);
            let member =
                |name: &str| (name.to_owned(), suggested(&schema["properties"][name], depth + 1));
            names.map(member).collect()
        }
        _ => Value::Null,
    }
}

#[test]
fn real_schemas_accept_the_same_arguments_minified() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let Ok(entries) = fs::read_dir(&dir) else {
        eprintln!("not run: there is no corpus of real servers at {}", dir.display());
        return;
    };
    let (mut tools, mut accepted) = (0, 0);
    for entry in entries.flatten() {
        let file: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
        for tool in file["tools"].as_array().unwrap() {
            let schema = &tool["inputSchema"];
            let shown = render::full("t", "", schema)["inputSchema"].clone();
            let Ok(original) = validator(schema) else { continue };
            let minified = validator(&shown).unwrap();
            tools += 1;
            for instance in instances(schema) {
                let valid = original.is_valid(&instance);
                accepted += usize::from(valid);
                let name = &tool["name"];
                assert_eq!(valid, minified.is_valid(&instance), "{name}: {instance} under {shown}");
            }
        }
    }
    eprintln!("{tools} schemas; {accepted} arguments accepted by both");
    assert!(tools > 500 && accepted > tools, "{accepted} accepted of {tools}");
}

/// Suggested arguments, and each of their members and each property left out, odd or unknown.
fn instances(schema: &Value) -> Vec<Value> {
    let good = suggested(schema, 0);
    let mut all = vec![json!({}), good.clone(), json!({"no_such_parameter": 1}), json!([])];
    let Some(object) = good.as_object() else { return all };
    for name in object.keys() {
        let mut without = object.clone();
        without.shift_remove(name);
        all.push(Value::Object(without));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        for value in [suggested(property, 0), json!({"odd": []}), json!(-1), json!(["x"])] {
            let mut with = object.clone();
            with.insert(name.clone(), value);
            all.push(Value::Object(with));
        }
    }
    all
}
