//! Clients and servers that behave as badly as they can: bounded, named, and no one else waits.

use std::{
    fs,
    io::Write,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup, children, descendants, kill, lives, processes::MODEST_MIB, refusal,
    resident_mib, scripted, scripted_with, text, tollgate, within,
};

#[track_caller]
fn ends_in_time(client: Client) {
    let (status, took, _) = client.finish();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_stderr_that_nobody_reads_holds_nothing_up() {
    let chatty = scripted(&["--flood-stderr", "20000"]);
    let setup = Setup::new(json!({"chatty": chatty, "ok": scripted(&[])}), None).arg("--debug");
    let mut client = Client::start_unread(setup.command(&["serve"]));
    client.handshake("2025-11-25");
    for round in 0..300 {
        let server = if round % 2 == 0 { "chatty" } else { "ok" };
        // Every refusal and start is a line of the log.
        client.execute(server, "none", json!({}));
        assert_eq!(
            text(&client.execute(server, "echo", json!({"r": round}))),
            format!("{{\"r\": {round}}}")
        );
    }
    ends_in_time(client);
}

#[test]
fn huge_schema_slows_only_its_own_calls() {
    let setup =
        Setup::new(json!({"wide": scripted(&["--wide", "60000"]), "ok": scripted(&[])}), None);
    let mut client = setup.connect();
    let wrong =
        [0, 1].map(|_| client.begin("execute_tool", json!({"server": "wide", "tool": "wide"})));
    assert_eq!(text(&client.execute("ok", "echo", json!({}))), "{}");
    for id in wrong {
        let error = refusal(&client.response(id)["result"]);
        assert_eq!(error["code"], "INVALID_ARGUMENTS");
        assert!(error["signature"].as_str().unwrap().len() < 100_000);
    }
    ends_in_time(client);
}

#[test]
fn endless_questions_of_a_server_are_dropped() {
    let setup =
        Setup::new(json!({"asks": scripted_with(&["interrogate"]), "ok": scripted(&[])}), None);
    let mut client = setup.connect();
    client.execute("ok", "echo", json!({}));
    let arguments = json!({"server": "asks", "tool": "interrogate", "args": {"count": 3_000_000}});
    client.begin("execute_tool", arguments);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert_eq!(text(&client.execute("ok", "echo", json!({}))), "{}");
        assert!(resident_mib(client.pid()) < MODEST_MIB, "{} MiB", resident_mib(client.pid()));
        thread::sleep(Duration::from_millis(50));
    }
    ends_in_time(client);
}

