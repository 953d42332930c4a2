//! When the settings files change, they are read again.
//!
//! Every directory on the way to a place where a file is, or would be looked for, is watched. An
//! event only makes us look: what counts is whether the content of a file differs from what was
//! read last. What cannot be watched is looked at every now and then.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind},
};
use sha2::{Digest, Sha256};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    Faults, Options, document, locate, reload,
    watched_paths::{self, FileId, WatchedPaths},
};
use crate::{
    domain::settings::{Settings, SettingsFile, Sources},
    host::{clock, environment::Environment},
};

/// Files are read when they were left alone for so long,
const QUIET: Duration = Duration::from_millis(100);

/// but at most so long after their first change.
const LATEST: Duration = Duration::from_millis(500);

/// Files are read so often while somebody writes to them.
const MOST_TRIES: usize = 4;

const RESTLESS: &str =
    "the settings files are written to all the time; they are read again when that ends";

/// How often files that cannot be watched are looked at.
const POLL: Duration = Duration::from_millis(500);

/// Waits for changes of the settings files.
pub struct Watch {
    options: Options,
    env: Environment,
    /// What was there when the files were read last.
    read: Seen,
    /// Files that were written to for as long as we tried to read them.
    owed: Vec<SettingsFile>,
    /// Rings when something on the trail has changed.
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

/// A watched trail.
struct Armed {
    trail: WatchedPaths,
    /// Watches as long as it is there; None if nothing can be watched.
    _watcher: Option<RecommendedWatcher>,
    /// Whether part of the trail is not watched.
    blind: bool,
    /// Set when a directory of the trail has gone, and its watch with it. One that is made in its
    /// place may have the same number.
    stale: Arc<AtomicBool>,
}

impl Watch {
    /// A watch over the files of these options. To be made before they are read for the first time,
    /// within a runtime; from here on SIGHUP asks for a reload.
    ///
    /// # Errors
    /// The signal cannot be listened for.
    pub fn new(options: Options, env: Environment) -> io::Result<Self> {
        let read = Seen::now(&options, &env);
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
            // What was read may be half of one state and half of the next.
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

    async fn changed(&mut self) -> (Vec<SettingsFile>, Seen) {
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

    /// Waits until there may be something to see; answers whether SIGHUP asked.
    async fn rung(&mut self) -> bool {
        let blind = self.armed.as_ref().is_none_or(|armed| armed.blind);
        let poll = clock::tokio_instant() + POLL;
        tokio::select! {
            () = self.bell.notified() => false,
            () = self.asked.recv() => true,
            () = sleep_until(poll), if blind => false,
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

    async fn look(&self) -> Seen {
        let (options, env) = (self.options.clone(), self.env.clone());
        let seen = tokio::task::spawn_blocking(move || Seen::now(&options, &env)).await;
        seen.unwrap_or_else(|_| self.read.clone())
    }

    /// Watches the trail as it is now. A new watch is whole before the old one ends.
    async fn arm(&mut self) {
        let (options, env, bell) = (self.options.clone(), self.env.clone(), self.bell.clone());
        let before = self.armed.take();
        let was_blind = before.as_ref().is_some_and(|armed| armed.blind);
        let armed = tokio::task::spawn_blocking(move || {
            let all = SettingsFile::ALL.into_iter();
            let places: Vec<PathBuf> =
                all.flat_map(|file| locate::candidates(file, &options, &env)).collect();
            let trail = WatchedPaths::to(&places);
            match before {
                Some(before) if before.trail == trail && !before.is_stale() => before,
                _ => Armed::new(trail, bell),
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
    fn new(trail: WatchedPaths, bell: Arc<Notify>) -> Self {
        let (passed, stale) = (trail.clone(), Arc::new(AtomicBool::new(false)));
        let ends = stale.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            match event {
                Ok(event) if !matters(&event, &passed) => return,
                Ok(event) if !ends_a_watch(&event, &passed) => {}
                _ => ends.store(true, Ordering::Release),
            }
            bell.notify_one();
        });
        let mut blind = false;
        let mut tell = |error: notify::Error| {
            tracing::debug!("cannot watch: {error}");
            blind = true;
        };
        let watcher = match watcher {
            Ok(mut watcher) => {
                for dir in trail.dirs() {
                    watcher.watch(dir, RecursiveMode::NonRecursive).unwrap_or_else(&mut tell);
                }
                Some(watcher)
            }
            Err(error) => {
                tell(error);
                None
            }
        };
        Self { trail, _watcher: watcher, blind, stale }
    }

    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }
}

fn either(some: &[SettingsFile], others: &[SettingsFile]) -> Vec<SettingsFile> {
    let all = SettingsFile::ALL.into_iter();
    all.filter(|file| some.contains(file) || others.contains(file)).collect()
}

/// Whether an event may have changed what is at the end of the trail. Reading is none of that, and
/// we read ourselves.
fn matters(event: &notify::Event, trail: &WatchedPaths) -> bool {
    let reading = match event.kind {
        EventKind::Access(kind) => kind != AccessKind::Close(AccessMode::Write),
        _ => false,
    };
    let lost = event.need_rescan() || event.paths.is_empty();
    lost || !reading && event.paths.iter().any(|path| trail.passes(path))
}

fn ends_a_watch(event: &notify::Event, trail: &WatchedPaths) -> bool {
    let gone = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    gone && event.paths.iter().any(|path| trail.dirs().any(|dir| dir == path))
}

/// What is at the places of the files, in the order of [`SettingsFile::ALL`].
#[derive(Clone, Debug)]
struct Seen([Option<Found>; 3]);

#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    content: Content,
    /// When it was written, and which file it is: tells of writes that came and went.
    written: Option<(SystemTime, FileId)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    /// A file with this digest.
    Text([u8; 32]),
    /// Something else, or a file that cannot be read.
    Unreadable(String),
}

impl Seen {
    /// Blocks: reads the files.
    fn now(options: &Options, env: &Environment) -> Self {
        Self(SettingsFile::ALL.map(|file| {
            let places = locate::candidates(file, options, env);
            places.into_iter().find(|path| locate::is_there(path)).map(Found::at)
        }))
    }

    fn present(&self) -> Vec<SettingsFile> {
        let files = SettingsFile::ALL.into_iter().zip(&self.0);
        files.filter(|(_, seen)| seen.is_some()).map(|(file, _)| file).collect()
    }

    /// The files whose place or content is another one.
    fn differing(&self, other: &Self) -> Vec<SettingsFile> {
        let same = |(one, other): (&Option<Found>, &Option<Found>)| match (one, other) {
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

impl Found {
    fn at(path: PathBuf) -> Self {
        let modified = fs::metadata(&path).and_then(|meta| meta.modified()).ok();
        let written = modified.map(|modified| (modified, watched_paths::id(&path)));
        Self { content: Content::of(&path), written, path }
    }
}

impl Content {
    fn of(path: &Path) -> Self {
        // Anything but a file may block whoever opens it.
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
