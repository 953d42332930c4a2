//! From the start of the process to its answer to `initialize`, and the memory that it holds: then,
//! and after it has shown tools.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use super::{
    Era, Plan,
    client::Client,
    file_name, median,
    way::{SERVERS, Way, write_settings},
};

/// Measures and prints the table. Always in the era of handshakes, which is what is timed.
pub(super) fn measure(plan: &Plan, binaries: &[String]) {
    let starts = if plan.quick { 5 } else { 30 };
    let real = real_servers();
    println!(
        "| median of {starts} starts, {SERVERS} servers | to the handshake | MB resident then \
         | after `get_server_tools` of one | the same, cached | of `*` over {} real ones | the same, cached |",
        real.len()
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for binary in binaries {
        let (time, then) = handshakes(binary, starts);
        let megabytes = |kilobytes: u64| format!("{:.1}", kilobytes as f64 / 1_000.0);
        let [one, one_cached] = shown(binary, "echo", &Map::new(), SERVERS);
        let [all, all_cached] = match real.is_empty() {
            true => ["–".to_owned(), "–".to_owned()],
            false => shown(binary, "*", &real, real.len() + 1).map(megabytes),
        };
        println!(
            "| `{}` | {:.2} ms | {} | {} | {} | {all} | {all_cached} |",
            file_name(binary),
            time.as_secs_f64() * 1e3,
            megabytes(then),
            megabytes(one),
            megabytes(one_cached),
        );
    }
    println!();
}

fn handshakes(binary: &str, starts: usize) -> (Duration, u64) {
    let home = tempfile::tempdir().unwrap();
    write_settings(home.path(), Era::Handshake, Map::new(), SERVERS);
    let (times, memory) = (0..starts)
        .map(|_| {
            let begun = Instant::now();
            let client = started(binary, home.path());
            (begun.elapsed(), client.resident())
        })
        .unzip();
    (median(times), median(memory))
}

fn started(binary: &str, home: &Path) -> Client {
    let command = Way::tollgate(binary).command(home, Era::Handshake);
    let mut client = Client::start(command, Era::Handshake);
    client.shake_hands();
    client
}

/// Memory after tools were shown for the first time, and after a start when that was done before.
fn shown(binary: &str, server: &str, more: &Map<String, Value>, count: usize) -> [u64; 2] {
    let home = tempfile::tempdir().unwrap();
    write_settings(home.path(), Era::Handshake, more.clone(), count);
    let arguments = json!({"agent_id": "agent-11", "server": server});
    let call = json!({"name": "get_server_tools", "arguments": arguments});
    [(), ()].map(|()| {
        let mut client = started(binary, home.path());
        client.call(&call);
        client.resident()
    })
}

/// Those that `scripts/test` installs; none if it was never run.
fn real_servers() -> Map<String, Value> {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let node = |package: &str, args: &[&str]| {
        let script = clients.join("node_modules/@modelcontextprotocol").join(package);
        let script = script.join("dist/index.js").display().to_string();
        let args: Vec<&str> = [script.as_str()].into_iter().chain(args.iter().copied()).collect();
        json!({"command": clients.join("node_modules/.bin/node"), "args": args})
    };
    let python = |name: &str| json!({"command": clients.join(".venv/bin").join(name)});
    let all = [
        ("everything", node("server-everything", &[])),
        ("filesystem", node("server-filesystem", &["."])),
        ("memory", node("server-memory", &[])),
        ("git", python("mcp-server-git")),
        ("time", python("mcp-server-time")),
    ];
    let installed = |server: &Value| Path::new(server["command"].as_str().unwrap()).is_file();
    let there = all.into_iter().filter(|(_, server)| installed(server));
    there.map(|(name, server)| (name.to_owned(), server)).collect()
}
