//! What signatures keep, and what they cut.

use serde_json::{Value, json};

use super::of;

#[track_caller]
fn check(schema: Value, expected: &str) {
    assert_eq!(of("t", &schema), expected);
}

#[track_caller]
fn check_type(schema: Value, expected: &str) {
    let all = json!({"type": "object", "properties": {"p": schema}, "required": ["p"]});
    assert_eq!(of("t", &all), format!("t(p: {expected})"));
}

#[test]
fn required_parameters_come_first_with_marks_and_defaults() {
    check(
        json!({"type": "object", "required": ["title", "owner"], "properties": {
            "state": {"enum": ["open", "closed"], "default": "open"},
            "owner": {"type": "string"}, "title": {"type": "string"},
            "labels": {"type": ["array", "null"], "items": {"type": "string"}, "default": null},
        }}),
        r#"t(owner: string, title: string, state?: "open"|"closed" = "open", labels?: string[])"#,
    );
}

#[test]
fn required_parameters_with_a_default_may_be_left_out() {
    let schema = json!({"type": "object", "required": ["a", "b", "c"], "properties": {
        "a": {"type": "string", "default": "x"}, "b": {"type": "string"},
        "c": {"type": "boolean", "default": null}}});
    check(schema, r#"t(b: string, a?: string = "x", c?: boolean)"#);
    let tag = json!({"properties": {"k": {"const": 1, "default": 1}}, "required": ["k"]});
    check_type(json!({"oneOf": [tag, {"type": "string"}]}), "{k: 1 = 1}|string");
}

#[test]
fn constrained_strings_show_their_format() {
    check(
        json!({"type": "object", "required": ["time", "zone"], "properties": {
            "time": {"type": "string", "description": "Time in 24-hour format (HH:MM)"},
            "zone": {"type": ["string", "null"], "description": "IANA timezone (e.g., 'America/New_York')"},
            "day": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "YYYY-MM-DD"},
            "url": {"type": "string", "format": "uri", "description": "such as https://example.com"},
            "text": {"type": "string", "description": "What to say"}}}),
        "t(time: string(HH:MM), zone: string(IANA timezone, e.g. America/New_York)|null, \
         day?: string(YYYY-MM-DD), url?: string(uri), text?: string)",
    );
}

#[test]
fn empty_schema_is_not_shown_as_no_parameters() {
    for schema in [json!({}), json!(null), json!([]), json!(true), json!({"type": "string"})] {
        check(schema, "t(…unknown)");
    }
    check(json!({"type": "object"}), "t()");
    check(json!({"type": "object", "properties": {}}), "t()");
    check(json!({"properties": 5}), "t()");
}

#[test]
fn types_keep_bounds_formats_and_nesting() {
    check_type(json!({"type": "integer", "minimum": 1, "maximum": 100}), "integer(1..100)");
    check_type(
        json!({"type": "integer", "minimum": -2147483648_i64, "maximum": 5}),
        "integer(..5)",
    );
    check_type(
        json!({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5}),
        "number(>0, step 0.5)",
    );
    check_type(json!({"type": "string", "minLength": 1, "maxLength": 64}), "string(len 1..64)");
    check_type(
        json!({"type": "string", "format": "date-time", "pattern": "x"}),
        "string(date-time)",
    );
    check_type(json!({"type": "string", "pattern": "^a+$"}), "string(/^a+$/)");
    check_type(
        json!({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1}),
        r#"("a"|"b")[](1..)"#,
    );
    check_type(json!({"type": "array", "prefixItems": [{"type": "string"}, {}]}), "[string, any]");
    check_type(
        json!({"type": "object", "properties": {"k": {"type": "string"}, "l": {}}, "required": ["k"]}),
        "{k: string, l?: any}",
    );
    check_type(
        json!({"type": "object", "additionalProperties": {"type": "number"}}),
        "{[key]: number}",
    );
    check_type(json!({"type": "object", "additionalProperties": false}), "object");
    check_type(json!({"type": "object", "items": {"type": "string"}}), "object & string[]");
}

