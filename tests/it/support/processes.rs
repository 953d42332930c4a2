//! Processes as the system shows them: signals, children, memory.

use std::{fs, process::Command, time::Duration};

use crate::support::within;

#[track_caller]
pub fn all_gone(pids: &[u32], deadline: Duration) {
    let left = || pids.iter().copied().filter(|&pid| lives(pid)).collect::<Vec<_>>();
    assert!(within(deadline, || left().is_empty()), "still there: {:?}", left());
}

/// More than a gateway needs, less than one that hoards.
pub const MODEST_MIB: u64 = 300;

pub fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {signal} {pid}");
}

/// Every process below `pid`, itself left out.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found.split_off(1)
}

pub fn children(pid: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_whitespace();
        let dead = fields.next() == Some("Z");
        !dead && fields.next() == Some(&pid.to_string())
    })
    .collect()
}

/// Whether a process lives; a zombie does not.
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() / 1024
}

/// The most memory that a process has used, in KiB.
pub fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}
