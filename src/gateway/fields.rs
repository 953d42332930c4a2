//! The arguments of one of the three tools, read strictly: a wrong type, an unknown name or a
//! missing value is an error that says what to write instead. Names that can mean one argument only
//! are taken for it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::aliases::argument_meant;
use crate::domain::{
    json::{MOST_VALUES, RawJson},
    near::near,
    refusal::Refusal,
};

/// No name is longer, in bytes.
pub(crate) const LONGEST_NAME: usize = 512;

/// More arguments than any of the tools has.
const MOST_ARGUMENTS: usize = 64;

/// The argument that is an object of any size, which stays text.
const OBJECT: &str = "args";

/// Arguments that are taken out one by one; [`Fields::finish`] refuses what is left.
pub(super) struct Fields {
    tool: &'static str,
    rest: Map<String, Value>,
    object: Option<RawJson>,
    known: Vec<&'static str>,
}

impl Fields {
    /// # Errors
    /// Two names of the same argument, or more than any of the tools takes.
    pub(super) fn new(tool: &'static str, arguments: &RawJson) -> Result<Self, Refusal> {
        let mut fields = Self { tool, rest: Map::new(), object: None, known: Vec::new() };
        let wrong = |what: String| Refusal::arguments(format!("{tool}: {what}"));
        let mut written: Vec<(String, String)> = Vec::new();
        for (index, member) in arguments.members().enumerate() {
            let (name, value) = (member.name.into_owned(), member.value);
            if index == MOST_ARGUMENTS {
                return Err(wrong(format!("there are more than {MOST_ARGUMENTS} arguments")));
            }
            if name.len() > LONGEST_NAME {
                return Err(wrong(format!(
                    "the name of an argument is {} bytes long; no name is longer than {LONGEST_NAME}",
                    name.len()
                )));
            }
            // Null is the same as missing.
            if value.is_null() {
                continue;
            }
            let meant = argument_meant(tool, &name).to_owned();
            let other = written.iter().find(|(also, other)| *also == meant && *other != name);
            if let Some((_, other)) = other {
                let (other, name) = (cut(other), cut(&name));
                return Err(wrong(format!("`{other}` and `{name}` are the same; give one")));
            }
            if meant == OBJECT {
                fields.object = Some(value);
            } else {
                let value = value.tree(MOST_VALUES);
                let value =
                    value.map_err(|cause| wrong(format!("`{}` has {cause}", cut(&name))))?;
                fields.rest.insert(meant.clone(), value);
            }
            written.push((meant, name));
        }
        Ok(fields)
    }

    /// A required string.
    pub(super) fn text(&mut self, name: &'static str) -> Result<String, Refusal> {
        let value = self.optional_text(name)?;
        value.ok_or_else(|| Refusal::arguments(format!("{}: `{name}` is missing", self.tool)))
    }

    /// A required name; no name is as long as a text can be.
    pub(super) fn name(&mut self, name: &'static str) -> Result<String, Refusal> {
        let text = self.text(name)?;
        self.short(name, &text)?;
        Ok(text)
    }

    pub(super) fn optional_name(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        let text = self.optional_text(name)?;
        text.as_deref().map_or(Ok(()), |text| self.short(name, text))?;
        Ok(text)
    }

    fn short(&self, name: &str, text: &str) -> Result<(), Refusal> {
        match text.len() {
            0..=LONGEST_NAME => Ok(()),
            long => Err(Refusal::arguments(format!(
                "{}: `{name}` is {long} bytes long; no name is longer than {LONGEST_NAME}",
                self.tool
            ))),
        }
    }

    pub(super) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        self.read(name, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// Names in a list, or in a text with commas between them; None if there are none.
    pub(super) fn names(&mut self, name: &'static str) -> Result<Option<HashSet<String>>, Refusal> {
        let names =
            self.read(name, "a comma-separated string or an array of strings", |value| {
                let names = match value {
                    Value::String(text) => text.split(',').collect(),
                    Value::Array(items) => {
                        items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?
                    }
                    _ => return None,
                };
                let names = names.into_iter().map(str::trim).filter(|name| !name.is_empty());
                Some(names.map(str::to_owned).collect::<HashSet<_>>())
            })?;
        Ok(names.filter(|names| !names.is_empty()))
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        Ok(self.read(name, "true or false", Value::as_bool)?.unwrap_or_default())
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, Refusal> {
        let Some(text) = self.optional_text(name)? else { return Ok(None) };
        if let Some((_, value)) = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text))
        {
            return Ok(Some(*value));
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let message = format!("{}: `{name}` must be one of {}", self.tool, words.join(", "));
        Err(Refusal::arguments(message))
    }

    /// An integer from zero up; one beyond all bounds is the greatest.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<usize>, Refusal> {
        self.read(name, "an integer from 0 up", |value| {
            let digits = value.as_number()?.to_string();
            let is_whole = digits.bytes().all(|b| b.is_ascii_digit());
            is_whole.then(|| digits.parse().unwrap_or(usize::MAX))
        })
    }

    /// An integer above zero.
    pub(super) fn positive(&mut self, name: &'static str) -> Result<Option<u64>, Refusal> {
        self.read(name, "a positive integer", |value| value.as_u64().filter(|value| *value > 0))
    }

    /// An object, empty if it is missing; one written as a string of JSON is accepted.
    pub(super) fn object(&mut self, name: &'static str) -> Result<RawJson, Refusal> {
        self.known.push(name);
        match self.object.take() {
            None => Ok(Value::Object(Map::new()).into()),
            Some(object) if object.is_object() => Ok(object),
            Some(other) => {
                let within = other.string().and_then(|text| RawJson::parse(text.into_bytes()).ok());
                match within.filter(RawJson::is_object) {
                    Some(object) => Ok(object),
                    None => self.wrong_kind(name, "an object", kind_of(other.as_str())),
                }
            }
        }
    }

    /// An argument of the contract that this version cannot honour yet.
    pub(super) fn unsupported(&mut self, name: &'static str) -> Result<(), Refusal> {
        match self.take(name) {
            None => Ok(()),
            Some(_) => {
                let message = format!("{}: `{name}` is not supported by this version", self.tool);
                Err(Refusal::arguments(message))
            }
        }
    }

    /// Refuses arguments that are not known.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        let object = self.object.as_ref().map(|_| OBJECT);
        let mut rest = self.rest.keys().map(String::as_str).chain(object);
        let Some(name) = rest.next() else { return Ok(()) };
        let meant = near(name, self.known.iter().copied());
        let rest = match meant.first() {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("it takes {}", self.known.join(", ")),
        };
        Err(Refusal::arguments(format!("{}: unknown argument `{}`; {rest}", self.tool, cut(name))))
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.rest.shift_remove(name)
    }

    /// The argument, if there is one and `read` takes it.
    fn read<T>(
        &mut self,
        name: &'static str,
        wanted: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => self.wrong_kind(name, wanted, kind_of(&value.to_string())),
        }
    }

    fn wrong_kind<T>(&self, name: &str, wanted: &str, got: &str) -> Result<T, Refusal> {
        Err(Refusal::arguments(format!("{}: `{name}` must be {wanted}, not {got}", self.tool)))
    }
}

/// What kind of value a text is.
fn kind_of(text: &str) -> &'static str {
    match text.bytes().next() {
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "this number",
    }
}

fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}
