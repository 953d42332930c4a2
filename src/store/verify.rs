//! Whether the records of a store are those that were written, all of them, in order.

use futures_util::FutureExt;

use super::{Answered, Engine};
use crate::domain::record::{Head, Sealed, Unlinked};

/// So many records are read at once.
const PAGE: usize = 1_000;

/// What following the chain came to. Whole if nothing is broken or incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// How many records are as they were written, from the first that is kept.
    pub records: u64,
    /// The place of the first record that is not what was written, and in which way.
    pub broken: Option<(u64, String)>,
    /// What is missing at the end.
    pub incomplete: Option<String>,
}

/// Some records, and the end of the chain at the same moment.
struct Page {
    origin: Head,
    records: Vec<Sealed>,
    end: Head,
    vouched: bool,
}

/// Follows the chain page by page, so that other steps can come between.
pub(super) fn verify<E: Engine>(engine: &E) -> Answered<Verdict> {
    let engine = engine.clone();
    let first = page(&engine, 0);
    async move {
        let mut next = first.await?;
        let mut head = next.origin.clone();
        let mut verdict = Verdict::default();
        loop {
            if let Err(unlinked) = follow(&mut head, &next.records, &mut verdict.records) {
                verdict.broken = Some((place(&unlinked), unlinked.to_string()));
                return Ok(verdict);
            }
            if next.records.len() < PAGE {
                return Ok(at_end(&head, &next, verdict));
            }
            next = page(&engine, head.seq).await?;
        }
    }
    .boxed()
}

fn page<E: Engine>(engine: &E, after: u64) -> Answered<Page> {
    engine.look(move |book, _| {
        let (origin, records) = (book.origin()?, book.records(after, PAGE)?);
        Ok(Page { origin, records, end: book.head()?, vouched: book.vouched()? })
    })
}

fn follow(head: &mut Head, records: &[Sealed], followed: &mut u64) -> Result<(), Unlinked> {
    for sealed in records {
        head.follow(sealed)?;
        *followed += 1;
    }
    Ok(())
}

fn place(unlinked: &Unlinked) -> u64 {
    match unlinked {
        Unlinked::Order { expected, .. } => *expected,
        Unlinked::Altered { seq } | Unlinked::Misplaced { seq } => *seq,
    }
}

/// Compares the last record with the end that the store keeps apart.
fn at_end(head: &Head, last: &Page, verdict: Verdict) -> Verdict {
    let Page { end, vouched, .. } = last;
    let broken = |seq, why: String| Verdict { broken: Some((seq, why)), ..verdict.clone() };
    if !vouched {
        let why = "the end of the chain was not written with the key of this installation";
        return broken(head.seq, why.to_owned());
    }
    if head.seq < end.seq {
        let what = format!("records end at {}, the chain at {}", head.seq, end.seq);
        return Verdict { incomplete: Some(what), ..verdict };
    }
    if head.seq > end.seq {
        let seq = end.seq + 1;
        return broken(seq, format!("record {seq} is beyond the end of the chain"));
    }
    if head.hash != end.hash {
        return broken(head.seq, format!("record {} is not the end of the chain", head.seq));
    }
    verdict
}
