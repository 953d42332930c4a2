//! Servers that end, do not start, are not needed or are needed by too many. How the pauses between
//! trials grow is tested where it is decided, in `domain::supervision`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tollgate::{
    domain::{
        call::{ServerName, ToolName},
        settings::{ChildCommand, Elicitation, Endpoint, ServerSpec, StartMode},
        tokens::Encoding,
    },
    downstream::{CallFailure, ClientContext, Launcher, Outgoing, SchemaCache, Server, Status},
};

use crate::support::{
    Client, PATIENCE, Setup, descendants, json_in, kill, processes::all_gone, refusal, scripted,
    scripted_with, text, tollgate, within,
};

/// A file in a directory that lives as long as the test.
fn file(setup: &Path, name: &str, text: &str) -> String {
    let path = setup.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// How often a server was started that notes its starts in this file.
fn starts(path: &str) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// The entry of a server in `list_servers`, with metadata.
fn entry(client: &mut Client, server: &str) -> Value {
    let list = json_in(&client.call("list_servers", json!({"include_metadata": true})));
    list.as_array().unwrap().iter().find(|entry| entry["name"] == server).unwrap().clone()
}

fn is_down(client: &mut Client, server: &str) -> bool {
    within(PATIENCE, || entry(client, server)["status"] == "not started")
}

#[test]
fn crashing_server_is_paused_and_says_how_long() {
    let dir = tempfile::tempdir().unwrap();
    let noted = file(dir.path(), "starts", "");
    let doomed = scripted(&["--doomed", &file(dir.path(), "doomed", "99"), "--starts", &noted]);
    let setup = Setup::new(json!({"doomed": doomed, "ok": scripted(&[])}), None);
    let mut client = setup.connect();
    // The first restart is immediate; the call that follows a second death finds a pause.
    let mut refused = Value::Null;
    assert!(within(PATIENCE, || {
        refused = refusal(&client.execute("doomed", "echo", json!({})));
        refused.get("retry_after_ms").is_some()
    }));
    assert_eq!(refused["code"], "SERVER_UNAVAILABLE");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("it died twice within 5 s of its start; next trial in "), "{message}");
    let wait = refused["retry_after_ms"].as_u64().unwrap();
    assert!((1..=2_000).contains(&wait), "{wait}");
    assert_eq!(starts(&noted), 2);

    assert_eq!(text(&client.execute("ok", "echo", json!({}))), "{}", "others are not concerned");
    std::thread::sleep(Duration::from_millis(wait));
    assert!(within(PATIENCE, || {
        refused = refusal(&client.execute("doomed", "echo", json!({})));
        refused["message"].as_str().unwrap().contains("died 3 times")
    }));
    assert_eq!(starts(&noted), 3);
    assert!(refused["retry_after_ms"].as_u64().unwrap() > 2_000, "{refused}");
    let stands = entry(&mut client, "doomed");
    assert_eq!((&stands["status"], &stands["deaths"]), (&json!("failed"), &json!(3)));
    assert!(stands["retry_after_ms"].as_u64().is_some_and(|wait| wait <= 4_000), "{stands}");
}

#[test]
fn failed_start_is_not_retried_during_its_pause() {
    let dir = tempfile::tempdir().unwrap();
    let noted = file(dir.path(), "starts", "");
    let setup = Setup::new(json!({"s": scripted(&["--die", "--starts", &noted])}), None);
    let mut client = setup.connect();
    let first = refusal(&client.execute("s", "echo", json!({})));
    let again = refusal(&client.execute("s", "echo", json!({})));
    for error in [&first, &again] {
        assert!(error["message"].as_str().unwrap().contains("before it answered"), "{error}");
        assert!(error["retry_after_ms"].as_u64().is_some_and(|wait| wait <= 2_000), "{error}");
    }
    let message = again["message"].as_str().unwrap();
    assert!(message.contains("it failed to start once; next trial in "), "{message}");
    assert_eq!(starts(&noted), 1);
    assert!(within(PATIENCE, || {
        client.execute("s", "echo", json!({}));
        starts(&noted) > 1
    }));
}

#[test]
fn server_that_dies_once_restarts_for_waiting_calls() {
    let dir = tempfile::tempdir().unwrap();
    let noted = file(dir.path(), "starts", "");
    let doomed = scripted(&["--doomed", &file(dir.path(), "doomed", "1"), "--starts", &noted]);
    let setup = Setup::new(json!({ "s": doomed }), None);
    let mut client = setup.connect();
    client.call("get_server_tools", json!({"server": "s"}));
    // Noticed without any call.
    assert!(within(PATIENCE, || entry(&mut client, "s")["deaths"] == 1));
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    assert_eq!(starts(&noted), 2);
}

