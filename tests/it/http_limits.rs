//! Servers over HTTP that send too much, too slowly or nothing, or ask in their turn: bounded in time
//! and memory, and no one else is disturbed.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Setup,
    http::{ANSWER, AT_ONCE, NOTE, beside_ok, echoes, refused_at_once},
    http_server::{ERAS, Era, FORMS, Form, HttpServer, Reply},
    processes::MODEST_MIB,
    refusal, resident_mib, text, within,
};

#[test]
fn http_answers_are_limited_in_size() {
    let (before, after) = ANSWER.split_once("mine").unwrap();
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = beside_ok(server.entry()).connect();
        for form in FORMS {
            let of = |bytes| match form {
                Form::Json => Reply::json(200, before).repeat("x", bytes).text(after),
                Form::Sse => Reply::sse()
                    .text(&format!("data: {before}"))
                    .repeat("x", bytes)
                    .text(&format!("{after}\n\n")),
            };
            server.on("odd", of(5_000_000));
            assert_eq!(
                text(&client.execute("s", "odd", json!({}))).len(),
                5_000_000,
                "{era:?} {form:?}"
            );
            server.on("odd", of(17_000_000));
            let error = refused_at_once(&mut client, "odd");
            assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{era:?} {form:?}");
            assert!(
                error["message"].as_str().unwrap().contains("16 MiB"),
                "{era:?} {form:?}: {error}"
            );
            server.on("odd", of(600_000_000));
            refused_at_once(&mut client, "odd");
            assert!(resident_mib(client.pid()) < MODEST_MIB, "{} MiB", resident_mib(client.pid()));
            echoes(&mut client, "s");
        }
    }
}

#[test]
fn flood_of_notifications_takes_no_memory() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut entry = server.entry();
        entry["timeout"] = json!("4s");
        let mut client = beside_ok(entry).connect();
        echoes(&mut client, "s");
        server.on("odd", Reply::sse().repeat(&format!("data: {NOTE}\n\n"), 100_000_000));
        let call = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(3) {
            echoes(&mut client, "ok");
            assert!(resident_mib(client.pid()) < MODEST_MIB, "{} MiB", resident_mib(client.pid()));
            thread::sleep(Duration::from_millis(50));
        }
        let error = refusal(&client.response(call)["result"]);
        assert_eq!(error["code"], "TIMEOUT", "{error}");
        // The stream is closed, or the flood would go on for ever.
        assert!(within(AT_ONCE, || server.hung_up() > 0), "{era:?}");
        echoes(&mut client, "s");
    }
}

#[test]
fn dripping_answer_is_given_up_at_the_timeout() {
    let drop = Duration::from_millis(50);
    let drips = [
        ("comments", (0..2000).fold(Reply::sse(), |reply, _| reply.text(": x\n").wait(drop))),
        (
            "an event",
            (0..2000).fold(Reply::sse().text("data: {"), |reply, _| reply.text(" ").wait(drop)),
        ),
        ("json", (0..2000).fold(Reply::json(200, "{"), |reply, _| reply.text(" ").wait(drop))),
        ("nothing", Reply::hang()),
        ("not even headers", Reply::mute()),
        (
            "no body",
            Reply::status(200)
                .header("Content-Type", "application/json")
                .wait(Duration::from_secs(600)),
        ),
    ];
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut entry = server.entry();
        entry["timeout"] = json!("1s");
        let mut client = beside_ok(entry).connect();
        echoes(&mut client, "s");
        for (name, reply) in &drips {
            server.on("odd", reply.clone());
            let begun = Instant::now();
            let error = refusal(&client.execute("s", "odd", json!({})));
            assert_eq!(error["code"], "TIMEOUT", "{era:?} {name}: {error}");
            assert!(begun.elapsed() < AT_ONCE, "{era:?} {name}");
            echoes(&mut client, "s");
        }
    }
}

