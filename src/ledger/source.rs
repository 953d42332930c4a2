//! Where records come from. The store is on this floor as well, so whoever knows both hands in how
//! it is asked.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use crate::domain::record::{Head, Record, Sealed};

/// So many records are asked for at a time.
const PAGE: u16 = 2_000;

/// What a store answers, or why it cannot.
pub type Fetched<T> = BoxFuture<'static, Result<T, String>>;

type Page = dyn Fn(u64, usize) -> Fetched<Vec<Sealed>> + Send + Sync;

/// The records of a store.
#[derive(Clone)]
pub struct Source {
    head: Arc<dyn Fn() -> Fetched<Head> + Send + Sync>,
    page: Arc<Page>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    /// A source with `head`, which answers the end of the chain, and `page`, which answers the
    /// records after a place, in order, so many at most.
    pub fn new(
        head: impl Fn() -> Fetched<Head> + Send + Sync + 'static,
        page: impl Fn(u64, usize) -> Fetched<Vec<Sealed>> + Send + Sync + 'static,
    ) -> Self {
        Self { head: Arc::new(head), page: Arc::new(page) }
    }

    /// The end of the chain.
    ///
    /// # Errors
    /// A store that cannot be used; likewise below.
    pub async fn head(&self) -> Result<Head, String> {
        (self.head)().await
    }

    /// Some records after a place, in order; none if there are none.
    ///
    /// # Errors
    /// As [`Source::head`].
    pub async fn after(&self, seq: u64) -> Result<Vec<Sealed>, String> {
        (self.page)(seq, usize::from(PAGE)).await
    }

    /// The place of the last record, which is at `most` or before, whatever the head says.
    async fn end(&self, mut most: u64) -> Result<u64, String> {
        let mut least = 0;
        while least < most {
            let middle = least.midpoint(most);
            match (self.page)(middle, 1).await?.first() {
                Some(later) => least = later.seq.clamp(middle + 1, most),
                None => most = middle,
            }
        }
        Ok(least)
    }

    /// All records there are now, the newest first; with `since`, those after that moment.
    ///
    /// # Errors
    /// As [`Source::head`].
    pub async fn newest_first(&self, since: Option<Moment>) -> Result<NewestFirst, String> {
        let head = self.head().await?;
        Ok(NewestFirst { source: self.clone(), left: head.seq, head, since })
    }
}

/// A moment as records tell it: UTC, RFC 3339, milliseconds. So they sort as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub(super) String);

impl Moment {
    /// Whether a record was made then or later.
    pub fn is_before(&self, record: &Record) -> bool {
        self.0.as_str() <= record.at.as_str()
    }
}

/// One record as kept and as read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// As kept.
    pub sealed: Sealed,
    /// As read.
    pub record: Record,
}

/// Goes through records from the newest to the oldest.
#[derive(Debug)]
pub struct NewestFirst {
    source: Source,
    head: Head,
    /// The place of the newest record that was not answered yet.
    left: u64,
    since: Option<Moment>,
}

/// Some records, the newest first.
#[derive(Debug, Default)]
pub struct Batch {
    /// Those that can be read.
    pub entries: Vec<Entry>,
    /// Places of those that cannot, as they were altered.
    pub unreadable: Vec<u64>,
}

impl NewestFirst {
    /// The end of the chain when this began.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next records; None after the last.
    ///
    /// # Errors
    /// A store that cannot be used.
    pub async fn next(&mut self) -> Result<Option<Batch>, String> {
        if self.left == 0 {
            return Ok(None);
        }
        let newest = self.left;
        self.left = newest.saturating_sub(PAGE.into());
        let page = self.source.after(self.left).await?;
        if page.is_empty() {
            self.left = self.source.end(self.left).await?;
        }
        // A store that has forgotten these records answers later ones.
        let mut batch = Batch::default();
        let mut old = 0;
        for sealed in page.into_iter().rev().filter(|sealed| sealed.seq <= newest) {
            match serde_json::from_str::<Record>(&sealed.line) {
                Ok(record) if self.since.as_ref().is_some_and(|at| !at.is_before(&record)) => {
                    old += 1;
                }
                Ok(record) => batch.entries.push(Entry { sealed, record }),
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
