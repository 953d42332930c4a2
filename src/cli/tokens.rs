//! `tollgate tokens`: what tools cost in context, and what each agent was sent.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Exit, args::SettingsArgs, output::Output, progress};
use crate::{
    app::wiring,
    domain::{
        detail::{Detail, Level},
        fit::{Candidate, fit},
        price::Tariff,
        rendered::{RenderedCatalog, assemble},
        tokens::Encoding,
    },
    downstream::{Member, NotYet},
    gateway::facade,
    host::environment::Environment,
    ledger::queries::context::{self, Totals},
};

pub(super) fn run(args: &SettingsArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let encoding = settings.rules.encoding;
    let tariff = settings.budgeting.tariff.clone();
    let env = Environment::of_process();
    let usage = match wiring::places(&env).state {
        Some(dir) => context::read(&dir.join("context.json"))?,
        None => Totals::new(),
    };
    let runtime = wiring::runtime()?;
    let servers = runtime.block_on(async {
        let gateway = wiring::gateway_for_one_call(settings, &env);
        let snapshot = gateway.current();
        let members = snapshot.fleet().members();
        let servers = progress::shown(members, shelves(members)).await;
        gateway.stop().await;
        servers
    });
    runtime.shutdown_background();
    let report = Report {
        facade: encoding.count(&facade::tools_json(false)),
        servers: servers
            .into_iter()
            .map(|(name, rendered)| Sizes::of(name, rendered, &tariff))
            .collect(),
        usage,
    };
    if output.json {
        output.value(&report.json(encoding))
    } else {
        report.print(output, encoding)
    }
    Ok(Exit::Done)
}

/// The tools of every server, in the order of the settings; or why there are none.
async fn shelves(members: &[Member]) -> Vec<(String, Result<Arc<RenderedCatalog>, String>)> {
    let mut asked: JoinSet<_> = members
        .iter()
        .cloned()
        .enumerate()
        .map(|(index, member)| async move {
            let rendered =
                member.server().shelf_in_turn(None).await.map_err(|not_yet| match not_yet {
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
struct Sizes {
    server: String,
    sizes: Result<(usize, [usize; 4]), String>,
}

/// The columns: as the server sends them, and at three levels of ours.
const COLUMNS: [(&str, Option<Level>); 4] = [
    ("raw", None),
    ("full", Some(Level::Full)),
    ("signature", Some(Level::Signature)),
    ("names", Some(Level::Names)),
];

impl Sizes {
    fn of(server: String, rendered: Result<Arc<RenderedCatalog>, String>, tariff: &Tariff) -> Self {
        let sizes = rendered.map(|rendered| {
            let tokens = COLUMNS.map(|(_, level)| match level {
                None => rendered.tools().iter().map(|tool| tool.costs().raw as usize).sum(),
                Some(level) => tokens_at(&rendered, level, tariff),
            });
            (rendered.tools().len(), tokens)
        });
        Self { server, sizes }
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

struct Report {
    facade: usize,
    servers: Vec<Sizes>,
    usage: Totals,
}

impl Report {
    fn raw(&self) -> usize {
        self.servers.iter().filter_map(|s| s.sizes.as_ref().ok()).map(|(_, [raw, ..])| raw).sum()
    }

    fn json(&self, encoding: Encoding) -> Value {
        let servers: Vec<Value> = self
            .servers
            .iter()
            .map(|server| match &server.sizes {
                Ok((tools, sizes)) => {
                    let mut entry = json!({"server": server.server, "tools": tools});
                    for ((column, _), size) in COLUMNS.iter().zip(sizes) {
                        if let Value::Object(entry) = &mut entry {
                            entry.insert((*column).to_owned(), (*size).into());
                        }
                    }
                    entry
                }
                Err(cause) => json!({"server": server.server, "error": cause}),
            })
            .collect();
        json!({
            "encoding": encoding.as_str(),
            "facade": self.facade,
            "raw": self.raw(),
            "servers": servers,
            "agents": self.usage,
        })
    }

    fn print(&self, output: &Output, encoding: Encoding) {
        let rows = self.servers.iter().map(|server| match &server.sizes {
            Ok((tools, sizes)) => {
                let sizes = sizes.iter().map(usize::to_string);
                [server.server.clone(), tools.to_string()].into_iter().chain(sizes).collect()
            }
            Err(cause) => vec![server.server.clone(), "-".into(), cause.clone()],
        });
        output.table(&["SERVER", "TOOLS", "RAW", "FULL", "SIGNATURE", "NAMES"], rows.collect());
        output.line("");
        let raw = self.raw();
        output.line(&format!(
            "{raw:>8}  tokens ({}) if a client loads all tools up front",
            encoding.as_str()
        ));
        output.line(&format!("{:>8}  tokens for the three tools of the gateway", self.facade));
        if self.usage.is_empty() {
            return;
        }
        output.line("");
        let rows = self.usage.iter().map(|(agent, usage)| {
            let saved = i128::from(usage.raw) - i128::from(usage.sent);
            let numbers =
                [usage.answers, usage.calls, usage.sent, usage.raw].map(|n| n.to_string());
            [agent.clone()].into_iter().chain(numbers).chain([saved.to_string()]).collect()
        });
        output.table(&["AGENT", "ANSWERS", "CALLS", "SENT", "RAW", "SAVED"], rows.collect());
    }
}
