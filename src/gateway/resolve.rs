//! Which server and tool a call means. Slips that clients and models make are repaired where only
//! one thing can be meant: names with the server's in front, and a server left out. Nothing is
//! guessed: where several could be meant, the caller is told which.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    Snapshot,
    request::{Call, catalogue},
};
use crate::{
    domain::{
        call::{Caller, ServerName, ToolName},
        catalog::Catalogue,
        policy::Visit,
        refusal::Refusal,
    },
    downstream::Member,
};

/// This many names are listed in an error.
const MOST_NAMED: usize = 10;

/// What a call means: the right to use a server, the server, and one of its tools.
pub(super) type Meant<'a> = (Visit, &'a Member, ToolName);

impl Snapshot {
    /// The server and the tool that a call means.
    pub(super) async fn resolve(
        &self,
        caller: &Caller,
        call: &Call,
        cancel: &CancellationToken,
    ) -> Result<Meant<'_>, Refusal> {
        let routed = || self.settings.routing.route(&call.tool).map(ServerName::as_str);
        let Some(server) = call.server.as_deref().or_else(routed) else {
            let meant = self.without_server(caller, &call.tool).await;
            return meant.map_err(|several| self.which(caller, &call.tool, &several));
        };
        let (visit, member) = self.visit(caller, server)?;
        let Some(bare) = bare(&call.tool, member.name()) else {
            return Ok((visit, member, call.tool.clone()));
        };
        let allowed = |tool: &ToolName| self.settings.rules.authorize(visit.clone(), tool).is_ok();
        if !allowed(&bare) && !allowed(&call.tool) {
            return Ok((visit, member, bare));
        }
        // Some servers repeat their own name in those of their tools.
        let wait = call.patience(member).for_start();
        let catalogue = catalogue(member.server(), wait, cancel).await?;
        let tool = if self.sees(&visit, &catalogue, &call.tool) { call.tool.clone() } else { bare };
        Ok((visit, member, tool))
    }

    /// Where `routing` sends a tool, or the one server that is found to have it, or where
    /// `defaultUpstream` sends all others. Else all that could be meant.
    pub(super) async fn without_server(
        &self,
        caller: &Caller,
        tool: &ToolName,
    ) -> Result<Meant<'_>, Vec<Meant<'_>>> {
        let at = |server: &ServerName| {
            let (visit, member) = self.visit(caller, server.as_str()).ok()?;
            Some((visit, member, bare(tool, server).unwrap_or_else(|| tool.clone())))
        };
        if let Some(server) = self.settings.routing.route(tool) {
            return at(server).ok_or_else(Vec::new);
        }
        let several = match self.by_tool(caller, tool).await {
            Ok(meant) => return Ok(meant),
            Err(several) => several,
        };
        let Some(meant) = self.settings.routing.default.as_ref().and_then(at) else {
            return Err(several);
        };
        // It is no candidate if it is known not to have what others have.
        let catalogue = meant.1.server().known_catalogue().await;
        let has = catalogue.is_none_or(|catalogue| self.sees(&meant.0, &catalogue, &meant.2));
        if has || several.is_empty() { Ok(meant) } else { Err(several) }
    }

    /// The one tool of that name, with its server's name in front or without, among the tools that
    /// are known and that the caller may call. If none is known, the one server whose name is in
    /// front. Else all that could be meant.
    async fn by_tool(&self, caller: &Caller, tool: &ToolName) -> Result<Meant<'_>, Vec<Meant<'_>>> {
        let mut known = Vec::new();
        let mut named = Vec::new();
        for member in self.fleet.members() {
            let Ok(visit) = self.settings.rules.visit(caller, member.name()) else { continue };
            let bare = bare(tool, member.name());
            // As far as it is known: a server that does not answer would hold the others' calls up.
            if let Some(catalogue) = member.server().known_catalogue().await {
                let mut names = [Some(tool.clone()), bare.clone()].into_iter().flatten();
                let offered = names.find(|name| self.sees(&visit, &catalogue, name));
                known.extend(offered.map(|name| (visit.clone(), member, name)));
            }
            named.extend(bare.map(|bare| (visit, member, bare)));
        }
        let meant = if known.is_empty() { named } else { known };
        <[Meant<'_>; 1]>::try_from(meant).map(|[meant]| meant)
    }

    fn sees(&self, visit: &Visit, catalogue: &Arc<Catalogue>, tool: &ToolName) -> bool {
        catalogue.tool(tool).is_some() && self.settings.rules.authorize(visit.clone(), tool).is_ok()
    }

    /// What to say where not one tool is meant, but several or none.
    pub(super) fn which(&self, caller: &Caller, tool: &ToolName, several: &[Meant<'_>]) -> Refusal {
        let quoted = |names: Vec<&str>| {
            let names: Vec<String> =
                names.into_iter().take(MOST_NAMED).map(|name| format!("`{name}`")).collect();
            names.join(", ")
        };
        if several.is_empty() {
            let visible = self.fleet.members().iter().map(Member::name);
            let visible = visible.filter(|name| self.settings.rules.visit(caller, name).is_ok());
            return Refusal::arguments(format!(
                "execute_tool: `server` is missing, and no tool `{tool}` is known yet; you may use {}",
                quoted(visible.map(ServerName::as_str).collect())
            ));
        }
        let servers = several.iter().map(|(_, member, _)| member.name().as_str()).collect();
        Refusal::arguments(format!(
            "execute_tool: `server` is missing, and `{tool}` could be on each of {}",
            quoted(servers)
        ))
    }
}

/// A tool's name without its server's in front: `server__tool`, `server/tool`, `mcp__server__tool`.
fn bare(tool: &ToolName, server: &ServerName) -> Option<ToolName> {
    let tool = tool.as_str();
    let tool = tool.strip_prefix("mcp__").unwrap_or(tool).strip_prefix(server.as_str())?;
    let bare = tool.strip_prefix("__").or_else(|| tool.strip_prefix('/'))?;
    (!bare.is_empty()).then(|| ToolName::from(bare))
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_servers_name_in_front_is_taken_off() {
        for (tool, server, expected) in [
            ("git__log", "git", Some("log")),
            ("git/log", "git", Some("log")),
            ("mcp__git__log", "git", Some("log")),
            ("git__a__b", "git", Some("a__b")),
            ("git_log", "git", None),
            ("gitlog", "git", None),
            ("git__", "git", None),
            ("log", "git", None),
            ("mcp__log", "git", None),
        ] {
            let found = bare(&tool.into(), &server.into());
            assert_eq!(found, expected.map(Into::into), "{tool}");
        }
    }
}
