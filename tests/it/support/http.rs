//! Servers over HTTP beside one that works.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Client, Setup,
    http_server::{ERAS, Form, HttpServer, Reply},
    processes::MODEST_MIB,
    refusal, resident_mib, scripted, text, within,
};

/// Well before any timeout, also on a loaded machine.
pub const AT_ONCE: Duration = Duration::from_secs(20);

/// A gateway over this server, and an ordinary one beside it.
pub fn beside_ok(entry: Value) -> Setup {
    Setup::new(json!({"s": entry, "ok": scripted(&[])}), None)
}

#[track_caller]
pub fn echoes(client: &mut Client, server: &str) {
    let result = client.execute(server, "echo", json!({"n": 1}));
    assert_ne!(result["isError"], true, "{server}: {result}");
    assert_eq!(text(&result).replace(' ', ""), r#"{"n":1}"#, "{server}");
}

/// After failures the next trial may have to wait a while.
#[track_caller]
pub fn recovers(client: &mut Client, server: &str) {
    let mut echoed = || client.execute(server, "echo", json!({}))["isError"] != true;
    assert!(within(AT_ONCE, &mut echoed), "{server} is not called again");
}

/// A message for an agent: one line, with no Rust in it and none of the server's markup.
#[track_caller]
pub fn well_said(error: &Value) {
    let message = error["message"].as_str().unwrap();
    for word in ["reqwest", "rmcp", "hyper", "std::", "Some(", "{", "<h", "\n", "secret"] {
        assert!(!message.contains(word), "`{word}` in {message}");
    }
    // A type of Rust, not the words of a status.
    let parts: Vec<&str> = message.split("Error").collect();
    let type_name = parts.split_last().unwrap().1.iter().any(|b| b.ends_with(char::is_alphabetic));
    assert!(!type_name, "{message}");
    assert!(message.len() < 400, "{message}");
}

/// The refusal of a call that was answered well before its timeout.
#[track_caller]
pub fn refused_at_once(client: &mut Client, tool: &str) -> Value {
    let begun = Instant::now();
    let result = client.execute("s", tool, json!({}));
    // Before it is shown: what was not refused may be as long as anything.
    assert!(result.to_string().len() < 100_000, "not refused");
    assert!(begun.elapsed() < AT_ONCE, "not at the timeout: {result}");
    let error = refusal(&result);
    well_said(&error);
    error
}

pub const ANSWER: &str =
    r#"{"jsonrpc":"2.0","id":$id,"result":{"content":[{"type":"text","text":"mine"}]}}"#;

pub const LATER: &str =
    r#"{"jsonrpc":"2.0","id":$id,"result":{"content":[{"type":"text","text":"late"}]}}"#;

pub const FOREIGN: &str =
    r#"{"jsonrpc":"2.0","id":987654,"result":{"content":[{"type":"text","text":"foreign"}]}}"#;

pub const QUESTION: &str = r#"{"jsonrpc":"2.0","id":"q","method":"ping"}"#;

pub const NOTE: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}"#;

/// Other calls are answered and memory stays modest for this long.
pub const WATCHED: Duration = Duration::from_secs(4);

pub fn stays_modest(client: &mut Client, other: &str) {
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        echoes(client, other);
        assert!(resident_mib(client.pid()) < MODEST_MIB, "{} MiB", resident_mib(client.pid()));
        thread::sleep(Duration::from_millis(50));
    }
}

/// A call that gets any of these replies is answered at once, and with [`ANSWER`].
#[track_caller]
pub fn well_answered(replies: &[(&str, Reply)]) {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        for (name, reply) in replies {
            server.on("odd", reply.clone());
            let begun = Instant::now();
            let result = client.execute("s", "odd", json!({}));
            assert_ne!(result["isError"], true, "{era:?} {name}: {result}");
            assert_eq!(text(&result), "mine", "{era:?} {name}");
            assert!(begun.elapsed() < AT_ONCE, "{era:?} {name}");
        }
        echoes(&mut client, "s");
    }
}
