//! How many tokens a text costs an agent.
//!
//! The tables (46 MB for o200k) load on first use. Callers on an async runtime count on a blocking
//! thread.

use serde::Serialize;
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use super::words::words;

/// The tokenizer panics on a run of a million spaces; it is fed at most this much at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A vocabulary. Claude's and Gemini's are not public; ratios hold across all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub enum Encoding {
    /// GPT-4o and later.
    #[default]
    O200k,
    /// GPT-4.
    Cl100k,
}

words!(Encoding { O200k = "o200k_base", Cl100k = "cl100k_base" });

impl Encoding {
    /// The number of tokens in `text`; exact up to 64 KiB, and within one token per further 64 KiB
    /// beyond that.
    pub fn count(self, text: &str) -> usize {
        let tables = self.tables();
        chunks(text).map(|chunk| tables.encode_ordinary(chunk).len()).sum()
    }

    fn tables(self) -> &'static CoreBPE {
        match self {
            Self::O200k => o200k_base_singleton(),
            Self::Cl100k => cl100k_base_singleton(),
        }
    }
}

/// Counts with o200k_base.
pub fn count(text: &str) -> usize {
    Encoding::O200k.count(text)
}

fn chunks(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let end = (0..=CHUNK_BYTES.min(text.len())).rev().find(|&i| text.is_char_boundary(i))?;
        let (chunk, rest) = text.split_at_checked(end).filter(|(chunk, _)| !chunk.is_empty())?;
        text = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::{Encoding, count};

    #[test]
    fn hostile_text_is_counted_without_a_panic() {
        for encoding in [Encoding::O200k, Encoding::Cl100k] {
            assert_eq!(encoding.count(""), 0);
            assert_eq!(encoding.count("hello world"), 2);
            assert!(encoding.count(&" ".repeat(1_000_000)) > 0);
            assert!(encoding.count(&"é".repeat(70_000)) > 0);
        }
        assert!(count("\u{0}\u{202e}\n\r\t") > 0);
    }
}
