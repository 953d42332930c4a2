//! Values of arguments and flags, as typed.

use std::time::Duration;

use clap::Args;

use crate::{
    domain::{call::AgentId, credits::Credits, period::moment},
    host::clock::now,
    ledger::queries::{filter, records::Moment},
};

/// The longest name, role or label. The tool `delegate` has the same limit for labels.
const LONGEST: usize = 200;

/// The records that a command reads, by their time.
#[derive(Clone, Debug, Args)]
pub(super) struct TimeSpan {
    /// Only from this time on, or from this long ago: 7d, 90m, 2026-11-20, 2026-11-20T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<Moment>,
    /// Only before this time; written as for --since
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) until: Option<Moment>,
}

fn since(text: &str) -> Result<Moment, String> {
    filter::since(text, now())
}

pub(super) fn credits(text: &str) -> Result<Credits, String> {
    let amount = text.parse::<u64>().map_err(|_| "credits are a whole number".to_owned())?;
    Credits::try_from(amount)
}

/// Credits, at least 1.
pub(super) fn some_credits(text: &str) -> Result<Credits, String> {
    match text.parse::<u64>() {
        Err(_) | Ok(0) => Err("credits are a whole number from 1 on".into()),
        Ok(amount) => Credits::try_from(amount),
    }
}

pub(super) fn agent(text: &str) -> Result<AgentId, String> {
    match AgentId::is_well_formed(text) {
        true => Ok(text.into()),
        false => Err("that is not an agent name: use 1 to 128 of A-Z a-z 0-9 _ . : -".into()),
    }
}

/// Text that fits into a table.
pub(super) fn one_line(text: &str) -> Result<String, String> {
    let shown = !text.trim().is_empty() && !text.chars().any(char::is_control);
    match shown && text.chars().count() <= LONGEST {
        true => Ok(text.to_owned()),
        false => Err(format!("must be text in one line, of at most {LONGEST} characters")),
    }
}

/// A time in the future, or a duration from now on.
pub(super) fn expires(text: &str) -> Result<i64, String> {
    let now = now();
    let after = |span: Duration| now.checked_add(i64::try_from(span.as_millis()).ok()?);
    match moment(text).or_else(|| after(humantime::parse_duration(text).ok()?)) {
        Some(at) if at > now => Ok(at),
        Some(_) => Err(format!("`{text}` is not in the future")),
        None => {
            Err(format!("`{text}` is not a time; use 90d, 12h, 2027-01-31 or 2027-01-31T00:00:00Z"))
        }
    }
}
