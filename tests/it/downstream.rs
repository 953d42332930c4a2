//! Servers behind the gateway: results as they came, faults that stay where they happen, processes
//! that end.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Client, PATIENCE, Setup, children, descendants, json_in, kill,
    processes::all_gone,
    refusal,
    results::{RESULTS, passes},
    scripted, scripted_with, text, within,
};

#[test]
fn results_pass_through_unchanged_in_both_eras() {
    for era in ["legacy", "modern", "both"] {
        let server = scripted(&["--era", era, "--tools", r#"["raw","raw_last"]"#]);
        let setup = Setup::new(json!({ "s": server }), None);
        for mut client in [setup.connect(), setup.connect_stateless()] {
            for tool in ["raw", "raw_last"] {
                RESULTS.iter().for_each(|result| passes(&mut client, tool, result));
            }
        }
    }
}

#[test]
fn non_object_result_is_kept_as_text() {
    let setup = Setup::new(json!({"s": scripted_with(&["raw"])}), None);
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "raw", json!({"json": "[1, 2]"}))), "[1,2]");
    assert_eq!(text(&client.execute("s", "raw", json!({"json": "null"}))), "null");
}

#[test]
fn arguments_reach_the_tool_with_their_numbers_as_written() {
    let setup = Setup::new(json!({"s": scripted_with(&["heard", "echo"])}), None);
    let mut client = setup.connect();
    let args = r#"{"z":12345678901234567890123,"a":1.10,"n":null,"deep":[{"b":true}]}"#;
    client.send_bytes(
        format!(r#"{{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{{"name":"execute_tool","arguments":{{"server":"s","tool":"echo","args":{args}}},"_meta":{{"progressToken":1,"token":"secret-token","traceparent":"00-a","vendor/x":1}}}}}}{}"#, "\n").as_bytes(),
    );
    // Python prints integers whole and keeps the order.
    let echoed = text(&client.response(77)["result"]).to_owned();
    assert_eq!(
        echoed,
        r#"{"z": 12345678901234567890123, "a": 1.1, "n": null, "deep": [{"b": true}]}"#
    );
    let heard = text(&client.execute("s", "heard", json!({}))).to_owned();
    assert!(heard.contains("traceparent") && heard.contains("vendor/x"), "{heard}");
    assert!(!heard.contains("secret-token"), "credentials are not forwarded");
}

#[test]
fn five_megabytes_pass_and_seventeen_are_refused_by_name() {
    let setup = Setup::new(json!({"s": scripted_with(&["big", "echo"])}), None);
    let mut client = setup.connect_stateless();
    let result = client.execute("s", "big", json!({"bytes": 5_000_000}));
    assert_eq!(text(&result).len(), 5_000_000);
    let mut client = setup.connect();
    let result = client.execute("s", "big", json!({"bytes": 5_000_000}));
    assert_eq!(text(&result).len(), 5_000_000);
    let error = refusal(&client.execute("s", "big", json!({"bytes": 17_000_000})));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("16 MiB"), "{error}");
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}", "the server goes on");
}

#[test]
fn a_servers_own_error_keeps_code_message_and_data() {
    let setup = Setup::new(json!({"s": scripted_with(&["rpc_error"])}), None);
    for mut client in [setup.connect(), setup.connect_stateless()] {
        for error in [
            json!({"code": -32050, "message": "no", "data": {"a": [1.50, 2]}}),
            json!({"code": 7, "message": ""}),
        ] {
            let args = json!({"server": "s", "tool": "rpc_error", "args": {"error": error}});
            let id = client.begin("execute_tool", args);
            assert_eq!(client.response(id)["error"], error);
        }
    }
}

#[test]
fn junk_and_foreign_messages_are_passed_over() {
    let tools = r#"["junk","foreign_id","flood","echo"]"#;
    let server = scripted(&["--banner", "500", "--flood-stderr", "20000", "--tools", tools]);
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "junk", json!({}))), "junk");
    assert_eq!(text(&client.execute("s", "foreign_id", json!({}))), "mine");
    assert_eq!(text(&client.execute("s", "flood", json!({"count": 20_000}))), "flooded");
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    let (_, _, stderr) = client.finish();
    assert!(stderr.lines().count() < 400, "the log is bounded: {} lines", stderr.lines().count());
}

