//! Characters that a person would not see, or that reorder what is seen, can carry instructions past
//! a reader.

use std::borrow::Cow;

/// `text` without control, invisible and bidirectional characters; line ends and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    match text.chars().any(is_hidden) {
        true => Cow::Owned(text.chars().filter(|&c| !is_hidden(c)).collect()),
        false => Cow::Borrowed(text),
    }
}

/// JSON text with hidden characters written as escapes: the same text, shown. Names of parameters and
/// values of enums must be given back exactly, so nothing can be taken out of them.
pub fn revealed(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_hidden) {
        return Cow::Borrowed(json);
    }
    let mut units = [0; 2];
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match is_hidden(c) {
            true => c
                .encode_utf16(&mut units)
                .iter()
                .for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Whether a tool's name shows itself as it is: not too long, and nothing hidden in it. A name must
/// be given back exactly, so one that is not plain cannot be mended, only left out.
pub fn is_plain_name(name: &str) -> bool {
    const LONGEST: usize = 256;
    !name.is_empty()
        && name.len() <= LONGEST
        && !name.chars().any(|c| is_hidden(c) || c.is_whitespace() && c != ' ')
        && name.trim() == name
}

fn is_hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
        || is_no_character(c)
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Code points that mean nothing to anyone, or something else to everyone: noncharacters, and those
/// for private use.
fn is_no_character(c: char) -> bool {
    let code = u32::from(c);
    code & 0xfffe == 0xfffe
        || matches!(
            c,
            '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{f0000}'..='\u{10ffff}'
        )
}

#[cfg(test)]
mod tests {
    use super::{is_plain_name, revealed, visible};

    #[test]
    fn what_is_no_character_is_taken_out() {
        let hidden = [
            '\u{fe00}',
            '\u{fe0f}',
            '\u{e000}',
            '\u{f8ff}',
            '\u{fdd0}',
            '\u{fdef}',
            '\u{fffe}',
            '\u{ffff}',
            '\u{1fffe}',
            '\u{efffe}',
            '\u{f0000}',
            '\u{10fffd}',
            '\u{10ffff}',
            '\u{2800}',
        ];
        for c in hidden {
            assert_eq!(visible(&format!("a{c}b")), "ab", "{:x}", u32::from(c));
            assert!(!is_plain_name(&format!("a{c}b")));
        }
        // Their neighbours are characters.
        let shown = "\u{fdcf}\u{fdf0}\u{fe10}\u{fffd}\u{f900}\u{10000}\u{27ff}\u{2801}\u{d7ff}";
        assert_eq!(visible(shown), shown);
    }

    #[test]
    fn hidden_characters_are_taken_out() {
        assert_eq!(visible("a\u{202e}b\u{200b}c\u{e0041}d\u{7}\n\te"), "abcd\n\te");
        assert_eq!(visible("schön — 你好 🎯"), "schön — 你好 🎯");
    }

    #[test]
    fn what_cannot_be_taken_out_is_shown() {
        let json = "{\"a\u{202e}\":\"b\u{e0041}\"}";
        assert_eq!(revealed(json), r#"{"a\u202e":"b\udb40\udc41"}"#);
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(&revealed(json)), parsed(json));
    }

    #[test]
    fn names_with_hidden_characters_are_not_plain() {
        for name in ["get_user", "API-get-user", "a/b.c", "mit Leerzeichen", "größe"] {
            assert!(is_plain_name(name), "{name}");
        }
        for name in ["", " a", "a\n", "a\u{200b}b", "a\u{202e}b", &"x".repeat(300)] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
