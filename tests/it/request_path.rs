//! The hops of a call in `docs/request-path.md` are those of the source.

use std::{collections::BTreeSet, fs, path::Path};

/// More files than this are too many to follow one call through.
const MOST_FILES: usize = 35;

/// A step of the path: a function, and the one that calls it.
struct Hop {
    depth: usize,
    file: String,
    function: String,
}

/// The hops that the page lists, as `- file: function` in a tree: whatever calls a hop stands above it,
/// one level further out.
fn hops() -> Vec<Hop> {
    let page = read("docs/request-path.md");
    let section = page.split("\n## From standard input to the server\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let hop = |line: &str| {
        let item = line.trim_start();
        let (file, rest) = item.strip_prefix("- `")?.split_once("`: `")?;
        let (function, _) = rest.split_once('`')?;
        let depth = (line.len() - item.len()) / 2;
        Some(Hop { depth, file: file.to_owned(), function: function.to_owned() })
    };
    section.lines().filter_map(hop).collect()
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn names(text: &str, function: &str) -> bool {
    text.match_indices(function).any(|(at, _)| {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let before = text.split_at(at).0.chars().next_back();
        let after = text.split_at(at + function.len()).1.chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn code(file: &str) -> String {
    let text = read(file);
    let kept = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(kept).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_hop_is_defined_where_the_page_says() {
    for Hop { file, function, .. } in hops() {
        let defined = [format!("fn {function}("), format!("fn {function}<")];
        let code = code(&file);
        assert!(defined.iter().any(|head| code.contains(head)), "{file} has no fn {function}");
    }
}

#[test]
fn every_hop_is_called_by_the_one_above() {
    let hops = hops();
    for (index, hop) in hops.iter().enumerate() {
        let Some(caller) = hops[..index].iter().rev().find(|above| above.depth < hop.depth) else {
            assert_eq!(index, 0, "{} `{}` has no caller", hop.file, hop.function);
            continue;
        };
        let code = code(&caller.file);
        let called = code.replace(&format!("fn {}", hop.function), "");
        assert!(names(&called, &hop.function), "{} does not call `{}`", caller.file, hop.function);
    }
}

#[test]
fn a_call_visits_few_files() {
    let files: BTreeSet<String> = hops().into_iter().map(|hop| hop.file).collect();
    assert!(files.len() > 15, "only {} files: does this test still read the page?", files.len());
    assert!(files.len() <= MOST_FILES, "{} files: {files:#?}", files.len());
}
