//! Checks a document against the schema of its file: every fault with its place, references
//! expanded, types made what the schema says. What is left is read with serde.
//!
//! The result has the form that [`super::written`] reads: a value whose schema says `x-position` is
//! a pair of its place and itself, an object with keys of the user's is a list of pairs, and faulty
//! values are left out.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};

use super::{
    document::{self, Node, Property, Value},
    expand::{Expanded, expand},
    findings::Findings,
    schema,
    values::{Check, Expected, Here, accepts, types},
    written::{At, Location},
};
use crate::domain::{near::near, settings::SettingsFile};

/// Reads a file, if there is one: checks it, and takes what is left without its faults.
pub(super) fn read<T: DeserializeOwned>(
    file: SettingsFile,
    path: Option<&Path>,
    findings: &mut Findings<'_>,
) -> Option<At<T>> {
    findings.begin(file, path);
    let node = document::read(path?, findings)?;
    // All of it may be commented out.
    if file == SettingsFile::Gateway && matches!(node.value, Value::Null) {
        return None;
    }
    let here = Here { node: &node, path: "" };
    let mut check = Check { findings, for_server: false, for_shell: false };
    let value = check.value(here, &schema::of(file), "")?;
    let found = json!([here.location(), value]);
    // Without the parser's message, which may quote a secret.
    let not_read =
        || findings.refuse(&here.location(), "cannot be read, which is a bug of Tollgate");
    serde_json::from_value(found).ok().or_else(not_read)
}

impl Check<'_, '_> {
    fn value(&mut self, here: Here<'_>, schema: &Json, format: &str) -> Option<Json> {
        let wanted = Expected::of(schema, here.node, format);
        if types(wanted.schema).next().is_none() {
            return Some(Json::Null);
        }
        let value = match &here.node.value {
            Value::Object(members) if wanted.is_a("object") => {
                self.object(here, members, wanted.schema)?
            }
            Value::List(items) if wanted.is_a("array") => self.list(here, items, wanted)?,
            _ => self.leaf(here, wanted)?,
        };
        Some(if wanted.positioned { json!([here.location(), value]) } else { value })
    }

    fn list(&mut self, here: Here<'_>, items: &[Node], wanted: Expected<'_>) -> Option<Json> {
        let schema = wanted.schema.get("items")?;
        let mut list = Vec::new();
        for (index, node) in items.iter().enumerate() {
            let path = format!("{}[{index}]", here.path);
            list.extend(self.value(Here { node, path: &path }, schema, wanted.format));
        }
        // One that is empty because all is faulty is not what was written.
        (items.is_empty() || !list.is_empty()).then(|| list.into())
    }

    fn object(&mut self, here: Here<'_>, members: &[Property], schema: &Json) -> Option<Json> {
        let location = here.location();
        let Some(known) = schema.get("properties").and_then(Json::as_object) else {
            let each = schema.get("additionalProperties")?;
            let named = members.iter().filter_map(|Property { key, node, .. }| {
                let path = location.below(key);
                Some(json!([key, self.value(Here { node, path: &path }, each, "")?]))
            });
            return Some(named.collect());
        };
        let mut found = Map::new();
        let outer = (self.for_server, self.for_shell);
        let is_server = schema.get("x-server").is_some();
        let off = is_server && self.is_off(members, &location);
        if is_server {
            found.insert("disabled".into(), off.into());
        }
        for member in members {
            let path = location.below(&member.key);
            let here = Here { node: &member.node, path: &path };
            let key = member.key.as_str();
            let Some(schema) = known.get(key) else {
                self.other_key(here, member, schema);
                continue;
            };
            if is_server && (["disabled", "enabled"].contains(&key) || off && key != "id") {
                continue;
            }
            self.for_server = outer.0 || is_server && key != "id";
            self.for_shell = is_server && key == "args" && runs_shell(members, self.findings);
            found.extend(self.member(here, schema).map(|value| (key.to_owned(), value)));
        }
        (self.for_server, self.for_shell) = outer;
        self.required(&location, schema, &found).then_some(Json::Object(found))
    }

    /// The value of a known key; None also where null leaves it out.
    fn member(&mut self, here: Here<'_>, schema: &Json) -> Option<Json> {
        let left_out = matches!(here.node.value, Value::Null) && accepts(schema, here.node);
        if left_out { None } else { self.value(here, schema, "") }
    }

