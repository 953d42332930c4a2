//! The files of a store: SQLite keeps `-wal` and `-shm` beside the database while it is in use. A
//! process that finds them gone makes new ones, and then sees nothing of what the processes with the
//! old ones write: two budgets out of one. So each connection compares their inodes before every
//! transaction, and makes no new log beside a database that others use.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    host::{
        clock,
        files::{Inode, inode},
    },
    ledger::answer::LedgerUnavailable,
};

/// Which files a store consists of, as found under its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) database: Option<Inode>,
    pub(super) wal: Option<Inode>,
    pub(super) shm: Option<Inode>,
}

/// How the files differ from those that a connection has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Displaced {
    /// The database itself was removed or replaced.
    Database,
    /// `-wal` or `-shm` is gone.
    Removed,
    /// Other files are in the places of `-wal` or `-shm`.
    Replaced,
}

impl Files {
    pub(super) fn of(path: &Path) -> Self {
        let beside = |suffix| inode(&beside(path, suffix));
        Self { database: inode(path), wal: beside(WAL), shm: beside(SHM) }
    }

    /// How what is there now differs; None if it is the same.
    pub(super) fn moved(&self, now: &Self) -> Option<Displaced> {
        let gone = |before: Option<Inode>, now| before.is_some() && now != before;
        if self.database != now.database {
            Some(Displaced::Database)
        } else if !gone(self.wal, now.wal) && !gone(self.shm, now.shm) {
            None
        } else if now.wal.is_some_and(|wal| self.wal != Some(wal))
            || now.shm.is_some_and(|shm| self.shm != Some(shm))
        {
            Some(Displaced::Replaced)
        } else {
            Some(Displaced::Removed)
        }
    }
}

const WAL: &str = "-wal";
const SHM: &str = "-shm";

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The error for a store whose files do not belong together.
pub(super) fn divided(path: &Path, moved: Displaced) -> LedgerUnavailable {
    let what = match moved {
        Displaced::Replaced => {
            "were replaced while the store was in use. Nothing is lost yet: end every other process that uses the store (`sqlite3`, gateways); the last one writes back what it holds. If this lasts, end all gateways and start them again"
        }
        Displaced::Removed | Displaced::Database => {
            "were removed while the store was in use. What they held is with the processes that have them open, and written back as soon as each of them has noticed, within about 20 s. If this lasts, end all gateways and start them again"
        }
    };
    LedgerUnavailable::unchanged(format!("`{0}-wal` or `{0}-shm` {what}", path.display()))
}

/// Writes a log whose file was removed back into the database, and ends its use. Works only while no
/// other connection has the database open; returns whether it did. Retries for a random time, so
/// that one of several processes is the last.
pub(super) fn write_back(db: &Connection) -> bool {
    let begun = clock::instant();
    let random = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let patience = Duration::from_millis(300 + random % 700);
    loop {
        let mode = db
            .pragma_update_and_check(None, "journal_mode", "delete", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "delete" => return true,
            _ if begun.elapsed() > patience => return false,
            _ => thread::sleep(Duration::from_millis(3)),
        }
    }
}

/// Waits while other processes use the database without a log beside it; fails after `patience`.
pub(super) fn undivided(path: &Path, patience: Duration) -> Result<(), LedgerUnavailable> {
    let begun = clock::instant();
    let is_whole = || {
        let Files { wal, shm, .. } = Files::of(path);
        wal.is_some() && shm.is_some()
    };
    while !is_whole() && is_in_use(path) {
        if begun.elapsed() > patience {
            return Err(divided(path, Displaced::Removed));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whether another connection has the database open. One that may lock it alone needs no log.
fn is_in_use(path: &Path) -> bool {
    const BUSY: [ErrorCode; 2] = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let locked = Connection::open_with_flags(path, flags).and_then(|db| {
        db.busy_timeout(Duration::ZERO)?;
        db.pragma_update(None, "locking_mode", "exclusive")?;
        db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
    });
    locked.is_err_and(|e| e.sqlite_error_code().is_some_and(|code| BUSY.contains(&code)))
}
