//! Text of servers and agents, as a terminal may be given it.

use std::{borrow::Cow, iter::Peekable, str::Chars};

use super::visible;

/// `text` without what would act on a terminal: escape sequences as a whole, control characters but
/// line feeds and tabs, and what [`visible`] takes out.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return visible(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => skip_string(&mut chars),
            '\r' => {}
            c => out.push(c),
        }
    }
    Cow::Owned(visible(&out).into_owned())
}

/// Skips what belongs to an ESC.
fn skip_sequence(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some('P' | 'X' | ']' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        Some(' '..='/') => {
            while chars.next_if(|c| matches!(c, ' '..='/')).is_some() {}
            chars.next_if(|c| matches!(c, '0'..='~'));
        }
        _ => drop(chars.next_if(|c| matches!(c, '0'..='~'))),
    }
}

/// Skips parameters and the letter that ends them.
fn skip_control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
    chars.next_if(|c| matches!(c, '@'..='~'));
}

/// Skips a string, such as a window title, to its end: a bell or a terminator. One without an end is
/// over with its line.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| *c != '\n') {
        if matches!(c, '\u{7}' | '\u{9c}') {
            return;
        }
        if c == '\u{1b}' {
            chars.next_if_eq(&'\\');
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_of_a_text_acts_on_a_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(plain(text), expected, "{text:?}");
        check("schön\tsö\n你好", "schön\tsö\n你好");
        check("a\u{1b}[31;1mred\u{1b}[0m", "ared");
        check("\u{1b}]0;title\u{7}a\u{1b}]8;;http://x\u{1b}\\b", "ab");
        check("a\u{9b}2Jb\u{9d}title\u{9c}c", "abc");
        check("a\u{1b}(Bb\u{1b}cc\u{1b}", "abc");
        check("safe\rspoof\u{8}\u{0}\u{7f}\u{85}", "safespoof");
        check("a\u{202e}b\u{2066}c\u{200e}", "abc");
        check("\u{1b}]0;no end\nnext", "\nnext");
        check("\u{1b}[1\u{1b}[2Jx", "x");
    }
}
