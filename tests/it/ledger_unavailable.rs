//! A store that cannot be used: no call is made that cannot be accounted for, everything else goes
//! on, and when the trouble is over the next call works.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;

use crate::support::{
    Client, PATIENCE, Setup,
    credits::{paid, reached},
    journal::{contents, records, state},
    json_in, refusal, text, tollgate, within,
};

/// Answers to agents hold no path of the host.
#[track_caller]
fn pathless(text: &str, setup: &Setup) {
    let path = setup.path().to_str().unwrap();
    assert!(!text.contains(path) && !text.contains("ledger.db"), "{text}");
}

/// While there is trouble: calls are refused, all else works.
fn check_refused(setup: &Setup, client: &mut Client) {
    let before = reached(setup);
    let call = json!({"server": "s", "tool": "echo", "args": {"x": 1}});
    // Which also tells the gateway whose tool is called by its own name.
    let tools = client.call("get_server_tools", json!({"server": "s"}));
    assert!(text(&tools).contains("echo"), "{tools}");
    let execute = client.begin("execute_tool", call);
    let direct = client.ask("tools/call", json!({"name": "echo", "arguments": {}}));
    let listed = json_in(&client.call("list_servers", json!({})));
    assert_eq!(listed[0]["name"], "s");
    assert_eq!(text(&client.execute("gateway", "ping", json!({}))), r#"{"ok":true}"#);

    let refused = client.response(execute);
    let error = refusal(&refused["result"]);
    assert_eq!(error["code"], "LEDGER_UNAVAILABLE", "{error}");
    assert!(error["hint"].as_str().unwrap().contains("log"), "{error}");
    pathless(&refused.to_string(), setup);
    let refused = client.response(direct);
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    pathless(&refused.to_string(), setup);
    assert_eq!(reached(setup), before, "nothing reaches the server");
}

/// After the trouble: the next call works, and all that was ever charged is what was made.
fn check_mended(setup: &Setup, mut client: Client, log: &[&str]) {
    let made = client.execute("s", "echo", json!({"x": 2}));
    assert_eq!(text(&made), r#"{"x": 2}"#);
    let (status, _, stderr) = client.finish();
    assert!(status.success());
    for words in log {
        assert!(stderr.contains(words), "`{words}` is not in {stderr}");
    }
    let (status, proof, stderr) = setup.run(&["budget", "prove", "--json"]);
    assert_eq!(status, 0, "{proof}{stderr}");
    let proof: serde_json::Value = serde_json::from_str(&proof).unwrap();
    assert_eq!((&proof["spent"], &proof["open"]), (&json!(reached(setup)), &json!(0)), "{proof}");
    assert_eq!(setup.run(&["audit", "verify"]).0, 0);
}

/// A call whose charge has reached the store.
fn charge(setup: &Setup, client: &mut Client) {
    client.execute("s", "echo", json!({}));
    assert!(within(PATIENCE, || records(setup, &["--event", "post"]).len() == 1));
}

fn metered() -> Setup {
    paid(&["echo"], &json!({"budget": {"limit": 1_000}}), None)
}

/// Trouble that is there when the gateway starts, and trouble that comes while it runs.
fn check(make: fn(&Path), mend: fn(&Path), log: &[&str]) {
    for running in [false, true] {
        let setup = metered();
        let file = state(&setup).join("ledger.db");
        if !running {
            // A store that was used before.
            setup.connect().finish();
            make(&file);
        }
        let mut client = setup.connect();
        if running {
            charge(&setup, &mut client);
            make(&file);
        }
        check_refused(&setup, &mut client);
        mend(&file);
        check_mended(&setup, client, &[log, &[file.to_str().unwrap()]].concat());
    }
}

/// The file, and those that SQLite keeps beside it.
fn family(file: &Path, to: &Path) -> Vec<(PathBuf, PathBuf)> {
    let names = ["ledger.db", "ledger.db-wal", "ledger.db-shm"];
    names.map(|name| (file.with_file_name(name), to.join(name))).into()
}

fn aside(file: &Path) -> PathBuf {
    file.with_file_name("aside")
}

fn move_away(file: &Path) {
    fs::create_dir(aside(file)).unwrap();
    for (here, there) in family(file, &aside(file)) {
        if here.exists() {
            fs::rename(here, there).unwrap();
        }
    }
}

fn restore(file: &Path) {
    for (here, there) in family(file, &aside(file)) {
        match there.exists() {
            true => fs::rename(there, here).unwrap(),
            false => drop(fs::remove_file(here)),
        }
    }
}

#[test]
fn directory_in_place_of_the_store_is_survived() {
    let make = |file: &Path| {
        move_away(file);
        fs::create_dir(file).unwrap();
    };
    let mend = |file: &Path| {
        fs::remove_dir(file).unwrap();
        restore(file);
    };
    check(make, mend, &["is a directory; set `store.path` to a file"]);
}

#[test]
fn a_file_of_something_else_is_told_and_survived() {
    let make = |file: &Path| {
        move_away(file);
        fs::write(file, "garbage, and no database at all\n".repeat(1_000)).unwrap();
    };
    check(make, restore, &["is not a database; move it away"]);
}

#[test]
fn store_of_a_newer_version_is_survived() {
    let make = |file: &Path| {
        let mut bytes = contents(file);
        move_away(file);
        // `user_version`, in the header.
        bytes[63] = 99;
        fs::write(file, bytes).unwrap();
    };
    check(make, restore, &["written by another version of tollgate"]);
}

#[test]
fn a_damaged_store_is_told_and_survived() {
    let make = |file: &Path| {
        let mut bytes = contents(file);
        move_away(file);
        // All but the header's page.
        let pages = bytes.len() / 4_096;
        assert!(pages > 4, "{pages} pages");
        bytes[4_096..].fill(0xa5);
        fs::write(file, bytes).unwrap();
    };
    check(make, restore, &["is damaged"]);
}

#[test]
fn a_key_that_is_none_is_told_and_survived() {
    let key = |file: &Path| file.with_file_name("key");
    let setup = metered();
    let file = state(&setup).join("ledger.db");
    setup.connect().finish();
    fs::rename(key(&file), aside(&file)).unwrap();
    fs::write(key(&file), "no key\n").unwrap();
    #[cfg(unix)]
    private(&key(&file));
    let mut client = setup.connect();
    check_refused(&setup, &mut client);
    fs::rename(aside(&file), key(&file)).unwrap();
    check_mended(&setup, client, &["does not hold a key", key(&file).to_str().unwrap()]);
}

#[cfg(unix)]
fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn store_below_a_file_is_survived() {
    let settings = json!({"budget": {"limit": 1_000}, "store": {"path": "place/ledger.db"}});
    let setup = paid(&["echo"], &settings, None);
    let place = setup.path().join("place");
    fs::write(&place, "a file").unwrap();
    let mut client = setup.connect();
    check_refused(&setup, &mut client);
    fs::remove_file(&place).unwrap();
    check_mended(&setup, client, &["cannot be made", place.to_str().unwrap()]);
}

/// A process that keeps a store locked until it is asked to end.
struct Locked(Child);

impl Locked {
    fn begin(file: &Path) -> Self {
        const SCRIPT: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
sys.stdin.read()";
        let mut python = Command::new("python3");
        python.args(["-c", SCRIPT, file.to_str().unwrap()]);
        let mut python = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(python.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(python)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn store_locked_by_another_process_is_survived() {
    let setup = metered();
    let file = state(&setup).join("ledger.db");
    let mut client = setup.connect();
    charge(&setup, &mut client);
    let locked = Locked::begin(&file);
    check_refused(&setup, &mut client);
    drop(locked);
    check_mended(&setup, client, &["was locked by another process", file.to_str().unwrap()]);
}

/// Sets how large files of a process may be.
#[cfg(target_os = "linux")]
fn limit_files(pid: u32, bytes: i64) {
    const SCRIPT: &str = "
import resource, sys
pid, size = map(int, sys.argv[1:])
resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))";
    let mut python = Command::new("python3");
    let status = python.args(["-c", SCRIPT, &pid.to_string(), &bytes.to_string()]).status();
    assert!(status.unwrap().success());
}

/// As a full disk is: what is there can be read, and nothing can be added.
#[cfg(target_os = "linux")]
#[test]
fn a_store_that_cannot_grow_is_told_and_survived() {
    let setup = metered();
    let file = state(&setup).join("ledger.db");
    let unlimited = setup.command(&[]);
    let mut command = Command::new("sh");
    // The signal that goes with it ends a process that does not ignore it.
    command.args(["-c", "trap '' XFSZ; exec \"$0\" serve", tollgate()]).current_dir(setup.path());
    for (name, value) in unlimited.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut client = Client::start(command);
    client.handshake("2025-11-25");
    charge(&setup, &mut client);
    limit_files(client.pid(), 1);
    check_refused(&setup, &mut client);
    limit_files(client.pid(), -1);
    check_mended(&setup, client, &[file.to_str().unwrap()]);
}
