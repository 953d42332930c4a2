//! The terminal that the process runs in, if any.

use std::io::{self, IsTerminal};

/// Whether people watch standard error.
pub fn watched() -> bool {
    io::stderr().is_terminal()
}

/// Whether colour is wanted on standard error (<https://no-color.org>).
pub fn colour() -> bool {
    watched() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The width that the user asks for.
pub fn columns() -> Option<usize> {
    std::env::var("COLUMNS").ok()?.parse().ok()
}

/// The columns of the terminal on standard output.
#[cfg(unix)]
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    Some(usize::from(size.ws_col))
}

/// Unknown here.
#[cfg(not(unix))]
pub fn width() -> Option<usize> {
    None
}
