//! `tollgate usage`: calls, errors, credits and latencies, by agent, server and so on.

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    consumers::Consumers,
    context::CommandContext,
    exit::Exit,
    output::{Report, error},
    parse::TimeSpan,
    records::{self, plain},
};
use crate::{
    domain::{
        pattern::Pattern,
        usage::{GroupBy, Names, Tally, Usage},
    },
    ledger::queries::{self, filter::Filter},
};

#[derive(Debug, Args)]
pub(super) struct UsageArgs {
    /// Only this agent's calls; `*` and `?` are wildcards
    #[arg(value_parser = Pattern::parse)]
    agent: Option<Pattern>,
    /// One row per agent, server, tool, day (UTC), label, key or token, or per combination of
    /// several, comma-separated
    #[arg(long, value_name = "KEYS", default_value = "agent")]
    by: String,
    #[command(flatten)]
    time: TimeSpan,
}

pub(super) async fn run(context: &CommandContext, asked: &UsageArgs) -> anyhow::Result<Exit> {
    let keys = match GroupBy::parse_list(&asked.by) {
        Ok(keys) => keys,
        Err(wrong) => {
            error(&format!("--by: {wrong}"));
            return Ok(Exit::Settings);
        }
    };
    let store = context.store()?;
    let names = match keys.iter().any(|key| matches!(key, GroupBy::Label | GroupBy::Key)) {
        true => Consumers::of(&store).await?.names(),
        false => Names::default(),
    };
    let TimeSpan { since, until } = asked.time.clone();
    let filter = Filter { agent: asked.agent.clone(), since, until, ..Filter::default() };
    let found = queries::usage(&store.ledger, &filter, keys, names).await;
    context.show(&report(&records::complete(found)?))
}

/// The numbers of some calls.
#[derive(Serialize)]
pub(super) struct Numbers {
    calls: u64,
    errors: u64,
    refusals: u64,
    would_refuse: u64,
    uncertain: u64,
    result_bytes: u64,
    credits: Option<i64>,
    p50_us: Option<u64>,
    p95_us: Option<u64>,
    p99_us: Option<u64>,
}

impl From<&Tally> for Numbers {
    fn from(tally: &Tally) -> Self {
        Self {
            calls: tally.calls,
            errors: tally.errors,
            refusals: tally.refusals,
            would_refuse: tally.would_refuse,
            uncertain: tally.uncertain,
            result_bytes: tally.bytes,
            credits: i64::try_from(tally.credits).ok(),
            p50_us: tally.latencies.percentile(50),
            p95_us: tally.latencies.percentile(95),
            p99_us: tally.latencies.percentile(99),
        }
    }
}

impl Numbers {
    const HEADER: [&str; 9] = [
        "CALLS",
        "ERRORS",
        "REFUSED",
        "UNCERTAIN",
        "CREDITS",
        "P50 MS",
        "P95 MS",
        "P99 MS",
        "RESULT BYTES",
    ];

    fn cells(&self) -> Vec<String> {
        let counts = [self.calls, self.errors, self.refusals, self.uncertain];
        let counts = counts.iter().map(u64::to_string);
        let mut cells: Vec<String> = counts.chain([self.credits()]).collect();
        cells.extend([self.p50_us, self.p95_us, self.p99_us].map(millis));
        cells.push(self.result_bytes.to_string());
        cells
    }

    fn credits(&self) -> String {
        self.credits.map_or_else(|| "-".to_owned(), |credits| credits.to_string())
    }

    /// Adds lines for people.
    pub(super) fn describe(&self, report: Report) -> Report {
        let shadow = Some(self.would_refuse).filter(|count| *count > 0);
        let shadow = shadow.map(|count| format!("shadow     {count} would have been refused"));
        let [p50, p95, p99] = [self.p50_us, self.p95_us, self.p99_us].map(millis);
        report
            .value("calls", format!("{}, of which {} failed", self.calls, self.errors))
            .value("refused", self.refusals)
            .lines(shadow)
            .value("uncertain", self.uncertain)
            .value("credits", self.credits())
            .value("latency", format!("p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"))
    }
}

fn report(usage: &Usage) -> Report {
    let keys: Vec<&str> = usage.keys().iter().map(|key| key.as_str()).collect();
    let groups: Vec<(&[String], Numbers)> =
        usage.groups().map(|(group, tally)| (group, tally.into())).collect();
    let total = Numbers::from(usage.total());
    let row = |(group, numbers): &(&[String], Numbers)| {
        let said = keys.iter().zip(*group).map(|(key, said)| ((*key).to_owned(), json!(said)));
        let numbers = json!(numbers);
        let numbers = numbers.as_object().into_iter().flatten();
        let numbers = numbers.map(|(name, number)| (name.clone(), number.clone()));
        Value::Object(said.chain(numbers).collect())
    };
    let rows: Vec<Value> = groups.iter().map(row).collect();
    let report = Report::new(json!({"usage": rows, "total": total}));
    if rows.is_empty() {
        return report.line("there are no calls");
    }
    let shadow = total.would_refuse > 0;
    let header = keys.iter().map(|key| key.to_uppercase());
    let header = header.chain(Numbers::HEADER.map(str::to_owned));
    let header = header.chain(shadow.then(|| "WOULD REFUSE".to_owned()));
    let cells = |said: Vec<String>, numbers: &Numbers| {
        let mut cells = [said, numbers.cells()].concat();
        cells.extend(shadow.then(|| numbers.would_refuse.to_string()));
        cells
    };
    let rows = groups
        .iter()
        .map(|(group, numbers)| cells(group.iter().map(|said| plain(said)).collect(), numbers));
    let mut titled = vec![String::new(); keys.len()];
    titled.iter_mut().take(1).for_each(|first| "total".clone_into(first));
    report.table(header, rows.chain([cells(titled, &total)]))
}

/// Microseconds as milliseconds.
pub(super) fn millis(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |us| format!("{}.{}", us / 1_000, us % 1_000 / 100))
}
