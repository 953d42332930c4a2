//! Secrets are compared in constant time, or not at all: how long a refusal takes must not tell how
//! much of a guess was right. The compiler says which types have a comparison; where bytes of a
//! secret stand beside `==`, the sources are read. `timing` by measurement would prove nothing.

use std::{collections::BTreeSet, fs, marker::PhantomData, path::Path};

use secrecy::{ExposeSecret as _, SecretString};
use tollgate::domain::{
    auth::ApiKey,
    keyed::Key,
    token::{Token, TokenId, TokenKeys},
};

use crate::support::tokens::{key, keys};

/// Whether a type has a trait, as the compiler knows: the constant of `Probe` hides that of
/// `Otherwise` where the bound holds.
macro_rules! has {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code, reason = "one of the two constants is hidden")]
        trait Otherwise {
            const HAS: bool = false;
        }
        #[allow(dead_code, reason = "only its constant is used")]
        struct Probe<T: ?Sized>(PhantomData<T>);
        impl<T: ?Sized> Otherwise for Probe<T> {}
        #[allow(dead_code, reason = "one of the two constants is hidden")]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const HAS: bool = true;
        }
        Probe::<$type>::HAS
    }};
}

/// Does not compile if a type that holds a secret can be compared, ordered, hashed or displayed.
macro_rules! keeps_its_secret {
    ($($type:ty),+) => {$(
        const _: () = assert!(!has!($type: PartialEq), "a secret has `==`");
        const _: () = assert!(!has!($type: PartialOrd), "a secret has `<`");
        const _: () = assert!(!has!($type: std::hash::Hash), "a secret has a hash");
        const _: () = assert!(!has!($type: std::fmt::Display), "a secret is displayed");
    )+};
}

keeps_its_secret!(Key, Token, TokenKeys, SecretString);
// Its own `==` takes constant time (`tests` of domain/auth), and its `Debug` leaves the digest out.
const _: () = assert!(!has!(ApiKey: PartialOrd), "an API key has `<`");
const _: () = assert!(!has!(ApiKey: std::hash::Hash), "an API key has a hash");

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
    compared.collect()
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
        ("domain/auth.rs", "#[cfg(test)]\nmod tests {\n  assert_eq!(digest, other);"),
    ] {
        assert_eq!(faults(path, line), Vec::<String>::new(), "{line}");
    }
}

#[test]
fn compiler_tells_which_types_are_compared() {
    #[derive(PartialEq)]
    struct Derived([u8; 32]);
    struct Neither([u8; 32]);
    assert!(has!(Derived: PartialEq) && has!([u8; 32]: PartialEq) && has!(ApiKey: PartialEq));
    assert!(!has!(Neither: PartialEq) && !has!(Derived: PartialOrd));
    assert_eq!((Derived([0; 32]).0, Neither([0; 32]).0), ([0; 32], [0; 32]));
}

#[test]
fn debug_output_holds_no_secret() {
    let key = key();
    let token = Token::mint(&keys(), true, TokenId(7), "b1", &[]).unwrap();
    for shown in [format!("{key:?}"), format!("{:?}", keys()), format!("{token:?}")] {
        // Bytes would be printed as a list, in hexadecimal or in base64: all are longer.
        assert!(shown.len() < 48 && !shown.contains('['), "{shown}");
        assert!(!token.text().expose_secret().contains(&shown), "{shown}");
    }
}