#[test]
fn killing_a_server_answers_its_calls_at_once() {
    let mut server = scripted_with(&["hang", "pid"]);
    server["timeout"] = json!("10m");
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    let pid: u32 = text(&client.execute("s", "pid", json!({}))).parse().unwrap();
    let hangs = setup.path().join("hangs");
    let args = json!({ "path": hangs });
    let hanging =
        client.begin("execute_tool", json!({"server": "s", "tool": "hang", "args": args}));
    assert!(within(PATIENCE, || hangs.exists()));
    kill(pid, "-9");
    // Its timeout is ten minutes.
    let error = refusal(&client.response(hanging)["result"]);
    assert!(error["message"].as_str().unwrap().contains("may have run"), "{error}");
    assert!(within(PATIENCE, || entry(&mut client, "s")["deaths"] == 1));
}

#[test]
fn tools_are_listed_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let tools = file(dir.path(), "tools", r#"["pid", "before"]"#);
    let setup = Setup::new(json!({"s": scripted(&["--tools-file", &tools])}), None);
    let mut client = setup.connect();
    let pid: u32 = text(&client.execute("s", "pid", json!({}))).parse().unwrap();
    fs::write(&tools, r#"["pid", "after"]"#).unwrap();
    kill(pid, "-9");
    assert!(is_down(&mut client, "s"));
    assert_eq!(text(&client.execute("s", "after", json!({}))), "{}");
    assert_eq!(refusal(&client.execute("s", "before", json!({})))["code"], "TOOL_NOT_FOUND");
    let names = json!({"server": "s", "detail": "names"});
    let tools = json_in(&client.call("get_server_tools", names))["tools"].to_string();
    assert!(tools.contains("after") && !tools.contains("before"), "{tools}");
}

#[test]
fn idle_server_stops_with_its_tree_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let pids = file(dir.path(), "pids", "");
    let mut server = scripted(&["--setsid", &pids, "--tools", r#"["pid"]"#]);
    server["idle"] = json!("1s");
    let setup = Setup::new(json!({"s": server, "kept": scripted_with(&["pid"])}), None);
    let mut client = setup.connect();
    let kept = client.execute("kept", "pid", json!({}));
    let others = descendants(client.pid());
    let before = client.execute("s", "pid", json!({}));
    let tree: Vec<u32> =
        descendants(client.pid()).into_iter().filter(|pid| !others.contains(pid)).collect();
    assert!(tree.len() >= 3, "keeper, server, sleep: {tree:?}");
    assert!(is_down(&mut client, "s"));
    all_gone(&tree, PATIENCE);
    let after = client.execute("s", "pid", json!({}));
    assert_ne!(text(&before), text(&after));
    assert!(entry(&mut client, "s").get("deaths").is_none(), "it was no death");
    assert_eq!(text(&client.execute("kept", "pid", json!({}))), text(&kept));
}

#[test]
fn a_server_is_never_stopped_while_a_call_runs() {
    let dir = tempfile::tempdir().unwrap();
    let noted = file(dir.path(), "starts", "");
    let mut server = scripted(&["--starts", &noted, "--tools", r#"["slow"]"#]);
    server["idle"] = json!("50ms");
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "slow", json!({"ms": 1_500}))), "slow");
    assert_eq!(starts(&noted), 1);
    assert!(is_down(&mut client, "s"), "and afterwards it is");
}

#[test]
fn concurrency_is_limited_and_all_calls_answered() {
    let mut bounded = scripted_with(&["busy"]);
    bounded["maxConcurrency"] = json!(2);
    let setup = Setup::new(json!({"bounded": bounded, "free": scripted_with(&["busy"])}), None);
    let mut client = setup.connect();
    let mut peak = |server: &str| {
        let arguments = json!({"server": server, "tool": "busy", "args": {"ms": 300}});
        let calls: Vec<u64> =
            (0..7).map(|_| client.begin("execute_tool", arguments.clone())).collect();
        let seen = calls.into_iter().map(|call| {
            let response = client.response(call);
            text(&response["result"]).parse::<usize>().unwrap()
        });
        seen.max().unwrap()
    };
    assert_eq!(peak("bounded"), 2);
    assert!(peak("free") > 2);
}

#[test]
fn waiting_call_ends_on_timeout_or_cancellation() {
    let mut server = scripted_with(&["hang", "heard", "late", "withdrawn"]);
    server["maxConcurrency"] = json!(1);
    let setup = Setup::new(json!({ "s": server }), None);
    let mut client = setup.connect();
    let cancel = |client: &mut Client, id: u64| {
        client.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}));
    };
    client.execute("s", "heard", json!({}));
    let hangs = setup.path().join("hangs");
    let hang = json!({"server": "s", "tool": "hang", "args": {"path": hangs.to_str().unwrap()}});
    let hanging = client.begin("execute_tool", hang);
    assert!(within(PATIENCE, || hangs.exists()));
    let withdrawn = client.begin("execute_tool", json!({"server": "s", "tool": "withdrawn"}));
    let late = json!({"server": "s", "tool": "late", "timeout_ms": 500});
    let error = refusal(&client.call("execute_tool", late));
    assert_eq!(error["code"], "SERVER_UNAVAILABLE");
    assert!(error["message"].as_str().unwrap().contains("`maxConcurrency`"), "{error}");
    cancel(&mut client, withdrawn);
    cancel(&mut client, hanging);
    let heard = text(&client.execute("s", "heard", json!({}))).to_owned();
    assert!(heard.contains("hang"), "{heard}");
    assert!(!heard.contains("late") && !heard.contains("\"withdrawn\""), "{heard}");
}

