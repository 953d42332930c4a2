//! `tollgate usage`: what calls came to.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Exit, args::SettingsArgs, consumers::Consumers, output::Output, records};
use crate::{
    app::wiring,
    domain::{
        pattern::Pattern,
        usage::{Key, Names, Tally, Usage},
    },
    host::clock::now,
    ledger::queries::{
        filter::{self, Filter},
        records::{Entry, Moment, Records},
    },
};

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// Only this agent's calls; `*` and `?` are wildcards
    #[arg(value_parser = Pattern::parse)]
    agent: Option<Pattern>,
    /// A row for each agent, server, tool, day (UTC), label, key or token, or for several,
    /// comma-separated
    #[arg(long, value_name = "KEYS", default_value = "agent")]
    by: String,
    /// From this time on, or for so long: 7d, 2026-11-20, 2026-11-20T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Moment>,
    /// Only what was before this time, or so long ago; written as for --since
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Moment>,
}

/// The beginning of what is meant, counted from now.
pub(super) fn since(text: &str) -> Result<Moment, String> {
    filter::since(text, now())
}

pub(super) fn run(args: &SettingsArgs, asked: &UsageArgs, output: &Output) -> anyhow::Result<Exit> {
    let keys = match Key::parse_list(&asked.by) {
        Ok(keys) => keys,
        Err(wrong) => {
            output.error(&format!("--by: {wrong}"));
            return Ok(Exit::Settings);
        }
    };
    let settings = wiring::settings(&args.options())?;
    let ledger = records::ledger(&settings)?;
    let runtime = wiring::runtime()?;
    let usage = runtime.block_on(async {
        let (agent, until) = (asked.agent.clone(), asked.until.clone());
        let filter = Filter { agent, until, ..Filter::default() };
        let source = Records::of(&ledger);
        let newest = source.newest_first(asked.since.clone()).await.map_err(records::unusable)?;
        let names = match keys.iter().any(|key| matches!(key, Key::Label | Key::Key)) {
            true => Consumers::of(&settings, &ledger).await?.names(),
            false => Names::default(),
        };
        let mut usage = Usage::by(keys, names);
        let count = |entry: Entry| {
            if filter.takes(&entry.record) {
                usage.add(&entry.record);
            }
            true
        };
        records::walk(newest, count).await?;
        anyhow::Ok(usage)
    })?;
    match output.json {
        true => output.value(&json(&usage)),
        false => print(&usage, output),
    }
    Ok(Exit::Done)
}

fn json(usage: &Usage) -> Value {
    let row = |(group, tally): (&[String], &Tally)| {
        let said = usage.keys().iter().zip(group);
        let keys = said.map(|(key, said)| (key.as_str().to_owned(), json!(said)));
        Value::Object(keys.chain(numbers(tally)).collect())
    };
    let rows: Vec<Value> = usage.groups().map(row).collect();
    json!({"usage": rows, "total": numbers(usage.total())})
}

/// The numbers of some calls, for programs.
pub(super) fn numbers(tally: &Tally) -> Map<String, Value> {
    let mut numbers = Map::new();
    for (name, count) in [
        ("calls", tally.calls),
        ("errors", tally.errors),
        ("refusals", tally.refusals),
        ("would_refuse", tally.would_refuse),
        ("uncertain", tally.uncertain),
        ("result_bytes", tally.bytes),
    ] {
        numbers.insert(name.to_owned(), count.into());
    }
    numbers.insert("credits".to_owned(), i64::try_from(tally.credits).ok().into());
    for (name, percent) in [("p50_us", 50), ("p95_us", 95), ("p99_us", 99)] {
        numbers.insert(name.to_owned(), tally.latencies.percentile(percent).into());
    }
    numbers
}

fn print(usage: &Usage, output: &Output) {
    if usage.groups().next().is_none() {
        output.line("there are no calls");
        return;
    }
    let shadow = usage.total().would_refuse > 0;
    let mut header: Vec<String> = usage.keys().iter().map(|k| k.as_str().to_uppercase()).collect();
    let columns = ["CALLS", "ERRORS", "REFUSED", "UNCERTAIN", "CREDITS", "P50 MS", "P95 MS"];
    let columns = columns.into_iter().chain(["P99 MS", "RESULT BYTES"]);
    header.extend(columns.map(str::to_owned));
    header.extend(shadow.then(|| "WOULD REFUSE".to_owned()));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let row = |keys: Vec<String>, tally: &Tally| {
        let Tally { calls, errors, refusals, uncertain, credits, bytes, .. } = tally;
        let numbers = [calls, errors, refusals, uncertain].map(u64::to_string);
        let percentile = |percent| millis(tally.latencies.percentile(percent));
        let [p50, p95, p99] = [50, 95, 99].map(percentile);
        let more = [credits.to_string(), p50, p95, p99, bytes.to_string()];
        let shadow = shadow.then(|| tally.would_refuse.to_string());
        keys.into_iter().chain(numbers).chain(more).chain(shadow).collect()
    };
    let mut rows: Vec<Vec<String>> = usage
        .groups()
        .map(|(group, tally)| row(group.iter().map(|said| records::plain(said)).collect(), tally))
        .collect();
    let mut total = vec![String::new(); usage.keys().len()];
    if let Some(first) = total.first_mut() {
        "total".clone_into(first);
    }
    rows.push(row(total, usage.total()));
    output.table(&header, rows);
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |us| format!("{}.{}", us / 1_000, us % 1_000 / 100))
}
