//! The schemas of settings: what `config/schemas` and the tables of `docs/configuration.md` show is
//! what the check reads by. `scripts/reference` writes both anew.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tollgate::{config, domain::settings::SettingsFile};

use crate::support::{Setup, settings::Home};

const FILES: [(&str, SettingsFile); 3] = [
    ("rules", SettingsFile::Rules),
    ("gateway", SettingsFile::Gateway),
    ("servers", SettingsFile::McpConfig),
];

fn in_tree(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn schema(name: &str) -> Value {
    let (_, file) = FILES.into_iter().find(|(known, _)| *known == name).unwrap();
    config::schema(file)
}

/// Compares a file of the tree with what it should be, or writes it where that is asked for.
#[track_caller]
fn compare(path: &str, expected: &str) {
    let path = in_tree(path);
    if std::env::var_os("TOLLGATE_WRITE_REFERENCE").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} is not as generated: run scripts/reference", path.display());
}

#[test]
fn schemas_in_the_tree_are_those_of_the_types() {
    for (name, _) in FILES {
        let text = format!("{:#}\n", schema(name));
        compare(&format!("config/schemas/{name}.schema.json"), &text);
    }
}

#[test]
fn schema_command_prints_what_the_tree_holds() {
    for (name, _) in FILES {
        let (status, out, err) = Setup::new(json!({}), None).run(&["schema", name]);
        let expected =
            fs::read_to_string(in_tree(&format!("config/schemas/{name}.schema.json"))).unwrap();
        assert!((status, err.as_str()) == (0, "") && out == expected, "{name}: {out}{err}");
    }
    let (status, _, err) = Setup::new(json!({}), None).run(&["schema", "other"]);
    assert!(status == 2 && err.contains("rules, gateway, servers"), "{err}");
}

