//! `gateway.yaml` where it loads: the documented examples of older systems mean here what they say
//! there. Bad values are in `gateway_faults`, what a running gateway does is in `gateway_live`.

use std::{fs, path::PathBuf, time::Duration};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tollgate::domain::{
    auth::AuthMode,
    budget::{Backend, Durability, Limit, Mode},
    credits::Credits,
    period::Period,
    settings::{AllowPrivate, Endpoint, LogLevel, Settings},
};

use crate::support::{
    Setup,
    settings::{GATEWAY, Home, ROOT_KEY, check_prices, limit},
};

const EXAMPLE: &str = include_str!("../../config/gateway.yaml");

#[track_caller]
fn loaded(files: &[(&str, &str)]) -> Settings {
    Home::of(files).load().unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn gateway(text: &str) -> Settings {
    loaded(&[(GATEWAY, text)])
}

/// One of the documented examples.
fn example(name: &str) -> Settings {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data");
    gateway(&fs::read_to_string(format!("{dir}/satgate-{name}.yaml")).unwrap())
}

/// What it takes to start each server.
fn servers(settings: &Settings) -> Vec<(&str, String)> {
    let servers = settings.servers.iter().map(|server| {
        let place = match &server.endpoint {
            Endpoint::Stdio(command) => {
                format!("{} {}", command.program, command.args.join(" ")).trim().to_owned()
            }
            Endpoint::Http(remote) => remote.url.to_string(),
        };
        (server.name.as_str(), place)
    });
    servers.collect()
}

fn credits(amount: u64) -> Credits {
    Credits::new(amount).unwrap()
}

#[test]
fn older_systems_full_example_loads_as_documented() {
    let settings = example("full");
    let expected = [("my-server", "node server.js"), ("db-server", "python -m db_mcp_server")];
    assert_eq!(servers(&settings), expected.map(|(name, place)| (name, place.to_owned())));
    let Endpoint::Stdio(command) = &settings.servers[0].endpoint else { panic!() };
    assert_eq!(command.env["API_KEY"], "key-3b19");
    assert_eq!(settings.redactor.redact("key-3b19"), "[redacted]");
    assert_eq!(settings.servers[0].timeout, Duration::from_secs(30));
    assert_eq!(settings.routing.default, Some("my-server".into()));
    for (tool, server) in [
        ("db_query", Some("db-server")),
        ("sql_x", Some("db-server")),
        ("fs_read", Some("my-server")),
        ("fs_write", Some("my-server")),
        ("fs_other", None),
    ] {
        let route = settings.routing.route(&tool.into());
        assert_eq!(route.map(|server| server.as_str()), server, "{tool}");
    }
    let budgeting = &settings.budgeting;
    assert_eq!((budgeting.limit, budgeting.mode), (limit(1000), Mode::Shadow));
    assert_eq!(budgeting.store.backend, Backend::Memory);
    let prices = [("db_query", 10), ("db_x", 5), ("fs_read", 1), ("fs_write", 3), ("other", 2)];
    check_prices(&settings, "db-server", &prices);
    let name = ("satgate-mcp-proxy".to_owned(), "0.1.0".to_owned());
    assert_eq!(settings.presented_as, (Some(name.0), Some(name.1)));
    assert_eq!((settings.logging.level, settings.logging.json), (Some(LogLevel::Info), false));
}

#[test]
fn older_systems_small_examples_load_as_documented() {
    for (name, amount, mode, backend, only, level) in [
        ("minimal", 1000, Mode::Shadow, Backend::Memory, "filesystem", None),
        ("local", 10_000, Mode::Shadow, Backend::Memory, "dev", Some(LogLevel::Debug)),
        ("quickstart", 1000, Mode::Hard, Backend::Sqlite, "my-tools", None),
    ] {
        let settings = example(name);
        assert_eq!(settings.budgeting.limit, limit(amount), "{name}");
        assert_eq!((settings.budgeting.mode, settings.budgeting.store.backend), (mode, backend));
        assert_eq!(settings.routing.default, Some(only.into()), "the only upstream");
        assert_eq!(settings.logging.level, level);
    }
    let quick = example("quickstart");
    let prices = [("web_search", 5), ("gpt4_summarize", 25), ("dalle_generate", 50), ("x", 5)];
    check_prices(&quick, "my-tools", &prices);
    let told: Vec<&str> = quick.warnings().collect();
    assert!(told.len() == 1 && told[0].contains("`server.port` has no effect"), "{told:?}");
}

#[test]
fn production_example_of_the_older_system_asks_for_tokens() {
    let settings = example("production");
    let AuthMode::Header(tokens) = &settings.auth.mode else { panic!("{:?}", settings.auth) };
    let keys: Vec<&str> = tokens.root_keys.iter().map(|key| key.expose_secret()).collect();
    assert_eq!((keys.as_slice(), tokens.auto_mint_root), ([ROOT_KEY].as_slice(), true));
    assert!(tokens.root_token.is_none());
    assert_eq!(settings.routing.route(&"sql_query".into()), Some(&"database".into()));
    let budgeting = &settings.budgeting;
    assert_eq!((budgeting.limit, budgeting.mode), (limit(5000), Mode::Hard));
    check_prices(&settings, "database", &[("sql_query", 10), ("db_x", 5), ("other", 1)]);
    assert_eq!(settings.redactor.redact(ROOT_KEY), "[redacted]");
    let told: Vec<&str> = settings.warnings().collect();
    assert!(told.len() == 1 && told[0].contains("`budget.backend` is `memory`"), "{told:?}");
}

#[test]
fn example_with_a_remote_server_routes_to_it() {
    let settings = example("routing-http");
    assert_eq!(servers(&settings)[1], ("ai-server", "http://ai-service:9090/".to_owned()));
    assert_eq!(settings.routing.route(&"gpt4_x".into()), Some(&"ai-server".into()));
    assert_eq!((&settings.routing.default, settings.budgeting.limit), (&None, None));
}

#[test]
fn omitted_settings_equal_the_example_files_defaults() {
    let (without, with) = (loaded(&[]), gateway(EXAMPLE));
    assert_eq!(with.warnings().collect::<Vec<_>>(), Vec::<&str>::new());
    let namespace = without.budgeting.namespace.clone();
    assert_eq!(
        tollgate::domain::budget::Budgeting { namespace, ..with.budgeting },
        without.budgeting
    );
    assert_eq!((with.routing, with.presented_as), (without.routing, without.presented_as));
    assert_eq!(with.auth.mode.as_str(), without.auth.mode.as_str());
    let agent = "a".into();
    assert_eq!(with.rules.context_of(&agent), without.rules.context_of(&agent));
    for key in [
        "limit:",
        "period:",
        "defaultUpstream:",
        "name:",
        "version:",
        "host:",
        "path:",
        "token:",
        "rootKey:",
        "autoMintRoot:",
        "rootToken:",
        "keys:",
    ] {
        assert!(EXAMPLE.contains(&format!("# {key}")), "{key} is not mentioned");
    }
    for text in ["", "# all of it is commented out\n", "budget:\ntools:\n"] {
        assert_eq!(gateway(text).budgeting.limit, None, "{text}");
    }
}

#[test]
fn server_list_of_the_other_system_is_read() {
    let settings = gateway(
        "servers:
- {id: fred, name: Economic Data, command: node, args: [./a.js], enabled: true, timeout: 5000}
- {id: off, command: node, enabled: false}
- {id: told, name: Other, description: Its own words, command: [node, b.js], args: [c]}
",
    );
    let expected = [("fred", "node ./a.js".to_owned()), ("told", "node b.js c".to_owned())];
    assert_eq!(servers(&settings), expected);
    let told: Vec<&str> = settings.servers.iter().map(|s| s.description.as_str()).collect();
    assert_eq!(told, ["Economic Data", "Its own words"]);
    assert_eq!(settings.servers[0].timeout, Duration::from_millis(5000));
    assert_eq!(settings.routing.default, None);
}

#[test]
fn servers_of_both_files_are_merged() {
    let mcp = r#"{"mcpServers": {"a": {"url": "https://a.b"}, "b": {"command": "x"}}}"#;
    let own = "allowPrivateUpstreams: true
upstreams:
  c: {url: 'http://c.d'}
  d: {url: 'http://d.e', allowPrivate: [10.0.0.0/8], idle: 5m, maxConcurrency: 2}
";
    let settings = loaded(&[(".mcp.json", mcp), (GATEWAY, own)]);
    let private = settings.servers.iter().map(|server| match &server.endpoint {
        Endpoint::Http(remote) => (server.name.as_str(), Some(remote.allow_private.clone())),
        Endpoint::Stdio(_) => (server.name.as_str(), None),
    });
    let only = AllowPrivate::Only(vec!["10.0.0.0/8".parse().unwrap()]);
    let expected = [
        ("a", Some(AllowPrivate::None)),
        ("b", None),
        ("c", Some(AllowPrivate::All)),
        ("d", Some(only)),
    ];
    assert_eq!(private.collect::<Vec<_>>(), expected);
    // One server of this file is not the only one there is.
    let one = loaded(&[(".mcp.json", mcp), (GATEWAY, "upstreams: {c: {command: x}}")]);
    assert_eq!(one.routing.default, None);
}

#[test]
fn money_is_read_as_it_is_written() {
    let settings = gateway(
        "budget: {limit: '${NONE:-9007199254740991}', period: week, chargeOn: {timeout: false, lost: false}}
tools: {defaultCost: 0, costs: {x: 3, db/x: 4, 'd*/y?': 0, '*/a/b': 7}}
enforcement: {mode: soft}
audit: {arguments: full}
store: {path: sub/led.db, durability: power}
",
    );
    let budgeting = &settings.budgeting;
    let week = Limit { credits: Credits::MAX, period: Some(Period::Week) };
    assert_eq!((budgeting.limit, budgeting.mode), (Some(week), Mode::Soft));
    let charged = budgeting.charge_on;
    assert!(charged.tool_error && charged.server_error && charged.cancelled);
    assert!(!charged.timeout && !charged.lost && budgeting.full_arguments);
    assert_eq!(budgeting.store.durability, Durability::Power);
    let path = settings.sources.gateway.path.as_ref().unwrap().with_file_name("sub/led.db");
    assert_eq!(budgeting.store.path, Some(path));
    check_prices(&settings, "db", &[("x", 4), ("y1", 0), ("a/b", 7), ("z", 0)]);
    check_prices(&settings, "api", &[("x", 3), ("a/b", 7), ("y1", 0)]);
    let told: Vec<&str> = settings.warnings().collect();
    assert!(told.len() == 1 && told[0].contains("refers to server `db`"), "{told:?}");
}

#[test]
fn agents_have_limits_of_their_own() {
    let rules = r#"{"agents": {
        "nothing": {"budget": {"limit": 0}},
        "daily": {"budget": {"limit": 900, "period": "day"}},
        "within": {"budget": {"limit": 100}},
        "open": {}}}"#;
    let check = |root: &str, warned: &[&str]| {
        let settings = loaded(&[(".mcp-gateway-rules.json", rules), (GATEWAY, root)]);
        let of = |agent: &str| settings.rules.agents[agent].budget;
        assert_eq!((of("nothing"), of("open")), (limit(0), None));
        let daily = Limit { credits: credits(900), period: Some(Period::Day) };
        assert_eq!((of("daily"), of("within")), (Some(daily), limit(100)));
        let told = &settings.sources.rules.warnings;
        assert_eq!(told.len(), warned.len(), "{root}: {told:?}");
        for (told, agent) in told.iter().zip(warned) {
            assert!(told.contains(&format!("agent `{agent}` has a limit")), "{told}");
        }
    };
    check("", &[]);
    check("budget: {limit: 900}", &[]);
    check("budget: {limit: 99}", &["daily", "within"]);
    // Many days may be more than one month.
    check("budget: {limit: 99, period: month}", &[]);
    check("budget: {limit: 99, period: day}", &["daily"]);
}

