//! The Python drivers that kill gateways.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::support::tollgate;

/// How long a hold stays open whose gateway is gone, in milliseconds.
pub const LIFETIME: i64 = 60_000;

/// What a driver told, in which nothing may be amiss.
pub fn driver_of(name: &str, what: &str, dir: &Path, args: &[&str]) -> Value {
    let script = format!("{}/tests/it/{name}", env!("CARGO_MANIFEST_DIR"));
    let out = Command::new("python3")
        .args([&script, what, dir.to_str().unwrap(), "--binary", tollgate()])
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    let told: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{stderr}"));
    eprintln!("{told}");
    assert_eq!(told["faults"].as_array().map(Vec::len), Some(0), "{stderr}{told:#}");
    told
}
