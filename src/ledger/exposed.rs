//! Whether other users can change the files of a store.

use std::path::{Path, PathBuf};

use crate::domain::budget::{Backend, StoreSettings};

/// A warning for each file and directory of a store that other users can change.
pub fn exposed(settings: &StoreSettings, state: Option<&Path>) -> Vec<String> {
    let file = settings.path.clone().or_else(|| state.map(|state| state.join("ledger.db")));
    let file = file.filter(|_| settings.backend == Backend::Sqlite);
    let mut paths: Vec<PathBuf> =
        file.iter().filter_map(|file| file.parent()).map(PathBuf::from).collect();
    paths.extend(file);
    paths.extend(state.map(PathBuf::from));
    paths.extend(state.map(|state| state.join("key")));
    paths.sort();
    paths.dedup();
    paths.iter().filter_map(|path| change(path)).collect()
}

/// How other users can change a path; None if they cannot, or it does not exist.
#[cfg(unix)]
fn change(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::metadata(path).ok()?;
    let own = rustix::process::geteuid().as_raw();
    let shown = path.display();
    if found.mode() & 0o022 != 0 {
        return Some(format!(
            "others can write `{shown}`, and so change accounts, records and rights; run `chmod go-w {shown}`"
        ));
    }
    // Root can write everything anyhow.
    (found.uid() != own && found.uid() != 0).then(|| {
        format!(
            "`{shown}` belongs to another user ({}), who can change accounts, records and rights; set `store.path` or XDG_STATE_HOME to a place of your own",
            found.uid()
        )
    })
}

#[cfg(not(unix))]
fn change(_: &Path) -> Option<String> {
    None
}
