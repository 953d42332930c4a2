//! Names in rules: literal, or with the wildcards `*` and `?`.

use serde::{Deserialize, Serialize, Serializer};
use wildmatch::WildMatch;

/// An entry of a rule list. An entry without `*` and `?` is *explicit*: it names one thing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern {
    text: String,
    /// None for an explicit entry, which is compared as it stands.
    wild: Option<WildMatch>,
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Pattern {
    /// Reads an entry.
    ///
    /// # Errors
    /// Refuses character classes (`[ab]`): they have no meaning here, and a deny entry that silently
    /// matches nothing would fail open.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty; write a name, or `*` for every name".into());
        }
        if text.contains(['[', ']']) {
            return Err(format!(
                "`{text}` uses a character class, which is not supported; use `*` and `?`, or one entry per name"
            ));
        }
        let wild = text.contains(['*', '?']).then(|| WildMatch::new(text));
        Ok(Self { text: text.to_owned(), wild })
    }

    /// Whether the entry names exactly one thing.
    pub fn is_explicit(&self) -> bool {
        self.wild.is_none()
    }

    /// Whether the entry covers `name`; case-sensitive.
    pub fn matches(&self, name: &str) -> bool {
        self.wild.as_ref().map_or(self.text == name, |wild| wild.matches(name))
    }

    /// The entry as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}
