//! The tree of processes below one process: found in `/proc`, killed to the last.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// A process that forks faster than it is killed is given up on after this long.
const KILL_DEADLINE: Duration = Duration::from_secs(2);

/// One line of the process table.
#[derive(Clone, Copy)]
struct Process {
    pid: Pid,
    parent: i32,
}

/// The direct children of `parent`.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().get();
    table().into_iter().filter(|process| process.parent == parent).map(|p| p.pid).collect()
}

/// Everything below `root`, children before grandchildren, without `root` itself.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    let table = table();
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
pub(super) fn kill_everything_below() {
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
pub(super) fn kill_marked(mark: &str) {
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

/// Whether a process was started with this variable. One that is dead has no environment left; it
/// was reaped, or it is another's.
fn carries(pid: Pid, mark: &str) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    fs::read(path)
        .is_ok_and(|env| env.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes()))
}

/// Sends SIGKILL to each; one that is gone already is no fault.
pub(super) fn kill(pids: &[Pid]) {
    for &pid in pids {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Takes the exit status of those of `pids` that are dead children of ours.
pub(super) fn reap(pids: &[Pid]) {
    for &pid in pids {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

fn table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some(Process { pid: Pid::from_raw(pid)?, parent: parent_in(&stat)? })
        })
        .collect()
}

/// The parent in `/proc/PID/stat`: `pid (name) state ppid …`, where the name may hold anything.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parent_in;

    #[test]
    fn a_hostile_process_name_does_not_hide_the_parent() {
        assert_eq!(parent_in("12 (a) S 99 (b) S 7 12 12"), Some(7));
        assert_eq!(parent_in("12 (sh"), None);
    }
}
