//! `get_server_tools` on the wire: every answer fits its budget, its count is true, and no agent
//! learns of a tool that they may not use.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tollgate::domain::tokens::Encoding;

use crate::support::{
    Setup,
    discovery::{Answered, ask, ask_in, offering},
    json_in, refusal, scripted,
};

/// Tools with something to say, so that every level differs: `get_0`, `get_1` and so on.
fn wordy(count: usize) -> Vec<Value> {
    (0..count).map(|i| wordy_tool(&format!("get_{i}"))).collect()
}

fn wordy_tool(name: &str) -> Value {
    json!({"name": name, "description": format!("Fetches what {name} holds. {}", "More. ".repeat(20)),
        "inputSchema": {"type": "object", "required": ["id"], "properties": {
            "id": {"type": "string", "description": "Which one is wanted, by its number."},
            "kind": {"enum": ["whole", "part"], "default": "part"}}}})
}

/// A rules file in which these agents may use everything, but for what `deny` says.
fn rules(agents: Value, defaults: Value) -> Value {
    let mut rules = json!({"agents": agents, "defaults": defaults});
    for (_, agent) in rules["agents"].as_object_mut().unwrap() {
        agent["allow"] = json!({"servers": ["*"], "tools": {"*": ["*"]}});
    }
    rules
}

#[test]
fn every_cap_is_kept_and_its_answer_counted() {
    let setup = Setup::new(json!({"s": offering(&wordy(30))}), None);
    let mut client = setup.connect();
    let mut last = 0;
    let caps =
        ["0", "1", "5", "50", "200", "1000", "4000", "18446744073709551615", &"9".repeat(31)];
    for cap in caps {
        let number: Value = serde_json::from_str(cap).unwrap();
        let found = ask(&mut client, json!({"server": "s", "max_schema_tokens": number}));
        assert!(cap.parse().is_ok_and(|cap: usize| found.used() <= cap) || cap.len() > 20, "{cap}");
        let returned = found.value["returned"].as_u64().unwrap();
        let omitted = found.value["omitted"].as_u64().unwrap_or_default();
        assert_eq!(
            (returned + omitted, &found.value["total_available"]),
            (30, &json!(30)),
            "{cap}"
        );
        assert!(returned >= last, "a larger cap shows less: {cap}");
        last = returned;
        match cap {
            "0" => assert_eq!((found.used(), omitted), (0, 30)),
            "50" => assert!(returned > 0 && omitted > 0),
            "200" | "1000" => assert!(returned == 30 && !found.are_objects()),
            _ if cap.len() > 4 => assert!(returned == 30 && found.are_objects(), "{}", found.text),
            _ => {}
        }
    }
    for cap in ["-1", "-0", "-18446744073709551616", "0.5", "1e-3", "\"50\"", "true", "[]"] {
        let number: Value = serde_json::from_str(cap).unwrap();
        let arguments = json!({"server": "s", "max_schema_tokens": number});
        let error = refusal(&client.call("get_server_tools", arguments));
        assert_eq!(error["code"], "INVALID_ARGUMENTS", "{cap}");
        assert!(error["message"].as_str().unwrap().contains("an integer from 0 up"), "{cap}");
    }
}

