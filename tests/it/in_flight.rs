//! Clients with very many calls in flight, with answers that they do not take, and clients that are
//! gone.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Setup, json_in, peak_kib, scripted_with, text, within};

const MOST_CALLS: usize = 1024;

/// A gateway that is to end takes 5 s at most; the rest is for a machine that is busy.
const SOON: Duration = Duration::from_secs(12);

fn execute(id: impl Into<Value>, tool: &str, args: Value) -> Value {
    let arguments = json!({"server": "s", "tool": tool, "args": args});
    let params = json!({"name": "execute_tool", "arguments": arguments});
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call", "params": params})
}

/// A client with as many calls in flight as there may be, and then some.
fn full(more: usize) -> Client {
    let setup = Setup::new(json!({"s": scripted_with(&["echo", "hang"])}), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let mut stdin = client.take_stdin();
    for id in 0..MOST_CALLS + more {
        writeln!(stdin, "{}", execute(format!("c{id}"), "hang", json!({}))).unwrap();
    }
    client.put_stdin(stdin);
    client
}

#[test]
fn reused_request_id_is_refused_and_the_first_answered() {
    let setup = Setup::new(json!({"s": scripted_with(&["slow"])}), None);
    let mut client = setup.connect();
    client.send(&execute("twice", "slow", json!({"ms": 1_500})));
    client.send(&execute("twice", "slow", json!({"ms": 1})));
    let refused = client.next(PATIENCE).unwrap();
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("twice"), &json!(-32600)));
    assert_eq!(text(&client.next(PATIENCE).unwrap()["result"]), "slow");
    client.send(&execute("twice", "slow", json!({"ms": 1})));
    assert_eq!(text(&client.next(PATIENCE).unwrap()["result"]), "slow");
}

#[test]
fn calls_in_flight_are_limited_and_pings_answered() {
    let mut client = full(3);
    for id in MOST_CALLS..MOST_CALLS + 3 {
        let refused = client.response(format!("c{id}"));
        assert_eq!(refused["error"]["code"], -32004, "{refused}");
    }
    assert_eq!(client.request("ping", json!({}))["result"], json!({}));
    let cancelled = json!({"requestId": "c7"});
    client
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancelled}));
    let room = within(PATIENCE, || {
        client.request("tools/call", execute(0, "echo", json!({}))["params"].clone())["error"]
            .is_null()
    });
    assert!(room, "a call that was cancelled makes room");
}

#[test]
fn end_of_input_is_noticed_during_calls() {
    let (_, took, _) = full(3).finish();
    assert!(took < SOON, "{took:?}");
}

