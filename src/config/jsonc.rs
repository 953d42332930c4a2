//! JSON as people write it: with comments (`//` and `/* */`) and trailing commas.
//!
//! Messages never quote the file, where a secret could be; only a key that is there twice is named.

use std::{iter::Peekable, str::Chars};

use super::document::{Node, Property, Value};

/// Deeper nesting is no settings.
const DEEPEST: usize = 64;

/// Line and column, from 1.
type Position = (u64, u64);

/// A fault, and where it is.
pub(super) type Bad = (Position, String);

/// Whether a text begins as JSON does, or with one of its comments. An empty one does.
pub(super) fn is_json(text: &str) -> bool {
    let first = text.trim_start_matches('\u{feff}').trim_start().chars().next();
    first.is_none_or(|first| ['{', '[', '/'].contains(&first))
}

/// Reads a document; an empty one is null.
///
/// # Errors
/// The first fault.
pub(super) fn parse(text: &str) -> Result<Node, Bad> {
    let mut parser = JsoncParser {
        chars: text.trim_start_matches('\u{feff}').chars().peekable(),
        position: (1, 1),
        depth: 0,
    };
    parser.skip()?;
    if parser.peek().is_none() {
        return Ok(Node { value: Value::Null, position: parser.position });
    }
    let node = parser.node()?;
    parser.skip()?;
    match parser.peek() {
        None => Ok(node),
        Some('}' | ']') => parser.bad("this bracket closes nothing"),
        Some(_) => parser.bad("the file must end after its first value"),
    }
}

struct JsoncParser<'t> {
    chars: Peekable<Chars<'t>>,
    /// Of the next character.
    position: Position,
    depth: usize,
}

