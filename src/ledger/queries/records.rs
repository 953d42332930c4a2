//! Records read back, a page at a time.

use std::sync::Arc;

use crate::{
    domain::record::{Head, Record, Sealed},
    ledger::{answer::LedgerUnavailable, engine::Ledger},
};

/// At most this many records are read at once.
const PAGE: u16 = 2_000;

/// The records of a ledger.
#[derive(Clone, Debug)]
pub struct Records {
    ledger: Arc<dyn Ledger>,
}

impl Records {
    pub fn of(ledger: &Arc<dyn Ledger>) -> Self {
        Self { ledger: ledger.clone() }
    }

    /// The end of the chain.
    pub async fn head(&self) -> Result<Head, LedgerUnavailable> {
        self.ledger.head().await
    }

    /// The first page of records after a place, in order; empty if there are none.
    pub async fn after(&self, seq: u64) -> Result<Vec<Sealed>, LedgerUnavailable> {
        self.ledger.records(seq, PAGE.into()).await
    }

    /// The place of the last record, which is at `most` or before, whatever the head says.
    async fn end(&self, mut most: u64) -> Result<u64, LedgerUnavailable> {
        let mut least = 0;
        while least < most {
            let middle = least.midpoint(most);
            match self.ledger.records(middle, 1).await?.first() {
                Some(later) => least = later.seq.clamp(middle + 1, most),
                None => most = middle,
            }
        }
        Ok(least)
    }

    /// All records there are now, the newest first; with `since`, those after that moment.
    pub async fn newest_first(
        &self,
        since: Option<Moment>,
    ) -> Result<NewestFirst, LedgerUnavailable> {
        let head = self.head().await?;
        Ok(NewestFirst { records: self.clone(), left: head.seq, head, since })
    }
}

/// A moment as records have it: UTC, RFC 3339, milliseconds. Moments sort as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub(super) String);

impl Moment {
    /// Whether a record was made at this moment or later.
    pub fn is_before(&self, record: &Record) -> bool {
        self.0.as_str() <= record.at.as_str()
    }
}

/// A record, stored and parsed.
#[derive(Clone, Debug)]
pub struct ParsedRecord {
    /// As kept.
    pub sealed: Sealed,
    /// As read.
    pub record: Record,
}

/// Reads records from the newest to the oldest.
#[derive(Debug)]
pub struct NewestFirst {
    records: Records,
    head: Head,
    /// The place of the newest record that was not returned yet.
    left: u64,
    since: Option<Moment>,
}

/// Some records, the newest first.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that can be read.
    pub entries: Vec<ParsedRecord>,
    /// Places of those that were altered and cannot.
    pub unreadable: Vec<u64>,
}

impl NewestFirst {
    /// The end of the chain when this began.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next records; None after the last.
    pub async fn next(&mut self) -> Result<Option<Batch>, LedgerUnavailable> {
        if self.left == 0 {
            return Ok(None);
        }
        let newest = self.left;
        self.left = newest.saturating_sub(PAGE.into());
        let page = self.records.after(self.left).await?;
        if page.is_empty() {
            self.left = self.records.end(self.left).await?;
        }
        // A store that has forgotten these records returns later ones.
        let mut batch = Batch::default();
        let mut old = 0;
        for sealed in page.into_iter().rev().filter(|sealed| sealed.seq <= newest) {
            match serde_json::from_str::<Record>(&sealed.line) {
                Ok(record) if self.since.as_ref().is_some_and(|at| !at.is_before(&record)) => {
                    old += 1;
                }
                Ok(record) => batch.entries.push(ParsedRecord { sealed, record }),
                Err(_) => batch.unreadable.push(sealed.seq),
            }
        }
        // Clocks may go back a little, so one old record alone proves nothing.
        if old > 0 && batch.entries.is_empty() {
            self.left = 0;
        }
        Ok(Some(batch))
    }
}
