//! `gateway.yaml`: how the gateway runs. Its sections are read
//! - here: `server`, `upstreams`, `servers`, `allowPrivateUpstreams`, `logging`, `context`;
//! - in [`super::auth`]: `auth`;
//! - in [`super::budget`]: `budget`, `tools`, `enforcement`;
//! - in [`super::audit`]: `audit`, `store`, `metering`;
//! - in [`super::routing`]: `routing`, `defaultUpstream`;
//! - in [`super::entry`]: each server, of `.mcp.json` as well.

use std::path::Path;

use super::{
    audit, budget, check,
    entry::Form,
    findings::Findings,
    routing::{Others, routing},
    servers,
    written::{At, AuthSection, GatewayFile, ServerEntry, ServerSection, Servers},
};
use crate::domain::{
    budget::Budgeting,
    routing::Routing,
    rules::ContextLimits,
    settings::{Logging, SettingsFile},
    tokens::Encoding,
};

/// What the file says.
#[derive(Default)]
pub(super) struct LoadedGateway {
    pub(super) servers: servers::LoadedServers,
    /// To be checked when the rules are known.
    pub(super) auth: At<AuthSection>,
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
    path: Option<&Path>,
    others: Others<'_>,
    findings: &mut Findings<'_>,
) -> LoadedGateway {
    let mut loaded = LoadedGateway::default();
    let written: Option<At<GatewayFile>> = check::read(SettingsFile::Gateway, path, findings);
    let Some(At { place, value }) = written else { return loaded };
    let written = loaded.servers(value, others.servers, findings);
    let names = others.servers.entries.keys().chain(loaded.servers.entries.keys());
    let names: Vec<&str> = names.map(String::as_str).collect();
    loaded.budgeting.tariff = budget::tariff(written.tools, &names, findings);
    let default = (written.default_upstream, place.has("defaultUpstream"));
    loaded.routing = routing(written.routing, default, others, &loaded.servers, findings);
    loaded.presented_as = server(written.server.unwrap_or_default(), findings);
    loaded.auth = written.auth.unwrap_or_default();
    let (budget, mode) = (written.budget.unwrap_or_default(), written.enforcement);
    budget::budget(budget, mode, &mut loaded.budgeting, findings);
    audit::audit(written.audit.unwrap_or_default(), &mut loaded.budgeting, findings);
    audit::metering(written.metering, findings);
    audit::store(written.store.unwrap_or_default(), &mut loaded.budgeting.store, findings);
    if let Some(section) = written.logging {
        let level = section.level.map(|word| word.0);
        loaded.logging = Logging { level, json: section.json.unwrap_or(false) };
    }
    (loaded.context, loaded.encoding) = written.context.unwrap_or_default().into();
    loaded
}

impl LoadedGateway {
    /// Takes in the servers, and leaves the rest; `others` are those of `.mcp.json`.
    fn servers(
        &mut self,
        mut written: GatewayFile,
        others: &servers::LoadedServers,
        findings: &mut Findings<'_>,
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
fn server(written: ServerSection, findings: &mut Findings<'_>) -> (Option<String>, Option<String>) {
    let host = written.host.map(|at| at.place);
    for place in host.into_iter().chain(written.port.map(|at| at.place)) {
        findings.warn(&place, "has no effect on a gateway that serves stdio");
    }
    (written.name, written.version)
}
