//! Secrets that settings bring in stay inside: no summary, list, refusal, log or fault shows them.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Setup, json_in, refusal, scripted, scripted_with, text};

/// One for each way in: the environment into `env`, into a header, into an argument, a file.
const SECRETS: [(&str, &str); 3] =
    [("API_KEY", "env-s3cr3t-1"), ("TOKEN", "header-s3cr3t-2"), ("ARG", "arg-s3cr3t-3")];

/// A server that prints its key on stderr, one that fails, and a remote one.
fn leaky() -> Setup {
    let script = scripted(&[])["args"][0].clone();
    let talks = "echo \"my key is $API_KEY\" >&2; echo \"arg $1\" >&2; exec python3 \"$0\"";
    let env = json!({
        "API_KEY": "${API_KEY}", "FROM_FILE": "${file:pass}", "DB_PASSWORD": "plain-s3cr3t-5",
    });
    let fails = "echo \"no start with $API_KEY\" >&2; exit 1";
    let servers = json!({
        "talks": {"command": "sh", "args": ["-c", talks, script, "${ARG}"], "env": env},
        "fails": {"command": "sh", "args": ["-c", fails], "env": {"API_KEY": "${API_KEY}"}},
        "remote": {
            "url": "https://u:url-s3cr3t-6@example.com/mcp?key=query-s3cr3t-7",
            "headers": {"Authorization": "Bearer ${TOKEN}"},
        },
    });
    let setup = Setup::new(servers, None).arg("--debug").env("RUST_LOG", "trace");
    fs::write(setup.path().join("pass"), "file-s3cr3t-4\n").unwrap();
    SECRETS.into_iter().fold(setup, |setup, (name, value)| setup.env(name, value))
}

#[track_caller]
fn clean(text: &str) {
    assert!(!text.contains("s3cr3t"), "{text}");
}

#[test]
fn session_shows_no_secret() {
    let setup = leaky();
    let mut client = setup.connect();
    let list = client.call("list_servers", json!({"include_metadata": true}));
    assert_eq!(json_in(&list)[2]["url"], "https://example.com/mcp");
    clean(&list.to_string());
    for server in ["talks", "fails", "remote"] {
        clean(&client.call("get_server_tools", json!({ "server": server })).to_string());
        clean(&client.execute(server, "no_such_tool", json!({})).to_string());
    }
    clean(&client.call("list_servers", json!({"include_metadata": true})).to_string());
    clean(&client.call("get_gateway_status", json!({})).to_string());
    let (_, _, stderr) = client.finish();
    assert!(stderr.contains("my key is [redacted]"), "{stderr}");
    assert!(stderr.contains("no start with [redacted]"), "{stderr}");
    clean(&stderr);
}

#[test]
fn commands_show_no_secret() {
    let setup = leaky();
    // `--debug` belongs to `serve`.
    let setup = Setup { args: Vec::new(), ..setup };
    for command in [
        &["check"][..],
        &["check", "--json"],
        &["servers"],
        &["servers", "--json"],
        &["tools", "talks"],
        &["tools", "fails"],
        &["call", "fails", "x"],
        &["call", "remote", "x", "--json"],
        &["explain", "default", "talks", "x"],
    ] {
        let (_, stdout, stderr) = setup.run(command);
        clean(&stdout);
        clean(&stderr);
    }
}

/// Masking takes hold of a file's secrets as of others, though the log goes line by line.
#[test]
fn each_line_of_a_multiline_secret_is_masked() {
    let script = scripted(&[])["args"][0].clone();
    let talks = "echo \"$PRIVATE_KEY\" >&2; exec python3 \"$0\"";
    let entry = json!({
        "command": "sh", "args": ["-c", talks, script], "env": {"PRIVATE_KEY": "${PRIVATE_KEY}"},
    });
    let key = "-----BEGIN KEY-----\nMIIs3cr3tAAAA\nBBBBs3cr3tCCCC\n-----END KEY-----";
    let setup = Setup::new(json!({ "s": entry }), None).env("PRIVATE_KEY", key);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    clean(&client.finish().2);
}

