//! How many tokens a text costs an agent, by the o200k_base encoding.
//!
//! The tables (46 MB) load on first use. Callers on an async runtime count on a blocking thread.

use tiktoken_rs::o200k_base_singleton;

/// The tokenizer panics on a run of a million spaces; it is fed at most this much at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// The number of o200k_base tokens in `text`; exact up to 64 KiB, and within one token per further
/// 64 KiB beyond that.
pub fn count(text: &str) -> usize {
    let encoding = o200k_base_singleton();
    chunks(text).map(|chunk| encoding.encode_ordinary(chunk).len()).sum()
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
    use super::count;

    #[test]
    fn hostile_text_is_counted_without_a_panic() {
        assert_eq!(count(""), 0);
        assert_eq!(count("hello world"), 2);
        assert!(count(&" ".repeat(1_000_000)) > 0);
        assert!(count(&"é".repeat(70_000)) > 0);
    }
}
