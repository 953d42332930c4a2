//! The database file: opening and checking it, and error messages for every way it can fail.

use std::{
    cell::{Cell, RefCell},
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, TransactionBehavior};

use super::{
    beside::{self, Displaced, Files},
    schema, takeover,
};
use crate::{
    domain::{
        budget::Durability,
        keyed::Key,
        ledger::{Broken, Failure},
        record::{Head, hex},
    },
    host::{clock, files, mutex::Mutex},
    ledger::{answer::LedgerUnavailable, keys},
};

/// Versions before this one can damage a file that several connections write (3.51.3, "WAL-reset").
const OLDEST_SQLITE: i32 = 3_051_003;

/// How long a step waits for other processes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The log is moved into the database after this many pages, which waits for the disk: four times
/// SQLite's default, for a quarter of the waits.
const CHECKPOINT_PAGES: i64 = 4_000;

/// A write-ahead log that grew beyond this many bytes (behind a long read) is truncated to it.
const LARGEST_LOG: i64 = 32 << 20;

/// Statements that are kept prepared: more than there are.
const STATEMENTS: usize = 64;

/// Processes lock the file by its inode, and lose their locks when they close any handle to it. The
/// handle that creates the file must be closed before SQLite opens it.
static OPENING: Mutex<()> = Mutex::new(());

/// Where a store is.
#[derive(Clone, Debug)]
pub struct StoreLocation {
    /// The file.
    pub path: PathBuf,
    /// The directory with the key that signs the end of the chain; a key of this process if None.
    pub keys: Option<PathBuf>,
    /// What a commit survives.
    pub durability: Durability,
}

pub(super) struct File {
    pub(super) db: Connection,
    /// Signs the end of the chain.
    pub(super) key: Key,
    /// Binds rows that give or take rights.
    pub(super) rights: Key,
    place: StoreLocation,
    /// The files that this connection has open.
    files: Files,
    /// The end of the chain when it was last read. It never goes back.
    seen: RefCell<Option<Head>>,
    /// Set when reading failed, though the transaction went on.
    sour: Cell<bool>,
}

/// Whether an open file can be used.
pub(super) enum InPlace {
    /// It can.
    Yes,
    /// Close it, and open it again.
    Reopen,
    /// Close it, and open it again later.
    Close(LedgerUnavailable),
    /// Not now.
    Wait(LedgerUnavailable),
}

impl File {
    /// Opens the file, and makes it if it is not there.
    pub(super) fn open(place: &StoreLocation) -> Result<Self, LedgerUnavailable> {
        let own = keys::key(place.keys.as_deref())?;
        let (key, rights) = (own.derive("record head"), own.derive("rights"));
        let path = &place.path;
        let opening = OPENING.lock();
        make(path)?;
        // An absolute path is never taken for a URI.
        let absolute = std::path::absolute(path).map_err(|error| unmade(path, &error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        beside::undivided(&absolute, PATIENCE)?;
        let db = Connection::open_with_flags(absolute, flags).map_err(|e| told(path, &e))?;
        drop(opening);
        let files = Files::of(path);
        let (place, seen) = (place.clone(), RefCell::default());
        let mut file = Self { db, key, rights, place, files, seen, sour: Cell::new(false) };
        file.prepare()?;
        // `-wal` and `-shm` exist from the first read on.
        file.files = Files { database: files.database, ..Files::of(path) };
        Ok(file)
    }

    /// Whether the paths still lead to the files that are open. If not, tries to save what only this
    /// connection may have in its log.
    pub(super) fn in_place(&self) -> InPlace {
        let path = &self.place.path;
        match self.files.moved(&Files::of(path)) {
            None => InPlace::Yes,
            Some(Displaced::Database) => InPlace::Reopen,
            Some(_) if beside::write_back(&self.db) => {
                tracing::warn!(
                    "`{0}-wal` or `{0}-shm` was removed or replaced while the store was in use; everything that was in it is kept",
                    path.display()
                );
                InPlace::Reopen
            }
            // Others have the same log open, and the last one can write it back.
            Some(Displaced::Removed) => InPlace::Close(beside::divided(path, Displaced::Removed)),
            // No other process may have the log, so it is not let go.
            Some(Displaced::Replaced) => InPlace::Wait(beside::divided(path, Displaced::Replaced)),
        }
    }

    /// Notes the end of the chain as read from the file.
    ///
    /// # Errors
    /// It is before the one that was read last: the records were set back.
    pub(super) fn sees(&self, head: &Head) -> Result<(), Failure> {
        let mut seen = self.seen.borrow_mut();
        if let Some(seen) = seen.as_ref().filter(|seen| seen.chain == head.chain)
            && (head.seq < seen.seq || head.seq == seen.seq && head.hash != seen.hash)
        {
            return Err(Failure(format!(
                "the records in `{}` were set back while this gateway was running: they end at {}, and ended at {}; see `tollgate audit verify` and `tollgate budget prove`, restore the store, and start the gateway again",
                self.place.path.display(),
                head.seq,
                seen.seq
            )));
        }
        *seen = Some(head.clone());
        Ok(())
    }

    pub(super) fn begin(&self, reads: bool) -> Result<(), LedgerUnavailable> {
        self.execute(if reads { "BEGIN" } else { "BEGIN IMMEDIATE" })
    }

    pub(super) fn commit(&self) -> Result<(), LedgerUnavailable> {
        self.execute("COMMIT")
    }

    /// Some failures roll back by themselves; what is written after is not part of a transaction.
    pub(super) fn still_begun(&self) -> Result<(), LedgerUnavailable> {
        match self.db.is_autocommit() {
            false => Ok(()),
            true => Err(LedgerUnavailable::unchanged(format!(
                "`{}`: a failure ended the transaction",
                self.place.path.display()
            ))),
        }
    }

    pub(super) fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // A connection that cannot even do this is closed, which does it.
            let _ = self.execute("ROLLBACK");
        }
    }