/// What came from the environment is as secret in an address as anywhere.
#[test]
fn secret_in_the_path_of_an_address_is_masked() {
    let entry = json!({"url": "https://example.com/${HOOK}/mcp"});
    let setup = Setup::new(json!({ "s": entry }), None).env("HOOK", "path-s3cr3t-9");
    let mut client = setup.connect();
    let list = client.call("list_servers", json!({"include_metadata": true}));
    assert!(list.to_string().contains("https://example.com/"), "{list}");
    clean(&list.to_string());
    let (_, stdout, _) = setup.run(&["servers"]);
    clean(&stdout);
}

/// A server that answers everything with an error which quotes its key.
const QUOTES_ITS_KEY: &str = r#"
import json, os, sys
for line in sys.stdin:
    if (id := json.loads(line).get("id")) is not None:
        error = {"code": -32000, "message": "bad key " + os.environ["API_KEY"]}
        print(json.dumps({"jsonrpc": "2.0", "id": id, "error": error}), flush=True)
"#;

fn check_refusal(secret: &str) {
    let env = json!({"API_KEY": "${API_KEY}"});
    let entry = json!({"command": "python3", "args": ["-c", QUOTES_ITS_KEY], "env": env});
    let setup = Setup::new(json!({ "s": entry }), None).env("API_KEY", secret);
    let mut client = setup.connect();
    let error = refusal(&client.execute("s", "t", json!({})));
    assert!(error["message"].as_str().unwrap().contains("bad key [redacted]"), "{error}");
    clean(&error.to_string());
    clean(&client.finish().2);
}

#[test]
fn secret_quoted_by_a_server_is_masked() {
    check_refusal("plain-s3cr3t");
}