impl JsoncParser<'_> {
    fn bad<T>(&self, message: &str) -> Result<T, Bad> {
        Err((self.position, message.to_owned()))
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        let (line, column) = self.position;
        self.position = if next == '\n' { (line + 1, 1) } else { (line, column + 1) };
        Some(next)
    }

    /// Takes the next character if it is this one.
    fn takes(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.next();
        }
        found
    }

    /// Skips white space and comments.
    fn skip(&mut self) -> Result<(), Bad> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => {
                    self.next();
                }
                Some('/') => self.comment()?,
                Some('#') => return self.bad("comments begin with `//` in JSON"),
                _ => return Ok(()),
            }
        }
    }

    fn comment(&mut self) -> Result<(), Bad> {
        let begin = self.position;
        self.next();
        match self.next() {
            Some('/') => {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.next();
                }
                Ok(())
            }
            Some('*') => loop {
                match self.next() {
                    Some('*') if self.takes('/') => return Ok(()),
                    Some(_) => {}
                    None => return Err((begin, "this comment has no `*/` at its end".into())),
                }
            },
            _ => Err((begin, "comments are `// …` or `/* … */`".into())),
        }
    }

    fn node(&mut self) -> Result<Node, Bad> {
        let position = self.position;
        let value = match self.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::list)?,
            Some('"') => Value::Text(self.text()?),
            Some('-' | '0'..='9') => self.number()?,
            Some(_) => self.word()?,
            None => return self.bad("a value is missing at the end of the file"),
        };
        Ok(Node { value, position })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, Bad>) -> Result<Value, Bad> {
        if self.depth == DEEPEST {
            return self.bad("it is nested too deeply");
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Value, Bad> {
        let begin = self.position;
        self.next();
        let mut members: Vec<Property> = Vec::new();
        loop {
            self.skip()?;
            if self.takes('}') {
                return Ok(Value::Object(members));
            }
            let position = self.position;
            let key = match self.peek() {
                Some('"') => self.text()?,
                Some(',') => return self.bad("a key is missing before this comma"),
                Some(_) => return self.bad("a key in double quotes, or `}`, must stand here"),
                None => return Err(unclosed(begin, '}')),
            };
            if members.iter().any(|member| member.key == key) {
                return Err((position, format!("the key `{key}` is there twice")));
            }
            self.skip()?;
            if !self.takes(':') {
                return self.bad("`:` must stand here, between a key and its value");
            }
            self.skip()?;
            let node = self.node()?;
            members.push(Property { key, position, node });
            self.comma('}', begin)?;
        }
    }

    fn list(&mut self) -> Result<Value, Bad> {
        let begin = self.position;
        self.next();
        let mut items = Vec::new();
        loop {
            self.skip()?;
            if self.takes(']') {
                return Ok(Value::List(items));
            }
            if self.peek().is_none() {
                return Err(unclosed(begin, ']'));
            }
            items.push(self.node()?);
            self.comma(']', begin)?;
        }
    }

    /// Takes the comma after a value, which may be missing before the closing bracket.
    fn comma(&mut self, close: char, begin: Position) -> Result<(), Bad> {
        self.skip()?;
        match self.peek() {
            Some(',') => {
                self.next();
                Ok(())
            }
            Some(next) if next == close => Ok(()),
            Some(_) => Err((self.position, format!("`,` or `{close}` must stand here"))),
            None => Err(unclosed(begin, close)),
        }
    }

    fn text(&mut self) -> Result<String, Bad> {
        let begin = self.position;
        self.next();
        let mut text = String::new();
        loop {
            let position = self.position;
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape(position)?),
                Some('\n') | None => {
                    return Err((begin, "this text has no `\"` at its end".into()));
                }
                Some(c) => text.push(c),
            }
        }
    }

    /// What follows a backslash, which stands at `begin`.
    fn escape(&mut self, begin: Position) -> Result<char, Bad> {
        let plain = match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => return self.unicode(begin),
            _ => return Err((begin, "a backslash in a text is written `\\\\`".into())),
        };
        Ok(plain)
    }

    fn unicode(&mut self, begin: Position) -> Result<char, Bad> {
        let bad = || (begin, "this escape stands for no character".to_owned());
        let first = self.hex().ok_or_else(bad)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or_else(bad);
        }
        let second = (self.takes('\\') && self.takes('u')).then(|| self.hex()).flatten();
        let second = second.filter(|code| (0xdc00..0xe000).contains(code)).ok_or_else(bad)?;
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or_else(bad)
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |code, _| {
            let digit = self.peek()?.to_digit(16)?;
            self.next();
            Some(code * 16 + digit)
        })
    }

    /// A number as it is written, so that nothing is rounded.
    fn number(&mut self) -> Result<Value, Bad> {
        let begin = self.position;
        let text = self.run(|c| c.is_ascii_alphanumeric() || ['+', '-', '.', '_'].contains(&c));
        let is_number = serde_json::from_str::<serde_json::Number>(&text).is_ok();
        match is_number {
            true => Ok(Value::Number(text)),
            false => Err((begin, "this is not a number; text stands in double quotes".into())),
        }
    }

    fn word(&mut self) -> Result<Value, Bad> {
        let begin = self.position;
        let word = self.run(|c| c.is_alphanumeric() || c == '_' || c == '-');
        let message = match word.as_str() {
            "true" => return Ok(Value::Flag(true)),
            "false" => return Ok(Value::Flag(false)),
            "null" => return Ok(Value::Null),
            "True" | "TRUE" => "write `true`",
            "False" | "FALSE" => "write `false`",
            "None" | "undefined" | "nil" | "NULL" | "Null" => "write `null`",
            _ => match self.peek() {
                Some(',' | ':' | '}' | ']') if word.is_empty() => "a value is missing here",
                _ => "a value must stand here; text stands in double quotes",
            },
        };
        Err((begin, message.to_owned()))
    }

    fn run(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut text = String::new();
        while let Some(next) = self.peek().filter(|c| belongs(*c)) {
            text.push(next);
            self.next();
        }
        text
    }
}

