//! Policy against a model: ten thousand random rule sets, decided twice.
//!
//! The model shares nothing with `src/domain/policy.rs`. It reads the rules as JSON, lists every
//! entry that speaks about the tool, gives each a rank and takes the best; wildcards are matched by
//! a few lines of its own. The rule that the gateway names must be an entry of that best rank.

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{TestCaseError, TestCaseResult},
};
use serde_json::{Map, Value, json};
use tollgate::domain::{
    call::{AgentId, ServerName},
    caller::Caller,
    identity::{Identities, IdentityMode, Unidentified},
    pattern::Pattern,
    rules::{AgentRules, Entries, Precedence, Rules, ToolsKey},
};

use crate::support::properties::drawn;

use crate::support::policy::rule_at;

const AGENTS: [&str; 3] = ["a", "b", "a.b"];
const SERVERS: [&str; 3] = ["db", "db2", "api"];
const TOOLS: [&str; 5] = ["get_x", "get_y", "drop_x", "x", ""];

/// Entries of the rules, so few that they collide often.
const SERVER_ENTRIES: [&str; 8] = ["db", "db2", "api", "*", "*", "db?", "*d*", "DB"];
const TOOL_ENTRIES: [&str; 14] = [
    "get_x", "get_x", "get_y", "drop_x", "x", "*", "get_*", "*_x", "get_?", "?", "drop_x*", "**",
    "*e*_*", "GET_X",
];
const TOOL_KEYS: [&str; 5] = ["*", "*", "db", "db2", "api"];

proptest! {
    #![proptest_config(drawn(10_000))]

    #[test]
    fn rules_decide_as_the_model_does(
        rules in rules(),
        asks in prop::collection::vec((select(&AGENTS), select(&SERVERS), select(&TOOLS)), 4),
    ) {
        for precedence in [Precedence::SpecificFirst, Precedence::DenyFirst] {
            let checked = checked(&rules, precedence);
            for (agent, server, tool) in &asks {
                check(&rules, &checked, [*agent, *server, *tool])?;
            }
        }
    }

    #[test]
    fn patterns_match_as_the_naive_matcher_does(
        pattern in "[ab*?é\n]{1,6}",
        name in "[abé\n]{0,6}",
    ) {
        let parsed = Pattern::parse(&pattern).unwrap();
        prop_assert_eq!(parsed.matches(&name), matches(&pattern, &name));
        prop_assert_eq!(parsed.is_explicit(), explicit(&pattern));
    }
}

/// One question, put to the gateway's rules and to the model.
fn check(rules: &Value, checked: &Rules, [agent, server, tool]: [&str; 3]) -> TestCaseResult {
    let Some(caller) = caller(rules, checked, agent)? else { return Ok(()) };
    let of_agent = &rules["agents"][agent];
    let visit = checked.visit(&caller, &ServerName::from(server));
    let may_visit = may_visit(of_agent, server);
    prop_assert_eq!(visit.is_ok(), may_visit, "{} at {}", agent, server);
    let visit = match visit {
        Ok(visit) => visit,
        Err(denied) => return names_server(rules, agent, server, &denied.rule.pointer, "deny"),
    };
    names_server(rules, agent, server, &visit.rule().pointer, "allow")?;

    let best = best(of_agent, server, tool, checked.precedence);
    let verdict = checked.authorize(visit, &tool.into());
    prop_assert_eq!(verdict.is_ok(), best.granted(), "{} at {}/{}", agent, server, tool);
    let pointer = match &verdict {
        Ok(permit) => &permit.rule().pointer,
        Err(denied) => &denied.rule.pointer,
    };
    names_best(rules, agent, [server, tool], pointer, best, checked.precedence)
}

