//! Which settings files are read: flag → environment → working directory → `./config/` →
//! `~/.config/tollgate/`. A file that was named and is missing is a fault.

use std::path::{Path, PathBuf};

use super::{Environment, Faults, Options};

/// One of the three settings files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    McpConfig,
    Rules,
    Gateway,
}

impl Kind {
    fn file_name(self) -> &'static str {
        match self {
            Self::McpConfig => ".mcp.json",
            Self::Rules => ".mcp-gateway-rules.json",
            Self::Gateway => "gateway.yaml",
        }
    }

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
}

pub(super) fn locate(
    kind: Kind,
    options: &Options,
    env: &Environment,
    faults: &mut Faults,
) -> Option<PathBuf> {
    let (flag, named) = kind.flag(options);
    if let Some(path) = named {
        return existing(flag, env.working_dir.join(path), faults);
    }
    if let Some(dir) = &options.config_dir {
        return in_config_dir(kind, &env.working_dir.join(dir), env, faults);
    }
    for &variable in kind.variables() {
        if let Some(path) = env.get(variable) {
            return existing(variable, env.working_dir.join(path), faults);
        }
    }
    let home = env.get("HOME").map(|home| Path::new(home).join(".config/tollgate"));
    [env.working_dir.clone(), env.working_dir.join("config")]
        .into_iter()
        .chain(home)
        .map(|dir| dir.join(kind.file_name()))
        .find(|path| is_there(path))
        .and_then(|path| readable(path, faults))
}

/// Whether anything is at a path, a broken link included: what was put there for the gateway must
/// not be passed over because of what it is.
fn is_there(path: &Path) -> bool {
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
    kind: Kind,
    dir: &Path,
    env: &Environment,
    faults: &mut Faults,
) -> Option<PathBuf> {
    let path = dir.join(kind.file_name());
    // Said once, for the first file that is looked for.
    if !dir.is_dir() && kind == Kind::McpConfig {
        faults.general(format!("--config-dir: {} is not a directory", dir.display()));
    }
    if is_there(&path) {
        return readable(path, faults);
    }
    // Passing over a file that was named would leave its rules out of force.
    if let Some(variable) = kind.variables().iter().find(|variable| env.get(variable).is_some()) {
        faults.general(format!(
            "{variable} names a file, and --config-dir {} has no {}; give only one of them",
            dir.display(),
            kind.file_name()
        ));
    }
    None
}
