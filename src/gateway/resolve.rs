//! Which server and tool a call means. Slips that clients and models make are repaired where only
//! one thing can be meant: names with the server's in front, a server left out, other capitals. Nothing is
//! guessed: where several could be meant, the caller is told which.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    Snapshot, builtin,
    owners::Unreached,
    request::{Call, catalogue},
};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        catalog::Catalogue,
        policy::Visit,
        refusal::Refusal,
    },
    downstream::{Member, NotYet},
};

/// This many names are listed in an error.
const MOST_NAMED: usize = 10;

/// A tool that a call means: the right to use a server, the server, and one of its tools.
pub(super) type Meant<'a> = (Visit, &'a Member, ToolName);

/// What a call means.
pub(super) enum Meaning<'a> {
    /// A server's tool.
    Tool(Meant<'a>),
    /// One of the gateway's own.
    BuiltIn(ToolName),
}

/// Why a call that names no server means nothing.
pub(super) enum Unclear<'a> {
    /// It could mean each of these.
    Several(Vec<Meant<'a>>),
    /// No server is known to have the tool. Of these servers nothing is known yet.
    Nowhere(Unreached),
    /// The server that is meant cannot be used, or the call was cancelled.
    Refused(Refusal),
}

impl Snapshot {
    /// The server that a name means: the one of that name, else the one that is called so but for
    /// capitals, among those that the caller may use.
    pub(super) fn server_meant<'a>(&'a self, caller: &Caller, name: &'a str) -> &'a str {
        let rules = &self.settings.rules;
        let may_use = |server: &ServerName| rules.visit(caller, server).is_ok();
        let exact = self.fleet.member(name).map(Member::name);
        // One that may not be known of is as one that is not there.
        let known = exact.is_some_and(|server| rules.explain_denials || may_use(server));
        if known || matches!(name, builtin::SERVER | "*") {
            return name;
        }
        let wanted = name.to_lowercase();
        let servers = self.fleet.members().iter().map(Member::name);
        let alike = servers.filter(|server| server.as_str().to_lowercase() == wanted);
        let mut alike = alike
            .filter(|server| may_use(server))
            .map(ServerName::as_str)
            .chain((wanted == builtin::SERVER).then_some(builtin::SERVER));
        match (alike.next(), alike.next()) {
            (Some(only), None) => only,
            _ => name,
        }
    }

