//! What narrows a token, as typed.

use clap::Args;

use crate::{
    cli::keys::expires,
    domain::{call::AgentId, caveat::Caveat, credits::Credits, scope::Scope},
};

#[derive(Debug, Args)]
pub(super) struct Narrowing {
    /// When it ends: 90d, 12h, 2027-01-31 or 2027-01-31T00:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    expires: Option<i64>,
    /// Only these servers, as `db, api_*`
    #[arg(long, value_name = "PATTERNS", value_parser = servers)]
    servers: Option<Scope>,
    /// Only these tools, as `get_*, db/query`
    #[arg(long, value_name = "PATTERNS", value_parser = Scope::parse)]
    tools: Option<Scope>,
    /// None of these tools
    #[arg(long, value_name = "PATTERNS", value_parser = Scope::parse)]
    except: Option<Scope>,
    /// As this agent, whose rules must then allow every call
    #[arg(long, value_parser = agent)]
    pub(super) agent: Option<AgentId>,
    /// No call that costs more
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    max_cost: Option<Credits>,
    /// Delegated at most so many levels further; 0: not at all
    #[arg(long, value_name = "LEVELS")]
    depth: Option<u8>,
    /// No delegation of more
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    max_delegation: Option<Credits>,
    /// No more than this by all its calls together; for a token with an account of its own
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    ceiling: Option<Credits>,
    /// For this tenant
    #[arg(long)]
    tenant: Option<String>,
}

impl Narrowing {
    /// The caveats that say so.
    pub(super) fn caveats(&self) -> Vec<Caveat> {
        let all = [
            self.expires.map(Caveat::Expires),
            self.servers.clone().map(Caveat::Servers),
            self.tools.clone().map(Caveat::Tools),
            self.except.clone().map(Caveat::Except),
            self.agent.clone().map(Caveat::Agent),
            self.max_cost.map(Caveat::MostCost),
            self.depth.map(Caveat::Depth),
            self.max_delegation.map(Caveat::MostDelegated),
            self.ceiling.map(Caveat::Ceiling),
            self.tenant.clone().map(Caveat::Tenant),
        ];
        all.into_iter().flatten().collect()
    }
}

fn servers(text: &str) -> Result<Scope, String> {
    match text.contains('/') {
        true => Err("names servers only; `--tools` takes `server/tool`".into()),
        false => Scope::parse(text),
    }
}

fn agent(text: &str) -> Result<AgentId, String> {
    match AgentId::is_well_formed(text) {
        true => Ok(text.into()),
        false => Err("an agent is named by 1 to 128 of the letters A-Z a-z 0-9 _ . : -".into()),
    }
}

fn credits(text: &str) -> Result<Credits, String> {
    let amount = text.parse::<u64>().map_err(|_| "credits are a whole number".to_owned())?;
    Credits::try_from(amount)
}
