//! Which server a call means that names none: `routing` and `defaultUpstream` of `gateway.yaml`.

use super::{
    findings::Findings,
    servers::LoadedServers,
    written::{At, RouteEntry},
};
use crate::domain::{
    call::ServerName,
    near::near,
    routing::{Route, Routing},
};

/// The servers of `.mcp.json`.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    pub(super) servers: &'a LoadedServers,
    /// Whether these are all that the file has; not if it could not be read.
    pub(super) complete: bool,
    /// Whether the file merely lies where it is looked for, while `gateway.yaml` was named.
    pub(super) stray: bool,
}

/// Where calls go that name no server; `default` is what is read of `defaultUpstream`, and whether it
/// is there.
pub(super) fn routing(
    routes: Option<Vec<At<RouteEntry>>>,
    default: (Option<At<String>>, bool),
    others: Others<'_>,
    own: &LoadedServers,
    findings: &mut Findings<'_>,
) -> Routing {
    let mut routing = Routing::default();
    for At { value: RouteEntry { tools, upstream }, .. } in routes.unwrap_or_default() {
        if tools.is_empty() {
            findings.fault(&tools.place, "names no tool; a route needs one, or a pattern");
        }
        if let Some(server) = server(upstream, others, own, findings) {
            routing.routes.push(Route { tools: tools.value, server });
        }
    }
    routing.default = match default {
        (Some(at), _) => server(at, others, own, findings),
        (None, true) => None,
        (None, false) => only_one(others, own),
    };
    routing
}

/// A server that is configured.
fn server(
    At { place, value: name }: At<String>,
    others: Others<'_>,
    own: &LoadedServers,
    findings: &mut Findings<'_>,
) -> Option<ServerName> {
    let entries = || others.servers.entries.keys().chain(own.entries.keys());
    if others.complete && !entries().any(|known| *known == name) {
        let near = near(&name, entries().map(String::as_str));
        let meant = near.first().map(|near| format!("; did you mean `{near}`?"));
        let meant = meant.unwrap_or_default();
        let message = format!("names server `{name}`, which is not configured{meant}");
        return findings.refuse(&place, message);
    }
    if others.servers.disabled.contains(&name) || own.disabled.contains(&name) {
        findings.warn(&place, &format!("names server `{name}`, which is switched off"));
    }
    Some(ServerName::from(name.as_str()))
}

/// The only server there is, if this file names it. An `.mcp.json` that merely lies in the working
/// directory does not count beside a `gateway.yaml` that was named.
fn only_one(others: Others<'_>, own: &LoadedServers) -> Option<ServerName> {
    let alone = others.stray || others.servers.specs.is_empty();
    match own.specs.as_slice() {
        [only] if alone => Some(only.name.clone()),
        _ => None,
    }
}
