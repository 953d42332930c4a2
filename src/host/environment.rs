//! The surroundings of the process: environment variables, working directory, own binary.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

/// What the process was given by its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Environment variables; those that are not Unicode are left out.
    pub variables: HashMap<String, String>,
    /// The working directory.
    pub working_dir: PathBuf,
    /// The running binary, so that a gateway does not start itself.
    pub executable: Option<PathBuf>,
}

/// The directories that programs are looked for in, where no other `PATH` is given.
pub fn program_dirs(path: Option<&str>) -> Vec<PathBuf> {
    let path = path.map(Into::into).or_else(|| std::env::var_os("PATH"));
    path.iter().flat_map(std::env::split_paths).collect()
}

impl Environment {
    /// The surroundings of this process.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
            working_dir: std::env::current_dir().unwrap_or_default(),
            executable: std::env::current_exe().ok(),
        }
    }

    /// A variable; unset and empty are the same.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A path as people write it: `~` is their home, and a relative path starts at the working
    /// directory.
    pub fn path(&self, written: impl AsRef<Path>) -> PathBuf {
        self.working_dir.join(self.beneath_home(written))
    }

    /// A path in which `~` at the beginning is the user's home, if that is known.
    pub fn beneath_home(&self, written: impl AsRef<Path>) -> PathBuf {
        let written = written.as_ref();
        match (written.strip_prefix("~"), self.get("HOME")) {
            (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => PathBuf::from(home),
            (Ok(rest), Some(home)) => Path::new(home).join(rest),
            _ => written.to_owned(),
        }
    }

    /// Whether a variable says yes: `true`, `1` or `yes`, in any case.
    pub fn says_yes(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| ["true", "1", "yes"].contains(&v.to_lowercase().as_str()))
    }
}
