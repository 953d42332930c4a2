//! Every command makes one report. The printer turns it into lines and tables for people, or into JSON with
//! `--json`. A reader that goes away (`| head`) is no error.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use serde_json::Value;

use super::{exit::Exit, table};
use crate::{
    domain::render::{plain, revealed},
    host::terminal,
};

/// What a command found: data for programs, lines and tables for people, and the exit status.
pub(super) struct Report {
    json: Value,
    blocks: Vec<Block>,
    exit: Exit,
}

enum Block {
    Line(String),
    Table {
        header: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    Json(Value),
    /// To standard error.
    Note(String),
    /// To standard error, marked as one.
    Error(String),
}

impl Report {
    pub(super) fn new(json: Value) -> Self {
        Self { json, blocks: Vec::new(), exit: Exit::Done }
    }

    pub(super) fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    pub(super) fn line(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Line(text.into()));
        self
    }

    pub(super) fn lines(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.blocks.extend(lines.into_iter().map(Block::Line));
        self
    }

    /// A labelled value. Successive values line up.
    pub(super) fn value(self, label: &str, text: impl ToString) -> Self {
        self.line(format!("{label:<10} {}", text.to_string()))
    }

    pub(super) fn table<T: Into<String>>(
        mut self,
        header: impl IntoIterator<Item = T>,
        rows: impl IntoIterator<Item = Vec<String>>,
    ) -> Self {
        let header = header.into_iter().map(Into::into).collect();
        self.blocks.push(Block::Table { header, rows: rows.into_iter().collect() });
        self
    }

    pub(super) fn json(mut self, value: &Value) -> Self {
        self.blocks.push(Block::Json(value.clone()));
        self
    }

    /// A line for people only, beside the result.
    pub(super) fn note(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Note(text.into()));
        self
    }

    pub(super) fn error(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Error(text.into()));
        self
    }
}

/// Prints reports to standard output.
pub(super) struct Printer {
    json: bool,
    /// Whether standard output is a terminal, which interprets control characters.
    terminal: bool,
}

impl Printer {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// Prints a report and returns the command's exit status.
    pub(super) fn show(&self, report: &Report) -> Exit {
        // Fails only if the reader has stopped reading.
        let _ = self.print(report);
        report.exit
    }

    /// Prints a report; fails if standard output takes no more.
    pub(super) fn print(&self, report: &Report) -> io::Result<()> {
        if self.json {
            return self.value(&report.json);
        }
        report.blocks.iter().map(|block| self.block(block)).fold(Ok(()), io::Result::and)
    }

    /// Prints one of many records; returns whether anyone still reads.
    pub(super) fn record(
        &self,
        json: impl FnOnce() -> String,
        text: impl FnOnce() -> String,
    ) -> bool {
        let text = match (self.json, self.terminal) {
            (false, _) => self.harmless(&text()).into_owned(),
            (true, false) => json(),
            (true, true) => revealed(&json()).into_owned(),
        };
        writeln!(io::stdout(), "{text}").is_ok()
    }

    /// Prints a line of a report that is still being made; nothing with `--json`.
    pub(super) fn progress(&self, text: &str) {
        if !self.json {
            let _ = writeln!(io::stdout(), "{}", self.harmless(text));
        }
    }

    fn block(&self, block: &Block) -> io::Result<()> {
        match block {
            Block::Line(text) => writeln!(io::stdout(), "{}", self.harmless(text)),
            Block::Json(value) => self.value(value),
            Block::Table { header, rows } => {
                // Before the layout, since what is removed has no width.
                let cell = |text: &String| self.harmless(text).replace(['\n', '\t'], " ");
                let rows: Vec<Vec<String>> =
                    rows.iter().map(|row| row.iter().map(cell).collect()).collect();
                let lines = table::lines(header, &rows, self.width());
                lines.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"))
            }
            Block::Note(text) => {
                note(text);
                Ok(())
            }
            Block::Error(text) => {
                error(text);
                Ok(())
            }
        }
    }

    /// JSON: indented on a terminal, one line for programs.
    fn value(&self, value: &Value) -> io::Result<()> {
        match self.terminal {
            // The escapes leave it the same JSON.
            true => writeln!(io::stdout(), "{}", revealed(&format!("{value:#}"))),
            false => writeln!(io::stdout(), "{value}"),
        }
    }

    /// Text without control characters on a terminal, since servers and agents write some of it.
    fn harmless<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.terminal { plain(text) } else { text.into() }
    }

    /// The columns of the terminal; None if the width of a line does not matter.
    fn width(&self) -> Option<usize> {
        let terminal = || if self.terminal { terminal::width() } else { None };
        terminal::columns().or_else(terminal).filter(|width| *width > 0)
    }
}

/// Prints an error to standard error, control characters escaped.
pub(super) fn error(text: &str) {
    let shown: Vec<_> = text.split('\n').map(revealed).collect();
    note(&format!("error: {}", shown.join("\n")));
}

/// Prints a line for people to standard error, where protocol and results never go.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", plain(text));
}

/// Prints a line for people to standard error that the next one overwrites.
pub(super) fn passing(text: &str) {
    let _ = write!(io::stderr(), "{text}\r");
}

/// The data and the lines of a report, for tests.
#[cfg(test)]
pub(super) fn parts(report: Report) -> (Value, Vec<String>) {
    let line = |block| if let Block::Line(text) = block { Some(text) } else { None };
    (report.json, report.blocks.into_iter().filter_map(line).collect())
}
