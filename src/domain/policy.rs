//! May this caller use this server, this tool?
//!
//! The answer is a proof or a refusal, never a boolean: a [`Permit`] is the only way to reach a
//! downstream tool, and it can only be made here. A decision depends on nothing but its arguments.

use super::{
    call::{AgentId, ServerName, ToolName},
    caller::Caller,
    caveat::{Caveats, Refusing},
    credits::Credits,
    pattern::Pattern,
    rules::{AgentRules, Entries, Precedence, Rules},
};

/// The right of one caller to see and reach one server.
#[derive(Clone, Debug)]
pub struct Visit {
    caller: Caller,
    server: ServerName,
    rule: Rule,
}

/// The right of one caller to call one tool.
#[derive(Clone, Debug)]
pub struct Permit {
    visit: Visit,
    tool: ToolName,
    rule: Rule,
}

/// A refusal by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The rule that decided.
    pub rule: Rule,
    /// Whether the server or the tool was refused.
    pub subject: Subject,
}

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// The caller may not use the server at all.
    Server,
    /// The caller may use the server, but not this tool.
    Tool,
}

/// Where a decision comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// A path into the rules, such as `agents.frontend.deny.tools.postgres[0]`.
    pub pointer: String,
    /// What that place says, for people.
    pub says: String,
}

impl Visit {
    /// Who may visit.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Which server.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The rule that grants the server.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

impl Permit {
    /// Who may call.
    pub fn caller(&self) -> &Caller {
        &self.visit.caller
    }

    /// On which server.
    pub fn server(&self) -> &ServerName {
        &self.visit.server
    }

    /// Which tool.
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }

    /// The rule that grants the tool.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }
}

impl Rules {
    /// Whether `caller` may use a tool of the built-in server, which needs no allow entry and can be
    /// denied.
    ///
    /// # Errors
    /// The rule that refuses.
    pub fn builtin(
        &self,
        caller: &Caller,
        server: &ServerName,
        tool: &ToolName,
    ) -> Result<(), Denied> {
        for other in caller.bound_by() {
            self.leaves_open(other, server, tool).map_err(not_for_others)?;
        }
        self.leaves_open(caller.agent(), server, tool)?;
        by_caveats(caller, Subject::Tool, |caveats| caveats.excepts(server, tool))
    }

    fn leaves_open(
        &self,
        agent: &AgentId,
        server: &ServerName,
        tool: &ToolName,
    ) -> Result<(), Denied> {
        let rules = self.of(agent)?;
        rules.leaves_server_open(agent, server)?;
        match rules.tool_entry(agent, Side::Deny, server, tool, is_any) {
            Some(rule) => Err(Denied { rule, subject: Subject::Tool }),
            None => Ok(()),
        }
    }

    /// Whether `caller` may use `server` at all: any deny wins, then any allow, else no.
    ///
    /// # Errors
    /// The rule that refuses.
    pub fn visit(&self, caller: &Caller, server: &ServerName) -> Result<Visit, Denied> {
        for other in caller.bound_by() {
            self.grants(other, server).map_err(not_for_others)?;
        }
        let rule = self.grants(caller.agent(), server)?;
        if !server.is_built_in() {
            by_caveats(caller, Subject::Server, |caveats| caveats.refuses_server(server))?;
        }
        Ok(Visit { caller: caller.clone(), server: server.clone(), rule })
    }

    /// The rule that grants a server to an agent.
    fn grants(&self, agent: &AgentId, server: &ServerName) -> Result<Rule, Denied> {
        let rules = self.of(agent)?;
        rules.leaves_server_open(agent, server)?;
        if server.is_built_in() {
            return Ok(Rule::new(format!("agents.{agent}"), "the server is built in"));
        }
        let place = format!("agents.{agent}.allow.servers");
        match first_match(&rules.allow.servers, server.as_str()) {
            Some((index, entry)) => Ok(Rule::entry(format!("{place}[{index}]"), entry)),
            None => {
                let rule = Rule::new(place, "no entry allows this server");
                Err(Denied { rule, subject: Subject::Server })
            }
        }
    }

    /// Whether a visitor may call `tool`.
    ///
    /// # Errors
    /// The rule that refuses.
    pub fn authorize(&self, visit: Visit, tool: &ToolName) -> Result<Permit, Denied> {
        let Visit { caller, server, rule: of_server } = &visit;
        if server.is_built_in() {
            self.builtin(caller, server, tool)?;
            let rule = of_server.clone();
            return Ok(Permit { visit, tool: tool.clone(), rule });
        }
        for other in caller.bound_by() {
            let of_server = self.grants(other, server).map_err(not_for_others)?;
            self.allows(other, server, &of_server, tool).map_err(not_for_others)?;
        }
        let rule = self.allows(caller.agent(), server, of_server, tool)?;
        by_caveats(caller, Subject::Tool, |caveats| caveats.refuses(server, tool))?;
        Ok(Permit { visit, tool: tool.clone(), rule })
    }

