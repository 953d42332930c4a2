//! The checked rules: who may use what. [`super::policy`] decides by them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    budget::Limit,
    call::{AgentId, ServerName},
    detail::Detail,
    pattern::Pattern,
    tokens::Encoding,
    words::words,
};

/// All rules of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rules {
    /// What each agent may do. An agent that is not here may do nothing.
    pub agents: BTreeMap<AgentId, AgentRules>,
    /// Which of several matching tool entries decides.
    pub precedence: Precedence,
    /// Whether a refusal names the rule, or looks like a name that does not exist.
    pub explain_denials: bool,
    /// For every agent whose own rules say nothing.
    pub context: ContextLimits,
    /// How tokens are counted.
    pub encoding: Encoding,
}

/// The rules of one agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AgentRules {
    /// For people; never shown to agents.
    pub description: Option<String>,
    /// The servers and tools that are allowed.
    pub allow: Entries,
    /// The servers and tools that are denied.
    pub deny: Entries,
    /// Agents that it may call as.
    pub may_act_as: Vec<AgentId>,
    /// What the agent's context may be filled with.
    pub context: ContextLimits,
    /// What the agent may spend, within the limit of all.
    pub budget: Option<Limit>,
}

/// How much detail an agent sees where the call does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContextLimits {
    /// The most tokens of one `get_server_tools` answer's tools.
    pub max_schema_tokens: Option<usize>,
    /// The most detail of a tool.
    pub detail: Option<Detail>,
}

impl ContextLimits {
    /// These limits, and the other's where these are not set.
    pub fn or(self, other: Self) -> Self {
        Self {
            max_schema_tokens: self.max_schema_tokens.or(other.max_schema_tokens),
            detail: self.detail.or(other.detail),
        }
    }
}

/// One side (allow or deny) of an agent's rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Entries {
    /// Servers, in the order written.
    pub servers: Vec<Pattern>,
    /// Tools, by server or for every server, in the order written.
    pub tools: Vec<(ToolsKey, Vec<Pattern>)>,
}

/// To which servers a list of tool entries applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ToolsKey {
    /// The key `*`.
    Every,
    /// A server's exact name.
    Server(ServerName),
}

impl ToolsKey {
    /// Whether entries under this key speak about `server`.
    pub fn covers(&self, server: &ServerName) -> bool {
        match self {
            Self::Every => true,
            Self::Server(name) => name == server,
        }
    }

    /// Whether two keys speak about a common server.
    pub fn overlaps(&self, other: &Self) -> bool {
        self == other || *self == Self::Every || *other == Self::Every
    }

    /// The key as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Every => "*",
            Self::Server(name) => name.as_str(),
        }
    }
}

/// Which entry decides when several match a tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Precedence {
    /// Explicit deny, explicit allow, wildcard deny, wildcard allow, implicit grant, deny.
    #[default]
    SpecificFirst,
    /// Any deny, any allow, implicit grant, deny.
    DenyFirst,
}

words!(Precedence { SpecificFirst = "specific-first", DenyFirst = "deny-first" });

/// The most tokens of an answer's tools, where neither the call nor the rules say.
const DEFAULT_MAX_SCHEMA_TOKENS: usize = 1_000;

impl Rules {
    /// How many tokens of tools, and how much detail, an agent is sent where its call does not say.
    pub fn context_of(&self, agent: &AgentId) -> (usize, Detail) {
        let own = self.agents.get(agent).map(|rules| rules.context).unwrap_or_default();
        let ContextLimits { max_schema_tokens, detail } = own.or(self.context);
        (max_schema_tokens.unwrap_or(DEFAULT_MAX_SCHEMA_TOKENS), detail.unwrap_or_default())
    }

    /// The rules where there is no rules file: one agent named `default`, who may use everything.
    pub fn for_single_user() -> Self {
        let everything = Pattern::parse("*").into_iter().collect();
        let allow = Entries { servers: everything, tools: Vec::new() };
        let agent = AgentRules { allow, ..AgentRules::default() };
        Self {
            agents: BTreeMap::from([(AgentId::fallback(), agent)]),
            explain_denials: true,
            ..Self::default()
        }
    }

    /// Explicit allow entries that pierce a wildcard deny of the same agent, as sentences. Under
    /// `specific-first` the allow wins, which surprises people who read the deny as a fence.
    pub fn pierced_denies(&self) -> Vec<String> {
        if self.precedence == Precedence::DenyFirst {
            return Vec::new();
        }
        self.agents.iter().flat_map(|(agent, rules)| rules.pierced_denies(agent)).collect()
    }
}

impl AgentRules {
    fn pierced_denies(&self, agent: &AgentId) -> Vec<String> {
        let mut found = Vec::new();
        for (allow_key, allow) in explicit_and_wild(&self.allow, Pattern::is_explicit) {
            for (deny_key, deny) in explicit_and_wild(&self.deny, |p| !p.is_explicit()) {
                if allow_key.overlaps(deny_key) && deny.matches(allow.as_str()) {
                    found.push(format!(
                        "agent `{agent}`: allow `{}` on `{}` wins over deny `{}` on `{}` (an explicit entry beats a wildcard; `precedence: \"deny-first\"` turns this round)",
                        allow.as_str(),
                        allow_key.as_str(),
                        deny.as_str(),
                        deny_key.as_str(),
                    ));
                }
            }
        }
        found
    }
}

fn explicit_and_wild(
    entries: &Entries,
    wanted: impl Fn(&Pattern) -> bool + Copy,
) -> impl Iterator<Item = (&ToolsKey, &Pattern)> {
    entries
        .tools
        .iter()
        .flat_map(move |(key, list)| list.iter().filter(move |p| wanted(p)).map(move |p| (key, p)))
}