#[test]
fn a_server_that_hangs_in_its_handshake_delays_nobody() {
    for era in ERAS {
        for key in [
            "POST",
            "server/discover",
            "initialize",
            "tools/list",
            "GET",
            "DELETE",
            "notifications/initialized",
        ] {
            let hanging = HttpServer::start(era, Form::Json);
            hanging.on(key, if key == "POST" { Reply::mute() } else { Reply::hang() });
            let other = HttpServer::start(era, Form::Sse);
            let mut entry = hanging.entry();
            entry["timeout"] = json!("2s");
            let setup = Setup::new(json!({"s": entry, "other": other.entry()}), None);
            let mut client = setup.connect();
            let call =
                client.begin("execute_tool", json!({"server": "s", "tool": "echo", "args": {}}));
            for _ in 0..20 {
                echoes(&mut client, "other");
            }
            let begun = Instant::now();
            let answer = client.response(call);
            assert!(begun.elapsed() < AT_ONCE, "{era:?} {key}: {answer}");
            let (status, took, stderr) = client.finish();
            assert_eq!(status.code(), Some(0), "{era:?} {key}: {stderr}");
            assert!(took < Duration::from_secs(5), "{era:?} {key}: {took:?}");
        }
    }
}

#[test]
fn twenty_hanging_calls_leave_room_for_the_next() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = beside_ok(server.entry()).connect();
        echoes(&mut client, "s");
        server.on("odd", Reply::mute());
        for _ in 0..20 {
            client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
        }
        assert!(
            within(AT_ONCE, || server.count("odd") == 20),
            "{era:?}: {} arrived",
            server.count("odd")
        );
        echoes(&mut client, "s");
        let (status, took, _) = client.finish();
        assert_eq!(status.code(), Some(0));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[test]
fn cancelled_http_call_is_cancelled_at_the_server() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = beside_ok(server.entry()).connect();
        echoes(&mut client, "s");
        server.on("odd", Reply::hang());
        let id = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
        assert!(within(AT_ONCE, || server.count("odd") == 1));
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
        // 2026-07-28 has no notice: there a client that hangs up has withdrawn.
        let told = || match era {
            Era::Legacy => server.count("notifications/cancelled") == 1,
            Era::Modern => server.hung_up() == 1,
        };
        assert!(within(AT_ONCE, told), "{era:?}");
        echoes(&mut client, "s");
    }
}

#[test]
fn every_kind_of_server_request_is_answered() {
    let asks = [
        ("sampling/createMessage", json!({"messages": [], "maxTokens": 5})),
        ("roots/list", json!({})),
        (
            "elicitation/create",
            json!({"message": "?", "requestedSchema": {"type": "object", "properties": {}}}),
        ),
        ("ping", json!({})),
        ("nonsense/unknown", json!({"x": 1})),
        ("tools/call", json!({"name": "x"})),
    ];
    for era in ERAS {
        let server = HttpServer::start(era, Form::Json);
        let mut client = beside_ok(server.entry()).connect();
        let stream = asks.iter().fold(Reply::sse(), |reply, (method, params)| {
            reply.event(&json!({"jsonrpc": "2.0", "id": format!("q-{method}"), "method": method, "params": params}).to_string())
        });
        server.on("odd", stream.wait(Duration::from_millis(500)).event(ANSWER));
        let result = client.execute("s", "odd", json!({}));
        assert_eq!(text(&result), "mine", "{era:?}");
        echoes(&mut client, "s");
        if era == Era::Modern {
            // There a server may not ask, so no one need answer.
            continue;
        }
        let answer = |method: &str| {
            let id = json!(format!("q-{method}"));
            server.seen().into_iter().map(|request| request.body).find(|body| body["id"] == id)
        };
        for (method, _) in &asks {
            assert!(within(AT_ONCE, || answer(method).is_some()), "{method} was not answered");
        }
        let answer = |method: &str| answer(method).unwrap();
        assert!(answer("sampling/createMessage").get("error").is_some());
        assert_eq!(answer("roots/list")["result"]["roots"], json!([]));
        let form = answer("elicitation/create");
        assert!(form.get("error").is_some() || form["result"]["action"] == "decline", "{form}");
        assert!(answer("ping").get("result").is_some());
        assert_eq!(answer("nonsense/unknown")["error"]["code"], -32601);
        assert!(answer("tools/call").get("error").is_some());
    }
}

#[test]
fn endless_http_questions_are_dropped() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut entry = server.entry();
    entry["timeout"] = json!("4s");
    let mut client = beside_ok(entry).connect();
    echoes(&mut client, "s");
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    server.on("odd", Reply::sse().repeat(&format!("data: {ping}\n\n"), 10_000_000));
    let call = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        echoes(&mut client, "ok");
        assert!(resident_mib(client.pid()) < MODEST_MIB, "{} MiB", resident_mib(client.pid()));
        thread::sleep(Duration::from_millis(50));
    }
    client.response(call);
    echoes(&mut client, "s");
}
