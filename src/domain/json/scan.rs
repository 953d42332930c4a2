//! Where strings, values and members end in text that is known to be JSON; linear, and without
//! memory of its own.

use std::borrow::Cow;

use serde_json::Value;

/// What the JSON library puts before names that it gives a meaning of its own.
const RESERVED: &str = "$serde_json::private::";

/// A name without quotes and escapes.
pub(super) fn name(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if quoted.contains(&b'\\') {
        return serde_json::from_slice(quoted).ok().map(Cow::Owned);
    }
    let name = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    std::str::from_utf8(name).ok().map(Cow::Borrowed)
}

/// What a tree of the values would be like.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) values: usize,
    pub(super) depth: usize,
    /// Whether a member has a name that the JSON library would not read as one.
    pub(super) reserved: bool,
}

pub(super) fn survey(text: &[u8]) -> Survey {
    let mut found = Survey::default();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let end = string_end(text, at);
                match text.get(skip_space(text, end)) {
                    Some(b':') => {
                        found.reserved |= is_reserved(text.get(at..end).unwrap_or_default());
                    }
                    _ => found.values += 1,
                }
                at = end;
                continue;
            }
            b'{' | b'[' => {
                found.values += 1;
                depth += 1;
                found.depth = found.depth.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => {}
            _ => {
                found.values += 1;
                at = scalar_end(text, at);
                continue;
            }
        }
        at += 1;
    }
    found
}

fn is_reserved(quoted: &[u8]) -> bool {
    /// Longer than any such name, with every character escaped.
    const LONGEST: usize = 256;
    matches!(quoted.get(1), Some(b'$' | b'\\'))
        && quoted.len() <= LONGEST
        && name(quoted).is_some_and(|name| name.starts_with(RESERVED))
}

pub(super) fn compact(text: &[u8], mut write: impl FnMut(&[u8])) {
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let end = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => {
                at += 1;
                continue;
            }
            b'"' => string_end(text, at),
            b'{' | b'}' | b'[' | b']' | b',' | b':' => at + 1,
            _ => scalar_end(text, at),
        };
        let token = text.get(at..end).unwrap_or_default();
        match name(token).filter(|_| byte == b'"' && token.contains(&b'\\')) {
            Some(meant) => write(Value::from(meant).to_string().as_bytes()),
            None => write(token),
        }
        at = end;
    }
}

/// The end of the value that begins here.
pub(super) fn value_end(text: &[u8], from: usize) -> usize {
    match text.get(from) {
        Some(b'"') => string_end(text, from),
        Some(b'{' | b'[') => nested_end(text, from),
        _ => scalar_end(text, from),
    }
}

fn nested_end(text: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The end of the string whose quote is here.
pub(super) fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while let Some(found) =
        text.get(at..).and_then(|rest| rest.iter().position(|b| matches!(b, b'"' | b'\\')))
    {
        at += found;
        if text.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The end of a number, or of a word.
fn scalar_end(text: &[u8], from: usize) -> usize {
    let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b':' | b' ' | b'\t' | b'\n' | b'\r');
    let rest = text.get(from..).unwrap_or_default();
    rest.iter().position(ends).map_or(text.len(), |length| from + length)
}

pub(super) fn skip_space(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|b| b.is_ascii_whitespace()).count()
}
