//! May this caller use this server, this tool?
//!
//! The answer is a proof or a refusal, never a boolean: a [`Permit`] is the only way to reach a
//! downstream tool, and it can only be made here. A decision depends on nothing but its arguments.

use super::{
    call::{AgentId, ServerName, ToolName},
    caller::Caller,
    caveat::Refusing,
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
    /// What was refused.
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
    /// Whether `caller` may use a tool of the server that is built in: it needs no allow entry, and
    /// can be denied.
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
        match caller.grant().and_then(|grant| grant.caveats.excepts(server, tool)) {
            Some(refusing) => Err(Denied { rule: Rule::caveat(refusing), subject: Subject::Tool }),
            None => Ok(()),
        }
    }

    fn leaves_open(
        &self,
        agent: &AgentId,
        server: &ServerName,
        tool: &ToolName,
    ) -> Result<(), Denied> {
        let Some(rules) = self.agents.get(agent) else { return Err(no_rules(agent)) };
        if let Some((index, entry)) = first_match(&rules.deny.servers, server.as_str()) {
            let rule = Rule::entry(format!("agents.{agent}.deny.servers[{index}]"), entry);
            return Err(Denied { rule, subject: Subject::Server });
        }
        for (key, entries) in rules.deny.tools.iter().filter(|(key, _)| key.covers(server)) {
            if let Some((index, entry)) = first_match(entries, tool.as_str()) {
                let place = format!("agents.{agent}.deny.tools.{}[{index}]", key.as_str());
                return Err(Denied { rule: Rule::entry(place, entry), subject: Subject::Tool });
            }
        }
        Ok(())
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
        if server.is_built_in() {
            return Ok(Visit { caller: caller.clone(), server: server.clone(), rule });
        }
        if let Some(refusing) =
            caller.grant().and_then(|grant| grant.caveats.refuses_server(server))
        {
            return Err(Denied { rule: Rule::caveat(refusing), subject: Subject::Server });
        }
        Ok(Visit { caller: caller.clone(), server: server.clone(), rule })
    }

    /// The rule that grants a server to an agent.
    fn grants(&self, agent: &AgentId, server: &ServerName) -> Result<Rule, Denied> {
        let denied = |rule| Err(Denied { rule, subject: Subject::Server });
        let Some(rules) = self.agents.get(agent) else { return Err(no_rules(agent)) };
        if let Some((index, entry)) = first_match(&rules.deny.servers, server.as_str()) {
            return denied(Rule::entry(format!("agents.{agent}.deny.servers[{index}]"), entry));
        }
        match first_match(&rules.allow.servers, server.as_str()) {
            _ if server.is_built_in() => {
                Ok(Rule::new(format!("agents.{agent}"), "the server is built in"))
            }
            Some((index, entry)) => {
                Ok(Rule::entry(format!("agents.{agent}.allow.servers[{index}]"), entry))
            }
            None => denied(Rule::new(
                format!("agents.{agent}.allow.servers"),
                "no entry allows this server",
            )),
        }
    }

    /// Whether a visitor may call `tool`.
    ///
    /// # Errors
    /// The rule that refuses.
    pub fn authorize(&self, visit: Visit, tool: &ToolName) -> Result<Permit, Denied> {
        if visit.server.is_built_in() {
            self.builtin(&visit.caller, &visit.server, tool)?;
            let rule = visit.rule.clone();
            return Ok(Permit { visit, tool: tool.clone(), rule });
        }
        for other in visit.caller.bound_by() {
            let of_server = self.grants(other, &visit.server).map_err(not_for_others)?;
            self.allows(other, &visit.server, &of_server, tool).map_err(not_for_others)?;
        }
        let rule = self.allows(visit.caller.agent(), &visit.server, &visit.rule, tool)?;
        let grant = visit.caller.grant();
        if let Some(refusing) = grant.and_then(|grant| grant.caveats.refuses(&visit.server, tool)) {
            return Err(Denied { rule: Rule::caveat(refusing), subject: Subject::Tool });
        }
        Ok(Permit { visit, tool: tool.clone(), rule })
    }

    /// The rule that allows a tool to an agent whom `of_server` grants its server.
    fn allows(
        &self,
        agent: &AgentId,
        server: &ServerName,
        of_server: &Rule,
        tool: &ToolName,
    ) -> Result<Rule, Denied> {
        let Some(rules) = self.agents.get(agent) else { return Err(no_rules(agent)) };
        match rules.decide(agent, server, of_server, tool.as_str(), self.precedence) {
            (true, rule) => Ok(rule),
            (false, rule) => Err(Denied { rule, subject: Subject::Tool }),
        }
    }

    /// Whether a permitted call may cost so much.
    ///
    /// # Errors
    /// What narrows the caller's credential.
    pub fn affords(&self, permit: &Permit, cost: Credits) -> Result<(), Denied> {
        let grant = permit.caller().grant();
        match grant.and_then(|grant| grant.caveats.refuses_cost(cost)) {
            Some(refusing) => Err(Denied { rule: Rule::caveat(refusing), subject: Subject::Tool }),
            None => Ok(()),
        }
    }
}

