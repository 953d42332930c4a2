//! Well-formed JSON text, and the members of objects in it.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::{Value, value::RawValue};

use super::{mend, scan};

/// Values may be nested this deep; what is nested deeper is not read at all. A tree of values is
/// built by recursion.
const MOST_DEPTH: usize = 127;

/// The most values in a tree that is built for a message, for arguments or for a part of them.
pub const MOST_VALUES: usize = 32 * 1024;

/// JSON text: well-formed, in UTF-8, on one line, and nested no deeper than can be read.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(pub(super) Bytes);

/// Why text is not taken as JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is not JSON, or not in UTF-8.
    #[error("not valid JSON in UTF-8")]
    NotJson,
    /// It is nested deeper than is read.
    #[error("nested too deeply")]
    TooDeep,
}

/// Why no tree of values is built of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTree {
    /// It would be too large.
    #[error("more than {0} values")]
    TooManyValues(usize),
    /// An object has a member with a name that the JSON library gives a meaning of its own.
    #[error("a member whose name begins with `$serde_json::private::`")]
    ReservedName,
}

/// Bytes, and something that is dropped with them.
struct Guarded<T>(Bytes, T);

impl<T> AsRef<[u8]> for Guarded<T> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl RawJson {
    /// Takes text as JSON. Half of a surrogate pair, which some programs write when they cut a text
    /// within an emoji, is read as U+FFFD.
    ///
    /// # Errors
    /// Why it is not JSON, and the text.
    pub fn parse(mut text: Vec<u8>) -> Result<Self, (Malformed, Vec<u8>)> {
        mend::lone_surrogates(&mut text);
        match well_formed(&text) {
            Ok(()) => {
                // Within strings JSON has no line ends.
                text.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
                let start = text.len() - text.trim_ascii_start().len();
                let end = text.trim_ascii_end().len();
                Ok(Self(Bytes::from(text).slice(start..end)))
            }
            Err(malformed) => Err((malformed, text)),
        }
    }

    /// The JSON in a text, if there is some.
    pub fn parse_str(text: &str) -> Option<Self> {
        Self::parse(text.as_bytes().to_vec()).ok()
    }

    /// The same text; `guard` is dropped when no part of it is held any more.
    pub fn guarded_by<T: Send + Sync + 'static>(self, guard: T) -> Self {
        Self(Bytes::from_owner(Guarded(self.0, guard)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text, as bytes that share its memory.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The length of the text in bytes.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        &*self.0 == b"null"
    }

    /// The members of an object in their order; none of any other value.
    pub fn members(&self) -> Members<'_> {
        Members::of(self)
    }

    /// The value of a member; the last of that name counts, as in a tree.
    pub fn member(&self, name: &str) -> Option<Self> {
        self.members().filter(|member| member.name == name).last().map(|member| member.value)
    }

    /// The text of a string; None of any other value.
    pub fn string(&self) -> Option<String> {
        if self.0.first() == Some(&b'"') { serde_json::from_slice(&self.0).ok() } else { None }
    }

    /// Its values as a tree.
    ///
    /// # Errors
    /// More than `most` values, or a name that would not be read as a name.
    pub fn tree(&self, most: usize) -> Result<Value, NoTree> {
        let survey = scan::survey(&self.0);
        if survey.values > most {
            return Err(NoTree::TooManyValues(most));
        }
        if survey.reserved {
            return Err(NoTree::ReservedName);
        }
        Ok(serde_json::from_slice(&self.0).unwrap_or_default())
    }

    /// Gives its text piece by piece without spaces, and every string in the same way however it was
    /// escaped: as a tree of its values would be written.
    pub fn write_compact(&self, write: impl FnMut(&[u8])) {
        scan::compact(&self.0, write);
    }

    /// The length of what [`RawJson::write_compact`] writes.
    pub fn compact_length(&self) -> u64 {
        let mut length = 0;
        self.write_compact(|piece| length += piece.len() as u64);
        length
    }

    /// It as [`RawJson::write_compact`] writes it.
    pub fn compact(&self) -> String {
        let mut text = Vec::with_capacity(self.0.len());
        self.write_compact(|piece| text.extend_from_slice(piece));
        String::from_utf8(text).unwrap_or_default()
    }

    fn part(&self, start: usize, end: usize) -> Self {
        Self(self.0.slice(start..end))
    }
}

/// A part of settings, or something of our own: it is well-formed.
impl From<&Value> for RawJson {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl From<Value> for RawJson {
    fn from(value: Value) -> Self {
        Self::from(&value)
    }
}

impl Serialize for RawJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One member of an object.
#[derive(Debug)]
pub struct RawMember<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: RawJson,
    /// Where it begins in the object's text, with its name.
    pub start: usize,
    /// Where its value ends.
    pub end: usize,
}

/// The members of an object.
#[derive(Debug)]
pub struct Members<'a> {
    object: &'a RawJson,
    at: usize,
}

