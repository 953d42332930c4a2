//! `tollgate tokens`: how many tokens tools cost, and how many each agent was sent.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::{context::CommandContext, exit::Exit, output::Report, progress};
use crate::{
    app::{drain::stop, wiring},
    domain::{
        detail::{Detail, Level},
        fit::{Candidate, fit},
        price::Tariff,
        rendered::{RenderedCatalog, assemble},
    },
    downstream::{Member, NotYet},
    gateway::facade,
    ledger::queries::context as sent,
};

pub(super) async fn run(context: &CommandContext) -> anyhow::Result<Exit> {
    let settings = context.settings()?;
    let encoding = settings.rules.encoding;
    let tariff = settings.budgeting.tariff.clone();
    let agents = match context.places().state {
        Some(dir) => sent::read(&dir.join("context.json"))?,
        None => sent::Totals::new(),
    };
    let gateway = wiring::gateway_for_one_call(settings, &context.env);
    let snapshot = gateway.current();
    let members = snapshot.fleet().members();
    let catalogs = progress::shown(members, catalogs(members)).await;
    stop(&gateway).await;
    let servers: Vec<ServerTokens> =
        catalogs.into_iter().map(|(name, found)| ServerTokens::of(name, found, &tariff)).collect();
    let facade = encoding.count(&facade::tools_json(false));
    context.show(&report(encoding.as_str(), facade, &servers, &agents))
}

/// The tokens of all tools, for a client that loads them as the servers send them.
pub(super) async fn up_front(members: &[Member]) -> usize {
    let found = catalogs(members).await.into_iter().filter_map(|(_, catalog)| catalog.ok());
    found.map(|catalog| raw_tokens(&catalog)).sum()
}

fn raw_tokens(catalog: &RenderedCatalog) -> usize {
    catalog.tools().iter().map(|tool| tool.costs().raw as usize).sum()
}

fn report(
    encoding: &str,
    facade: usize,
    servers: &[ServerTokens],
    agents: &sent::Totals,
) -> Report {
    let raw: usize = servers.iter().map(ServerTokens::raw).sum();
    let json = json!({
        "encoding": encoding,
        "facade": facade,
        "raw": raw,
        "servers": servers,
        "agents": agents,
    });
    let header = ["SERVER", "TOOLS", "RAW", "FULL", "SIGNATURE", "NAMES"];
    let report = Report::new(json)
        .table(header, servers.iter().map(ServerTokens::cells))
        .line("")
        .line(format!("{raw:>8}  tokens ({encoding}) if a client loads all tools up front"))
        .line(format!("{facade:>8}  tokens for the three tools of the gateway"));
    if agents.is_empty() {
        return report;
    }
    let cells = |(agent, usage): (&String, &sent::ContextUsage)| {
        let saved = i128::from(usage.raw) - i128::from(usage.sent);
        let numbers = [usage.answers, usage.calls, usage.sent, usage.raw].map(|n| n.to_string());
        [agent.clone()].into_iter().chain(numbers).chain([saved.to_string()]).collect()
    };
    let header = ["AGENT", "ANSWERS", "CALLS", "SENT", "RAW", "SAVED"];
    report.line("").table(header, agents.iter().map(cells))
}

/// The tools of every server, in the order of the settings; or why there are none.
async fn catalogs(members: &[Member]) -> Vec<(String, Result<Arc<RenderedCatalog>, String>)> {
    let mut asked: JoinSet<_> = members
        .iter()
        .cloned()
        .enumerate()
        .map(|(index, member)| async move {
            let rendered =
                member.server().rendered_in_turn(None).await.map_err(|not_yet| match not_yet {
                    NotYet::Starting => "it is still starting".to_owned(),
                    NotYet::Unavailable(unavailable) => unavailable.cause,
                });
            (index, member.name().to_string(), rendered)
        })
        .collect();
    let mut found = Vec::new();
    while let Some(answer) = asked.join_next().await {
        found.extend(answer);
    }
    found.sort_by_key(|(index, ..)| *index);
    found.into_iter().map(|(_, name, rendered)| (name, rendered)).collect()
}

/// What the tools of one server cost.
#[derive(Serialize)]
struct ServerTokens {
    server: String,
    #[serde(flatten)]
    catalog: Catalog,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Catalog {
    Known(CatalogTokens),
    Unknown { error: String },
}

/// The tokens of all tools of a server: as the server sends them, and at three levels of detail.
#[derive(Serialize)]
struct CatalogTokens {
    tools: usize,
    raw: usize,
    full: usize,
    signature: usize,
    names: usize,
}

impl ServerTokens {
    fn of(server: String, found: Result<Arc<RenderedCatalog>, String>, tariff: &Tariff) -> Self {
        let catalog = match found {
            Err(error) => Catalog::Unknown { error },
            Ok(catalog) => Catalog::Known(CatalogTokens {
                tools: catalog.tools().len(),
                raw: raw_tokens(&catalog),
                full: tokens_at(&catalog, Level::Full, tariff),
                signature: tokens_at(&catalog, Level::Signature, tariff),
                names: tokens_at(&catalog, Level::Names, tariff),
            }),
        };
        Self { server, catalog }
    }

    fn raw(&self) -> usize {
        if let Catalog::Known(tokens) = &self.catalog { tokens.raw } else { 0 }
    }

    fn cells(&self) -> Vec<String> {
        match &self.catalog {
            Catalog::Unknown { error } => vec![self.server.clone(), "-".into(), error.clone()],
            Catalog::Known(CatalogTokens { tools, raw, full, signature, names }) => {
                let numbers = [tools, raw, full, signature, names].map(usize::to_string);
                [self.server.clone()].into_iter().chain(numbers).collect()
            }
        }
    }
}

/// The tokens of all tools at one level, without a budget.
fn tokens_at(rendered: &RenderedCatalog, level: Level, tariff: &Tariff) -> usize {
    let server = rendered.server();
    let tools = rendered.tools().iter();
    let candidates: Vec<Candidate<'_>> = tools
        .map(|tool| Candidate { tool, server, price: tariff.own_price(server, tool.name()) })
        .collect();
    let placed = fit(&candidates, Detail::AtMost(level), usize::MAX, false);
    let (text, tokens) = assemble(&placed, false);
    tokens.unwrap_or_else(|| rendered.encoding().count(&text))
}
