//! The tree of processes below one process, found in `/proc`: how much it has worked, and how it is
//! killed to the last.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal,
    waitpid,
};

/// A process that forks faster than it is killed is given up on after this long.
const KILL_DEADLINE: Duration = Duration::from_secs(2);

/// One line of the process table.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Its id.
    pub pid: Pid,
    parent: i32,
    /// When it was started, in clock ticks since the system was: no two processes of one id have the
    /// same.
    pub start: u64,
    state: char,
    /// Processor time in clock ticks, that of children it has waited for included.
    ticks: u64,
}

impl Process {
    /// Whether it has ended and only waits for its parent to notice.
    pub fn is_dead(self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Whether it is stopped by a signal or a debugger.
    pub fn is_stopped(self) -> bool {
        matches!(self.state, 'T' | 't')
    }
}

/// What a tree of processes has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Processor time in clock ticks.
    pub ticks: u64,
    /// Bytes read and written, by files and streams of every kind.
    pub bytes: u64,
    /// How many processes there are.
    pub processes: usize,
}

/// What the process `root` and everything below it in `table` have done. A process that may not be
/// looked into counts without its bytes.
pub fn work(table: &[Process], root: Pid) -> Work {
    let mut tree = vec![root];
    tree.extend(below(table, root));
    let mut work = Work { processes: tree.len(), ..Work::default() };
    for process in table.iter().filter(|process| tree.contains(&process.pid)) {
        work.ticks += process.ticks;
        let io = fs::read_to_string(format!("/proc/{}/io", process.pid.as_raw_nonzero()));
        work.bytes += bytes_in(&io.unwrap_or_default());
    }
    work
}

/// `rchar` and `wchar` of `/proc/PID/io`.
fn bytes_in(io: &str) -> u64 {
    let counts = io.lines().filter_map(|line| {
        let count = line.strip_prefix("rchar: ").or_else(|| line.strip_prefix("wchar: "))?;
        count.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// The direct children of `parent`.
pub fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    table().into_iter().filter(|process| process.parent == parent).map(|p| p.pid).collect()
}

/// Everything below `root`, children before grandchildren, without `root` itself.
pub fn descendants(root: Pid) -> Vec<Pid> {
    below(&table(), root)
}

/// The same, of a table that was read before.
pub fn below(table: &[Process], root: Pid) -> Vec<Pid> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|pid| pid.as_raw_nonzero().get()) {
        found.extend(table.iter().filter(|process| process.parent == parent).map(|p| p.pid));
        next += 1;
    }
    found.split_off(1)
}

/// Kills everything below this process and waits for it to be gone. This process must be a child
/// subreaper, so that what a killed process leaves behind comes here, behind setsid or not.
pub fn kill_everything_below() {
    let started = Instant::now();
    loop {
        let below = descendants(getpid());
        if below.is_empty() || started.elapsed() > KILL_DEADLINE {
            return;
        }
        kill(&below);
        std::thread::sleep(Duration::from_millis(2));
        reap(&below);
    }
}

/// Kills every child of this process that carries the mark in its environment, with all its
/// descendants, until none is left. Others' children are none of our business: this process may have
/// been handed some by the one that became it.
pub fn kill_marked(mark: &str) {
    let started = Instant::now();
    loop {
        let marked: Vec<Pid> =
            children(getpid()).into_iter().filter(|&pid| carries(pid, mark)).collect();
        if marked.is_empty() || started.elapsed() > KILL_DEADLINE {
            return;
        }
        for &pid in &marked {
            kill(&descendants(pid));
        }
        kill(&marked);
        std::thread::sleep(Duration::from_millis(2));
        reap(&marked);
    }
}

/// Whether a process was started with this variable.
fn carries(pid: Pid, mark: &str) -> bool {
    environment_has(pid, |entry| entry == mark.as_bytes())
}

/// Whether a variable of a process is such. One that is dead has no environment left; it was reaped,
/// or it is another's.
pub fn environment_has(pid: Pid, is_such: impl Fn(&[u8]) -> bool) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    fs::read(path).is_ok_and(|env| env.split(|&byte| byte == 0).any(is_such))
}

/// Sends SIGKILL to this process and to no other that has its id by now; whether it was sent.
pub fn kill_exactly(known: Process) -> bool {
    let handle = pidfd_open(known.pid, PidfdFlags::empty());
    // Looked at after the handle was taken, which goes on meaning the same process.
    if process(known.pid).is_none_or(|found| found.start != known.start) {
        return false;
    }
    match handle {
        Ok(handle) => pidfd_send_signal(handle, Signal::KILL).is_ok(),
        // Old kernels and strict sandboxes have no such handle.
        Err(_) => kill_process(known.pid, Signal::KILL).is_ok(),
    }
}

/// Sends SIGKILL to each; one that is gone already is no fault.
pub fn kill(pids: &[Pid]) {
    for &pid in pids {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Takes the exit status of those of `pids` that are dead children of ours.
pub fn reap(pids: &[Pid]) {
    for &pid in pids {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// All processes.
pub fn table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| process(Pid::from_raw(pid)?)).collect()
}

/// The process with this id.
pub fn process(pid: Pid) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (state, parent, ticks, start) = fields_of(&stat)?;
    Some(Process { pid, parent, start, state, ticks })
}

/// State, parent, processor time and start time in `/proc/PID/stat`: `pid (name) state ppid …`, where
/// the name may hold anything. Processor times are fields 14 to 17, the start time is field 22.
fn fields_of(stat: &str) -> Option<(char, i32, u64, u64)> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let times = fields.by_ref().skip(9).take(4);
    let ticks = times.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some((state, parent, ticks, fields.nth(4)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use rustix::process::getpid;

    use super::{bytes_in, fields_of, process};

    #[test]
    fn a_hostile_process_name_hides_nothing() {
        let rest = "7 12 12 0 -1 4194560 1 0 0 0 10 20 30 40 20 0 1 0 4711 2 3";
        assert_eq!(fields_of(&format!("12 (a) S 99 (b) S {rest}")), Some(('S', 7, 100, 4711)));
        assert_eq!(fields_of("12 (sh"), None);
        assert_eq!(fields_of("12 (sh) S 7"), None);
    }

    #[test]
    fn this_process_is_found_and_lives() {
        let this = process(getpid()).unwrap();
        assert!(!this.is_dead() && !this.is_stopped() && this.start > 0);
    }

    #[test]
    fn bytes_of_all_streams_are_added_up() {
        assert_eq!(bytes_in("rchar: 300\nwchar: 20\nsyscr: 9\nread_bytes: 4096\n"), 320);
    }
}
