//! Where a call goes that names no server (`routing`, `defaultUpstream`).

use super::{
    call::{ServerName, ToolName},
    pattern::Pattern,
};

/// All of `routing`, and `defaultUpstream`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// In order; the first that matches decides.
    pub routes: Vec<Route>,
    /// Where everything else goes, if anywhere.
    pub default: Option<ServerName>,
}

/// One entry of `routing`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The tools it is for.
    pub tools: Vec<Pattern>,
    /// Where they go.
    pub server: ServerName,
}

impl Routing {
    /// The server that a tool is routed to by name; None where no route says so.
    pub fn route(&self, tool: &ToolName) -> Option<&ServerName> {
        let matching = |route: &&Route| route.tools.iter().any(|p| p.matches(tool.as_str()));
        self.routes.iter().find(matching).map(|route| &route.server)
    }
}
