//! `tollgate audit log`.

use std::time::Duration;

use tokio::time::sleep;

use super::LogArgs;
use crate::{
    cli::{Exit, args::SettingsArgs, output::Output, records, session, usage::millis},
    domain::{
        ledger::AccountId,
        record::{Decision, Record, Sealed},
    },
    journal::{
        filter::{Filter, word},
        line,
        source::{Entry, Source},
        stats::tool,
    },
};

/// With `--follow`, new records are looked for this often.
const PAUSE: Duration = Duration::from_millis(250);

/// So many digits of a hold's id tell it from others, in practice.
const HOLD_DIGITS: usize = 20;

const HEADER: [&str; 9] =
    ["TIME", "AGENT", "TOOL", "EVENT", "CREDITS", "LEFT", "STATUS", "MS", "HOLD"];

/// Of lines that are printed one by one.
const WIDTHS: [usize; 9] = [24, 14, 30, 18, 7, 9, 14, 8, HOLD_DIGITS];

pub(super) fn run(args: &SettingsArgs, asked: &LogArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = session::settings(args)?;
    let ledger = records::ledger(&settings)?;
    session::runtime()?.block_on(async {
        let source = records::source(&ledger);
        let filter = asked.filter();
        let newest = source.newest_first(asked.since.clone()).await.map_err(records::unusable)?;
        let seen = newest.head().seq;
        let mut found = Vec::new();
        let take = |entry: Entry| {
            if found.len() < asked.limit && filter.takes(&entry.record) {
                found.push(entry);
            }
            found.len() < asked.limit
        };
        records::walk(newest, take).await?;
        found.reverse();
        match (output.json, asked.follow) {
            (false, false) => {
                output
                    .table(&HEADER, found.iter().map(|entry| row(&entry.record).into()).collect());
            }
            _ => {
                if !output.json {
                    output.line(&columns(&HEADER.map(str::to_owned)));
                }
                found.iter().all(|entry| output.goes_on(&shown(entry, output.json)));
            }
        }
        if asked.follow {
            follow(&source, seen, &filter, output).await?;
        }
        anyhow::Ok(())
    })?;
    Ok(Exit::Done)
}

/// Shows records as they are made, until nobody reads on.
async fn follow(
    source: &Source,
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
    let hold = draft.hold.as_deref().map(|id| id.chars().take(HOLD_DIGITS).collect());
    let said = [&draft.status, &draft.code, &draft.note];
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
        or_none(hold),
    ]
    .map(|text| records::plain(&text))
}
