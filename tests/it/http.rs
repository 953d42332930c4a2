//! Servers reached over Streamable HTTP: results as they came, sessions that end, servers that come
//! and go.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, Setup,
    http::{AT_ONCE, beside_ok, echoes, recovers},
    http_server::{ERAS, Era, FORMS, Form, HttpServer, Reply, Request},
    json_in, refusal,
    results::{RESULTS, passes},
    sdks::{Sdk, everything_script, gateway_over, node},
    text, within,
};

/// How often a server was asked for a new session.
fn handshakes(server: &HttpServer) -> usize {
    server.count("initialize")
}

#[test]
fn results_pass_through_over_http_as_they_came() {
    for era in ERAS {
        for form in FORMS {
            let server = HttpServer::start(era, form);
            let setup = Setup::new(json!({"s": server.entry()}), None);
            for mut client in [setup.connect(), setup.connect_stateless()] {
                RESULTS.iter().for_each(|result| passes(&mut client, "raw", result));
            }
        }
    }
}

#[test]
fn non_object_http_result_is_kept_as_text() {
    let server = HttpServer::start(Era::Legacy, Form::Sse);
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    assert_eq!(text(&client.execute("s", "raw", json!({"json": "[1, 2]"}))), "[1,2]");
    assert_eq!(text(&client.execute("s", "raw", json!({"json": "null"}))), "null");
}

#[test]
fn http_arguments_keep_their_numbers_as_written() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        let args = r#"{"z":12345678901234567890123,"a":1.10,"n":null,"deep":[{"b":true}]}"#;
        let call = format!(
            r#"{{"name":"execute_tool","arguments":{{"server":"s","tool":"echo","args":{args}}},"_meta":{{"token":"secret-token","progressToken":1,"traceparent":"00-a"}}}}"#
        );
        client.send_bytes(
            format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{call}}}{}"#, "\n")
                .as_bytes(),
        );
        assert_eq!(text(&client.response(77)["result"]), args);
        let seen = server.seen();
        let meta = &last_call(&seen).body["params"]["_meta"];
        assert_eq!(meta["traceparent"], "00-a");
        assert!(meta.get("token").is_none(), "credentials are not forwarded: {meta}");
    }
}

fn last_call(seen: &[Request]) -> &Request {
    seen.iter().rfind(|request| request.rpc() == "tools/call").unwrap()
}

#[test]
fn http_server_is_addressed_in_its_own_era() {
    for (era, version) in [(Era::Legacy, "2025-11-25"), (Era::Modern, "2026-07-28")] {
        let server = HttpServer::start(era, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        echoes(&mut client, "s");
        let seen = server.seen();
        let call = last_call(&seen);
        assert_eq!(call.header("mcp-protocol-version"), Some(version));
        assert_eq!(call.header("mcp-session-id").is_some(), era == Era::Legacy);
        assert_eq!(
            call.body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == version,
            era == Era::Modern
        );
        if era == Era::Legacy {
            let hello = seen.iter().find(|request| request.rpc() == "initialize").unwrap();
            assert_eq!(hello.body["params"]["protocolVersion"], version);
        }
    }
}

#[test]
fn ended_session_is_reopened_once_for_the_call() {
    for form in FORMS {
        let server = HttpServer::start(Era::Legacy, form);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        echoes(&mut client, "s");
        let gone = [
            HttpServer::session_not_found(),
            HttpServer::no_valid_session(),
            Reply::status(404),
            Reply::html(404),
        ];
        for (round, gone) in gone.into_iter().enumerate() {
            let begun = Instant::now();
            server.expire(gone.clone());
            echoes(&mut client, "s");
            assert!(begun.elapsed() < AT_ONCE, "{gone:?}");
            assert_eq!(handshakes(&server), round + 2, "{gone:?}");
        }
        assert_eq!(server.ran(), 5, "no call is made twice");
    }
}

#[test]
fn ten_calls_survive_the_end_of_a_session() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
    echoes(&mut client, "s");
    for round in 0..5 {
        let gone = [HttpServer::session_not_found(), HttpServer::no_valid_session()];
        server.expire(gone[round % 2].clone());
        let call = json!({"server": "s", "tool": "echo", "args": {"n": 1}});
        let ids: Vec<u64> = (0..10).map(|_| client.begin("execute_tool", call.clone())).collect();
        for id in ids {
            let response = client.response(id);
            assert_ne!(response["result"]["isError"], true, "{response}");
        }
    }
}

#[test]
fn server_that_ends_every_session_is_given_up() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let setup = beside_ok(server.entry());
    let mut client = setup.connect();
    echoes(&mut client, "s");
    server.on("tools/call", HttpServer::session_not_found());
    let (begun, before) = (Instant::now(), handshakes(&server));
    let error = refusal(&client.execute("s", "echo", json!({})));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(begun.elapsed() < AT_ONCE, "{error}");
    assert!(handshakes(&server) <= before + 2, "{} handshakes", handshakes(&server) - before);
    server.behave();
    echoes(&mut client, "s");
}

