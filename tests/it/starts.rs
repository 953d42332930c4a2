//! How servers come up that are slow, picky about their era, or never ready.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Client, Setup, clients, json_in, scripted, text, within};

/// The scripted server with these options, in a directory where it notes its starts and requests.
fn noted(options: &[&str]) -> Setup {
    let mut all = vec!["--starts", "starts", "--log", "requests"];
    all.extend(options);
    let setup = Setup::new(json!({}), None);
    add(&setup, "s", &all);
    setup
}

fn add(setup: &Setup, name: &str, options: &[&str]) {
    let path = setup.path().join(".mcp.json");
    let mut settings: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    settings["mcpServers"][name] = scripted(options);
    fs::write(path, settings.to_string()).unwrap();
}

fn lines(setup: &Setup, file: &str) -> Vec<String> {
    let text = fs::read_to_string(setup.path().join(file)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn echoes(client: &mut Client) {
    assert_eq!(text(&client.execute("s", "echo", json!({"x": 1}))), r#"{"x": 1}"#);
}

fn search(client: &mut Client) -> Value {
    json_in(&client.call("get_server_tools", json!({"server": "*", "detail": "names"})))
}

#[test]
fn nothing_follows_discover_before_a_slow_server_answers() {
    let setup = noted(&["--strict", "--drowsy", "12"]);
    echoes(&mut setup.connect());
    assert_eq!(lines(&setup, "starts").len(), 1);
    assert_eq!(lines(&setup, "requests")[..2], ["server/discover", "tools/list"]);
}

#[test]
fn a_server_that_ignores_discover_comes_up() {
    let setup = noted(&["--era", "legacy", "--ignore-discover"]);
    let mut client = setup.connect();
    echoes(&mut client);
    assert_eq!(lines(&setup, "requests")[..3], ["server/discover", "initialize", "tools/list"]);
    // The next gateway does not ask what the server ignores.
    let known = within(Duration::from_secs(30), || kept_era(&setup) == json!("handshake"));
    assert!(known, "{}", kept_era(&setup));
    fs::remove_file(setup.path().join("requests")).unwrap();
    echoes(&mut setup.connect());
    assert_eq!(lines(&setup, "requests")[..2], ["initialize", "tools/list"]);
}

#[test]
fn server_that_refuses_initialize_starts_in_its_era() {
    for refusal in [&["--strict"][..], &[]] {
        let setup = noted(&[&["--discover-late", "late"], refusal].concat());
        echoes(&mut setup.connect());
        assert_eq!(lines(&setup, "starts").len(), 2, "{refusal:?}");
        let asked = ["server/discover", "initialize", "server/discover", "tools/list"];
        assert_eq!(lines(&setup, "requests")[..4], asked, "{refusal:?}");
    }
}

#[test]
fn outdated_era_is_probed_again() {
    let setup = noted(&["--era-file", "era"]);
    for (era, kept) in [("legacy", "handshake"), ("modern", "stateless"), ("legacy", "handshake")] {
        fs::write(setup.path().join("era"), era).unwrap();
        let mut client = setup.connect();
        echoes(&mut client);
        assert!(within(Duration::from_secs(30), || kept_era(&setup) == kept), "{era}");
        assert!(client.finish().0.success());
    }
}

/// The era in the file that is kept of the only server.
fn kept_era(setup: &Setup) -> Value {
    let dir = setup.path().join(".cache/tollgate/catalogues");
    let files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let kept = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let texts: Vec<String> = kept.filter_map(|path| fs::read_to_string(path).ok()).collect();
    let [text] = texts.as_slice() else { return Value::Null };
    serde_json::from_str::<Value>(text).unwrap()["era"].clone()
}

/// A server of the Python SDK that takes longer to start than rmcp waits for an answer.
#[test]
fn a_slow_server_of_the_python_sdk_comes_up() {
    let late = r#"sleep 12; exec "$@""#;
    let program = clients().join(".venv/bin/mcp-server-time");
    let entry = json!({"command": "sh", "args": ["-c", late, "sh", program]});
    let setup = Setup::new(json!({"time": entry}), None);
    let time = json!({"timezone": "UTC"});
    let answer = setup.connect().execute("time", "get_current_time", time);
    assert!(text(&answer).contains("UTC"), "{answer}");
}

#[test]
fn one_hanging_server_is_waited_for_once() {
    let setup = Setup::new(json!({}), None);
    add(&setup, "hangs", &["--silent", "--starts", "starts"]);
    add(&setup, "dies", &["--die"]);
    add(&setup, "s", &[]);
    let mut client = setup.connect();
    let first = search(&mut client);
    assert_eq!(first["tools"], json!(["s/echo"]), "{first}");
    let note = first["note"].as_str().unwrap();
    assert!(
        note.starts_with("starting, ask again: hangs; unavailable: dies (it ended before"),
        "{note}"
    );
    // Ten searches that waited would take 50 s.
    let begun = Instant::now();
    for _ in 0..10 {
        let again = search(&mut client);
        assert_eq!(again["tools"], json!(["s/echo"]), "{again}");
        assert!(again["note"].as_str().unwrap().contains("starting, ask again: hangs"), "{again}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(lines(&setup, "starts").len(), 1);
}

#[test]
fn sleepers_do_not_hold_up_the_starts_behind_them() {
    let setup = Setup::new(json!({}), None);
    for i in 0..13 {
        add(&setup, &format!("hangs{i}"), &["--silent"]);
    }
    add(&setup, "s", &[]);
    let mut client = setup.connect();
    let mut found = search(&mut client);
    let seen = within(Duration::from_secs(60), || {
        found = search(&mut client);
        found["tools"] == json!(["s/echo"])
    });
    assert!(seen, "{found}");
}

#[test]
fn a_server_that_stops_listing_costs_one_search() {
    let setup = Setup::new(json!({}), None);
    add(&setup, "s", &["--tools", r#"["echo","grow"]"#, "--list-once", "--era", "modern"]);
    let mut client = setup.connect();
    let before = search(&mut client);
    assert_eq!(before["returned"], 2, "{before}");
    client.execute("s", "grow", json!({"name": "new"}));
    search(&mut client);
    let begun = Instant::now();
    for _ in 0..10 {
        assert_eq!(search(&mut client)["tools"], before["tools"]);
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_search_from_the_shell_waits_for_every_server() {
    let setup = Setup::new(json!({}), None);
    add(&setup, "late", &["--drowsy", "8", "--tools", r#"["a"]"#]);
    add(&setup, "dies", &["--die"]);
    add(&setup, "s", &["--tools", r#"["b"]"#]);
    let command = ["tools", "*", "--detail", "names", "--json"];
    let (status, stdout, stderr) = setup.run(&command);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, &answer["tools"]), (0, &json!(["late/a", "s/b"])), "{answer}");
    assert!(answer["note"].as_str().unwrap().starts_with("unavailable: dies ("), "{answer}");
    assert!(stderr.contains("5 s: starting late"), "{stderr}");
    let (_, stdout, stderr) = setup.run(&command);
    let again: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(again["tools"], answer["tools"]);
    assert!(!stderr.contains("starting late"), "{stderr}");
}

#[test]
fn a_command_waits_for_a_start_beyond_the_timeout() {
    let setup = Setup::new(json!({}), None);
    add(&setup, "s", &["--drowsy", "6"]);
    let path = setup.path().join(".mcp.json");
    let settings = fs::read_to_string(&path).unwrap();
    let mut settings: Value = serde_json::from_str(&settings).unwrap();
    settings["mcpServers"]["s"]["timeout"] = json!("3s");
    fs::write(path, settings.to_string()).unwrap();
    let (status, stdout, stderr) = setup.run(&["call", "s", "echo", r#"{"x": 1}"#]);
    assert_eq!((status, stdout.trim()), (0, r#"{"x": 1}"#), "{stderr}");
    let (status, _, stderr) =
        setup.run(&["call", "s", "echo", r#"{"x": 1}"#, "--timeout-ms", "2000"]);
    assert_eq!(status, 0, "{stderr}");
    let (status, stdout, stderr) = setup.run(&["tokens", "--json"]);
    assert_eq!(status, 0, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["servers"][0]["tools"], 1, "{report}");
}
