//! What it costs to check a value against a schema, found before it is checked.
//!
//! A validator walks schema and value together, and where parts of a schema are applied several
//! times to the same value, it does so again at every level. Here every pair of a part and a value
//! is looked at once, and its cost is added as often as it would arise. So the time that this takes
//! is linear where that of the check is not.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{
    parts::{AppliesTo, each_part, resolve},
    pattern::states,
};

/// The parts of a schema may apply each other so deep; validators call themselves.
const DEEPEST: usize = 400;

/// An upper bound of the steps that a check takes; None if it takes more than `most`, or might not
/// end. A step is about a keyword.
pub(super) fn of(schema: &Value, value: &Value, most: u64) -> Option<u64> {
    let mut walk = StepCount { root: schema, most, looked_at: 0, known: HashMap::new() };
    walk.steps(schema, value, 0)
}

struct StepCount<'s> {
    root: &'s Value,
    most: u64,
    /// What this itself has cost so far.
    looked_at: u64,
    /// The steps of each pair; None while they are counted.
    known: HashMap<(*const Value, *const Value), Option<u64>>,
}

impl<'s> StepCount<'s> {
    fn steps(&mut self, schema: &'s Value, value: &'s Value, depth: usize) -> Option<u64> {
        let Value::Object(object) = schema else { return Some(1) };
        let pair = (std::ptr::from_ref(schema), std::ptr::from_ref(value));
        if let Some(known) = self.known.get(&pair) {
            return *known;
        }
        let own = self.own(object, value)?;
        self.looked_at = self.looked_at.saturating_add(own);
        if depth > DEEPEST || self.looked_at > self.most {
            return None;
        }
        let mut parts = Vec::new();
        each_part(object, |target, part| parts.push((target, part)));
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            parts.push((AppliesTo::Same, resolve(self.root, reference)?));
        }
        if parts.is_empty() {
            return Some(own);
        }
        self.known.insert(pair, None);
        let mut sum = own;
        for (target, part) in parts {
            sum = sum.saturating_add(self.applied(object, target, part, value, depth + 1)?);
        }
        // Each member may be looked for in all parts again.
        let again = ["unevaluatedProperties", "unevaluatedItems"];
        if again.iter().any(|key| object.contains_key(*key)) {
            sum = sum.saturating_mul(2 + length(value));
        }
        (sum <= self.most).then(|| {
            self.known.insert(pair, Some(sum));
            sum
        })
    }

    /// The steps of one part, applied to `value` or to what is in it.
    fn applied(
        &mut self,
        schema: &'s Map<String, Value>,
        target: AppliesTo<'s>,
        part: &'s Value,
        value: &'s Value,
        depth: usize,
    ) -> Option<u64> {
        let one = |found: Option<&'s Value>| found.into_iter().collect::<Vec<_>>();
        let values: Vec<&'s Value> = match (target, value) {
            (AppliesTo::Same, value) => vec![value],
            (AppliesTo::Member(name), Value::Object(members)) => one(members.get(name)),
            (AppliesTo::Item(at), Value::Array(items)) => one(items.get(at)),
            (AppliesTo::Items, Value::Array(items)) => items.iter().collect(),
            (AppliesTo::Members, Value::Object(members)) => {
                let named = schema.get("properties").and_then(Value::as_object);
                let others = members.iter().filter(|(name, _)| {
                    named.is_none_or(|named| !named.contains_key(name.as_str()))
                        || schema.contains_key("patternProperties")
                });
                others.map(|(_, value)| value).collect()
            }
            (AppliesTo::Names, Value::Object(members)) => {
                let letters: usize = members.keys().map(String::len).sum();
                return Some(letters as u64 * self.weight_of_names(part));
            }
            _ => Vec::new(),
        };
        let mut sum = 0_u64;
        for value in values {
            sum = sum.saturating_add(self.steps(part, value, depth)?);
            if sum > self.most {
                return None;
            }
        }
        Some(sum)
    }

    /// What a schema of names costs for each letter.
    fn weight_of_names(&self, schema: &Value) -> u64 {
        let text = schema.to_string();
        1 + text.len() as u64 + states(&text) / STATES_PER_STEP
    }

    /// What the keywords of a schema cost that apply no other.
    fn own(&self, schema: &Map<String, Value>, value: &Value) -> Option<u64> {
        let mut sum = 1_u64;
        for (key, keyword) in schema {
            let more = match (key.as_str(), keyword, value) {
                ("pattern", Value::String(pattern), Value::String(text)) => {
                    matching(pattern, text.len())
                }
                ("patternProperties", Value::Object(patterns), Value::Object(members)) => {
                    let letters = members.keys().map(String::len).sum();
                    patterns.keys().map(|pattern| matching(pattern, letters)).sum()
                }
                ("enum", Value::Array(values), value) => self.equals(values.len(), value)?,
                ("const", _, value) => self.equals(1, value)?,
                ("uniqueItems", Value::Bool(true), Value::Array(items)) => {
                    self.equals(4, value)?.saturating_add(items.len() as u64)
                }
                ("format" | "minLength" | "maxLength", _, Value::String(text)) => {
                    1 + text.len() as u64 / 8
                }
                _ => length(keyword),
            };
            sum = sum.saturating_add(1).saturating_add(more);
        }
        Some(sum.saturating_add(length(value)))
    }

    /// Returns the cost of comparing a value with this number of others.
    fn equals(&self, others: usize, value: &Value) -> Option<u64> {
        let others = others as u64;
        match value {
            Value::Array(_) | Value::Object(_) => {
                Some(others.saturating_mul(size(value, self.most)?))
            }
            Value::String(text) => Some(others + text.len() as u64 / 8),
            _ => Some(others),
        }
    }
}

