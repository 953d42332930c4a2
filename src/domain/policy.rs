//! May this caller use this server, this tool?
//!
//! The answer is a proof or a refusal, never a boolean: a [`Permit`] is the only way to reach a
//! downstream tool, and it can only be made here. A decision depends on nothing but its arguments.

use super::{
    call::{Caller, ServerName, ToolName},
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
        let agent = caller.agent();
        let Some(rules) = self.agents.get(agent) else {
            let rule = Rule::new(format!("agents.{agent}"), "the agent has no rules");
            return Err(Denied { rule, subject: Subject::Server });
        };
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
        let agent = caller.agent();
        let denied = |rule| Err(Denied { rule, subject: Subject::Server });
        let Some(rules) = self.agents.get(agent) else {
            return denied(Rule::new(format!("agents.{agent}"), "the agent has no rules"));
        };
        if let Some((index, entry)) = first_match(&rules.deny.servers, server.as_str()) {
            return denied(Rule::entry(format!("agents.{agent}.deny.servers[{index}]"), entry));
        }
        match first_match(&rules.allow.servers, server.as_str()) {
            Some((index, entry)) => Ok(Visit {
                caller: caller.clone(),
                server: server.clone(),
                rule: Rule::entry(format!("agents.{agent}.allow.servers[{index}]"), entry),
            }),
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
        let Some(rules) = self.agents.get(visit.caller.agent()) else {
            let rule =
                Rule::new(format!("agents.{}", visit.caller.agent()), "the agent has no rules");
            return Err(Denied { rule, subject: Subject::Server });
        };
        match rules.decide(&visit, tool.as_str(), self.precedence) {
            (true, rule) => Ok(Permit { visit, tool: tool.clone(), rule }),
            (false, rule) => Err(Denied { rule, subject: Subject::Tool }),
        }
    }
}

impl AgentRules {
    /// The entry that decides. Both lists that speak about the server count: its own and `*`.
    fn decide(&self, visit: &Visit, tool: &str, precedence: Precedence) -> (bool, Rule) {
        let agent = visit.caller.agent().as_str();
        let server = &visit.server;
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
        by_entry.unwrap_or_else(|| self.without_entry(visit))
    }

    /// What holds where no tool entry matches: a server granted without any tool entry grants all
    /// its tools; one tool entry ends that.
    fn without_entry(&self, visit: &Visit) -> (bool, Rule) {
        let mut lists = self.allow.lists_for(&visit.server).filter(|(_, list)| !list.is_empty());
        match lists.next() {
            None => (true, visit.rule.clone()),
            Some((key, _)) => (
                false,
                Rule::new(
                    format!("agents.{}.allow.tools.{key}", visit.caller.agent()),
                    "no entry allows this tool",
                ),
            ),
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
}

fn first_match<'a>(entries: &'a [Pattern], name: &str) -> Option<(usize, &'a Pattern)> {
    entries.iter().enumerate().find(|(_, entry)| entry.matches(name))
}
