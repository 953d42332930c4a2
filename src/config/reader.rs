//! Takes values out of a document. A fault is noted with its place and the check goes on, so that
//! one run tells them all.

use std::{num::NonZeroUsize, path::PathBuf, str::FromStr, time::Duration};

use super::{
    auth::{NOT_PASSED_ON, PRESENTED},
    document::{Member, Node, Value},
    expand::{Expanded, expand, has_bare_reference, refers_to},
    fault::{Fault, Faults},
};
use crate::{
    domain::{credits::Credits, near::near},
    host::environment::Environment,
};

/// A key or a word that is known and refused, and why.
pub(super) type Refused = (&'static str, &'static str);

/// Why a key is refused that is part of the contract, but not built yet.
pub(super) const LATER: &str = "is not supported by this version; remove it";

/// Reads one file.
pub(super) struct Reader<'a> {
    pub(super) file: PathBuf,
    pub(super) env: &'a Environment,
    pub(super) faults: &'a mut Faults,
    pub(super) warnings: Vec<String>,
    /// Values that were brought in by expansion and may be secret.
    pub(super) secrets: Vec<String>,
    /// Whether what is read goes to a server, which must not get what is the gateway's own.
    pub(super) for_server: bool,
    /// Whether what is read goes to a shell, which expands `$NAME` itself.
    pub(super) for_shell: bool,
}

/// A node and the way to it, such as `agents.backend.allow`.
#[derive(Clone)]
pub(super) struct At<'d> {
    pub(super) node: &'d Node,
    pub(super) place: String,
}

impl<'d> At<'d> {
    pub(super) fn top(node: &'d Node) -> Self {
        Self { node, place: String::new() }
    }

    fn member<'m>(&self, member: &'m Member) -> At<'m> {
        let dot = if self.place.is_empty() { "" } else { "." };
        At { node: &member.node, place: format!("{}{dot}{}", self.place, member.key) }
    }
}

/// The members of an object that was found.
pub(super) struct Object<'d> {
    at: At<'d>,
    members: &'d [Member],
}

