//! `.mcp-gateway-rules.json`: who may do what.

use std::path::Path;

use super::{
    document,
    entry::worth_hiding,
    fault::Faults,
    reader::{At, LATER, Object, Reader, Refused},
};
use crate::{
    domain::{
        budget::Limit,
        call::{AgentId, ServerName},
        detail::Detail,
        pattern::Pattern,
        period::Period,
        rules::{AgentRules, ContextLimits, Entries, Precedence, Rules, ToolsKey},
        tokens::Encoding,
    },
    host::environment::Environment,
};

/// What this version cannot enforce of an agent's rules.
const REFUSED: [Refused; 2] = [
    (
        "roles",
        "is not supported by this version, so what its roles restrict would be open; write it into `allow` and `deny` of the agent, then remove `roles`",
    ),
    ("rate", LATER),
];

/// What the file says.
pub(super) struct Loaded {
    pub(super) rules: Rules,
    pub(super) deny_on_missing_agent: bool,
    /// Whether only a stamp says who calls.
    pub(super) stamped_only: bool,
    /// Whose calls those without a stamp are then.
    pub(super) unstamped_agent: Option<AgentId>,
    /// How tokens are counted, if the rules say.
    pub(super) encoding: Option<Encoding>,
    pub(super) warnings: Vec<String>,
    pub(super) secrets: Vec<String>,
}

impl Default for Loaded {
    /// No rules file: one user, who may use everything.
    fn default() -> Self {
        Self {
            rules: Rules::for_single_user(),
            deny_on_missing_agent: false,
            stamped_only: false,
            unstamped_agent: None,
            encoding: None,
            warnings: Vec::new(),
            secrets: Vec::new(),
        }
    }
}

/// Reads the rules; `servers` are the names that they may refer to.
pub(super) fn load(
    file: Option<&Path>,
    servers: &[&str],
    env: &Environment,
    faults: &mut Faults,
) -> Loaded {
    let mut loaded = Loaded::default();
    let Some(file) = file else { return loaded };
    loaded.rules = Rules { explain_denials: true, ..Rules::default() };
    loaded.deny_on_missing_agent = true;
    let Some(document) = document::read(file, faults) else { return loaded };
    let mut reader = Reader::new(file.to_owned(), env, faults);
    let Some(top) = reader.object(&At::top(&document), &["agents", "defaults", "$schema"], &[])
    else {
        return loaded;
    };
    if let Some(at) = top.get("agents") {
        agents(&at, servers, &mut reader, &mut loaded.rules);
    }
    if let Some(at) = top.get("defaults") {
        defaults(&at, &mut reader, &mut loaded);
    }
    loaded.warnings = reader.warnings;
    loaded.warnings.extend(loaded.rules.pierced_denies());
    loaded.secrets = worth_hiding(reader.secrets, env);
    loaded
}

fn agents(at: &At<'_>, servers: &[&str], reader: &mut Reader<'_>, rules: &mut Rules) {
    let Some(object) = reader.any_object(at) else { return };
    for (name, at) in object.members() {
        if !AgentId::is_well_formed(name) {
            reader.fault(
                &at,
                "is not an agent name: 1 to 128 of letters, digits, `_`, `.`, `:`, `-`",
            );
        }
        let known = ["description", "allow", "deny", "may_act_as", "context", "budget"];
        let Some(agent) = reader.object_but(&at, &known, &REFUSED) else { continue };
        let side = |key, reader: &mut Reader<'_>| {
            agent.get(key).map(|at| entries(&at, servers, reader)).unwrap_or_default()
        };
        let agent_rules = AgentRules {
            allow: side("allow", reader),
            deny: side("deny", reader),
            description: agent.get("description").and_then(|at| reader.text(&at)),
            may_act_as: agent.get("may_act_as").map(|at| names(&at, reader)).unwrap_or_default(),
            context: agent.get("context").map(|at| context(&at, &[], reader).1).unwrap_or_default(),
            // Without its value it would be no limit.
            budget: agent.even_null("budget").and_then(|at| budget(&at, reader)),
        };
        rules.agents.insert(AgentId::from(name), agent_rules);
    }
    let unknown: Vec<String> = rules
        .agents
        .iter()
        .flat_map(|(agent, of)| of.may_act_as.iter().map(move |other| (agent, other)))
        .filter(|(_, other)| !rules.agents.contains_key(*other))
        .map(|(agent, other)| format!("agent `{agent}` may act as `{other}`, which has no rules"))
        .collect();
    reader.warnings.extend(unknown);
}

fn names(at: &At<'_>, reader: &mut Reader<'_>) -> Vec<AgentId> {
    reader.texts(at).iter().map(|name| AgentId::from(name.as_str())).collect()
}

fn entries(at: &At<'_>, servers: &[&str], reader: &mut Reader<'_>) -> Entries {
    let mut entries = Entries::default();
    let Some(object) = reader.object(at, &["servers", "tools"], &[]) else { return entries };
    if let Some(at) = object.get("servers") {
        entries.servers = patterns(&at, reader);
        let explicit: Vec<Pattern> =
            entries.servers.iter().filter(|entry| entry.is_explicit()).cloned().collect();
        for entry in explicit {
            warn_of_unknown(entry.as_str(), &at, servers, reader);
        }
    }
    let Some(at) = object.get("tools") else { return entries };
    let Some(tools) = reader.any_object(&at) else { return entries };
    for (key, at) in tools.members() {
        let list = patterns(&at, reader);
        match key {
            "*" => entries.tools.push((ToolsKey::Every, list)),
            key if key.contains(['*', '?', '[', ']']) => {
                reader.fault(&at, "must name one server exactly, or be `*` for every server");
            }
            key => {
                warn_of_unknown(key, &at, servers, reader);
                entries.tools.push((ToolsKey::Server(ServerName::from(key)), list));
            }
        }
    }
    entries
}

