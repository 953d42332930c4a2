//! Settings are live: what becomes of servers, and of calls that are under way.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    Client, Setup, json_in, lives, refusal,
    reload::{point, put, reading, status},
    scripted, scripted_with, text, within,
};

const MARGIN: Duration = Duration::from_secs(10);

fn pid(client: &mut Client, server: &str) -> u32 {
    text(&client.execute(server, "pid", json!({}))).parse().unwrap()
}

fn write(setup: &Setup, servers: Value) {
    put(&setup.path().join(".mcp.json"), &json!({ "mcpServers": servers }).to_string());
}

#[track_caller]
fn waits_for_servers(client: &mut Client, names: &[&str]) {
    let done = within(MARGIN, || status(client)["available_servers"] == json!(names));
    assert!(done, "{}", status(client));
}

#[test]
fn only_servers_that_run_differently_are_replaced() {
    let server = || scripted_with(&["pid", "slow", "spawn", "echo"]);
    let servers =
        json!({"kept": server(), "told": server(), "changed": server(), "gone": server()});
    let setup = Setup::new(servers, None).arg("--debug");
    let mut client = setup.connect();
    let before: BTreeMap<&str, u32> = ["kept", "told", "changed", "gone"]
        .into_iter()
        .map(|server| (server, pid(&mut client, server)))
        .collect();
    let descendant = setup.path().join("descendant");
    client.execute("gone", "spawn", json!({"path": &descendant}));
    let descendant: u32 = fs::read_to_string(&descendant).unwrap().trim().parse().unwrap();
    assert!(lives(descendant));

    let mut told = server();
    told["description"] = json!("another one");
    told["timeout"] = json!("200ms");
    let mut changed = server();
    changed["env"] = json!({"OTHER": "1"});
    let slow = client
        .begin("execute_tool", json!({"server": "changed", "tool": "slow", "args": {"ms": 1500}}));
    thread::sleep(Duration::from_millis(100));
    write(&setup, json!({"told": told, "added": server(), "kept": server(), "changed": changed}));
    waits_for_servers(&mut client, &["told", "added", "kept", "changed"]);

    // Calls go to the new process, while the one before serves the call that it has.
    let replaced = pid(&mut client, "changed");
    assert_ne!(replaced, before["changed"]);
    assert!(lives(before["changed"]), "its call is not lost");
    assert_eq!(text(&client.response(slow)["result"]), "slow");
    assert!(within(MARGIN, || !lives(before["changed"])), "it ends when its call has");
    assert_eq!(pid(&mut client, "changed"), replaced);

    assert_eq!(pid(&mut client, "kept"), before["kept"]);
    assert_eq!(pid(&mut client, "told"), before["told"]);
    let late = client.execute("told", "slow", json!({"ms": 5_000}));
    let late = refusal(&late);
    assert_eq!(late["code"], "TIMEOUT", "the new timeout is in force: {late}");
    let list = json_in(&client.call("list_servers", json!({})));
    assert_eq!(list[0]["description"], "another one");

    assert!(within(MARGIN, || !lives(before["gone"]) && !lives(descendant)));
    let gone = refusal(&client.execute("gone", "echo", json!({})));
    assert_eq!(gone["code"], "SERVER_NOT_FOUND");
    assert!(lives(pid(&mut client, "added")));
    let (_, _, log) = client.finish();
    let line = "servers added: added; removed: gone; replaced: changed; described anew: told";
    assert!(log.contains(line), "{log}");
}

#[test]
fn eager_servers_of_new_settings_are_started() {
    let starts = |setup: &Setup, name: &str| {
        let starts = fs::read_to_string(setup.path().join(name)).unwrap_or_default();
        starts.lines().count()
    };
    let setup = Setup::new(json!({}), None).arg("--debug");
    let server = |name: &str, init: &str| {
        let mut server = scripted(&["--starts", setup.path().join(name).to_str().unwrap()]);
        server["init"] = json!(init);
        server
    };
    write(&setup, json!({"a": server("a", "lazy"), "b": server("b", "eager")}));
    let mut client = setup.connect();
    assert!(within(MARGIN, || starts(&setup, "b") == 1));
    let servers = json!({
        "a": server("a", "eager"), "b": server("b", "eager"), "c": server("c", "eager")
    });
    write(&setup, servers);
    waits_for_servers(&mut client, &["a", "b", "c"]);
    assert!(within(MARGIN, || starts(&setup, "a") == 1 && starts(&setup, "c") == 1));
    assert_eq!(starts(&setup, "b"), 1, "it was up already");
}

