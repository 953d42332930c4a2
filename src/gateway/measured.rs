//! What records say of JSON that they do not hold: its length and its digest.

use sha2::{Digest, Sha256};

/// The length of a JSON text that is kept nowhere.
pub(super) struct Length(pub(super) u64);

impl Length {
    pub(super) fn of(value: &impl serde::Serialize) -> Self {
        let mut length = Self(0);
        // Writing to it does not fail.
        let _ = serde_json::to_writer(&mut length, value);
        length
    }
}

impl std::io::Write for Length {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0 += text.len() as u64;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A JSON text that is counted and hashed as it is written, and kept nowhere.
pub(super) struct Text {
    pub(super) bytes: u64,
    pub(super) hash: Sha256,
}

impl Text {
    pub(super) fn of(value: &impl serde::Serialize) -> Self {
        let mut text = Self { bytes: 0, hash: Sha256::new() };
        // Writing to it does not fail.
        let _ = serde_json::to_writer(&mut text, value);
        text
    }
}

impl std::io::Write for Text {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.bytes += text.len() as u64;
        self.hash.update(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
