//! A copy of a store's records in a file: every record once, in order, in whole lines, however many
//! processes write to it and however they end. Where to continue is read from the file itself, under
//! a lock, so nothing else need be remembered.
//!
//! - [`file`]: the file, locked. [`line`]: a record as a line. [`verify`]: whether a file is intact.

mod file;
pub mod line;
pub mod verify;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use self::file::LockedFile;
use crate::{
    domain::record::{Hash, Head, Sealed},
    host::clock,
    ledger::{engine::Ledger, queries::records::Records},
};

/// The store is polled this often while records are made, and less often while none are.
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Another process may have the lock for this long before that is a failure.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// The last records may take this long at the end.
const STOP_PATIENCE: Duration = Duration::from_millis(900);

/// A running copy of a store's records into a file.
#[derive(Debug)]
pub struct Mirror {
    stopping: CancellationToken,
    task: JoinHandle<()>,
}

impl Mirror {
    /// Starts copying. Must be called within a runtime. Fails if the file cannot be written or holds
    /// something else.
    pub fn start(path: PathBuf, ledger: &Arc<dyn Ledger>) -> Result<Self, String> {
        match LockedFile::open(&path).and_then(|file| file.map_or(Ok(None), |file| file.end(None)))
        {
            Ok(_) => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
        let stopping = CancellationToken::new();
        let task = tokio::spawn(follow(path, Records::of(ledger), stopping.clone()));
        Ok(Self { stopping, task })
    }

    /// Writes the records made so far, and ends.
    pub async fn stop(self) {
        self.stopping.cancel();
        // The next process that follows this store writes the rest.
        if timeout(STOP_PATIENCE, self.task).await.is_err() {
            tracing::warn!("the last records were not copied to the audit log");
        }
    }
}

async fn follow(path: PathBuf, records: Records, stopping: CancellationToken) {
    let mut known: Option<Hash> = None;
    let mut failed: Option<String> = None;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let last = stopping.is_cancelled();
        match catch_up(&path, &records, known).await {
            Ok(end) => {
                if failed.take().is_some() {
                    tracing::info!("{} follows the records again", path.display());
                }
                pause =
                    if known == Some(end) { LONGEST_PAUSE.min(pause * 2) } else { SHORTEST_PAUSE };
                known = Some(end);
            }
            Err(cause) => {
                if failed.as_ref() != Some(&cause) {
                    tracing::error!("{} does not follow the records: {cause}", path.display());
                }
                failed = Some(cause);
                pause = LONGEST_PAUSE;
            }
        }
        if last {
            return;
        }
        tokio::select! { () = sleep(pause) => {}, () = stopping.cancelled() => {} }
    }
}

/// Appends the records that the file lacks, unless the store still ends where it is known to.
/// Returns the end of the store.
async fn catch_up(path: &Path, records: &Records, known: Option<Hash>) -> Result<Hash, String> {
    let head = records.head().await?;
    if known == Some(head.hash) {
        return Ok(head.hash);
    }
    let file = lock(path).await?;
    // Other processes may have written meanwhile.
    let head = records.head().await?;
    let chain = head.chain.clone();
    let (mut file, end) = blocking(file, move |file| file.end(Some(&chain))).await?;
    let mut page = rest(records, &head, end).await?;
    while let Some(last) = page.last().map(|sealed| sealed.seq) {
        let chain = head.chain.clone();
        (file, ()) = blocking(file, move |file| file.append(&chain, &page)).await?;
        page = if last < head.seq { records.after(last).await? } else { Vec::new() };
    }
    Ok(head.hash)
}

/// The first of the records that come after the last one in the file.
async fn rest(records: &Records, head: &Head, end: Option<Sealed>) -> Result<Vec<Sealed>, String> {
    let Some(end) = end else { return Ok(records.after(0).await?) };
    let mut page = records.after(end.seq.saturating_sub(1)).await?;
    match page.first() {
        Some(first) if first.seq == end.seq && first.hash == end.hash => {
            page.remove(0);
            match page.is_empty() {
                true => Ok(records.after(end.seq).await?),
                false => Ok(page),
            }
        }
        Some(first) if first.seq > end.seq => {
            if first.seq > end.seq + 1 {
                tracing::warn!("records {} to {} are forgotten", end.seq + 1, first.seq - 1);
            }
            Ok(page)
        }
        _ => Err(format!(
            "it holds record {} of the chain, of which the store has {} and others; if the store was replaced by an older copy, move the file away",
            end.seq, head.seq
        )),
    }
}

async fn lock(path: &Path) -> Result<LockedFile, String> {
    const PAUSE: Duration = Duration::from_millis(10);
    let begun = clock::tokio_instant();
    loop {
        let path = path.to_owned();
        let file =
            spawn_blocking(move || LockedFile::open(&path)).await.map_err(|e| e.to_string())?;
        match file.map_err(|error| error.to_string())? {
            Some(file) => return Ok(file),
            None if begun.elapsed() > LOCK_PATIENCE => {
                return Err("another process keeps it locked".to_owned());
            }
            None => sleep(PAUSE).await,
        }
    }
}

/// Works on the file where it may block.
async fn blocking<T: Send + 'static>(
    file: LockedFile,
    work: impl FnOnce(&LockedFile) -> std::io::Result<T> + Send + 'static,
) -> Result<(LockedFile, T), String> {
    let done = spawn_blocking(move || work(&file).map(|done| (file, done))).await;
    done.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