#[test]
fn call_ends_by_the_settings_it_began_with() {
    // The server keeps the call waiting, after it was denied and before its refusal is written.
    let rules = |tool: &str| {
        json!({
            "agents": {"default": {"allow": {"servers": ["*"], "tools": {"s": [tool]}}}},
            "defaults": {"deny_on_missing_agent": false, "explain_denials": false},
        })
    };
    let setup = Setup::new(json!({}), Some(&rules("echo_b"))).arg("--debug");
    let held = setup.path().join("held");
    fs::write(&held, "").unwrap();
    let tools = ["--tools", r#"["echo_a", "echo_b"]"#, "--held-file", held.to_str().unwrap()];
    write(&setup, json!({"s": scripted(&tools)}));
    let mut client = setup.connect();
    let call = json!({"server": "s", "tool": "echo_a", "args": {}});
    let early = client.begin("execute_tool", call.clone());
    let before = reading(&mut client, "gateway_rules")["success_count"].as_u64();
    put(&setup.path().join(".mcp-gateway-rules.json"), &rules("echo_a").to_string());
    let reloaded =
        within(MARGIN, || reading(&mut client, "gateway_rules")["success_count"].as_u64() > before);
    assert!(reloaded, "{}", status(&mut client));
    fs::remove_file(&held).unwrap();
    let early = refusal(&client.response(early)["result"]);
    assert_eq!(early["code"], "TOOL_NOT_FOUND");
    // Who is refused `echo_a` by a set of rules has `echo_b` by the same.
    assert!(early.to_string().contains("echo_b"), "{early}");
    let late = client.call("execute_tool", call);
    assert_ne!(late["isError"], true, "{late}");
}

#[test]
fn shutdown_stops_servers_that_still_drain() {
    let setup = Setup::new(json!({}), None).arg("--debug");
    let farewell = setup.path().join("farewell");
    let args = ["--tools", r#"["pid", "hang"]"#, "--farewell", farewell.to_str().unwrap()];
    write(&setup, json!({"s": scripted(&args)}));
    let mut client = setup.connect();
    let process = pid(&mut client, "s");
    client.begin("execute_tool", json!({"server": "s", "tool": "hang", "args": {}}));
    write(&setup, json!({"t": scripted(&[])}));
    waits_for_servers(&mut client, &["t"]);
    assert!(lives(process), "its call is in flight");
    let (status, took, _) = client.finish();
    assert!(status.success() && !lives(process));
    assert!(farewell.exists(), "it had the time to end that every server has");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Two states of both files that belong together. A call that saw the servers of one and the rules
/// of the other would get an answer that neither gives. `idle` servers are there and switched off.
fn states(setup: &Setup, idle: usize) {
    for (state, other) in [("a", "b"), ("b", "a")] {
        let dir = setup.path().join("mounted").join(format!("..{state}"));
        fs::create_dir_all(&dir).unwrap();
        let mut kept = scripted_with(&["echo", "only_a", "only_b"]);
        kept["description"] = json!(state);
        let mut changing = scripted_with(&["echo"]);
        changing["env"] = json!({"STATE": state});
        let own = format!("server_{state}");
        let mut servers = json!({"kept": kept, "changing": changing, &own: scripted(&[])});
        for n in 0..idle {
            servers[format!("idle_{n}")] = json!({"command": "none", "disabled": true});
        }
        let rules = json!({
            "agents": {"default": {
                "allow": {"servers": ["kept", "changing", own], "tools": {"*": ["*"]}},
                "deny": {"servers": [format!("server_{other}")],
                         "tools": {"kept": [format!("only_{other}")]}},
            }},
            "defaults": {"deny_on_missing_agent": false, "explain_denials": false},
        });
        fs::write(dir.join(".mcp.json"), json!({ "mcpServers": servers }).to_string()).unwrap();
        fs::write(dir.join(".mcp-gateway-rules.json"), rules.to_string()).unwrap();
    }
    let mounted = setup.path().join("mounted");
    symlink("..a", mounted.join("..data")).unwrap();
    for name in [".mcp.json", ".mcp-gateway-rules.json"] {
        symlink(format!("..data/{name}"), mounted.join(name)).unwrap();
    }
}

/// The calls of one round, and what each may be answered.
fn begin_round(client: &mut Client, round: usize) -> Vec<(u64, &'static str, usize)> {
    let execute = |server: &str, tool: &str, args: Value| {
        ("execute_tool", json!({"server": server, "tool": tool, "args": args}))
    };
    let mut asked = Vec::new();
    for n in 0..100 {
        let mark = round * 100 + n;
        let (kind, (tool, arguments)) = match n % 10 {
            0..3 => ("listed", ("list_servers", json!({}))),
            3 if n == 3 => ("echoed", execute("changing", "echo", json!({"mark": mark}))),
            3..8 => ("echoed", execute("kept", "echo", json!({"mark": mark}))),
            _ => ("witness", execute("kept", "only_a", json!({"mark": mark}))),
        };
        asked.push((client.begin(tool, arguments), kind, mark));
    }
    asked
}

fn check_answer(answer: &Value, kind: &str, mark: usize) {
    let result = &answer["result"];
    match kind {
        "listed" => {
            let seen = json_in(result);
            let names: Vec<&str> =
                seen.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
            let state = seen[0]["description"].as_str().unwrap();
            assert_eq!(names, ["kept", "changing", &format!("server_{state}")], "{seen}");
        }
        "witness" if result["isError"] == true => {
            let refused = refusal(result);
            assert_eq!(refused["code"], "TOOL_NOT_FOUND", "{refused}");
            assert!(refused.to_string().contains("only_b"), "{refused}");
        }
        _ => assert_eq!(json_in(result)["mark"], mark, "{answer}"),
    }
}

#[test]
fn reloads_never_mix_two_states() {
    let setup = Setup::new(json!({}), None).arg("--debug").arg("--config-dir=mounted");
    // So large that the files change between the reading of the one and of the other.
    states(&setup, 3_000);
    let mut client = setup.connect();
    let data = setup.path().join("mounted/..data");
    for (round, wait) in [20, 50, 80, 120, 200].into_iter().enumerate() {
        client.signal("-HUP");
        thread::sleep(Duration::from_millis(wait));
        let next = if round % 2 == 0 { "b" } else { "a" };
        point(&data, &format!("..{next}"));
        let settled = within(MARGIN, || {
            let listed = client.begin("list_servers", json!({}));
            let listed = client.response(listed);
            check_answer(&listed, "listed", 0);
            json_in(&listed["result"])[0]["description"] == next
        });
        assert!(settled, "{}", status(&mut client));
    }
}

#[test]
fn hundreds_of_reloads_lose_no_call() {
    let setup = Setup::new(json!({}), None).arg("--debug").arg("--config-dir=mounted");
    states(&setup, 0);
    let mut client = setup.connect();
    let data = setup.path().join("mounted/..data");
    let begun = Instant::now();
    let mut answered = 0;
    for round in 0..100 {
        let reloads = reading(&mut client, "gateway_rules")["success_count"].as_u64();
        let asked = begin_round(&mut client, round);
        point(&data, if round % 2 == 0 { "..b" } else { "..a" });
        client.signal("-HUP");
        for (id, kind, mark) in asked {
            check_answer(&client.response(id), kind, mark);
            answered += 1;
        }
        let reloaded = within(MARGIN, || {
            reading(&mut client, "gateway_rules")["success_count"].as_u64() > reloads
        });
        assert!(reloaded, "round {round}: {}", status(&mut client));
    }
    eprintln!("{answered} calls, 100 reloads in {:?}", begun.elapsed());
    let servers = || crate::support::descendants(client.pid());
    // A supervisor and a server for each of the two that were called.
    assert!(within(MARGIN, || servers().len() <= 4), "{:?}", servers());
    assert!(client.finish().0.success());
}
