//! Floor 2: accounts of credits, and the records of everything that happened to them.
//!
//! - [`engine`]: [`Ledger`], the operations of a store. Each is one transaction over [`LedgerTx`]
//!   that moves credits and writes the record of it.
//! - [`backends`]: where rows and records are kept: in memory, or in one SQLite file that many
//!   processes share. A backend runs transactions; the operations are the engine's.
//! - [`queries`]: records read back: filtered, counted, as usage.
//! - [`mirror`]: a copy of the records in a file of lines.
//! - [`keys`]: the secret of an installation. [`exposed`]: files that other users can change.

pub mod answer;
pub mod backends;
pub mod engine;
mod exposed;
pub mod keys;
pub mod mirror;
pub mod queries;

use std::{path::Path, sync::Arc};

pub use answer::{Answered, LedgerUnavailable, Verdict};
pub use backends::{memory, sqlite};
pub use engine::{Ledger, LedgerTx, Turn, transact};
pub use exposed::exposed;

use crate::{
    domain::budget::{Backend, StoreSettings},
    host::{clock, random},
};

/// The store that the settings ask for; `state` is the user's directory for what cannot be made
/// again. Nothing is opened before the first step, and a store that cannot be opened is tried again
/// at the next one.
pub fn open(settings: &StoreSettings, state: Option<&Path>) -> Arc<dyn Ledger> {
    let default = || state.map(|state| state.join("ledger.db"));
    match (settings.backend, settings.path.clone().or_else(default)) {
        (Backend::Sqlite, Some(path)) => {
            let keys = place_of_key(settings, state).map(Path::to_owned);
            let place = sqlite::StoreLocation { path, keys, durability: settings.durability };
            Arc::new(sqlite::Sqlite::new(place, clock::wall_clock()))
        }
        (Backend::Sqlite, None) => {
            tracing::warn!(
                "there is no directory to keep credits and records in: they are lost when this process ends; set `store.path`"
            );
            in_memory()
        }
        (Backend::Memory, _) => in_memory(),
    }
}

/// The directory of the installation's key: the user's, or else that of the file that it signs. None
/// if only the process itself can keep it.
pub fn place_of_key<'a>(settings: &'a StoreSettings, state: Option<&'a Path>) -> Option<&'a Path> {
    let beside = || match settings.backend {
        Backend::Sqlite => settings.path.as_deref()?.parent(),
        Backend::Memory => None,
    };
    state.or_else(beside)
}

/// Each such store has a chain of its own, so that copies of its records can be distinguished.
fn in_memory() -> Arc<dyn Ledger> {
    let chain = format!("memory-{:032x}", random::id());
    Arc::new(memory::Memory::new(&chain, clock::wall_clock()))
}