    /// The rule that allows a tool to an agent; `of_server` grants it the server.
    fn allows(
        &self,
        agent: &AgentId,
        server: &ServerName,
        of_server: &Rule,
        tool: &ToolName,
    ) -> Result<Rule, Denied> {
        let rules = self.of(agent)?;
        let order: &[(Side, Wanted)] = match self.precedence {
            Precedence::SpecificFirst => &[
                (Side::Deny, Pattern::is_explicit),
                (Side::Allow, Pattern::is_explicit),
                (Side::Deny, is_wildcard),
                (Side::Allow, is_wildcard),
            ],
            Precedence::DenyFirst => &[(Side::Deny, is_any), (Side::Allow, is_any)],
        };
        let mut entries = order.iter().filter_map(|&(side, wanted)| {
            Some((side, rules.tool_entry(agent, side, server, tool, wanted)?))
        });
        let rule = match entries.next() {
            Some((Side::Allow, rule)) => return Ok(rule),
            Some((Side::Deny, rule)) => rule,
            // A server granted without any tool entry grants all its tools; one tool entry ends that.
            None => match rules.allow.lists_for(server).find(|(_, list)| !list.is_empty()) {
                None => return Ok(of_server.clone()),
                Some((key, _)) => {
                    let place = format!("agents.{agent}.allow.tools.{key}");
                    Rule::new(place, "no entry allows this tool")
                }
            },
        };
        Err(Denied { rule, subject: Subject::Tool })
    }

    /// Whether the caller's credential allows a permitted call at this price.
    ///
    /// # Errors
    /// The caveat that refuses.
    pub fn affords(&self, permit: &Permit, cost: Credits) -> Result<(), Denied> {
        by_caveats(permit.caller(), Subject::Tool, |caveats| caveats.refuses_cost(cost))
    }

    fn of(&self, agent: &AgentId) -> Result<&AgentRules, Denied> {
        self.agents.get(agent).ok_or_else(|| {
            let rule = Rule::new(format!("agents.{agent}"), "the agent has no rules");
            Denied { rule, subject: Subject::Server }
        })
    }
}

/// Fails with the caveat of the caller's credential that refuses, if one does.
fn by_caveats<'a>(
    caller: &'a Caller,
    subject: Subject,
    refusing: impl FnOnce(&'a Caveats) -> Option<Refusing<'a>>,
) -> Result<(), Denied> {
    match caller.grant().and_then(|grant| refusing(&grant.caveats)) {
        Some(Refusing { index, caveat }) => {
            let rule = Rule::new(format!("token.caveats[{index}]"), &caveat.to_string());
            Err(Denied { rule, subject })
        }
        None => Ok(()),
    }
}

/// A refusal by the rules of another agent, which the caller need not know of.
fn not_for_others(denied: Denied) -> Denied {
    let rule = Rule::new("token.agent".to_owned(), "who delegated to you may not do this either");
    Denied { rule, ..denied }
}

#[derive(Clone, Copy)]
enum Side {
    Allow,
    Deny,
}

/// Selects the entries of a list to match.
type Wanted = fn(&Pattern) -> bool;

fn is_any(_: &Pattern) -> bool {
    true
}

fn is_wildcard(entry: &Pattern) -> bool {
    !entry.is_explicit()
}

impl AgentRules {
    fn leaves_server_open(&self, agent: &AgentId, server: &ServerName) -> Result<(), Denied> {
        let Some((index, entry)) = first_match(&self.deny.servers, server.as_str()) else {
            return Ok(());
        };
        let rule = Rule::entry(format!("agents.{agent}.deny.servers[{index}]"), entry);
        Err(Denied { rule, subject: Subject::Server })
    }

    /// The first wanted entry of a side that matches a tool. Both lists that speak about the server
    /// count: its own and `*`.
    fn tool_entry(
        &self,
        agent: &AgentId,
        side: Side,
        server: &ServerName,
        tool: &ToolName,
        wanted: Wanted,
    ) -> Option<Rule> {
        let (word, entries) = match side {
            Side::Allow => ("allow", &self.allow),
            Side::Deny => ("deny", &self.deny),
        };
        entries.lists_for(server).find_map(|(key, list)| {
            let matching = |entry: &Pattern| wanted(entry) && entry.matches(tool.as_str());
            let (index, entry) = list.iter().enumerate().find(|(_, entry)| matching(entry))?;
            Some(Rule::entry(format!("agents.{agent}.{word}.tools.{key}[{index}]"), entry))
        })
    }
}

impl Entries {
    fn lists_for<'a>(
        &'a self,
        server: &'a ServerName,
    ) -> impl Iterator<Item = (&'a str, &'a [Pattern])> {
        let speaking = self.tools.iter().filter(|(key, _)| key.covers(server));
        speaking.map(|(key, list)| (key.as_str(), list.as_slice()))
    }
}

impl Rule {
    fn new(pointer: String, says: &str) -> Self {
        Self { pointer, says: says.to_owned() }
    }

    fn entry(pointer: String, entry: &Pattern) -> Self {
        Self { pointer, says: format!("`{}`", entry.as_str()) }
    }
}

fn first_match<'a>(entries: &'a [Pattern], name: &str) -> Option<(usize, &'a Pattern)> {
    entries.iter().enumerate().find(|(_, entry)| entry.matches(name))
}
