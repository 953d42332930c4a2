//! A second process on one store: the test binary started again.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tollgate::{
    host::clock::wall_clock,
    ledger::sqlite::{Sqlite, StoreLocation},
};

pub fn child(test: &str, dir: &Path, wrap: &[&str]) -> Command {
    another_process(&format!("store_processes::{test}"), dir, wrap)
}

/// This binary again, as another process that runs one of the `as_a_child` tests.
pub fn another_process(test: &str, dir: &Path, wrap: &[&str]) -> Command {
    let me = std::env::current_exe().unwrap();
    let mut words = wrap.to_vec();
    words.push(me.to_str().unwrap());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args([test, "--exact", "--nocapture"]);
    command.env("TOLLGATE_CHILD", dir).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command
}

pub fn as_a_child() -> Option<PathBuf> {
    std::env::var_os("TOLLGATE_CHILD").map(PathBuf::from)
}

/// What a child says, a line each, after the word that marks it.
pub fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map_while(Result::ok).filter_map(|line| {
        // The harness may have begun the line.
        line.split_once("said ").map(|(_, said)| said.to_owned())
    })
}

pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "said {text}").unwrap();
    out.flush().unwrap();
}

/// Ids that no other process uses.
pub fn own_ids() -> impl Iterator<Item = u128> {
    let process = u128::from(std::process::id()) << 64;
    (0..).map(move |n| process | n)
}

pub fn shared(dir: &Path) -> Sqlite {
    let (path, keys) = (dir.join("ledger.db"), Some(dir.to_owned()));
    Sqlite::new(StoreLocation { path, keys, durability: Default::default() }, wall_clock())
}
