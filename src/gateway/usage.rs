//! What discovery costs each agent: tokens of tools that were sent, and what the raw schemas would
//! have cost.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use crate::{
    domain::call::{AgentId, ServerName},
    host::mutex::Mutex,
    ledger::queries::context::{self, ContextUsage, Totals},
};

/// How long another process may hold the file.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);

/// Counts in memory, and adds to the file that all gateways of a user share.
#[derive(Debug, Default)]
pub(super) struct UsageLog {
    /// None where the user has no place for state.
    file: Option<PathBuf>,
    pending: Mutex<Unwritten>,
}

#[derive(Debug, Default)]
struct Unwritten {
    /// Not written yet.
    totals: Totals,
    /// Whose raw schemas were counted already: a client loads them once.
    seen: HashSet<(AgentId, ServerName)>,
}

impl UsageLog {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, pending: Mutex::default() }
    }

    /// Notes an answer of `sent` tokens about servers whose schemas take `raw` tokens each.
    pub(super) fn answered(
        &self,
        agent: &AgentId,
        sent: usize,
        raw: impl IntoIterator<Item = (ServerName, u64)>,
    ) {
        let mut pending = self.pending.lock();
        let mut first = 0_u64;
        for (server, tokens) in raw {
            if pending.seen.insert((agent.clone(), server)) {
                first = first.saturating_add(tokens);
            }
        }
        let usage = ContextUsage { answers: 1, sent: sent as u64, raw: first, calls: 0 };
        context::merge(&mut pending.totals, &Totals::from([(agent.to_string(), usage)]));
    }

    /// Notes a call of a tool.
    pub(super) fn called(&self, agent: &AgentId) {
        let usage = ContextUsage { calls: 1, ..ContextUsage::default() };
        let mut pending = self.pending.lock();
        context::merge(&mut pending.totals, &Totals::from([(agent.to_string(), usage)]));
    }

    /// Writes what is not written yet.
    pub(super) async fn flush(&self) {
        let Some(file) = self.file.clone() else { return };
        let totals = {
            let mut pending = self.pending.lock();
            std::mem::take(&mut pending.totals)
        };
        if totals.is_empty() {
            return;
        }
        let written = tokio::task::spawn_blocking(move || context::add(&file, &totals));
        match tokio::time::timeout(WRITE_DEADLINE, written).await {
            Ok(Ok(Err(error))) => tracing::warn!("usage cannot be written: {error}"),
            Ok(_) => {}
            Err(_) => tracing::warn!("usage is not written: another process holds its file"),
        }
    }
}