    pub(super) fn execute(&self, sql: &str) -> Result<(), LedgerUnavailable> {
        let done = patiently(|| self.db.prepare_cached(sql)?.execute([]));
        done.map(|_| ()).map_err(|error| told(&self.place.path, &error))
    }

    /// Whether the file should be opened anew.
    pub(super) fn is_sour(&self) -> bool {
        self.sour.get()
    }

    /// What a read failed with. Only this step fails, unless the transaction is over.
    pub(super) fn unread(&self, error: &Error) -> Failure {
        if matches!(error, Error::SqliteFailure(..)) {
            self.sour.set(true);
        }
        Failure(told(&self.place.path, error).cause)
    }

    /// What a write failed with.
    pub(super) fn unwritten(&self, error: &Error) -> LedgerUnavailable {
        told(&self.place.path, error)
    }

    /// What a step failed with that left the transaction whole.
    pub(super) fn contradicts(&self, broken: &Broken) -> LedgerUnavailable {
        LedgerUnavailable::unchanged(match broken {
            Broken::Store(failure) => failure.to_string(),
            Broken::Inconsistent(_) => format!("`{}`: {broken}", self.place.path.display()),
        })
    }

    /// Why nothing is appended to a chain whose end another key signed.
    pub(super) fn not_vouched(&self) -> Failure {
        let key = match &self.place.keys {
            Some(keys) => format!("the key `{}`", keys.join("key").display()),
            None => "the key of this process".to_owned(),
        };
        Failure(format!(
            "the records in `{}` do not end as they were left with {key}: restore both, or move both away to begin anew (`tollgate audit verify` says more)",
            self.place.path.display()
        ))
    }

    /// The error for a row that was altered.
    pub(super) fn altered(&self, what: &str) -> Failure {
        Failure(format!(
            "`{}`: {what} was altered or deleted by another hand than tollgate's, and gives no right; restore the store (`tollgate budget prove` says more)",
            self.place.path.display()
        ))
    }

    fn prepare(&mut self) -> Result<(), LedgerUnavailable> {
        let path = self.place.path.clone();
        let wrong = |error: Error| told(&path, &error);
        if rusqlite::version_number() < OLDEST_SQLITE {
            let version = rusqlite::version();
            return Err(LedgerUnavailable::unchanged(format!(
                "SQLite {version} is too old: 3.51.3 is needed"
            )));
        }
        self.db.busy_handler(Some(patience())).map_err(wrong)?;
        self.db.set_prepared_statement_cache_capacity(STATEMENTS);
        version(&self.db, &path)?;
        if self.db.is_readonly(rusqlite::MAIN_DB).map_err(wrong)? {
            return Err(told(&path, &plain(rusqlite::ffi::SQLITE_READONLY)));
        }
        let mode = patiently(|| {
            self.db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        });
        let mode: String = mode.map_err(wrong)?;
        if mode != "wal" {
            return Err(LedgerUnavailable::unchanged(format!(
                "`{}` is on a file system that processes cannot share (`journal_mode` is {mode}); set `store.path` to a local disk",
                path.display()
            )));
        }
        let synchronous = match self.place.durability {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        self.db.pragma_update(None, "synchronous", synchronous).map_err(wrong)?;
        self.db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES).map_err(wrong)?;
        self.db.pragma_update(None, "journal_size_limit", LARGEST_LOG).map_err(wrong)?;
        self.db.pragma_update(None, "trusted_schema", false).map_err(wrong)?;
        self.create()
    }

    /// Creates missing tables, unless another process is faster.
    fn create(&mut self) -> Result<(), LedgerUnavailable> {
        let path = self.place.path.clone();
        let wrong = |error: Error| told(&path, &error);
        if version(&self.db, &path)? == schema::VERSION {
            return Ok(());
        }
        let tx =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(wrong)?;
        let there = version(&tx, &path)?;
        for (version, step) in schema::STEPS.into_iter().filter(|(version, _)| *version > there) {
            tx.execute_batch(step).map_err(wrong)?;
            tx.pragma_update(None, "user_version", version).map_err(wrong)?;
        }
        if there == 0 {
            let chain = hex(&keys::random::<16>()?);
            tx.pragma_update(None, "application_id", schema::APPLICATION).map_err(wrong)?;
            super::rows::put_head(&tx, &self.key, &Head::genesis(&chain)).map_err(wrong)?;
            super::rights::bind_denials(&tx, &self.rights).map_err(wrong)?;
        } else if !takeover::take_over(&tx, &self.key, &self.rights, there).map_err(wrong)? {
            drop(tx);
            return Err(LedgerUnavailable::unchanged(self.not_vouched().0));
        }
        tx.commit().map_err(wrong)
    }
}

