//! The rules of the house: the floors, what is absent from each room, sizes and names.
//!
//! Every rule reads `src` as tokens (`source.rs`): `use` trees, paths in the middle of code,
//! `super::super`, and paths inside macros and attributes count alike, and a re-export counts as
//! what it exports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::RegexBuilder;

use source::{File, Name, Source, files};

mod source;
mod words;

/// Floors from the ground up; modules on one floor meet only above it.
const FLOORS: [(&str, u8); 9] = [
    ("domain", 0),
    ("host", 1),
    ("ledger", 2),
    ("downstream", 2),
    ("gateway", 3),
    ("config", 4),
    ("serve", 4),
    ("app", 5),
    ("cli", 6),
];

/// A file of `src` longer than this needs another idea.
const LONGEST_FILE: usize = 450;

/// A function longer than this does more than one thing.
const LONGEST_FUNCTION: usize = 60;

/// Type names that stand for more than one type.
const MOST_SHARED_NAMES: usize = 10;

/// Words in the name of a test.
const LONGEST_CLAIM: usize = 9;

/// Who may name what: how paths begin, imports spelled out, and the files below `src` that may.
const RESERVED: [(&str, &[&str], &[&str]); 13] = [
    ("rmcp", &["rmcp"], &["serve/", "downstream/"]),
    ("reqwest", &["reqwest"], &["host/"]),
    ("rusqlite", &["rusqlite"], &["ledger/backends/sqlite"]),
    (
        "the clock",
        &[
            "std::time::SystemTime::now",
            "std::time::Instant::now",
            "tokio::time::Instant::now",
            "chrono::Utc::now",
        ],
        &["host/"],
    ),
    ("the environment", &["std::env"], &["host/"]),
    (
        "the file system",
        &["std::fs", "tokio::fs", "std::os::unix::fs"],
        &["host/", "config/", "ledger/"],
    ),
    ("randomness", &["getrandom", "rand", "uuid"], &["host/"]),
    (
        "standard output",
        &[
            "std::io::stdout",
            "std::io::Stdout",
            "tokio::io::stdout",
            "tokio::io::Stdout",
            "rustix::stdio::stdout",
        ],
        &["host/terminal", "cli/output", "serve/stdio"],
    ),
    ("tasks", &["tokio", "std::thread", "tokio_util", "futures_util"], NOT_DOMAIN),
    ("logging", &["tracing"], NOT_DOMAIN),
    (
        "sockets",
        &["std::net::TcpStream", "std::net::TcpListener", "std::net::UdpSocket", "tokio::net"],
        NOT_DOMAIN,
    ),
    ("child processes", &["std::process::Command", "tokio::process::Command"], &["host/"]),
    ("input and output", &["std::io"], NOT_DOMAIN),
];
const NOT_DOMAIN: &[&str] = &[
    "host/",
    "ledger/",
    "downstream/",
    "gateway/",
    "config/",
    "serve/",
    "app/",
    "cli/",
    "main",
    "lib",
];

/// The library; the binary reaches it as `tollgate`.
fn library() -> &'static Source {
    static LIBRARY: LazyLock<Source> = LazyLock::new(|| Source::read("src", "lib"));
    assert!(LIBRARY.files.len() > 80, "does this test still read the sources?");
    &LIBRARY
}

/// A file's path below `src`.
fn below(file: &File) -> &str {
    file.path.strip_prefix("src/").unwrap()
}

