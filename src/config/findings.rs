//! Faults, warnings and secrets of one file.

use std::path::{Path, PathBuf};

use super::{
    fault::{Faults, SettingsFault},
    written::Location,
};
use crate::host::environment::Environment;

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

/// What expansion brought in, without what every log may show, such as `$HOME`.
pub(super) fn worth_hiding(secrets: Vec<String>, env: &Environment) -> Vec<String> {
    let public: Vec<&String> =
        INHERITED.iter().filter_map(|name| env.variables.get(*name)).collect();
    secrets.into_iter().filter(|secret| !public.contains(&secret)).collect()
}

pub(super) struct FileFindings<'a> {
    pub(super) file: PathBuf,
    pub(super) env: &'a Environment,
    pub(super) faults: &'a mut Faults,
    pub(super) warnings: Vec<String>,
    /// Values that may be secret, such as those that references bring in.
    pub(super) secrets: Vec<String>,
}

impl<'a> FileFindings<'a> {
    pub(super) fn new(file: &Path, env: &'a Environment, faults: &'a mut Faults) -> Self {
        Self { file: file.to_owned(), env, faults, warnings: Vec::new(), secrets: Vec::new() }
    }

    /// Notes a fault of what has no value then.
    pub(super) fn refuse<T>(&mut self, at: &Location, message: impl Into<String>) -> Option<T> {
        self.fault(at, message);
        None
    }

    pub(super) fn fault(&mut self, at: &Location, message: impl Into<String>) {
        self.faults.push(SettingsFault {
            about: None,
            file: Some(self.file.clone()),
            position: Some(at.position),
            place: at.path.clone(),
            message: message.into(),
        });
    }

    pub(super) fn warn(&mut self, at: &Location, message: &str) {
        self.warnings.push(format!("{} {message}", self.whereabouts(at)));
    }

    /// Where something stands, in words.
    pub(super) fn whereabouts(&self, at: &Location) -> String {
        let (line, column) = at.position;
        format!("{}:{line}:{column}: `{}`", self.file.display(), at.path)
    }

    /// Warns of a server that is not configured.
    pub(super) fn warn_of_unknown(&mut self, server: &str, at: &Location, servers: &[&str]) {
        // The built-in server is always there.
        if !servers.contains(&server) && server != "gateway" {
            self.warn(at, &format!("refers to server `{server}`, which is not configured"));
        }
    }
}
