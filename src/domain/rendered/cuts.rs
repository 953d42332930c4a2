//! Where every tokenizer cuts an item, so that the tokens of its parts add up.

use super::Shape;

/// Returns the tokens of an object behind its description, by what follows.
pub(super) fn counted_tail(tail: &str, number: &impl Fn(&str) -> u32) -> [u32; 3] {
    let (start, middle, end) = parts(tail);
    let (counted, end) = match end {
        "" => (0, start),
        end => (number(start).saturating_add(number(middle)), end),
    };
    Shape::ALL.map(|shape| counted.saturating_add(number(&format!("{end}{}", shape.separator()))))
}

/// Whether a name can stand in a line of names, and tokenizers cut before and behind it.
pub(super) fn is_mentionable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte);
    name.bytes().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

/// An item in three parts whose tokens add up, so that what changes at either end is counted without
/// the middle. Where there is no certain cut, everything is the start.
pub(super) fn parts(item: &str) -> (&str, &str, &str) {
    let first = cuts(item).next().unwrap_or(item.len());
    let last = cuts(item).next_back().unwrap_or(item.len());
    let (start, rest) = item.split_at(first);
    let (middle, end) = rest.split_at(last - first);
    (start, middle, end)
}

/// Where every tokenizer here cuts: before a letter that two or more marks precede.
fn cuts(text: &str) -> impl DoubleEndedIterator<Item = usize> {
    let is_mark = |byte: u8| byte.is_ascii_punctuation();
    text.as_bytes().windows(3).enumerate().filter_map(move |(at, window)| match *window {
        [a, b, c] if is_mark(a) && is_mark(b) && c.is_ascii_alphabetic() => Some(at + 2),
        _ => None,
    })
}
