//! The client scenarios of the official conformance suite: what a server sees of the gateway.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{clients, tollgate};

/// Every scenario for clients, at every revision that it knows. Left out are those of `auth/*`,
/// which ask for a browser, and those of extensions, which are about skills.
const SCENARIOS: [(&str, &[&str]); 11] = [
    ("initialize", &["2025-06-18", "2025-11-25"]),
    ("tools_call", &["2025-06-18", "2025-11-25", "2026-07-28"]),
    ("elicitation-sep1034-client-defaults", &["2025-11-25"]),
    ("sse-retry", &["2025-11-25"]),
    ("json-schema-2020-12-preservation", &["2025-11-25", "2026-07-28"]),
    ("request-metadata", &["2026-07-28"]),
    ("sep-2322-client-request-state", &["2026-07-28"]),
    ("http-standard-headers", &["2026-07-28"]),
    ("http-custom-headers", &["2026-07-28"]),
    ("http-invalid-tool-headers", &["2026-07-28"]),
    ("json-schema-ref-no-deref", &["2026-07-28"]),
];

#[test]
fn conformance_suite_passes_for_servers_of_any_revision() {
    let mut failed = Vec::new();
    for (scenario, versions) in SCENARIOS {
        for version in versions {
            match run(scenario, version) {
                Ok(passed) => eprintln!("{scenario} at {version}: {passed} checks passed"),
                Err(report) => failed.push(format!("=== {scenario} at {version}\n{report}")),
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn no_scenario_of_the_suite_is_overlooked() {
    let out = suite(&["list"]);
    let listed = String::from_utf8_lossy(&out.stdout).into_owned();
    let clients = listed.split("Client scenarios").nth(1).unwrap();
    let clients = clients.split("Authorization server scenarios").next().unwrap();
    let found: Vec<(&str, &str)> = clients
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ")?.split_once(" ["))
        .filter(|(name, versions)| !name.starts_with("auth/") && *versions != "extension]")
        .collect();
    let ours: Vec<(&str, String)> = SCENARIOS
        .iter()
        .map(|(name, versions)| (*name, format!("{}]", versions.join(","))))
        .collect();
    for (name, versions) in &found {
        assert!(
            ours.iter().any(|own| own == &(*name, (*versions).to_owned())),
            "{name} {versions}"
        );
    }
    assert_eq!(found.len(), ours.len());
}

/// How many checks passed, if none failed and none warned; else all that was said.
fn run(scenario: &str, version: &str) -> Result<usize, String> {
    // The suite splits its command at blanks, so there is no path in it.
    let client = ["client", "--verbose", "--command", "python3 conformance_client.py"];
    let out = suite(&[&client[..], &["--scenario", scenario, "--spec-version", version]].concat());
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    let said = || format!("{stderr}\n{}", String::from_utf8_lossy(&out.stdout));
    let checks: Vec<Value> = serde_json::from_slice(&out.stdout).map_err(|_| said())?;
    let with = |status: &str| checks.iter().filter(|check| check["status"] == status).count();
    let (passed, bad) = (with("SUCCESS"), with("FAILURE") + with("WARNING"));
    // A scenario that was skipped, or never reached, ends well and shows nothing.
    if out.status.success() && bad == 0 && passed > 0 { Ok(passed) } else { Err(said()) }
}

fn suite(args: &[&str]) -> std::process::Output {
    let bin = clients().join("node_modules/.bin");
    Command::new(bin.join("node"))
        .arg(bin.join("conformance"))
        .args(args)
        .current_dir(clients())
        .env("TOLLGATE", tollgate())
        .env_remove("GATEWAY_DEFAULT_AGENT")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}