#[test]
fn each_detail_shows_what_it_promises() {
    let tool = json!({"name": "find", "title": "T", "annotations": {"x": 1}, "outputSchema": {},
        "description": "Finds things. And more.",
        "inputSchema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "properties": {"n": {"type": "integer", "minimum": 1, "default": 5},
                "of": {"type": "string", "title": "Of", "enum": ["a", "b"]}},
            "required": ["of"], "additionalProperties": false}});
    let setup = Setup::new(json!({"s": offering(&[tool])}), None);
    let mut client = setup.connect();
    let object = json!({"name": "find", "description": "Finds things. And more.",
        "inputSchema": {"type": "object", "properties": {
            "n": {"type": "integer", "minimum": 1, "default": 5},
            "of": {"type": "string", "enum": ["a", "b"]}},
            "required": ["of"], "additionalProperties": false}});
    let cases = [
        ("names", json!("find")),
        ("summary", json!("find — Finds things.")),
        ("signature", json!(r#"find(of: "a"|"b", n?: integer(1..) = 5) — Finds things."#)),
        ("full", object.clone()),
        ("auto", object),
    ];
    for (detail, expected) in cases {
        let found = ask(&mut client, json!({"server": "s", "detail": detail}));
        assert_eq!(found.value["tools"], json!([expected]), "{detail}");
    }
}

#[test]
fn auto_falls_back_to_lines_when_objects_overflow() {
    let setup = Setup::new(json!({"s": offering(&wordy(30))}), None);
    let mut client = setup.connect();
    let whole = ask(&mut client, json!({"server": "s", "max_schema_tokens": 100_000}));
    assert!(whole.are_objects());
    let cap = whole.used() - 1;
    let lines = ask(&mut client, json!({"server": "s", "max_schema_tokens": cap}));
    assert!(lines.value["tools"].as_array().unwrap().iter().all(Value::is_string));
    assert!(lines.tools().iter().all(|line| line.contains("(id: string, kind?: ")));
    let full = ask(&mut client, json!({"server": "s", "max_schema_tokens": cap, "detail": "full"}));
    let objects = full.value["tools"].as_array().unwrap().iter().filter(|item| item.is_object());
    assert!((1..30).contains(&objects.count()), "{}", full.text);
    assert_eq!(full.value["returned"], 30);
}

#[test]
fn tools_named_in_the_request_are_shown_whole() {
    let setup = Setup::new(json!({"s": offering(&wordy(9))}), None);
    let mut client = setup.connect();
    // Names, cap, returned, whether objects.
    let cases = [
        ("get_1", 1_000, 1, true),
        ("get_3, get_1", 1_000, 2, true),
        ("get_1", 60, 1, false),
        ("get_1", 1, 1, false),
        ("get_1", 0, 0, true),
        ("get_1,get_2", 1, 0, true),
        ("get_1,nope", 1, 1, false),
        ("nope", 1_000, 0, true),
    ];
    for (names, cap, returned, objects) in cases {
        let arguments = json!({"server": "s", "names": names, "max_schema_tokens": cap});
        let found = ask(&mut client, arguments);
        assert_eq!(found.value["returned"], returned, "{names} at {cap}: {}", found.text);
        assert_eq!(found.are_objects(), objects, "{names} at {cap}: {}", found.text);
    }
}

#[test]
fn query_matches_words_in_names_and_descriptions() {
    let of = |name: &str, text: &str| json!({"name": name, "description": text});
    let tools = [of("send_mail", "Posts a letter."), of("read", "Opens an E-Mail."), of("zap", "")];
    let setup = Setup::new(json!({"s": offering(&tools)}), None);
    let mut client = setup.connect();
    let cases: [(&str, &[&str]); 8] = [
        ("mail", &["send_mail", "read"]),
        ("MAIL!", &["send_mail", "read"]),
        ("letter zap", &["send_mail", "zap"]),
        ("open, please", &["read"]),
        ("nothing at all like it", &[]),
        ("", &["send_mail", "read", "zap"]),
        ("a ; b", &["send_mail", "read", "zap"]),
        (&"x ".repeat(9_000), &["send_mail", "read", "zap"]),
    ];
    for (query, expected) in cases {
        let found = ask(&mut client, json!({"server": "s", "query": query}));
        assert_eq!(found.tools(), expected, "{query:.40}");
        assert_eq!(found.value["total_available"], 3);
    }
}

/// The most detail in which any tool is shown: 0 its name, up to 3, the whole object.
fn most_detail(found: &Answered) -> usize {
    let level = |item: &Value| match item.as_str() {
        None => 3,
        Some(line) if line.contains("(id: ") => 2,
        Some(line) => usize::from(line.contains(" — ")),
    };
    found.value["tools"].as_array().unwrap().iter().map(level).max().unwrap()
}

#[test]
fn detail_and_budget_follow_call_agent_then_defaults() {
    let agents = json!({
        "own": {"context": {"max_schema_tokens": 400, "detail": "summary"}},
        "other": {},
    });
    let with = json!({"context": {"max_schema_tokens": 300, "detail": "names"}});
    let without = json!({});
    // Defaults, agent, arguments, the least and the most tokens, the most detail.
    let cases = [
        (&with, "own", json!({}), 301..=400, 1),
        (&with, "own", json!({"max_schema_tokens": 350}), 301..=350, 1),
        (&with, "own", json!({"detail": "signature"}), 350..=400, 2),
        (&with, "own", json!({"max_schema_tokens": 1_900, "detail": "full"}), 1_500..=1_900, 3),
        (&with, "own", json!({"names": "get_1,get_2"}), 30..=400, 3),
        (&with, "other", json!({}), 50..=300, 0),
        (&with, "other", json!({"detail": "summary"}), 250..=300, 1),
        (&without, "own", json!({}), 301..=400, 1),
        (&without, "other", json!({}), 700..=1_000, 2),
    ];
    for (defaults, agent, more, tokens, detail) in cases {
        let servers = json!({"s": offering(&wordy(25))});
        let setup = Setup::new(servers, Some(&rules(agents.clone(), defaults.clone())));
        let mut arguments = json!({"server": "s", "agent_id": agent});
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let found = ask(&mut setup.connect(), arguments.clone());
        assert!(tokens.contains(&found.used()), "{arguments} {defaults}: {}", found.text);
        assert_eq!(most_detail(&found), detail, "{arguments} {defaults}: {}", found.text);
    }
}

#[test]
fn tokens_are_counted_in_the_encoding_of_the_settings() {
    let mut tools = wordy(3);
    tools[0]["description"] = json!("Überprüft größere Mengen höflich — 你好，世界。");
    for encoding in [Encoding::O200k, Encoding::Cl100k] {
        let defaults = json!({"context": {"encoding": encoding.as_str()}});
        let servers = json!({"s": offering(&tools)});
        let setup = Setup::new(servers, Some(&rules(json!({"a": {}}), defaults)));
        let mut client = setup.connect();
        for cap in [100, 10_000] {
            let arguments = json!({"server": "s", "agent_id": "a", "max_schema_tokens": cap});
            let found = ask_in(&mut client, arguments, encoding);
            let counts = [Encoding::O200k, Encoding::Cl100k].map(|e| e.count(&found.raw));
            assert_ne!(counts[0], counts[1], "this text tells the encodings apart");
        }
    }
}

/// What agent `a` may not use: whole servers, and tools before, between and behind the others.
fn fenced(hidden: bool) -> Setup {
    let open = wordy(12);
    let shut = |i: usize| {
        let tool = json!({"name": format!("get_secret_{i}"), "description": "Fetches secrets."});
        if i.is_multiple_of(2) { wordy_tool(&format!("get_secret_{i}")) } else { tool }
    };
    let mixed = open.iter().enumerate().flat_map(|(i, tool)| [shut(i), tool.clone(), shut(i + 50)]);
    let tools = if hidden { mixed.collect() } else { open };
    let mut servers = json!({"s": offering(&tools), "t": offering(&wordy(2))});
    if hidden {
        let broken = json!({"command": "/no/such/program"});
        let more = json!({"secrets": offering(&wordy(4)), "s2": broken});
        servers.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    let mut rules = rules(json!({"a": {}, "b": {}}), json!({"explain_denials": false}));
    rules["agents"]["a"]["deny"] =
        json!({"servers": ["secrets", "s2"], "tools": {"s": ["get_secret_*"]}});
    rules["agents"]["b"]["context"] = json!({"max_schema_tokens": 200});
    Setup::new(servers, Some(&rules))
}

#[test]
fn discovery_never_shows_what_the_agent_may_not_use() {
    let mut asked = vec![
        ("list_servers", json!({})),
        ("execute_tool", json!({"server": "s", "tool": "get_secret_1"})),
        ("execute_tool", json!({"server": "s", "tool": "get_1x"})),
        ("execute_tool", json!({"server": "secrets", "tool": "get_1"})),
        ("execute_tool", json!({"server": "s2", "tool": "get_1"})),
        ("get_server_tools", json!({"server": "secrets"})),
        ("get_server_tools", json!({"server": "s2"})),
        ("list_servers", json!({"include_metadata": true})),
    ];
    let filters = [
        json!({}),
        json!({"names": "get_secret_0"}),
        json!({"names": "get_secret_0,get_1"}),
        json!({"names": "secrets/get_1,s/get_secret_1"}),
        json!({"pattern": "get_s*"}),
        json!({"pattern": "*_1*"}),
        json!({"query": "secrets"}),
        json!({"query": "get secret"}),
    ];
    for filter in filters {
        for cap in [0, 1, 20, 60, 200, 1_000, 100_000] {
            for (server, detail) in [("s", "auto"), ("*", "auto"), ("s", "full"), ("*", "names")] {
                let mut arguments = filter.clone();
                arguments["server"] = server.into();
                arguments["detail"] = detail.into();
                arguments["max_schema_tokens"] = cap.into();
                asked.push(("get_server_tools", arguments));
            }
        }
    }
    let [mut fenced, mut bare] = [true, false].map(|hidden| fenced(hidden).connect());
    for (tool, mut arguments) in asked {
        arguments["agent_id"] = "a".into();
        let [seen, expected] =
            [&mut fenced, &mut bare].map(|client| client.call(tool, arguments.clone()).to_string());
        assert_eq!(seen, expected, "{tool} {arguments}");
        let named = arguments.to_string().contains("secret");
        assert!(named || !seen.contains("secret"), "{tool} {arguments}: {seen}");
    }
}

#[test]
fn two_agents_on_one_connection_see_different_tools() {
    let mut client = fenced(true).connect();
    for _ in 0..2 {
        let a = ask(&mut client, json!({"server": "s", "agent_id": "a"}));
        let b = ask(&mut client, json!({"server": "s", "agent_id": "b"}));
        assert_eq!(
            (&a.value["total_available"], &b.value["total_available"]),
            (&json!(12), &json!(36))
        );
        assert!(a.used() > 200 && b.used() <= 200);
        assert!(!a.text.contains("secret") && b.text.contains("get_secret_"));
    }
}

#[test]
fn search_covers_all_servers_and_qualifies_names() {
    let tools = |names: &[&str]| names.iter().map(|n| wordy_tool(n)).collect::<Vec<_>>();
    let servers = json!({"one": offering(&tools(&["get_a", "set_a"])), "two": offering(&tools(&["get_a", "del"]))});
    let mut client = Setup::new(servers, None).connect();
    let all = ["one/get_a", "one/set_a", "two/get_a", "two/del"];
    let cases: [(Value, &[&str]); 9] = [
        (json!({}), &all),
        (json!({"detail": "names"}), &all),
        (json!({"names": "get_a"}), &["one/get_a", "two/get_a"]),
        (json!({"names": "two/get_a"}), &["two/get_a"]),
        (json!({"names": "two/get_a", "max_schema_tokens": 1}), &["two/get_a"]),
        (json!({"names": "one/del"}), &[]),
        (json!({"pattern": "two/*"}), &["two/get_a", "two/del"]),
        (json!({"pattern": "*et_a", "query": "set"}), &["one/set_a"]),
        (json!({"max_schema_tokens": 100, "detail": "signature"}), &all),
    ];
    for (mut arguments, expected) in cases {
        arguments["server"] = "*".into();
        let found = ask(&mut client, arguments.clone());
        let names = found.tools().into_iter().map(|item| item.split(['(', ' ']).next().unwrap());
        // An object's name is a name to call, as its server knows it.
        let is_same = |(name, whole): (&str, &&str)| name == *whole;
        assert_eq!(found.value["returned"], expected.len(), "{arguments}: {}", found.text);
        assert!(names.zip(expected).all(is_same), "{arguments}: {}", found.text);
        assert_eq!(found.value["server"], "*");
    }
}

#[test]
fn silent_server_is_named_after_five_seconds_unless_hidden() {
    let quiet = || scripted(&["--silent"]);
    let servers = json!({"quiet": quiet(), "s": offering(&wordy(2)), "unseen": quiet()});
    let mut rules = rules(json!({"a": {}}), json!({}));
    rules["agents"]["a"]["deny"] = json!({"servers": ["unseen"]});
    let mut client = Setup::new(servers, Some(&rules)).connect();
    let begun = Instant::now();
    let found = ask(&mut client, json!({"server": "*", "agent_id": "a"}));
    let took = begun.elapsed();
    assert!((4..30).contains(&took.as_secs()), "{took:?}");
    assert_eq!(found.value["total_available"], 2);
    assert_eq!(found.note(), "starting, ask again: quiet");
    // Others are answered meanwhile.
    let waiting = client.begin("get_server_tools", json!({"server": "*", "agent_id": "a"}));
    let begun = Instant::now();
    let one = ask(&mut client, json!({"server": "s", "agent_id": "a"}));
    assert_eq!(one.value["returned"], 2);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let note = &json_in(&client.response(waiting)["result"])["note"];
    assert_eq!(note, "starting, ask again: quiet");
}
