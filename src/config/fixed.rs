//! What stays as it was when the gateway was started.

use super::{Fault, Faults};
use crate::domain::settings::{Settings, SettingsFile};

/// Settings read anew that may follow those in force. The accounts are those in use, even where
/// rules have come that decide by their place whose they are: rules wait for no restart.
///
/// # Errors
/// A fault for every key that changed and cannot, while the gateway runs.
pub fn following(before: &Settings, mut after: Settings) -> Result<Settings, Faults> {
    let (old, new) = (&before.budgeting, &after.budgeting);
    let mut faults = Faults::default();
    for (place, same) in [
        ("server.name", before.presented_as.0 == after.presented_as.0),
        ("server.version", before.presented_as.1 == after.presented_as.1),
        ("logging.level", before.logging.level == after.logging.level),
        ("logging.json", before.logging.json == after.logging.json),
        ("budget.backend", old.store.backend == new.store.backend),
        ("store.path", old.store.path == new.store.path),
        ("store.durability", old.store.durability == new.store.durability),
    ] {
        if !same {
            faults.push(fault(&after, place, "has changed, which takes a restart of the gateway"));
        }
    }
    // Its limit is not one for the accounts in use, which others may share.
    if old.book != new.book && before.sources.gateway.path != after.sources.gateway.path {
        faults.push(fault(
            &after,
            "",
            "brings accounts of its own, which takes a restart of the gateway",
        ));
    }
    let decided = std::mem::replace(&mut after.budgeting.book, before.budgeting.book.clone());
    if decided != after.budgeting.book {
        after.budgeting.agents.get_or_insert(decided);
    }
    if faults.is_empty() { Ok(after) } else { Err(faults) }
}

fn fault(after: &Settings, place: &str, message: &str) -> Fault {
    Fault {
        about: Some(SettingsFile::Gateway),
        file: after.sources.gateway.path.clone(),
        position: None,
        place: place.to_owned(),
        message: message.to_owned(),
    }
}
