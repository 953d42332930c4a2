//! Which servers and tools there are, and what a caller may know of them.

pub(super) mod resolve;
pub(super) mod search;
mod servers_with;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    builtin,
    deadline::Deadline,
    refusals::{denied, unavailable},
};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        catalog::{Catalogue, Tool},
        near::near,
        policy::{Permit, Visit},
        refusal::Refusal,
        settings::Settings,
    },
    downstream::{Fleet, Member, Server},
};

/// The servers of one state of the settings, and the rules that say who sees them.
#[derive(Debug)]
pub(super) struct Directory {
    settings: Arc<Settings>,
    fleet: Fleet,
    /// Whether a start is waited for to its end. A command of the shell does, which would end it.
    waits_for_starts: bool,
}

/// The tool that a call means: the right to use a server, the server, and one of its tools.
pub(super) struct ToolTarget<'a> {
    pub(super) visit: Visit,
    pub(super) member: &'a Member,
    pub(super) tool: ToolName,
}

impl Directory {
    pub(super) fn new(settings: &Arc<Settings>, fleet: Fleet, waits_for_starts: bool) -> Self {
        Self { settings: settings.clone(), fleet, waits_for_starts }
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The deadline of a call that begins now.
    pub(super) fn deadline(&self, cancel: &CancellationToken) -> Deadline {
        Deadline::new(self.waits_for_starts, cancel.clone())
    }

    /// The servers that a caller may use.
    pub(super) fn usable(&self, caller: &Caller) -> impl Iterator<Item = (Visit, &Member)> {
        let members = self.fleet.members().iter();
        members.filter_map(|member| {
            Some((self.settings.rules.visit(caller, member.name()).ok()?, member))
        })
    }

    /// The right to use the server, and the server.
    pub(super) fn visit(&self, caller: &Caller, name: &str) -> Result<(Visit, &Member), Refusal> {
        let Some(member) = self.fleet.member(name) else {
            return Err(self.no_server(caller, name));
        };
        match self.settings.rules.visit(caller, member.name()) {
            Ok(visit) => Ok((visit, member)),
            Err(why) if self.settings.rules.explain_denials => {
                Err(denied(format!("server `{name}`"), why))
            }
            Err(_) => Err(self.no_server(caller, name)),
        }
    }

    /// A permit for the tool. A refusal that may not be explained looks exactly like a tool that
    /// does not exist, which takes the server's list of tools.
    pub(super) async fn authorise(
        &self,
        visit: Visit,
        tool: &ToolName,
        server: &Arc<Server>,
        deadline: &Deadline,
    ) -> Result<Permit, Refusal> {
        let seen_by = visit.clone();
        match self.settings.rules.authorize(visit, tool) {
            Ok(permit) => Ok(permit),
            Err(why) if self.settings.rules.explain_denials => {
                Err(denied(format!("tool `{tool}` on server `{}`", server.name()), why))
            }
            Err(_) => {
                let catalogue = catalogue(server, deadline).await?;
                Err(self.no_tool(&seen_by, tool, &catalogue))
            }
        }
    }

    /// Refuses a tool of the built-in server that rules deny by name.
    pub(super) fn authorise_builtin(
        &self,
        caller: &Caller,
        tool: &ToolName,
    ) -> Result<(), Refusal> {
        let (rules, server) = (&self.settings.rules, ServerName::from(builtin::SERVER));
        rules.builtin(caller, &server, tool).map_err(|why| {
            if rules.explain_denials {
                denied(format!("tool `{tool}` on server `{server}`"), why)
            } else {
                self.no_builtin(caller, tool)
            }
        })
    }

    pub(super) fn visit_builtin(&self, caller: &Caller) -> Result<Visit, Refusal> {
        let (rules, server) = (&self.settings.rules, ServerName::from(builtin::SERVER));
        rules.visit(caller, &server).map_err(|why| {
            if rules.explain_denials {
                denied(format!("server `{server}`"), why)
            } else {
                Refusal::ServerNotFound { server: server.to_string(), near: Vec::new() }
            }
        })
    }

    /// The answer where there is no such server, or the caller may not know of it.
    fn no_server(&self, caller: &Caller, name: &str) -> Refusal {
        let usable = self.usable(caller).map(|(_, member)| member.name().as_str());
        Refusal::ServerNotFound { server: name.to_owned(), near: owned(near(name, usable)) }
    }

    pub(super) fn no_tool(&self, visit: &Visit, tool: &ToolName, catalogue: &Catalogue) -> Refusal {
        let visible = self.visible_tools(visit, catalogue).map(|tool| tool.name().as_str());
        let near = owned(near(tool.as_str(), visible));
        Refusal::ToolNotFound { server: visit.server().clone(), tool: tool.clone(), near }
    }

    pub(super) fn no_builtin(&self, caller: &Caller, tool: &ToolName) -> Refusal {
        let server = ServerName::from(builtin::SERVER);
        let open = |name: &&ToolName| self.settings.rules.builtin(caller, &server, name).is_ok();
        let visible: Vec<&str> = builtin::names().filter(open).map(ToolName::as_str).collect();
        let alike = near(tool.as_str(), visible.iter().copied());
        let near = owned(if alike.is_empty() { visible } else { alike });
        Refusal::ToolNotFound { server, tool: tool.clone(), near }
    }

    pub(super) fn may_call(&self, visit: &Visit, tool: &ToolName) -> bool {
        self.settings.rules.authorize(visit.clone(), tool).is_ok()
    }

    /// The tools that a visitor may call, in the server's order.
    pub(super) fn visible_tools<'a>(
        &'a self,
        visit: &'a Visit,
        catalogue: &'a Catalogue,
    ) -> impl Iterator<Item = &'a Tool> {
        let tools = catalogue.tools().iter().map(Arc::as_ref);
        tools.filter(|tool| self.may_call(visit, tool.name()))
    }
}

/// The server's tools; starts it if need be.
pub(super) async fn catalogue(
    server: &Arc<Server>,
    deadline: &Deadline,
) -> Result<Arc<Catalogue>, Refusal> {
    let listed = server.catalogue(deadline.for_start());
    let found = deadline.unless_cancelled(listed).await?;
    found.map_err(|cause| unavailable(server.name(), cause))
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}
