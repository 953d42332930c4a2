//! `tollgate audit log`.

use std::time::Duration;

use tokio::time::sleep;

use super::LogArgs;
use crate::{
    app::wiring,
    cli::{Exit, args::SettingsArgs, output::Output, records, usage::millis},
    domain::{
        ledger::AccountId,
        record::{Decision, Record, Sealed},
    },
    ledger::{
        mirror::line,
        queries::{
            filter::{Filter, word},
            records::{Entry, Moment, Records},
            stats::tool,
        },
    },
};

/// With `--follow`, new records are looked for this often.
const PAUSE: Duration = Duration::from_millis(250);

/// More are shown line by line: the columns of a table are only known when all of it is.
const MOST_IN_A_TABLE: usize = 1_000;

const HEADER: [&str; 9] =
    ["TIME", "AGENT", "TOOL", "EVENT", "CREDITS", "LEFT", "STATUS", "MS", "HOLD"];

/// Of lines that are printed one by one.
const WIDTHS: [usize; 9] = [24, 14, 30, 18, 7, 9, 14, 8, 32];

pub(super) fn run(args: &SettingsArgs, asked: &LogArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let ledger = records::ledger(&settings)?;
    wiring::runtime()?.block_on(async {
        let source = Records::of(&ledger);
        let filter = asked.filter();
        let found = last(&source, asked, &filter).await?;
        let goes_on = if output.json || asked.follow || found.count > MOST_IN_A_TABLE {
            if !output.json {
                output.line(&columns(&HEADER.map(str::to_owned)));
            }
            each(&source, &found, &filter, |entry| output.goes_on(&shown(entry, output.json)))
                .await?
        } else {
            let mut rows = Vec::new();
            each(&source, &found, &filter, |entry| {
                rows.push(row(&entry.record).into());
                true
            })
            .await?;
            output.table(&HEADER, rows);
            true
        };
        if asked.follow && goes_on {
            follow(&source, found.end, &filter, output).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(Exit::Done)
}

/// The records to show. Only their places are kept, so that any number of them takes no memory.
struct Last {
    /// The place of the first.
    first: u64,
    /// The place of the last record that there was.
    end: u64,
    /// At most how many there are.
    count: usize,
    since: Option<Moment>,
}

/// Finds the last records that are meant, at most as many as were asked for.
async fn last(source: &Records, asked: &LogArgs, filter: &Filter) -> anyhow::Result<Last> {
    let newest = source.newest_first(asked.since.clone()).await.map_err(records::unusable)?;
    let mut found = Last {
        first: newest.head().seq.saturating_add(1),
        end: newest.head().seq,
        count: 0,
        since: asked.since.clone(),
    };
    let count = |entry: Entry| {
        if found.count < asked.limit && filter.takes(&entry.record) {
            found.count += 1;
            found.first = entry.sealed.seq;
        }
        found.count < asked.limit
    };
    records::walk(newest, count).await?;
    Ok(found)
}

/// Hands the records that were found to `show`, the oldest first, until it answers that nobody reads
/// on; then answers that as well.
async fn each(
    source: &Records,
    found: &Last,
    filter: &Filter,
    mut show: impl FnMut(&Entry) -> bool,
) -> anyhow::Result<bool> {
    let mut seen = found.first.saturating_sub(1);
    while seen < found.end {
        let page = source.after(seen).await.map_err(records::unusable)?;
        let Some(newest) = page.last().map(|sealed| sealed.seq) else { break };
        seen = newest;
        for sealed in page.into_iter().take_while(|sealed| sealed.seq <= found.end) {
            let meant = |entry: &Entry| {
                filter.takes(&entry.record)
                    && found.since.as_ref().is_none_or(|since| since.is_before(&entry.record))
            };
            if let Some(entry) = entry(sealed).filter(meant)
                && !show(&entry)
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Shows records as they are made, until nobody reads on.
async fn follow(
    source: &Records,
    mut seen: u64,
    filter: &Filter,
    output: &Output,
) -> anyhow::Result<()> {
    loop {
        let page = source.after(seen).await.map_err(records::unusable)?;
        if page.is_empty() {
            sleep(PAUSE).await;
        }
        for sealed in page {
            seen = sealed.seq;
            let Some(entry) = entry(sealed).filter(|entry| filter.takes(&entry.record)) else {
                continue;
            };
            if !output.goes_on(&shown(&entry, output.json)) {
                return Ok(());
            }
        }
    }
}

fn entry(sealed: Sealed) -> Option<Entry> {
    let record = serde_json::from_str(&sealed.line).ok()?;
    Some(Entry { sealed, record })
}

fn shown(entry: &Entry, json: bool) -> String {
    match json {
        true => line::write(&entry.record.chain, &entry.sealed),
        false => columns(&row(&entry.record)),
    }
}

fn columns(row: &[String; 9]) -> String {
    let padded = row.iter().zip(WIDTHS).map(|(text, width)| format!("{text:<width$}"));
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

/// A record for people.
fn row(record: &Record) -> [String; 9] {
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
        // Ids of one millisecond differ only in their last digits, so all are shown.
        or_none(draft.hold.clone()),
    ]
    .map(|text| records::plain(&text))
}
