//! When the settings files change, they are read again.
//!
//! Looks at the content of the files once a second, which misses nothing: links that are pointed
//! elsewhere, directories that are replaced, file systems without events. Events of the directories
//! where files are, or would be looked for, only make it look sooner. What counts is whether the
//! content of a file differs from what was read last.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    document,
    fault::Faults,
    load::reload,
    locate::{self, Options},
    watched_paths::WatchedPaths,
};
use crate::{
    domain::settings::{Settings, SettingsFile, Sources},
    host::{
        clock,
        environment::Environment,
        files::{Inode, inode},
    },
};

/// Files are read when nothing has changed for this long,
const QUIET: Duration = Duration::from_millis(100);

/// and at the latest this long after the first change.
const LATEST: Duration = Duration::from_millis(500);

/// How many times files are read while they are being written to.
const MOST_TRIES: usize = 4;

const RESTLESS: &str =
    "the settings files are written to all the time; they are read again when that ends";

/// How often files are looked at when no event says so.
const POLL: Duration = Duration::from_secs(1);

/// Waits for changes of the settings files.
pub struct Watch {
    options: Options,
    env: Environment,
    /// The files as they were when they were read last.
    read: FilesSeen,
    /// Files that were written to for as long as we tried to read them.
    owed: Vec<SettingsFile>,
    /// Rings at an event.
    bell: Arc<Notify>,
    armed: Option<Armed>,
    asked: Hangup,
}

/// Settings that were read again.
#[derive(Debug)]
pub struct Reload {
    /// The files that changed.
    pub files: Vec<SettingsFile>,
    /// When they were read.
    pub at: SystemTime,
    /// Whole settings, or every fault.
    pub outcome: Result<Settings, Faults>,
}

/// Watched directories.
struct Armed {
    paths: WatchedPaths,
    /// Watches as long as it is there; None if nothing can be watched.
    _watcher: Option<RecommendedWatcher>,
    /// Whether some of them cannot be watched.
    blind: bool,
}

impl Watch {
    /// A watch over the files of these options. To be made before they are read for the first time,
    /// within a runtime; from here on SIGHUP asks for a reload.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub fn new(options: Options, env: Environment) -> io::Result<Self> {
        let read = FilesSeen::now(&options, &env);
        let bell = Arc::default();
        let (owed, asked) = (Vec::new(), Hangup::new()?);
        Ok(Self { options, env, read, owed, bell, armed: None, asked })
    }

    /// The next reload: whenever a file has changed, or SIGHUP asks. `in_use` is where the settings
    /// in force come from.
    pub async fn next(&mut self, in_use: &Sources) -> Reload {
        let (mut files, mut seen) = self.changed().await;
        let mut tries = 0;
        loop {
            let at = clock::system();
            let outcome = self.load(in_use).await;
            tries += 1;
            let disturbed = seen.is_disturbed(&self.look().await);
            if !disturbed || tries == MOST_TRIES {
                self.read = seen;
                self.owed = if disturbed { files.clone() } else { Vec::new() };
                let outcome = if disturbed { Err(Faults::of_no_file(RESTLESS)) } else { outcome };
                return Reload { files, at, outcome };
            }
            // The settings may be half of one state and half of the next.
            self.quiet().await;
            seen = self.look().await;
            files = either(&files, &seen.differing(&self.read));
        }
    }

    async fn load(&self, in_use: &Sources) -> Result<Settings, Faults> {
        let (options, env, in_use) = (self.options.clone(), self.env.clone(), in_use.clone());
        let read = tokio::task::spawn_blocking(move || reload(&options, &env, &in_use)).await;
        // The next change is read all the same.
        read.unwrap_or_else(|error| {
            Err(Faults::of_no_file(&format!("the settings could not be read: {error}")))
        })
    }

    async fn changed(&mut self) -> (Vec<SettingsFile>, FilesSeen) {
        let mut asked = false;
        loop {
            // In this order: what changes after the look, or before the watch, is not missed.
            self.arm().await;
            let mut seen = self.look().await;
            let mut files = either(&self.owed, &seen.differing(&self.read));
            if !asked && !files.is_empty() {
                self.quiet().await;
                seen = self.look().await;
                files = either(&self.owed, &seen.differing(&self.read));
            }
            if asked {
                files = either(&files, &seen.present());
            }
            if asked || !files.is_empty() {
                return (files, seen);
            }
            asked = self.rung().await;
        }
    }

    /// Waits until it is time to look; answers whether SIGHUP asked.
    async fn rung(&mut self) -> bool {
        tokio::select! {
            () = self.bell.notified() => false,
            () = self.asked.recv() => true,
            () = tokio::time::sleep(POLL) => false,
        }
    }

    /// Waits until nothing has changed for a while: who writes is done by then.
    async fn quiet(&self) {
        let latest = clock::tokio_instant() + LATEST;
        loop {
            let until = latest.min(clock::tokio_instant() + QUIET);
            let rung = timeout_at(until, self.bell.notified()).await;
            if rung.is_err() || clock::tokio_instant() >= latest {
                return;
            }
        }
    }

    async fn look(&self) -> FilesSeen {
        let (options, env) = (self.options.clone(), self.env.clone());
        let seen = tokio::task::spawn_blocking(move || FilesSeen::now(&options, &env)).await;
        seen.unwrap_or_else(|_| self.read.clone())
    }

    /// Watches the directories as they are now. A new watch is whole before the old one ends.
    async fn arm(&mut self) {
        let (options, env, bell) = (self.options.clone(), self.env.clone(), self.bell.clone());
        let before = self.armed.take();
        let was_blind = before.as_ref().is_some_and(|armed| armed.blind);
        let armed = tokio::task::spawn_blocking(move || {
            let all = SettingsFile::ALL.into_iter();
            let places = all.flat_map(|file| locate::candidates(file, &options, &env));
            let paths = WatchedPaths::of(places);
            match before {
                Some(before) if before.paths == paths => before,
                _ => Armed::new(paths, bell),
            }
        });
        self.armed = armed.await.ok();
        if !was_blind && self.armed.as_ref().is_none_or(|armed| armed.blind) {
            tracing::warn!(
                "changes of the settings files are looked for every {} ms, as not all can be watched",
                POLL.as_millis()
            );
        }
    }
}

