//! The records and the directory that a gateway leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::Setup;

/// The user's state directory of a gateway.
pub fn state(setup: &Setup) -> PathBuf {
    setup.path().join(".local/state/tollgate")
}

/// All records of a store, as `audit log` tells them.
pub fn records(setup: &Setup, filter: &[&str]) -> Vec<Value> {
    let args = [&["audit", "log", "--json", "--limit", "100000"], filter].concat();
    let (status, stdout, stderr) = setup.run(&args);
    assert_eq!(status, 0, "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A store, all of it in its one file, as bytes.
pub fn contents(path: &Path) -> Vec<u8> {
    const SCRIPT: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('PRAGMA wal_checkpoint(TRUNCATE)')
db.close()";
    let mut python = Command::new("python3");
    assert!(python.args(["-c", SCRIPT, path.to_str().unwrap()]).status().unwrap().success());
    fs::read(path).unwrap()
}
