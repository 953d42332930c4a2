//! Every object within a value.

use serde_json::{Map, Value};

/// Every object in a value, itself included, and how deep it is nested. Needs no recursion, so a
/// hostile value is harmless.
pub fn objects(value: &Value) -> impl Iterator<Item = (usize, &Map<String, Value>)> {
    let mut open = vec![(0, value)];
    std::iter::from_fn(move || {
        while let Some((depth, value)) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items.iter().map(|item| (depth + 1, item))),
                Value::Object(members) => {
                    open.extend(members.values().map(|member| (depth + 1, member)));
                    return Some((depth, members));
                }
                _ => {}
            }
        }
        None
    })
}

/// What the `$ref` of every object in a value name.
pub fn references(value: &Value) -> impl Iterator<Item = &str> {
    objects(value).filter_map(|(_, object)| object.get("$ref")?.as_str())
}