/// A gateway whose standard output is read by the test alone.
fn unread(tools: &[&str]) -> (Setup, Child, ChildStdin, BufReader<ChildStdout>) {
    let mut server = scripted_with(tools);
    server["timeout"] = json!("120s");
    let setup = Setup::new(json!({ "s": server }), None);
    let mut command = setup.command(&["serve"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello});
    writeln!(stdin, "{hello}").unwrap();
    writeln!(stdin, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        .unwrap();
    writeln!(stdin, "{}", execute(1, "echo", json!({}))).unwrap();
    for _ in 0..2 {
        stdout.read_line(&mut String::new()).unwrap();
    }
    (setup, process, stdin, stdout)
}

fn ended_within(process: &mut Child, deadline: Duration) -> bool {
    let ended = within(deadline, || process.try_wait().unwrap().is_some());
    // What does not end would outlive the test.
    let _ = process.kill();
    let _ = process.wait();
    ended
}

#[test]
fn unread_results_are_bounded_and_never_lost() {
    let (_setup, mut process, mut stdin, mut stdout) = unread(&["echo", "repeat"]);
    let before = peak_kib(process.id());
    let args = json!({"head": "{\"content\":[],\"x\":\"", "unit": "0123456789", "count": 1_000_000, "tail": "\"}"});
    for id in 2..42 {
        writeln!(stdin, "{}", execute(id, "repeat", args.clone())).unwrap();
    }
    let mut last = 0;
    let settled = within(PATIENCE, || {
        thread::sleep(Duration::from_secs(2));
        let now = peak_kib(process.id());
        std::mem::replace(&mut last, now) == now && now - before > 30 * 1024
    });
    assert!(settled);
    assert!(last - before < 200 * 1024, "{} KiB", last - before);
    // It is still read from.
    writeln!(stdin, "{}", json!({"jsonrpc": "2.0", "id": "ping", "method": "ping"})).unwrap();
    let (mut results, mut pings) = (0, 0);
    while results + pings < 41 {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let message: Value = serde_json::from_str(&line).unwrap();
        match message["id"] == "ping" {
            true => pings += 1,
            false => {
                assert_eq!(message["result"]["x"].as_str().map(str::len), Some(10_000_000));
                results += 1;
            }
        }
    }
    assert_eq!((results, pings), (40, 1));
    drop(stdin);
    assert!(ended_within(&mut process, SOON));
}

#[test]
fn end_of_input_ends_a_gateway_with_unread_answers() {
    let (_setup, mut process, mut stdin, stdout) = unread(&["echo"]);
    // More than it answers without being read from; the rest stays in the pipe.
    for id in 2..1_500 {
        let list = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
        writeln!(stdin, "{list}").unwrap();
    }
    drop(stdin);
    let ended = ended_within(&mut process, SOON);
    drop(stdout);
    assert!(ended);
}

#[test]
fn closed_stdout_ends_the_session() {
    let (_setup, mut process, mut stdin, stdout) = unread(&["echo", "hang"]);
    writeln!(stdin, "{}", execute(2, "hang", json!({}))).unwrap();
    drop(stdout);
    assert!(ended_within(&mut process, SOON));
    drop(stdin);
}

#[test]
#[cfg(unix)]
fn a_gateway_whose_threads_all_hang_is_ended() {
    for end in [|client: &mut Client| client.signal("-TERM"), Client::close_stdin] {
        let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), None)
            .gateway(&json!({"budget": {"backend": "memory"}}));
        let state = setup.path().join(".local/state/tollgate");
        std::fs::create_dir_all(&state).unwrap();
        // Whoever reads the key waits for it for ever.
        let made = std::process::Command::new("mkfifo").arg(state.join("key")).status();
        assert!(made.unwrap().success());
        let mut client = setup.connect();
        for id in 0..64 {
            client.send(&execute(format!("c{id}"), "echo", json!({})));
        }
        assert!(client.next(Duration::from_secs(5)).is_none(), "the calls hang");
        end(&mut client);
        let (_, took, _) = client.ended();
        assert!(took < SOON, "{took:?}");
    }
}

#[test]
fn names_beyond_512_bytes_are_refused_before_anything_else() {
    let mut client = Setup::new(json!({"s": scripted_with(&["echo"])}), None).connect();
    // 1 MiB of what looks like credentials took 15 s.
    let long = format!("sub_{} ", "A".repeat(22)).repeat(1024 * 1024 / 27);
    let begun = Instant::now();
    let call = |arguments: Value| json!({"name": "list_servers", "arguments": arguments});
    for (method, params, code) in [
        ("tools/call", json!({"name": long, "arguments": {}}), -32602),
        (long.as_str(), json!({}), -32600),
        ("tools/call", json!({"name": "echo", "_meta": {"progressToken": long}}), -32602),
    ] {
        let answer = client.request(method, params);
        assert_eq!(answer["error"]["code"], code, "{}", answer["error"]["code"]);
        assert!(answer.to_string().len() < 1_000);
    }
    client.send(&json!({"jsonrpc": "2.0", "id": long, "method": "ping"}));
    let answer = client.next(PATIENCE).unwrap();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32600)));
    for arguments in [json!({"agent_id": long}), json!({long.clone(): 1})] {
        let answer = client.request("tools/call", call(arguments));
        assert_eq!(json_in(&answer["result"])["error"]["code"], "INVALID_ARGUMENTS");
        assert!(answer.to_string().len() < 1_000);
    }
    for (tool, argument) in [("revoke", "agent_id"), ("revoke", "tokenId"), ("delegate", "label")] {
        let answer = client.execute("gateway", tool, json!({argument: long, "budget": 1}));
        assert_eq!(json_in(&answer)["error"]["code"], "INVALID_ARGUMENTS");
        assert!(answer.to_string().len() < 1_000);
    }
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

#[test]
fn scope_has_at_most_64_patterns_and_2_kib() {
    let mut client = Setup::new(json!({"s": scripted_with(&["echo"])}), None)
        .gateway(&json!({"budget": {"limit": 100}}))
        .connect();
    for (scope, fits) in [
        ("a*,".repeat(64).trim_end_matches(',').to_owned(), true),
        ("a*,".repeat(65).trim_end_matches(',').to_owned(), false),
        (format!("{}*", "a".repeat(2_048)), false),
        ("a*,".repeat(1_000_000), false),
    ] {
        let args = json!({"budget": 1, "scope": scope});
        let answer = client.execute("gateway", "delegate", args);
        assert_eq!(answer["isError"] != true, fits, "{} bytes", scope.len());
        assert!(answer.to_string().len() < 1_000);
    }
}
