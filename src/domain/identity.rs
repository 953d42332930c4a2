//! Who is calling? From what the call claims, to a [`Caller`] whose rules apply.

use super::{
    call::{AgentId, Assurance, Caller},
    rules::Rules,
};

/// Everything identification depends on, besides the claim itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Identities {
    /// How the gateway learns who calls.
    pub mode: Mode,
    /// Whether a call without an id is refused (`defaults.deny_on_missing_agent`).
    pub deny_on_missing_agent: bool,
    /// The agent for calls without an id (`GATEWAY_DEFAULT_AGENT`); unset and empty are the same.
    pub default_agent: Option<AgentId>,
    /// Whether only a stamp says who calls (`defaults.identity: stamped`); any other id, and none,
    /// is then the call of `unstamped_agent`.
    pub stamped_only: bool,
    /// The agent for calls without a stamp where only a stamp says who calls
    /// (`defaults.unstamped_agent`); without it, they are refused.
    pub unstamped_agent: Option<AgentId>,
}

/// How the gateway learns who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No rules file at all: one user, one agent named `default`.
    SingleUser,
    /// The call's `agent_id` argument is believed.
    Asserted,
    /// Started for one agent; the argument may only choose within its `may_act_as`.
    Pinned(AgentId),
}

/// Why nobody could be identified. The text tells an agent what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// No id was given, and one is required.
    #[error("`agent_id` is missing; pass the name under which you were given access")]
    Missing,
    /// The id names no agent.
    #[error("`{0}` is not an agent here; pass the name under which you were given access")]
    Unknown(String),
    /// The id is not one that this connection may use.
    #[error("`{claimed}` may not be used here; leave `agent_id` out to act as `{pinned}`")]
    NotPinned {
        /// The id that was claimed.
        claimed: String,
        /// The agent that the gateway was started for.
        pinned: AgentId,
    },
    /// The configured fallback has no rules.
    #[error("`agent_id` is missing, and the fallback agent `{0}` has no rules")]
    FallbackNotInRules(AgentId),
    /// There is no fallback.
    #[error("`agent_id` is missing, and no fallback agent is configured")]
    NoFallback,
}

impl Identities {
    /// Establishes who calls from the `agent_id` argument; `None` and an empty id are both missing.
    ///
    /// # Errors
    /// An id that is unknown is refused, always: it never falls back and never gains access.
    pub fn identify(&self, claimed: Option<&str>, rules: &Rules) -> Result<Caller, Unidentified> {
        let claimed = claimed.filter(|id| !id.is_empty());
        match (&self.mode, claimed) {
            (Mode::Pinned(agent), None) => Ok(Caller::new(agent.clone(), Assurance::Pinned)),
            (Mode::Pinned(agent), Some(id)) => within(agent, id, rules, Assurance::Pinned),
            (Mode::SingleUser, None) => known(AgentId::fallback(), rules),
            (Mode::SingleUser, Some(id)) => {
                within(&AgentId::fallback(), id, rules, Assurance::Asserted)
            }
            (Mode::Asserted, Some(id)) => known(AgentId::from(id), rules),
            (Mode::Asserted, None) => self.fall_back(rules),
        }
    }

    fn fall_back(&self, rules: &Rules) -> Result<Caller, Unidentified> {
        if self.deny_on_missing_agent {
            return Err(Unidentified::Missing);
        }
        if let Some(agent) = &self.default_agent {
            return known(agent.clone(), rules)
                .map_err(|_| Unidentified::FallbackNotInRules(agent.clone()));
        }
        known(AgentId::fallback(), rules).map_err(|_| Unidentified::NoFallback)
    }
}

fn known(agent: AgentId, rules: &Rules) -> Result<Caller, Unidentified> {
    match rules.agents.contains_key(&agent) {
        true => Ok(Caller::new(agent, Assurance::Asserted)),
        false => Err(Unidentified::Unknown(agent.as_str().to_owned())),
    }
}

/// A claim within what one agent may act as.
fn within(
    agent: &AgentId,
    id: &str,
    rules: &Rules,
    assurance: Assurance,
) -> Result<Caller, Unidentified> {
    let may_act_as = rules.agents.get(agent).map_or(&[][..], |rules| &rules.may_act_as);
    let allowed = id == agent.as_str() || may_act_as.iter().any(|other| other.as_str() == id);
    match allowed && rules.agents.contains_key(id) {
        true => Ok(Caller::new(AgentId::from(id), assurance)),
        false => Err(Unidentified::NotPinned { claimed: id.to_owned(), pinned: agent.clone() }),
    }
}