/// A caller for each agent of the rules; everybody else is refused, always.
fn caller(rules: &Value, checked: &Rules, agent: &str) -> Result<Option<Caller>, TestCaseError> {
    let identities = Identities {
        mode: IdentityMode::Asserted,
        deny_on_missing_agent: false,
        default_agent: None,
        stamped_only: false,
        unstamped_agent: None,
    };
    let caller = identities.identify(Some(agent), checked);
    match rules["agents"].get(agent) {
        Some(_) => {
            prop_assert!(caller.is_ok());
            Ok(caller.ok())
        }
        None => {
            prop_assert_eq!(caller, Err(Unidentified::Unknown(agent.to_owned())));
            Ok(None)
        }
    }
}

/// What the model finds for a tool, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Best {
    /// Nothing matches, and the server has allow entries.
    Nothing,
    /// Nothing matches, and the server has no allow entry.
    Implicit,
    /// The best entry: how strong, and whether it denies.
    Entry { strength: u8, denies: bool },
}

impl Best {
    fn granted(self) -> bool {
        matches!(self, Self::Implicit | Self::Entry { denies: false, .. })
    }
}

fn may_visit(agent: &Value, server: &str) -> bool {
    let any = |side: &str| texts(&agent[side]["servers"]).iter().any(|e| matches(e, server));
    any("allow") && !any("deny")
}

fn best(agent: &Value, server: &str, tool: &str, precedence: Precedence) -> Best {
    let entries = |side: &str| {
        let lists = ["*", server].map(|key| texts(&agent[side]["tools"][key]));
        lists.concat()
    };
    let without = if entries("allow").is_empty() { Best::Implicit } else { Best::Nothing };
    [("allow", false), ("deny", true)]
        .into_iter()
        .flat_map(|(side, denies)| entries(side).into_iter().map(move |entry| (entry, denies)))
        .filter(|(entry, _)| matches(entry, tool))
        .map(|(entry, denies)| rank(entry, denies, precedence))
        .chain([without])
        .max()
        .unwrap()
}

fn rank(entry: &str, denies: bool, precedence: Precedence) -> Best {
    let strength = match (precedence, explicit(entry), denies) {
        (Precedence::SpecificFirst, true, true) => 4,
        (Precedence::SpecificFirst, true, false) => 3,
        (Precedence::SpecificFirst, false, true) | (Precedence::DenyFirst, _, true) => 2,
        (Precedence::SpecificFirst, false, false) | (Precedence::DenyFirst, _, false) => 1,
    };
    Best::Entry { strength, denies }
}

/// The named rule is a server entry of that side which covers the server; or, where no allow entry
/// does, the list of allowed servers.
fn names_server(
    rules: &Value,
    agent: &str,
    server: &str,
    pointer: &str,
    side: &str,
) -> TestCaseResult {
    if pointer == format!("agents.{agent}.allow.servers") {
        let allowed = texts(&rules["agents"][agent]["allow"]["servers"]);
        prop_assert!(side == "deny" && !allowed.iter().any(|e| matches(e, server)), "{}", pointer);
        return Ok(());
    }
    prop_assert!(pointer.starts_with(&format!("agents.{agent}.{side}.servers[")), "{}", pointer);
    let entry = rule_at(rules, pointer);
    prop_assert!(entry.and_then(Value::as_str).is_some_and(|e| matches(e, server)), "{}", pointer);
    Ok(())
}

/// The named rule is in the rules, speaks about the server, and is as strong as the model's best.
fn names_best(
    rules: &Value,
    agent: &str,
    [server, tool]: [&str; 2],
    pointer: &str,
    best: Best,
    precedence: Precedence,
) -> TestCaseResult {
    let Best::Entry { denies, .. } = best else {
        if best == Best::Implicit {
            return names_server(rules, agent, server, pointer, "allow");
        }
        let list = rule_at(rules, pointer).and_then(Value::as_array);
        prop_assert!(list.is_some_and(|list| !list.is_empty()), "{}", pointer);
        prop_assert!(key_covers(pointer, agent, "allow", server), "{}", pointer);
        return Ok(());
    };
    let entry = rule_at(rules, pointer).and_then(Value::as_str).unwrap_or("\0");
    let side = if denies { "deny" } else { "allow" };
    prop_assert!(key_covers(pointer, agent, side, server), "{}", pointer);
    prop_assert!(matches(entry, tool), "{} is `{}`, not for `{}`", pointer, entry, tool);
    prop_assert_eq!(rank(entry, denies, precedence), best, "{}", pointer);
    Ok(())
}

