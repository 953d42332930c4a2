//! Secrets are compared in constant time, or not at all: how long a refusal takes must not tell how
//! much of a guess was right. This reads the sources; `timing` by measurement would prove nothing.

use std::{collections::BTreeSet, fs, path::Path};

/// Types that hold a secret's bytes, or what is kept of one, by the files they are in. None may
/// derive a comparison, which would stop at the first byte that differs, nor `Debug`. What holds a
/// `SecretString` is left to that type, which has neither a comparison nor a telling `Debug`.
const SECRET_TYPES: [(&str, &str); 6] = [
    ("domain/keyed", "Key"),
    ("domain/auth", "ApiKey"),
    ("domain/token", "Token"),
    ("domain/token", "TokenKeys"),
    ("domain/token", "Header"),
    ("domain/token", "Sealed"),
];

/// Those that are here today; a rename must be followed in the list above.
const THERE: [&str; 2] = ["Key", "ApiKey"];

/// A name in an expression that stands for a secret, wherever it is.
const EVERYWHERE: [&str; 1] = ["expose_secret"];

/// Names that stand for one in these files, where tags and digests are made and checked.
const GUARDED: [(&str, &[&str]); 8] = [
    ("domain/auth.rs", NAMES),
    ("domain/token.rs", NAMES),
    ("domain/token/", NAMES),
    ("domain/stamp.rs", NAMES),
    ("domain/keyed.rs", NAMES),
    ("domain/delegation.rs", NAMES),
    ("config/auth.rs", NAMES),
    ("cli/keys.rs", NAMES),
];
const NAMES: &[&str] = &["tag", "mac", "digest", "signature", "secret", "handle", "principal"];

/// Lines of a file that compare a secret, or give one away; each with why.
fn faults(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let guarded = GUARDED.iter().filter(|(file, _)| path.starts_with(file) || path == *file);
    let names: BTreeSet<&str> =
        guarded.flat_map(|(_, names)| *names).chain(&EVERYWHERE).copied().collect();
    let compared = code.lines().filter(|line| {
        let sides = sides(line);
        sides.iter().any(|side| words(side).any(|word| names.contains(word)))
    });
    let compared = compared.map(|line| format!("{path} compares a secret: {}", line.trim()));
    compared.chain(derived(path, &code)).collect()
}

/// Code without comments and without its tests, which may compare as they please.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let kept = |line: &&str| !line.trim_start().starts_with("//");
    let lines = text.lines().filter(kept).collect::<Vec<_>>().join("\n");
    // A comparison that is broken into lines is one.
    let mut whole = String::new();
    for line in lines.lines() {
        let goes_on =
            ["== ", "!= ", ".eq(", ".ne("].iter().any(|op| line.trim_start().starts_with(op));
        match goes_on {
            true => whole.push_str(if line.trim_start().starts_with('.') { "" } else { " " }),
            false => whole.push('\n'),
        }
        whole.push_str(if goes_on { line.trim_start() } else { line });
    }
    whole
}

/// What stands beside `==`, `!=` or in a call that compares, up to the next boundary.
fn sides(line: &str) -> Vec<String> {
    const BOUNDARIES: [&str; 6] = ["&&", "||", "{", "}", ";", ","];
    const COMPARES: [&str; 7] =
        [" == ", " != ", ".eq(", ".ne(", ".contains(", ".cmp(", "assert_eq!"];
    let mut pieces = vec![line.to_owned()];
    for boundary in BOUNDARIES {
        pieces = pieces.iter().flat_map(|p| p.split(boundary)).map(str::to_owned).collect();
    }
    pieces.retain(|piece| COMPARES.iter().any(|compare| piece.contains(compare)));
    pieces
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Secret types that derive what they must not.
fn derived(path: &str, code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, derives) in types(code) {
        if !SECRET_TYPES.iter().any(|(file, secret)| path.starts_with(file) && *secret == name) {
            continue;
        }
        let has = |derive: &str| words(derives).any(|word| word == derive);
        let derives =
            ["PartialEq", "PartialOrd", "Ord", "Hash", "Debug"].into_iter().filter(|d| has(d));
        found.extend(derives.map(|derive| format!("{path}: {name} derives {derive}")));
    }
    found
}

