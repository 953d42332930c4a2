//! What commands print: text for people, JSON with `--json`. A reader that goes away (`| head`) is
//! no fault.

use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::domain::render::revealed;

/// Where a command's results go.
pub(super) struct Output {
    pub(super) json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A line of the result.
    pub(super) fn line(&self, text: &str) {
        // Nothing sensible is left to do for someone who has stopped reading.
        let _ = writeln!(io::stdout(), "{text}");
    }

    /// A line of a result without an end; answers whether anybody reads on.
    pub(super) fn goes_on(&self, text: &str) -> bool {
        writeln!(io::stdout(), "{text}").is_ok()
    }

    /// A result as JSON: indented for people, one line for programs.
    pub(super) fn value(&self, value: &Value) {
        match io::stdout().is_terminal() {
            true => self.line(&format!("{value:#}")),
            false => self.line(&value.to_string()),
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

    /// A table without lines, as wide as the terminal.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<String>>) {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header(header.to_vec());
        table.add_rows(rows);
        for line in table.to_string().lines() {
            self.line(line.trim_end());
        }
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
    let _ = writeln!(io::stderr(), "{text}");
}

/// A line for people on standard error that the next one replaces.
pub(super) fn passing(text: &str) {
    // As for `line`.
    let _ = write!(io::stderr(), "{text}\r");
}

/// Whether people watch standard error.
pub(super) fn watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether colour is wanted on standard error (<https://no-color.org>).
pub(super) fn colour() -> bool {
    watched() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