/// The first module below the crate that a path leads to.
fn room(path: &[String]) -> Option<&str> {
    match path {
        [root, room, ..] if root == "crate" => Some(room),
        _ => None,
    }
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Fails with every offence.
#[track_caller]
fn check(rule: &str, found: impl IntoIterator<Item = String>) {
    let found: BTreeSet<String> = found.into_iter().collect();
    assert!(found.is_empty(), "{rule}: {found:#?}");
}

#[test]
fn rooms_use_only_floors_below_their_own() {
    let source = library();
    let mut checked = 0;
    let mut found = Vec::new();
    for file in &source.files {
        for name in &file.names {
            let (Some(own), Some(used)) = (room(&name.module), room(&name.segments)) else {
                continue;
            };
            let owner =
                source.owner(&name.segments).and_then(|owner| room(&owner).map(str::to_owned));
            for used in
                [Some(used), owner.as_deref()].into_iter().flatten().filter(|used| *used != own)
            {
                checked += 1;
                let permitted =
                    matches!((floor(own), floor(used)), (Some(own), Some(used)) if used < own);
                if !permitted && own != "main" {
                    found.push(format!("{} uses {}", below(file), name.segments.join("::")));
                }
            }
        }
    }
    assert!(
        checked > 500,
        "only {checked} uses were found; does this test still read the sources?"
    );
    check("floors", found);
}

#[test]
fn every_file_belongs_to_a_floor() {
    let source = library();
    let lost = source.files.iter().map(below).filter(|path| {
        let room = path.split(['/', '.']).next().unwrap();
        floor(room).is_none() && !["lib", "main"].contains(&room)
    });
    check("rooms", lost.map(str::to_owned));
}

/// Siblings are the modules of one parent, each with all that is below it; the parent's own file is
/// none of them. A sibling uses another if any of its files names anything that the other defines,
/// tests left out. Three or more that reach each other in this way are a circle.
#[test]
fn siblings_form_no_circle_of_three() {
    let source = library();
    let mut uses: BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for name in source.files.iter().flat_map(|file| &file.names).filter(|name| !name.test) {
        let Some(owner) = source.owner(&name.segments) else { continue };
        let common = name.module.iter().zip(&owner).take_while(|(a, b)| a == b).count();
        if let (Some(from), Some(to)) = (name.module.get(common), owner.get(common)) {
            let siblings = uses.entry(name.module[..common].to_vec()).or_default();
            siblings.entry(from.clone()).or_default().insert(to.clone());
        }
    }
    assert!(uses.len() > 8, "only {} parents have siblings that use each other", uses.len());
    let mut found = BTreeSet::new();
    for (parent, uses) in &uses {
        let reach: BTreeMap<&String, BTreeSet<&String>> =
            uses.keys().map(|sibling| (sibling, reached(uses, sibling))).collect();
        for (sibling, others) in &reach {
            let back =
                |other: &&&String| reach.get(**other).is_some_and(|back| back.contains(sibling));
            let mut circle: Vec<&str> =
                others.iter().filter(back).map(|other| other.as_str()).collect();
            circle.sort_unstable();
            if circle.len() > 2 {
                let inside = |to: &&String| circle.contains(&to.as_str());
                let ways = circle.iter().map(|from| {
                    let to: Vec<&String> = uses[*from].iter().filter(inside).collect();
                    format!("{from} uses {to:?}")
                });
                let ways: Vec<String> = ways.collect();
                found.insert(format!("{}: {}", parent.join("::"), ways.join("; ")));
            }
        }
    }
    check("circles", found);
}

/// All that a sibling uses, directly or through others; itself, if a way leads back.
fn reached<'a>(uses: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&String> = uses.get(from).into_iter().flatten().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(uses.get(next).into_iter().flatten());
        }
    }
    found
}

#[test]
fn reserved_names_stay_in_their_rooms() {
    let source = library();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (what, marks, rooms) in RESERVED {
        for file in &source.files {
            for name in file
                .names
                .iter()
                .filter(|name| !name.test && marks.iter().any(|mark| begins(name, mark)))
            {
                *seen.entry(what).or_default() += 1;
                if !rooms.iter().any(|room| below(file).starts_with(room)) {
                    found.push(format!(
                        "{what}: {} names {}",
                        below(file),
                        name.segments.join("::")
                    ));
                }
            }
        }
    }
    for (what, ..) in RESERVED.iter().filter(|(what, ..)| *what != "sockets") {
        assert!(
            seen.contains_key(what),
            "no file names {what}; does this test still read the sources?"
        );
    }
    check("reserved", found);
}

/// Whether a path begins with these words.
fn begins(name: &Name, mark: &str) -> bool {
    format!("{}::", name.segments.join("::")).starts_with(&format!("{mark}::"))
}

#[test]
fn domain_is_not_async() {
    let source = files("src/domain", &[".rs"]);
    let waits = |text: &str| text.contains("async fn") || text.contains(".await");
    check("async", source.into_iter().filter(|(_, text)| waits(text)).map(|(path, _)| path));
}

#[test]
fn only_the_printer_prints() {
    const PRINTS: [&str; 4] = ["print", "println", "eprint", "eprintln"];
    let source = library();
    let found = source.files.iter().flat_map(|file| {
        let prints = |name: &&Name| {
            !name.test && name.segments.last().is_some_and(|last| PRINTS.contains(&last.as_str()))
        };
        file.macros
            .iter()
            .filter(prints)
            .map(|name| format!("{} has {}!", below(file), name.segments.join("::")))
    });
    check("printing", found);
}