impl<'a> Members<'a> {
    fn of(object: &'a RawJson) -> Self {
        // Other values have no members.
        let at = if object.is_object() { 1 } else { object.length() };
        Self { object, at }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = RawMember<'a>;

    fn next(&mut self) -> Option<RawMember<'a>> {
        let text: &'a [u8] = self.object.bytes();
        let start = self.at + text.get(self.at..)?.iter().position(|&b| b == b'"')?;
        let end_of_name = scan::string_end(text, start);
        let name = scan::name(text.get(start..end_of_name)?)?;
        let colon = text.get(end_of_name..)?.iter().position(|&b| b == b':')?;
        let begin = scan::skip_space(text, end_of_name + colon + 1);
        let end = scan::value_end(text, begin);
        self.at = end;
        Some(RawMember { name, value: self.object.part(begin, end), start, end })
    }
}

fn well_formed(text: &[u8]) -> Result<(), Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed::NotJson)?;
    serde_json::from_str::<&RawValue>(text).map_err(|_| Malformed::NotJson)?;
    match scan::survey(text.as_bytes()).depth {
        0..=MOST_DEPTH => Ok(()),
        _ => Err(Malformed::TooDeep),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::{MOST_VALUES, Malformed, NoTree, RawJson};

    fn raw(text: &str) -> RawJson {
        RawJson::parse(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn members_are_found_wherever_they_stand() {
        let object =
            raw(" { \"a\\u0062\" : [1, {\"x\": \"}\\\"\"}] ,\"c\":{} , \"d\" : -1.50e3}\r\n");
        let members: Vec<(String, String)> =
            object.members().map(|m| (m.name.into_owned(), m.value.as_str().to_owned())).collect();
        let expected = [("ab", r#"[1, {"x": "}\""}]"#), ("c", "{}"), ("d", "-1.50e3")];
        assert_eq!(members, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(raw(r#"{"a":1,"a":2}"#).member("a"), Some(raw("2")));
        for none in ["{}", "[]", "\"{}\"", " { } ", "[{\"a\":1}]"] {
            assert_eq!(raw(none).members().count(), 0, "{none}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (text, expected) in [
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\uDE00x""#, "\u{fffd}x"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
            (r#""\ud83dA""#, "\u{fffd}A"),
            (r#""\\ud83d \ud83d\n""#, "\\ud83d \u{fffd}\n"),
            (r#""\uD83D\uDE00""#, "😀"),
            (r#""\ud83d\"""#, "\u{fffd}\""),
        ] {
            assert_eq!(raw(text).string().unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_json_or_too_deep_is_refused() {
        for text in ["", "{", "{\"a\":1,}", "1 2", "\"\n\"", "nul", "\"\\ud8\"", "\u{feff}1"] {
            let refused = RawJson::parse(text.as_bytes().to_vec()).unwrap_err();
            assert_eq!(refused.0, Malformed::NotJson, "{text}");
        }
        assert_eq!(RawJson::parse(vec![b'"', 0xff, b'"']).unwrap_err().0, Malformed::NotJson);
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(RawJson::parse(nested(127).into_bytes()).is_ok());
        let refused = RawJson::parse(nested(128).into_bytes()).unwrap_err();
        assert_eq!(refused.0, Malformed::TooDeep);
    }

    #[test]
    fn a_tree_has_at_most_so_many_values() {
        assert_eq!(raw("[0,[],\"x\",{\"a\":null}]").tree(6), Ok(json!([0, [], "x", {"a": null}])));
        assert_eq!(raw("[0,[],\"x\",{\"a\":null}]").tree(5), Err(NoTree::TooManyValues(5)));
    }

    #[test]
    fn names_that_the_json_library_reserves_are_not_unpacked() {
        for key in [
            "$serde_json::private::RawValue",
            "$serde_json::private::Number",
            "\\u0024serde_json::private::Number",
            "$\\u0073erde_json\\u003a:priv\\u0061te::RawValue",
        ] {
            let text = format!(r#"{{"a":[{{"{key}" : "[[1]]"}}]}}"#);
            assert_eq!(raw(&text).tree(MOST_VALUES), Err(NoTree::ReservedName), "{key}");
        }
        let value = raw(r#"{"$serde_json":"$serde_json::private::RawValue"}"#);
        assert!(value.tree(MOST_VALUES).is_ok());
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            "[\"\\\\{}\\[\\],: ]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
                prop::collection::vec((".{0,4}", inner), 0..5)
                    .prop_map(|members| Value::Object(Map::from_iter(members))),
            ]
        })
    }

    proptest! {
        #[test]
        fn text_and_tree_say_the_same(value in values()) {
            for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let raw = raw(&text);
                prop_assert_eq!(raw.tree(MOST_VALUES).unwrap(), value.clone());
                prop_assert_eq!(raw.compact(), value.to_string());
                prop_assert!(!raw.as_str().contains('\n'));
                let members: Map<String, Value> = raw
                    .members()
                    .map(|m| (m.name.into_owned(), m.value.tree(MOST_VALUES).unwrap()))
                    .collect();
                prop_assert_eq!(members, value.as_object().cloned().unwrap_or_default());
            }
        }
    }
}