    fn required(&mut self, at: &Location, schema: &Json, found: &Map<String, Json>) -> bool {
        let keys = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let mut whole = true;
        for key in keys.filter_map(Json::as_str) {
            whole &= found.contains_key(key);
            if at.even_null(key).is_none() {
                let says = schema.pointer(&format!("/properties/{key}/description"));
                let says =
                    says.and_then(Json::as_str).and_then(|text| text.split(['.', ':']).next());
                let what = says.map(|text| format!(": {}", lower(text))).unwrap_or_default();
                self.findings.fault(
                    at,
                    match at.path.as_str() {
                        "" => format!("`{key}` is missing{what}"),
                        _ => format!("has no `{key}`{what}"),
                    },
                );
            }
        }
        whole
    }

    /// A key that the schema does not have, or has as one that is refused.
    fn other_key(&mut self, here: Here<'_>, member: &Property, schema: &Json) {
        let listed = |word: &str| schema.get(word)?.get(&member.key)?.as_str();
        let closed = schema.get("additionalProperties").is_some();
        let mut at = here.location();
        if let Some(why) = listed("x-hides").or_else(|| listed("x-shows")) {
            if hides_tools(&member.node, listed("x-hides").is_some()) {
                self.findings.fault(&at, why);
            }
        } else if let Some(why) = listed("x-refused") {
            if !self.asks_for_nothing(here) {
                at.position = if closed { member.position } else { at.position };
                self.findings.fault(&at, why);
            }
        } else if here.path == "$schema" {
        } else if closed {
            at.position = member.position;
            self.findings.fault(&at, unknown(&member.key, &offered(schema)));
        } else {
            let meant = near(&member.key, offered(schema));
            let meant = meant.first().map(|meant| format!("; did you mean `{meant}`?"));
            let meant = meant.unwrap_or_default();
            self.findings.warn(&at, &format!("is not a key that Tollgate knows{meant}"));
        }
    }

    /// Whether an entry is switched off, by either of the words for it.
    fn is_off(&mut self, members: &[Property], at: &Location) -> bool {
        let mut says = |key: &str| {
            let member = members.iter().find(|member| member.key == key)?;
            let path = at.below(key);
            let here = Here { node: &member.node, path: &path };
            self.member(here, &json!({"type": ["boolean", "null"]}))
        };
        let (disabled, enabled) = (says("disabled"), says("enabled"));
        disabled == Some(Json::Bool(true)) || enabled == Some(Json::Bool(false))
    }

    /// Whether a value asks for nothing, so that it may stand under a key that is refused: empty,
    /// `false`, or a block with `enabled: false`.
    fn asks_for_nothing(&mut self, here: Here<'_>) -> bool {
        match &here.node.value {
            Value::Null | Value::Flag(false) => true,
            Value::Flag(true) | Value::Number(_) => false,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Object(members) => {
                let said = members.iter().find(|member| member.key == "enabled");
                said.is_some_and(|Property { node, .. }| {
                    let path = here.location().below("enabled");
                    let here = Here { node, path: &path };
                    self.member(here, &json!({"type": ["boolean", "null"]}))
                        == Some(Json::Bool(false))
                })
            }
        }
    }
}

/// Whether the command of an entry expands `$NAME` in its arguments.
fn runs_shell(members: &[Property], findings: &Findings<'_>) -> bool {
    let command = members.iter().find(|member| member.key == "command");
    let program = command.and_then(|member| match &member.node.value {
        Value::List(items) => items.first(),
        _ => Some(&member.node),
    });
    let Some(Node { value: Value::Text(text), .. }) = program else { return false };
    let Ok(Expanded { text, .. }) = expand(text, findings.env) else { return false };
    let name = Path::new(&text).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| ["sh", "bash", "dash", "zsh", "ksh", "fish"].contains(&name))
}

/// Whether a client that reads such a key offers less than all tools.
fn hides_tools(node: &Node, hides: bool) -> bool {
    let is_all = |item: &Node| matches!(&item.value, Value::Text(text) if text == "*");
    match &node.value {
        Value::Null => false,
        Value::List(items) if hides => !items.is_empty(),
        Value::List(items) => !items.iter().any(is_all),
        _ => true,
    }
}

/// The keys of an object that are worth suggesting.
fn offered(schema: &Json) -> Vec<&str> {
    let keys = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    keys.filter(|(_, of)| of.get("deprecated").is_none()).map(|(key, _)| key.as_str()).collect()
}

/// What to say of a key that the format does not have.
fn unknown(key: &str, known: &[&str]) -> String {
    match near(key, known.iter().copied()).first() {
        Some(meant) => format!("is not a known key; did you mean `{meant}`?"),
        None => format!("is not a known key; known are {}", known.join(", ")),
    }
}

/// A sentence as the end of another.
fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}
