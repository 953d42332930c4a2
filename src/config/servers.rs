//! The servers of one file, as checked: names, entries that are switched off, specifications.

use std::{collections::BTreeMap, path::Path};

use super::{
    check,
    entry::{self, Form},
    findings::Findings,
    written::{At, McpFile, ServerEntry},
};
use crate::{
    domain::{
        call::ServerName,
        settings::{Endpoint, ServerSpec, SettingsFile},
    },
    host::environment::Environment,
};

#[derive(Default)]
pub(super) struct LoadedServers {
    pub(super) specs: Vec<ServerSpec>,
    /// Servers that are there but switched off.
    pub(super) disabled: Vec<String>,
    /// Every entry, faulty ones included, and where it stands.
    pub(super) entries: BTreeMap<String, String>,
}

/// Reads `.mcp.json`: the format that MCP clients share, so an existing file works as it is.
pub(super) fn load(path: Option<&Path>, findings: &mut Findings<'_>) -> LoadedServers {
    let mut loaded = LoadedServers::default();
    let written: Option<At<McpFile>> = check::read(SettingsFile::McpConfig, path, findings);
    for (name, At { place, value }) in written.into_iter().flat_map(|file| file.value.servers) {
        loaded.add(&name, At { place, value: value.0 }, Form::default(), findings);
    }
    loaded
}

impl LoadedServers {
    /// Takes in an entry, which may be switched off.
    pub(super) fn add(
        &mut self,
        name: &str,
        entry: At<ServerEntry>,
        form: Form,
        findings: &mut Findings<'_>,
    ) {
        let at = entry.place.clone();
        self.entries.insert(name.to_owned(), findings.whereabouts(&at));
        if let Err(message) = check_name(name) {
            findings.fault(&at, message);
        }
        if entry.disabled == Some(true) {
            self.disabled.push(name.to_owned());
            return;
        }
        match entry::spec(name, entry, form, findings) {
            Some(spec) if starts_tollgate(&spec, findings.env) => {
                findings.warn(&at, "starts Tollgate itself and is left out");
                self.disabled.push(name.to_owned());
            }
            Some(spec) => self.specs.push(spec),
            None => {}
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("has an empty name"),
        ServerName::BUILT_IN => {
            Err("uses a name that is kept for the gateway itself; rename the server")
        }
        name if name.contains(['*', '?', '[', ']']) || name.chars().any(char::is_control) => Err(
            "has a name that rules could not write; leave out `*`, `?`, `[`, `]` and control characters",
        ),
        _ => Ok(()),
    }
}

/// Whether an entry would start this gateway again.
fn starts_tollgate(spec: &ServerSpec, env: &Environment) -> bool {
    let Endpoint::Stdio(command) = &spec.endpoint else { return false };
    let program = Path::new(&command.program);
    let named = program.file_stem().is_some_and(|stem| stem == "tollgate");
    let same = || {
        let ours = env.executable.as_ref()?.canonicalize().ok()?;
        Some(env.working_dir.join(program).canonicalize().ok()? == ours)
    };
    named || same().unwrap_or(false)
}