/// A server of a fleet that may be replaced, and the file that its starts are noted in.
fn server(dir: &Path, tools: &[&str]) -> (Arc<Server>, String) {
    server_with(dir, tools, &[])
}

fn server_with(dir: &Path, tools: &[&str], more: &[&str]) -> (Arc<Server>, String) {
    let noted = file(dir, "starts", "");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripted.py");
    let tools = json!(tools).to_string();
    let args = [&[script, "--starts", &noted, "--tools", &tools], more].concat();
    let args = args.into_iter().map(str::to_owned).collect();
    let env = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let spec = ServerSpec {
        name: ServerName::from("s"),
        description: String::new(),
        endpoint: Endpoint::Stdio(ChildCommand { program: "python3".into(), args, env, cwd: None }),
        timeout: PATIENCE,
        start: StartMode::Lazy,
        elicitation: Elicitation::Deny,
        idle: None,
        most_calls: None,
        identity: String::new(),
    };
    let launcher = Arc::new(Launcher::new(PathBuf::from(tollgate()), 0));
    (Arc::new(Server::new(spec, launcher, SchemaCache::new(None, Encoding::default()))), noted)
}

async fn call(server: &Arc<Server>, tool: &str, args: Value) -> Result<Value, CallFailure> {
    call_until(server, tool, args, None).await
}

/// A call whose client waits no longer than that.
async fn call_until(
    server: &Arc<Server>,
    tool: &str,
    args: Value,
    until: Option<tokio::time::Instant>,
) -> Result<Value, CallFailure> {
    let (tool, arguments, meta) = (ToolName::from(tool), args.into(), Map::new());
    let client = ClientContext::absent();
    let call = Outgoing { tool, arguments, meta, client, timeout: PATIENCE, until };
    let sent = |_| std::future::ready(Ok(()));
    let result = server.call(&call, &CancellationToken::new(), sent).await;
    result.map(|result| result.tree(1_000).unwrap())
}

async fn comes_down(server: &Server) -> bool {
    let begun = Instant::now();
    while !matches!(server.status(), Status::NotStarted) {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_and_call_share_the_clients_time() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = server_with(dir.path(), &["slow"], &["--drowsy", "1.5"]);
    let until = tokio::time::Instant::now() + Duration::from_millis(2_500);
    // Each fits into the time by itself.
    let late = call_until(&server, "slow", json!({"ms": 1_500}), Some(until)).await;
    assert!(late.is_err(), "{late:?}");
    assert!(call(&server, "slow", json!({"ms": 1_500})).await.is_ok());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retired_server_stops_after_its_last_call() {
    let dir = tempfile::tempdir().unwrap();
    let (server, noted) = server(dir.path(), &["slow", "pid"]);
    let running = {
        let server = server.clone();
        tokio::spawn(async move { call(&server, "slow", json!({"ms": 1_000})).await })
    };
    assert!(within(PATIENCE, || starts(&noted) == 1));
    server.retire();
    assert_eq!(text(&running.await.unwrap().unwrap()), "slow");
    assert!(comes_down(&server).await);
    // A straggler is served by a start of its own, and the server is stopped again.
    let pid: u32 = text(&call(&server, "pid", json!({})).await.unwrap()).parse().unwrap();
    assert_eq!(starts(&noted), 2);
    assert!(comes_down(&server).await);
    all_gone(&[pid], PATIENCE);
    server.stop().await;
    let refused = call(&server, "pid", json!({})).await;
    assert!(matches!(refused, Err(CallFailure::Unavailable(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retired_server_loses_none_of_many_calls() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _) = server(dir.path(), &["echo"]);
    server.retire();
    for round in 0..10 {
        let both = tokio::join!(
            call(&server, "echo", json!({ "round": round })),
            call(&server, "echo", json!({ "round": round }))
        );
        assert!(both.0.is_ok() && both.1.is_ok(), "{round}: {both:?}");
    }
    assert!(comes_down(&server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unused_retired_server_stops_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (server, noted) = server(dir.path(), &["pid"]);
    let pid: u32 = text(&call(&server, "pid", json!({})).await.unwrap()).parse().unwrap();
    assert!(matches!(server.status(), Status::Ready(_)), "{:?}", server.status());
    server.retire();
    assert!(comes_down(&server).await);
    server.stop().await;
    all_gone(&[pid], Duration::ZERO);
    assert_eq!(starts(&noted), 1);
}