#[test]
fn a_server_that_restarts_between_calls_is_called_again() {
    for era in ERAS {
        for gone in [HttpServer::session_not_found(), HttpServer::no_valid_session()] {
            let mut server = HttpServer::start(era, Form::Sse);
            let setup = beside_ok(server.entry());
            let mut client = setup.connect();
            echoes(&mut client, "s");
            for _ in 0..3 {
                server.stop();
                server = HttpServer::start_at(server.address(), era, Form::Sse);
                server.expire(gone.clone());
                let begun = Instant::now();
                echoes(&mut client, "s");
                assert!(begun.elapsed() < AT_ONCE, "{era:?}");
                assert_eq!(server.ran(), 1, "{era:?}");
            }
        }
    }
}

#[test]
fn unreachable_server_is_named_and_found_again_later() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = beside_ok(server.entry()).connect();
        echoes(&mut client, "s");
        server.stop();
        let begun = Instant::now();
        let error = refusal(&client.execute("s", "echo", json!({})));
        assert_eq!(error["code"], "SERVER_UNAVAILABLE");
        assert!(begun.elapsed() < AT_ONCE, "{error}");
        let list = json_in(&client.call("list_servers", json!({"include_metadata": true})));
        assert_ne!(list[0]["status"], "ready", "{list}");
        let _back = HttpServer::start_at(server.address(), era, Form::Json);
        recovers(&mut client, "s");
    }
}

#[test]
fn server_may_change_its_era_across_a_restart() {
    for (before, after) in [(Era::Legacy, Era::Modern), (Era::Modern, Era::Legacy)] {
        let server = HttpServer::start(before, Form::Json);
        let mut client = Setup::new(json!({"s": server.entry()}), None).connect();
        echoes(&mut client, "s");
        server.stop();
        let _other = HttpServer::start_at(server.address(), after, Form::Json);
        let begun = Instant::now();
        // The first call may find out; from then on all is well.
        client.execute("s", "echo", json!({}));
        echoes(&mut client, "s");
        assert!(begun.elapsed() < AT_ONCE, "{before:?} to {after:?}");
    }
}

/// `server-everything` over HTTP on a port of its own; killed when dropped.
struct Everything {
    process: Child,
    port: u16,
}

impl Everything {
    fn start(port: u16) -> Self {
        let mut command = Command::new(node());
        command.arg(everything_script()).arg("streamableHttp").env("PORT", port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let open = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(within(PATIENCE, open), "server-everything does not listen");
        Self { process, port }
    }

    fn restart(self) -> Self {
        let port = self.port;
        drop(self);
        Self::start(port)
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port on which nothing listens right now.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn everything_entry(port: u16) -> Value {
    json!({"url": format!("http://localhost:{port}/mcp"), "allowPrivate": true, "timeout": "40s"})
}

#[test]
fn every_sdk_reaches_server_everything_over_http() {
    let server = Everything::start(free_port());
    let dir: PathBuf = tempfile::tempdir().unwrap().keep();
    let gateway = gateway_over(&dir, &json!({"everything": everything_entry(server.port)}));
    let call = |tool: &str, args: Value| json!({"name": "execute_tool", "arguments": {"server": "everything", "tool": tool, "args": args}});
    let calls = json!([
        {"name": "get_server_tools", "arguments": {"server": "everything", "detail": "names"}},
        call("echo", json!({"message": "hi"})),
        call("get-sum", json!({"a": 2, "b": 3.5})),
        call("get-tiny-image", json!({})),
        call("get-structured-content", json!({"location": "New York"})),
    ]);
    for (sdk, era) in
        [(Sdk::TypeScript1, "legacy"), (Sdk::TypeScript2, "auto"), (Sdk::Python, "modern")]
    {
        let seen = sdk.session(era, &calls, &gateway);
        let results = seen["results"].as_array().unwrap();
        let context = format!("{sdk:?} {era}: {results:?}");
        assert!(json_in(&results[0])["total_available"].as_u64().unwrap() > 5, "{context}");
        assert_eq!(text(&results[1]), "Echo: hi", "{context}");
        assert!(text(&results[2]).contains("5.5"), "{context}");
        assert_eq!(results[3]["content"][1]["type"], "image", "{context}");
        assert!(results[4]["structuredContent"].is_object(), "{context}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn restarted_server_everything_answers_the_next_call() {
    let mut server = Everything::start(free_port());
    let setup = Setup::new(json!({"everything": everything_entry(server.port)}), None);
    let mut client = setup.connect();
    for round in 0..3 {
        let begun = Instant::now();
        let result = client.execute("everything", "echo", json!({"message": "m"}));
        assert_eq!(text(&result), "Echo: m", "round {round}: {result}");
        assert!(begun.elapsed() < AT_ONCE);
        server = server.restart();
        // A moment in which the gateway may notice by itself; it must work either way.
        thread::sleep(Duration::from_millis(300 * round));
    }
}
