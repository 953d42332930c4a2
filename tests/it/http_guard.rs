//! Where requests to servers over HTTP may go, and what goes with them.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Setup,
    http::{AT_ONCE, beside_ok, echoes, well_said},
    http_server::{ERAS, Era, Form, HttpServer, Reply, Request},
    json_in, refusal, within,
};

/// The server's entry with headers that are secrets.
fn with_headers(server: &HttpServer) -> Value {
    let mut entry = server.entry();
    entry["headers"] = json!({"Authorization": "Bearer secret-bearer", "X-Api-Key": "secret-key"});
    entry
}

#[track_caller]
fn has_headers(request: &Request) {
    let context = format!("{} {} {}", request.method, request.target, request.rpc());
    assert_eq!(request.header("authorization"), Some("Bearer secret-bearer"), "{context}");
    assert_eq!(request.header("x-api-key"), Some("secret-key"), "{context}");
}

#[test]
fn headers_are_sent_with_every_request() {
    for era in ERAS {
        let server = HttpServer::start(era, Form::Sse);
        let mut client = Setup::new(json!({"s": with_headers(&server)}), None).connect();
        echoes(&mut client, "s");
        server.expire(HttpServer::session_not_found());
        echoes(&mut client, "s");
        server.on("odd", Reply::hang());
        let id = client.begin("execute_tool", json!({"server": "s", "tool": "odd"}));
        assert!(within(AT_ONCE, || server.count("odd") > 0));
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
        std::thread::sleep(Duration::from_millis(300));
        let (status, _, _) = client.finish();
        assert_eq!(status.code(), Some(0));
        let seen = server.seen();
        seen.iter().for_each(has_headers);
        if era == Era::Legacy {
            let methods: BTreeSet<&str> =
                seen.iter().map(|request| request.method.as_str()).collect();
            assert!(methods.contains("DELETE"), "a session is ended with its client: {methods:?}");
        }
    }
}

#[test]
fn headers_are_sent_when_a_stream_resumes() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut client = Setup::new(json!({"s": with_headers(&server)}), None).connect();
    echoes(&mut client, "s");
    // A stream that ends early and says how to go on.
    server.on("odd", Reply::sse().text("id: 7\nretry: 10\ndata: \n\n"));
    client.execute("s", "odd", json!({}));
    let seen = server.seen();
    seen.iter().for_each(has_headers);
    let resumed = seen.iter().any(|r| r.method == "GET" && r.header("last-event-id") == Some("7"));
    assert!(resumed, "the stream was not taken up again");
}

#[test]
fn reserved_headers_are_refused_or_harmless() {
    let reserved = [
        "Accept",
        "Content-Type",
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "Last-Event-ID",
        "Mcp-Method",
        "Mcp-Name",
        "bad name",
        "X-Value",
    ];
    for era in ERAS {
        for name in reserved {
            let server = HttpServer::start(era, Form::Json);
            let mut entry = server.entry();
            let value = if name == "X-Value" { "new\nline" } else { "7" };
            entry["headers"] = json!({ name: value });
            let setup = beside_ok(entry);
            let (code, out, said) = setup.run(&["check"]);
            if code == 2 {
                assert!((said + &out).contains(name), "{name}");
                continue;
            }
            let mut client = setup.connect();
            let begun = Instant::now();
            let result = client.execute("s", "echo", json!({}));
            assert!(begun.elapsed() < AT_ONCE, "{era:?} {name}: {result}");
            if result["isError"] == true {
                well_said(&refusal(&result));
            }
            eprintln!("{era:?} {name}: {result}");
            echoes(&mut client, "ok");
        }
    }
}

#[test]
fn redirects_within_the_origin_are_followed_with_all_headers() {
    for status in [307, 308] {
        let server = HttpServer::start(Era::Legacy, Form::Json);
        server.on("/old", Reply::status(status).header("Location", "/mcp"));
        let mut entry = with_headers(&server);
        entry["url"] = json!(format!("http://{}/old", server.address()));
        let mut client = Setup::new(json!({ "s": entry }), None).connect();
        echoes(&mut client, "s");
        server.seen().iter().for_each(has_headers);
        assert!(server.seen().iter().any(|request| request.target == "/mcp"));
    }
}

