//! Arguments that were checked, and what records say of JSON that they do not hold: its length and its
//! digest.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        catalog::{Checked, Tool},
        digest,
        json::{NoTree, RawJson},
    },
    host::blocking,
};

/// Longer texts are worked on by a thread of their own; in bytes.
pub(super) const LARGE: usize = 64 * 1024;

/// Arguments that satisfy their tool's schema, or that cannot be checked against it.
pub(super) struct CheckedArguments {
    text: RawJson,
    /// Of what they say, however it is written; where they have more values than are held, of their
    /// text.
    digest: [u8; 32],
    bytes: u64,
}

impl CheckedArguments {
    /// Checks arguments whose values are these.
    ///
    /// # Errors
    /// Where they do not fit.
    pub(super) fn check(
        tool: &Tool,
        text: RawJson,
        values: Result<Value, NoTree>,
    ) -> Result<(Self, Checked), String> {
        let checked = match &values {
            Ok(values) => tool.check(values)?,
            Err(cause @ NoTree::TooManyValues(_)) => {
                Checked::Unchecked(format!("they have {cause}"))
            }
            Err(cause @ NoTree::ReservedName) => return Err(format!("`args` has {cause}")),
        };
        let (digest, bytes) = match values {
            Ok(Value::Object(members)) => (digest::of_members(&members), text.compact_length()),
            _ => {
                let Text { hash, bytes } = Text::of(&text);
                (hash.finalize().into(), bytes)
            }
        };
        Ok((Self { text, digest, bytes }, checked))
    }

    pub(super) fn text(&self) -> &RawJson {
        &self.text
    }

    pub(super) fn into_text(self) -> RawJson {
        self.text
    }

    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Their length without spaces.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
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
