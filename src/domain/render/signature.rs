//! The parameters of a tool as one line.
//!
//! Required parameters come first; one with a default may be left out. Types, enums, defaults,
//! bounds, formats and nested objects are kept; of descriptions only what strings look like that
//! are no free text. A definition that is used again is named and spelled out once, after
//! `where`, which also ends recursion.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    bounds::{number_bounds, range, string_bounds, with_bounds},
    note::note,
};
use crate::domain::{check::has_default, json::references};

/// A definition that is used more than once is spelled out in place up to this length.
const INLINE: usize = 40;

/// Deeper structure is shown as `object`.
const DEEPEST: usize = 12;

/// A line stops growing at this length; hostile schemas have no end.
const LONGEST: usize = 48 * 1024;

/// A single name, literal or default is cut at this length.
const LONGEST_TEXT: usize = 4 * 1024;

/// `name(parameters)`, with `where T = …` behind if there are definitions.
pub(super) fn of(name: &str, schema: &Value) -> String {
    let mut writer = SignatureWriter::new(schema);
    let parameters = writer.top(schema);
    let mut line = format!("{name}({parameters})");
    let mut separator = " where";
    for (name, body) in &writer.named {
        line.push_str(&format!("{separator} {name} = {body}"));
        separator = ";";
    }
    line
}

struct SignatureWriter<'s> {
    root: &'s Value,
    /// How often each `$ref` occurs.
    uses: HashMap<&'s str, usize>,
    /// Definitions that are spelled out behind the line.
    named: BTreeMap<String, String>,
    /// The `$ref` that are being spelled out now, and whether they refer to themselves.
    open: Vec<(&'s str, bool)>,
    depth: usize,
    written: usize,
    /// How many `oneOf` are open: what is required there tells its parts from each other.
    alternatives: usize,
}

impl<'s> SignatureWriter<'s> {
    fn new(root: &'s Value) -> Self {
        let mut uses = HashMap::new();
        references(root).for_each(|target| *uses.entry(target).or_default() += 1);
        Self {
            root,
            uses,
            named: BTreeMap::new(),
            open: Vec::new(),
            depth: 0,
            written: 0,
            alternatives: 0,
        }
    }

