//! The agents that answer for a call.

use super::Unidentified;
use crate::domain::{auth::ApiKey, call::AgentId, rules::Rules};

/// The agents that answer for a call, in the order in which the connection, the credential, a handle
/// and the call itself name them. The rules of all must allow the call; the last one acts.
pub(super) struct AgentChain<'r> {
    agents: Vec<AgentId>,
    rules: &'r Rules,
}

/// A complete chain, all of whose agents have rules.
pub(super) struct Answerable {
    /// The last, which acts.
    pub(super) agent: AgentId,
    /// The others.
    pub(super) bound_by: Vec<AgentId>,
    /// The first, which may be the one that acts.
    pub(super) first: AgentId,
}

impl<'r> AgentChain<'r> {
    pub(super) fn new(rules: &'r Rules) -> Self {
        Self { agents: Vec::new(), rules }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    pub(super) fn add<'a>(&mut self, agents: impl IntoIterator<Item = &'a AgentId>) {
        self.agents.extend(agents.into_iter().cloned());
    }

    /// Adds the agent that a call names. It may take the place of the last one, if that may act as it.
    pub(super) fn choose(&mut self, id: &str) -> Result<(), Unidentified> {
        match self.agents.last_mut() {
            Some(last) if last.as_str() == id => {}
            Some(last) if may_act_as(last, id, self.rules) => *last = AgentId::from(id),
            Some(last) => {
                return Err(Unidentified::NotPinned { claimed: id.into(), pinned: last.clone() });
            }
            None => self.agents.push(AgentId::from(id)),
        }
        Ok(())
    }

    /// Adds the agent of an API key that a call is made as, or through which it names another.
    pub(super) fn add_of_key(
        &mut self,
        key: &ApiKey,
        picked: Option<&str>,
    ) -> Result<(), Unidentified> {
        let agents = key.agents.as_slice();
        let found = match picked {
            None => key.agent(),
            Some(id) => agents
                .iter()
                .find(|agent| agent.as_str() == id)
                .or_else(|| agents.iter().find(|agent| may_act_as(agent, id, self.rules))),
        };
        match (found, picked, agents) {
            (Some(agent), ..) => self.agents.push(agent.clone()),
            (None, None, _) => return Err(Unidentified::Missing),
            (None, Some(id), [only]) => {
                return Err(Unidentified::NotPinned { claimed: id.into(), pinned: only.clone() });
            }
            (None, Some(id), _) => return Err(Unidentified::NotGranted(id.into())),
        }
        Ok(())
    }

    /// The complete chain.
    ///
    /// # Errors
    /// An agent has no rules, or there is no agent at all.
    pub(super) fn finish(mut self) -> Result<Answerable, Unidentified> {
        let has_rules = |agent: &&AgentId| self.rules.agents.contains_key(*agent);
        if let Some(unknown) = self.agents.iter().find(|agent| !has_rules(agent)) {
            return Err(Unidentified::Unknown(unknown.as_str().to_owned()));
        }
        let first = self.agents.first().cloned();
        let (agent, first) = self.agents.pop().zip(first).ok_or(Unidentified::Missing)?;
        self.agents.retain(|other| *other != agent);
        Ok(Answerable { agent, bound_by: self.agents, first })
    }
}

fn may_act_as(agent: &AgentId, id: &str, rules: &Rules) -> bool {
    let of_agent = rules.agents.get(agent);
    of_agent.is_some_and(|rules| rules.may_act_as.iter().any(|other| other.as_str() == id))
        && rules.agents.contains_key(id)
}
