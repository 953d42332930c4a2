//! A settings file as a tree in which every value knows its place. A duplicate key is refused.

use std::{fmt, fs, path::Path};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::{findings::Findings, jsonc};

/// Larger files are no settings.
pub(super) const LARGEST_FILE: u64 = 16 * 1024 * 1024;

/// One value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    /// Line and column, from 1.
    pub(super) position: (u64, u64),
}

/// A value as written.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Flag(bool),
    /// As text, so that nothing is rounded.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Property>),
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Property {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) position: (u64, u64),
    pub(super) node: Node,
}

/// Reads the file that the findings are about.
pub(super) fn read(path: &Path, findings: &mut Findings<'_>) -> Option<Node> {
    let outcome = text(path).and_then(|text| match is_yaml(path) || !jsonc::is_json(&text) {
        true => parse_yaml(&text),
        false => jsonc::parse(&text)
            .map_err(|(position, message)| (Some(position), unparsable(&message))),
    });
    let note = |(position, message)| findings.fault_at(position, String::new(), message);
    outcome.map_err(note).ok()
}

type Unreadable = (Option<(u64, u64)>, String);

fn text(path: &Path) -> Result<String, Unreadable> {
    let unreadable =
        |error: std::io::Error| -> Unreadable { (None, format!("cannot be read: {error}")) };
    if fs::metadata(path).map_err(unreadable)?.len() > LARGEST_FILE {
        return Err((None, "is too large for settings".into()));
    }
    let bytes = fs::read(path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| (None, "is not UTF-8 text".into()))
}

/// By its name; what is not, is JSON if it begins like that.
fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| ["yaml", "yml"].contains(&extension))
}

fn unparsable(message: &str) -> String {
    format!("cannot be parsed: {message}")
}

fn parse_yaml(text: &str) -> Result<Node, Unreadable> {
    // `off` and `n` are names like others, as in YAML 1.2.
    let options = serde_saphyr::options! { strict_booleans: true };
    let parsed = serde_saphyr::from_str_with_options::<Spanned<Value>>(text, options);
    parsed.map(Node::from).map_err(|error| {
        let position = error.location().map(|place| (place.line(), place.column()));
        (position, unparsable(&plain(&error)))
    })
}

/// The parser's message without its snippet of the file, where a secret could be.
fn plain(error: &serde_saphyr::Error) -> String {
    if let serde_saphyr::Error::DuplicateMappingKey { key, .. } = error.without_snippet() {
        return match key {
            Some(key) => format!("the key `{key}` is there twice"),
            None => "a key is there twice".into(),
        };
    }
    let text = error.without_snippet().to_string();
    if text.starts_with("budget breached") {
        return "it is nested too deeply, or too large".into();
    }
    if text.contains("from_str_multiple") {
        return "it holds more than one document".into();
    }
    match text.split_once(" at line ") {
        Some((message, _)) => message.to_owned(),
        None => text,
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        let position = (spanned.referenced.line(), spanned.referenced.column());
        Self { value: spanned.value, position }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    /// With its point, so that `1.0` and `1e3` are no whole numbers.
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(format!("{number:?}")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Value>>()? {
            list.push(Node::from(item));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Vec::new();
        while let Some((key, value)) = access.next_entry::<Spanned<String>, Spanned<Value>>()? {
            let position = (key.referenced.line(), key.referenced.column());
            object.push(Property { key: key.value, position, node: Node::from(value) });
        }
        Ok(Value::Object(object))
    }
}
