//! `tollgate audit`: the records of what was decided and what moved.

mod log;
mod verify;

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit,
    args::SettingsArgs,
    output::Output,
    records,
    usage::{millis, numbers, since},
};
use crate::{
    app::wiring,
    domain::{
        pattern::Pattern,
        record::{Decision, Event},
    },
    host::environment::Environment,
    ledger::queries::{
        filter::{self, Filter},
        records::{Entry, Moment, Records},
        stats::Stats,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum AuditArgs {
    /// Show records, the newest last
    Log(LogArgs),
    /// Count the records: of what, of whom, from when to when
    Stats(StatsArgs),
    /// Follow the chain of records from its beginning. Exit status 4: one was altered; 5: some are
    /// missing at the end
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Only of this agent; `*` and `?` are wildcards, here and below
    #[arg(long, value_parser = Pattern::parse)]
    agent: Option<Pattern>,
    /// Only of this server
    #[arg(long, value_parser = Pattern::parse)]
    server: Option<Pattern>,
    /// Only of this tool
    #[arg(long, value_parser = Pattern::parse)]
    tool: Option<Pattern>,
    /// Only hold, post, void, refusal, call, declare, grant, delegate, refund, cap,
    /// close, revoke, key, baseline, reload or discovery
    #[arg(long, value_parser = filter::event)]
    event: Option<Event>,
    /// Only allowed, refused, over_budget or would_refuse
    #[arg(long, value_parser = filter::decision)]
    decision: Option<Decision>,
    /// From this time on, or for so long: 90m, 2026-11-20, 2026-11-20T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Moment>,
    /// Only what was before this time, or so long ago; written as for --since
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Moment>,
    /// The most records
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Go on with those that are made from now on
    #[arg(long, conflicts_with = "until")]
    follow: bool,
}

impl LogArgs {
    fn filter(&self) -> Filter {
        Filter {
            agent: self.agent.clone(),
            server: self.server.clone(),
            tool: self.tool.clone(),
            event: self.event,
            decision: self.decision,
            until: self.until.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// From this time on, or for so long: 90m, 2026-11-20, 2026-11-20T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Moment>,
    /// Only what was before this time, or so long ago; written as for --since
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Moment>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Verify this copy of the records (GATEWAY_AUDIT_LOG) instead, by itself
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(args: &SettingsArgs, asked: &AuditArgs, output: &Output) -> anyhow::Result<Exit> {
    match asked {
        AuditArgs::Log(asked) => log::run(args, asked, output),
        AuditArgs::Stats(asked) => stats(args, asked, output),
        AuditArgs::Verify(VerifyArgs { file: Some(file) }) => {
            verify::file(&Environment::of_process().path(file), output)
        }
        AuditArgs::Verify(VerifyArgs { file: None }) => verify::store(args, output),
    }
}

fn stats(args: &SettingsArgs, asked: &StatsArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let ledger = records::ledger(&settings)?;
    let stats = wiring::runtime()?.block_on(async {
        let source = Records::of(&ledger);
        let newest = source.newest_first(asked.since.clone()).await.map_err(records::unusable)?;
        let mut stats = Stats::default();
        let filter = Filter { until: asked.until.clone(), ..Filter::default() };
        let count = |entry: Entry| {
            if filter.takes(&entry.record) {
                stats.add(&entry.record);
            }
            true
        };
        records::walk(newest, count).await?;
        anyhow::Ok(stats)
    })?;
    if output.json {
        let mut report = serde_json::to_value(&stats)?;
        if let Value::Object(report) = &mut report {
            report.insert("usage".to_owned(), json!(numbers(stats.calls())));
        }
        output.value(&report);
    } else {
        print(&stats, output);
    }
    Ok(Exit::Done)
}

fn print(stats: &Stats, output: &Output) {
    let time = |at: &Option<String>| at.clone().unwrap_or_else(|| "-".to_owned());
    let row = |label: &str, text: &str| output.line(&format!("{label:<10} {text}"));
    row("records", &stats.records.to_string());
    row("first", &time(&stats.first));
    row("last", &time(&stats.last));
    let calls = stats.calls();
    row("calls", &format!("{}, of which {} failed", calls.calls, calls.errors));
    row("refused", &calls.refusals.to_string());
    if calls.would_refuse > 0 {
        row("shadow", &format!("{} would have been refused", calls.would_refuse));
    }
    row("uncertain", &calls.uncertain.to_string());
    row("credits", &calls.credits.to_string());
    let percentile = |percent| millis(calls.latencies.percentile(percent));
    let [p50, p95, p99] = [50, 95, 99].map(percentile);
    row("latency", &format!("p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"));
    for (label, counts) in [
        ("events", &stats.events),
        ("decisions", &stats.decisions),
        ("agents", &stats.agents),
        ("servers", &stats.servers),
        ("tools", &stats.tools),
    ] {
        row(label, &most(counts));
    }
}

/// The greatest counts, the greatest first.
fn most(counts: &BTreeMap<String, u64>) -> String {
    const SHOWN: usize = 12;
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let shown =
        sorted.iter().take(SHOWN).map(|(what, count)| format!("{} {count}", records::plain(what)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match counts.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{shown} and {more} more"),
        _ => shown,
    }
}