impl Armed {
    fn new(paths: WatchedPaths, bell: Arc<Notify>) -> Self {
        let watched = paths.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.map_or(true, |event| matters(&event, &watched)) {
                bell.notify_one();
            }
        });
        let watch = |mut watcher: RecommendedWatcher| {
            let watched = paths.dirs().map(|dir| watcher.watch(dir, RecursiveMode::NonRecursive));
            let blind = watched.filter_map(Result::err).count() > 0;
            (Some(watcher), blind)
        };
        let (watcher, blind) = watcher.map_or((None, true), watch);
        Self { paths, _watcher: watcher, blind }
    }
}

fn either(some: &[SettingsFile], others: &[SettingsFile]) -> Vec<SettingsFile> {
    let all = SettingsFile::ALL.into_iter();
    all.filter(|file| some.contains(file) || others.contains(file)).collect()
}

/// Whether an event may have changed a file. Reading changes none, and we read ourselves.
fn matters(event: &notify::Event, watched: &WatchedPaths) -> bool {
    let reading = match event.kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        _ => false,
    };
    let lost = event.need_rescan() || event.paths.is_empty();
    lost || !reading && event.paths.iter().any(|path| watched.contains(path))
}

/// The files at their places, in the order of [`SettingsFile::ALL`].
#[derive(Clone, Debug)]
struct FilesSeen([Option<FileFound>; 3]);

#[derive(Clone, Debug)]
struct FileFound {
    path: PathBuf,
    content: Content,
    /// When it was written, and which file it is: shows writes that left the content as it was.
    written: Option<(SystemTime, Inode)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// A file with this digest.
    Text([u8; 32]),
    /// Something else, or a file that cannot be read.
    Unreadable(String),
}

impl FilesSeen {
    /// Blocks: reads the files.
    fn now(options: &Options, env: &Environment) -> Self {
        Self(SettingsFile::ALL.map(|file| {
            let places = locate::candidates(file, options, env);
            places.into_iter().find(|path| locate::is_there(path)).map(FileFound::at)
        }))
    }

    fn present(&self) -> Vec<SettingsFile> {
        let files = SettingsFile::ALL.into_iter().zip(&self.0);
        files.filter(|(_, seen)| seen.is_some()).map(|(file, _)| file).collect()
    }

    /// The files whose place or content is another one.
    fn differing(&self, other: &Self) -> Vec<SettingsFile> {
        let same = |(one, other): (&Option<FileFound>, &Option<FileFound>)| match (one, other) {
            (Some(one), Some(other)) => one.path == other.path && one.content == other.content,
            (one, other) => one.is_none() == other.is_none(),
        };
        let pairs = SettingsFile::ALL.into_iter().zip(self.0.iter().zip(&other.0));
        pairs.filter(|(_, pair)| !same(*pair)).map(|(file, _)| file).collect()
    }

    /// Whether anything was written between two looks.
    fn is_disturbed(&self, after: &Self) -> bool {
        let written =
            |seen: &Self| seen.0.each_ref().map(|found| found.as_ref().map(|found| found.written));
        written(self) != written(after) || !self.differing(after).is_empty()
    }
}

impl FileFound {
    fn at(path: PathBuf) -> Self {
        let modified = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let written = modified.map(|modified| (modified, inode(&path).unwrap_or_default()));
        Self { content: Content::of(&path), written, path }
    }
}

impl Content {
    fn of(path: &Path) -> Self {
        // Opening anything but a regular file may block.
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() && meta.len() <= document::LARGEST_FILE => {}
            Ok(meta) if meta.is_file() => return Self::Unreadable("too large".into()),
            Ok(_) => return Self::Unreadable("not a file".into()),
            Err(error) => return Self::Unreadable(error.kind().to_string()),
        }
        match fs::read(path) {
            Ok(bytes) => Self::Text(Sha256::digest(bytes).into()),
            Err(error) => Self::Unreadable(error.kind().to_string()),
        }
    }
}

/// After a SIGHUP was answered, those that follow within this time are answered as one.
const HANGUP_REST: Duration = Duration::from_secs(1);

/// SIGHUP, where there is such a signal.
struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
    /// The end of the rest after the last one.
    #[cfg(unix)]
    rested: Instant,
}

#[cfg(unix)]
impl Hangup {
    fn new() -> io::Result<Self> {
        let kind = tokio::signal::unix::SignalKind::hangup();
        Ok(Self { signal: tokio::signal::unix::signal(kind)?, rested: clock::tokio_instant() })
    }

    /// Waits for one; loses none if it is dropped.
    async fn recv(&mut self) {
        sleep_until(self.rested).await;
        if self.signal.recv().await.is_none() {
            std::future::pending().await
        }
        self.rested = clock::tokio_instant() + HANGUP_REST;
    }
}

#[cfg(not(unix))]
impl Hangup {
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    async fn recv(&mut self) {
        std::future::pending().await
    }
}
