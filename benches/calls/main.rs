//! What a call costs in time through Tollgate, beside a direct call and a bare pass-through. Run
//! with `cargo bench --bench calls`; `docs/benchmarks.md` says what the figures mean.
//!
//! The one binary plays every part, chosen by its first argument, so nothing else must be built:
//!
//! - [`echo`]: the server behind everything, as fast as it can be.
//! - [`pass`]: the bare pass-through, the simplest thing to write with rmcp.
//! - the driver: [`client`] speaks to a [`way`] to the server, [`load`] puts calls on all of them in
//!   turns, [`start`] measures starts and memory.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that fails may panic, and prints what it measured"
)]

mod client;
mod echo;
mod load;
mod pass;
mod start;
mod way;

use std::{env, fs, path::Path, thread};

use sha2::{Digest, Sha256};
use way::{Rival, Way};

const USAGE: &str = "usage: cargo bench --bench calls -- [--quick] [--rounds N] [--stateless] \
                     [--against TOLLGATE_BINARY] [OTHER_TOLLGATE_BINARY | OTHER_GATEWAY]...";

/// The era of MCP that is spoken on both sides of what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    /// Up to 2025-11-25.
    Handshake,
    /// 2026-07-28.
    Stateless,
}

impl Era {
    const STATELESS: &str = "stateless";

    fn of(arguments: &[String]) -> Self {
        match arguments.iter().any(|argument| argument.trim_start_matches('-') == Self::STATELESS) {
            true => Self::Stateless,
            false => Self::Handshake,
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Handshake => "2025-11-25",
            Self::Stateless => "2026-07-28",
        }
    }

    /// As an argument of [`echo`] and [`pass`].
    fn argument(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Stateless => Self::STATELESS,
        }
    }
}

/// What to measure, and how often.
#[derive(Debug)]
struct Plan {
    era: Era,
    rounds: usize,
    /// A tenth of the calls and few rounds: shows that everything runs, the figures mean little.
    quick: bool,
    /// Whether this build is compared with one other binary, and nothing else is measured but what
    /// both are compared with.
    against: bool,
    /// Paths of other Tollgate binaries, and names or paths of other gateways.
    others: Vec<String>,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(echo::ROLE) => echo::serve(Era::of(&arguments)),
        Some(pass::ROLE) => pass::serve(Era::of(&arguments), &arguments),
        _ => drive(&plan(&arguments)),
    }
}

fn plan(arguments: &[String]) -> Plan {
    let others = Vec::new();
    let mut plan =
        Plan { era: Era::of(arguments), rounds: 0, quick: false, against: false, others };
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(argument) = rest.next() {
        match argument {
            // Cargo's own, and what is read above.
            "--bench" | "--stateless" => {}
            "--quick" => plan.quick = true,
            "--rounds" => match rest.next().and_then(|n| n.parse().ok()) {
                Some(rounds) => plan.rounds = rounds,
                None => usage(),
            },
            "--against" => match rest.next() {
                Some(binary) => {
                    plan.against = true;
                    plan.others.push(binary.to_owned());
                }
                None => usage(),
            },
            option if option.starts_with('-') => usage(),
            other => plan.others.push(other.to_owned()),
        }
    }
    if plan.rounds == 0 {
        plan.rounds = if plan.quick { 3 } else { 15 };
    }
    plan
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    std::process::exit(2)
}

fn drive(plan: &Plan) {
    let dir = tempfile::tempdir().unwrap();
    let mut ways = if plan.against { Way::compared() } else { Way::standard() };
    let mut binaries = vec![way::OURS.to_owned()];
    for other in &plan.others {
        match Rival::named(other) {
            Some(rival) => ways.extend(rival.way()),
            None => {
                ways.push(Way::tollgate(other));
                binaries.push(other.clone());
            }
        }
    }
    if !plan.against {
        for rival in Rival::known(&plan.others) {
            ways.extend(rival.way());
        }
    }
    println!("\nMachine: {}. Load before: {}.", machine(), load_average());
    println!("MCP {} on both sides, medians of {} rounds.", plan.era.version(), plan.rounds);
    let before = digests(&binaries);
    for (binary, digest) in binaries.iter().zip(&before) {
        println!("`{}` is {digest}.", file_name(binary));
    }
    println!();
    load::measure(plan, &ways, dir.path());
    start::measure(plan, &binaries);
    // The next build of this target directory puts another file in its place.
    assert_eq!(before, digests(&binaries), "a binary was replaced meanwhile; the figures are void");
    println!("Load after: {}.", load_average());
}

/// What tells two builds apart that have one name.
fn digests(binaries: &[String]) -> Vec<String> {
    let digest = |binary: &String| {
        let digest = Sha256::digest(fs::read(binary).unwrap());
        digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    };
    binaries.iter().map(digest).collect()
}

fn machine() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", model.map_or("of a kind unknown", |(_, model)| model))
}

fn load_average() -> String {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The last part of a path, to name a binary by.
fn file_name(path: &str) -> String {
    Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The value in the middle.
fn median<T: PartialOrd + Copy>(mut all: Vec<T>) -> T {
    all.sort_by(|a, b| a.partial_cmp(b).unwrap());
    all[all.len() / 2]
}
