//! `.mcp-gateway-rules.json`: who may do what.

use std::path::Path;

use super::{
    check,
    findings::Findings,
    written::{
        AgentEntry, At, ByName, ContextEntry, ContextOfAll, DefaultsEntry, EntriesEntry,
        IdentityWord, LimitEntry, Location, RulesFile,
    },
};
use crate::domain::{
    budget::Limit,
    call::{AgentId, ServerName},
    rules::{AgentRules, ContextLimits, Entries, Rules, ToolsKey},
    settings::SettingsFile,
    tokens::Encoding,
};

/// What the file says.
pub(super) struct LoadedRules {
    pub(super) rules: Rules,
    pub(super) deny_on_missing_agent: bool,
    /// Whether only a stamp says who calls.
    pub(super) stamped_only: bool,
    /// Whose calls those without a stamp are then.
    pub(super) unstamped_agent: Option<AgentId>,
    /// How tokens are counted, if the rules say.
    pub(super) encoding: Option<Encoding>,
}

impl Default for LoadedRules {
    /// No rules file: one user, who may use everything.
    fn default() -> Self {
        Self {
            rules: Rules::for_single_user(),
            deny_on_missing_agent: false,
            stamped_only: false,
            unstamped_agent: None,
            encoding: None,
        }
    }
}

/// Reads the rules; `servers` are the names that they may refer to.
pub(super) fn load(
    path: Option<&Path>,
    servers: &[&str],
    findings: &mut Findings<'_>,
) -> LoadedRules {
    let mut loaded = LoadedRules::default();
    let written: Option<At<RulesFile>> = check::read(SettingsFile::Rules, path, findings);
    if path.is_none() {
        return loaded;
    }
    loaded.rules = Rules { explain_denials: true, ..Rules::default() };
    loaded.deny_on_missing_agent = true;
    let Some(At { value: written, .. }) = written else { return loaded };
    agents(written.agents.unwrap_or_default(), servers, findings, &mut loaded.rules);
    if let Some(At { place, value }) = written.defaults {
        let stamped = value.identity == Some(IdentityWord::Stamped);
        let unstamped = value.unstamped_agent.as_ref();
        loaded.unstamped_agent = unstamped.map(|at| AgentId::from(at.as_str()));
        warn_of_stamps(&place, stamped, unstamped, &loaded.rules, findings);
        loaded.stamped_only = stamped;
        loaded.defaults(value);
    }
    loaded.rules.pierced_denies().into_iter().for_each(|text| findings.warn_of_all(text));
    loaded
}

fn agents(
    written: ByName<At<AgentEntry>>,
    servers: &[&str],
    findings: &mut Findings<'_>,
    rules: &mut Rules,
) {
    for (name, At { place, value: agent }) in written {
        if !AgentId::is_well_formed(&name) {
            findings.fault(
                &place,
                "is not an agent name: 1 to 128 of letters, digits, `_`, `.`, `:`, `-`",
            );
        }
        let names = agent.may_act_as.unwrap_or_default();
        let agent_rules = AgentRules {
            allow: entries(agent.allow, servers, findings),
            deny: entries(agent.deny, servers, findings),
            description: agent.description,
            may_act_as: names.iter().map(|name| AgentId::from(name.as_str())).collect(),
            context: agent.context.unwrap_or_default().into(),
            budget: agent.budget.map(Limit::from),
        };
        rules.agents.insert(AgentId::from(name.as_str()), agent_rules);
    }
    let unknown: Vec<String> = rules
        .agents
        .iter()
        .flat_map(|(agent, of)| of.may_act_as.iter().map(move |other| (agent, other)))
        .filter(|(_, other)| !rules.agents.contains_key(*other))
        .map(|(agent, other)| format!("agent `{agent}` may act as `{other}`, which has no rules"))
        .collect();
    unknown.into_iter().for_each(|text| findings.warn_of_all(text));
}

fn entries(
    written: Option<EntriesEntry>,
    servers: &[&str],
    findings: &mut Findings<'_>,
) -> Entries {
    let EntriesEntry { servers: named, tools } = written.unwrap_or_default();
    let mut entries = Entries::default();
    if let Some(At { place, value }) = named {
        entries.servers = value;
        for entry in entries.servers.iter().filter(|entry| entry.is_explicit()) {
            findings.warn_of_unknown(entry.as_str(), &place, servers);
        }
    }
    for (key, At { place, value }) in tools.unwrap_or_default() {
        match key.as_str() {
            "*" => entries.tools.push((ToolsKey::Every, value)),
            key if key.contains(['*', '?', '[', ']']) => {
                findings.fault(&place, "must name one server exactly, or be `*` for every server");
            }
            key => {
                findings.warn_of_unknown(key, &place, servers);
                entries.tools.push((ToolsKey::Server(ServerName::from(key)), value));
            }
        }
    }
    entries
}

impl LoadedRules {
    fn defaults(&mut self, written: DefaultsEntry) {
        if let Some(flag) = written.deny_on_missing_agent {
            self.deny_on_missing_agent = flag;
        }
        if let Some(flag) = written.explain_denials {
            self.rules.explain_denials = flag;
        }
        if let Some(precedence) = written.precedence {
            self.rules.precedence = precedence.0;
        }
        (self.rules.context, self.encoding) = written.context.unwrap_or_default().into();
    }
}

/// Warns where what is said of stamps has no effect, or an odd one.
fn warn_of_stamps(
    defaults: &Location,
    stamped: bool,
    unstamped: Option<&At<String>>,
    rules: &Rules,
    findings: &mut Findings<'_>,
) {
    match unstamped {
        None if stamped && !defaults.has("unstamped_agent") => findings.warn(defaults, "has `identity: stamped` but no `unstamped_agent`: every call without a stamp is refused"),
        Some(agent) if !stamped => {
            findings.warn(&agent.place, "is never used: only `identity: stamped` asks for stamps");
        }
        Some(agent) if !rules.agents.contains_key(agent.as_str()) => {
            let name = &agent.value;
            findings.warn(
                &agent.place,
                &format!("is `{name}`, which has no rules: calls without a stamp fail"),
            );
        }
        _ => {}
    }
}

impl From<LimitEntry> for Limit {
    fn from(LimitEntry { limit, period }: LimitEntry) -> Self {
        Self { credits: limit, period: period.map(|word| word.0) }
    }
}

impl From<ContextEntry> for ContextLimits {
    fn from(ContextEntry { max_schema_tokens, detail }: ContextEntry) -> Self {
        Self { max_schema_tokens, detail: detail.map(|word| word.0) }
    }
}

impl From<ContextOfAll> for (ContextLimits, Option<Encoding>) {
    fn from(ContextOfAll { max_schema_tokens, detail, encoding }: ContextOfAll) -> Self {
        let detail = detail.map(|word| word.0);
        (ContextLimits { max_schema_tokens, detail }, encoding.map(|word| word.0))
    }
}