impl<'d> Object<'d> {
    /// The member of that name, unless it is missing or null.
    pub(super) fn get(&self, key: &str) -> Option<At<'d>> {
        let member = self.members.iter().find(|member| member.key == key)?;
        (!matches!(member.node.value, Value::Null)).then(|| self.at.member(member))
    }

    /// The member of that name, null or not: for what must not be left open by a slip.
    pub(super) fn even_null(&self, key: &str) -> Option<At<'d>> {
        self.members().find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    /// Where the object itself is.
    pub(super) fn at(&self) -> &At<'d> {
        &self.at
    }

    /// All members.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'d str, At<'d>)> {
        self.members.iter().map(|member| (member.key.as_str(), self.at.member(member)))
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: PathBuf, env: &'a Environment, faults: &'a mut Faults) -> Self {
        Self {
            file,
            env,
            faults,
            warnings: Vec::new(),
            secrets: Vec::new(),
            for_server: false,
            for_shell: false,
        }
    }

    pub(super) fn fault(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.faults.push(Fault {
            about: None,
            file: Some(self.file.clone()),
            position: Some(at.node.position),
            place: at.place.clone(),
            message: message.into(),
        });
    }

    /// A fault of a key, rather than of its value.
    fn key_fault(&mut self, at: &At<'_>, member: &Member, message: String) {
        self.faults.push(Fault {
            about: None,
            file: Some(self.file.clone()),
            position: Some(member.position),
            place: at.member(member).place,
            message,
        });
    }

    pub(super) fn warn(&mut self, at: &At<'_>, message: &str) {
        self.warnings.push(format!("{} {message}", self.whereabouts(at)));
    }

    /// Where something stands, in words.
    pub(super) fn whereabouts(&self, at: &At<'_>) -> String {
        let (line, column) = at.node.position;
        format!("{}:{line}:{column}: `{}`", self.file.display(), at.place)
    }

    /// An object whose keys are given by the format: others are faults.
    pub(super) fn object<'d>(
        &mut self,
        at: &At<'d>,
        known: &[&'static str],
        later: &[&'static str],
    ) -> Option<Object<'d>> {
        let refused: Vec<Refused> = later.iter().map(|key| (*key, LATER)).collect();
        self.object_but(at, known, &refused)
    }

    /// The same, where each key that is refused has words of its own.
    pub(super) fn object_but<'d>(
        &mut self,
        at: &At<'d>,
        known: &[&'static str],
        refused: &[Refused],
    ) -> Option<Object<'d>> {
        self.object_with(at, known, &[], refused)
    }

    /// The same, where some keys are understood, but never suggested.
    pub(super) fn object_with<'d>(
        &mut self,
        at: &At<'d>,
        known: &[&'static str],
        quiet: &[&'static str],
        refused: &[Refused],
    ) -> Option<Object<'d>> {
        let object = self.any_object(at)?;
        for member in object.members {
            if let Some((_, why)) = refused.iter().find(|(key, _)| *key == member.key) {
                if !self.asks_for_nothing(&at.member(member)) {
                    self.key_fault(at, member, (*why).into());
                }
            } else if !known.iter().chain(quiet).any(|key| *key == member.key) {
                self.key_fault(at, member, unknown(&member.key, known));
            }
        }
        Some(object)
    }

    /// Whether a value asks for nothing, so that it may stand under a key that is refused: empty,
    /// `false`, or a block with `enabled: false`.
    pub(super) fn asks_for_nothing(&mut self, at: &At<'_>) -> bool {
        match &at.node.value {
            Value::Null | Value::Flag(false) => true,
            Value::Flag(true) | Value::Number(_) => false,
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            Value::Object(members) => {
                let object = Object { at: at.clone(), members };
                object.get("enabled").and_then(|at| self.flag(&at)) == Some(false)
            }
        }
    }

    /// An object whose keys are names of the user's.
    pub(super) fn any_object<'d>(&mut self, at: &At<'d>) -> Option<Object<'d>> {
        match &at.node.value {
            Value::Object(members) => Some(Object { at: at.clone(), members }),
            _ => self.wrong(at, "an object"),
        }
    }

    pub(super) fn list<'d>(&mut self, at: &At<'d>) -> Option<Vec<At<'d>>> {
        let Value::List(items) = &at.node.value else { return self.wrong(at, "a list") };
        let item = |(index, node)| At { node, place: format!("{}[{index}]", at.place) };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// A string, expanded.
    pub(super) fn text(&mut self, at: &At<'_>) -> Option<String> {
        match &at.node.value {
            Value::Text(text) => self.expanded(at, text).map(|expanded| expanded.text),
            Value::Number(_) | Value::Flag(_) => self.wrong(at, "a string; put it in quotes"),
            _ => self.wrong(at, "a string"),
        }
    }

    pub(super) fn texts(&mut self, at: &At<'_>) -> Vec<String> {
        let items = self.list(at).unwrap_or_default();
        items.iter().filter_map(|item| self.text(item)).collect()
    }

    pub(super) fn flag(&mut self, at: &At<'_>) -> Option<bool> {
        let text = match &at.node.value {
            Value::Flag(flag) => return Some(*flag),
            Value::Text(text) => self.whole(at, text)?,
            _ => None,
        };
        match text.as_deref() {
            Some("true") => Some(true),
            Some("false") => Some(false),
            _ => self.wrong(at, "true or false"),
        }
    }

    /// A whole number from zero up.
    pub(super) fn count(&mut self, at: &At<'_>) -> Option<usize> {
        self.number(at, "a whole number from 0 up")
    }

    /// A whole number from one up.
    pub(super) fn positive(&mut self, at: &At<'_>) -> Option<NonZeroUsize> {
        self.number(at, "a whole number from 1 up")
    }

    fn number<T: FromStr>(&mut self, at: &At<'_>, wanted: &str) -> Option<T> {
        let text = match &at.node.value {
            Value::Number(number) => Some(number.clone()),
            Value::Text(text) => self.whole(at, text)?,
            _ => None,
        };
        match text.and_then(|text| text.parse().ok()) {
            Some(number) => Some(number),
            None => self.wrong(at, wanted),
        }
    }

    /// A whole number of credits.
    pub(super) fn credits(&mut self, at: &At<'_>) -> Option<Credits> {
        let text = match &at.node.value {
            Value::Number(number) => Some(number.clone()),
            Value::Text(text) => self.whole(at, text)?,
            _ => None,
        };
        let Some(text) = text else { return self.wrong(at, &whole_credits()) };
        let credits = text.parse().ok().and_then(Credits::new);
        if credits.is_none() {
            // What is too large for the parser is a number with an exponent here.
            let why = match text.parse::<f64>() {
                Ok(number) if number < 0.0 => "below zero",
                Ok(number) if number > Credits::MAX.signed() as f64 => "too much",
                _ => "no whole number",
            };
            self.fault(at, format!("must be {} (it is {why})", whole_credits()));
        }
        credits
    }

    /// A duration: `"30s"`, `"5m"`, or a number of milliseconds; above zero.
    pub(super) fn duration(&mut self, at: &At<'_>) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
        let text = match &at.node.value {
            Value::Number(number) => number.clone(),
            Value::Text(text) => self.expanded(at, text)?.text,
            _ => return self.wrong(at, "a duration such as \"30s\", or milliseconds"),
        };
        let parsed = match text.parse::<u64>() {
            Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
            Err(_) => humantime::parse_duration(&text).ok(),
        };
        match parsed {
            Some(duration) if !duration.is_zero() && duration <= LONGEST => Some(duration),
            _ => self.wrong(at, "a duration from 1 ms to 24 h, such as \"30s\", or milliseconds"),
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, at: &At<'_>, choices: &[(&str, T)]) -> Option<T> {
        self.choice_but(at, choices, &[])
    }

    /// The same, where each word that is refused has words of its own.
    pub(super) fn choice_but<T: Copy>(
        &mut self,
        at: &At<'_>,
        choices: &[(&str, T)],
        refused: &[Refused],
    ) -> Option<T> {
        let text = self.text(at)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        match refused.iter().find(|(word, _)| *word == text) {
            Some((word, why)) => self.fault(at, format!("is `{word}`, {why}")),
            None if found.is_none() => {
                let words: Vec<String> =
                    choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                self.fault(at, format!("must be {}", words.join(" or ")));
            }
            None => {}
        }
        found
    }

    /// The text that a value which is exactly one reference stands for; None for other text.
    fn whole(&mut self, at: &At<'_>, text: &str) -> Option<Option<String>> {
        let expanded = self.expanded(at, text)?;
        Some(expanded.whole.then_some(expanded.text))
    }

    fn expanded(&mut self, at: &At<'_>, text: &str) -> Option<Expanded> {
        if self.for_server && refers_to(text, PRESENTED) {
            self.fault(at, format!("refers to {NOT_PASSED_ON}"));
            return None;
        }
        // Without the name: it may be part of a secret.
        if has_bare_reference(text) && !self.for_shell {
            self.warn(at, "has a `$NAME`, which stays text: only `${NAME}` is expanded");
        }
        match expand(text, self.env) {
            Ok(expanded) => {
                self.secrets.extend(expanded.brought_in.iter().cloned());
                Some(expanded)
            }
            Err(message) => {
                self.fault(at, message);
                None
            }
        }
    }

    fn wrong<T>(&mut self, at: &At<'_>, wanted: &str) -> Option<T> {
        let got = match &at.node.value {
            Value::Null => "null",
            Value::Flag(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(at, format!("must be {wanted} (it is {got})"));
        None
    }
}

fn whole_credits() -> String {
    format!("a whole number of credits from 0 to {}", Credits::MAX)
}

/// What to say of a key that the format does not have.
fn unknown(key: &str, known: &[&'static str]) -> String {
    match near(key, known.iter().copied()).first() {
        Some(meant) => format!("is not a known key; did you mean `{meant}`?"),
        None => format!("is not a known key; known are {}", known.join(", ")),
    }
}