/// The version of the tables. 0 of an empty file.
fn version(db: &Connection, path: &Path) -> Result<i32, LedgerUnavailable> {
    // One snapshot for all questions: another process may be creating the tables.
    let look = |sql| patiently(|| db.execute_batch(sql)).map_err(|error| told(path, &error));
    look("SAVEPOINT look")?;
    let found = version_now(db, path);
    let released = look("RELEASE look");
    // The first error says more.
    found.and_then(|version| released.map(|()| version))
}

fn version_now(db: &Connection, path: &Path) -> Result<i32, LedgerUnavailable> {
    let pragma = |name| patiently(|| db.pragma_query_value(None, name, |row| row.get::<_, i32>(0)));
    let tables =
        || patiently(|| db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)));
    let wrong = |error: Error| told(path, &error);
    let application = pragma("application_id").map_err(wrong)?;
    let version = pragma("user_version").map_err(wrong)?;
    let tables: i64 = tables().map_err(wrong)?;
    let shown = path.display();
    match (application, version) {
        (schema::APPLICATION, 1..=schema::VERSION) => Ok(version),
        (schema::APPLICATION, _) => Err(LedgerUnavailable::unchanged(format!(
            "`{shown}` was written by another version of tollgate (its tables are version {version}, not {}); use the newest tollgate, or move the file away",
            schema::VERSION
        ))),
        (0, 0) if tables == 0 => Ok(0),
        _ => Err(LedgerUnavailable::unchanged(format!(
            "`{shown}` is the database of another application; set `store.path` (or `audit.path`, if that names it) to another file"
        ))),
    }
}

fn make(path: &Path) -> Result<(), LedgerUnavailable> {
    if path.is_dir() {
        return Err(LedgerUnavailable::unchanged(format!(
            "`{}` is a directory; set `store.path` to a file",
            path.display()
        )));
    }
    if let Some(dir) = path.parent() {
        files::make_private(dir).map_err(|error| unmade(path, &error))?;
    }
    match files::create_private(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unmade(path, &error)),
        _ => Ok(()),
    }
}

fn unmade(path: &Path, error: &io::Error) -> LedgerUnavailable {
    LedgerUnavailable::unchanged(format!(
        "`{}` cannot be made: {error}; make its directory writable, or set `store.path`",
        path.display()
    ))
}

/// Waits while other processes write: short pauses of random length, so that none is always late.
/// SQLite's own grow to 100 ms, and let one process starve beside busy ones.
fn patience() -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = clock::instant();
    let random = RandomState::new();
    move |tries| {
        if tries == 0 {
            since = clock::instant();
        }
        let pause = 200 + random.hash_one((tries, since)) % 2_800;
        thread::sleep(Duration::from_micros(pause));
        since.elapsed() < PATIENCE
    }
}

/// Retries where SQLite reports busy without calling the busy handler.
fn patiently<T>(mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    const BUSY: [ErrorCode; 3] = [
        ErrorCode::DatabaseBusy,
        ErrorCode::DatabaseLocked,
        // Too many processes at once found the shared memory changing.
        ErrorCode::FileLockingProtocolFailed,
    ];
    let since = clock::instant();
    loop {
        match attempt() {
            Err(error)
                if error.sqlite_error_code().is_some_and(|code| BUSY.contains(&code))
                    && since.elapsed() < PATIENCE =>
            {
                thread::sleep(Duration::from_millis(2));
            }
            outcome => return outcome,
        }
    }
}

fn plain(code: i32) -> Error {
    Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}

/// An error message: what failed, where, and what to do.
fn told(path: &Path, error: &Error) -> LedgerUnavailable {
    let shown = path.display();
    LedgerUnavailable::unchanged(match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => format!(
            "`{shown}` was locked by another process for {} s; end what holds it",
            PATIENCE.as_secs()
        ),
        Some(ErrorCode::DiskFull) => format!("the disk of `{shown}` is full; free some space"),
        Some(ErrorCode::ReadOnly) => format!(
            "`{shown}` cannot be written; make it and its directory writable, or set `store.path`"
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => format!(
            "`{shown}` cannot be opened ({error}); check the permissions of it and of its directory"
        ),
        Some(ErrorCode::NotADatabase) => format!(
            "`{shown}` is not a database; move it away, or set `store.path` to another file"
        ),
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("`{shown}` is damaged ({error}); restore it, or move it away to begin anew")
        }
        Some(ErrorCode::SystemIoFailure) => {
            format!("`{shown}` cannot be read or written ({error}); check its disk")
        }
        _ => format!("`{shown}`: {error}"),
    })
}