/// Structs and enums, each with its derives.
fn types(code: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut derives = "";
    for line in code.split("\n").map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[derive(") {
            derives = rest;
        } else if let Some((_, rest)) =
            line.split_once("struct ").or_else(|| line.split_once("enum "))
        {
            found.extend(words(rest).next().map(|name| (name, derives)));
            derives = "";
        } else if !line.starts_with("#[") {
            derives = "";
        }
    }
    found
}

fn sources() -> Vec<(String, String)> {
    fn collect(dir: &Path, root: &Path, into: &mut Vec<(String, String)>) {
        for path in fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                collect(&path, root, into);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            into.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found
}

#[test]
fn no_secret_is_compared_but_in_constant_time() {
    let sources = sources();
    let found: Vec<String> = sources.iter().flat_map(|(path, text)| faults(path, text)).collect();
    assert!(found.is_empty(), "{found:#?}");
    for file in ["domain/auth.rs", "domain/keyed.rs", "domain/token.rs", "domain/stamp.rs"] {
        let there = sources
            .iter()
            .any(|(path, _)| path == file || path.starts_with(&file.replace(".rs", "/")));
        assert!(there, "{file} is guarded here and is gone: follow it");
    }
    let types: BTreeSet<&str> =
        sources.iter().flat_map(|(_, text)| types(text)).map(|(name, _)| name).collect();
    for name in THERE {
        assert!(types.contains(name), "{name} is guarded here and is gone: follow it");
    }
}

#[test]
fn a_comparison_that_is_planted_is_found() {
    for (path, line) in [
        ("gateway/request.rs", "if shown.expose_secret() == kept.expose_secret() {"),
        ("gateway/request.rs", "let right = kept.expose_secret().eq(shown);"),
        ("gateway/request.rs", "let right = kept.iter().any(|key| key.expose_secret() != shown);"),
        ("domain/auth.rs", "let found = keys.iter().find(|key| key.digest == digest);"),
        ("domain/auth.rs", "if self.digest.eq(&other.digest) {"),
        ("domain/auth.rs", "ok && self.digest == other.digest && more"),
        ("domain/token.rs", "if tag != made {"),
        ("domain/token.rs", "let right = last(self.tag)\n    == made(of, all, caveats);"),
        ("domain/token.rs", "let right = self.tag\n    .eq(made);"),
        ("domain/token/read.rs", "if made == self.tag {"),
        ("domain/stamp.rs", "Ok(()) if key.mac(text) == shown => true,"),
        ("domain/keyed.rs", "self.mac(text) == digest"),
        ("cli/keys.rs", "if secret == other {"),
        ("domain/auth.rs", "#[derive(Clone, PartialEq)]\npub struct ApiKey {"),
        ("domain/keyed.rs", "#[derive(Clone, Debug)]\npub struct Key([u8; 32]);"),
        ("domain/token.rs", "#[derive(Clone, Hash)]\n#[serde(default)]\npub struct Token {"),
    ] {
        let found = faults(path, line);
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
    }
}

#[test]
fn what_is_no_comparison_of_secrets_is_left_alone() {
    for (path, line) in [
        ("gateway/request.rs", "if kept.expose_secret().as_bytes().ct_eq(shown).into() {"),
        ("domain/keyed.rs", "mac.verify_slice(digest).is_ok()"),
        ("domain/auth.rs", "if key.id == id && key.is_of(&digest) {"),
        ("domain/auth.rs", "other.is_of(digest) && id == other.id"),
        ("domain/token.rs", "// tag == tag"),
        ("gateway/resolve.rs", "if digest == other {"),
        ("domain/token.rs", "#[derive(Clone, PartialEq, Debug)]\npub struct TokenId(u128);"),
        ("domain/auth.rs", "#[cfg(test)]\nmod tests {\n  assert_eq!(digest, other);"),
    ] {
        assert_eq!(faults(path, line), Vec::<String>::new(), "{line}");
    }
}