/// A settings file as a value, whichever way it is written.
fn parsed(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

#[test]
fn files_that_load_satisfy_their_schema() {
    let validator = |name: &str| jsonschema::draft202012::new(&schema(name)).unwrap();
    let validators = FILES.map(|(name, _)| (name, validator(name)));
    let check = |kind: &str, text: &str, satisfied: bool| {
        let (_, validator) = validators.iter().find(|(name, _)| *name == kind).unwrap();
        let faults: Vec<String> =
            validator.iter_errors(&parsed(text)).map(|e| e.to_string()).collect();
        assert_eq!(faults.is_empty(), satisfied, "{text}: {faults:?}");
    };
    let read = |path: &str| fs::read_to_string(in_tree(path)).unwrap();
    check("servers", &read("config/.mcp.json"), true);
    check("rules", &read("config/.mcp-gateway-rules.json"), true);
    check("gateway", &read("config/gateway.yaml"), true);
    for name in ["full", "local", "minimal", "production", "quickstart", "routing-http"] {
        check("gateway", &read(&format!("tests/it/data/satgate-{name}.yaml")), true);
    }
    for (kind, text, satisfied) in [
        ("servers", r#"{"mcpServers": {"s": {"command": "x", "own": 1}}}"#, true),
        ("servers", r#"{"mcpServers": {"s": {"url": "u", "disabled": "${OFF}"}}}"#, true),
        ("servers", r#"{"mcpServers": {"s": {"command": "x", "disabled": "yes"}}}"#, false),
        ("servers", r#"{"mcpServers": {"s": {"command": ["x"]}}}"#, false),
        ("servers", "{}", false),
        ("rules", r#"{"agents": {"a": {"alow": {}}}}"#, false),
        ("rules", r#"{"agents": {"a": {"budget": {}}}}"#, false),
        ("rules", r#"{"defaults": {"precedence": "first"}}"#, false),
        ("gateway", "upstreams: {s: {command: [x, z], maxConcurrency: 2}}", true),
        ("gateway", "servers: [{id: s, command: x, timeout: 5000}]", true),
        ("gateway", "servers: [{command: x}]", false),
        ("gateway", "rateLimit: {enabled: false}", true),
        ("gateway", "budget: {limit: '${LIMIT:-5}', period: day}", true),
        ("gateway", "budget: {limit: -1}", false),
        ("gateway", "enforcement: {mode: observe}", false),
    ] {
        check(kind, text, satisfied);
    }
}

#[test]
fn files_may_name_their_schema() {
    let rules = r#"{"$schema": "./schemas/rules.schema.json", "agents": {"a": {}}}"#;
    let servers = r#"{"$schema": "s", "mcpServers": {}}"#;
    let gateway = "# yaml-language-server: $schema=schemas/gateway.schema.json\n$schema: g\n";
    let home = Home::of(&[
        (".mcp.json", servers),
        (".mcp-gateway-rules.json", rules),
        ("gateway.yaml", gateway),
    ]);
    let settings = home.load().unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(settings.warnings().collect::<Vec<_>>(), Vec::<&str>::new());
    let deeper = Home::of(&[("gateway.yaml", "budget: {$schema: x}")]).load();
    assert!(deeper.unwrap_err().to_string().contains("`budget.$schema` is not a known key"));
}

/// What a schema asks for, without null and references.
fn kind(schema: &Value) -> String {
    if let Some(branches) = schema["anyOf"].as_array() {
        let kinds: Vec<String> =
            branches.iter().map(kind).filter(|kind| !kind.is_empty()).collect();
        return kinds.join(", or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> =
            words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")).collect();
        return words.join(", ");
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let among = |kind: &str| kinds.contains(&kind);
    let of = |each: &Value| match each["type"].as_str() {
        Some("string") => " of texts",
        Some("object") => " of objects",
        _ => "",
    };
    match () {
        () if among("string") && among("integer") => "time".into(),
        () if among("integer") && schema["minimum"] == 1 => "whole number above 0".into(),
        () if among("integer") => "whole number".into(),
        () if among("boolean") => "`true` or `false`".into(),
        () if among("string") => "text".into(),
        () if among("array") => format!("list{}", of(&schema["items"])),
        () if among("object") => format!("object{}", of(&schema["additionalProperties"])),
        () => String::new(),
    }
}

/// The rows of the keys of an object; those of objects within it with dots.
fn rows(schema: &Value, before: &str, rows_found: &mut Vec<(String, String)>) {
    for (key, of) in schema["properties"].as_object().unwrap() {
        if of["deprecated"] == true || key == "$schema" {
            continue;
        }
        let path = format!("{before}{key}");
        if of.get("properties").is_some() {
            rows(of, &format!("{path}."), rows_found);
            continue;
        }
        let required = schema["required"].as_array().is_some_and(|keys| keys.contains(&json!(key)));
        let default = match of.get("default") {
            None if required => "required".to_owned(),
            Some(Value::String(word)) => format!("`{word}`"),
            Some(default) => format!("`{default}`"),
            None => String::new(),
        };
        let description = of["description"].as_str().unwrap_or_default();
        let row = format!("| `{path}` | {} | {default} | {description} |", kind(of));
        rows_found.push((path.clone(), row.replace("|  |", "| |")));
        if of["items"].get("properties").is_some() {
            rows(&of["items"], &format!("{path}[]."), rows_found);
        }
    }
}

/// The table that a marker asks for: `FILE POINTER`, then `only` or `without` and keys. An object
/// within is meant with all its keys.
fn table(marker: &str) -> String {
    let words: Vec<&str> = marker.split_whitespace().collect();
    let (file, pointer) = (words[0], words[1]);
    let whole = schema(file);
    let object = whole.pointer(pointer.trim_end_matches('/')).unwrap();
    let mut found = Vec::new();
    rows(object, "", &mut found);
    let keys: Vec<&str> = words.iter().skip(3).copied().collect();
    let named = |path: &str| {
        keys.iter().any(|key| {
            path.strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    };
    let shown = found.into_iter().filter(|(path, _)| match words.get(2) {
        Some(&"only") => named(path),
        Some(_) => !named(path),
        None => true,
    });
    let rows: Vec<String> = shown.map(|(_, row)| row).collect();
    assert!(!rows.is_empty(), "{marker}");
    format!("| key | type | default | |\n|---|---|---|---|\n{}\n", rows.join("\n"))
}

#[test]
fn configuration_reference_is_that_of_the_types() {
    const BEGIN: &str = "<!-- keys: ";
    const END: &str = "<!-- end of keys -->";
    let path = "docs/configuration.md";
    let page = fs::read_to_string(in_tree(path)).unwrap();
    let mut parts = page.split(BEGIN);
    let mut expected = parts.next().unwrap().to_owned();
    let mut tables = 0;
    for part in parts {
        let (marker, rest) = part.split_once(" -->\n").unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        expected += &format!("{BEGIN}{marker} -->\n{}{END}{after}", table(marker));
        tables += 1;
    }
    assert!(tables >= 6, "{tables}");
    compare(path, &expected);
}
