//! How values are written: with their place, by name, as one or as many.

use std::{borrow::Cow, collections::BTreeMap, ops::Deref, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::{Map, Value};

use crate::domain::{credits::Credits, pattern::Pattern, words::Words};

/// Why a key is refused that is planned, but not built yet.
pub(crate) const LATER: &str = "is not supported by this version; remove it";

/// Keys or words that are refused, each with its reason.
pub(crate) fn refused(reasons: &[(&str, &str)]) -> Value {
    Value::Object(reasons.iter().map(|(key, why)| ((*key).to_owned(), Value::from(*why))).collect())
}

/// Where a value stands in its file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Location {
    /// Line and column, from 1.
    pub(crate) position: (u64, u64),
    /// The keys that lead there, such as `agents.backend.allow`; empty for the top.
    pub(crate) path: String,
    /// Of an object: its keys, and where their values stand; None for null.
    pub(crate) members: Vec<(String, (u64, u64), bool)>,
}

impl Location {
    /// The place of a member.
    pub(crate) fn even_null(&self, key: &str) -> Option<Self> {
        let (_, position, _) = self.members.iter().find(|(name, ..)| name == key)?;
        Some(Self { position: *position, path: self.below(key), members: Vec::new() })
    }

    /// Whether there is a member of that name that is not null, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(name, _, is_null)| name == key && !is_null)
    }

    /// The path of a member.
    pub(crate) fn below(&self, key: &str) -> String {
        let dot = if self.path.is_empty() { "" } else { "." };
        format!("{}{dot}{key}", self.path)
    }
}

/// A value with its place.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct At<T> {
    pub(crate) place: Location,
    pub(crate) value: T,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("At_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = generator.subschema_for::<T>();
        schema.insert("x-position".to_owned(), true.into());
        schema
    }
}

/// An object whose keys are names of the user's, in the order of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct ByName<T>(Vec<(String, T)>);

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> IntoIterator for ByName<T> {
    type Item = (String, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: JsonSchema> JsonSchema for ByName<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("ByName_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<String, T>::json_schema(generator)
    }
}

/// One value, or a list of them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// A time: `"30s"`, `"5m"`, or a number of milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) Duration);

/// From nanoseconds, as the check leaves it.
impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Duration::from_nanos(u64::deserialize(deserializer)?)))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "x-format": "time"})
    }
}

impl JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "x-format": "pattern"})
    }
}

/// One of a few words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word<T>(pub(crate) T);

impl<'de, T: Words> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| Self(*value)).ok_or_else(|| D::Error::custom("an unknown word"))
    }
}

impl<T: Words> JsonSchema for Word<T> {
    fn schema_name() -> Cow<'static, str> {
        "Word".into()
    }

    fn schema_id() -> Cow<'static, str> {
        std::any::type_name::<Self>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({"type": "string", "enum": words})
    }
}

/// Makes a schema one of an object that has other keys.
pub(super) fn properties(schema: &mut Schema) -> Option<&mut Map<String, Value>> {
    schema.get_mut("properties").and_then(Value::as_object_mut)
}

impl JsonSchema for Credits {
    fn schema_name() -> Cow<'static, str> {
        "Credits".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer", "minimum": 0, "maximum": Self::MAX.amount(), "x-format": "credits",
        })
    }
}
