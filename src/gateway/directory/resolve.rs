//! Which server and tool a call means. Slips that clients and models make are repaired where only
//! one thing can be meant: a server's name in front of the tool's, a server left out, other capitals.
//! Nothing is guessed: where several could be meant, the answer names them.

use super::{
    Directory, ToolTarget, catalogue,
    servers_with::{Unreached, bare},
};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        policy::Visit,
        refusal::Refusal,
    },
    downstream::{Member, NotYet},
    gateway::{builtin, deadline::Deadline},
};

/// An error names at most this many servers.
const MOST_NAMED: usize = 10;

/// What a call means.
pub(in crate::gateway) enum Resolved<'a> {
    /// A server's tool.
    Tool(ToolTarget<'a>),
    /// One of the gateway's own.
    BuiltIn(ToolName),
}

/// Why a call that names no server means nothing.
enum Unresolved<'a> {
    /// Each of these has the tool.
    Ambiguous(Vec<ToolTarget<'a>>),
    /// No server is known to have the tool. Of these servers nothing is known yet.
    Nowhere(Unreached),
    /// The server that is meant cannot be used, or the call was cancelled.
    Refused(Refusal),
}

impl Directory {
    /// The server that a name means: the one of that name, else the one that is called so but for
    /// capitals, of those that the caller may use.
    pub(in crate::gateway) fn server_meant<'a>(
        &'a self,
        caller: &Caller,
        name: &'a str,
    ) -> &'a str {
        let rules = &self.settings.rules;
        let exact = self.fleet.member(name).map(Member::name);
        // One that may not be known of is as one that is not there.
        let known = exact
            .is_some_and(|server| rules.explain_denials || rules.visit(caller, server).is_ok());
        if known || matches!(name, builtin::SERVER | "*") {
            return name;
        }
        let wanted = name.to_lowercase();
        let usable = self.usable(caller).map(|(_, member)| member.name().as_str());
        let all = usable.chain([builtin::SERVER]);
        only(all.filter(|server| server.to_lowercase() == wanted)).unwrap_or(name)
    }

    /// The server and the tool that a call means.
    pub(in crate::gateway) async fn resolve(
        &self,
        caller: &Caller,
        server: Option<&str>,
        tool: &ToolName,
        deadline: &Deadline,
    ) -> Result<Resolved<'_>, Refusal> {
        let server = server.map(|name| self.server_meant(caller, name));
        if let (None | Some(builtin::SERVER), Some(own)) = (server, builtin::qualified(tool)) {
            return Ok(Resolved::BuiltIn(own));
        }
        if server == Some(builtin::SERVER) {
            return Ok(Resolved::BuiltIn(tool.clone()));
        }
        let routed = || self.settings.routing.route(tool).map(ServerName::as_str);
        let Some(server) = server.or_else(routed) else {
            let found = self.find_by_tool(caller, tool, deadline).await;
            return found.map_err(|why| self.refused(caller, tool, why));
        };
        let (visit, member) = self.visit(caller, server)?;
        self.tool_on(visit, member, tool, deadline).await.map(Resolved::Tool)
    }

    /// The tool that a call by its own name means.
    pub(in crate::gateway) async fn resolve_direct(
        &self,
        caller: &Caller,
        tool: &ToolName,
        deadline: &Deadline,
    ) -> Result<Resolved<'_>, Refusal> {
        if let Some(own) = builtin::qualified(tool) {
            return Ok(Resolved::BuiltIn(own));
        }
        let found = self.find_by_tool(caller, tool, deadline).await;
        found.map_err(|why| match why {
            Unresolved::Refused(refusal) => refusal,
            Unresolved::Ambiguous(several) => {
                let why = name_ambiguous(tool, &several);
                Refusal::arguments(format!("{why}; name one of them in front of it"))
            }
            Unresolved::Nowhere(unreached) => {
                Refusal::UnknownTool { tool: tool.clone(), unreached: name_unreached(&unreached) }
            }
        })
    }

    /// The tool that a call means on a server.
    async fn tool_on<'a>(
        &self,
        visit: Visit,
        member: &'a Member,
        named: &ToolName,
        deadline: &Deadline,
    ) -> Result<ToolTarget<'a>, Refusal> {
        let Some(bare) = bare(named, member.name()) else {
            return Ok(ToolTarget { visit, member, tool: named.clone() });
        };
        if !self.may_call(&visit, &bare) && !self.may_call(&visit, named) {
            return Ok(ToolTarget { visit, member, tool: bare });
        }
        // Some servers repeat their own name in those of their tools.
        let catalogue = catalogue(member.server(), &deadline.of(member)).await?;
        let tool = if self.sees(&visit, &catalogue, named) { named.clone() } else { bare };
        Ok(ToolTarget { visit, member, tool })
    }

    /// Where `routing` sends a tool; else the one server that has it; else, if no server has it, the
    /// gateway's own tool of that name, or the server that takes all others: `defaultUpstream`, or the
    /// only one that the caller may use.
    async fn find_by_tool(
        &self,
        caller: &Caller,
        tool: &ToolName,
        deadline: &Deadline,
    ) -> Result<Resolved<'_>, Unresolved<'_>> {
        if let Some(server) = self.settings.routing.route(tool) {
            let target = self.at(caller, tool, server);
            return target.map(Resolved::Tool).ok_or_else(|| Unresolved::Nowhere(Vec::new()));
        }
        let own = builtin::bare(tool);
        let mut targets = self.servers_with(caller, tool).await;
        let mut unreached = Vec::new();
        if targets.is_empty() {
            let in_front = |(_, member): &(Visit, &Member)| bare(tool, member.name()).is_some();
            let named = only(self.usable(caller).filter(in_front));
            let single = || only(self.usable(caller)).filter(|_| own.is_none());
            if let Some((visit, member)) = named.or_else(single) {
                let target = self.tool_on(visit, member, tool, deadline).await;
                return target.map(Resolved::Tool).map_err(Unresolved::Refused);
            }
            let learnt = self.learn(caller, tool, deadline).await;
            unreached = learnt.map_err(Unresolved::Refused)?;
            targets = self.servers_with(caller, tool).await;
        }
        match (<[ToolTarget<'_>; 1]>::try_from(targets), own) {
            (Ok([target]), _) => Ok(Resolved::Tool(target)),
            (Err(none), Some(own)) if none.is_empty() => Ok(Resolved::BuiltIn(own)),
            (Err(targets), _) => {
                let target = self.default_upstream(caller, tool, targets, unreached).await;
                target.map(Resolved::Tool)
            }
        }
    }

    /// `defaultUpstream`, unless others have the tool and it is known not to.
    async fn default_upstream<'a>(
        &'a self,
        caller: &Caller,
        tool: &ToolName,
        targets: Vec<ToolTarget<'a>>,
        unreached: Unreached,
    ) -> Result<ToolTarget<'a>, Unresolved<'a>> {
        let default = self.settings.routing.default.as_ref();
        let Some(target) = default.and_then(|server| self.at(caller, tool, server)) else {
            return Err(if targets.is_empty() {
                Unresolved::Nowhere(unreached)
            } else {
                Unresolved::Ambiguous(targets)
            });
        };
        let catalogue = target.member.server().known_catalogue().await;
        let has =
            catalogue.is_none_or(|catalogue| self.sees(&target.visit, &catalogue, &target.tool));
        if has || targets.is_empty() { Ok(target) } else { Err(Unresolved::Ambiguous(targets)) }
    }

    /// A tool on a server that the caller may use.
    fn at(&self, caller: &Caller, tool: &ToolName, server: &ServerName) -> Option<ToolTarget<'_>> {
        let (visit, member) = self.visit(caller, server.as_str()).ok()?;
        let tool = bare(tool, server).unwrap_or_else(|| tool.clone());
        Some(ToolTarget { visit, member, tool })
    }

    /// The refusal of a call that names no server, and whose tool is not on exactly one.
    fn refused(&self, caller: &Caller, tool: &ToolName, why: Unresolved<'_>) -> Refusal {
        let why = match why {
            Unresolved::Refused(refusal) => return refusal,
            Unresolved::Ambiguous(several) => name_ambiguous(tool, &several),
            Unresolved::Nowhere(unreached) => {
                let usable = self.usable(caller).map(|(_, member)| member.name().as_str());
                let usable = quoted(usable);
                let nowhere = if usable.is_empty() {
                    "there is no server that you may use".to_owned()
                } else {
                    format!("no tool `{tool}` is known; you may use {usable}")
                };
                format!("{nowhere}{}", name_unreached(&unreached))
            }
        };
        Refusal::arguments(format!("execute_tool: `server` is missing, and {why}"))
    }
}

/// The item, if there is exactly one.
fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// Names the servers that all have a tool.
fn name_ambiguous(tool: &ToolName, several: &[ToolTarget<'_>]) -> String {
    let servers = several.iter().map(|target| target.member.name().as_str());
    format!("`{tool}` could be on each of {}", quoted(servers))
}

/// Names the servers that may have a tool all the same; empty if there are none.
fn name_unreached(unreached: &Unreached) -> String {
    let parts: Vec<String> = unreached
        .iter()
        .take(MOST_NAMED)
        .map(|(server, why)| match why {
            NotYet::Starting => format!("`{server}` (starting, ask again)"),
            NotYet::Unavailable(_) => format!("`{server}` (unavailable)"),
        })
        .collect();
    if parts.is_empty() { String::new() } else { format!("; not known yet: {}", parts.join(", ")) }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(MOST_NAMED).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
