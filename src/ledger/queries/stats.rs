//! Counts of records.

use std::collections::BTreeMap;

use serde::Serialize;

use super::filter::word;
use crate::domain::{
    record::Record,
    usage::{Tally, Usage},
};

/// Counts of records, added in any order.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// All of them.
    pub records: u64,
    /// The time of the first.
    pub first: Option<String>,
    /// The time of the last.
    pub last: Option<String>,
    /// By event.
    pub events: BTreeMap<String, u64>,
    /// By decision.
    pub decisions: BTreeMap<String, u64>,
    /// By agent.
    pub agents: BTreeMap<String, u64>,
    /// By server.
    pub servers: BTreeMap<String, u64>,
    /// By `server/tool`.
    pub tools: BTreeMap<String, u64>,
    #[serde(skip)]
    usage: Usage,
}

impl Stats {
    /// Counts a record.
    pub fn add(&mut self, record: &Record) {
        let Record { at, draft, .. } = record;
        self.records += 1;
        if self.first.as_ref().is_none_or(|first| at < first) {
            self.first = Some(at.clone());
        }
        if self.last.as_ref().is_none_or(|last| at > last) {
            self.last = Some(at.clone());
        }
        count(&mut self.events, &word(&draft.event));
        for (counts, said) in [
            (&mut self.decisions, draft.decision.as_ref().map(word)),
            (&mut self.agents, draft.agent.clone()),
            (&mut self.servers, draft.server.clone()),
            (&mut self.tools, tool(record)),
        ] {
            if let Some(said) = said {
                count(counts, &said);
            }
        }
        self.usage.add(record);
    }

    /// Totals of the calls among them.
    pub fn calls(&self) -> &Tally {
        self.usage.total()
    }
}

/// A record's tool with its server.
pub fn tool(record: &Record) -> Option<String> {
    let (server, tool) = (record.draft.server.as_deref(), record.draft.tool.as_deref());
    match (server, tool) {
        (Some(server), Some(tool)) => Some(format!("{server}/{tool}")),
        (None, Some(tool)) => Some(tool.to_owned()),
        _ => None,
    }
}

fn count(counts: &mut BTreeMap<String, u64>, what: &str) {
    match counts.get_mut(what) {
        Some(count) => *count += 1,
        None => {
            counts.insert(what.to_owned(), 1);
        }
    }
}
