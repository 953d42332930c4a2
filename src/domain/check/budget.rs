//! What it would cost to compile a schema, found in time linear in its size.
//!
//! A server writes the schema, and a hostile one may want to stop the gateway.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    parts::{AppliesTo, each_part, resolve},
    pattern::states,
};

/// About how many bytes a compiled schema may take.
const MOST_MEMORY: u64 = 32 * 1024 * 1024;

/// About what a compiled schema takes for each of its parts, beside the names of places.
const PART: u64 = 400;

/// How many states all patterns together may have; each takes about 250 bytes.
const MOST_STATES: u64 = 50_000;

/// How many different patterns there may be: each has caches of its own.
const MOST_PATTERNS: usize = 500;

/// How deep schemas may apply each other; validators call themselves.
const DEEPEST: usize = 300;

/// How large a schema with `unevaluated…` may be, references spelled out.
const MOST_UNEVALUATED: u64 = 2_000;

/// Returns how many different patterns a schema has.
///
/// # Errors
/// Why the schema may not be compiled.
pub(super) fn patterns(schema: &Value) -> Result<usize, String> {
    let mut census = Census::default();
    census.count(schema, 0)?;
    census.follow(schema)?;
    let total = census.patterns.iter().fold(0_u64, |sum, one| sum.saturating_add(states(one)));
    if total > MOST_STATES || census.patterns.len() > MOST_PATTERNS {
        return Err("its patterns are too many or too large".into());
    }
    let mut shape =
        SchemaShape { root: schema, known: HashMap::new(), spelled_out: HashMap::new() };
    if shape.depth(schema, 0).is_none() {
        return Err(format!("its parts apply each other more than {DEEPEST} deep"));
    }
    if census.unevaluated.iter().any(|part| shape.spelled_out(part, 0) > MOST_UNEVALUATED) {
        return Err("it is too large for `unevaluatedProperties` and `unevaluatedItems`".into());
    }
    Ok(census.patterns.len())
}

/// What a schema is made of.
#[derive(Default)]
struct Census<'s> {
    memory: u64,
    references: HashSet<&'s str>,
    patterns: HashSet<&'s str>,
    unevaluated: Vec<&'s Value>,
    /// Whether a part below the top has an address of its own.
    rebased: bool,
}

impl<'s> Census<'s> {
    /// Counts everything in `value`, which stands at a place whose name has this many bytes.
    fn count(&mut self, value: &'s Value, place: u64) -> Result<(), String> {
        match value {
            Value::Object(object) => {
                self.take(PART + 3 * place)?;
                self.note(value, object, place == 0)?;
                for (key, value) in object {
                    self.count(value, place + 1 + key.len() as u64)?;
                }
            }
            Value::Array(items) => {
                self.take(PART)?;
                for item in items {
                    self.count(item, place + 4)?;
                }
            }
            Value::String(text) => self.take(32 + text.len() as u64)?,
            _ => self.take(16)?,
        }
        Ok(())
    }

    fn take(&mut self, bytes: u64) -> Result<(), String> {
        self.memory = self.memory.saturating_add(bytes);
        match self.memory > MOST_MEMORY {
            true => Err("it is too large".into()),
            false => Ok(()),
        }
    }

    fn note(
        &mut self,
        part: &'s Value,
        object: &'s Map<String, Value>,
        is_top: bool,
    ) -> Result<(), String> {
        for (key, value) in object {
            match (key.as_str(), value) {
                ("$ref", Value::String(target)) => {
                    self.references.insert(target);
                }
                ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                    return Err(format!("`{key}` is not followed"));
                }
                ("$id", Value::String(_)) => self.rebased |= !is_top,
                ("pattern", Value::String(pattern)) => {
                    self.patterns.insert(pattern);
                }
                ("patternProperties", Value::Object(patterns)) => {
                    self.patterns.extend(patterns.keys().map(String::as_str));
                }
                ("unevaluatedProperties" | "unevaluatedItems", _) => self.unevaluated.push(part),
                _ => {}
            }
        }
        Ok(())
    }

    /// Counts what references lead to: it may be compiled once for each way to write them.
    fn follow(&mut self, root: &'s Value) -> Result<(), String> {
        if self.rebased && !self.references.is_empty() {
            return Err("a part of it has an `$id` of its own".into());
        }
        for reference in std::mem::take(&mut self.references) {
            let Some(target) = resolve(root, reference) else {
                return Err("a `$ref` leads out of it, or nowhere".into());
            };
            let mut spelled_out = Self { memory: self.memory, ..Self::default() };
            spelled_out.count(target, reference.len() as u64)?;
            self.memory = spelled_out.memory;
        }
        Ok(())
    }
}

/// How the parts of a schema apply each other.
struct SchemaShape<'s> {
    root: &'s Value,
    /// How deep each part goes; None while that is looked for.
    known: HashMap<*const Value, Option<usize>>,
    /// How many parts are applied to one value, references spelled out; None likewise.
    spelled_out: HashMap<*const Value, Option<u64>>,
}

