//! Bounds of strings, numbers and lists, as they stand behind a type.

use serde_json::{Map, Value};

/// Longer patterns are cut; the full schema has them whole.
const LONGEST_PATTERN: usize = 400;

pub(super) fn string_bounds(schema: &Map<String, Value>) -> Vec<String> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let mut bounds = Vec::new();
    if let Some(format) = text("format") {
        bounds.push(format.chars().take(LONGEST_PATTERN).collect());
    }
    if let Some(size) = range(schema.get("minLength"), schema.get("maxLength")) {
        bounds.push(format!("len {size}"));
    }
    // Beside a format, the pattern only spells the format out, at great length.
    if let (Some(pattern), None) = (text("pattern"), text("format")) {
        bounds.push(format!("/{}/", pattern.chars().take(LONGEST_PATTERN).collect::<String>()));
    }
    bounds
}

pub(super) fn number_bounds(schema: &Map<String, Value>) -> Vec<String> {
    let mut bounds = Vec::new();
    bounds.extend(range(schema.get("minimum"), schema.get("maximum")));
    for (key, sign) in [("exclusiveMinimum", '>'), ("exclusiveMaximum", '<')] {
        if let Some(bound) = schema.get(key).filter(|bound| !is_machine_width(bound)) {
            bounds.extend(bound.is_number().then(|| format!("{sign}{bound}")));
        }
    }
    if let Some(step) = schema.get("multipleOf") {
        bounds.push(format!("step {step}"));
    }
    bounds
}

/// `1..5`, `1..`, `..5`; bounds that only say how wide a machine's integers are say nothing.
pub(super) fn range(min: Option<&Value>, max: Option<&Value>) -> Option<String> {
    let kept = |bound: Option<&Value>| {
        let bound = bound.filter(|bound| bound.is_number() && !is_machine_width(bound))?;
        Some(bound.to_string())
    };
    match (kept(min), kept(max)) {
        (None, None) => None,
        (min, max) => Some(format!("{}..{}", min.unwrap_or_default(), max.unwrap_or_default())),
    }
}

/// ±2^31, ±2^53, ±2^63 and their neighbours.
pub(super) fn is_machine_width(bound: &Value) -> bool {
    let Some(bound) = bound.as_f64().map(f64::abs) else { return false };
    [31, 32, 53, 63, 64].iter().any(|&bits| (bound - 2_f64.powi(bits)).abs() <= 1.0)
}

pub(super) fn with_bounds(name: &str, bounds: Vec<String>) -> String {
    if bounds.is_empty() { name.to_owned() } else { format!("{name}({})", bounds.join(", ")) }
}
