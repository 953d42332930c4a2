//! What records say of JSON that they do not hold: its length and its digest.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    domain::{digest, json::RawJson},
    host::blocking,
};

/// Longer texts are worked on by a thread of their own; in bytes.
pub(super) const LARGE: usize = 64 * 1024;

/// What records say of arguments.
pub(super) struct Fingerprint {
    /// Of what they say, however it is written; where they have more values than are held, of their
    /// text.
    pub(super) digest: [u8; 32],
    pub(super) bytes: u64,
}

impl Fingerprint {
    /// The fingerprint of arguments whose values are these, if they were read.
    pub(super) fn of(arguments: &RawJson, values: Option<&Value>) -> Self {
        let Some(Value::Object(members)) = values else {
            let text = Text::of(arguments);
            return Self { digest: text.hash.finalize().into(), bytes: text.bytes };
        };
        let mut bytes = 0;
        arguments.write_compact(|piece| bytes += piece.len() as u64);
        Self { digest: digest::of_members(members), bytes }
    }
}

/// Runs something that takes as long as its text is long, on a thread of its own if that is worth it.
pub(super) async fn off_worker<T: Send + 'static>(
    text: &RawJson,
    run: impl FnOnce(&RawJson) -> T + Send + 'static,
) -> T {
    if text.length() <= LARGE {
        return run(text);
    }
    let text = text.clone();
    blocking(move || run(&text)).await
}

/// A JSON text that is counted and hashed as it is written, and kept nowhere.
pub(super) struct Text {
    pub(super) bytes: u64,
    pub(super) hash: Sha256,
}

impl Text {
    pub(super) fn of(json: &RawJson) -> Self {
        let mut text = Self { bytes: 0, hash: Sha256::new() };
        json.write_compact(|piece| {
            text.bytes += piece.len() as u64;
            text.hash.update(piece);
        });
        text
    }
}
