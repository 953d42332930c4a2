//! `tollgate audit log`.

use std::{sync::Arc, time::Duration};

use clap::Args;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    cli::{
        context::{CommandContext, unusable},
        exit::Exit,
        output::Report,
        parse::TimeSpan,
        records::{self, plain},
        usage::millis,
    },
    domain::{
        ledger::AccountId,
        pattern::Pattern,
        record::{Decision, Event, Record, Sealed},
    },
    ledger::{
        Ledger,
        mirror::line,
        queries::{
            self,
            filter::{self, Filter, word},
            records::{ParsedRecord, Records},
            stats::tool,
        },
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct LogArgs {
    /// Only this agent; `*` and `?` are wildcards, as for --server and --tool
    #[arg(long, value_parser = Pattern::parse)]
    agent: Option<Pattern>,
    /// Only this server
    #[arg(long, value_parser = Pattern::parse)]
    server: Option<Pattern>,
    /// Only this tool
    #[arg(long, value_parser = Pattern::parse)]
    tool: Option<Pattern>,
    /// Only hold, post, void, refusal, call, declare, grant, delegate, refund, cap,
    /// close, revoke, key, baseline, reload or discovery
    #[arg(long, value_parser = filter::parse_word::<Event>)]
    event: Option<Event>,
    /// Only allowed, refused, over_budget or would_refuse
    #[arg(long, value_parser = filter::parse_word::<Decision>)]
    decision: Option<Decision>,
    #[command(flatten)]
    time: TimeSpan,
    /// At most this many records, the newest
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Go on with new records as they are made
    #[arg(long, conflicts_with = "until")]
    follow: bool,
}

/// With `--follow`, the pause between two looks for new records.
const PAUSE: Duration = Duration::from_millis(250);

/// More records are printed one by one, since a table needs all rows before its first line.
const MOST_IN_A_TABLE: usize = 1_000;

const HEADER: [&str; 9] =
    ["TIME", "AGENT", "TOOL", "EVENT", "CREDITS", "LEFT", "STATUS", "MS", "HOLD"];

/// Of records that are printed one by one.
const WIDTHS: [usize; 9] = [24, 14, 30, 18, 7, 9, 14, 8, 32];

pub(super) async fn run(context: &CommandContext, asked: &LogArgs) -> anyhow::Result<Exit> {
    let store = context.store()?;
    let filter = Filter {
        agent: asked.agent.clone(),
        server: asked.server.clone(),
        tool: asked.tool.clone(),
        event: asked.event,
        decision: asked.decision,
        since: asked.time.since.clone(),
        until: asked.time.until.clone(),
    };
    let log =
        LogReader { ledger: &store.ledger, source: Records::of(&store.ledger), filter, asked };
    let found = log.newest().await?;
    let print = |entry: ParsedRecord| {
        let json = || line::write(&entry.record.chain, &entry.sealed);
        context.printer.record(json, || columns(&cells(&entry.record)))
    };
    if context.args.json || asked.follow || found.count > MOST_IN_A_TABLE {
        context.printer.progress(&columns(&HEADER.map(str::to_owned)));
        if log.each(&found, print).await? && asked.follow {
            log.follow(found.end, print).await?;
        }
        return Ok(Exit::Done);
    }
    let mut rows = Vec::new();
    log.each(&found, |entry| {
        rows.push(cells(&entry.record).into());
        true
    })
    .await?;
    context.show(&Report::new(Value::Null).table(HEADER, rows))
}

/// The records to show. Only their places are kept, so that any number of them takes no memory.
struct Newest {
    /// The place of the first.
    first: u64,
    /// The place of the last record in the store.
    end: u64,
    count: usize,
}

struct LogReader<'a> {
    ledger: &'a Arc<dyn Ledger>,
    source: Records,
    filter: Filter,
    asked: &'a LogArgs,
}

impl LogReader<'_> {
    /// Finds the newest matching records, up to the limit.
    async fn newest(&self) -> anyhow::Result<Newest> {
        let (mut count, mut first) = (0, None);
        let take = |entry: ParsedRecord| {
            if count < self.asked.limit {
                count += 1;
                first = Some(entry.sealed.seq);
            }
            count < self.asked.limit
        };
        let extent = queries::newest_first(self.ledger, &self.filter, take).await;
        let end = records::complete(extent.map(|extent| (extent.end, extent)))?;
        Ok(Newest { first: first.unwrap_or(end.saturating_add(1)), end, count })
    }

    /// Hands the records to `show`, the oldest first, until it returns false; returns its last answer.
    async fn each(
        &self,
        found: &Newest,
        mut show: impl FnMut(ParsedRecord) -> bool,
    ) -> anyhow::Result<bool> {
        let mut seen = found.first.saturating_sub(1);
        while seen < found.end {
            let page = self.source.after(seen).await.map_err(unusable)?;
            let Some(newest) = page.last().map(|sealed| sealed.seq) else { break };
            seen = newest;
            let page = page.into_iter().take_while(|sealed| sealed.seq <= found.end);
            let mut matching = page.filter_map(|sealed| self.matching(sealed));
            if !matching.all(&mut show) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Hands records to `show` as they are made, until it returns false.
    async fn follow(
        &self,
        mut seen: u64,
        show: impl Fn(ParsedRecord) -> bool,
    ) -> anyhow::Result<()> {
        loop {
            let page = self.source.after(seen).await.map_err(unusable)?;
            match page.last() {
                Some(newest) => seen = newest.seq,
                None => sleep(PAUSE).await,
            }
            let mut matching = page.into_iter().filter_map(|sealed| self.matching(sealed));
            if !matching.all(&show) {
                return Ok(());
            }
        }
    }

    fn matching(&self, sealed: Sealed) -> Option<ParsedRecord> {
        let record = serde_json::from_str(&sealed.line).ok()?;
        Some(ParsedRecord { sealed, record }).filter(|entry| self.filter.takes(&entry.record))
    }
}

fn columns(cells: &[String; 9]) -> String {
    let padded = cells.iter().zip(WIDTHS).map(|(text, width)| format!("{text:<width$}"));
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// A record for people.
fn cells(record: &Record) -> [String; 9] {
    let draft = &record.draft;
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let number = |number: Option<u64>| or_none(number.map(|number| number.to_string()));
    let mut event = word(&draft.event);
    match &draft.decision {
        Some(decision @ (Decision::OverBudget | Decision::WouldRefuse)) => {
            event = format!("{event} {}", word(decision));
        }
        _ if draft.uncertain => event.push_str(" uncertain"),
        _ => {}
    }
    let account = || draft.account.as_deref().map(|id| AccountId::from(id).name().to_owned());
    let said = [&draft.status, &draft.code, &draft.note, &draft.query];
    let status = said.into_iter().flatten().next().cloned();
    [
        record.at.clone(),
        or_none(draft.agent.clone()),
        or_none(tool(record).or_else(account)),
        event,
        number(draft.cost),
        number(draft.remaining),
        or_none(status),
        millis(draft.latency_us),
        // Whole, since the ids of one millisecond differ only in their last digits.
        or_none(draft.hold.clone()),
    ]
    .map(|text| plain(&text))
}
