//! Texts, numbers and booleans as the schema wants them, with their references expanded.

use std::net::IpAddr;

use humantime::parse_duration;
use ipnet::IpNet;
use serde_json::Value as Json;

use super::{
    document::{Node, Property, Value},
    expand::{Expanded, expand, has_bare_reference, refers_to},
    findings::Findings,
    written::Location,
};
use crate::domain::{credits::Credits, pattern::Pattern, period::moment};

/// The variable with what this process shows for calls that show nothing. It is a credential for
/// this gateway, and no server ever gets it.
pub(super) const PRESENTED: &str = "TOLLGATE_TOKEN";

/// What to say of it where it would go to a server.
pub(super) const NOT_PASSED_ON: &str =
    "`TOLLGATE_TOKEN`, which is the credential for this gateway, and is not passed on to servers";

/// Shorter secrets can be guessed.
const SHORTEST_SECRET: usize = 16;

const LONGEST_TIME: u128 = 24 * 60 * 60 * 1_000_000_000;

/// The check of one file.
pub(super) struct Check<'c, 'a> {
    pub(super) findings: &'c mut Findings<'a>,
    /// Whether what is read goes to a server, which must not get what is the gateway's own.
    pub(super) for_server: bool,
    /// Whether what is read goes to a shell, which expands `$NAME` itself.
    pub(super) for_shell: bool,
}

/// A value to check.
#[derive(Clone, Copy)]
pub(super) struct Here<'d> {
    pub(super) node: &'d Node,
    pub(super) path: &'d str,
}

impl Here<'_> {
    pub(super) fn location(self) -> Location {
        let members = match &self.node.value {
            Value::Object(members) => members.iter(),
            _ => [].iter(),
        };
        let members = members.map(|Property { key, node, .. }| {
            (key.clone(), node.position, matches!(node.value, Value::Null))
        });
        Location {
            position: self.node.position,
            path: self.path.to_owned(),
            members: members.collect(),
        }
    }
}

/// What a schema says of one value.
#[derive(Clone, Copy)]
pub(super) struct Expected<'s> {
    pub(super) schema: &'s Json,
    pub(super) positioned: bool,
    pub(super) format: &'s str,
    pub(super) refused: Option<&'s Json>,
}

impl<'s> Expected<'s> {
    /// The branch of the schema that is meant for a value of this kind; the first if none is.
    pub(super) fn of(schema: &'s Json, node: &Node, format: &'s str) -> Self {
        let positioned = schema.get("x-position").is_some();
        let format = schema.get("x-format").and_then(Json::as_str).unwrap_or(format);
        let refused = schema.get("x-refused");
        let Some(branches) = schema.get("anyOf").and_then(Json::as_array) else {
            return Self { schema, positioned, format, refused };
        };
        let meant = branches.iter().find(|branch| accepts(branch, node)).or(branches.first());
        let inner = Self::of(meant.unwrap_or(&Json::Null), node, format);
        Self {
            positioned: positioned || inner.positioned,
            refused: refused.or(inner.refused),
            ..inner
        }
    }

    pub(super) fn is_a(&self, kind: &str) -> bool {
        types(self.schema).any(|one| one == kind)
    }

    /// The words of an enumeration.
    pub(super) fn words(&self) -> Vec<&'s str> {
        let words = self.schema.get("enum").and_then(Json::as_array);
        words.into_iter().flatten().filter_map(Json::as_str).collect()
    }
}

pub(super) fn types(schema: &Json) -> impl Iterator<Item = &str> {
    let kind = schema.get("type");
    let several = kind.and_then(Json::as_array).into_iter().flatten();
    kind.into_iter().chain(several).filter_map(Json::as_str)
}

pub(super) fn accepts(schema: &Json, node: &Node) -> bool {
    if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
        return branches.iter().any(|branch| accepts(branch, node));
    }
    let kinds: &[&str] = match node.value {
        Value::Null => &["null"],
        Value::Flag(_) => &["boolean"],
        Value::Number(_) => &["integer"],
        Value::Text(_) => &["string"],
        Value::List(_) => &["array"],
        Value::Object(_) => &["object"],
    };
    types(schema).any(|kind| kinds.contains(&kind))
}

impl Check<'_, '_> {
    /// A text, a number or a boolean.
    pub(super) fn leaf(&mut self, here: Here<'_>, wanted: Expected<'_>) -> Option<Json> {
        match wanted.format {
            "time" => self.time(here),
            "credits" => self.credits(here),
            _ if wanted.is_a("integer") => self.number(here, wanted.schema),
            _ if wanted.is_a("boolean") => self.flag(here),
            _ if wanted.is_a("string") => self.text(here, wanted),
            _ if wanted.is_a("array") => self.wrong(here, "a list"),
            _ => self.wrong(here, "an object"),
        }
    }

    fn text(&mut self, here: Here<'_>, wanted: Expected<'_>) -> Option<Json> {
        let text = match &here.node.value {
            Value::Text(text) => self.expanded(here, text)?.text,
            Value::Number(_) | Value::Flag(_) => {
                return self.wrong(here, "a string; put it in quotes");
            }
            _ => return self.wrong(here, "a string"),
        };
        let words = wanted.words();
        if wanted.format == "secret" {
            self.secret(here, &text)?;
        } else if let Some(fault) = fault_of_format(wanted.format, &text) {
            return self.findings.refuse(&here.location(), fault);
        } else if !words.is_empty() && !words.contains(&text.as_str()) {
            let why = wanted.refused.and_then(|words| words.get(&text)).and_then(Json::as_str);
            let words: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
            return self.findings.refuse(
                &here.location(),
                match why {
                    Some(why) => format!("is `{text}`, {why}"),
                    None => format!("must be {}", words.join(" or ")),
                },
            );
        }
        Some(text.into())
    }

