//! What a string looks like that is no free text, as far as its description or examples tell.

use serde_json::Value;

use super::visible;

/// Only the beginning of a description is looked at.
const LOOKED_AT: usize = 600;

/// Longer examples are left out.
const LONGEST_EXAMPLE: usize = 32;

/// The parts of a notation such as `YYYY-MM-DDTHH:MM:SSZ`.
const FIELDS: [&str; 22] = [
    "YYYY", "yyyy", "YY", "MM", "M", "DD", "dd", "D", "HH", "hh", "H", "mm", "SS", "ss", "SSS",
    "sss", "DDTHH", "ddTHH", "SSZ", "ssZ", "sssZ", "SSSZ",
];

/// Formats that descriptions name, as they say it and as it is shown.
const NAMED: [(&str, &str); 24] = [
    ("iso 8601", "ISO 8601"),
    ("iso-8601", "ISO 8601"),
    ("iso8601", "ISO 8601"),
    ("rfc 3339", "RFC 3339"),
    ("rfc3339", "RFC 3339"),
    ("unix timestamp", "Unix timestamp"),
    ("iana time", "IANA timezone"),
    ("iso 4217", "ISO 4217"),
    ("iso 3166", "ISO 3166"),
    ("iso 639", "ISO 639"),
    ("e.164", "E.164"),
    ("base64", "base64"),
    ("uuid", "UUID"),
    ("cron expression", "cron"),
    ("json string", "JSON"),
    ("stringified json", "JSON"),
    ("json-encoded", "JSON"),
    ("comma-separated", "comma-separated"),
    ("comma separated", "comma-separated"),
    ("absolute path", "absolute path"),
    ("glob pattern", "glob"),
    ("regular expression", "regex"),
    ("regex", "regex"),
    ("hex color", "hex color"),
];

/// What stands before an example.
const INTRODUCTIONS: [&str; 6] = ["e.g.", "e.g", "for example", "such as", "example:", "eg."];

/// The format of a string whose schema names none, and for a required one an example; None if
/// there is neither.
pub(super) fn note(schema: &Value, required: bool) -> Option<String> {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let start: String = description.chars().take(LOOKED_AT).collect();
    let text = visible(&start);
    if let Some(notation) = notation(&text) {
        return Some(notation.to_owned());
    }
    let format = named(&text);
    // What need not be given need not be explained at length.
    let example = required.then(|| given(schema).or_else(|| described(&text))).flatten();
    let example = example.map(|example| format!("e.g. {example}"));
    match (format, example) {
        (None, None) => None,
        (format, example) => {
            let parts: Vec<String> = format.map(str::to_owned).into_iter().chain(example).collect();
            Some(parts.join(", "))
        }
    }
}

/// `HH:MM`, `YYYY-MM-DD`.
fn notation(text: &str) -> Option<&str> {
    let is_field = |part: &str| FIELDS.contains(&part);
    let is_mark = |c: char| matches!(c, '-' | ':' | '/' | '.');
    words(text).find(|word| {
        word.len() <= LONGEST_EXAMPLE
            && word.split(is_mark).count() > 1
            && word.split(is_mark).all(is_field)
    })
}

/// Words without the quotes, brackets and marks around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let apart = |c: char| c.is_whitespace() || "()[]{}<>'\"`,;“”‘’".contains(c);
    text.split(apart).map(|word| word.trim_matches(['.', ':', '!', '?'])).filter(|w| !w.is_empty())
}

fn named(text: &str) -> Option<&'static str> {
    let text = text.to_lowercase();
    NAMED.iter().find(|(said, _)| text.contains(said)).map(|(_, shown)| *shown)
}

/// The first of the schema's own examples.
fn given(schema: &Value) -> Option<&str> {
    let first = schema.get("examples").and_then(|all| all.get(0));
    let example = first.or_else(|| schema.get("example"))?.as_str()?;
    is_telling(example).then_some(example)
}

/// The first example in a description.
fn described(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let behind =
        INTRODUCTIONS.iter().filter_map(|said| Some(lower.find(said)? + said.len())).min()?;
    let example = words(text.get(behind..)?).next()?;
    is_telling(example).then_some(example)
}

/// Whether an example shows more than a word would: `America/New_York`, not `weather`.
fn is_telling(example: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_/:.+@#*$%=~".contains(c);
    example.len() <= LONGEST_EXAMPLE
        && example.chars().all(plain)
        && example.chars().any(|c| !c.is_ascii_alphabetic())
        && example.chars().any(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::note;

    #[track_caller]
    fn check(description: &str, expected: Option<&str>) {
        assert_eq!(note(&json!({"description": description}), true).as_deref(), expected);
    }

    #[test]
    fn formats_and_examples_are_found_in_descriptions() {
        check("Time to convert in 24-hour format (HH:MM)", Some("HH:MM"));
        check("Start date, YYYY-MM-DD. Inclusive.", Some("YYYY-MM-DD"));
        check("When (YYYY-MM-DDTHH:MM:SSZ)", Some("YYYY-MM-DDTHH:MM:SSZ"));
        check(
            "Source IANA timezone name (e.g., 'America/New_York', 'Europe/London').",
            Some("IANA timezone, e.g. America/New_York"),
        );
        check("ISO 8601 timestamp", Some("ISO 8601"));
        check("The owner and name, for example `rust-lang/rust`", Some("e.g. rust-lang/rust"));
        check("Base64-encoded image", Some("base64"));
    }

    #[test]
    fn free_text_has_no_note() {
        for free in [
            "",
            "The text to write",
            "What to search for, e.g. weather",
            "Either M or D",
            "e.g.",
            "such as",
            "Input/output of the tool",
            "e.g. \u{202e}x",
            "for example, long words",
        ] {
            check(free, None);
        }
        check(&format!("e.g. {}", "a-".repeat(100)), None);
        check(&format!("{} e.g. a-b", "x ".repeat(1_000)), None);
    }

    #[test]
    fn examples_are_for_required_parameters() {
        let schema = json!({"description": "An ISO 8601 date", "examples": ["2024-01-31"]});
        assert_eq!(note(&schema, true).unwrap(), "ISO 8601, e.g. 2024-01-31");
        assert_eq!(note(&schema, false).unwrap(), "ISO 8601");
        for odd in [
            json!({"examples": 5}),
            json!({"examples": [5]}),
            json!({"example": "a b"}),
            Value::Null,
        ] {
            assert_eq!(note(&odd, true), None);
        }
    }
}