    /// The server and the tool that a call means.
    pub(super) async fn resolve(
        &self,
        caller: &Caller,
        call: &Call,
        cancel: &CancellationToken,
    ) -> Result<Meaning<'_>, Refusal> {
        let routed = || self.settings.routing.route(&call.tool).map(ServerName::as_str);
        let Some(server) = call.server.as_deref().or_else(routed) else {
            let meaning = self.without_server(caller, call, cancel).await;
            return meaning.map_err(|unclear| self.unclear(caller, &call.tool, unclear));
        };
        let (visit, member) = self.visit(caller, server)?;
        self.tool_on(visit, member, call, cancel).await.map(Meaning::Tool)
    }

    /// The tool that a call means on a server.
    async fn tool_on<'a>(
        &self,
        visit: Visit,
        member: &'a Member,
        call: &Call,
        cancel: &CancellationToken,
    ) -> Result<Meant<'a>, Refusal> {
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

    /// Where `routing` sends a tool; else the one server that has it; else, if no server has it, the
    /// gateway's own tool of that name, or the server that takes all others: `defaultUpstream`, or the
    /// only one that the caller may use.
    pub(super) async fn without_server(
        &self,
        caller: &Caller,
        call: &Call,
        cancel: &CancellationToken,
    ) -> Result<Meaning<'_>, Unclear<'_>> {
        let tool = &call.tool;
        if let Some(server) = self.settings.routing.route(tool) {
            let meant = self.at(caller, tool, server);
            return meant.map(Meaning::Tool).ok_or_else(|| Unclear::Nowhere(Vec::new()));
        }
        let own = builtin::bare(tool);
        let mut owners = self.owners(caller, tool).await;
        let mut unreached = Vec::new();
        if owners.is_empty() {
            let named = self.named_in_front(caller, tool);
            let only = self.only_server(caller).filter(|_| own.is_none());
            if let Some((visit, member)) = named.or(only) {
                let meant = self.tool_on(visit, member, call, cancel).await;
                return meant.map(Meaning::Tool).map_err(Unclear::Refused);
            }
            unreached = self.learn(caller, call, cancel).await.map_err(Unclear::Refused)?;
            owners = self.owners(caller, tool).await;
        }
        match (<[Meant<'_>; 1]>::try_from(owners), own) {
            (Ok([meant]), _) => Ok(Meaning::Tool(meant)),
            (Err(none), Some(own)) if none.is_empty() => Ok(Meaning::BuiltIn(own)),
            (Err(owners), _) => {
                let meant = self.among(caller, tool, owners, unreached).await;
                meant.map(Meaning::Tool)
            }
        }
    }

    /// `defaultUpstream`, unless others have the tool and it is known not to.
    async fn among<'a>(
        &'a self,
        caller: &Caller,
        tool: &ToolName,
        owners: Vec<Meant<'a>>,
        unreached: Unreached,
    ) -> Result<Meant<'a>, Unclear<'a>> {
        let default = self.settings.routing.default.as_ref();
        let default = default.and_then(|server| self.at(caller, tool, server));
        let Some(meant) = default else {
            return Err(match owners.is_empty() {
                true => Unclear::Nowhere(unreached),
                false => Unclear::Several(owners),
            });
        };
        let catalogue = meant.1.server().known_catalogue().await;
        let has = catalogue.is_none_or(|catalogue| self.sees(&meant.0, &catalogue, &meant.2));
        if has || owners.is_empty() { Ok(meant) } else { Err(Unclear::Several(owners)) }
    }

    /// A tool on a server that the caller may use.
    fn at(&self, caller: &Caller, tool: &ToolName, server: &ServerName) -> Option<Meant<'_>> {
        let (visit, member) = self.visit(caller, server.as_str()).ok()?;
        Some((visit, member, bare(tool, server).unwrap_or_else(|| tool.clone())))
    }

    /// The one server whose name is in front of a tool's.
    fn named_in_front(&self, caller: &Caller, tool: &ToolName) -> Option<(Visit, &Member)> {
        let mut named =
            self.usable(caller).filter(|(_, member)| bare(tool, member.name()).is_some());
        let first = named.next()?;
        named.next().is_none().then_some(first)
    }

    /// The only server that the caller may use.
    fn only_server(&self, caller: &Caller) -> Option<(Visit, &Member)> {
        let mut usable = self.usable(caller);
        let first = usable.next()?;
        usable.next().is_none().then_some(first)
    }

    pub(super) fn sees(&self, visit: &Visit, catalogue: &Arc<Catalogue>, tool: &ToolName) -> bool {
        catalogue.tool(tool).is_some() && self.settings.rules.authorize(visit.clone(), tool).is_ok()
    }

    /// What to say where no tool is meant, or more than one.
    fn unclear(&self, caller: &Caller, tool: &ToolName, unclear: Unclear<'_>) -> Refusal {
        let why = match unclear {
            Unclear::Refused(refusal) => return refusal,
            Unclear::Several(several) => several_have(tool, &several),
            Unclear::Nowhere(unreached) => {
                let usable = self.usable(caller).map(|(_, member)| member.name().as_str());
                let usable = quoted(usable);
                let nowhere = match usable.is_empty() {
                    true => "there is no server that you may use".to_owned(),
                    false => format!("no tool `{tool}` is known; you may use {usable}"),
                };
                format!("{nowhere}{}", not_known(&unreached))
            }
        };
        Refusal::arguments(format!("execute_tool: `server` is missing, and {why}"))
    }
}

/// What to say of a tool that several servers have.
pub(super) fn several_have(tool: &ToolName, several: &[Meant<'_>]) -> String {
    let servers = several.iter().map(|(_, member, _)| member.name().as_str());
    format!("`{tool}` could be on each of {}", quoted(servers))
}

/// What to say of servers that may have the tool all the same; nothing if there are none.
pub(super) fn not_known(unreached: &Unreached) -> String {
    let parts: Vec<String> = unreached
        .iter()
        .take(MOST_NAMED)
        .map(|(server, why)| match why {
            NotYet::Starting => format!("`{server}` (starting, ask again)"),
            NotYet::Unavailable(_) => format!("`{server}` (unavailable)"),
        })
        .collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!("; not known yet: {}", parts.join(", ")),
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(MOST_NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A tool's name without its server's in front: `server__tool`, `server/tool`, `mcp__server__tool`.
pub(super) fn bare(tool: &ToolName, server: &ServerName) -> Option<ToolName> {
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
