//! Faults, warnings and secrets, noted while settings are read.

use std::path::{Path, PathBuf};

use super::{
    fault::{Faults, SettingsFault},
    written::Location,
};
use crate::{
    domain::{
        call::ServerName,
        settings::{PerFile, SettingsFile},
    },
    host::environment::Environment,
};

/// What a child gets of the gateway's environment, besides what its entry says. Nothing here names
/// a secret; the gateway's own variables stay with the gateway.
pub(super) const INHERITED: [&str; 27] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMFILES",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
    "COMSPEC",
];

/// Faults, warnings and secrets, noted file by file while the settings are read.
pub(super) struct Findings<'a> {
    pub(super) env: &'a Environment,
    /// The file that is read, and where it is.
    about: Option<SettingsFile>,
    path: PathBuf,
    pub(super) faults: Faults,
    pub(super) warnings: PerFile<Vec<String>>,
    /// Values that may be secret, such as those that references bring in.
    pub(super) secrets: Vec<String>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(env: &'a Environment) -> Self {
        let (faults, warnings, secrets) = Default::default();
        Self { env, about: None, path: PathBuf::new(), faults, warnings, secrets }
    }

    /// Everything noted from here on is about this file.
    pub(super) fn begin(&mut self, file: SettingsFile, path: Option<&Path>) {
        self.about = Some(file);
        self.path = path.unwrap_or(Path::new("")).to_owned();
    }

    /// The directory of the file that is read.
    pub(super) fn dir(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Notes a fault of what has no value then.
    pub(super) fn refuse<T>(&mut self, at: &Location, message: impl Into<String>) -> Option<T> {
        self.fault(at, message);
        None
    }

    pub(super) fn fault(&mut self, at: &Location, message: impl Into<String>) {
        self.fault_at(Some(at.position), at.path.clone(), message);
    }

    /// Notes a fault of the file, at a position if one is known: the file could not be read or parsed.
    pub(super) fn fault_at(
        &mut self,
        position: Option<(u64, u64)>,
        place: String,
        message: impl Into<String>,
    ) {
        let (about, message) = (self.about, message.into());
        let file = Some(self.path.clone());
        self.faults.0.push(SettingsFault { about, file, position, place, message });
    }

    /// Notes a fault of the command line, the environment, or where files are.
    pub(super) fn general(&mut self, message: impl Into<String>) {
        self.faults.0.push(SettingsFault::general(self.about, message));
    }

    /// Whether no fault of a file was found so far.
    pub(super) fn is_sound(&self, file: SettingsFile) -> bool {
        self.faults.about(file).next().is_none()
    }

    pub(super) fn warn(&mut self, at: &Location, message: &str) {
        self.warn_of_all(format!("{} {message}", self.whereabouts(at)));
    }

    /// Warns of something that has no one place.
    pub(super) fn warn_of_all(&mut self, message: String) {
        let about = self.about.unwrap_or(SettingsFile::Gateway);
        self.warnings.of_mut(about).push(message);
    }

    /// Where something stands, in words.
    pub(super) fn whereabouts(&self, at: &Location) -> String {
        let (line, column) = at.position;
        format!("{}:{line}:{column}: `{}`", self.path.display(), at.path)
    }

    /// Warns of a server that is not configured.
    pub(super) fn warn_of_unknown(&mut self, server: &str, at: &Location, servers: &[&str]) {
        // The built-in server is always there.
        if !servers.contains(&server) && server != ServerName::BUILT_IN {
            self.warn(at, &format!("refers to server `{server}`, which is not configured"));
        }
    }

    /// Hides a value that came from the environment, unless every log may show it, such as `$HOME`.
    pub(super) fn hide(&mut self, value: &str) {
        let mut public = INHERITED.iter().filter_map(|name| self.env.variables.get(*name));
        if !public.any(|shown| shown == value) {
            self.secrets.push(value.to_owned());
        }
    }
}