/// Whether a pointer names a tools list of that side under the server's name or `*`.
fn key_covers(pointer: &str, agent: &str, side: &str, server: &str) -> bool {
    let rest = pointer.strip_prefix(&format!("agents.{agent}.{side}.tools."));
    let key = rest.map(|rest| rest.split('[').next().unwrap());
    key == Some("*") || key == Some(server)
}

/// Wildcards as one would write them down first: try every way.
fn matches(pattern: &str, name: &str) -> bool {
    fn go(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['*', rest @ ..] => (0..=name.len()).any(|skipped| go(rest, &name[skipped..])),
            [c, rest @ ..] => {
                name.first().is_some_and(|n| *c == '?' || n == c) && go(rest, &name[1..])
            }
        }
    }
    let chars = |text: &str| text.chars().collect::<Vec<char>>();
    go(&chars(pattern), &chars(name))
}

fn explicit(entry: &str) -> bool {
    !entry.contains('*') && !entry.contains('?')
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|entry| entry.as_str().unwrap()).collect()
}

/// Rules as a person could write them: parts left out, lists empty, keys of one server or of all.
fn rules() -> impl Strategy<Value = Value> {
    let agents =
        AGENTS.map(|name| prop::option::weighted(0.8, agent()).prop_map(move |a| (name, a)));
    agents.prop_map(|agents| {
        let agents = agents.into_iter().filter_map(|(name, agent)| Some((name.to_owned(), agent?)));
        json!({"agents": agents.collect::<Map<_, _>>()})
    })
}

fn agent() -> impl Strategy<Value = Value> {
    // Few denied servers, or no tool would ever be asked for.
    let side = |servers: f64| {
        (
            prop::option::weighted(servers, list(&SERVER_ENTRIES)),
            prop::collection::vec((select(&TOOL_KEYS), list(&TOOL_ENTRIES)), 0..4),
        )
    };
    (side(0.95), side(0.15)).prop_map(|(allow, deny)| {
        let side = |(servers, tools): (Option<Value>, Vec<(&str, Value)>)| {
            let tools: Map<_, _> = tools.into_iter().map(|(key, l)| (key.to_owned(), l)).collect();
            match servers {
                Some(servers) => json!({"servers": servers, "tools": tools}),
                None => json!({ "tools": tools }),
            }
        };
        json!({"allow": side(allow), "deny": side(deny)})
    })
}

fn list(entries: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(select(entries), 0..4).prop_map(Value::from)
}

/// The rules as the gateway holds them.
fn checked(rules: &Value, precedence: Precedence) -> Rules {
    let patterns =
        |list: &Value| texts(list).into_iter().map(|e| Pattern::parse(e).unwrap()).collect();
    let entries = |side: &Value| Entries {
        servers: patterns(&side["servers"]),
        tools: side["tools"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, l)| (key(k), patterns(l)))
            .collect(),
    };
    let agents = rules["agents"].as_object().unwrap().iter().map(|(name, agent)| {
        let (allow, deny) = (entries(&agent["allow"]), entries(&agent["deny"]));
        (AgentId::from(name.as_str()), AgentRules { allow, deny, ..AgentRules::default() })
    });
    Rules { agents: agents.collect(), precedence, explain_denials: true, ..Rules::default() }
}

fn key(key: &str) -> ToolsKey {
    match key {
        "*" => ToolsKey::Every,
        server => ToolsKey::Server(server.into()),
    }
}