pub(super) fn warn_of_unknown(
    server: &str,
    at: &At<'_>,
    servers: &[&str],
    reader: &mut Reader<'_>,
) {
    // The built-in server is always there.
    if !servers.contains(&server) && server != "gateway" {
        reader.warn(at, &format!("refers to server `{server}`, which is not configured"));
    }
}

pub(super) fn patterns(at: &At<'_>, reader: &mut Reader<'_>) -> Vec<Pattern> {
    let items = reader.list(at).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| {
            let text = reader.text(item)?;
            Pattern::parse(&text).map_err(|message| reader.fault(item, message)).ok()
        })
        .collect()
}

fn defaults(at: &At<'_>, reader: &mut Reader<'_>, loaded: &mut Loaded) {
    let known = [
        "deny_on_missing_agent",
        "precedence",
        "explain_denials",
        "context",
        "identity",
        "unstamped_agent",
    ];
    let Some(object) = reader.object(at, &known, &[]) else { return };
    stamps(at, &object, reader, loaded);
    if let Some(flag) = object.get("deny_on_missing_agent").and_then(|at| reader.flag(&at)) {
        loaded.deny_on_missing_agent = flag;
    }
    if let Some(flag) = object.get("explain_denials").and_then(|at| reader.flag(&at)) {
        loaded.rules.explain_denials = flag;
    }
    let choices = [Precedence::SpecificFirst, Precedence::DenyFirst].map(|p| (p.as_str(), p));
    if let Some(precedence) = object.get("precedence").and_then(|at| reader.choice(&at, &choices)) {
        loaded.rules.precedence = precedence;
    }
    if let Some(at) = object.get("context") {
        (loaded.rules.context, loaded.encoding) = context_of_all(&at, reader);
    }
}

/// Whether only stamps say who calls, and whose the other calls are.
fn stamps(at: &At<'_>, defaults: &Object<'_>, reader: &mut Reader<'_>, loaded: &mut Loaded) {
    let choices = [("asserted", false), ("stamped", true)];
    if let Some(stamped) = defaults.get("identity").and_then(|at| reader.choice(&at, &choices)) {
        loaded.stamped_only = stamped;
    }
    let Some(of) = defaults.get("unstamped_agent") else {
        if loaded.stamped_only {
            reader.warn(at, "has `identity: stamped` but no `unstamped_agent`: every call without a stamp is refused");
        }
        return;
    };
    let Some(name) = reader.text(&of) else { return };
    let agent = AgentId::from(name.as_str());
    if !loaded.stamped_only {
        reader.warn(&of, "is never used: only `identity: stamped` asks for stamps");
    } else if !loaded.rules.agents.contains_key(&agent) {
        reader.warn(&of, &format!("is `{agent}`, which has no rules: calls without a stamp fail"));
    }
    loaded.unstamped_agent = Some(agent);
}

/// What an agent may spend.
fn budget(at: &At<'_>, reader: &mut Reader<'_>) -> Option<Limit> {
    let object = reader.object(at, &["limit", "period"], &[])?;
    let period = period(&object, reader);
    let Some(at) = object.even_null("limit") else {
        reader.fault(at, "has no `limit`; give one, or leave the budget out");
        return None;
    };
    Some(Limit { credits: reader.credits(&at)?, period })
}

/// How often a limit is counted anew.
pub(super) fn period(object: &Object<'_>, reader: &mut Reader<'_>) -> Option<Period> {
    object.get("period").and_then(|at| reader.choice(&at, &Period::WORDS))
}

/// The `context` of agents that say nothing themselves.
pub(super) fn context_of_all(
    at: &At<'_>,
    reader: &mut Reader<'_>,
) -> (ContextLimits, Option<Encoding>) {
    let (members, found) = context(at, &["encoding"], reader);
    let encodings = [Encoding::O200k, Encoding::Cl100k].map(|e| (e.as_str(), e));
    let encoding = members.and_then(|members| members.get("encoding"));
    (found, encoding.and_then(|at| reader.choice(&at, &encodings)))
}

/// What a `context` object says, and its members for what only some of them may say.
fn context<'d>(
    at: &At<'d>,
    also: &[&'static str],
    reader: &mut Reader<'_>,
) -> (Option<Object<'d>>, ContextLimits) {
    let known: Vec<&'static str> =
        ["max_schema_tokens", "detail"].into_iter().chain(also.iter().copied()).collect();
    let later = ["session_schema_tokens", "max_result_tokens", "dedupe"];
    let Some(object) = reader.object(at, &known, &later) else {
        return (None, ContextLimits::default());
    };
    let max_schema_tokens = object.get("max_schema_tokens").and_then(|at| reader.count(&at));
    let detail = object.get("detail").and_then(|at| reader.choice(&at, &Detail::WORDS));
    (Some(object), ContextLimits { max_schema_tokens, detail })
}
