//! Faults of settings, with their places.

use std::{fmt, path::PathBuf};

use crate::domain::{redact::Redactor, settings::SettingsFile};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsFault {
    /// Which settings file it keeps from being read; None if it is a fault of the surroundings.
    pub about: Option<SettingsFile>,
    /// The file; None for a fault of the command line or the environment.
    pub file: Option<PathBuf>,
    /// Line and column, from 1; None where the whole file is meant.
    pub position: Option<(u64, u64)>,
    /// The place within the file, such as `agents.backend.allow`; empty for the top.
    pub place: String,
    /// The fault, and what to write instead.
    pub message: String,
}

impl fmt::Display for SettingsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            if let Some((line, column)) = self.position {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.place.is_empty() {
            write!(f, "`{}` ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

impl SettingsFault {
    /// A fault of the whole of a file, or of the surroundings.
    pub(super) fn general(about: Option<SettingsFile>, message: impl Into<String>) -> Self {
        Self { about, file: None, position: None, place: String::new(), message: message.into() }
    }
}

/// Every fault of one load.
#[derive(Clone, Debug, Default)]
pub struct Faults(pub(super) Vec<SettingsFault>);

impl Faults {
    /// The faults, file by file.
    pub fn iter(&self) -> impl Iterator<Item = &SettingsFault> {
        self.0.iter()
    }

    /// The faults of one settings file.
    pub fn about(&self, file: SettingsFile) -> impl Iterator<Item = &SettingsFault> {
        self.0.iter().filter(move |fault| fault.about == Some(file))
    }

    /// The faults with secrets masked where a message quotes a value.
    pub(super) fn masked(mut self, redactor: &Redactor) -> Self {
        for fault in &mut self.0 {
            fault.message = redactor.redact(&fault.message).into_owned();
        }
        self
    }

    pub(super) fn of_no_file(message: &str) -> Self {
        Self(vec![SettingsFault::general(None, message)])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