/// Quotes and backslashes are written with escapes in JSON, where the mask must find them too.
#[test]
fn secret_with_quotes_is_masked_in_a_refusal() {
    check_refusal(r#"quo"ted\s3cr3t"#);
}

#[test]
fn public_parts_of_the_environment_are_not_masked() {
    let script = scripted(&[])["args"][0].clone();
    let talks = "echo home is $H >&2; exec python3 \"$0\"";
    let entry = json!({"command": "sh", "args": ["-c", talks, script], "env": {"H": "${HOME}"}});
    let setup = Setup::new(json!({ "s": entry }), None);
    let mut client = setup.connect();
    client.execute("s", "echo", json!({}));
    let stderr = client.finish().2;
    assert!(stderr.contains(&format!("home is {}", setup.path().display())), "{stderr}");
}

/// A user named `postgres` must not hide the server `postgres` from those who may use it.
#[test]
fn names_that_callers_must_repeat_are_never_masked() {
    let mut entry = scripted_with(&["query_rows"]);
    entry["env"] = json!({"PGUSER": "${PGUSER}", "MODE": "${MODE}"});
    let setup = Setup::new(json!({ "postgres": entry }), None);
    let setup = setup.env("PGUSER", "postgres").env("MODE", "query_rows");
    let mut client = setup.connect();
    let refused = refusal(&client.execute("postgres", "query_row", json!({})));
    assert_eq!(refused["hint"], "did you mean `query_rows`?");
    let tools = json_in(&client.call("get_server_tools", json!({"server": "postgres"})));
    assert_eq!(
        (&tools["server"], &tools["tools"][0]["name"]),
        (&json!("postgres"), &json!("query_rows"))
    );
    let servers = json_in(&client.call("list_servers", json!({})));
    assert_eq!(servers[0]["name"], "postgres");
}

/// Masking takes hold of texts, never of JSON's own words and numbers.
#[test]
fn masking_leaves_json_whole() {
    let schema = json!({
        "type": "object", "additionalProperties": false,
        "properties": {"port": {"type": "integer", "maximum": 54321}},
    });
    let tool = json!([{"name": "t", "description": "d", "inputSchema": schema}]);
    let mut entry = scripted(&["--tools", &tool.to_string()]);
    entry["env"] = json!({"REQUIRE_AUTH": "false", "PORT": "${PORT}", "KIND": "${KIND}"});
    let setup = Setup::new(
        json!({ "s": entry }),
        Some(&json!({
            "agents": {"default": {"allow": {"servers": ["s"]}}},
            "defaults": {"deny_on_missing_agent": false},
        })),
    );
    let setup = setup.arg("--debug").env("PORT", "54321").env("KIND", "object");
    let mut client = setup.connect();
    let tools = client.call("get_server_tools", json!({"server": "s"}));
    assert!(serde_json::from_str::<Value>(text(&tools)).is_ok(), "{tools}");
    assert_eq!(json_in(&tools)["tools"][0]["inputSchema"], schema);
    let status = client.call("get_gateway_status", json!({}));
    assert!(serde_json::from_str::<Value>(text(&status)).is_ok(), "{status}");
}

#[test]
fn child_gets_no_variable_that_nobody_named() {
    let mut named = scripted(&["--tools", r#"["env"]"#]);
    named["inheritEnv"] = json!(["ONE_MORE"]);
    let setup =
        Setup::new(json!({"plain": scripted(&["--tools", r#"["env"]"#]), "named": named}), None);
    let setup = setup.env("AWS_SECRET_ACCESS_KEY", "s3cr3t").env("ONE_MORE", "yes");
    let mut client = setup.connect();
    let mut env = |server: &str| client.execute(server, "env", json!({})).to_string();
    let (plain, named) = (env("plain"), env("named"));
    assert!(plain.contains("PATH") && !plain.contains("s3cr3t") && !plain.contains("ONE_MORE"));
    assert!(named.contains("ONE_MORE") && !named.contains("s3cr3t"));
}

#[test]
fn faults_show_no_value_of_the_file() {
    let broken = [
        r#""s3cr3t"#,
        r#""s3cr3t" "x""#,
        r#""s3cr3t\q""#,
        r#""\ud83ds3cr3t""#,
        r#"*s3cr3t"#,
        r#"!s3cr3t [1]"#,
        r#"!!int s3cr3t"#,
        r#"!!binary "s3cr3t!""#,
        r#"!!float s3cr3t"#,
        r#"!!bool s3cr3t"#,
        r#"["s3cr3t"]"#,
        r#"{"x": "s3cr3t"}"#,
        r#"{["s3cr3t"]: 1}"#,
        r#"{"s3cr3t", ]"#,
        r#"'s3cr3t"#,
        r#"| s3cr3t"#,
        r#"@s3cr3t"#,
        "\"a\"\n%s3cr3t\n---",
        "\"s3cr3t\u{0}\u{1}\"",
        "\"s3cr3t\"}}}}}",
        r#""${s3cr3t value}"#,
    ];
    for value in broken {
        let setup = Setup::new(json!({}), None);
        let text = format!(
            "{{\"mcpServers\": {{\"s\": {{\"command\": \"x\", \"env\": {{\"K\": {value}}}}}}}}}"
        );
        fs::write(setup.path().join(".mcp.json"), &text).unwrap();
        for args in [&["check"][..], &["check", "--json"], &["serve"], &["servers"]] {
            let (_, stdout, stderr) = setup.run(args);
            clean(&stdout);
            clean(&stderr);
        }
    }
}

#[test]
fn malformed_files_are_refused_with_line_and_column() {
    for (text, place) in [
        ("{\"mcpServers\": {\n  \"s\": {\"command\": \"x\" \"args\": []}}}", "2:"),
        ("{\"mcpServers\": {\n\n  \"s\": [1, 2}\n}", "3:"),
        ("{\"mcpServers\": {", "1:"),
    ] {
        let setup = Setup::new(json!({}), None);
        fs::write(setup.path().join(".mcp.json"), text).unwrap();
        let (status, stdout, _) = setup.run(&["check", "--json"]);
        let report: Value = serde_json::from_str(&stdout).unwrap();
        let fault = &report["faults"][0];
        assert_eq!(status, 2, "{stdout}");
        assert!(fault["message"].as_str().unwrap().starts_with("cannot be parsed"), "{stdout}");
        assert_eq!(format!("{}:", fault["line"]), place, "{text}");
    }
}
