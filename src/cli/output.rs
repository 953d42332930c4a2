//! What commands print: text for people, JSON with `--json`. A reader that goes away (`| head`) is
//! no fault.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use anyhow::Context as _;
use serde_json::Value;

use super::table;
use crate::domain::render::{plain, revealed};
use crate::host::terminal;

/// Where a command's results go.
pub(super) struct Output {
    pub(super) json: bool,
    /// Whether that is a terminal, which acts on some of what it is sent.
    terminal: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// A line of the result.
    pub(super) fn line(&self, text: &str) {
        // Nothing sensible is left to do for someone who has stopped reading.
        let _ = self.goes_on(text);
    }

    /// A line of a result without an end; answers whether anybody reads on.
    pub(super) fn goes_on(&self, text: &str) -> bool {
        writeln!(io::stdout(), "{}", self.harmless(text)).is_ok()
    }

    /// A result as JSON: indented for people, one line for programs.
    pub(super) fn value(&self, value: &Value) {
        // Escapes leave it the same JSON; nothing of it is lost.
        let _ = match self.terminal {
            true => writeln!(io::stdout(), "{}", revealed(&format!("{value:#}"))),
            false => writeln!(io::stdout(), "{value}"),
        };
    }

    /// Text as it is for programs, and without what would act on a terminal there: servers and agents
    /// write some of it.
    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match (self.terminal, self.json) {
            (false, _) => Cow::Borrowed(text),
            (true, true) => revealed(text),
            (true, false) => plain(text),
        }
    }

    /// What nothing shows again: alone, or with `--json` as a member beside what is to be known of it.
    ///
    /// # Errors
    /// Nobody has read it.
    pub(super) fn secret(&self, name: &str, text: &str, mut about: Value) -> anyhow::Result<()> {
        let written = match (&mut about, self.json) {
            (Value::Object(members), true) => {
                members.insert(name.to_owned(), text.into());
                writeln!(io::stdout(), "{about}")
            }
            _ => writeln!(io::stdout(), "{text}"),
        };
        written.with_context(|| format!("the {name} cannot be written, and is lost"))
    }

    /// A table, no wider than the terminal, or than COLUMNS says.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<String>>) {
        // Before it is laid out: what is taken out has no width.
        let plain = |text: &String| self.harmless(text).replace(['\n', '\t'], " ");
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(plain).collect()).collect();
        table::lines(header, &rows, self.width()).iter().for_each(|line| self.line(line));
    }

    /// The columns of the terminal; None where a result may be as wide as it is.
    fn width(&self) -> Option<usize> {
        let terminal = || if self.terminal { terminal::width() } else { None };
        terminal::columns().or_else(terminal).filter(|width| *width > 0)
    }

    /// Something that went wrong; to standard error.
    pub(super) fn error(&self, text: &str) {
        // Agents and files choose some of it.
        let shown: Vec<_> = text.split('\n').map(revealed).collect();
        note(&format!("error: {}", shown.join("\n")));
    }
}

/// A line for people on standard error, where protocol and results never go.
pub(super) fn note(text: &str) {
    // As for `line`.
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// A line for people on standard error that the next one replaces.
pub(super) fn passing(text: &str) {
    // As for `line`.
    let _ = write!(io::stderr(), "{text}\r");
}