    /// The parameters of the tool; `…` stands for what an object of parameters cannot say.
    fn top(&mut self, schema: &'s Value) -> String {
        let Value::Object(object) = schema else { return "…unknown".into() };
        let composed =
            ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|key| object.contains_key(*key));
        if object.contains_key("properties") {
            let mut all = self.members(object);
            if composed && let Some(rest) = self.composition(object) {
                all.push_str(&format!("{}…{rest}", if all.is_empty() { "" } else { ", " }));
            }
            return all;
        }
        if composed {
            return format!("…{}", self.type_of(schema));
        }
        match object.get("type").and_then(Value::as_str) {
            Some("object") => self.members(object),
            _ => "…unknown".into(),
        }
    }

    /// `a: T, b?: U = 5`, without braces.
    fn members(&mut self, object: &'s Map<String, Value>) -> String {
        let required: HashSet<&str> = match object.get("required") {
            Some(Value::Array(names)) => names
                .iter()
                .filter_map(Value::as_str)
                .filter(|name| self.alternatives > 0 || !has_default(object, name))
                .collect(),
            _ => HashSet::new(),
        };
        let mut parts = Vec::new();
        if let Some(Value::Object(properties)) = object.get("properties") {
            for wanted in [true, false] {
                let chosen =
                    properties.iter().filter(|(key, _)| required.contains(key.as_str()) == wanted);
                for (key, schema) in chosen {
                    if self.full() {
                        break;
                    }
                    parts.push(self.member(key, schema, wanted));
                }
            }
        }
        if let Some(values) = self.other_members(object) {
            parts.push(format!("[key]: {values}"));
        }
        if self.full() {
            parts.push("…".into());
        }
        parts.join(", ")
    }

    fn member(&mut self, key: &str, schema: &'s Value, required: bool) -> String {
        let mut text = self.type_of(schema);
        if !required && let Some(without) = text.strip_suffix("|null") {
            text = without.to_owned();
        }
        if let Some(rest) = text.strip_prefix("string")
            && matches!(rest, "" | "|null")
            && let Some(note) = note(schema, required)
        {
            text = self.cut(format!("string({note}){rest}"));
        }
        let mark = if required { "" } else { "?" };
        let default = schema.get("default").filter(|value| !value.is_null());
        let default = default.map(|value| self.cut(format!(" = {value}"))).unwrap_or_default();
        let key = self.cut(key.to_owned());
        format!("{key}{mark}: {text}{default}")
    }

    /// The type of members that are not named.
    fn other_members(&mut self, object: &'s Map<String, Value>) -> Option<String> {
        let additional = object.get("additionalProperties").filter(|schema| schema.is_object());
        let patterns = object.get("patternProperties").and_then(Value::as_object);
        let schema = additional.or_else(|| patterns?.values().next())?;
        Some(self.type_of(schema))
    }

    fn type_of(&mut self, schema: &'s Value) -> String {
        if self.depth >= DEEPEST || self.full() {
            return "object".into();
        }
        self.depth += 1;
        let text = match schema {
            Value::Bool(false) => "never".into(),
            Value::Object(object) => self.object_type(object),
            _ => "any".into(),
        };
        self.depth -= 1;
        self.written += text.len().min(16);
        text
    }

    fn object_type(&mut self, schema: &'s Map<String, Value>) -> String {
        if let Some(value) = schema.get("const") {
            return self.literals(std::slice::from_ref(value));
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return self.literals(values);
        }
        let own = match schema.get("type") {
            Some(Value::String(name)) => Some(self.named_type(name, schema)),
            Some(Value::Array(names)) => {
                let mut names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                names.sort_by_key(|name| *name == "null");
                Some(union(names.iter().map(|name| self.named_type(name, schema)).collect()))
            }
            _ if schema.contains_key("properties") => Some(self.named_type("object", schema)),
            _ if schema.contains_key("items") => Some(self.named_type("array", schema)),
            _ => None,
        };
        match (own, self.composition(schema)) {
            (None, None) => "any".into(),
            (Some(own), None) => own,
            // The composition says more than a bare `object` does.
            (Some(own), Some(rest)) if own == "object" || own == rest => rest,
            (Some(own), Some(rest)) => format!("{own} & {}", grouped(&rest)),
            (None, Some(rest)) => rest,
        }
    }

    /// `$ref`, `allOf`, `anyOf`, `oneOf`; None where they say nothing about types.
    fn composition(&mut self, schema: &'s Map<String, Value>) -> Option<String> {
        let mut parts = Vec::new();
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            parts.push(self.reference(target));
        }
        for (key, all) in [("allOf", true), ("anyOf", false), ("oneOf", false)] {
            let Some(Value::Array(members)) = schema.get(key) else { continue };
            self.alternatives += usize::from(key == "oneOf");
            let mut types: Vec<String> = Vec::new();
            for member in members {
                if self.full() {
                    types.push("…".into());
                    break;
                }
                types.push(self.type_of(member));
            }
            self.alternatives -= usize::from(key == "oneOf");
            types.sort_by_key(|text| text == "null");
            types.dedup();
            // Members that only say which parameters go together have no type of their own.
            let silent = types.iter().all(|text| text == "any" || text == "object");
            match (silent && schema.contains_key("properties"), all) {
                (true, _) => {}
                (false, true) => parts.push(intersection(types)),
                (false, false) => parts.push(union(types)),
            }
        }
        match parts.len() {
            0 => None,
            _ => Some(intersection(parts)),
        }
    }

    fn named_type(&mut self, name: &str, schema: &'s Map<String, Value>) -> String {
        match name {
            "string" => with_bounds("string", string_bounds(schema)),
            "integer" | "number" => with_bounds(name, number_bounds(schema)),
            "array" => self.array(schema),
            "object" => {
                let members = self.members(schema);
                match (members.is_empty(), schema.get("items")) {
                    (false, _) => format!("{{{members}}}"),
                    // Means a list, as its `items` say, whatever its type says.
                    (true, Some(Value::Object(_))) => format!("object & {}", self.array(schema)),
                    (true, _) => "object".into(),
                }
            }
            other => other.to_owned(),
        }
    }

    fn array(&mut self, schema: &'s Map<String, Value>) -> String {
        let size = range(schema.get("minItems"), schema.get("maxItems"));
        let size = size.map(|size| format!("({size})")).unwrap_or_default();
        let tuple = schema.get("prefixItems").or_else(|| schema.get("items"));
        if let Some(Value::Array(items)) = tuple {
            let items: Vec<String> = items.iter().map(|item| self.type_of(item)).collect();
            return format!("[{}]{size}", items.join(", "));
        }
        match schema.get("items") {
            Some(items) => format!("{}[]{size}", grouped(&self.type_of(items))),
            None => format!("any[]{size}"),
        }
    }

    fn literals(&mut self, values: &[Value]) -> String {
        let mut texts = Vec::new();
        for value in values {
            if self.full() {
                texts.push("…".into());
                break;
            }
            let text = self.cut(value.to_string());
            texts.push(text);
        }
        texts.join("|")
    }

    /// A definition: in place if it is short or used once, else by name. Only definitions within
    /// the schema are followed.
    fn reference(&mut self, target: &'s str) -> String {
        let Some(definition) = target.strip_prefix('#').and_then(|at| self.root.pointer(at)) else {
            return "any".into();
        };
        let name =
            target.rsplit(['/', '#']).next().filter(|name| !name.is_empty()).unwrap_or("args");
        if let Some((_, recursive)) = self.open.iter_mut().find(|(open, _)| *open == target) {
            *recursive = true;
            return name.to_owned();
        }
        if self.named.contains_key(name) {
            return name.to_owned();
        }
        self.open.push((target, false));
        let body = self.type_of(definition);
        let recursive = self.open.pop().is_some_and(|(_, recursive)| recursive);
        let once = self.uses.get(target).copied().unwrap_or_default() < 2;
        if !recursive && (once || body.len() <= INLINE) {
            return body;
        }
        self.named.insert(name.to_owned(), body);
        name.to_owned()
    }

    /// A text of the server's, cut if it alone would fill the line.
    fn cut(&mut self, mut text: String) -> String {
        if text.len() > LONGEST_TEXT {
            let end = (0..LONGEST_TEXT).rev().find(|&at| text.is_char_boundary(at));
            text.truncate(end.unwrap_or_default());
            text.push('…');
        }
        self.written += text.len() + 2;
        text
    }

    /// Whether the line is as long as it may be.
    fn full(&self) -> bool {
        self.written > LONGEST
    }
}

fn union(mut types: Vec<String>) -> String {
    let mut seen = Vec::new();
    types.retain(|text| {
        !seen.contains(text) && {
            seen.push(text.clone());
            true
        }
    });
    types.join("|")
}

fn intersection(mut types: Vec<String>) -> String {
    if types.len() > 1 {
        types.retain(|text| text != "any");
    }
    match types.len() {
        0 => "any".into(),
        1 => types.remove(0),
        _ => types.iter().map(|text| grouped(text)).collect::<Vec<_>>().join(" & "),
    }
}

/// In parentheses if it is a union or an intersection at its top.
fn grouped(text: &str) -> String {
    let mut depth = 0_usize;
    let mut quoted = false;
    let mut escaped = false;
    let composed = text.chars().any(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && !quoted && matches!(c, '|' | '&')
    });
    if composed { format!("({text})") } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
