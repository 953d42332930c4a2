//! Who calls, as established by [`super::identity`].

use std::sync::Arc;

use super::{
    account_id::AccountId, call::AgentId, caveat::Caveats, credits::Credits, rules::Rules,
    words::words,
};

/// How sure the gateway is of who calls. Recorded with every call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assurance {
    /// The caller said so, in its `agent_id` argument, or said nothing and a fallback applied.
    Asserted,
    /// The gateway was started for one agent (`serve --as`).
    Pinned,
    /// The call showed a credential: a token or an API key.
    Token,
    /// The client's hook signed who calls.
    Stamped,
}

words!(Assurance {
    Asserted = "asserted", Pinned = "pinned", Token = "token", Stamped = "stamped",
});

/// A caller whose identity was established; made only by
/// [`super::identity::Identities::identify_by`].
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    agent: AgentId,
    /// Agents whose rules must allow what the caller does as well.
    bound_by: Vec<AgentId>,
    /// Whose credits are spent, where no token has its own.
    billed_agent: AgentId,
    assurance: Assurance,
    grant: Option<Arc<Grant>>,
    instance: Option<Arc<str>>,
    /// Whether it could have named any agent.
    unrestricted: bool,
}

/// What a credential or a handle adds to the rules: what narrows them, and who pays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    /// Names the token, or the API key, in records: no secret.
    pub token: Option<String>,
    /// Names what was shown to prove who calls; no secret either. None of a handle alone.
    pub credential: Option<String>,
    /// What narrows every call.
    pub caveats: Caveats,
    /// The account that pays, if it is not the agent's.
    pub account: Option<AccountId>,
    /// Caps that were put on that account by narrowing its token, the outermost first, each with
    /// what names it.
    pub ceilings: Vec<([u8; 8], Credits)>,
}

impl Caller {
    pub(super) fn new(agent: AgentId, assurance: Assurance) -> Self {
        let billed_agent = agent.clone();
        Self {
            agent,
            bound_by: Vec::new(),
            billed_agent,
            assurance,
            grant: None,
            instance: None,
            unrestricted: false,
        }
    }

    pub(super) fn bound_by_agents(self, bound_by: Vec<AgentId>) -> Self {
        Self { bound_by, ..self }
    }

    pub(super) fn billed_to(self, billed_agent: AgentId) -> Self {
        Self { billed_agent, ..self }
    }

    pub(super) fn with(self, grant: Option<Arc<Grant>>) -> Self {
        Self { grant, ..self }
    }

    pub(super) fn instance_of(self, instance: Option<String>) -> Self {
        Self { instance: instance.map(Into::into), ..self }
    }

    pub(super) fn unrestricted(self, unrestricted: bool) -> Self {
        Self { unrestricted, ..self }
    }

    /// Names the token, or the API key, that it acts by.
    pub fn token(&self) -> Option<&str> {
        self.grant().and_then(|grant| grant.token.as_deref())
    }

    /// Names what was shown to prove who calls.
    pub fn credential(&self) -> Option<&str> {
        self.grant().and_then(|grant| grant.credential.as_deref())
    }

    /// Whether it could have called as another agent.
    pub fn might_name(&self, agent: &str, rules: &Rules) -> bool {
        let may_act_as = rules.agents.get(&self.agent).map_or(&[][..], |rules| &rules.may_act_as);
        agent == self.agent.as_str()
            || rules.agents.contains_key(agent)
                && (self.unrestricted || may_act_as.iter().any(|other| other.as_str() == agent))
    }

    /// The agent that acts: whose rules apply, and whose context is filled.
    pub fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Other agents whose rules must allow what the caller does: those it was delegated by.
    pub fn bound_by(&self) -> &[AgentId] {
        &self.bound_by
    }

    /// The agent whose credits are spent, where no token has its own.
    pub fn billed_agent(&self) -> &AgentId {
        &self.billed_agent
    }

    /// How the identity was established.
    pub fn assurance(&self) -> Assurance {
        self.assurance
    }

    /// Whether its token has an account of its own.
    pub fn has_account(&self) -> bool {
        self.grant().is_some_and(|grant| grant.account.is_some())
    }

    /// What a credential or a handle adds to the rules.
    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_deref()
    }

    /// Which instance of the agent the client says it is.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}
