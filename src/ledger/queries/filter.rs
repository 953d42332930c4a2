//! Which records a query takes.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::records::Moment;
use crate::domain::{
    pattern::Pattern,
    period::{moment, timestamp},
    record::{Decision, Event, Record},
};

/// Conditions on records; None takes any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The agent; `*` and `?` are wildcards, here and below.
    pub agent: Option<Pattern>,
    /// The server.
    pub server: Option<Pattern>,
    /// The tool.
    pub tool: Option<Pattern>,
    /// The event.
    pub event: Option<Event>,
    /// The decision.
    pub decision: Option<Decision>,
    /// Only records of this moment or later.
    pub since: Option<Moment>,
    /// Only records before this moment.
    pub until: Option<Moment>,
}

impl Filter {
    /// Whether a record meets all conditions.
    pub fn takes(&self, record: &Record) -> bool {
        let draft = &record.draft;
        let fits = |wanted: &Option<Pattern>, said: &Option<String>| {
            let fits = |wanted: &Pattern| said.as_deref().is_some_and(|said| wanted.matches(said));
            wanted.as_ref().is_none_or(fits)
        };
        fits(&self.agent, &draft.agent)
            && fits(&self.server, &draft.server)
            && fits(&self.tool, &draft.tool)
            && self.event.is_none_or(|event| event == draft.event)
            && self.decision.is_none_or(|decision| Some(decision) == draft.decision)
            && self.since.as_ref().is_none_or(|since| since.is_before(record))
            && self.until.as_ref().is_none_or(|until| !until.is_before(record))
    }
}

/// The word for an event or a decision in records.
pub fn word(of: &impl Serialize) -> String {
    let word = serde_json::to_value(of).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or_default().to_owned()
}

/// An event or a decision by its word; the error lists the words there are.
pub fn parse_word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// The moment that a text names: a time, a day (UTC), or how long ago. `now` in milliseconds since
/// 1970.
pub fn since(text: &str, now: i64) -> Result<Moment, String> {
    let ago =
        |ago: Duration| now.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX));
    let millis = moment(text).or_else(|| humantime::parse_duration(text).ok().map(ago));
    let moment = millis.ok_or_else(|| {
        format!("`{text}` is not a time; use 90m, 7d, 2026-11-20 or 2026-11-20T08:00:00Z")
    })?;
    Ok(Moment(timestamp(moment)))
}

#[cfg(test)]
mod tests {
    use super::{Event, parse_word, since};

    #[test]
    fn since_accepts_a_time_a_day_or_duration() {
        let now = 1_795_219_200_000; // 2026-11-21T00:00:00Z
        let check = |text: &str, expected: &str| {
            assert_eq!(since(text, now).unwrap().0, expected, "{text}");
        };
        check("2026-11-20T08:00:00Z", "2026-11-20T08:00:00.000Z");
        check("2026-11-20T08:00:00+02:00", "2026-11-20T06:00:00.000Z");
        check("2026-11-20", "2026-11-20T00:00:00.000Z");
        check("90m", "2026-11-20T22:30:00.000Z");
        check("1d 2h", "2026-11-19T22:00:00.000Z");
        check("1000000years", "1970-01-01T00:00:00.000Z");
        for wrong in ["", "yesterday", "2026-13-01", "-5m"] {
            assert!(since(wrong, now).unwrap_err().contains("is not a time"), "{wrong}");
        }
    }

    #[test]
    fn unknown_filter_word_lists_the_known_ones() {
        assert_eq!(parse_word("post"), Ok(Event::Post));
        let unknown = parse_word::<Event>("pots").unwrap_err();
        assert!(unknown.contains("`pots`, expected one of `hold`, `refusal`, `post`"), "{unknown}");
    }
}
