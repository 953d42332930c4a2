//! The JSON Schemas of the settings files (draft 2020-12), made from the types in [`super::written`].

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::written::{GatewayFile, McpFile, RulesFile};
use crate::domain::settings::SettingsFile;

/// The schema of a file, with what [`super::check`] needs beside. It is made for each check: kept, it
/// would take memory between them.
pub(super) fn of(file: SettingsFile) -> Value {
    match file {
        SettingsFile::McpConfig => generate::<McpFile>(),
        SettingsFile::Rules => generate::<RulesFile>(),
        SettingsFile::Gateway => generate::<GatewayFile>(),
    }
}

fn generate<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|with| with.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// The schema of a file, for editors and other programs.
pub fn schema(file: SettingsFile) -> Value {
    let mut schema = of(file);
    publish(&mut schema);
    let any = json!({"description": "Where this schema is. Not looked at.", "type": "string"});
    if let Some(keys) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        keys.insert("$schema".into(), any);
    }
    let reference = json!({"type": "string", "pattern": "^\\$\\{[^}]*\\}$"});
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$defs".into(), json!({"reference": reference}));
    }
    schema
}

/// Makes what is ours what everybody understands.
fn publish(schema: &mut Value) {
    if let Value::Array(items) = schema {
        items.iter_mut().for_each(publish);
    }
    let Value::Object(object) = schema else { return };
    object.values_mut().for_each(publish);
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.shift_remove("default");
    }
    for word in ["x-refused", "x-hides", "x-shows"] {
        let refused = object.shift_remove(word);
        let keys = object.get_mut("properties").and_then(Value::as_object_mut);
        if let (Some(Value::Object(refused)), Some(keys)) = (refused, keys) {
            keys.extend(refused.into_iter().map(|(key, why)| {
                let why = format!(
                    "An error, unless it asks for nothing: {}",
                    why.as_str().unwrap_or_default()
                );
                (key, json!({"description": why, "deprecated": true}))
            }));
        }
    }
    object.retain(|word, _| !word.starts_with("x-"));
    let typed = ["integer", "boolean"].iter().any(|kind| has_type(object, kind));
    if typed && !has_type(object, "string") || object.contains_key("enum") {
        allow_reference(object);
    }
}

fn has_type(object: &Map<String, Value>, wanted: &str) -> bool {
    match object.get("type") {
        Some(Value::String(kind)) => kind == wanted,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == wanted),
        _ => false,
    }
}

/// A value that is no text may also be one whole reference, which is expanded before it is checked.
fn allow_reference(object: &mut Map<String, Value>) {
    let outside = ["description", "default", "deprecated"];
    let (outer, inner): (Map<_, _>, Map<_, _>) =
        std::mem::take(object).into_iter().partition(|(word, _)| outside.contains(&word.as_str()));
    *object = outer;
    object.insert("anyOf".into(), json!([inner, {"$ref": "#/$defs/reference"}]));
}