/// The number of pattern states for one letter that cost one step.
const STATES_PER_STEP: u64 = 16;

/// Returns the cost of searching this number of letters for a pattern.
fn matching(pattern: &str, letters: usize) -> u64 {
    let each = states(pattern) / STATES_PER_STEP;
    8_u64.saturating_add((letters as u64).saturating_mul(each)).saturating_add(letters as u64 / 4)
}

/// How many members or items there are.
fn length(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.len() as u64,
        Value::Object(members) => members.len() as u64,
        _ => 0,
    }
}

/// How many values a value is made of; None if more than `most`.
fn size(value: &Value, most: u64) -> Option<u64> {
    let mut open = vec![value];
    let mut found = 0;
    while let Some(value) = open.pop() {
        found += 1;
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(members) => open.extend(members.values()),
            Value::String(text) => found += text.len() as u64 / 8,
            _ => {}
        }
        if found > most {
            return None;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::of;

    #[track_caller]
    fn check(schema: &Value, value: &Value, expected: std::ops::Range<u64>) {
        let steps = of(schema, value, u64::MAX).unwrap();
        assert!(expected.contains(&steps), "{steps}");
        assert_eq!(of(schema, value, steps), Some(steps));
        assert_eq!(of(schema, value, steps / 2), None);
    }

    /// A chain of definitions, each of which applies the next twice.
    fn doubled(levels: usize, apply: impl Fn(Value) -> Value) -> Value {
        let definition = |level: usize| match level {
            0 => json!({"type": "string"}),
            _ => apply(json!({"$ref": format!("#/$defs/d{}", level - 1)})),
        };
        let all: Map<_, _> = (0..=levels).map(|n| (format!("d{n}"), definition(n))).collect();
        json!({"$ref": format!("#/$defs/d{levels}"), "$defs": all})
    }

    #[test]
    fn doubled_references_multiply() {
        for how in ["allOf", "anyOf", "oneOf"] {
            let twice = |next: Value| json!({how: [next, next]});
            check(&doubled(10, twice), &json!({}), 2_000..20_000);
            assert!(of(&doubled(40, twice), &json!({}), u64::MAX / 2).unwrap() > 1 << 40);
        }
    }

    #[test]
    fn what_is_in_the_value_multiplies() {
        let within = |next: Value| json!({"allOf": [{"properties": {"a": next}}, {"properties": {"a": next}}]});
        let schema = doubled(30, within);
        check(&schema, &json!({}), 1..100);
        let deep = (0..30).fold(json!("x"), |value, _| json!({"a": value}));
        assert_eq!(of(&schema, &deep, 1_000_000), None);
        let each = json!({"items": {"pattern": "^[a-z]{1,100}$"}});
        check(&each, &json!(vec!["a"; 10]), 80..1_000);
        check(&each, &json!(vec!["a"; 1_000]), 8_000..100_000);
    }

    #[test]
    fn self_referencing_part_is_bounded_by_the_value() {
        let tree = json!({"properties": {"next": {"$ref": "#"}}});
        let value = (0..50).fold(json!({}), |value, _| json!({"next": value}));
        check(&tree, &value, 100..1_000);
        assert_eq!(of(&json!({"allOf": [{"$ref": "#"}]}), &json!({}), u64::MAX), None);
        let deep = (0..1_000).fold(json!({}), |value, _| json!({"next": value}));
        assert_eq!(of(&tree, &deep, u64::MAX), None);
        // `Value` is taken apart by calls of itself as well.
        std::mem::forget(deep);
    }
}
