//! How many tokens agents were sent for discovery, and what the raw schemas would have cost: totals
//! per agent in one file, shared by all gateway processes of a user.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::host::files::{create_private, make_private, write_private};

/// What one agent was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContextUsage {
    /// Answers to `get_server_tools`.
    pub answers: u64,
    /// Tokens of tools in those answers.
    pub sent: u64,
    /// Tokens of the schemas of the same servers as a client that loads them all would have paid,
    /// once per agent, server and gateway process.
    pub raw: u64,
    /// Calls of `execute_tool`.
    pub calls: u64,
}

/// ContextUsage by agent.
pub type Totals = BTreeMap<String, ContextUsage>;

impl ContextUsage {
    fn add(&mut self, other: Self) {
        self.answers = self.answers.saturating_add(other.answers);
        self.sent = self.sent.saturating_add(other.sent);
        self.raw = self.raw.saturating_add(other.raw);
        self.calls = self.calls.saturating_add(other.calls);
    }
}

/// Merges `more` into totals.
pub fn merge(totals: &mut Totals, more: &Totals) {
    for (agent, usage) in more {
        totals.entry(agent.clone()).or_default().add(*usage);
    }
}

/// The totals in the file; none if there is no file.
pub fn read(path: &Path) -> io::Result<Totals> {
    match fs::read(path) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Totals::new()),
        Err(error) => Err(error),
    }
}

/// Adds to the totals in the file, under a lock that all processes respect. The file is replaced
/// whole, so that no one reads half of it. A file that holds something else is replaced.
pub fn add(path: &Path, more: &Totals) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        make_private(dir)?;
    }
    let lock = match create_private(&path.with_extension("lock")) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::options().write(true).open(path.with_extension("lock"))
        }
        made => made,
    }?;
    lock.lock()?;
    let mut totals = read(path).unwrap_or_else(|error| {
        tracing::warn!("{} is begun anew: {error}", path.display());
        Totals::new()
    });
    merge(&mut totals, more);
    write_private(path, &serde_json::to_vec(&totals)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{ContextUsage, Totals, add, read};

    #[test]
    fn totals_of_several_writers_add_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/context.json");
        assert_eq!(read(&path).unwrap(), Totals::new());
        let one = ContextUsage { answers: 1, sent: 10, raw: 100, calls: 2 };
        let more = Totals::from([("a".to_owned(), one)]);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..25).for_each(|_| add(&path, &more).unwrap()));
            }
        });
        let all = ContextUsage { answers: 100, sent: 1_000, raw: 10_000, calls: 200 };
        assert_eq!(read(&path).unwrap(), Totals::from([("a".to_owned(), all)]));
        std::fs::write(&path, "garbage").unwrap();
        assert!(read(&path).is_err());
        add(&path, &more).unwrap();
        assert_eq!(read(&path).unwrap(), more);
    }
}
