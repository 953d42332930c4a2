//! Where settings say that files are: `~`, other names of `gateway.yaml`, directories that are not
//! there yet.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tollgate::domain::settings::Endpoint;

use crate::support::{
    PATIENCE, Setup, scripted_with,
    settings::{GATEWAY, Home, limit},
    text, within,
};

const MCP: &str = ".mcp.json";
const RULES: &str = ".mcp-gateway-rules.json";

/// `check --json`, whatever it finds.
fn checked(setup: &Setup, args: &[&str]) -> Value {
    let (_, out, err) = setup.run(&[args, &["check", "--json"]].concat());
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"))
}

#[test]
fn home_is_expanded_in_flags_and_variables() {
    let setup = Setup::new(json!({}), None);
    let dir = setup.path().join("my settings");
    fs::create_dir(&dir).unwrap();
    for (name, text) in [(MCP, r#"{"mcpServers": {}}"#), (RULES, "{}"), (GATEWAY, "")] {
        fs::write(dir.join(name), text).unwrap();
    }
    let paths = [MCP, RULES, GATEWAY].map(|name| format!("~/my settings/{name}"));
    let [mcp, rules, gateway] = paths.each_ref().map(String::as_str);
    let found = |report: Value| {
        let of = |key: &str| PathBuf::from(report[key].as_str().unwrap_or_default());
        [of("mcp_config"), of("rules"), of("gateway")]
    };
    let expected = [MCP, RULES, GATEWAY].map(|name| dir.join(name));
    let flags = ["--mcp-config", mcp, "--rules", rules, "--config", gateway];
    assert_eq!(found(checked(&setup, &flags)), expected);
    assert_eq!(found(checked(&setup, &["--config-dir", "~/my settings"])), expected);
    let setup = setup
        .env("GATEWAY_MCP_CONFIG", mcp)
        .env("GATEWAY_RULES", rules)
        .env("MCP_GATEWAY_CONFIG", gateway);
    assert_eq!(found(checked(&setup, &[])), expected);
}

#[test]
fn home_is_expanded_in_settings() {
    let gateway = "store: {path: ~/led.db}
upstreams: {s: {command: ~/bin/server, cwd: '~', env: {K: '${file:~/secret.txt}', L: ~/x}}}
";
    let mut home = Home::of(&[(GATEWAY, gateway), ("secret.txt", "of a file\n")]);
    let dir = home.dir.path().to_owned();
    let variables = &mut home.env.variables;
    variables.insert("HOME".into(), dir.to_str().unwrap().into());
    variables.insert("GATEWAY_AUDIT_LOG".into(), "~/logs/a.jsonl".into());
    let settings = home.load().unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(settings.budgeting.store.path, Some(dir.join("led.db")));
    assert_eq!(settings.audit_log, Some(dir.join("logs/a.jsonl")));
    let Endpoint::Stdio(command) = &settings.servers[0].endpoint else { panic!() };
    assert_eq!(PathBuf::from(&command.program), dir.join("bin/server"));
    assert_eq!(command.cwd.as_ref().unwrap(), &dir);
    assert_eq!((command.env["K"].as_str(), command.env["L"].as_str()), ("of a file", "~/x"));
}

#[test]
fn files_of_older_systems_are_found_by_their_names() {
    for name in ["gateway.yml", "gateway.json", "satgate-mcp.yaml"] {
        let settings = Home::of(&[(name, r#"{"budget": {"limit": 7}}"#)]).load().unwrap();
        assert_eq!(settings.budgeting.limit, limit(7), "{name}");
        let setup = Setup::new(json!({}), None);
        fs::create_dir(setup.path().join("x")).unwrap();
        fs::write(setup.path().join("x").join(name), "{}").unwrap();
        let report = checked(&setup, &["--config-dir", "x"]);
        assert!(report["gateway"].as_str().unwrap().ends_with(name), "{report}");
    }
}

#[test]
fn several_files_of_one_kind_are_refused() {
    let setup = Setup::new(json!({}), None);
    for name in ["gateway.yaml", "gateway.json"] {
        fs::write(setup.path().join(name), "{}").unwrap();
    }
    let says = "has `gateway.yaml` and `gateway.json`, of which one is read; keep one of them, or name it with --config";
    for args in [&[][..], &["--config-dir", "."]] {
        let report = checked(&setup, args);
        let message = report["faults"][0]["message"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{report}");
    }
    let report = checked(&setup, &["--config", "gateway.json"]);
    assert_eq!(report["faults"], json!([]));
}

#[test]
fn user_accounts_are_the_same_under_each_name() {
    let book = |place: &str| {
        let mut home = Home::of(&[]);
        let path = home.dir.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "{}").unwrap();
        let dir = home.dir.path().to_str().unwrap().to_owned();
        home.env.variables.insert("HOME".into(), dir);
        home.load().unwrap().budgeting.namespace
    };
    assert_eq!(book(".config/tollgate/gateway.yml"), "main");
    assert_ne!(book("gateway.yml"), "main");
}

#[test]
fn audit_log_makes_its_directory() {
    let setup = Setup::new(json!({"s": scripted_with(&["echo"])}), None)
        .env("GATEWAY_AUDIT_LOG", "~/not/there yet/audit.jsonl");
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    let log = setup.path().join("not/there yet/audit.jsonl");
    assert!(within(PATIENCE, || fs::read_to_string(&log).is_ok_and(|text| text.contains("echo"))));
}

#[test]
fn audit_path_names_the_store() {
    let servers = json!({"s": scripted_with(&["echo"])});
    let setup = Setup::new(servers, None).gateway(&json!({"audit": {"path": "sub/audit.db"}}));
    let mut client = setup.connect();
    assert_eq!(text(&client.execute("s", "echo", json!({}))), "{}");
    assert!(setup.path().join("sub/audit.db").is_file());
    let (status, out, err) = setup.run(&["audit", "log"]);
    assert!(status == 0 && out.contains("echo"), "{out}{err}");

    let both = "audit: {path: a.db}\nstore: {path: b.db}";
    let faults = Home::of(&[(GATEWAY, both)]).load().unwrap_err().to_string();
    assert!(faults.contains("`store.path` is another file than `audit.path`"), "{faults}");
    let same = "audit: {path: a.db}\nstore: {path: a.db, durability: power}";
    assert!(Home::of(&[(GATEWAY, same)]).load().is_ok());
}