    /// A text that nothing may show, even where it stands in the file as it is.
    fn secret(&mut self, here: Here<'_>, text: &str) -> Option<()> {
        self.findings.hide(text);
        match text.trim().chars().count() {
            0 => return self.findings.refuse(&here.location(), "is empty"),
            1..SHORTEST_SECRET => self.findings.warn(
                &here.location(),
                "has fewer than 16 characters and may be guessed; `openssl rand -hex 32` makes a better one",
            ),
            _ => {}
        }
        Some(())
    }

    pub(super) fn flag(&mut self, here: Here<'_>) -> Option<Json> {
        let text = match &here.node.value {
            Value::Flag(flag) => return Some((*flag).into()),
            Value::Text(text) => self.whole(here, text)?,
            _ => None,
        };
        match text.and_then(|text| text.parse::<bool>().ok()) {
            Some(flag) => Some(flag.into()),
            None => self.wrong(here, "true or false"),
        }
    }

    fn number(&mut self, here: Here<'_>, schema: &Json) -> Option<Json> {
        let least = schema.get("minimum").and_then(Json::as_u64).unwrap_or(0);
        let number = self.number_text(here)?.and_then(|text| text.parse::<usize>().ok());
        match number.filter(|number| *number as u64 >= least) {
            Some(number) => Some(number.into()),
            None => self.wrong(here, &format!("a whole number from {least} up")),
        }
    }

    /// A number as written, or as the value of one reference; None within for anything else.
    fn number_text(&mut self, here: Here<'_>) -> Option<Option<String>> {
        match &here.node.value {
            Value::Number(number) => Some(Some(number.clone())),
            Value::Text(text) => self.whole(here, text),
            _ => Some(None),
        }
    }

    fn credits(&mut self, here: Here<'_>) -> Option<Json> {
        let all = format!("a whole number of credits from 0 to {}", Credits::MAX);
        let Some(text) = self.number_text(here)? else { return self.wrong(here, &all) };
        if let Some(credits) = text.parse().ok().and_then(Credits::new) {
            return Some(credits.amount().into());
        }
        // Numbers that are too large for the YAML parser have an exponent here.
        let why = match text.parse::<f64>() {
            Ok(number) if number < 0.0 => "below zero",
            Ok(number) if number > Credits::MAX.signed() as f64 => "too much",
            _ => "no whole number",
        };
        self.findings.refuse(&here.location(), format!("must be {all} (it is {why})"))
    }

    /// A time above zero, in nanoseconds.
    fn time(&mut self, here: Here<'_>) -> Option<Json> {
        let text = match &here.node.value {
            Value::Number(number) => number.clone(),
            Value::Text(text) => self.expanded(here, text)?.text,
            _ => return self.wrong(here, "a duration such as \"30s\", or milliseconds"),
        };
        let nanoseconds = match text.parse::<u64>() {
            Ok(milliseconds) => Some(u128::from(milliseconds) * 1_000_000),
            Err(_) => parse_duration(&text).ok().map(|duration| duration.as_nanos()),
        };
        match nanoseconds.filter(|time| (1..=LONGEST_TIME).contains(time)) {
            Some(time) => u64::try_from(time).ok().map(Json::from),
            None => {
                self.wrong(here, "a duration from 1 ms to 24 h, such as \"30s\", or milliseconds")
            }
        }
    }

    /// The text that a value which is exactly one reference stands for; None for other text.
    fn whole(&mut self, here: Here<'_>, text: &str) -> Option<Option<String>> {
        let expanded = self.expanded(here, text)?;
        Some(expanded.whole.then_some(expanded.text))
    }

    fn expanded(&mut self, here: Here<'_>, text: &str) -> Option<Expanded> {
        let at = here.location();
        if self.for_server && refers_to(text, PRESENTED) {
            return self.findings.refuse(&at, format!("refers to {NOT_PASSED_ON}"));
        }
        // Without the name: it may be part of a secret.
        if has_bare_reference(text) && !self.for_shell {
            self.findings.warn(&at, "has a `$NAME`, which stays text: only `${NAME}` is expanded");
        }
        match expand(text, self.findings.env) {
            Ok(expanded) => {
                expanded.brought_in.iter().for_each(|value| self.findings.hide(value));
                Some(expanded)
            }
            Err(message) => self.findings.refuse(&at, message),
        }
    }

    pub(super) fn wrong<T>(&mut self, here: Here<'_>, wanted: &str) -> Option<T> {
        let got = match &here.node.value {
            Value::Null => "null",
            Value::Flag(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.findings.refuse(&here.location(), format!("must be {wanted} (it is {got})"))
    }
}

/// The fault of a text that does not have its format.
fn fault_of_format(format: &str, text: &str) -> Option<String> {
    let is_line = || !text.trim().is_empty() && !text.chars().any(char::is_control);
    let is_network = || text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok();
    let message = match format {
        "pattern" => return Pattern::parse(text).err(),
        "line" if !is_line() => "must be text in one line",
        "network" if !is_network() => "must be an address or a network, such as \"10.0.0.0/8\"",
        "moment" if moment(text).is_none() => {
            "must be a moment as in RFC 3339, such as \"2027-01-31T00:00:00Z\", or a day, such as \"2027-01-31\", at whose beginning (UTC) the key ends"
        }
        _ => return None,
    };
    Some(message.to_owned())
}
