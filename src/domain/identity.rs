//! Who is calling? Turns the evidence of a call into a [`Caller`], whose rules apply.

mod chain;

use std::sync::Arc;

use self::chain::{AgentChain, Answerable};
use super::{
    auth::ApiKey,
    call::AgentId,
    caller::{Assurance, Caller, Grant},
    caveat::{Caveat, Caveats},
    delegation::Delegation,
    rules::Rules,
    stamp::Stamped,
    token::Verified,
};

/// The settings that identification depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Identities {
    pub mode: IdentityMode,
    /// Whether a call without an id is refused (`defaults.deny_on_missing_agent`).
    pub deny_on_missing_agent: bool,
    /// The agent for calls without an id (`GATEWAY_DEFAULT_AGENT`); unset and empty are the same.
    pub default_agent: Option<AgentId>,
    /// Whether only a stamp identifies the caller (`defaults.identity: stamped`). Calls without one
    /// are then calls of `unstamped_agent`.
    pub stamped_only: bool,
    /// The agent of calls without a stamp where one is needed (`defaults.unstamped_agent`); without
    /// it, they are refused.
    pub unstamped_agent: Option<AgentId>,
}

/// How the gateway learns who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityMode {
    /// No rules file at all: one user, one agent named `default`.
    SingleUser,
    /// The call's `agent_id` argument is believed.
    Asserted,
    /// Started for one agent; the argument may only choose within its `may_act_as`.
    Pinned(AgentId),
}

/// Evidence of who makes a call. All but the claim is verified already.
#[derive(Debug, Default)]
pub struct Evidence<'a> {
    /// The agent that the call names.
    pub claimed: Option<&'a str>,
    pub credential: Option<Credential>,
    /// The signature of the client's hook.
    pub stamp: Option<Stamped>,
    /// The delegation whose handle was given as the agent's name.
    pub handle: Option<Delegation>,
}

/// Proof of who a caller is.
#[derive(Debug)]
pub enum Credential {
    /// The one token of the settings (`auth.mode: config`), which names no agent.
    Static,
    /// A Tollgate token, with its delegation if it has an account of its own.
    Token(Verified, Option<Delegation>),
    /// An API key.
    ApiKey(ApiKey),
}

impl Credential {
    /// Names the token, or the API key, in records; no secret.
    pub fn id(&self) -> Option<String> {
        match self {
            Self::Static => None,
            Self::Token(verified, _) => Some(verified.id().to_string()),
            Self::ApiKey(key) => Some(key.id.clone()),
        }
    }

    /// Tells it apart from others; no secret.
    pub fn name(&self) -> String {
        match self {
            Self::Static => "the token of the settings".to_owned(),
            Self::Token(verified, _) => format!("token {}", verified.id()),
            Self::ApiKey(key) => format!("key {}", key.id),
        }
    }
}

/// Why the caller could not be identified. The text tells an agent what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// No id was given, and one is required.
    #[error("`agent_id` is missing; pass the name under which you were given access")]
    Missing,
    /// The id names no agent.
    #[error("`{0}` is not an agent here; pass the name under which you were given access")]
    Unknown(String),
    /// The id is not one that this connection, or this credential, may use.
    #[error("`{claimed}` may not be used here; leave `agent_id` out to act as `{pinned}`")]
    NotPinned {
        /// The id that was claimed.
        claimed: String,
        /// The agent that the gateway was started for, or that the credential is for.
        pinned: AgentId,
    },
    /// The id is not one of those that the credential is for, which are several.
    #[error("`{0}` may not be used with this credential; pass an agent that it was made for")]
    NotGranted(String),
    /// The configured fallback has no rules.
    #[error("`agent_id` is missing, and the fallback agent `{0}` has no rules")]
    FallbackNotInRules(AgentId),
    /// There is no fallback.
    #[error("`agent_id` is missing, and no fallback agent is configured")]
    NoFallback,
    /// Only signed ids are believed, and this one is not.
    #[error(
        "the call is not signed by the client's hook, without which no agent is believed here; tell the user to install it (`tollgate hook claude-code`)"
    )]
    Unsigned,
    /// The signature on the id does not hold.
    #[error("{0}")]
    Stamp(String),
}