fn no_rules(agent: &AgentId) -> Denied {
    let rule = Rule::new(format!("agents.{agent}"), "the agent has no rules");
    Denied { rule, subject: Subject::Server }
}

/// A refusal by the rules of another agent, which the caller need not know of.
fn not_for_others(denied: Denied) -> Denied {
    let rule = Rule::new("token.agent".to_owned(), "who delegated to you may not do this either");
    Denied { rule, ..denied }
}

impl AgentRules {
    /// The entry that decides. Both lists that speak about the server count: its own and `*`.
    fn decide(
        &self,
        id: &AgentId,
        server: &ServerName,
        of_server: &Rule,
        tool: &str,
        precedence: Precedence,
    ) -> (bool, Rule) {
        let agent = id.as_str();
        let deny = |wanted: Kind| {
            self.deny.tool_entry(server, tool, wanted).map(|hit| (false, hit.rule(agent, "deny")))
        };
        let allow = |wanted: Kind| {
            self.allow.tool_entry(server, tool, wanted).map(|hit| (true, hit.rule(agent, "allow")))
        };
        let by_entry = match precedence {
            Precedence::SpecificFirst => deny(Kind::Explicit)
                .or_else(|| allow(Kind::Explicit))
                .or_else(|| deny(Kind::Wildcard))
                .or_else(|| allow(Kind::Wildcard)),
            Precedence::DenyFirst => deny(Kind::Any).or_else(|| allow(Kind::Any)),
        };
        by_entry.unwrap_or_else(|| self.without_entry(agent, server, of_server))
    }

    /// What holds where no tool entry matches: a server granted without any tool entry grants all
    /// its tools; one tool entry ends that.
    fn without_entry(&self, agent: &str, server: &ServerName, of_server: &Rule) -> (bool, Rule) {
        let mut lists = self.allow.lists_for(server).filter(|(_, list)| !list.is_empty());
        match lists.next() {
            None => (true, of_server.clone()),
            Some((key, _)) => {
                let place = format!("agents.{agent}.allow.tools.{key}");
                (false, Rule::new(place, "no entry allows this tool"))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Explicit,
    Wildcard,
    Any,
}

struct Hit<'a> {
    key: &'a str,
    index: usize,
    entry: &'a Pattern,
}

impl Hit<'_> {
    fn rule(&self, agent: &str, side: &str) -> Rule {
        let Self { key, index, entry } = self;
        Rule::entry(format!("agents.{agent}.{side}.tools.{key}[{index}]"), entry)
    }
}

impl Entries {
    fn lists_for<'a>(
        &'a self,
        server: &'a ServerName,
    ) -> impl Iterator<Item = (&'a str, &'a [Pattern])> {
        self.tools
            .iter()
            .filter(|(key, _)| key.covers(server))
            .map(|(key, list)| (key.as_str(), list.as_slice()))
    }

    fn tool_entry<'a>(
        &'a self,
        server: &'a ServerName,
        tool: &str,
        wanted: Kind,
    ) -> Option<Hit<'a>> {
        self.lists_for(server).find_map(|(key, list)| {
            list.iter()
                .enumerate()
                .find(|(_, entry)| wanted.includes(entry) && entry.matches(tool))
                .map(|(index, entry)| Hit { key, index, entry })
        })
    }
}

impl Kind {
    fn includes(self, entry: &Pattern) -> bool {
        match self {
            Self::Explicit => entry.is_explicit(),
            Self::Wildcard => !entry.is_explicit(),
            Self::Any => true,
        }
    }
}

impl Rule {
    fn new(pointer: String, says: &str) -> Self {
        Self { pointer, says: says.to_owned() }
    }

    fn entry(pointer: String, entry: &Pattern) -> Self {
        Self { pointer, says: format!("`{}`", entry.as_str()) }
    }

    fn caveat(Refusing { index, caveat }: Refusing<'_>) -> Self {
        Self { pointer: format!("token.caveats[{index}]"), says: caveat.to_string() }
    }
}

fn first_match<'a>(entries: &'a [Pattern], name: &str) -> Option<(usize, &'a Pattern)> {
    entries.iter().enumerate().find(|(_, entry)| entry.matches(name))
}
