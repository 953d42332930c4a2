//! `tollgate token narrow`, and the flags that narrow a token.

use anyhow::Context as _;
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::given::given;
use crate::{
    cli::{
        context::CommandContext,
        exit::Exit,
        output::{Report, error},
        parse::{agent, credits, expires},
    },
    domain::{
        call::AgentId,
        caveat::{Caveat, Caveats},
        credits::Credits,
        scope::Scope,
        token::Token,
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct NarrowArgs {
    /// The token; `-` reads it from standard input, so that other users cannot see it
    /// (default: the environment variable TOLLGATE_TOKEN)
    token: Option<String>,
    #[command(flatten)]
    narrowing: Narrowing,
}

#[derive(Debug, Args)]
pub(super) struct Narrowing {
    /// When it expires: 90d, 12h, 2027-01-31 or 2027-01-31T00:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    expires: Option<i64>,
    /// Only these servers, such as `db, api_*`
    #[arg(long, value_name = "PATTERNS", value_parser = servers)]
    servers: Option<Scope>,
    /// Only these tools, such as `get_*, db/query`
    #[arg(long, value_name = "PATTERNS", value_parser = Scope::parse)]
    tools: Option<Scope>,
    /// None of these tools
    #[arg(long, value_name = "PATTERNS", value_parser = Scope::parse)]
    except: Option<Scope>,
    /// Only as this agent, whose rules must then allow every call
    #[arg(long, value_parser = agent)]
    pub(super) agent: Option<AgentId>,
    /// No call that costs more
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    max_cost: Option<Credits>,
    /// At most this many further levels of delegation; 0: none
    #[arg(long, value_name = "LEVELS")]
    depth: Option<u8>,
    /// No delegation of more
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    max_delegation: Option<Credits>,
    /// At most this by all its calls together; for a token with an account of its own
    #[arg(long, value_name = "CREDITS", value_parser = credits)]
    ceiling: Option<Credits>,
    /// Only for this tenant
    #[arg(long)]
    tenant: Option<String>,
}

impl Narrowing {
    pub(super) fn caveats(self) -> Vec<Caveat> {
        let all = [
            self.expires.map(Caveat::Expires),
            self.servers.map(Caveat::Servers),
            self.tools.map(Caveat::Tools),
            self.except.map(Caveat::Except),
            self.agent.map(Caveat::Agent),
            self.max_cost.map(Caveat::MostCost),
            self.depth.map(Caveat::Depth),
            self.max_delegation.map(Caveat::MostDelegated),
            self.ceiling.map(Caveat::Ceiling),
            self.tenant.map(Caveat::Tenant),
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

pub(super) fn run(context: &CommandContext, asked: NarrowArgs) -> anyhow::Result<Exit> {
    let caveats = asked.narrowing.caveats();
    if caveats.is_empty() {
        error("nothing narrows the token; `tollgate token narrow --help` lists the flags that do");
        return Ok(Exit::Settings);
    }
    let token = Token::parse(given(context, asked.token)?.expose_secret())?;
    let narrowed = caveats.iter().try_fold(token, Token::narrow)?;
    if let Ok(all) = narrowed.caveats() {
        Caveats(all).tenant().context("the token would allow nothing")?;
    }
    let text = narrowed.text();
    let text = text.expose_secret();
    let json = json!({"tokenId": narrowed.id().to_string(), "token": text});
    context.show_once(&Report::new(json).line(text), "")
}
