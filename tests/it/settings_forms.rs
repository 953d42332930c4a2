//! How values may be written: JSON with comments, references, patterns of variables.

use serde_json::json;
use tollgate::domain::settings::Endpoint;

use crate::support::{
    Setup,
    faults::{check, faults},
    settings::{GATEWAY, Home},
};

const MCP: &str = ".mcp.json";
const RULES: &str = ".mcp-gateway-rules.json";

#[test]
fn json_settings_may_have_comments_and_trailing_commas() {
    let mcp = r#"// Servers of this project.
{
	"mcpServers": {
		/* "old": {"command": "gone"}, */
		"web": {
			"url": "https://a.b//c", // not a comment: //c
			"description": "\ud83d\ude00 smiles",
		},
	},
}
"#;
    let rules =
        "/* rules */ {\"agents\": {\"a\": {\"allow\": {\"servers\": [\"web\",],},},},} // end";
    let gateway = "{\n  // the limit\n  \"budget\": {\"limit\": 5,},\n}";
    let settings = Home::of(&[(MCP, mcp), (RULES, rules), ("gateway.json", gateway)]).load();
    let settings = settings.unwrap_or_else(|faults| panic!("{faults}"));
    let Endpoint::Http(remote) = &settings.servers[0].endpoint else { panic!() };
    assert_eq!(remote.url.as_str(), "https://a.b//c");
    assert_eq!(settings.servers[0].description, "😀 smiles");
    assert!(settings.rules.agents.contains_key("a") && settings.budgeting.limit.is_some());
}

#[test]
fn faults_of_json_read_well_and_have_their_place() {
    for (text, at, says) in [
        ("{\n// x\n\"mcpServers\": {}\n\"a\": 1}", "\"a\"", "`,` or `}` must stand here"),
        ("{\"mcpServers\": {/* s */ \"s\": {\"url\" \"x\"}}}", "\"x\"", "`:` must stand here"),
        ("{\"mcpServers\": {\n// never closed\n", "{\n//", "this bracket has no `}`"),
        ("{\"mcpServers\": {\"s\": {'url': 1}}}", "'url'", "a key in double quotes"),
        ("{/* x\n\"mcpServers\": {}}", "/* x", "no `*/`"),
        ("{\"mcpServers\": {\"s\": {\"command\": True}}}", "True", "write `true`"),
        ("{\"mcpServers\": {\"s\": {\"command\": \"C:\\d\"}}}", "\\d", "a backslash in a text"),
    ] {
        check(MCP, text, at, says);
    }
    // A fault of a value after a comment is where it stands.
    let text = "{ /* two\nlines */ \"agents\": {\"a\": {\"allow\": 5}} }";
    check(RULES, text, "5", "must be an object");
}

#[test]
fn a_dollar_name_that_stays_text_is_warned_of() {
    let mcp = r#"{"mcpServers": {"s": {
        "command": "x", "args": ["--key", "$API_KEY"], "env": {"P": "${HOME:-h}:$PATH", "C": "US$ 5"}},
      "shell": {"command": "/bin/sh", "args": ["-c", "echo $HOME"]}}}"#;
    let settings = Home::of(&[(MCP, mcp)]).load().unwrap();
    let told: Vec<&str> = settings.warnings().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    let says = "has a `$NAME`, which stays text: only `${NAME}` is expanded";
    for (told, place) in told.iter().zip(["`mcpServers.s.args[1]`", "`mcpServers.s.env.P`"]) {
        assert!(told.contains(place) && told.contains(says), "{told}");
    }
    // It may be part of a secret, so it is not repeated.
    let token = "auth: {mode: config, token: 'correct-$HORSE-battery'}";
    let settings = Home::of(&[(GATEWAY, token)]).load().unwrap();
    let told: Vec<&str> = settings.warnings().collect();
    assert!(told.len() == 1 && !told[0].contains("HORSE"), "{told:?}");
}

#[test]
fn inherited_variables_may_be_named_by_patterns() {
    let entry = |list: &str| {
        format!(r#"{{"mcpServers": {{"s": {{"command": "x", "inheritEnv": {list}}}}}}}"#)
    };
    let load = |list: &str| {
        let mut home = Home::of(&[(MCP, &entry(list))]);
        for name in ["AWS_REGION", "AWS_SECRET", "AWSOME", "TOLLGATE_TOKEN", "GATEWAY_RULES_X"] {
            home.env.variables.insert(name.into(), format!("value-of-{name}"));
        }
        home.load().unwrap_or_else(|faults| panic!("{faults}"))
    };
    let names = |list: &str| {
        let settings = load(list);
        let Endpoint::Stdio(command) = &settings.servers[0].endpoint else { panic!() };
        command.env.keys().filter(|name| *name != "HOME").cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(r#"["AWS_*"]"#), ["AWS_REGION", "AWS_SECRET"]);
    assert_eq!(names(r#"["AWS?ME", "GATEWAY_RULES_X"]"#), ["AWSOME", "GATEWAY_RULES_X"]);
    let all = names(r#"["*"]"#);
    let own = |name: &String| name.starts_with("TOLLGATE") || name.starts_with("GATEWAY");
    assert!(all.contains(&"AWSOME".to_owned()) && !all.iter().any(own), "{all:?}");
    let redactor = load(r#"["AWS_*"]"#).redactor;
    assert_eq!(redactor.redact("value-of-AWS_SECRET"), "[redacted]");
    check(MCP, &entry(r#"["[A]_X"]"#), "\"[A]_X\"", "uses a character class");
    check(MCP, &entry(r#"[""]"#), "\"\"", "is empty");
    check(MCP, &entry(r#"["TOLLGATE_TOKEN"]"#), "\"TOLLGATE_TOKEN\"", "is not passed on");
}

#[test]
fn yaml_stays_yaml() {
    let lines = faults(&[(GATEWAY, "{\"budget\": {}} // no comment in YAML\n")]);
    assert!(lines.len() == 1 && lines[0].contains("cannot be parsed"), "{lines:?}");
    let setup = Setup::new(json!({}), None).gateway(&json!({"budget": {"limit": 5}}));
    assert_eq!(setup.run(&["check"]).0, 0);
}