impl Identities {
    /// Identifies the caller from the `agent_id` argument alone; an empty id counts as missing.
    ///
    /// # Errors
    /// An unknown id is always refused: it never falls back and never gains access.
    pub fn identify(&self, claimed: Option<&str>, rules: &Rules) -> Result<Caller, Unidentified> {
        self.identify_by(Evidence { claimed, ..Evidence::default() }, rules)
    }

    /// Identifies the caller. Every agent that the evidence names narrows what is allowed: the rules
    /// of all must allow a call, and the last acts. An agent stands alone if only the call names it,
    /// or if the one before may act as it.
    ///
    /// # Errors
    /// As [`Self::identify`]; and a name that the credential or the connection does not allow.
    pub fn identify_by(
        &self,
        evidence: Evidence<'_>,
        rules: &Rules,
    ) -> Result<Caller, Unidentified> {
        let Evidence { claimed, credential, stamp, handle } = evidence;
        let assurance = self.assurance(credential.as_ref(), stamp.as_ref());
        let picked = match &stamp {
            Some(stamp) => Some(stamp.agent().as_str()),
            None => claimed.filter(|id| !id.is_empty() && handle.is_none()),
        };
        let unrestricted = stamp.is_none() && handle.is_none() && !self.stamped_only;
        // With a handle, a key of several agents acts as the agent that made the delegation.
        let several = matches!(&credential, Some(Credential::ApiKey(key)) if key.agents.len() > 1);
        let maker = handle.as_ref().filter(|_| several);
        let maker = maker.and_then(|handle| handle.caveats.agents().next());
        let of_key = picked.or(maker.map(AgentId::as_str));
        let mut agents = self.bound(credential.as_ref(), of_key, rules)?;
        let unrestricted = unrestricted && agents.is_empty();
        let proven = matches!(&credential, Some(Credential::ApiKey(_)))
            || caveats_of(credential.as_ref()).agents().next().is_some();
        let unsigned = self.stamped_only && stamp.is_none() && !proven;
        if let Some(handle) = &handle {
            agents.add(handle.caveats.agents());
        }
        match picked {
            _ if unsigned => {
                agents.add([self.unstamped_agent.as_ref().ok_or(Unidentified::Unsigned)?])
            }
            // The caller cannot choose whom a handle was given to.
            Some(id) if handle.is_some() => agents.add([&AgentId::from(id)]),
            Some(id) => agents.choose(id)?,
            None if agents.is_empty() => agents.add([&self.fall_back(rules)?]),
            None => {}
        }
        // Narrowing a token to another agent does not give access to that agent's credits; unsigned
        // callers spend those of `unstamped_agent` only.
        let Answerable { agent, bound_by, first } = agents.finish()?;
        let billed_agent = if unsigned { agent.clone() } else { first };
        let instance = stamp.and_then(|stamp| stamp.instance().map(str::to_owned));
        let grant = grant(credential, handle).map(Arc::new);
        let caller = Caller::new(agent, assurance)
            .bound_by_agents(bound_by)
            .billed_to(billed_agent)
            .with(grant);
        Ok(caller.instance_of(instance).unrestricted(unrestricted))
    }

    /// The agents that the connection and the credential are bound to.
    fn bound<'r>(
        &self,
        credential: Option<&Credential>,
        of_key: Option<&str>,
        rules: &'r Rules,
    ) -> Result<AgentChain<'r>, Unidentified> {
        let mut agents = AgentChain::new(rules);
        if let IdentityMode::Pinned(agent) = &self.mode {
            agents.add([agent]);
        }
        agents.add(caveats_of(credential).agents());
        if let Some(Credential::ApiKey(key)) = credential {
            agents.add_of_key(key, of_key)?;
        }
        if agents.is_empty() && self.mode == IdentityMode::SingleUser {
            agents.add([&AgentId::fallback()]);
        }
        Ok(agents)
    }

    /// How sure it is who calls, by what a call shows.
    pub fn assurance(&self, credential: Option<&Credential>, stamp: Option<&Stamped>) -> Assurance {
        match (stamp, credential, &self.mode) {
            (Some(_), ..) => Assurance::Stamped,
            (None, Some(_), _) => Assurance::Token,
            (None, None, IdentityMode::Pinned(_)) => Assurance::Pinned,
            (None, None, IdentityMode::SingleUser | IdentityMode::Asserted) => Assurance::Asserted,
        }
    }

    fn fall_back(&self, rules: &Rules) -> Result<AgentId, Unidentified> {
        if self.deny_on_missing_agent {
            return Err(Unidentified::Missing);
        }
        let known = |agent: &AgentId| rules.agents.contains_key(agent);
        match &self.default_agent {
            Some(agent) if known(agent) => Ok(agent.clone()),
            Some(agent) => Err(Unidentified::FallbackNotInRules(agent.clone())),
            None if known(&AgentId::fallback()) => Ok(AgentId::fallback()),
            None => Err(Unidentified::NoFallback),
        }
    }
}

