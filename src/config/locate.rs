//! Which settings files are read: flag → environment → working directory → `./config/` →
//! `~/.config/tollgate/`. A file that was named and is missing is a fault.

use std::path::{Path, PathBuf};

use super::{Environment, Faults, Options};
use crate::domain::settings::SettingsFile;

/// Where a file is looked for, and who says so.
enum Places {
    /// One place, named by a flag or a variable.
    Named(&'static str, PathBuf),
    /// `--config-dir`.
    Dir(PathBuf),
    /// These, in order.
    Search(Vec<PathBuf>),
}

impl SettingsFile {
    fn flag(self, options: &Options) -> (&'static str, Option<&PathBuf>) {
        match self {
            Self::McpConfig => ("--mcp-config", options.mcp_config.as_ref()),
            Self::Rules => ("--rules", options.rules.as_ref()),
            Self::Gateway => ("--config", options.config.as_ref()),
        }
    }

    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::McpConfig => &["GATEWAY_MCP_CONFIG"],
            Self::Rules => &["GATEWAY_RULES"],
            Self::Gateway => &["GATEWAY_CONFIG", "MCP_GATEWAY_CONFIG"],
        }
    }

    fn places(self, options: &Options, env: &Environment) -> Places {
        let (flag, named) = self.flag(options);
        if let Some(path) = named {
            return Places::Named(flag, env.working_dir.join(path));
        }
        if let Some(dir) = &options.config_dir {
            return Places::Dir(env.working_dir.join(dir));
        }
        for &variable in self.variables() {
            if let Some(path) = env.get(variable) {
                return Places::Named(variable, env.working_dir.join(path));
            }
        }
        let home = env.get("HOME").map(|home| Path::new(home).join(".config/tollgate"));
        let dirs = [env.working_dir.clone(), env.working_dir.join("config")];
        Places::Search(dirs.into_iter().chain(home).map(|dir| dir.join(self.name())).collect())
    }
}

/// The file that is read; a fault if it should be there and is not.
pub(super) fn locate(
    file: SettingsFile,
    options: &Options,
    env: &Environment,
    faults: &mut Faults,
) -> Option<PathBuf> {
    match file.places(options, env) {
        Places::Named(by, path) => existing(by, path, faults),
        Places::Dir(dir) => in_config_dir(file, &dir, env, faults),
        Places::Search(paths) => {
            let first = paths.into_iter().find(|path| is_there(path));
            first.and_then(|path| readable(path, faults))
        }
    }
}

/// Every path at which the file would be read, in order.
pub(super) fn candidates(file: SettingsFile, options: &Options, env: &Environment) -> Vec<PathBuf> {
    match file.places(options, env) {
        Places::Named(_, path) => vec![path],
        Places::Dir(dir) => vec![dir.join(file.name())],
        Places::Search(paths) => paths,
    }
}

/// Whether anything is at a path, a broken link included: what was put there for the gateway must
/// not be passed over because of what it is.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn readable(path: PathBuf, faults: &mut Faults) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    faults.general(format!("{} is there, but it is not a file that can be read", path.display()));
    None
}

fn existing(named_by: &str, path: PathBuf, faults: &mut Faults) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    let what = if path.exists() { "is not a file" } else { "does not exist" };
    faults.general(format!("{named_by}: {} {what}", path.display()));
    None
}

fn in_config_dir(
    file: SettingsFile,
    dir: &Path,
    env: &Environment,
    faults: &mut Faults,
) -> Option<PathBuf> {
    let path = dir.join(file.name());
    // Said once, for the first file that is looked for.
    if !dir.is_dir() && file == SettingsFile::McpConfig {
        faults.general(format!("--config-dir: {} is not a directory", dir.display()));
    }
    if is_there(&path) {
        return readable(path, faults);
    }
    // Passing over a file that was named would leave its rules out of force.
    if let Some(variable) = file.variables().iter().find(|variable| env.get(variable).is_some()) {
        faults.general(format!(
            "{variable} names a file, and --config-dir {} has no {}; give only one of them",
            dir.display(),
            file.name()
        ));
    }
    None
}