#[test]
fn files_and_functions_stay_short() {
    let source = library();
    let mut found = Vec::new();
    let mut functions = 0;
    for file in &source.files {
        if file.lines > LONGEST_FILE {
            found.push(format!("{} is too long", below(file)));
        }
        functions += file.functions.len();
        let long = file.functions.iter().filter(|function| function.lines > LONGEST_FUNCTION);
        found.extend(
            long.map(|function| format!("{}: fn {} is too long", below(file), function.name)),
        );
    }
    assert!(functions > 1_000, "only {functions} functions were found");
    check("sizes", found);
}

#[test]
fn bounds_stand_where_the_table_says() {
    let page = std::fs::read_to_string("docs/security.md").unwrap();
    let (_, bounds) = page.split_once("\n## Bounds\n").unwrap();
    let table = bounds.split("\n## ").next().unwrap();
    let mut found = 0;
    for row in table.lines().filter(|line| line.starts_with('|')) {
        let place = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let mut source = String::new();
        for name in place.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                source = std::fs::read_to_string(format!("src/{name}")).unwrap();
                continue;
            }
            assert!(source.contains(&format!("const {name}: ")), "{name} of {row}");
            found += 1;
        }
    }
    assert!(found > 40, "only {found} bounds are in the table");
}

#[test]
fn a_type_name_has_one_meaning() {
    let source = library();
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in &source.files {
        for name in &file.types {
            places.entry(name).or_default().push(below(file));
        }
    }
    assert!(places.len() > 200, "only {} types were found", places.len());
    let shared: BTreeMap<_, _> =
        places.into_iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(
        shared.len() <= MOST_SHARED_NAMES,
        "{} names for several types: {shared:#?}",
        shared.len()
    );
}

#[test]
fn retired_names_stay_retired() {
    let source = library();
    let mut found = Vec::new();
    for file in &source.files {
        let types = file.types.iter().filter(|name| words::RETIRED_TYPES.contains(&name.as_str()));
        found.extend(types.map(|name| format!("{}: type {name}", below(file))));
        let names = file.functions.iter().map(|function| function.name.as_str());
        let functions = names.filter(|name| {
            words::RETIRED_FUNCTIONS
                .iter()
                .any(|(place, retired)| name == retired && below(file).starts_with(place))
        });
        found.extend(functions.map(|name| format!("{}: fn {name}", below(file))));
    }
    check("retired", found);
}

#[test]
fn retired_idioms_stay_retired() {
    let mut faults = Vec::new();
    let texts = readable();
    for (idiom, instead) in words::IDIOMS {
        let regex = RegexBuilder::new(idiom).case_insensitive(true).build().unwrap();
        let found: Vec<String> = texts
            .iter()
            .flat_map(|(path, text)| {
                let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
                regex
                    .find_iter(text)
                    .map(move |found| {
                        format!("{path}:{}: {}", line(found.start()), found.as_str().trim())
                    })
                    .collect::<Vec<_>>()
            })
            .collect();
        if !found.is_empty() {
            faults.push(format!(
                "`{idiom}` {} times; write: {instead}\n{}",
                found.len(),
                found.join("\n")
            ));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Everything that people read, but for the changelog and the list of idioms.
fn readable() -> Vec<(String, String)> {
    const PLACES: [&str; 8] =
        ["src", "docs", "tests/it", "scripts", "benches", "config", "agents", "README.md"];
    let texts = PLACES.iter().flat_map(|place| files(place, &[]));
    let texts: Vec<_> = texts
        .filter(|(path, _)| {
            !path.starts_with("tests/it/architecture/") && !path.starts_with("tests/it/data/")
        })
        .collect();
    assert!(texts.len() > 250, "only {} texts were found", texts.len());
    texts
}

#[test]
fn test_modules_share_only_support() {
    let source = Source::read("tests/it", "main");
    let mut found = Vec::new();
    for file in &source.files {
        for name in &file.names {
            let (Some(own), Some(used)) = (room(&name.module), room(&name.segments)) else {
                continue;
            };
            if used != own && used != "support" && !name.module.is_empty() {
                found.push(format!("{} uses {}", file.path, name.segments.join("::")));
            }
        }
    }
    check("test modules", found);
}

#[test]
fn test_names_are_short_claims() {
    let tests = Source::read("tests/it", "main");
    let found = tests.files.iter().chain(&library().files).flat_map(|file| {
        let tests = file.functions.iter().filter(|function| function.is_test);
        let long = tests.filter(|test| test.name.split('_').count() > LONGEST_CLAIM);
        long.map(|test| format!("{}: {}", file.path, test.name)).collect::<Vec<_>>()
    });
    check("claims", found);
}