fn unclosed(begin: Position, close: char) -> Bad {
    (begin, format!("this bracket has no `{close}`"))
}

#[cfg(test)]
mod tests {
    use super::{Node, Value, is_json, parse};

    /// The value as JSON again.
    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => number.clone(),
            Value::Text(text) => format!("{text:?}"),
            Value::List(items) => {
                format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(","))
            }
            Value::Object(members) => {
                let each = members.iter().map(|m| format!("{:?}:{}", m.key, shown(&m.node)));
                format!("{{{}}}", each.collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn json_with_comments_and_trailing_commas_is_read() {
        for (text, expected) in [
            ("", "null"),
            ("// nothing\n", "null"),
            ("\u{feff}{}", "{}"),
            ("{\n\t// one\n\t\"a\": [1, /* two */ 2,],\n}\n// end", r#"{"a":[1,2]}"#),
            (
                r#"{"url": "http://a//b", "c": "/* no */"}"#,
                r#"{"url":"http://a//b","c":"/* no */"}"#,
            ),
            (r#"["\ud83d\ude00\u0041\/\n"]"#, "[\"😀A/\\n\"]"),
            (
                "[-1.5e3, 99999999999999999999, true, false, null]",
                "[-1.5e3,99999999999999999999,true,false,null]",
            ),
            ("[/**/]", "[]"),
            ("/* * / **/ []", "[]"),
        ] {
            let found = parse(text).unwrap_or_else(|bad| panic!("{text}: {bad:?}"));
            assert_eq!(shown(&found), expected, "{text}");
        }
    }

    #[test]
    fn faults_are_told_where_they_stand() {
        for (text, position, says) in [
            ("{\"a\": 1\n \"b\": 2}", (2, 2), "`,` or `}` must stand here"),
            ("{\"a\" 1}", (1, 6), "`:` must stand here"),
            ("{\"a\": [1, 2}", (1, 12), "`,` or `]` must stand here"),
            ("{\n\"a\": {", (2, 6), "this bracket has no `}`"),
            ("[1, ", (1, 1), "this bracket has no `]`"),
            ("{'a': 1}", (1, 2), "a key in double quotes"),
            ("{,}", (1, 2), "a key is missing"),
            ("[1,,2]", (1, 4), "a value is missing"),
            ("{\"a\": }", (1, 7), "a value is missing"),
            ("{\"a\": 'x'}", (1, 7), "text stands in double quotes"),
            ("[True]", (1, 2), "write `true`"),
            ("[1.]", (1, 2), "not a number"),
            ("[01]", (1, 2), "not a number"),
            ("[\"a\nb\"]", (1, 2), "has no `\"`"),
            (r#"["C:\dir"]"#, (1, 5), "a backslash in a text is written"),
            (r#"["\ud83d"]"#, (1, 3), "stands for no character"),
            (r#"["\u12"]"#, (1, 3), "stands for no character"),
            ("{} {}", (1, 4), "must end after its first value"),
            ("{}}", (1, 3), "closes nothing"),
            ("{\"a\": 1,\n\"a\": 2}", (2, 1), "the key `a` is there twice"),
            ("/* x", (1, 1), "no `*/`"),
            ("[\n# x\n]", (2, 1), "comments begin with `//`"),
            ("[/ 1]", (1, 2), "comments are"),
        ] {
            let (found, message) = parse(text).map(|node| shown(&node)).unwrap_err();
            assert_eq!(found, position, "{text}: {message}");
            assert!(message.contains(says), "{text}: {message}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).unwrap_err().1.contains("nested too deeply"));
    }

    #[test]
    fn json_is_told_from_yaml_by_how_it_begins() {
        for (text, expected) in [
            ("{}", true),
            (" \n[", true),
            ("// x", true),
            ("", true),
            ("a: 1", false),
            ("# x", false),
        ] {
            assert_eq!(is_json(text), expected, "{text}");
        }
    }
}