fn caveats_of(credential: Option<&Credential>) -> &Caveats {
    static NONE: Caveats = Caveats(Vec::new());
    match credential {
        Some(Credential::Token(verified, _)) => verified.caveats(),
        _ => &NONE,
    }
}

/// What narrows a call, and who pays for it, beside the rules.
fn grant(credential: Option<Credential>, handle: Option<Delegation>) -> Option<Grant> {
    let of_credential = |credential: Credential| {
        let (token, name) = (credential.id(), Some(credential.name()));
        let grant = Grant { token, credential: name, ..Grant::default() };
        match credential {
            Credential::Token(verified, own) => Grant {
                caveats: verified.caveats().clone(),
                ceilings: verified.ceilings().to_vec(),
                account: own.map(|own| own.account),
                ..grant
            },
            // A delegation with a key expires with the key at the latest.
            Credential::ApiKey(key) => Grant {
                caveats: Caveats(key.expires.map(Caveat::Expires).into_iter().collect()),
                ..grant
            },
            Credential::Static => grant,
        }
    };
    let mut grant = credential.map(of_credential);
    if let Some(handle) = handle {
        let grant = grant.get_or_insert_default();
        grant.token = Some(handle.token.to_string());
        grant.caveats.0.extend(handle.caveats.0);
        grant.account = Some(handle.account);
        // Those are of the account of the token that the handle is used with.
        grant.ceilings.clear();
    }
    grant
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Map;

    use super::*;
    use crate::domain::{
        account_id::AccountId,
        caveat::Caveat,
        keyed::Key,
        rules::AgentRules,
        stamp::{self, CallDigest, Stamp},
        token::TokenId,
    };

    /// `lead` may act as `worker`; `odd` stands alone.
    fn rules() -> Rules {
        let lead = AgentRules { may_act_as: vec!["worker".into()], ..AgentRules::default() };
        let agents =
            [("lead", lead), ("worker", AgentRules::default()), ("odd", AgentRules::default())];
        let agents: BTreeMap<AgentId, AgentRules> =
            agents.into_iter().map(|(name, rules)| (name.into(), rules)).collect();
        Rules { agents, ..Rules::default() }
    }

    fn identities(mode: IdentityMode) -> Identities {
        Identities {
            mode,
            deny_on_missing_agent: true,
            default_agent: None,
            stamped_only: false,
            unstamped_agent: None,
        }
    }

    fn stamped(agent: &str, claim: Option<&str>) -> Stamped {
        let (key, call) = (Key::new([7; 32]), CallDigest::of("execute_tool", &Map::new()));
        let stamp = Stamp::new(agent.into(), 1_000, [1; 9]).unwrap().of_instance("i1");
        let stamp = claim.map_or(stamp.clone(), |claim| stamp.claiming(claim));
        stamp::verify(&stamp.sign(&key, &call), &key, &call, 2_000).unwrap()
    }

    fn handle(agents: &[&str]) -> Delegation {
        let caveats = agents.iter().map(|agent| Caveat::Agent((*agent).into())).collect();
        Delegation {
            token: TokenId(1),
            account: AccountId::new("b", "token/1"),
            handle: None,
            principal: None,
            made_with: None,
            caveats: Caveats(caveats),
            label: None,
        }
    }

    fn key(agents: &[&str]) -> Credential {
        Credential::ApiKey(ApiKey {
            id: "k".into(),
            name: String::new(),
            digest: [0; 32].into(),
            agents: agents.iter().map(|agent| (*agent).into()).collect(),
            roles: Vec::new(),
            created: 0,
            expires: None,
            revoked: false,
        })
    }

    /// Who acts, who must allow it as well, and how sure it is; or why the caller is refused.
    #[track_caller]
    fn check(
        identities: &Identities,
        evidence: Evidence<'_>,
        expected: Result<(&str, &[&str], &str), &str>,
    ) {
        let found = identities.identify_by(evidence, &rules());
        match (found, expected) {
            (Ok(caller), Ok((agent, others, assurance))) => {
                assert_eq!(caller.agent().as_str(), agent);
                let names: Vec<&str> = caller.bound_by().iter().map(AgentId::as_str).collect();
                assert_eq!(names, others);
                assert_eq!(caller.assurance().as_str(), assurance);
            }
            (Err(error), Err(word)) => assert!(format!("{error:?}").starts_with(word), "{error:?}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    fn claims(claimed: &str) -> Evidence<'_> {
        Evidence { claimed: Some(claimed), ..Evidence::default() }
    }

    #[test]
    fn api_keys_act_as_their_agents_and_no_others() {
        let open = identities(IdentityMode::Asserted);
        let with = |claimed, agents: &[&str]| Evidence {
            claimed,
            credential: Some(key(agents)),
            ..Evidence::default()
        };
        check(&open, with(None, &["lead"]), Ok(("lead", &[], "token")));
        check(&open, with(Some("worker"), &["lead"]), Ok(("worker", &[], "token")));
        check(&open, with(Some("odd"), &["lead"]), Err("NotPinned"));
        check(&open, with(None, &["lead", "odd"]), Err("Missing"));
        check(&open, with(Some("odd"), &["lead", "odd"]), Ok(("odd", &[], "token")));
        check(&open, with(Some("nobody"), &["lead", "odd"]), Err("NotGranted"));
        let pinned = identities(IdentityMode::Pinned("odd".into()));
        check(&pinned, with(None, &["lead"]), Ok(("lead", &["odd"], "token")));
    }

    #[test]
    fn whoever_is_named_narrows() {
        let open = identities(IdentityMode::Asserted);
        let by = |handle, stamp| Evidence {
            claimed: Some("sub_x"),
            handle: Some(handle),
            stamp,
            ..Evidence::default()
        };
        check(&open, by(handle(&["lead", "worker"]), None), Ok(("worker", &["lead"], "asserted")));
        let stamp = Some(stamped("odd", Some("sub_x")));
        check(&open, by(handle(&["lead"]), stamp), Ok(("odd", &["lead"], "stamped")));
        check(&open, by(handle(&["lead", "gone"]), None), Err("Unknown"));
        let pinned = identities(IdentityMode::Pinned("odd".into()));
        check(&pinned, by(handle(&["lead"]), None), Ok(("lead", &["odd"], "pinned")));
    }

    #[test]
    fn only_signed_names_count_where_rules_require_it() {
        let signed = |agent| Evidence { stamp: Some(stamped(agent, None)), ..Evidence::default() };
        let open = identities(IdentityMode::Asserted);
        check(&open, signed("lead"), Ok(("lead", &[], "stamped")));
        check(&open, claims("lead"), Ok(("lead", &[], "asserted")));
        check(&open, signed("nobody"), Err("Unknown"));
        let strict = Identities { stamped_only: true, ..open };
        check(&strict, signed("lead"), Ok(("lead", &[], "stamped")));
        check(&strict, claims("lead"), Err("Unsigned"));
        check(&strict, Evidence::default(), Err("Unsigned"));
        let strict = Identities { unstamped_agent: Some("odd".into()), ..strict };
        check(&strict, claims("lead"), Ok(("odd", &[], "asserted")));
        check(&strict, Evidence::default(), Ok(("odd", &[], "asserted")));
        let handle = Evidence { handle: Some(handle(&["lead"])), ..Evidence::default() };
        check(&strict, handle, Ok(("odd", &["lead"], "asserted")));
        let key = Evidence { credential: Some(key(&["lead"])), ..Evidence::default() };
        check(&strict, key, Ok(("lead", &[], "token")));
        // A signed name chooses no further than the connection lets any name.
        let pinned = Identities { mode: IdentityMode::Pinned("lead".into()), ..strict };
        check(&pinned, signed("worker"), Ok(("worker", &[], "stamped")));
        check(&pinned, signed("odd"), Err("NotPinned"));
        check(&pinned, claims("worker"), Ok(("odd", &["lead"], "pinned")));
    }
}