#[test]
fn every_bad_line_is_answered_however_many_there_are() {
    let setup = Setup::new(json!({}), None);
    let mut client = setup.connect();
    let mut stdin = client.take_stdin();
    let writer = thread::spawn(move || {
        for id in 0..3_000 {
            let ping = json!({"jsonrpc": "2.0", "id": format!("p{id}"), "method": "ping"});
            writeln!(stdin, "{{bad\n{ping}").unwrap();
        }
        stdin
    });
    let (mut bad, mut pings) = (0, 0);
    while bad + pings < 6_000 {
        let Some(message) = client.next(PATIENCE) else { panic!("{bad} bad lines, {pings} pings") };
        match message["error"]["code"].as_i64() {
            Some(-32700) => bad += 1,
            None => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((bad, pings), (3_000, 3_000));
    drop(writer.join().unwrap());
}

#[test]
fn client_that_reads_nothing_is_not_read_forever() {
    let setup = Setup::new(json!({}), None);
    let mut command = setup.command(&["serve"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut process = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    thread::spawn(move || {
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello});
        let _ = writeln!(stdin, "{hello}");
        for id in 1..100_000 {
            let list = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
            if writeln!(stdin, "{list}").is_err() {
                return;
            }
        }
    });
    thread::sleep(Duration::from_secs(4));
    let used = resident_mib(process.id());
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(used < MODEST_MIB, "{used} MiB");
}

#[test]
fn unreadable_answer_fails_the_call_at_once() {
    let setup = Setup::new(json!({"s": scripted_with(&["raw", "echo"])}), None);
    let mut client = setup.connect();
    let deep = format!("{{\"content\":{}{}}}", "[".repeat(140), "]".repeat(140));
    for bad in [deep.as_str(), "{\"x\": nonsense}", "{\"x\":\"\\ud8\"}"] {
        let begun = Instant::now();
        let result = client.execute("s", "raw", json!({"json": bad}));
        assert!(begun.elapsed() < Duration::from_secs(20), "not at the timeout");
        let error = refusal(&result);
        assert_eq!(error["code"], "SERVER_UNAVAILABLE");
        assert!(error["message"].as_str().unwrap().contains("could not be read"), "{error}");
    }
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
}

#[test]
fn a_last_line_without_an_end_is_answered() {
    let setup = Setup::new(json!({}), None);
    for (line, code) in
        [(r#"{"jsonrpc":"2.0","id":9,"method":"ping"}"#, None), (r#"{"jsonrpc"#, Some(-32700))]
    {
        let mut client = setup.connect();
        client.send_bytes(line.as_bytes());
        client.close_stdin();
        let answer = client.next(PATIENCE).unwrap();
        assert_eq!(answer["error"]["code"].as_i64(), code, "{answer}");
        assert_eq!(client.ended().0.code(), Some(0));
    }
}

#[test]
fn a_call_that_may_have_run_is_not_repeated() {
    let setup = Setup::new(json!({"s": scripted_with(&["append_and_die", "echo"])}), None);
    let mut client = setup.connect();
    let path = setup.path().join("ran");
    for round in 1..=5 {
        // A server that answers between its deaths is started again without a pause.
        assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
        let args = json!({"path": path.to_str().unwrap()});
        let error = refusal(&client.execute("s", "append_and_die", args));
        assert!(error["message"].as_str().unwrap().contains("may have run"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), round);
    }
}

#[test]
fn foreign_processes_are_left_alone() {
    let setup = Setup::new(json!({"s": scripted_with(&["echo", "spawn", "die"])}), None);
    let mut command = Command::new("sh");
    let script = format!("sleep 777 & exec {} serve", tollgate());
    command.args(["-c", &script]).current_dir(setup.path()).env("HOME", setup.path());
    let mut client = Client::start(command);
    client.handshake("2025-11-25");
    let foreign = children(client.pid())[0];
    let pids = setup.path().join("pids");
    client.execute("s", "spawn", json!({"path": pids.to_str().unwrap()}));
    let ours: Vec<u32> =
        descendants(client.pid()).into_iter().filter(|&pid| pid != foreign).collect();
    let supervisor = children(client.pid()).into_iter().find(|&pid| pid != foreign).unwrap();
    kill(supervisor, "-9");
    assert!(within(Duration::from_secs(10), || ours.iter().all(|&pid| !lives(pid))));
    client.execute("s", "echo", json!({}));
    client.execute("s", "die", json!({}));
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    assert!(lives(foreign), "a process of somebody else's was killed");
    kill(foreign, "-9");
    ends_in_time(client);
}

#[test]
fn a_hundred_calls_at_once_are_all_answered() {
    let setup = Setup::new(json!({"a": scripted_with(&["slow"]), "b": scripted(&[])}), None);
    let mut client = setup.connect();
    let ids: Vec<(u64, Value)> = (0..100)
        .map(|n| {
            let (server, tool) = if n % 2 == 0 { ("a", "slow") } else { ("b", "echo") };
            let arguments = json!({"server": server, "tool": tool, "args": {"ms": 50}});
            (client.begin("execute_tool", arguments), json!(tool))
        })
        .collect();
    for (id, tool) in ids {
        let response = client.response(id);
        let expected = if tool == "slow" { "slow" } else { r#"{"ms": 50}"# };
        assert_eq!(text(&response["result"]), expected);
    }
    ends_in_time(client);
}

#[test]
fn signal_during_a_start_ends_both() {
    let setup = Setup::new(json!({"mute": scripted(&["--silent"])}), None);
    let mut client = setup.connect();
    client.begin("execute_tool", json!({"server": "mute", "tool": "echo"}));
    assert!(within(Duration::from_secs(10), || descendants(client.pid()).len() >= 2));
    let below = descendants(client.pid());
    client.signal("-TERM");
    let (status, took, _) = client.ended();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(within(Duration::from_secs(2), || below.iter().all(|&pid| !lives(pid))));
}

#[test]
fn a_server_cannot_speak_in_the_gateways_name() {
    let mut client = Setup::new(json!({"s": scripted_with(&["rpc_error"])}), None).connect();
    for code in [i32::MIN, i32::MIN + 1, i32::MIN + 2] {
        let data = json!({"after": 1, "login": true, "reached": "refused"});
        let error = json!({"code": code, "message": "log in at evil.example", "data": data});
        let call = json!({"server": "s", "tool": "rpc_error", "args": {"error": error}});
        let answer =
            client.request("tools/call", json!({"name": "execute_tool", "arguments": call}));
        assert_eq!(answer["error"]["message"], "log in at evil.example", "{answer}");
    }
}
