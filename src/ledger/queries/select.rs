//! Queries over all records of a ledger.

use std::sync::Arc;

use super::{
    filter::Filter,
    records::{ParsedRecord, Records},
    stats::Stats,
};
use crate::{
    domain::usage::{GroupBy, Names, Usage},
    ledger::{answer::LedgerUnavailable, engine::Ledger},
};

/// How far a query read.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The place of the last record when it began.
    pub end: u64,
    /// How many records could not be read and are left out.
    pub unreadable: usize,
}

/// Visits the records that a filter takes, the newest first, until `visit` returns false.
pub async fn newest_first(
    ledger: &Arc<dyn Ledger>,
    filter: &Filter,
    mut visit: impl FnMut(ParsedRecord) -> bool,
) -> Result<Extent, LedgerUnavailable> {
    let mut records = Records::of(ledger).newest_first(filter.since.clone()).await?;
    let (mut unreadable, mut more) = (0, true);
    while more {
        let Some(batch) = records.next().await? else { break };
        unreadable += batch.unreadable.len();
        let mut taken = batch.entries.into_iter().filter(|entry| filter.takes(&entry.record));
        more = taken.all(&mut visit);
    }
    Ok(Extent { end: records.head().seq, unreadable })
}

/// Counts the records that a filter takes.
pub async fn stats(
    ledger: &Arc<dyn Ledger>,
    filter: &Filter,
) -> Result<(Stats, Extent), LedgerUnavailable> {
    let mut stats = Stats::default();
    let count = |entry: ParsedRecord| {
        stats.add(&entry.record);
        true
    };
    let extent = newest_first(ledger, filter, count).await?;
    Ok((stats, extent))
}

/// Adds up usage by the chosen keys, from the records that a filter takes.
pub async fn usage(
    ledger: &Arc<dyn Ledger>,
    filter: &Filter,
    keys: Vec<GroupBy>,
    names: Names,
) -> Result<(Usage, Extent), LedgerUnavailable> {
    let mut usage = Usage::by(keys, names);
    let count = |entry: ParsedRecord| {
        usage.add(&entry.record);
        true
    };
    let extent = newest_first(ledger, filter, count).await?;
    Ok((usage, extent))
}
