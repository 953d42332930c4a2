//! Asking the discovery tools, and what they answer.

use std::collections::HashMap;

use serde_json::{Value, json, value::RawValue};
use tollgate::domain::tokens::Encoding;

use crate::support::{Client, scripted, text};

/// An answer to `get_server_tools`.
pub struct Answered {
    pub text: String,
    pub value: Value,
    /// The `tools` value, byte for byte.
    pub raw: String,
}

impl Answered {
    pub fn used(&self) -> usize {
        self.value["tokens_used"].as_u64().unwrap().try_into().unwrap()
    }

    /// Lines as they are, objects by name.
    pub fn tools(&self) -> Vec<&str> {
        let items = self.value["tools"].as_array().unwrap();
        items.iter().map(|item| item.as_str().or(item["name"].as_str()).unwrap()).collect()
    }

    pub fn note(&self) -> &str {
        self.value["note"].as_str().unwrap_or_default()
    }

    pub fn are_objects(&self) -> bool {
        self.value["tools"].as_array().unwrap().iter().all(Value::is_object)
    }
}

/// Asks, and checks what holds for every answer: the count is true, and what is not shown is said.
#[track_caller]
pub fn ask_in(client: &mut Client, arguments: Value, encoding: Encoding) -> Answered {
    let result = client.call("get_server_tools", arguments.clone());
    assert_ne!(result["isError"], true, "{arguments}: {result}");
    assert!(result.get("structuredContent").is_none());
    let text = text(&result).to_owned();
    let members: HashMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
    let raw = members["tools"].get().to_owned();
    let answered = Answered { value: serde_json::from_str(&text).unwrap(), text, raw };
    let counted = if answered.raw == "[]" { 0 } else { encoding.count(&answered.raw) };
    assert_eq!(answered.used(), counted, "{arguments}: {}", answered.text);
    let number = |key: &str| answered.value[key].as_u64().unwrap_or_default();
    assert!(number("returned") + number("omitted") <= number("total_available"));
    assert_eq!(number("omitted") > 0, answered.note().contains("max_schema_tokens"));
    answered
}

#[track_caller]
pub fn ask(client: &mut Client, arguments: Value) -> Answered {
    ask_in(client, arguments, Encoding::O200k)
}

pub fn offering(tools: &[Value]) -> Value {
    scripted(&["--tools", &json!(tools).to_string()])
}
