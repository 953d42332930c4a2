//! HTTP servers as they are: streams with lines that the standard ignores, and connections that the
//! server closes while they are idle.

use std::{thread, time::Duration};

use serde_json::json;

use crate::support::{
    PATIENCE, Setup,
    http::{ANSWER, AT_ONCE, echoes, well_answered},
    http_server::{ERAS, Era, Form, HttpServer, Reply},
    text, within,
};

#[test]
fn lines_that_the_standard_ignores_end_no_stream() {
    let in_lines = ANSWER.replace(',', ",\rdata:");
    let before = [
        ("an unknown field", "foo: bar\n"),
        ("a line without a colon", "nonsense\n"),
        ("a field without a colon", "data\nretry\nid\nevent\n"),
        ("a retry that is not a number", "retry: soon\n"),
        ("a retry with a sign", "retry: +7\n"),
        ("a retry beyond any number", "retry: 99999999999999999999999\n"),
        ("a retry twice", "retry: 100\nretry: 200\n"),
        ("an id twice", "id: 1\nid: 2\n"),
        ("an id with a null", "id: a\0b\n"),
        ("an event twice", "event: ping\nevent: message\n"),
        ("a byte order mark", "\u{feff}"),
        ("a mark and a comment", "\u{feff}: hello\n\n"),
        ("a second byte order mark", "\u{feff}\u{feff}data: x\n"),
        ("a comment with a colon", ":::\n"),
        ("a name in capitals", "DATA: x\n"),
        ("a space before the name", " data: x\n"),
        ("carriage returns alone", "event: message\r: x\r\r"),
        ("all kinds of line ends", ": a\r\n: b\r: c\n\r\n\r\n"),
        ("an event of another name", "event: ping\ndata: {}\n\n"),
        ("only an id", "id: 7\n\n"),
    ];
    let mut answers: Vec<(&str, Reply)> = before
        .iter()
        .map(|(name, text)| (*name, Reply::sse().text(text).text(&format!("data: {ANSWER}\n\n"))))
        .collect();
    answers.push((
        "data over lines that end with returns",
        Reply::sse().text(&format!("data:{in_lines}\r\r")),
    ));
    answers.push((
        "an id after the data",
        Reply::sse().text(&format!("data: {ANSWER}\nid: 4\nfoo\n\n")),
    ));
    answers.push((
        "a return at the end of a chunk",
        Reply::sse().text(": a\r").text("\ndata: ").text(ANSWER).text("\r").text("\n\r").text("\n"),
    ));
    well_answered(&answers);
}

#[test]
fn handshake_and_list_survive_a_closed_connection() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        // No connection serves a second request.
        server.close_after(Some(Duration::ZERO));
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        let tools = client.call("get_server_tools", json!({"server": "s", "detail": "names"}));
        assert!(text(&tools).contains("echo"), "{era:?}: {tools}");
        assert!(server.closed() > 0, "{era:?}: nothing was closed");
    }
}

#[test]
fn idle_connection_is_not_reused_for_a_call() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        echoes(&mut client, "s");
        server.close_after(Some(Duration::from_millis(1_900)));
        for _ in 0..3 {
            thread::sleep(Duration::from_secs(2));
            echoes(&mut client, "s");
        }
        assert_eq!(server.closed(), 0, "{era:?}");
    }
}

#[test]
fn early_close_costs_one_call_at_most() {
    let server = HttpServer::start(Era::Modern, Form::Json);
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    echoes(&mut client, "s");
    server.close_after(Some(Duration::ZERO));
    let failed = (0..20).filter(|_| client.execute("s", "echo", json!({}))["isError"] == true);
    assert!(failed.count() <= 1);
    assert_eq!(server.count("echo"), server.ran(), "no call was repeated");
}

#[test]
fn first_stream_answered_5xx_is_retried() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    server.on("GET", Reply::status(503));
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    echoes(&mut client, "s");
    assert!(within(AT_ONCE, || server.count("GET") > 0));
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    server.on("GET", Reply::sse().event(changed).wait(Duration::from_secs(600)));
    let listed = || {
        echoes(&mut client, "s");
        server.count("tools/list") == 2
    };
    assert!(within(PATIENCE, listed), "the stream was not opened again");
}
