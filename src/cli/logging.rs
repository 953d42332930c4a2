//! The log: on standard error, every secret of the settings masked.

use std::io::{self, Write};

use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use super::output::colour;
use crate::domain::redact::Redactor;

/// Starts the log. `RUST_LOG` overrides the level.
pub(super) fn start(level: &str, redactor: Redactor) {
    // rmcp logs whole requests, arguments and tokens included; it stays silent unless asked.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("off,tollgate={level}")));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colour())
        .with_writer(Masked(redactor))
        .finish();
    // Fails only if a log was started before, which then goes on.
    let _ = tracing::subscriber::set_global_default(log);
}

/// Writes lines to standard error with secrets masked.
struct Masked(Redactor);

impl<'a> MakeWriter<'a> for Masked {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { redactor: &self.0 }
    }
}

/// One event, which `tracing_subscriber` writes in one piece.
struct Line<'a> {
    redactor: &'a Redactor,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        io::stderr().write_all(self.redactor.redact(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