impl<'s> SchemaShape<'s> {
    /// How many parts apply each other in a row, or None if those are too many. A part that applies
    /// itself within what it is applied to is counted once.
    fn depth(&mut self, schema: &'s Value, above: usize) -> Option<usize> {
        let Value::Object(object) = schema else { return Some(1) };
        if above > DEEPEST {
            return None;
        }
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            let depth = known.unwrap_or_default();
            return (above + depth <= DEEPEST).then_some(depth);
        }
        let mut parts = Vec::new();
        each_part(object, |_, part| parts.push(part));
        parts.extend(self.referred(object));
        if parts.is_empty() {
            return Some(1);
        }
        self.known.insert(schema, None);
        let mut deepest = 0;
        for part in parts {
            deepest = deepest.max(self.depth(part, above + 1)?);
        }
        self.known.insert(schema, Some(deepest + 1));
        Some(deepest + 1)
    }

    fn referred(&self, object: &'s Map<String, Value>) -> Option<&'s Value> {
        resolve(self.root, object.get("$ref")?.as_str()?)
    }

    /// How many parts are applied to one value; without end if a part is applied to the value that
    /// it is being applied to.
    fn spelled_out(&mut self, schema: &'s Value, above: usize) -> u64 {
        let Value::Object(object) = schema else { return 1 };
        match self.spelled_out.get(&std::ptr::from_ref(schema)) {
            Some(known) => return known.unwrap_or(u64::MAX),
            None => self.spelled_out.insert(schema, None),
        };
        if above > DEEPEST {
            return u64::MAX;
        }
        let mut parts = Vec::new();
        let mut own = 1_u64;
        each_part(object, |target, part| match target {
            AppliesTo::Same => parts.push(part),
            _ => own += 1,
        });
        parts.extend(self.referred(object));
        for part in parts {
            own = own.saturating_add(self.spelled_out(part, above + 1));
        }
        self.spelled_out.insert(schema, Some(own));
        own
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::patterns;

    /// A chain of definitions, each of which applies the next twice.
    fn doubled(levels: usize, how: &str) -> Value {
        let definition = |level: usize| match level {
            0 => json!({"type": "object"}),
            _ => {
                let next = json!({"$ref": format!("#/$defs/d{}", level - 1)});
                json!({how: [next, next]})
            }
        };
        let all: Map<_, _> = (0..=levels).map(|n| (format!("d{n}"), definition(n))).collect();
        json!({"$ref": format!("#/$defs/d{levels}"), "$defs": all})
    }

    #[track_caller]
    fn refuses(schema: &Value, why: &str) {
        let refused = patterns(schema).unwrap_err();
        assert!(refused.contains(why), "{refused}");
    }

    #[test]
    fn what_compiles_to_little_is_allowed() {
        assert_eq!(patterns(&json!({"type": "object"})).unwrap(), 0);
        // What these cost depends on what they are applied to.
        assert!(patterns(&doubled(40, "allOf")).is_ok());
        let tree = json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}});
        assert!(patterns(&tree).is_ok());
        let names = (0..60_000).map(|n| (format!("p{n}"), json!({"type": "string"})));
        assert!(patterns(&json!({"properties": names.collect::<Map<_, _>>()})).is_ok());
    }

    #[test]
    fn what_compiles_to_much_is_refused() {
        let patterns = |n: u32| json!({"pattern": format!("^({n}[a-z]{{1,50}}){{1,50}}$")});
        refuses(&json!({"allOf": (0..60).map(patterns).collect::<Vec<_>>()}), "patterns");
        let many = |n: u32| json!({"pattern": format!("^{n}a+$")});
        refuses(&json!({"allOf": (0..2_000).map(many).collect::<Vec<_>>()}), "patterns");
        refuses(&doubled(2_000, "allOf"), "deep");
        let named = json!({"x".repeat(10_000): {"properties": {}}});
        let wide: Vec<Value> = (0..2_000).map(|_| named.clone()).collect();
        refuses(&json!({"allOf": wide}), "large");
        let mut unevaluated = doubled(40, "anyOf");
        unevaluated["unevaluatedProperties"] = json!(false);
        refuses(&unevaluated, "unevaluatedProperties");
        // One definition, and many ways to write the way to it.
        let definition: Vec<Value> = (0..1_000).map(|n| json!({"const": n})).collect();
        let spelled = |n: u32| {
            let name: String = (0..10)
                .map(|bit| if n >> bit & 1 == 0 { "a".into() } else { format!("%{:x}", b'a') })
                .collect();
            json!({"$ref": format!("#/$defs/{name}")})
        };
        let ways: Vec<Value> = (0..1_000).map(spelled).collect();
        let defs = json!({"aaaaaaaaaa": {"anyOf": definition}});
        refuses(&json!({"allOf": ways, "$defs": defs}), "large");
    }

    #[test]
    fn references_out_of_the_schema_are_not_followed() {
        for target in ["https://example.com/schema.json", "#/$defs/none", "other.json", "#anchor"] {
            refuses(&json!({"$ref": target}), "leads out");
        }
        refuses(&json!({"$dynamicRef": "#node"}), "$dynamicRef");
        let rebased = json!({"properties": {"a": {"$id": "x", "$ref": "#"}}});
        refuses(&rebased, "$id");
    }
}
