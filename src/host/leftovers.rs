//! What gateways leave behind that were killed together with their supervisors.
//!
//! Each gateway keeps a file with the processes it has started. The next gateway of the same user
//! reads the files of gateways that are dead, and ends what is left of their processes. A process is
//! known by its id and start time, or by the mark that all descendants of a server carry in their
//! environment; another process that was given the same id has another start time.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, getpid};
use serde::{Deserialize, Serialize};

use super::{
    MARK_VARIABLE,
    files::write_private,
    mutex::Mutex,
    tree::{self, Process},
};

/// Ending what one gateway left takes at most this long.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// Longer files are none of ours.
const LONGEST_FILE: u64 = 1024 * 1024;

/// A process, told from every other one since the system was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ProcessIdentity {
    pid: i32,
    /// In clock ticks since the system was started.
    start: u64,
}

/// What one gateway has started, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct RosterFile {
    /// Ids and start times mean nothing after the system was started again.
    boot: String,
    /// Nor in another namespace of process ids.
    namespace: String,
    gateway: ProcessIdentity,
    processes: Vec<ProcessIdentity>,
}

/// The processes that this gateway has started, and the file that tells the next one.
#[derive(Debug)]
pub struct Roster {
    path: PathBuf,
    boot: String,
    namespace: String,
    gateway: ProcessIdentity,
    /// By the mark of the server that they belong to. Held while the file is written, so that the
    /// last state is written last.
    processes: Mutex<HashMap<String, Vec<ProcessIdentity>>>,
}

/// How this gateway marks what it starts; a number follows.
pub fn mark_prefix() -> String {
    let start = tree::process(getpid()).map_or(0, |process| process.start);
    prefix(ProcessIdentity { pid: getpid().as_raw_nonzero().get(), start })
}

fn prefix(gateway: ProcessIdentity) -> String {
    format!("{}-{}-", gateway.pid, gateway.start)
}

impl Roster {
    /// Ends what dead gateways have left, and begins a roster in the same directory. None where the
    /// system does not tell of processes.
    pub fn open(dir: &Path) -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?.to_string_lossy().into_owned();
        let gateway = ProcessIdentity::of(tree::process(getpid())?);
        let path = dir.join(format!("{}-{}.json", gateway.pid, gateway.start));
        let roster = Self { path, boot, namespace, gateway, processes: Mutex::default() };
        for file in files(dir) {
            roster.settle(&file);
        }
        Some(roster)
    }

    /// A server is about to be started; its processes may be recorded until it is forgotten.
    pub fn expect(&self, mark: &str) {
        self.processes.lock().insert(mark.to_owned(), Vec::new());
    }

    /// Records a server's process and all that runs below it by now.
    pub fn record(&self, mark: &str, root: Pid) {
        let table = tree::table();
        let below = tree::below(&table, root);
        let tree =
            table.iter().filter(|process| process.pid == root || below.contains(&process.pid));
        let tree: Vec<ProcessIdentity> =
            tree.map(|process| ProcessIdentity::of(*process)).collect();
        let mut processes = self.processes.lock();
        // It may have been forgotten meanwhile.
        if let Some(known) = processes.get_mut(mark).filter(|known| **known != tree) {
            *known = tree;
            self.write(&processes);
        }
    }

    /// A server has ended with its tree.
    pub fn forget(&self, mark: &str) {
        let mut processes = self.processes.lock();
        if processes.remove(mark).is_some() {
            self.write(&processes);
        }
    }

    fn write(&self, processes: &HashMap<String, Vec<ProcessIdentity>>) {
        let processes: Vec<ProcessIdentity> = processes.values().flatten().copied().collect();
        let written = match processes.is_empty() {
            true => fs::remove_file(&self.path),
            false => self.write_all(processes),
        };
        match written {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("the list of started processes cannot be written: {error}");
            }
            _ => {}
        }
    }

    fn write_all(&self, processes: Vec<ProcessIdentity>) -> io::Result<()> {
        let (boot, namespace) = (self.boot.clone(), self.namespace.clone());
        let kept = RosterFile { boot, namespace, gateway: self.gateway, processes };
        write_private(&self.path, &serde_json::to_vec(&kept)?)
    }

    /// Looks at the file of another gateway: ends what is left if that one is dead.
    fn settle(&self, file: &Path) {
        let Some(kept) = read(file) else { return };
        let alive = |gateway: ProcessIdentity| gateway.find().is_some();
        if kept.boot == self.boot {
            // Processes of another namespace cannot be judged from here.
            if kept.namespace != self.namespace || alive(kept.gateway) {
                return;
            }
            let (ended, left) = end_all(&kept);
            if ended > 0 {
                tracing::warn!("ended {ended} processes that a killed gateway had left behind");
            }
            if left {
                tracing::warn!(
                    "processes of a killed gateway cannot be ended; see {}",
                    file.display()
                );
                return;
            }
        }
        // Another gateway may have done the same.
        let _ = fs::remove_file(file);
    }
}

impl ProcessIdentity {
    fn of(process: Process) -> Self {
        Self { pid: process.pid.as_raw_nonzero().get(), start: process.start }
    }

    /// The process, if it still lives.
    fn find(self) -> Option<Process> {
        let process = tree::process(Pid::from_raw(self.pid)?)?;
        (process.start == self.start && !process.is_dead()).then_some(process)
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect()
}

fn read(file: &Path) -> Option<RosterFile> {
    let length = fs::metadata(file).ok()?.len();
    let text = (length <= LONGEST_FILE).then(|| fs::read(file).ok())??;
    serde_json::from_slice(&text).ok()
}

/// Kills what is left of a gateway's processes; returns how many were killed, and whether some are
/// left all the same.
fn end_all(kept: &RosterFile) -> (usize, bool) {
    let begun = Instant::now();
    let mark = format!("{MARK_VARIABLE}={}", prefix(kept.gateway));
    let mut ended = 0;
    loop {
        let left = left_of(kept, &mark);
        if left.is_empty() || begun.elapsed() > END_DEADLINE {
            return (ended, !left.is_empty());
        }
        ended += left.iter().filter(|process| tree::kill_exactly(**process)).count();
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processes that were recorded or carry the mark, with all that run below them.
fn left_of(kept: &RosterFile, mark: &str) -> Vec<Process> {
    let table: Vec<Process> =
        tree::table().into_iter().filter(|process| !process.is_dead()).collect();
    let known = |process: &Process| kept.processes.contains(&ProcessIdentity::of(*process));
    let roots = table.iter().filter(|process| {
        known(process)
            || tree::environment_has(process.pid, |entry| entry.starts_with(mark.as_bytes()))
    });
    let mut pids: Vec<Pid> = roots.map(|process| process.pid).collect();
    for root in pids.clone() {
        pids.extend(tree::below(&table, root));
    }
    table.into_iter().filter(|p| pids.contains(&p.pid) && p.pid != getpid()).collect()
}
