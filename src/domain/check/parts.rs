//! Which schemas a schema applies, and to what.

use serde_json::{Map, Value};

/// What a schema within another is applied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppliesTo<'s> {
    /// The same value.
    Same,
    /// The member of that name.
    Member(&'s str),
    /// Any member; patterns of names are not looked at.
    Members,
    /// The names of members.
    Names,
    /// The item at that place.
    Item(usize),
    /// Any item.
    Items,
}

/// Calls `each` with every schema that `schema` applies; `$ref` is left out.
pub(super) fn each_part<'s>(
    schema: &'s Map<String, Value>,
    mut each: impl FnMut(AppliesTo<'s>, &'s Value),
) {
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().for_each(|part| each(AppliesTo::Same, part));
            }
            ("not" | "if" | "then" | "else", part) => each(AppliesTo::Same, part),
            ("dependentSchemas" | "dependencies", Value::Object(parts)) => {
                parts.values().for_each(|part| each(AppliesTo::Same, part));
            }
            ("properties", Value::Object(parts)) => {
                parts.iter().for_each(|(name, part)| each(AppliesTo::Member(name), part));
            }
            ("patternProperties", Value::Object(parts)) => {
                parts.values().for_each(|part| each(AppliesTo::Members, part));
            }
            ("additionalProperties" | "unevaluatedProperties", part) => {
                each(AppliesTo::Members, part);
            }
            ("propertyNames", part) => each(AppliesTo::Names, part),
            ("items" | "prefixItems", Value::Array(parts)) => {
                parts.iter().enumerate().for_each(|(at, part)| each(AppliesTo::Item(at), part));
            }
            ("items" | "additionalItems" | "contains" | "unevaluatedItems", part) => {
                each(AppliesTo::Items, part);
            }
            _ => {}
        }
    }
}

/// The schema that a `$ref` within a document leads to; None if it leads elsewhere, or nowhere.
pub(super) fn resolve<'s>(root: &'s Value, reference: &str) -> Option<&'s Value> {
    let pointer = reference.strip_prefix('#')?;
    match pointer.contains('%') {
        false => root.pointer(pointer),
        true => root.pointer(&decoded(pointer)?),
    }
}

/// A fragment of a URI without percent signs.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::resolve;

    #[test]
    fn references_are_followed_within_the_document() {
        let root = json!({"$defs": {"a b": {"x": 1}, "c/d": 2}});
        assert_eq!(resolve(&root, "#"), Some(&root));
        assert_eq!(resolve(&root, "#/$defs/a%20b/x"), Some(&json!(1)));
        assert_eq!(resolve(&root, "#/%24defs/c~1d"), Some(&json!(2)));
        for elsewhere in ["", "other", "https://example.com#/x", "#/none", "#/%zz", "#anchor"] {
            assert_eq!(resolve(&root, elsewhere), None, "{elsewhere}");
        }
    }
}
