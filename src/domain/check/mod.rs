//! The check of arguments against a tool's schema.
//!
//! A schema is foreign input. Before it is compiled, [`budget`] finds what that would cost; before
//! arguments are checked, [`cost`] finds how many steps that would take. Beyond a bound, arguments
//! go unchecked: the server decides. So no check takes more than about a second or 64 MB, whatever
//! the schema and the arguments are.

mod budget;
mod cost;
mod parts;
mod pattern;
mod relax;

use std::{
    fmt::Write,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The most steps of a check.
const MOST_STEPS: u64 = 500_000;

/// The most steps for which faults are described: there may be as many faults as steps.
const MOST_DESCRIBED: u64 = 250_000;

/// A check of at most this many steps takes microseconds.
const QUICK_STEPS: u64 = 2_000;

/// The bytes that all patterns of a schema may take together, and the least that one gets.
const PATTERN_BYTES: usize = 8 * 1024 * 1024;
const ONE_PATTERN: usize = 64 * 1024;

/// The outcome of checking arguments against a schema.
#[derive(Debug, PartialEq, Eq)]
pub enum Checked {
    /// They satisfy the schema.
    Valid,
    /// The schema cannot be used (malformed, too costly, or it points outside itself); the server
    /// decides.
    Unchecked(String),
}

/// A validator, compiled at first use.
#[derive(Debug, Default)]
pub(super) struct Checker {
    /// Or why arguments go unchecked.
    compiled: OnceLock<Result<Validator, String>>,
    /// Whether an unchecked call was logged.
    told: AtomicBool,
}

impl Checker {
    /// Whether [`Checker::check`] takes microseconds.
    pub(super) fn is_quick(&self, schema: &Value, arguments: &Value) -> bool {
        match self.compiled.get() {
            None => false,
            Some(Err(_)) => true,
            Some(Ok(_)) => cost::of(schema, arguments, QUICK_STEPS).is_some(),
        }
    }

    /// Checks arguments. The first time it compiles the schema, which is the same every time.
    ///
    /// # Errors
    /// The faults of the arguments, one clause each, at most three.
    pub(super) fn check(&self, schema: &Value, arguments: &Value) -> Result<Checked, String> {
        let validator = match self.compiled.get_or_init(|| compile(schema)) {
            Ok(validator) => validator,
            Err(reason) => return Ok(Checked::Unchecked(reason.clone())),
        };
        let Some(steps) = cost::of(schema, arguments, MOST_STEPS) else {
            return Ok(Checked::Unchecked("these arguments would take too long to check".into()));
        };
        if validator.is_valid(arguments) {
            return Ok(Checked::Valid);
        }
        if steps > MOST_DESCRIBED {
            return Err("`args` does not satisfy the schema of the tool".into());
        }
        let faults = validator.iter_errors(arguments).take(3);
        Err(faults.map(|fault| clause(&fault)).collect::<Vec<_>>().join("; "))
    }

    /// Whether this is the first call that goes unchecked.
    pub(super) fn is_first_unchecked(&self) -> bool {
        !self.told.swap(true, Ordering::Relaxed)
    }
}

/// The linear engine cannot be made to backtrack; a pattern that needs another one leaves the tool
/// unchecked.
fn compile(schema: &Value) -> Result<Validator, String> {
    let patterns = budget::patterns(schema)?;
    let each = PATTERN_BYTES.checked_div(patterns).unwrap_or(PATTERN_BYTES).max(ONE_PATTERN);
    let patterns = PatternOptions::regex().size_limit(each).dfa_size_limit(each);
    let relaxed = relax::relaxed(schema);
    jsonschema::options()
        .with_pattern_options(patterns)
        .build(relaxed.as_ref().unwrap_or(schema))
        .map_err(|error| start_of(&error))
}

/// Whether a parameter may be left out because it has a default.
pub(super) use relax::has_default;

fn clause(fault: &jsonschema::ValidationError<'_>) -> String {
    let place = fault.instance_path().to_string();
    let place = if place.is_empty() { "args".to_owned() } else { format!("args{place}") };
    format!("`{}`: {}", start_of(&place), start_of(fault))
}

/// The first 200 characters of a message. Faults quote the value, which may be large, so the rest is
/// never written.
fn start_of(said: &impl std::fmt::Display) -> String {
    const LONGEST: usize = 200;
    struct Truncated {
        text: String,
        left: usize,
    }
    impl Write for Truncated {
        fn write_str(&mut self, more: &str) -> std::fmt::Result {
            for c in more.chars() {
                if self.left == 0 {
                    self.text.push('…');
                    return Err(std::fmt::Error);
                }
                self.left -= 1;
                self.text.push(c);
            }
            Ok(())
        }
    }
    let mut start = Truncated { text: String::new(), left: LONGEST };
    // Fails when the text is longer.
    let _ = write!(start, "{said}");
    start.text
}
