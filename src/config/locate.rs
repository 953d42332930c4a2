//! Which settings files are read: flag → environment → working directory → `./config/` →
//! `~/.config/tollgate/`. A file that was named and is missing is a fault.

use std::path::{Path, PathBuf};

use super::findings::Findings;
use crate::{domain::settings::SettingsFile, host::environment::Environment};

/// What the command line says about settings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config-dir`: all files are looked for here and nowhere else.
    pub config_dir: Option<PathBuf>,
    /// `--mcp-config`.
    pub mcp_config: Option<PathBuf>,
    /// `--rules`.
    pub rules: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--as`: the one agent that this gateway serves.
    pub act_as: Option<String>,
    /// `--debug`.
    pub debug: bool,
}

/// Where a file is looked for, and who says so.
enum LookupPlaces {
    /// One place, named by a flag or a variable.
    Named(&'static str, PathBuf),
    /// `--config-dir`.
    Dir(PathBuf),
    /// These directories, in order.
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

    fn places(self, options: &Options, env: &Environment) -> LookupPlaces {
        let (flag, named) = self.flag(options);
        if let Some(path) = named {
            return LookupPlaces::Named(flag, env.path(path));
        }
        if let Some(dir) = &options.config_dir {
            return LookupPlaces::Dir(env.path(dir));
        }
        for &variable in self.variables() {
            if let Some(path) = env.get(variable) {
                return LookupPlaces::Named(variable, env.path(path));
            }
        }
        let home = env.get("HOME").map(|home| Path::new(home).join(".config/tollgate"));
        let dirs = [env.working_dir.clone(), env.working_dir.join("config")];
        LookupPlaces::Search(dirs.into_iter().chain(home).collect())
    }

    /// Every path in a directory at which it would be read.
    fn within(self, dir: &Path) -> impl Iterator<Item = PathBuf> {
        self.names().iter().map(|name| dir.join(name))
    }
}

/// The file that is read; a fault if it should be there and is not.
pub(super) fn locate(
    file: SettingsFile,
    options: &Options,
    findings: &mut Findings<'_>,
) -> Option<PathBuf> {
    findings.begin(file, None);
    let env = findings.env;
    match file.places(options, env) {
        LookupPlaces::Named(by, path) => existing(by, path, findings),
        LookupPlaces::Dir(dir) => in_config_dir(file, &dir, findings),
        LookupPlaces::Search(dirs) => {
            dirs.iter().find_map(|dir| match only(file, dir, findings) {
                Ok(found) => found.map(|path| readable(path, findings)),
                Err(Several) => Some(None),
            })?
        }
    }
}

/// Whether a flag or a variable says where the file is.
pub(super) fn is_named(file: SettingsFile, options: &Options, env: &Environment) -> bool {
    !matches!(file.places(options, env), LookupPlaces::Search(_))
}

/// Several files of one kind lie in one directory.
struct Several;

/// The file of a directory, if it has one. Several are a fault: the one that is passed over may be
/// the one that restricts.
fn only(
    file: SettingsFile,
    dir: &Path,
    findings: &mut Findings<'_>,
) -> Result<Option<PathBuf>, Several> {
    let mut found: Vec<PathBuf> = file.within(dir).filter(|path| is_there(path)).collect();
    if found.len() < 2 {
        return Ok(found.pop());
    }
    let names = found.iter().filter_map(|path| path.file_name()?.to_str());
    let names = names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
    findings.general(format!(
        "{} has {names}, of which one is read; keep one of them, or name it with --config",
        dir.display()
    ));
    Err(Several)
}

/// Every path at which the file would be read, in order.
pub(super) fn candidates(file: SettingsFile, options: &Options, env: &Environment) -> Vec<PathBuf> {
    match file.places(options, env) {
        LookupPlaces::Named(_, path) => vec![path],
        LookupPlaces::Dir(dir) => file.within(&dir).collect(),
        LookupPlaces::Search(dirs) => dirs.iter().flat_map(|dir| file.within(dir)).collect(),
    }
}

/// Whether anything is at a path, a broken link included: what was put there for the gateway must
/// not be passed over because of what it is.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn readable(path: PathBuf, findings: &mut Findings<'_>) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    findings.general(format!("{} is there, but it is not a file that can be read", path.display()));
    None
}

fn existing(named_by: &str, path: PathBuf, findings: &mut Findings<'_>) -> Option<PathBuf> {
    if path.is_file() {
        return Some(path);
    }
    let what = if path.exists() { "is not a file" } else { "does not exist" };
    findings.general(format!("{named_by}: {} {what}", path.display()));
    None
}

fn in_config_dir(file: SettingsFile, dir: &Path, findings: &mut Findings<'_>) -> Option<PathBuf> {
    // Said once, for the first file that is looked for.
    if !dir.is_dir() && file == SettingsFile::McpConfig {
        findings.general(format!("--config-dir: {} is not a directory", dir.display()));
    }
    match only(file, dir, findings) {
        Ok(Some(path)) => return readable(path, findings),
        Ok(None) => {}
        Err(Several) => return None,
    }
    // Passing over a file that was named would leave its rules out of force.
    if let Some(variable) = file.variables().iter().find(|name| findings.env.get(name).is_some()) {
        findings.general(format!(
            "{variable} names a file, and --config-dir {} has no {}; give only one of them",
            dir.display(),
            file.name()
        ));
    }
    None
}
