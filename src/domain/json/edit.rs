//! Objects with some of their members changed, without a copy of the others.

use bytes::Bytes;
use serde_json::Value;

use super::raw::RawJson;

/// What happens to a member.
#[derive(Debug)]
pub enum Change {
    /// It stays as it is.
    Keep,
    /// It is taken out.
    Remove,
    /// It gets this value, in pieces of text.
    Replace(Vec<Bytes>),
}

impl RawJson {
    /// An object with these members.
    pub fn object(members: &[(&str, Self)]) -> Self {
        let empty = Self(Bytes::from_static(b"{}"));
        Self(empty.changed(|_, _| Change::Keep, members).concat().into())
    }

    /// The object with its members changed and others added at its end, in pieces of text; of any
    /// other value its text.
    pub fn changed(
        &self,
        mut change: impl FnMut(&str, &RawJson) -> Change,
        added: &[(&str, RawJson)],
    ) -> Vec<Bytes> {
        if !self.is_object() {
            return vec![self.bytes().clone()];
        }
        let mut pieces = Pieces { of: self, out: Vec::new(), copied: 0 };
        // The end of the last member that stays, and where those begin that are taken out after it.
        let (mut kept, mut gap) = (None, None);
        for member in self.members() {
            match change(&member.name, &member.value) {
                Change::Remove => {
                    gap.get_or_insert(member.start);
                    continue;
                }
                Change::Keep => pieces.skip(gap.take(), member.start),
                Change::Replace(value) => {
                    pieces.skip(gap.take(), member.start);
                    pieces.copy_to(member.end - member.value.length());
                    pieces.out.extend(value);
                    pieces.copied = member.end;
                }
            }
            kept = Some(member.end);
        }
        pieces.copy_to(kept.unwrap_or(1));
        let mut comma = if kept.is_some() { "," } else { "" };
        for (name, value) in added {
            let name = format!("{comma}{}:", Value::from(*name));
            pieces.out.extend([name.into(), value.bytes().clone()]);
            comma = ",";
        }
        pieces.out.push(Bytes::from_static(b"}"));
        pieces.out
    }
}

/// Text that is put together of pieces.
struct Pieces<'a> {
    of: &'a RawJson,
    out: Vec<Bytes>,
    /// How far the object's own text has been taken over.
    copied: usize,
}

impl Pieces<'_> {
    /// Leaves out what is between a gap and the next member that stays.
    fn skip(&mut self, gap: Option<usize>, next: usize) {
        if let Some(gap) = gap {
            self.copy_to(gap);
            self.copied = next;
        }
    }

    fn copy_to(&mut self, end: usize) {
        if end > self.copied {
            self.out.push(self.of.bytes().slice(self.copied..end));
        }
        self.copied = end;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Change, RawJson};

    fn changed(text: &str, added: &[&str]) -> String {
        let object = RawJson::parse_str(text).unwrap();
        let added: Vec<_> = added.iter().map(|name| (*name, Value::from(1).into())).collect();
        let pieces = object.changed(
            |name, _| match name {
                "x" => Change::Remove,
                "r" => Change::Replace(vec!["[".into(), "]".into()]),
                _ => Change::Keep,
            },
            &added,
        );
        String::from_utf8(pieces.concat()).unwrap()
    }

    #[test]
    fn members_are_removed_replaced_and_added() {
        for (text, expected) in [
            ("{}", r#"{"n":1,"\"m":1}"#),
            ("{ }", r#"{"n":1,"\"m":1}"#),
            ("[1]", "[1]"),
            (r#"{"x":1}"#, r#"{"n":1,"\"m":1}"#),
            (r#"{"x":1, "x":2}"#, r#"{"n":1,"\"m":1}"#),
            (r#"{"x":1, "a" : 2 }"#, r#"{"a" : 2,"n":1,"\"m":1}"#),
            (r#"{"a":1,"x":[2] ,"x":3}"#, r#"{"a":1,"n":1,"\"m":1}"#),
            (r#"{"a":1,"x":{},"x":3,"b":2,"x":0}"#, r#"{"a":1,"b":2,"n":1,"\"m":1}"#),
            (r#"{"r": {"x":1},"x":0,"r":2,"c":"}"}"#, r#"{"r": [],"r":[],"c":"}","n":1,"\"m":1}"#),
        ] {
            assert_eq!(changed(text, &["n", "\"m"]), expected, "{text}");
        }
        assert_eq!(changed(r#"{"a":1,"x":2}"#, &[]), r#"{"a":1}"#);
        assert_eq!(changed(r#"{"x":2}"#, &[]), "{}");
    }
}
