//! Restrictions of credentials. A call must satisfy every caveat, in any order; none widens what
//! another allows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    call::{AgentId, ServerName, ToolName},
    credits::Credits,
    period::timestamp,
    scope::Scope,
};

/// One restriction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Caveat {
    /// Valid until this time, in milliseconds since 1970.
    Expires(i64),
    /// Reaches servers that match one of these patterns, such as `a,b_*`.
    Servers(Scope),
    /// Reaches these tools.
    Tools(Scope),
    /// Does not reach these tools.
    Except(Scope),
    /// Acts as this agent, whose rules must allow every call.
    Agent(AgentId),
    /// No call may cost more.
    MostCost(Credits),
    /// May be delegated this many levels further.
    Depth(u8),
    /// No delegation may be given more.
    MostDelegated(Credits),
    /// All calls together may cost at most this; only in tokens with an account of their own.
    Ceiling(Credits),
    /// Belongs to this tenant.
    Tenant(String),
}

/// In words, for people.
impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expires(at) => write!(f, "expires at {}", timestamp(*at)),
            Self::Servers(servers) => write!(f, "only servers {servers}"),
            Self::Tools(tools) => write!(f, "only tools {tools}"),
            Self::Except(tools) => write!(f, "no tools {tools}"),
            Self::Agent(agent) => write!(f, "acts as agent {agent}"),
            Self::MostCost(most) => write!(f, "no call costs more than {most}"),
            Self::Depth(depth) => write!(f, "may be delegated {depth} levels further"),
            Self::MostDelegated(most) => write!(f, "no delegation is given more than {most}"),
            Self::Ceiling(most) => write!(f, "all calls together cost no more than {most}"),
            Self::Tenant(tenant) => write!(f, "belongs to tenant {tenant}"),
        }
    }
}

/// The first caveat that refuses, by its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refusing<'a> {
    /// Its place in the list, from 0.
    pub index: usize,
    /// What it says.
    pub caveat: &'a Caveat,
}

/// The caveats name two tenants; nothing belongs to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token's caveats name two tenants, and nothing belongs to both")]
pub struct TwoTenants;

/// Caveats that all hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Caveats(pub Vec<Caveat>);

impl Caveats {
    /// The caveats of a delegation: all of these, and more. Merges those that one caveat can express,
    /// as tokens are short. Ceilings are dropped: they belong to the account they were put on.
    pub fn delegated(&self, more: Vec<Caveat>) -> Self {
        let mut all = self.clone();
        all.0.extend(more);
        let least = [
            all.expires().map(Caveat::Expires),
            all.most_cost().map(Caveat::MostCost),
            all.depth().map(Caveat::Depth),
            all.most_delegated().map(Caveat::MostDelegated),
        ];
        let mut kept: Vec<Caveat> = Vec::new();
        for caveat in all.0 {
            let said_once = match caveat {
                Caveat::Expires(_)
                | Caveat::MostCost(_)
                | Caveat::Depth(_)
                | Caveat::MostDelegated(_)
                | Caveat::Ceiling(_) => true,
                // The last agent acts.
                Caveat::Agent(_) => {
                    kept.iter().rev().find(|c| matches!(c, Caveat::Agent(_))) == Some(&caveat)
                }
                Caveat::Servers(_) | Caveat::Tools(_) | Caveat::Except(_) | Caveat::Tenant(_) => {
                    kept.contains(&caveat)
                }
            };
            if !said_once {
                kept.push(caveat);
            }
        }
        kept.extend(least.into_iter().flatten());
        Self(kept)
    }

    fn refusing(&self, refuses: impl Fn(&Caveat) -> bool) -> Option<Refusing<'_>> {
        let found = self.0.iter().enumerate().find(|(_, caveat)| refuses(caveat));
        found.map(|(index, caveat)| Refusing { index, caveat })
    }

    /// The caveat that keeps a server out of reach.
    pub fn refuses_server(&self, server: &ServerName) -> Option<Refusing<'_>> {
        self.refusing(|caveat| match caveat {
            // A pattern of servers is stored as one of tools, and matched with the server's name.
            Caveat::Servers(servers) => !servers.covers(server, &server.as_str().into()),
            Caveat::Tools(tools) => !tools.may_cover(server),
            _ => false,
        })
    }

    /// The caveat that forbids a tool.
    pub fn refuses(&self, server: &ServerName, tool: &ToolName) -> Option<Refusing<'_>> {
        self.refuses_server(server).or_else(|| {
            self.refusing(|caveat| match caveat {
                Caveat::Tools(tools) => !tools.covers(server, tool),
                Caveat::Except(tools) => tools.covers(server, tool),
                _ => false,
            })
        })
    }

    /// The caveat that excludes a tool. No other kind narrows tools of the built-in server.
    pub fn excepts(&self, server: &ServerName, tool: &ToolName) -> Option<Refusing<'_>> {
        self.refusing(
            |caveat| matches!(caveat, Caveat::Except(tools) if tools.covers(server, tool)),
        )
    }

    /// The caveat under which a call is too expensive.
    pub fn refuses_cost(&self, cost: Credits) -> Option<Refusing<'_>> {
        self.refusing(|caveat| matches!(caveat, Caveat::MostCost(most) if cost > *most))
    }

    /// When the first of them expires, in milliseconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        self.least(|caveat| match caveat {
            Caveat::Expires(at) => Some(*at),
            _ => None,
        })
    }

    /// The most that a call may cost, if that is limited.
    pub fn most_cost(&self) -> Option<Credits> {
        self.least(|caveat| match caveat {
            Caveat::MostCost(most) => Some(*most),
            _ => None,
        })
    }

    /// How many levels further it may be delegated, if that is limited.
    pub fn depth(&self) -> Option<u8> {
        self.least(|caveat| match caveat {
            Caveat::Depth(depth) => Some(*depth),
            _ => None,
        })
    }

    /// The most that one delegation may be given, if that is limited.
    pub fn most_delegated(&self) -> Option<Credits> {
        self.least(|caveat| match caveat {
            Caveat::MostDelegated(most) => Some(*most),
            _ => None,
        })
    }

    fn least<T: Ord>(&self, of: impl Fn(&Caveat) -> Option<T>) -> Option<T> {
        self.0.iter().filter_map(of).min()
    }

    /// The agents whose rules must all allow; the last of them is the one that acts.
    pub fn agents(&self) -> impl Iterator<Item = &AgentId> {
        self.0.iter().filter_map(|caveat| match caveat {
            Caveat::Agent(agent) => Some(agent),
            _ => None,
        })
    }

    /// The tenant that all of them name.
    ///
    /// # Errors
    /// Two different ones.
    pub fn tenant(&self) -> Result<Option<&str>, TwoTenants> {
        let mut tenants = self.0.iter().filter_map(|caveat| match caveat {
            Caveat::Tenant(tenant) => Some(tenant.as_str()),
            _ => None,
        });
        let first = tenants.next();
        if tenants.all(|tenant| Some(tenant) == first) { Ok(first) } else { Err(TwoTenants) }
    }
}
