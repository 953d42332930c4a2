//! What gateways leave behind that were killed together with their supervisors: the next one ends it,
//! and nothing else.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup, children, descendants, kill, lives, processes::all_gone, scripted,
    within,
};

/// A server that ends for nothing but SIGKILL, and has a child in a session of its own.
fn stubborn(setup_dir: &tempfile::TempDir) -> Value {
    let pids = setup_dir.path().join("pids");
    scripted(&["--stubborn", "--setsid", pids.to_str().unwrap()])
}

/// A gateway with a server that is up, and all that runs below it.
fn running(setup: &Setup) -> (Client, Vec<u32>) {
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let below = descendants(client.pid());
    assert!(below.len() >= 3, "keeper, server, sleep: {below:?}");
    (client, below)
}

/// Kills a gateway and its supervisors so that none of them can clean up.
fn kill_all_at_once(mut client: Client) {
    let supervisors = children(client.pid());
    for &supervisor in &supervisors {
        kill(supervisor, "-STOP");
    }
    client.signal("-KILL");
    client.ended();
    for &supervisor in &supervisors {
        kill(supervisor, "-KILL");
    }
}

fn records(setup: &Setup) -> Vec<PathBuf> {
    let dir = setup.path().join(".local/state/tollgate/children");
    fs::read_dir(dir)
        .map_or_else(|_| Vec::new(), |dir| dir.flatten().map(|entry| entry.path()).collect())
}

#[test]
fn the_next_gateway_ends_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(json!({"s": stubborn(&dir)}), None);
    let (client, below) = running(&setup);
    kill_all_at_once(client);
    std::thread::sleep(Duration::from_millis(500));
    assert!(below.iter().filter(|&&pid| lives(pid)).count() >= 2, "server and sleep are left");
    let next = setup.connect();
    all_gone(&below, PATIENCE);
    assert!(next.finish().0.success());
    assert_eq!(records(&setup), Vec::<PathBuf>::new());
}

#[test]
fn next_gateway_ends_a_stopped_supervisors_server() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(json!({"s": stubborn(&dir)}), None);
    let (mut client, below) = running(&setup);
    kill(children(client.pid())[0], "-STOP");
    client.signal("-KILL");
    client.ended();
    let _next = setup.connect();
    all_gone(&below, PATIENCE);
}

#[test]
fn the_servers_of_a_live_gateway_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(json!({"s": stubborn(&dir)}), None);
    let (mut first, below) = running(&setup);
    for _ in 0..3 {
        let (second, _) = running(&setup);
        assert!(second.finish().0.success());
    }
    assert!(below.iter().all(|&pid| lives(pid)), "a live gateway lost its server");
    first.execute("s", "echo", json!({}));
    assert_eq!(records(&setup).len(), 1);
}

#[test]
fn a_stranger_with_a_recorded_pid_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(json!({"s": stubborn(&dir)}), None);
    let (client, below) = running(&setup);
    kill_all_at_once(client);
    let mut stranger = Command::new("sleep").arg("777").stdout(Stdio::null()).spawn().unwrap();
    // The record of an earlier process of the same number.
    let path = records(&setup).remove(0);
    let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let processes = record["processes"].as_array_mut().unwrap();
    let mut foreign = processes[0].clone();
    foreign["pid"] = json!(stranger.id());
    processes.push(foreign);
    fs::write(&path, record.to_string()).unwrap();
    let _next = setup.connect();
    all_gone(&below, PATIENCE);
    assert!(lives(stranger.id()), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_stop_does_not_wait_for_a_stopped_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(json!({"s": stubborn(&dir)}), None);
    let (client, below) = running(&setup);
    kill(children(client.pid())[0], "-STOP");
    let (status, took, stderr) = client.finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    all_gone(&below, Duration::ZERO);
}

#[test]
fn a_record_is_private_and_goes_with_its_gateway() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(json!({"s": stubborn(&dir)}), None);
    let (client, _) = running(&setup);
    let path = records(&setup).remove(0);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(client.finish().0.success());
    assert!(within(PATIENCE, || records(&setup).is_empty()));
}
