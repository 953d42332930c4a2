//! Settings that do not load, and the faults that `check` prints of them.

use std::fs;

use serde_json::json;

use crate::support::Setup;

/// Line and column of the first `needle`, as faults give them.
pub fn position(text: &str, needle: &str) -> String {
    let (before, _) = text.split_once(needle).unwrap_or_else(|| panic!("no {needle} in {text}"));
    let line = before.rsplit('\n').next().unwrap();
    format!("{}:{}", before.matches('\n').count() + 1, line.chars().count() + 1)
}

/// What `check` prints of settings that do not load, one line per fault.
pub fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let setup = Setup::new(json!({}), None);
    for (file, text) in files {
        fs::write(setup.path().join(file), text).unwrap();
    }
    let (status, stdout, stderr) = setup.run(&["check"]);
    assert_eq!((status, stderr.as_str()), (2, ""), "{files:?}: {stdout}");
    let lines = stdout.lines().filter(|line| !line.starts_with("  sound "));
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    let count = lines.len() - 1;
    let plural = if count == 1 { "" } else { "s" };
    assert_eq!(lines.pop(), Some(format!("{count} fault{plural} found")));
    lines
}

/// One fault, and no other, where `at` stands in the file.
pub fn check(file: &str, text: &str, at: &str, says: &str) {
    let lines = faults(&[(file, text)]);
    let [line] = lines.as_slice() else { panic!("{text}: {lines:#?}") };
    let place = format!("/{file}:{}: ", position(text, at));
    assert!(line.contains(&place), "{place}: {line}");
    assert!(line.contains(says), "{says}: {line}");
}

/// `@` stands before what the fault is about.
#[track_caller]
pub fn check_each(cases: &[(&str, &str)]) {
    for (marked, says) in cases {
        let (before, after) = marked.split_once('@').unwrap();
        let text = format!("{before}{after}");
        let lines = faults(&[("gateway.yaml", &text)]);
        let [line] = lines.as_slice() else { panic!("{text}: {lines:#?}") };
        let place = format!("/gateway.yaml:{}: ", position(marked, "@"));
        assert!(line.contains(&place), "{place}: {line}");
        assert!(line.contains(says), "{says}: {line}");
    }
}
