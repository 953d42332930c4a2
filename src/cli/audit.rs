//! `tollgate audit`: the records of decisions and of credits that moved.

mod log;
mod verify;

use std::{cmp::Reverse, collections::BTreeMap};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::{log::LogArgs, verify::VerifyArgs};
use super::{
    context::CommandContext,
    exit::Exit,
    output::Report,
    parse::TimeSpan,
    records::{self, plain},
    usage::Numbers,
};
use crate::ledger::queries::{self, filter::Filter};

#[derive(Debug, Subcommand)]
pub(super) enum AuditArgs {
    /// Show records, the newest last
    Log(LogArgs),
    /// Count records by event, decision, agent, server and tool
    Stats(StatsArgs),
    /// Verify the chain of records from its beginning; exit status 4 if a record was altered, 5 if
    /// records are missing at the end
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    #[command(flatten)]
    time: TimeSpan,
}

pub(super) async fn run(context: &CommandContext, asked: &AuditArgs) -> anyhow::Result<Exit> {
    match asked {
        AuditArgs::Log(asked) => log::run(context, asked).await,
        AuditArgs::Stats(asked) => context.show(&stats(context, asked).await?),
        AuditArgs::Verify(asked) => context.show(&verify::run(context, asked).await?),
    }
}

async fn stats(context: &CommandContext, asked: &StatsArgs) -> anyhow::Result<Report> {
    let TimeSpan { since, until } = asked.time.clone();
    let filter = Filter { since, until, ..Filter::default() };
    let store = context.store()?;
    let stats = records::complete(queries::stats(&store.ledger, &filter).await)?;
    let usage = Numbers::from(stats.calls());
    let mut json = json!(stats);
    if let Value::Object(members) = &mut json {
        members.insert("usage".into(), json!(usage));
    }
    let report = Report::new(json)
        .value("records", stats.records)
        .value("first", stats.first.as_deref().unwrap_or("-"))
        .value("last", stats.last.as_deref().unwrap_or("-"));
    Ok(usage
        .describe(report)
        .value("events", greatest(&stats.events))
        .value("decisions", greatest(&stats.decisions))
        .value("agents", greatest(&stats.agents))
        .value("servers", greatest(&stats.servers))
        .value("tools", greatest(&stats.tools)))
}

/// The greatest counts, the greatest first.
fn greatest(counts: &BTreeMap<String, u64>) -> String {
    const SHOWN: usize = 12;
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| Reverse(**count));
    let shown = sorted.iter().take(SHOWN).map(|(name, count)| format!("{} {count}", plain(name)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match counts.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
