//! The catalogue kept between runs: schemas on disk, tokens per agent. And servers whose
//! definitions are meant to hurt.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tollgate::domain::tokens::count;

use crate::support::{
    Client, Setup,
    discovery::{Answered, ask, offering},
    text, within,
};

/// The scripted server with tools that a Python expression makes; a command line cannot hold them.
fn generated(expression: &str, more: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/scripted.py");
    let program = format!(
        "import json, runpy, sys\nsys.argv = ['scripted.py', '--tools', json.dumps({expression}), *sys.argv[1:]]\nrunpy.run_path({script:?}, run_name='__main__')"
    );
    let mut args = vec!["-c", &program];
    args.extend(more);
    json!({"command": "python3", "args": args})
}

fn cache_files(setup: &Setup) -> Vec<PathBuf> {
    let mut open = vec![setup.path().join(".cache/tollgate")];
    let mut found = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.path().is_dir() {
                true => open.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found
}

fn starts(setup: &Setup) -> usize {
    fs::read_to_string(setup.path().join("starts")).unwrap_or_default().lines().count()
}

/// One server that notes its starts, is silent while the file `silent` is there, and offers what the
/// file `tools` says.
fn remembered(tools: &Value) -> Setup {
    let setup = Setup::new(json!({}), None);
    fs::write(setup.path().join("tools"), tools.to_string()).unwrap();
    let options = ["--starts", "starts", "--silent-file", "silent"];
    let mcp = json!({"mcpServers": {"s": generated("json.load(open('tools'))", &options)}});
    fs::write(setup.path().join(".mcp.json"), mcp.to_string()).unwrap();
    setup
}

fn one(client: &mut Client) -> Answered {
    ask(client, json!({"server": "s"}))
}

#[test]
fn second_gateway_answers_discovery_from_the_disk_cache() {
    let setup = remembered(&json!([{"name": "a", "description": "First."}, {"name": "b"}]));
    let mut client = setup.connect();
    let first = one(&mut client).text;
    let everywhere = ask(&mut client, json!({"server": "*"})).text;
    assert!(client.finish().0.success());
    assert_eq!(starts(&setup), 1);
    let files = cache_files(&setup);
    assert_eq!(files.len(), 1, "{files:?}");
    let mode = fs::metadata(&files[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");

    fs::write(setup.path().join("silent"), "").unwrap();
    let mut client = setup.connect();
    assert_eq!(ask(&mut client, json!({"server": "*"})).text, everywhere);
    assert_eq!(starts(&setup), 1, "a search that knows the server starts it");
    let begun = Instant::now();
    assert_eq!(one(&mut client).text, first);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // A call is likely to follow, so the server is on its way.
    assert!(within(Duration::from_secs(30), || starts(&setup) == 2));
}

#[test]
fn next_connection_refreshes_memory_and_disk_cache() {
    let setup = remembered(&json!([{"name": "a", "description": "First."}, {"name": "b"}]));
    let before = one(&mut setup.connect()).text;
    let changed = json!([{"name": "a", "description": "Second and last."}, {"name": "c"}]);
    fs::write(setup.path().join("tools"), changed.to_string()).unwrap();
    let mut client = setup.connect();
    assert_eq!(one(&mut client).text, before, "not asked yet");
    let mut after = String::new();
    let corrected = within(Duration::from_secs(60), || {
        after = one(&mut client).text;
        after != before
    });
    assert!(corrected && after.contains("Second and last.") && !after.contains("\"b\""), "{after}");
    assert!(client.finish().0.success());
    fs::write(setup.path().join("silent"), "").unwrap();
    assert_eq!(one(&mut setup.connect()).text, after);
}

#[test]
fn unusable_cache_file_counts_as_absent() {
    let setup = remembered(&json!([{"name": "a", "description": "First."}, {"name": "b"}]));
    let expected = one(&mut setup.connect()).text;
    let file = cache_files(&setup).pop().unwrap();
    let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = kept.clone();
        change(&mut changed);
        changed.to_string().into_bytes()
    };
    let whole = kept.to_string().into_bytes();
    let cases = [
        ("empty", Vec::new()),
        ("garbage", b"\xff\x00garbage".to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("no object", b"[]".to_vec()),
        ("deep", vec![b'['; 100_000]),
        ("other version", with(&|kept| kept["version"] = json!(9_999))),
        ("other encoding", with(&|kept| kept["encoding"] = json!("cl100k_base"))),
        ("no counts", with(&|kept| kept["tools"][0]["costs"] = json!({}))),
        ("negative counts", with(&|kept| kept["tools"][0]["costs"]["raw"] = json!(-1))),
        ("hidden name", with(&|kept| kept["tools"][0]["definition"]["name"] = json!("a\u{200b}"))),
    ];
    for (case, bytes) in cases {
        fs::write(&file, bytes).unwrap();
        assert_eq!(one(&mut setup.connect()).text, expected, "{case}");
        assert_eq!(fs::read(&file).unwrap(), whole, "{case}: not written anew");
    }
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(one(&mut setup.connect()).text, expected, "a directory");
}

/// A hostile server and a good one: an answer about the first in good time, at every detail, and one
/// about the second whatever the first does.
fn check_hostile(case: &str, expression: &str, check: impl Fn(&Answered)) {
    let good = offering(&[json!({"name": "good", "description": "Good."})]);
    let setup = Setup::new(json!({"bad": generated(expression, &[]), "good": good}), None);
    let mut client = setup.connect();
    let hostile = client.begin("get_server_tools", json!({"server": "bad"}));
    assert_eq!(ask(&mut client, json!({"server": "good"})).value["returned"], 1, "{case}");
    let first = client.response(hostile)["result"].clone();
    assert_ne!(first["isError"], true, "{case}: {first}");
    for detail in ["auto", "names", "summary", "signature", "full"] {
        for cap in [0, 30, 1_000] {
            let begun = Instant::now();
            let arguments = json!({"server": "bad", "detail": detail, "max_schema_tokens": cap});
            let found = ask(&mut client, arguments);
            // Wide margins: a minute is a hang, not a slow machine.
            assert!(begun.elapsed() < Duration::from_secs(20), "{case} {:?}", begun.elapsed());
            assert!(found.used() <= cap, "{case}: {}", found.text);
            if cap == 1_000 {
                check(&found);
            }
        }
    }
    assert_eq!(ask(&mut client, json!({"server": "good"})).value["returned"], 1, "{case}");
}

#[test]
fn hostile_definitions_delay_no_other_server() {
    let tool = |schema: &str| format!("[{{'name': 'bad', 'inputSchema': {schema}}}]");
    let object =
        |member: &str| tool(&format!("{{'type': 'object', 'properties': {{'a': {member}}}}}"));
    let cases = [
        (
            "64 KiB schema",
            tool(
                "{'type': 'object', 'properties': {f'parameter_{i}': {'type': 'string', 'description': 'x' * 20} for i in range(800)}}",
            ),
        ),
        ("$ref to itself", object("{'$ref': '#/properties/a'}")),
        (
            "$ref in a circle",
            tool(
                "{'$ref': '#/$defs/A', '$defs': {'A': {'$ref': '#/$defs/B'}, 'B': {'$ref': '#/$defs/A'}}}",
            ),
        ),
        (
            "$ref that doubles",
            tool(
                "{'properties': {'a': {'$ref': '#/$defs/d0'}}, '$defs': {f'd{i}': {'properties': {'l': {'$ref': f'#/$defs/d{i+1}'}, 'r': {'$ref': f'#/$defs/d{i+1}'}}} for i in range(40)}}",
            ),
        ),
        ("wide enum", object("{'enum': list(range(2**17))}")),
        ("wide union", object("{'anyOf': [{}] * 2**17}")),
        ("wide union of many", object("{'anyOf': [{'const': i} for i in range(2**16)]}")),
        (
            "deep",
            tool(
                "__import__('functools').reduce(lambda s, i: {'properties': {'a': s}}, range(40), {})",
            ),
        ),
        ("long name of a parameter", tool("{'properties': {'p' * 500000: {}}}")),
    ];
    for (case, expression) in cases {
        check_hostile(case, &expression, |found| {
            assert_eq!(found.value["returned"], 1, "{case}: {}", found.text)
        });
    }
    let spaces = "[{'name': 'bad', 'description': ' ' * 10**6 + 'x'}]";
    check_hostile("a million spaces", spaces, |found| assert_eq!(found.value["returned"], 1));
    let many = "[{'name': f'tool_{i}', 'description': 'Does it.'} for i in range(2000)]";
    check_hostile("2,000 tools", many, |found| {
        assert_eq!(found.value["total_available"], 2_000);
        assert!(found.value["returned"].as_u64().unwrap() > 200, "{}", found.text);
    });
}

#[test]
fn hidden_characters_and_bad_names_never_reach_agents() {
    let hidden = "\\u202e\\u200b\\x07\\x1b[31m\\U000e0041";
    let expression = format!(
        "[{{'name': 'a', 'description': 'Reads{hidden} files. Then{hidden} more.', 'inputSchema': {{'properties': {{'p': {{'description': 'x{hidden}y'}}}}}}}}, \
         {{'name': 'a', 'description': 'Second'}}, {{'description': 'nameless'}}, {{'name': 5}}, {{'name': ''}}, {{'name': 'b{hidden}'}}, 'text', None, [], {{'name': 'x' * 300}}, {{'name': 'b', 'inputSchema': 'odd', 'description': 7}}]"
    );
    // The scripted server makes tools of names; here they are to stay what they are.
    let expression = expression.replace("'text', None, [], ", "");
    check_hostile("hidden", &expression, |found| {
        assert_eq!(found.value["total_available"], 2, "{}", found.text);
        let shown = found.value.to_string();
        let odd = |c: char| c.is_control() || "\u{200b}\u{202e}".contains(c) || c > '\u{e0000}';
        assert!(
            !shown.contains(odd) && !shown.contains("\\u") && !shown.contains("Second"),
            "{shown}"
        );
    });
}

/// `tollgate tokens --json` over these settings.
fn report(setup: &Setup) -> Value {
    let (status, out, err) = setup.run(&["tokens", "--json"]);
    assert_eq!(status, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

/// What a client pays for these tools if it loads them itself.
fn raw(tools: &[Value]) -> usize {
    tools.iter().map(|tool| count(&tool.to_string())).sum()
}

#[test]
fn discovery_statistics_add_up_across_processes() {
    let tool = |name: &str| json!({"name": name, "description": "Does it.", "inputSchema": {"type": "object"}});
    let [s, t] = [["one", "two"].map(tool), ["three", "shut"].map(tool)];
    let allow = json!({"servers": ["*"], "tools": {"*": ["*"]}});
    let rules = json!({"agents": {
        "a": {"allow": allow, "deny": {"tools": {"t": ["shut"]}}}, "b": {"allow": allow}}});
    let setup = Setup::new(json!({"s": offering(&s), "t": offering(&t)}), Some(&rules));
    assert_eq!(report(&setup)["agents"], json!({}));
    let mut sent = [0, 0];
    for _ in 0..2 {
        let mut client = setup.connect();
        for (agent, server) in [("a", "s"), ("a", "s"), ("a", "*"), ("b", "t")] {
            let found = ask(&mut client, json!({"server": server, "agent_id": agent}));
            sent[usize::from(agent == "b")] += found.used();
        }
        for (tool, refused) in [("one", false), ("nope", true)] {
            let arguments = json!({"server": "s", "tool": tool, "agent_id": "a"});
            let result = client.call("execute_tool", arguments);
            assert_eq!(result["isError"] == true, refused, "{}", text(&result));
        }
        assert!(client.finish().0.success());
    }
    let report = report(&setup);
    let once = raw(&s) + raw(&t[..1]);
    let agents = json!({
        "a": {"answers": 6, "sent": sent[0], "raw": 2 * once, "calls": 4},
        "b": {"answers": 2, "sent": sent[1], "raw": 2 * raw(&t), "calls": 0},
    });
    assert_eq!(report["agents"], agents);
    assert_eq!(report["encoding"], "o200k_base");
    assert_eq!(report["raw"], raw(&s) + raw(&t));
    for (at, (name, tools)) in [("s", &s), ("t", &t)].into_iter().enumerate() {
        let server = &report["servers"][at];
        assert_eq!((&server["server"], &server["tools"]), (&json!(name), &json!(2)));
        assert_eq!(server["raw"], raw(tools), "{server}");
        let size = |key: &str| server[key].as_u64().unwrap();
        assert!(size("names") < size("signature") && size("signature") < size("full"), "{server}");
    }
    assert!(Path::new(&setup.path().join(".local/state/tollgate/context.json")).is_file());
}