#[test]
fn redirects_to_other_origins_are_never_followed() {
    for era in ERAS {
        for status in [301, 302, 303, 307, 308] {
            let (server, other) =
                (HttpServer::start(era, Form::Json), HttpServer::start(era, Form::Json));
            let mut client = beside_ok(with_headers(&server)).connect();
            echoes(&mut client, "s");
            let location = format!("{}?key=secret-in-query", other.url());
            server.on("odd", Reply::status(status).header("Location", &location));
            let begun = Instant::now();
            let error = refusal(&client.execute("s", "odd", json!({})));
            assert!(begun.elapsed() < AT_ONCE);
            assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{status}: {error}");
            assert!(error["message"].as_str().unwrap().contains("redirect"), "{status}: {error}");
            well_said(&error);
            assert_eq!(other.seen().len(), 0, "{status}");
            echoes(&mut client, "s");
            // And in the handshake.
            server.on("POST", Reply::status(status).header("Location", &location));
            let mut client = beside_ok(with_headers(&server)).connect();
            let error = refusal(&client.execute("s", "echo", json!({})));
            assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{status}: {error}");
            well_said(&error);
            assert_eq!(other.seen().len(), 0, "{status}");
        }
    }
}

#[test]
fn redirect_loops_and_other_schemes_are_refused() {
    let server = HttpServer::start(Era::Modern, Form::Json);
    let mut client = beside_ok(server.entry()).connect();
    echoes(&mut client, "s");
    for location in
        ["/mcp", "file:///etc/passwd", "https://127.0.0.1:1/", "//127.0.0.1:1/", "::", ""]
    {
        server.on("odd", Reply::status(307).header("Location", location));
        let before = server.count("odd");
        let begun = Instant::now();
        let error = refusal(&client.execute("s", "odd", json!({})));
        assert!(begun.elapsed() < AT_ONCE, "{location}");
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{location}: {error}");
        well_said(&error);
        assert!(server.count("odd") - before <= 20, "{location}");
        echoes(&mut client, "s");
    }
}

#[test]
fn a_proxy_named_in_the_environment_is_not_used() {
    let (server, proxy) =
        (HttpServer::start(Era::Legacy, Form::Json), HttpServer::start(Era::Legacy, Form::Json));
    let address = format!("http://{}", proxy.address());
    let mut setup = Setup::new(json!({"s": with_headers(&server)}), None);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
    {
        setup = setup.env(name, &address);
    }
    for name in ["NO_PROXY", "no_proxy"] {
        setup = setup.env(name, "");
    }
    let mut client = setup.connect();
    echoes(&mut client, "s");
    assert_eq!(proxy.seen().len(), 0);
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let port = server.address().port();
    let hosts = [
        "127.0.0.1",
        "localhost",
        "LocalHost",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ];
    for host in hosts {
        let entry = json!({"url": format!("http://{host}:{port}/mcp?key=secret-in-query"), "timeout": "40s"});
        let setup = beside_ok(entry);
        let mut client = setup.connect();
        let begun = Instant::now();
        let error = refusal(&client.execute("s", "echo", json!({})));
        assert!(begun.elapsed() < AT_ONCE, "{host}");
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{host}: {error}");
        assert!(error["message"].as_str().unwrap().contains("allowPrivate"), "{host}: {error}");
        well_said(&error);
        echoes(&mut client, "ok");
    }
    assert_eq!(server.seen().len(), 0);
    // The same server, allowed.
    for host in ["127.0.0.1", "localhost"] {
        let entry = json!({"url": format!("http://{host}:{port}/mcp"), "allowPrivate": true});
        echoes(&mut beside_ok(entry).connect(), "s");
    }
}

#[test]
fn addresses_are_shown_without_what_is_secret_in_them() {
    let server = HttpServer::start(Era::Legacy, Form::Json);
    let mut entry = with_headers(&server);
    entry["url"] =
        json!(format!("http://user:secret-password@{}/mcp?key=secret-in-query", server.address()));
    let setup = beside_ok(entry).arg("--debug").env("RUST_LOG", "debug");
    let mut client = setup.connect();
    let result = client.execute("s", "echo", json!({"n": 1}));
    assert_ne!(result["isError"], true, "{result}");
    assert!(server.seen().iter().any(|request| request.target == "/mcp?key=secret-in-query"));
    for status in [500, 401, 404, 302] {
        server.on("odd", Reply::html(status));
        well_said(&refusal(&client.execute("s", "odd", json!({}))));
    }
    server.stop();
    well_said(&refusal(&client.execute("s", "echo", json!({}))));
    let list = json_in(&client.call("list_servers", json!({"include_metadata": true})));
    assert_eq!(list[0]["url"], format!("http://{}/mcp", server.address()));
    let (_, _, stderr) = client.finish();
    for secret in ["secret-bearer", "secret-key", "secret-password", "secret-in-query"] {
        assert!(!stderr.contains(secret), "{secret} in the log: {stderr}");
    }
}
