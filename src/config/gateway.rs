//! `gateway.yaml`: how the gateway runs. [`super::auth`], [`super::money`] and [`super::routing`]
//! read the larger parts of it.

use std::path::Path;

use super::{
    auth, check,
    document::{self, Value},
    entry::Form,
    fault::Faults,
    findings::{FileFindings, worth_hiding},
    money,
    routing::{Others, routing},
    servers,
    written::{
        Arguments, At, AuditSection, DiscoveryEntry, DiscoveryWord, GatewayFile, ServerEntry,
        ServerSection, Servers,
    },
};
use crate::{
    domain::{
        budget::{Backend, Budgeting, Discovery, StoreSettings},
        routing::Routing,
        rules::ContextLimits,
        settings::{Logging, SettingsFile},
        tokens::Encoding,
    },
    host::environment::Environment,
};

/// What the file says.
#[derive(Default)]
pub(super) struct LoadedGateway {
    /// Its servers; warnings and secrets are those of the whole file.
    pub(super) servers: servers::LoadedServers,
    /// To be settled with the rules.
    pub(super) auth: auth::LoadedAuth,
    pub(super) budgeting: Budgeting,
    pub(super) routing: Routing,
    pub(super) presented_as: (Option<String>, Option<String>),
    pub(super) logging: Logging,
    /// For agents whose rules say nothing.
    pub(super) context: ContextLimits,
    pub(super) encoding: Option<Encoding>,
}

/// Reads the file.
pub(super) fn load(
    file: Option<&Path>,
    others: Others<'_>,
    env: &Environment,
    faults: &mut Faults,
) -> LoadedGateway {
    let mut loaded = LoadedGateway::default();
    let Some(file) = file else { return loaded };
    let Some(document) = document::read(file, faults) else { return loaded };
    // All of it may be commented out.
    if let Value::Null = &document.value {
        return loaded;
    }
    let mut findings = FileFindings::new(file, env, faults);
    let written: Option<At<GatewayFile>> =
        check::read(&document, SettingsFile::Gateway, &mut findings);
    if let Some(At { place, value }) = written {
        let written = loaded.servers(value, others.servers, &mut findings);
        let names = others.servers.entries.keys().chain(loaded.servers.entries.keys());
        let names: Vec<&str> = names.map(String::as_str).collect();
        loaded.budgeting.tariff = money::tariff(written.tools, &names, &mut findings);
        let default = (written.default_upstream, place.has("defaultUpstream"));
        loaded.routing = routing(written.routing, default, others, &loaded.servers, &mut findings);
        loaded.presented_as = server(written.server.unwrap_or_default(), &mut findings);
        loaded.auth = auth::load(written.auth.unwrap_or_default(), &mut findings);
        money::budget(written.budget.unwrap_or_default(), &mut loaded.budgeting, &mut findings);
        let mode = written.enforcement.and_then(|section| section.mode);
        loaded.budgeting.mode = mode.map(|word| word.0).unwrap_or_default();
        audit(written.audit.unwrap_or_default(), &mut loaded.budgeting, &mut findings);
        let metering = written.metering.and_then(|section| section.enabled);
        warn_if_off(metering, "every call is metered all the same", &mut findings);
        if let Some(section) = written.logging {
            let level = section.level.map(|word| word.0);
            loaded.logging = Logging { level, json: section.json.unwrap_or(false) };
        }
        (loaded.context, loaded.encoding) = written.context.unwrap_or_default().into();
        if let Some(section) = written.store {
            let durability = section.durability.map(|word| word.0);
            loaded.budgeting.store.durability = durability.unwrap_or_default();
            store_path(section.path, &mut loaded.budgeting.store, &mut findings);
        }
    }
    loaded.servers.warnings = findings.warnings;
    loaded.servers.secrets.extend(worth_hiding(findings.secrets, env));
    loaded
}

impl LoadedGateway {
    /// Takes in the servers, and leaves the rest; `others` are those of `.mcp.json`.
    fn servers(
        &mut self,
        mut written: GatewayFile,
        others: &servers::LoadedServers,
        findings: &mut FileFindings<'_>,
    ) -> GatewayFile {
        let form = Form { any_address: written.allow_private_upstreams == Some(true) };
        let mut add = |name: &str, entry: At<ServerEntry>| {
            let own = &self.servers.entries;
            if let Some(place) = others.entries.get(name).or_else(|| own.get(name)) {
                let message = format!("has a name that is taken by {place}; rename one of them");
                findings.fault(&entry.place, message);
            }
            self.servers.add(name, entry, form, findings);
        };
        let by_name = written.upstreams.take().into_iter().flatten();
        let (more, list) = match written.servers.take() {
            Some(Servers::ByName(more)) => (more, Vec::new()),
            Some(Servers::List(list)) => (Default::default(), list),
            None => Default::default(),
        };
        for (name, At { place, value }) in by_name.chain(more) {
            add(&name, At { place, value: value.0 });
        }
        for At { place, value } in list {
            let name = value.0.id.clone().unwrap_or_default();
            add(&name, At { place, value: value.0 });
        }
        written
    }
}

/// Under which name and version the gateway presents itself.
fn server(
    written: ServerSection,
    findings: &mut FileFindings<'_>,
) -> (Option<String>, Option<String>) {
    let host = written.host.map(|at| at.place);
    for place in host.into_iter().chain(written.port.map(|at| at.place)) {
        findings.warn(&place, "has no effect on a gateway that serves stdio");
    }
    (written.name, written.version)
}

/// Whether records hold whole arguments, and where they are kept: `path` is the SQLite file of
/// records in the older system, and accounts lie in the same file here.
fn audit(written: AuditSection, budgeting: &mut Budgeting, findings: &mut FileFindings<'_>) {
    warn_if_off(written.enabled, "every call is recorded all the same", findings);
    warn_if_off(written.hash_chain, "records are chained all the same", findings);
    budgeting.discovery = match written.discovery {
        Some(DiscoveryEntry::OneIn(many)) => Discovery::OneIn(many.get()),
        Some(DiscoveryEntry::Word(DiscoveryWord::Off)) => Discovery::Off,
        Some(DiscoveryEntry::Word(DiscoveryWord::Each)) | None => Discovery::default(),
    };
    budgeting.full_arguments = written.arguments == Some(Arguments::Full);
    store_path(written.path, &mut budgeting.store, findings);
}

/// Warns of a switch that says `false` and switches nothing off.
fn warn_if_off(switch: Option<At<bool>>, why: &str, findings: &mut FileFindings<'_>) {
    if let Some(At { place, value: false }) = switch {
        findings.warn(&place, &format!("has no effect: {why}"));
    }
}

/// Where accounts and records are kept: `store.path`, or `audit.path` of the older system.
fn store_path(
    path: Option<At<String>>,
    settings: &mut StoreSettings,
    findings: &mut FileFindings<'_>,
) {
    let Some(At { place, value: path }) = path else { return };
    if path.is_empty() {
        findings.fault(&place, "must name a file");
    }
    if settings.backend == Backend::Memory {
        findings.warn(&place, "has no effect beside `budget.backend: memory`");
    }
    // Beside the file that names it: the gateway is started from many directories.
    let dir = findings.file.parent().unwrap_or(Path::new(""));
    let path = dir.join(findings.env.beneath_home(path));
    if settings.path.as_ref().is_some_and(|other| *other != path) {
        findings.fault(
            &place,
            "is another file than `audit.path`, and both name the store of accounts and records; keep one of them",
        );
    }
    settings.path = Some(path);
}
