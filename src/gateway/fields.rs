//! The arguments of one of the three tools, read strictly: a wrong type, an unknown name or a
//! missing value is an error that says what to write instead. Names that can mean one argument only
//! are taken for it.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::slips::argument_meant;
use crate::domain::{near::near, refusal::Refusal};

/// Arguments that are taken out one by one; [`Fields::finish`] refuses what is left.
pub(super) struct Fields {
    tool: &'static str,
    rest: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// # Errors
    /// Two names of the same argument.
    pub(super) fn new(tool: &'static str, arguments: Map<String, Value>) -> Result<Self, Refusal> {
        let mut rest = Map::new();
        let mut written = Map::new();
        // Null is the same as missing.
        for (name, value) in arguments.into_iter().filter(|(_, value)| !value.is_null()) {
            let meant = argument_meant(tool, &name).to_owned();
            if let Some(Value::String(other)) = written.insert(meant.clone(), name.clone().into()) {
                return Err(Refusal::arguments(format!(
                    "{tool}: `{}` and `{}` are the same; give one",
                    cut(&other),
                    cut(&name)
                )));
            }
            rest.insert(meant, value);
        }
        Ok(Self { tool, rest, known: Vec::new() })
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
        const LONGEST: usize = 512;
        match text.len() {
            0..=LONGEST => Ok(()),
            long => Err(Refusal::arguments(format!(
                "{}: `{name}` is {long} bytes long; no name is longer than {LONGEST}",
                self.tool
            ))),
        }
    }

    pub(super) fn optional_text(&mut self, name: &'static str) -> Result<Option<String>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => self.wrong(name, "a string", &other),
        }
    }

    /// Names in a list, or in a text with commas between them; None if there are none.
    pub(super) fn names(&mut self, name: &'static str) -> Result<Option<HashSet<String>>, Refusal> {
        let wanted = "a comma-separated string or an array of strings";
        let names: HashSet<String> = match self.take(name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.split(',').filter_map(trimmed).collect(),
            Some(Value::Array(items)) => {
                match items.iter().map(Value::as_str).collect::<Option<Vec<&str>>>() {
                    Some(items) => items.into_iter().filter_map(trimmed).collect(),
                    None => return self.wrong(name, wanted, &Value::Array(items)),
                }
            }
            Some(other) => return self.wrong(name, wanted, &other),
        };
        Ok((!names.is_empty()).then_some(names))
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => self.wrong(name, "true or false", &other),
        }
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
        let wanted = "an integer from 0 up";
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let digits = number.to_string();
                match digits.bytes().all(|b| b.is_ascii_digit()) {
                    true => Ok(Some(digits.parse().unwrap_or(usize::MAX))),
                    false => self.wrong(name, wanted, &Value::Number(number)),
                }
            }
            Some(other) => self.wrong(name, wanted, &other),
        }
    }

    /// An integer above zero.
    pub(super) fn positive(&mut self, name: &'static str) -> Result<Option<u64>, Refusal> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_u64() {
                Some(value) if value > 0 => Ok(Some(value)),
                _ => self.wrong(name, "a positive integer", &Value::Number(number)),
            },
            Some(other) => self.wrong(name, "a positive integer", &other),
        }
    }

    /// An object, empty if it is missing; one written as a string of JSON is accepted.
    pub(super) fn object(&mut self, name: &'static str) -> Result<Map<String, Value>, Refusal> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(Value::Object(object)) => Ok(object),
                _ => self.wrong(name, "an object", &Value::String(text)),
            },
            Some(other) => self.wrong(name, "an object", &other),
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

    /// Refuses arguments that nobody asked for.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        let Some(name) = self.rest.keys().next() else { return Ok(()) };
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

    fn wrong<T>(&self, name: &str, wanted: &str, got: &Value) -> Result<T, Refusal> {
        let got = match got {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "this number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        Err(Refusal::arguments(format!("{}: `{name}` must be {wanted}, not {got}", self.tool)))
    }
}

fn trimmed(name: &str) -> Option<String> {
    Some(name.trim()).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn cut(name: &str) -> String {
    name.chars().take(64).collect()
}
