//! `auth` of `gateway.yaml`: what is understood, what is refused, and that none of its secrets is
//! shown.

use secrecy::ExposeSecret;
use tollgate::{
    config,
    domain::{
        auth::{ApiKey, AuthMode, Tokens, digest, named_by},
        settings::{Endpoint, Settings},
    },
};

use crate::support::{
    Setup,
    faults::{check_each, faults},
    settings::{GATEWAY, Home},
};

const MCP: &str = ".mcp.json";
const RULES: &str = ".mcp-gateway-rules.json";
const CLERK: &str = r#"{"agents": {"clerk": {}, "boss": {}}}"#;
const KEY: &str = "a-key-that-is-long-enough";

#[track_caller]
fn loaded(files: &[(&str, &str)]) -> Settings {
    Home::of(files).load().unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn tokens(auth: &str) -> Tokens {
    match loaded(&[(GATEWAY, auth)]).auth.mode {
        AuthMode::Header(tokens) => tokens,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn keys(files: &[(&str, &str)]) -> Vec<ApiKey> {
    match loaded(files).auth.mode {
        AuthMode::ApiKey(keys) => keys,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_mode_has_two_names() {
    for (auth, word) in [
        ("", "none"),
        ("auth: {}", "none"),
        ("auth: {mode: none}", "none"),
        ("auth: {type: api-key}", "api-key"),
        ("auth: {mode: api-key, type: api-key, keys: []}", "api-key"),
        ("auth: {mode: header}", "header"),
        ("auth: {mode: config, token: a-token-that-is-long-enough}", "config"),
    ] {
        let settings = loaded(&[(GATEWAY, auth)]);
        assert_eq!(settings.auth.mode.as_str(), word, "{auth}");
        assert_eq!(settings.warnings().count(), 0, "{auth}");
    }
}

#[test]
fn unenforceable_mode_prevents_the_start() {
    const MEANT: &str = "must be \"none\" or \"config\" or \"header\" or \"api-key\"";
    check_each(&[
        ("auth: {type: @jwt, jwt: {}}", "`auth.type` is `jwt`, which this version cannot enforce"),
        ("auth: {mode: @oidc}", "is `oidc`, which this version cannot enforce"),
        ("auth: {mode: @nobody}", MEANT),
        ("auth: {mode: @None}", MEANT),
        ("auth: {mode: @null}", "must be a string (it is null)"),
        ("auth: {mode: header, type: @api-key}", "is `api-key`, and `auth.mode` is `header`"),
        ("auth: {mode: none, type: @header}", "is `header`, and `auth.mode` is `none`"),
        ("auth: @header", "must be an object"),
        ("auth: {@tokens: x}", "did you mean `token`?"),
    ]);
}

#[test]
fn what_belongs_to_another_mode_is_refused() {
    check_each(&[
        (
            "auth: {mode: none, token: @x}",
            "`auth.token` asks for what is not enforced under the mode `none`; it belongs to the mode `config`, so set `auth.mode` to `config`, or remove it",
        ),
        ("auth: {rootKey: @x}", "it belongs to the mode `header`"),
        ("auth: {autoMintRoot: @true}", "it belongs to the mode `header`"),
        ("auth: {rootToken: @gwt1.x}", "it belongs to the mode `header`"),
        ("auth: {keys: @[]}", "it belongs to the mode `api-key`"),
        ("auth: {keys: @null}", "it belongs to the mode `api-key`"),
        ("auth: {jwt: @{}}", "it belongs to the mode `jwt`, which this version cannot enforce"),
        ("auth: {mode: header, keys: @[]}", "under the mode `header`; it belongs to"),
        ("auth: {mode: api-key, rootKey: @x}", "under the mode `api-key`; it belongs to"),
        (
            "auth: {mode: config, token: a-token-that-is-long-enough, rootKey: @x}",
            "under the mode `config`; it belongs to",
        ),
    ]);
}

#[test]
fn secrets_that_are_none_are_refused() {
    check_each(&[
        ("auth: @{mode: config}", "`auth` has the mode `config` and no `token`"),
        ("auth: {mode: config, token: @''}", "`auth.token` is empty"),
        ("auth: {mode: config, token: @' '}", "is empty"),
        ("auth: {mode: config, token: @'${NONE:-}'}", "is empty"),
        ("auth: {mode: config, token: @null}", "must be a string (it is null)"),
        ("auth: {mode: config, token: @12345678901234567890}", "put it in quotes"),
        ("auth: {mode: header, rootKey: @''}", "`auth.rootKey` is empty"),
        ("auth: {mode: header, rootKey: @null}", "must be a string"),
        ("auth: {mode: header, rootKey: @[]}", "has no key"),
        ("auth: {mode: header, rootKey: [0123456789abcdef, @'']}", "`auth.rootKey[1]` is empty"),
        (
            "auth: {mode: header, rootToken: @another-systems-root-token}",
            "`auth.rootToken` is a token of another system, which cannot be used here: those of this one begin with `gwt1.`; `tollgate token mint` makes one",
        ),
    ]);
}

#[test]
fn secrets_that_can_be_guessed_are_warned_of() {
    for auth in [
        "auth: {mode: config, token: fifteen-letters}",
        "auth: {mode: header, rootKey: fifteen-letters}",
        "auth: {mode: api-key, keys: [{key: fifteen-letters}]}",
    ] {
        let settings = loaded(&[(GATEWAY, auth)]);
        let told: Vec<&str> = settings.warnings().collect();
        assert!(told.len() == 1 && told[0].contains("has fewer than 16 characters"), "{told:?}");
        let longer = auth.replace("letters", "letters+");
        assert_eq!(loaded(&[(GATEWAY, &longer)]).warnings().count(), 0);
    }
}

#[test]
fn root_keys_are_kept_in_their_order() {
    let found = tokens(
        "auth: {mode: header, rootKey: [new-key-0123456789, old-key-0123456789], rootToken: gwt1.abcdefghijk}",
    );
    let keys: Vec<&str> = found.root_keys.iter().map(|key| key.expose_secret()).collect();
    assert_eq!(keys, ["new-key-0123456789", "old-key-0123456789"]);
    assert_eq!(found.root_token.unwrap().expose_secret(), "gwt1.abcdefghijk");
    let none = tokens("auth: {mode: header, autoMintRoot: true}");
    assert!(none.root_keys.is_empty() && none.auto_mint_root && none.root_token.is_none());
    let both = "auth: {mode: header, autoMintRoot: true, rootToken: gwt1.abcdefghijk}";
    let told = loaded(&[(GATEWAY, both)]);
    let told: Vec<&str> = told.warnings().collect();
    assert!(told.len() == 1 && told[0].contains("no effect beside `rootToken`"), "{told:?}");
}

#[test]
fn keys_are_kept_by_their_digest() {
    let text = format!(
        "auth:
  mode: api-key
  keys:
  - {{key: {KEY}, id: first, name: Laptop, agents: [clerk, boss], expires: 2100-01-02}}
  - {{key: {KEY}-2, consumerId: boss, enabled: false, expires: '2100-01-02T04:05:06.5+01:00'}}
"
    );
    let keys = keys(&[(RULES, CLERK), (GATEWAY, &text)]);
    let first = ApiKey {
        id: "first".into(),
        name: "Laptop".into(),
        digest: digest(KEY),
        agents: vec!["clerk".into(), "boss".into()],
        roles: Vec::new(),
        created: 0,
        expires: Some(4_102_531_200_000),
        revoked: false,
    };
    let second = ApiKey {
        id: named_by(&digest(&format!("{KEY}-2"))),
        name: "boss".into(),
        digest: digest(&format!("{KEY}-2")),
        agents: vec!["boss".into()],
        roles: Vec::new(),
        created: 0,
        expires: Some(4_102_531_200_000 + (3 * 3600 + 5 * 60 + 6) * 1000 + 500),
        revoked: true,
    };
    assert_eq!(keys, [first, second]);
}

#[test]
fn key_without_agents_acts_only_as_its_consumer() {
    let entry = |rest: &str| format!("auth: {{mode: api-key, keys: [{{key: {KEY}{rest}}}]}}");
    for rest in ["", ", consumerId: agent-prod"] {
        let text = entry(rest);
        let alone = keys(&[(GATEWAY, &text)]);
        assert_eq!(alone[0].agents, ["default".into()], "without rules: {rest}");
        let lines = faults(&[(RULES, CLERK), (GATEWAY, &text)]);
        let [line] = lines.as_slice() else { panic!("{lines:#?}") };
        let says = "gateway.yaml:1:30: `auth.keys[0]` does not say which agents it may act as; list them in `agents`";
        assert!(line.contains(says), "{line}");
    }
    // Rules that cannot be read are no reason to find fault with what refers to them.
    let lines = faults(&[(RULES, "{"), (GATEWAY, &entry(", consumerId: clerk"))]);
    assert!(lines.len() == 1 && lines[0].contains("cannot be parsed"), "{lines:#?}");
    let unknown = loaded(&[(RULES, CLERK), (GATEWAY, &entry(", agents: [clerk, ghost]"))]);
    let told: Vec<&str> = unknown.warnings().collect();
    let says = "`auth.keys[0]` may act as `ghost`, which has no rules: such calls are refused";
    assert!(told.len() == 1 && told[0].contains(says), "{told:?}");
    let past = loaded(&[(GATEWAY, &entry(", expires: 2026-01-01"))]);
    let told: Vec<&str> = past.warnings().collect();
    assert!(told.len() == 1 && told[0].contains("is in the past"), "{told:?}");
}

#[test]
fn faulty_keys_are_told_with_their_place() {
    let marked = |entry: &str| format!("auth: {{mode: api-key, keys: [{entry}]}}");
    for (entry, says) in [
        ("@x", "`auth.keys[0]` must be an object"),
        ("@{id: a}", "`auth.keys[0]` has no `key`"),
        ("{key: @''}", "`auth.keys[0].key` is empty"),
        ("{key: @null}", "must be a string"),
        ("{key: a-key-that-is-long-enough, @secret: x}", "is not a known key"),
        ("{key: a-key-that-is-long-enough, id: @\"a\\nb\"}", "must be text in one line"),
        ("{key: a-key-that-is-long-enough, name: @''}", "must be text in one line"),
        ("{key: a-key-that-is-long-enough, agents: @[]}", "names no agent"),
        ("{key: a-key-that-is-long-enough, agents: @null}", "must be a list"),
        ("{key: a-key-that-is-long-enough, agents: @clerk}", "must be a list"),
        ("{key: a-key-that-is-long-enough, agents: [@'*']}", "is not an agent name"),
        ("{key: a-key-that-is-long-enough, enabled: @off}", "must be true or false"),
        ("{key: a-key-that-is-long-enough, enabled: @null}", "must be true or false"),
        ("{key: a-key-that-is-long-enough, expires: @90d}", "must be a moment as in RFC 3339"),
        ("{key: a-key-that-is-long-enough, expires: @null}", "must be a string"),
        (
            "{key: a-key-that-is-long-enough, id: a}, @{key: another-key-long-enough, id: a}",
            "`auth.keys[1]` has the `id` of `auth.keys[0]`",
        ),
        (
            "{key: a-key-that-is-long-enough}, @{key: a-key-that-is-long-enough}",
            "`auth.keys[1]` has the `key` of `auth.keys[0]`",
        ),
    ] {
        check_each(&[(&marked(entry), says)]);
    }
}

#[test]
fn secrets_that_stand_in_the_file_are_masked() {
    for (auth, secrets) in [
        ("auth: {mode: config, token: canary-of-the-token}", vec!["canary-of-the-token"]),
        (
            "auth: {mode: header, rootKey: [canary-of-key-one, canary-of-key-two], rootToken: gwt1.canary}",
            vec!["canary-of-key-one", "canary-of-key-two", "gwt1.canary"],
        ),
        ("auth: {mode: api-key, keys: [{key: canary-of-a-key}]}", vec!["canary-of-a-key"]),
    ] {
        let settings = loaded(&[(GATEWAY, auth)]);
        for secret in secrets {
            assert_eq!(settings.redactor.redact(secret), "[redacted]");
            assert!(!format!("{settings:?}").contains(secret), "{settings:?}");
        }
        // Nor do faults beside it tell.
        let lines = faults(&[(GATEWAY, &format!("{auth}\nbudget: {{limit: 0}}\n"))]).join("\n");
        assert!(!lines.contains("canary") && lines.contains("budget.limit"), "{lines}");
    }
}

#[test]
fn process_credential_is_used_and_never_forwarded() {
    let home = |mcp: &str, auth: &str| {
        let mut home = Home::of(&[(MCP, mcp), (GATEWAY, auth)]);
        home.env.variables.insert("TOLLGATE_TOKEN".into(), "canary-presented".into());
        home
    };
    let servers = |entry: &str| format!(r#"{{"mcpServers": {{"s": {entry}}}}}"#);
    let plain = servers(r#"{"command": "x"}"#);
    for (auth, warnings) in [("auth: {mode: header}", 0), ("", 1)] {
        let settings = home(&plain, auth).load().unwrap();
        assert_eq!(settings.auth.presented.as_ref().unwrap().expose_secret(), "canary-presented");
        assert_eq!(settings.redactor.redact("canary-presented"), "[redacted]");
        let told: Vec<&str> = settings.warnings().collect();
        assert_eq!(told.len(), warnings, "{told:?}");
        assert!(told.iter().all(|told| told.contains("TOLLGATE_TOKEN is set but never used")));
        let spec = &settings.servers[0].endpoint;
        let Endpoint::Stdio(command) = spec else { panic!() };
        assert!(!command.env.contains_key("TOLLGATE_TOKEN"), "{:?}", command.env.keys());
    }
    for entry in [
        r#"{"command": "x", "inheritEnv": ["A", "TOLLGATE_TOKEN"]}"#,
        r#"{"command": "x", "env": {"A": "${TOLLGATE_TOKEN}"}}"#,
        r#"{"command": "x", "env": {"A": "b${TOLLGATE_TOKEN:-c}"}}"#,
        r#"{"command": "x", "args": ["${TOLLGATE_TOKEN}"]}"#,
        r#"{"url": "https://a.b", "headers": {"Authorization": "Bearer ${TOLLGATE_TOKEN}"}}"#,
        r#"{"url": "https://a.b?k=${TOLLGATE_TOKEN}"}"#,
    ] {
        let check = |home: Home| {
            let faults = home.load().unwrap_err().to_string();
            let says = "`TOLLGATE_TOKEN`, which is the credential for this gateway, and is not passed on to servers";
            assert!(faults.contains(says) && !faults.contains("canary"), "{faults}");
        };
        check(home(&servers(entry), "auth: {mode: header}"));
        check(home(&servers(r#"{"command": "x"}"#), &format!("upstreams: {{t: {entry}}}")));
    }
    // What begins like it is another variable.
    let other = servers(r#"{"command": "x", "env": {"A": "${TOLLGATE_TOKENS:-x}"}}"#);
    assert!(home(&other, "auth: {mode: header}").load().is_ok());
}

#[test]
fn another_mode_waits_for_no_restart() {
    let home = Home::of(&[(GATEWAY, "auth: {mode: header}")]);
    let mut before = home.load().unwrap();
    for (auth, word) in [
        ("auth: {mode: config, token: a-token-that-is-long-enough}", "config"),
        ("auth: {type: api-key, keys: []}", "api-key"),
        ("auth: {mode: header, rootKey: another-root-key-here, autoMintRoot: true}", "header"),
        ("", "none"),
    ] {
        std::fs::write(home.dir.path().join(GATEWAY), auth).unwrap();
        before = config::following(&before, home.load().unwrap());
        assert_eq!(before.auth.mode.as_str(), word);
    }
}

#[test]
fn start_and_check_say_which_credential_is_needed() {
    for (auth, line) in [
        ("auth: {mode: header}", "auth     header: calls must show a Tollgate token"),
        ("auth: {type: api-key}", "auth     api-key: calls must show an API key"),
        (
            "auth: {mode: config, token: canary-of-the-token}",
            "auth     config: calls must show the token of `auth.token`",
        ),
    ] {
        let setup = Setup::new(serde_json::json!({}), None);
        std::fs::write(setup.path().join(GATEWAY), auth).unwrap();
        let (status, stdout, _) = setup.run(&["check"]);
        assert_eq!(status, 0, "{stdout}");
        assert!(stdout.contains(line) && !stdout.contains("canary"), "{line}: {stdout}");
        let (_, report, _) = setup.run(&["check", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let mode = line.split([' ', ':']).find(|word| !word.is_empty() && *word != "auth");
        assert_eq!(report["auth"].as_str(), mode);
    }
    let (_, stdout, _) = Setup::new(serde_json::json!({}), None).run(&["check"]);
    assert!(!stdout.contains("  auth "), "{stdout}");
}
