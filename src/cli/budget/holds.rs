//! Holds, found by the first digits of their ids.

use std::collections::BTreeMap;

use anyhow::bail;

use crate::{
    cli::records,
    domain::record::{Draft, Event, Record},
    journal::source::{Entry, Source},
};

/// Ids begin with the time, so fewer digits tell nothing apart.
const FEWEST_DIGITS: usize = 8;
/// Of an id.
const DIGITS: usize = 32;
/// So many ids are told of a beginning that several have.
const TOLD: usize = 8;

/// A hold as the records tell of it.
pub(super) struct Found {
    /// Its whole id.
    pub(super) id: String,
    /// Whose call it was, and of what.
    pub(super) draft: Draft,
}

/// The one hold whose id begins with these digits.
pub(super) async fn find(source: &Source, digits: &str) -> anyhow::Result<Found> {
    let digits = digits.to_ascii_lowercase();
    let count = digits.len();
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) || !(FEWEST_DIGITS..=DIGITS).contains(&count)
    {
        bail!(
            "`{digits}` is no hold: give {FEWEST_DIGITS} to {DIGITS} hexadecimal digits, as `tollgate audit log` shows them"
        );
    }
    let newest = source.newest_first(None).await.map_err(records::unusable)?;
    let mut found: BTreeMap<String, Record> = BTreeMap::new();
    let look = |Entry { record, .. }: Entry| {
        let id = record.draft.hold.clone().filter(|id| id.starts_with(&digits));
        if let Some(id) = id {
            // What was charged is told by the end of a hold, which comes after its beginning.
            let charged = record.draft.event == Event::Post;
            if charged || !found.contains_key(&id) {
                found.insert(id, record);
            }
        }
        // Nothing else has all of its digits.
        count < DIGITS || !found.values().any(|record| record.draft.event == Event::Post)
    };
    records::walk(newest, look).await?;
    if found.len() > 1 {
        let ids: Vec<&str> = found.keys().take(TOLD).map(String::as_str).collect();
        let more = if found.len() > TOLD { ", and more" } else { "" };
        bail!("{} holds begin with `{digits}`: {}{more}", found.len(), ids.join(", "));
    }
    let Some((id, record)) = found.pop_first() else { bail!("no hold begins with `{digits}`") };
    let Draft { agent, server, tool, .. } = record.draft;
    Ok(Found { id, draft: Draft { agent, server, tool, ..Draft::default() } })
}