#[test]
fn compositions_are_unions_and_intersections() {
    check_type(json!({"anyOf": [{"type": "null"}, {"type": "string"}]}), "string|null");
    check_type(json!({"oneOf": [{"const": 1}, {"const": "x"}]}), r#"1|"x""#);
    check_type(
        json!({"allOf": [{"type": "object", "properties": {"a": {}}}, {"type": "object", "properties": {"b": {}}}]}),
        "{a?: any} & {b?: any}",
    );
    check_type(
        json!({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}}),
        "(string|number)[]",
    );
    check_type(json!({"properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}), "{a?: any}");
    check(
        json!({"type": "object", "anyOf": [
            {"properties": {"a": {"type": "string"}}, "required": ["a"]},
            {"properties": {"b": {"type": "string"}}, "required": ["b"]}]}),
        "t(…{a: string}|{b: string})",
    );
}

#[test]
fn definitions_are_inlined_named_or_recursive() {
    let long = json!({"type": "object", "properties": {
        "alpha": {"type": "string"}, "beta": {"type": "string"}, "gamma": {"type": "string"}}});
    let short = json!({"type": "string"});
    let defs = json!({"L": long, "S": short, "N": {"properties": {"next": {"$ref": "#/$defs/N"}}}});
    let with =
        |properties: Value| json!({"type": "object", "properties": properties, "$defs": defs});
    let one = json!({"$ref": "#/$defs/L"});
    check(with(json!({"a": one})), "t(a?: {alpha?: string, beta?: string, gamma?: string})");
    check(
        with(json!({"a": one, "b": one})),
        "t(a?: L, b?: L) where L = {alpha?: string, beta?: string, gamma?: string}",
    );
    let small = json!({"$ref": "#/$defs/S"});
    check(with(json!({"a": small, "b": small})), "t(a?: string, b?: string)");
    check(with(json!({"n": {"$ref": "#/$defs/N"}})), "t(n?: N) where N = {next?: N}");
    check(
        with(json!({"x": {"$ref": "http://elsewhere/x"}, "y": {"$ref": "#/nope"}})),
        "t(x?: any, y?: any)",
    );
    check(json!({"$ref": "#"}), "t(…args) where args = args");
}

#[test]
fn hostile_schemas_are_cut() {
    let long = "x".repeat(1 << 22);
    for schema in [json!({"const": long}), json!({"enum": [long]}), json!({"default": long})] {
        let line = of("t", &json!({"type": "object", "properties": {"p": schema}}));
        assert!(line.len() < 10_000, "{}", line.len());
    }
    let properties: serde_json::Map<String, Value> =
        (0..60_000).map(|i| (format!("p{i}"), json!({"type": "string"}))).collect();
    let required: Vec<&String> = properties.keys().collect();
    let many = json!({"type": "object", "properties": properties, "required": required});
    assert!(of("t", &many).len() < 200_000);
    let wide: Vec<Value> = (0..(1 << 20)).map(Value::from).collect();
    let line = of("t", &json!({"type": "object", "properties": {"p": {"enum": wide}}}));
    assert!(line.len() < 100_000 && line.contains('…'), "{}", line.len());
    let union: Vec<Value> = (0..(1 << 18)).map(|i| json!({"const": i})).collect();
    assert!(
        of("t", &json!({"type": "object", "properties": {"p": {"anyOf": union}}})).len() < 500_000
    );
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "object", "properties": {"d": deep}});
    }
    assert!(of("t", &deep).len() < 200);
    // Every definition refers twice to the next: 2^40 if it were spelled out.
    let mut defs = serde_json::Map::new();
    for i in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", i + 1)});
        defs.insert(
            format!("d{i}"),
            json!({"type": "object", "properties": {"a": next, "b": next}}),
        );
    }
    let line = of(
        "t",
        &json!({"type": "object", "properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": defs}),
    );
    assert!(line.len() < 100_000, "{}", line.len());
}