#[test]
fn rules_say_more_of_context_than_this_file() {
    let rules = r#"{"agents": {"own": {"context": {"detail": "names"}}, "other": {}},
        "defaults": {"context": {"max_schema_tokens": 7}}}"#;
    let own = "context: {max_schema_tokens: 5, detail: full, encoding: cl100k_base}";
    let settings = loaded(&[(".mcp-gateway-rules.json", rules), (GATEWAY, own)]);
    let of = |agent: &str| {
        let (tokens, detail) = settings.rules.context_of(&agent.into());
        format!("{tokens} {detail:?}")
    };
    assert_eq!(
        (of("own"), of("other")),
        ("7 AtMost(Names)".to_owned(), "7 AtMost(Full)".to_owned())
    );
    assert_eq!(settings.rules.encoding.as_str(), "cl100k_base");
    let alone = gateway(own);
    assert_eq!(alone.rules.context_of(&"default".into()).0, 5);
}

#[test]
fn file_is_found_in_the_order_of_the_contract() {
    let setup = Setup::new(json!({}), None);
    let places = [
        "x/flag.yaml",
        "x/env.yaml",
        "x/alias.yaml",
        GATEWAY,
        "config/gateway.yaml",
        ".config/tollgate/gateway.yaml",
    ];
    for place in places {
        let path = setup.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    for (from, place) in places.iter().enumerate() {
        let mut command = setup.command(&["check", "--json"]);
        if from == 0 {
            command.args(["--config", place]);
        }
        if from <= 1 {
            command.env("GATEWAY_CONFIG", places[1]);
        }
        if from <= 2 {
            command.env("MCP_GATEWAY_CONFIG", places[2]);
        }
        let report: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        let found = PathBuf::from(report["gateway"].as_str().unwrap());
        assert!(found.ends_with(place), "{found:?}");
        fs::remove_file(setup.path().join(place)).unwrap();
    }
}

#[test]
fn audit_log_that_the_environment_names_is_told_on() {
    let mut home = Home::of(&[]);
    assert_eq!(home.load().unwrap().audit_log, None);
    home.env.variables.insert("GATEWAY_AUDIT_LOG".into(), "a/log.jsonl".into());
    assert_eq!(home.load().unwrap().audit_log, Some(home.dir.path().join("a/log.jsonl")));
}
