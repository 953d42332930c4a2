//! A tool at each level of detail. What is shown is data from a server: nothing in it is trusted,
//! invisible characters are taken out, and its size is bounded.
//!
//! - [`signature`]: `name(required: type, optional?: type = default) — read: First sentence.`
//! - [`price_tag`]: ` — 5 credits`, behind the signature of a tool that has a price of its own.
//! - [`summary`]: `name — First sentence, at most 80 characters.`
//! - [`full`]: `{"name","description","inputSchema"}`, the schema minified without loss of meaning.

mod bounds;
mod minify;
mod note;
mod plain;
mod sentence;
mod signature;
mod tag;
mod visible;

use serde_json::{Value, json};

pub use plain::plain;
pub use sentence::first_sentence;
pub use tag::{price_tag, price_tag_tokens};
pub use visible::{is_plain_name, revealed, visible};

/// Characters of a description in a signature line.
const SIGNATURE_SENTENCE: usize = 160;

/// Characters of a description in a summary line.
const SUMMARY_SENTENCE: usize = 80;

/// The version of everything that is rendered here; counts of another version are void.
pub const VERSION: u32 = 7;

/// The parameters alone: `name(a: string, b?: integer = 5)`.
pub fn parameters(name: &str, schema: &Value) -> String {
    signature::of(name, schema)
}

/// The line by which a tool can be called. `effect` says in one word what the tool does, if its
/// server does.
pub fn signature(name: &str, effect: Option<&str>, description: &str, schema: &Value) -> String {
    let line = signature::of(name, schema);
    let sentence = first_sentence(description, SIGNATURE_SENTENCE);
    match (effect, sentence.as_str()) {
        (None, "") => line,
        (None, sentence) => format!("{line} — {sentence}"),
        (Some(effect), "") => format!("{line} — {effect}"),
        (Some(effect), sentence) => format!("{line} — {effect}: {sentence}"),
    }
}

/// The line by which a tool can be chosen.
pub fn summary(name: &str, description: &str) -> String {
    match first_sentence(description, SUMMARY_SENTENCE).as_str() {
        "" => name.to_owned(),
        sentence => format!("{name} — {sentence}"),
    }
}

/// The object that programs expect.
pub fn full(name: &str, description: &str, schema: &Value) -> Value {
    json!({
        "name": name,
        "description": minify::prose(description),
        "inputSchema": minify::schema(schema),
    })
}
