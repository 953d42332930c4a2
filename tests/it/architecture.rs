//! The floors of the house, and what is absent from each.

use std::{
    fs,
    path::{Path, PathBuf},
};

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

/// A file longer than this needs another idea.
const LONGEST_FILE: usize = 500;

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(dir: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => collect(&path, into),
                false => into.push((path.clone(), fs::read_to_string(&path).unwrap())),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_owned();
    found.into_iter().map(|(path, text)| (relative(path), text)).collect()
}

/// The module directly below the crate that a file belongs to.
fn module(path: &Path) -> String {
    path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// Code without comments; a text in a string is close enough to code here.
fn code(text: &str) -> String {
    let kept = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(kept).collect::<Vec<_>>().join("\n")
}

/// The modules that `crate::…` paths lead to: `crate::a`, `crate::{a::b, c}`.
fn uses(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = code.split_at(at + "crate::".len()).1;
        let Some(group) = rest.strip_prefix('{') else {
            found.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut begin = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => begin = true,
                c if begin && c.is_alphabetic() => {
                    found.push(word(group.split_at(i).1));
                    begin = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn a_module_uses_only_floors_below_its_own() {
    let mut checked = 0;
    for (path, text) in sources() {
        let Some(own) = floor(&module(&path)) else { continue };
        for used in uses(&code(&text)) {
            let Some(other) = floor(&used) else { panic!("{}: crate::{used}?", path.display()) };
            let allowed = other < own || used == module(&path);
            assert!(allowed, "{} is on floor {own} and uses {used}, floor {other}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 30, "only {checked} uses were found; does this test still read the sources?");
}

#[test]
fn every_module_has_its_floor() {
    for (path, _) in sources() {
        let module = module(&path);
        let known = floor(&module).is_some() || ["lib", "main"].contains(&module.as_str());
        assert!(known, "{} belongs to no floor", path.display());
    }
}

#[test]
fn domain_has_no_clock_no_io_and_no_async() {
    const ABSENT: [&str; 12] = [
        "tokio", "rmcp", "tracing", "std::fs", "std::net", "std::env", "fs::", "env::", "async fn",
        ".await", "::now()", "std::io",
    ];
    let domain = sources().into_iter().filter(|(path, _)| module(path) == "domain");
    for (path, text) in domain {
        let code = code(&text);
        for absent in ABSENT {
            assert!(!code.contains(absent), "{} has `{absent}`", path.display());
        }
    }
}

#[test]
fn rmcp_is_named_only_at_the_edges() {
    for (path, text) in sources() {
        let allowed = ["serve", "downstream"].contains(&module(&path).as_str());
        assert!(allowed || !code(&text).contains("rmcp::"), "{} names rmcp", path.display());
    }
}

#[test]
fn standard_output_belongs_to_the_protocol() {
    for (path, text) in sources() {
        let code = code(&text);
        let printer = path.ends_with("cli/output.rs");
        assert!(printer || !code.contains("io::stdout()"), "{} writes to stdout", path.display());
    }
}

#[test]
fn files_stay_short() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LONGEST_FILE, "{} has {lines} lines", path.display());
    }
}
