//! Servers over HTTP whose answers are none, or are hard to read: told in words and at once.

use std::{
    io::Write,
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Setup,
    http::{
        ANSWER, AT_ONCE, FOREIGN, LATER, NOTE, QUESTION, beside_ok, echoes, recovers,
        refused_at_once, well_answered,
    },
    http_server::{ERAS, Era, Form, HttpServer, Reply},
    json_in, text,
};

/// Answers to a call that are none, with a part of what is said of them.
fn no_answers() -> Vec<(&'static str, Reply, &'static str)> {
    let half = r#"{"jsonrpc":"2.0","id":$id,"result":{"content":[{"ty"#;
    vec![
        ("202", Reply::status(202), ""),
        ("204", Reply::status(204), ""),
        ("400", Reply::status(400), "400"),
        ("403", Reply::html(403), "403"),
        ("405", Reply::status(405), "405"),
        ("413", Reply::html(413), "413"),
        ("500", Reply::json(500, r#"{"detail":"secret trace"}"#), "500"),
        ("500 text", Reply::status(500).text("Internal Server Error"), "500"),
        ("502", Reply::html(502), "502"),
        ("503", Reply::status(503), "503"),
        ("520", Reply::html(520), "520"),
        ("html", Reply::html(200), ""),
        ("no type", Reply::status(200).text("hello"), ""),
        ("empty json", Reply::json(200, ""), ""),
        ("empty", Reply::status(200), ""),
        ("empty stream", Reply::sse(), ""),
        ("garbage", Reply::json(200, "{\"x\": nonsense}"), ""),
        ("a number", Reply::json(200, "17"), ""),
        ("half", Reply::json(200, half), ""),
        ("half and cut", Reply::json(200, half).cut(), ""),
        ("only comments", Reply::sse().repeat(": ping\n\n", 100), ""),
        ("half an event", Reply::sse().text(&format!("data: {half}")), ""),
        ("half an event and cut", Reply::sse().text(&format!("data: {half}")).cut(), ""),
        ("garbage events", Reply::sse().event("nonsense").event("{"), ""),
        ("another's answer", Reply::json(200, FOREIGN), ""),
        ("a question instead", Reply::json(200, QUESTION), ""),
        ("a note instead", Reply::json(200, NOTE), ""),
        ("another's answer in a stream", Reply::sse().event(FOREIGN), ""),
        ("deep", Reply::json(200, &deep()), ""),
        ("deep in a stream", Reply::sse().event(&deep()), ""),
    ]
}

/// Nested beyond what is parsed.
fn deep() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":$id,"result":{{"x":{}{}}}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    )
}

fn no_answer_is_told(era: Era) {
    let server = HttpServer::start(era, Form::Json);
    let mut client = beside_ok(server.entry()).connect();
    echoes(&mut client, "s");
    // A call that is in flight meanwhile.
    server.on("raw", Reply::sse().wait(Duration::from_millis(300)).event(ANSWER));
    for (name, reply, words) in no_answers() {
        eprintln!("{era:?}: {name}");
        let other = client.begin("execute_tool", json!({"server": "s", "tool": "raw"}));
        server.on("odd", reply);
        let error = refused_at_once(&mut client, "odd");
        eprintln!("{}", error["message"]);
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{name}: {error}");
        let other = client.response(other)["result"].clone();
        assert_eq!(text(&other), "mine", "{name} ends another call: {other}");
        echoes(&mut client, "ok");
        echoes(&mut client, "s");
    }
}

#[test]
fn invalid_answers_fail_at_once_with_sessions() {
    no_answer_is_told(Era::Legacy);
}

#[test]
fn invalid_answers_fail_at_once_without_sessions() {
    no_answer_is_told(Era::Modern);
}

/// In chunks of one byte, but for the id.
fn byte_by_byte() -> Reply {
    let (before, after) = ANSWER.split_once("$id").unwrap();
    let each =
        |reply: Reply, text: &str| text.chars().fold(reply, |reply, c| reply.text(&c.to_string()));
    each(each(Reply::sse().text("data: "), before).text("$id"), after).text("\n\n")
}

#[test]
fn an_answer_is_found_whatever_surrounds_it() {
    let in_lines = ANSWER.replace(',', ",\ndata:");
    let answers = [
        (
            "charset",
            Reply::status(200)
                .header("content-type", "application/json; charset=utf-8")
                .text(ANSWER),
        ),
        ("upper case", Reply::status(200).header("Content-Type", "Application/JSON").text(ANSWER)),
        (
            "charset of a stream",
            Reply::status(200)
                .header("content-type", "text/event-stream;charset=UTF-8")
                .event(ANSWER),
        ),
        ("no event name", Reply::sse().text(&format!("data:{ANSWER}\n\n"))),
        (
            "carriage returns",
            Reply::sse().text(&format!("event: message\r\ndata: {ANSWER}\r\n\r\n")),
        ),
        ("many data lines", Reply::sse().text(&format!("data:{in_lines}\n\n"))),
        ("comments", Reply::sse().text(": hello\n\n: again\n").event(ANSWER)),
        ("ids", Reply::sse().text("id: 1\ndata: \n\n").text("id: 2\n").event(ANSWER)),
        ("byte by byte", byte_by_byte()),
        ("foreign answers first", Reply::sse().event(FOREIGN).event(FOREIGN).event(ANSWER)),
        ("the answer twice", Reply::sse().event(ANSWER).event(LATER)),
        ("garbage first", Reply::sse().event("nonsense").event("[]").event("17").event(ANSWER)),
        ("a thousand notes", Reply::sse().repeat(&format!("data: {NOTE}\n\n"), 1000).event(ANSWER)),
        ("the id as text", Reply::json(200, &ANSWER.replace("$id", "\"$id\""))),
        ("left open", Reply::sse().event(ANSWER).wait(Duration::from_secs(600))),
        ("cut after it", Reply::sse().event(ANSWER).cut()),
        ("201", Reply::json(201, ANSWER)),
    ];
    well_answered(&answers);
}

#[test]
fn server_error_passes_unchanged_under_any_status() {
    let error = json!({"code": -32050, "message": "no", "data": {"a": [1.50, 2]}});
    let body = format!(r#"{{"jsonrpc":"2.0","id":$id,"error":{error}}}"#);
    let replies = [
        Reply::json(200, &body),
        Reply::json(400, &body),
        Reply::json(404, &body),
        Reply::json(500, &body),
        Reply::sse().event(&body),
    ];
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        for reply in &replies {
            server.on("odd", reply.clone());
            let id = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
            let response = client.response(id);
            assert_eq!(response["error"], error, "{era:?} {reply:?}: {response}");
        }
    }
}

#[test]
fn error_without_id_ends_the_call_it_answers() {
    let error = r#""error":{"code":-32600,"message":"no good"}"#;
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        for (status, id) in
            [(400, ""), (400, r#""id":null,"#), (403, ""), (422, ""), (500, ""), (200, "")]
        {
            server.on("odd", Reply::json(status, &format!(r#"{{"jsonrpc":"2.0",{id}{error}}}"#)));
            let begun = Instant::now();
            let call = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
            let answer = client.response(call).to_string();
            assert!(begun.elapsed() < AT_ONCE, "{era:?} {status}: {answer}");
            // As the server's own error, or in our words.
            assert!(
                answer.contains("no good") || answer.contains(&status.to_string()),
                "{era:?} {status}: {answer}"
            );
        }
        echoes(&mut client, "s");
    }
}

#[test]
fn the_time_to_wait_is_passed_on() {
    for (after, expected) in [
        ("7", Some(7_000)),
        ("0", Some(0)),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
        ("soon", None),
        ("99999999999999999999", None),
    ] {
        for status in [429, 503] {
            let server = HttpServer::start(Era::Legacy, Form::Json);
            let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
            echoes(&mut client, "s");
            server.on("odd", Reply::html(status).header("Retry-After", after));
            let error = refused_at_once(&mut client, "odd");
            assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{error}");
            if let Some(expected) = expected {
                assert_eq!(error["retry_after_ms"], expected, "{status} {after}: {error}");
            }
        }
    }
}

#[test]
fn a_server_that_wants_credentials_says_auth_required() {
    for era in ERAS {
        for key in ["tools/call", "tools/list", "initialize", "POST"] {
            let server = HttpServer::start(era, Form::Json);
            let challenge = r#"Bearer resource_metadata="https://example.com/x?secret=1""#;
            server.on(
                key,
                Reply::json(401, r#"{"error":"invalid_token"}"#)
                    .header("WWW-Authenticate", challenge),
            );
            if era == Era::Modern && key == "initialize" {
                continue;
            }
            let mut client = beside_ok(server.entry()).connect();
            let error = refused_at_once(&mut client, "echo");
            assert_eq!(error["code"], "AUTH_REQUIRED", "{era:?} {key}: {error}");
            echoes(&mut client, "ok");
            server.behave();
            recovers(&mut client, "s");
        }
    }
}

#[test]
fn odd_probe_answers_lead_to_the_older_handshake() {
    let probes = [
        Reply::status(400),
        Reply::html(400),
        HttpServer::no_valid_session(),
        Reply::status(404),
        Reply::html(404),
        Reply::status(405),
        Reply::status(406),
        Reply::html(500),
        Reply::status(501),
        Reply::json(
            200,
            r#"{"jsonrpc":"2.0","id":$id,"error":{"code":-32601,"message":"Method not found"}}"#,
        ),
        Reply::json(
            400,
            r#"{"jsonrpc":"2.0","id":$id,"error":{"code":-32601,"message":"Method not found"}}"#,
        ),
        Reply::json(
            404,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"Method not found"}}"#,
        ),
        Reply::status(202),
        Reply::json(200, "{}"),
    ];
    for probe in probes {
        let server = HttpServer::start(Era::Legacy, Form::Json);
        server.on("server/discover", probe.clone());
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        let begun = Instant::now();
        let result = client.execute("s", "echo", json!({}));
        assert_ne!(result["isError"], true, "{probe:?}: {result}");
        assert!(begun.elapsed() < AT_ONCE, "{probe:?}");
    }
}

#[test]
fn a_handshake_that_fails_is_told_at_once() {
    for (name, reply, words) in no_answers() {
        let server = HttpServer::start(Era::Legacy, Form::Json);
        server.on("POST", reply);
        let mut client = beside_ok(server.entry()).connect();
        eprintln!("{name}");
        let error = refused_at_once(&mut client, "echo");
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{name}: {error}");
        assert!(error["message"].as_str().unwrap().contains(words), "{name}: {error}");
        let list = json_in(&client.call("list_servers", json!({"include_metadata": true})));
        assert_eq!(list[0]["status"], "failed", "{name}: {list}");
        server.behave();
        recovers(&mut client, "s");
    }
}

/// A listener that says these bytes to everyone and hangs up, or holds the line if there are none.
fn babbler(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut held = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(bytes);
            if bytes.is_empty() {
                held.push(stream);
            }
        }
    });
    port
}

#[test]
fn what_is_no_http_server_is_told_in_words() {
    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let plain = HttpServer::start(Era::Modern, Form::Json);
    let urls = [
        format!("http://127.0.0.1:{closed}/mcp?key=secret"),
        format!("https://{}/mcp?key=secret", plain.address()),
        format!("http://127.0.0.1:{}/mcp?key=secret", babbler(b"SSH-2.0-OpenSSH_9.9\r\n")),
        format!("http://127.0.0.1:{}/mcp?key=secret", babbler(b"\0\x01\x02")),
        format!("http://127.0.0.1:{}/mcp?key=secret", babbler(b"HTTP/1.1 200 OK\r\n")),
        format!(
            "https://127.0.0.1:{}/mcp?key=secret",
            babbler(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        ),
        "http://no-such-host.invalid/mcp?key=secret".to_owned(),
    ];
    for url in urls {
        let entry = json!({"url": url, "allowPrivate": true, "timeout": "40s"});
        let mut client = beside_ok(entry).connect();
        let error = refused_at_once(&mut client, "echo");
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{url}: {error}");
        eprintln!("{url}: {}", error["message"]);
        echoes(&mut client, "ok");
    }
}

#[test]
fn silent_listener_is_given_up_at_the_timeout() {
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://127.0.0.1:{}/mcp", babbler(b""));
        let entry = json!({"url": url, "allowPrivate": true, "timeout": "1s"});
        let mut client = beside_ok(entry).connect();
        let error = refused_at_once(&mut client, "echo");
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{error}");
        let (status, took, _) = client.finish();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