#[test]
fn tool_list_pages_are_followed_and_bounded() {
    let names: Vec<String> = (0..10).map(|i| format!("t{i}")).collect();
    let tools = json!(names).to_string();
    let setup = Setup::new(
        json!({
            "paged": scripted(&["--pages", "4", "--tools", &tools]),
            "none": scripted(&["--no-list"]),
            "huge": scripted(&["--many", "20000"]),
            "vast": scripted(&["--many", "100000"]),
            "same": scripted(&["--endless", "same"]),
            "new": scripted(&["--endless", "new"]),
            "twice": scripted(&["--tools", r#"["a","a",{"noname":1},"b"]"#]),
        }),
        None,
    );
    let mut client = setup.connect();
    let mut tools = |server: &str| client.call("get_server_tools", json!({"server": server}));
    assert_eq!(json_in(&tools("paged"))["total_available"], 10);
    assert_eq!(json_in(&tools("none"))["total_available"], 0);
    assert_eq!(json_in(&tools("twice"))["total_available"], 2);
    for (server, why) in [
        ("huge", "more than 10000 tools"),
        ("vast", "too long"),
        ("same", "same page"),
        ("new", "more than 200 pages"),
    ] {
        let error = refusal(&tools(server));
        assert_eq!(error["code"], "SERVER_UNAVAILABLE", "{server}");
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
}

#[test]
fn timed_out_call_is_answered_and_cancelled_downstream() {
    let mut server = scripted_with(&["hang", "heard", "slow"]);
    server["timeout"] = json!("20s");
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    client.execute("s", "heard", json!({}));
    let begun = Instant::now();
    let arguments = json!({"server": "s", "tool": "hang", "timeout_ms": 300});
    let error = refusal(&client.call("execute_tool", arguments));
    assert_eq!(error["code"], "TIMEOUT");
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert!(within(Duration::from_secs(10), || {
        let heard = text(&client.execute("s", "heard", json!({}))).to_owned();
        heard.contains("notifications/cancelled")
    }));
    assert_eq!(
        text(&client.execute("s", "slow", json!({"ms": 400}))),
        "slow",
        "the next call works"
    );
}

#[test]
fn client_cancellation_reaches_the_server() {
    let setup = Setup::new(json!({"s": scripted_with(&["hang", "heard"])}), None);
    let mut client = setup.connect();
    client.execute("s", "heard", json!({}));
    let id = client.begin("execute_tool", json!({"server": "s", "tool": "hang"}));
    assert!(within(Duration::from_secs(10), || {
        text(&client.execute("s", "heard", json!({}))).contains("\"hang\"")
    }));
    client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    assert!(within(Duration::from_secs(10), || {
        is_withdrawn(text(&client.execute("s", "heard", json!({}))))
    }));
}

/// Whether the server heard that its `hang` call, and no other, is withdrawn.
fn is_withdrawn(heard: &str) -> bool {
    let heard: Vec<Value> = serde_json::from_str(heard).unwrap();
    let hanging = heard.iter().find(|m| m["params"]["name"] == "hang").unwrap();
    let withdrawn: Vec<&Value> =
        heard.iter().filter(|m| m["method"] == "notifications/cancelled").collect();
    withdrawn.len() == 1 && withdrawn[0]["params"]["requestId"] == hanging["id"]
}

#[test]
fn silent_handshake_is_reported_while_the_start_continues() {
    let dir = tempfile::tempdir().unwrap();
    let silent = dir.path().join("silent");
    fs::write(&silent, "").unwrap();
    let setup = Setup::new(
        json!({
            "mute": scripted(&["--silent-file", silent.to_str().unwrap(), "--era", "legacy"]),
            "dies": scripted(&["--die"]),
            "ok": scripted(&[]),
        }),
        None,
    );
    let mut client = setup.connect();
    let arguments = json!({"server": "mute", "tool": "echo", "timeout_ms": 300});
    let error = refusal(&client.call("execute_tool", arguments));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("handshake"), "{error}");
    assert!(error["retry_after_ms"].as_u64().is_some());
    let error = refusal(&client.execute("dies", "echo", json!({})));
    assert!(error["message"].as_str().unwrap().contains("ended before"), "{error}");
    assert_eq!(text(&client.execute("ok", "echo", json!({}))), "{}");
    let metadata = json!({"include_metadata": true});
    let list = json_in(&client.call("list_servers", metadata));
    let statuses: Vec<&str> =
        list.as_array().unwrap().iter().map(|server| server["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["starting", "failed", "ready"]);
    // What it did not hear is asked again ten seconds later, in the older way.
    fs::remove_file(&silent).unwrap();
    assert_eq!(text(&client.execute("mute", "echo", json!({}))), "{}");
}

#[test]
fn death_during_a_call_fails_it_and_next_restarts() {
    let setup = Setup::new(json!({"s": scripted_with(&["die", "echo", "pid", "hang"])}), None);
    let mut client = setup.connect();
    let begun = Instant::now();
    let error = refusal(&client.execute("s", "die", json!({})));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("may have run"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20), "not at the timeout");
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    for round in 0..20 {
        let pid: u32 = text(&client.execute("s", "pid", json!({}))).parse().unwrap();
        kill(pid, "-9");
        all_gone(&[pid], Duration::from_secs(10));
        // Without a pause: the gateway may not have seen the death yet.
        let result = client.execute("s", "echo", json!({"round": round}));
        assert_ne!(result["isError"], true, "{result}");
    }
    let hangs = setup.path().join("hangs");
    let args = json!({ "path": hangs });
    let hanging =
        client.begin("execute_tool", json!({"server": "s", "tool": "hang", "args": args}));
    // Calls may overtake each other, and one that the server never saw is made again.
    assert!(within(PATIENCE, || hangs.exists()));
    let pid: u32 = text(&client.execute("s", "pid", json!({}))).parse().unwrap();
    kill(pid, "-9");
    let error = refusal(&client.response(hanging)["result"]);
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
}

#[test]
fn server_that_stops_reading_delays_only_itself() {
    let mut stuck = scripted_with(&["stop_reading", "echo"]);
    stuck["timeout"] = json!("2s");
    let setup = Setup::new(json!({"stuck": stuck, "ok": scripted(&[])}), None);
    let mut client = setup.connect();
    // On a busy machine the start alone may take longer than the timeout.
    let started = || client.execute("stuck", "echo", json!({}))["isError"] != true;
    assert!(within(Duration::from_secs(60), started));
    client.begin("execute_tool", json!({"server": "stuck", "tool": "stop_reading"}));
    let large = "x".repeat(1_000_000);
    let waiting = client
        .begin("execute_tool", json!({"server": "stuck", "tool": "echo", "args": {"x": large}}));
    assert_eq!(text(&client.execute("ok", "echo", json!({}))), "{}");
    let error = refusal(&client.response(waiting)["result"]);
    assert_eq!(error["code"], "TIMEOUT");
    let (status, took, _) = client.finish();
    assert!(status.success());
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_child_gets_a_small_environment() {
    let mut server = scripted_with(&["env"]);
    server["env"] = json!({"OWN": "own", "FROM": "${OUTER}"});
    server["inheritEnv"] = json!(["PASSED_ON"]);
    let setup = Setup::new(json!({ "s": server }), None)
        .env("OUTER", "outer")
        .env("PASSED_ON", "yes")
        .env("GATEWAY_SECRET", "must stay");
    let mut client = setup.connect();
    let env: Value = serde_json::from_str(text(&client.execute("s", "env", json!({})))).unwrap();
    for (name, value) in
        [("OWN", "own"), ("FROM", "outer"), ("PASSED_ON", "yes"), ("TOLLGATE_DEPTH", "1")]
    {
        assert_eq!(env[name], value, "{name}");
    }
    assert!(env["PATH"].is_string());
    for name in ["GATEWAY_SECRET", "OUTER", "CARGO_MANIFEST_DIR"] {
        assert!(env.get(name).is_none(), "{name} was passed on");
    }
}

#[test]
fn eager_servers_are_started_with_the_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let starts = dir.path().join("starts");
    let mut eager = scripted(&["--starts", starts.to_str().unwrap()]);
    eager["init"] = json!("eager");
    let setup = Setup::new(json!({ "s": eager }), None);
    let _client = setup.start();
    assert!(within(Duration::from_secs(20), || starts.exists()));
}

/// A gateway with a plain server, a stubborn one, and one with a descendant behind setsid, all
/// running; and the processes below the gateway.
fn busy() -> (Client, Vec<u32>, Setup) {
    let dir = tempfile::tempdir().unwrap();
    let pids = dir.path().join("pids");
    let path = pids.to_str().unwrap();
    let setup = Setup::new(
        json!({
            "plain": scripted_with(&["hang", "spawn", "echo"]),
            "stubborn": scripted(&["--stubborn", "--setsid", path]),
            "mute": scripted(&["--silent", "--setsid", path]),
        }),
        None,
    );
    let mut client = setup.connect();
    client.execute("plain", "spawn", json!({ "path": path }));
    client.execute("stubborn", "echo", json!({}));
    client.begin("execute_tool", json!({"server": "mute", "tool": "echo"}));
    client.begin("execute_tool", json!({"server": "plain", "tool": "hang"}));
    let count = || fs::read_to_string(&pids).unwrap_or_default().lines().count();
    assert!(within(Duration::from_secs(20), || count() == 3));
    let below = descendants(client.pid());
    assert!(below.len() >= 9, "3 supervisors, 3 servers, 3 sleeps: {below:?}");
    (client, below, setup)
}

#[test]
fn the_end_of_input_ends_everything_in_good_order() {
    let (client, below, _setup) = busy();
    let (status, took, stderr) = client.finish();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    all_gone(&below, Duration::ZERO);
}

#[test]
fn signals_end_everything_in_good_order() {
    for signal in ["-TERM", "-INT"] {
        let (mut client, below, _setup) = busy();
        client.signal(signal);
        let (status, took, stderr) = client.ended();
        assert_eq!(status.code(), Some(0), "{signal} {stderr}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        all_gone(&below, Duration::ZERO);
    }
}

#[test]
fn no_descendant_outlives_a_killed_gateway() {
    let (mut client, below, _setup) = busy();
    client.signal("-KILL");
    client.ended();
    all_gone(&below, Duration::from_secs(2));
}

#[test]
fn killed_supervisor_leaves_no_orphan() {
    let setup = Setup::new(json!({"s": scripted_with(&["echo", "spawn"])}), None);
    let mut client = setup.connect();
    let pids = setup.path().join("pids");
    client.execute("s", "spawn", json!({"path": pids.to_str().unwrap()}));
    let below = descendants(client.pid());
    kill(children(client.pid())[0], "-9");
    all_gone(&below, Duration::from_secs(5));
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    assert!(client.finish().0.success());
}

#[test]
fn abandoned_grandchildren_leave_no_zombies() {
    let setup = Setup::new(json!({"s": scripted_with(&["orphan", "echo"])}), None);
    let mut client = setup.connect();
    let pids = setup.path().join("pids");
    for _ in 0..5 {
        client.execute("s", "orphan", json!({"path": pids.to_str().unwrap()}));
    }
    let sleeps = fs::read_to_string(&pids).unwrap();
    for pid in sleeps.lines() {
        kill(pid.parse().unwrap(), "-9");
    }
    // A zombie still has its entry.
    let gone = || sleeps.lines().all(|pid| !Path::new("/proc").join(pid).exists());
    assert!(within(Duration::from_secs(10), gone), "a zombie is left");
    client.execute("s", "echo", json!({}));
}

#[test]
fn answers_in_flight_are_written_before_the_gateway_ends() {
    let setup = Setup::new(json!({"s": scripted_with(&["slow"])}), None);
    let mut client = setup.connect();
    client.execute("s", "slow", json!({"ms": 1}));
    let id =
        client.begin("execute_tool", json!({"server": "s", "tool": "slow", "args": {"ms": 500}}));
    client.close_stdin();
    assert_eq!(text(&client.response(id)["result"]), "slow");
    assert_eq!(client.ended().0.code(), Some(0));
}

#[test]
fn slow_starting_server_answers_in_the_end() {
    // Longer than rmcp waits for the answer to its question for the newest version.
    let server = scripted(&["--era", "legacy", "--drowsy", "10.5"]);
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "echo", json!({"x": 1}))), r#"{"x": 1}"#);
}
