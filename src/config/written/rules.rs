//! `.mcp-gateway-rules.json`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::forms::{At, ByName, LATER, Word, refused};
use crate::domain::{
    credits::Credits, detail::Detail, pattern::Pattern, period::Period, rules::Precedence,
    tokens::Encoding,
};

/// Tollgate's rules (`.mcp-gateway-rules.json`): who may do what.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RulesFile {
    /// The agents, by name: 1 to 128 of letters, digits, `_`, `.`, `:`, `-`.
    pub(crate) agents: Option<ByName<At<AgentEntry>>>,
    /// What holds for all agents.
    pub(crate) defaults: Option<At<DefaultsEntry>>,
}

const ROLES: &str = "is not supported by this version, so what its roles restrict would be open; write it into `allow` and `deny` of the agent, then remove `roles`";

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&[("roles", ROLES), ("rate", LATER)])))]
pub(crate) struct AgentEntry {
    /// For people. Never shown to agents.
    pub(crate) description: Option<String>,
    /// The servers and tools that it may use.
    pub(crate) allow: Option<EntriesEntry>,
    /// The servers and tools that it may not use.
    pub(crate) deny: Option<EntriesEntry>,
    /// Agents whose names a call may pass where it is bound to this one: by `--as`, by an API key,
    /// by a token, or by a delegation that it makes. See [identity.md](identity.md#names).
    pub(crate) may_act_as: Option<Vec<String>>,
    /// What `get_server_tools` sends this agent; see [below](#context).
    pub(crate) context: Option<ContextEntry>,
    /// What this agent may spend, within what all may: `{"limit": 500, "period": "day"}`.
    #[schemars(with = "LimitEntry")]
    pub(crate) budget: Option<LimitEntry>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EntriesEntry {
    /// Server names or patterns.
    pub(crate) servers: Option<At<Vec<Pattern>>>,
    /// Tool names or patterns, by one server's exact name, or `*` for every server.
    pub(crate) tools: Option<ByName<At<Vec<Pattern>>>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitEntry {
    /// The most it may spend: whole credits. `0` leaves the tools that are free.
    pub(crate) limit: Credits,
    /// The limit is counted anew in each, in UTC. Without it the limit is for good.
    #[serde(default)]
    pub(crate) period: Option<Word<Period>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DefaultsEntry {
    /// `true`: a call without `agent_id` is refused. `false`: it acts as `GATEWAY_DEFAULT_AGENT`, or
    /// else as the agent `default`.
    #[schemars(extend("default" = true))]
    pub(crate) deny_on_missing_agent: Option<bool>,
    /// Which of several matching tool entries decides; see [below](#which-rule-decides).
    #[schemars(extend("default" = "specific-first"))]
    pub(crate) precedence: Option<Word<Precedence>>,
    /// `true`: a refusal names the rule. `false`: it looks like a name that does not exist.
    #[schemars(extend("default" = true))]
    pub(crate) explain_denials: Option<bool>,
    /// Who says which agent calls. `"asserted"`: `agent_id`, and a stamp where there is one.
    /// `"stamped"`: only a stamp of the client's hook, or a credential that has an agent. See
    /// [identity.md](identity.md#stamps).
    #[schemars(extend("default" = "asserted"))]
    pub(crate) identity: Option<IdentityWord>,
    /// Whose calls those without a stamp are, where `identity` is `"stamped"`. Without it they are
    /// refused.
    pub(crate) unstamped_agent: Option<At<String>>,
    /// The same for agents that do not say, and how tokens are counted; see [below](#context).
    pub(crate) context: Option<ContextOfAll>,
}

#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum IdentityWord {
    Asserted,
    Stamped,
}

const NOT_YET: [(&str, &str); 3] =
    [("session_schema_tokens", LATER), ("max_result_tokens", LATER), ("dedupe", LATER)];

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&NOT_YET)))]
pub(crate) struct ContextEntry {
    /// The most tokens of an answer's tools; `0` shows none.
    #[schemars(extend("default" = 1000))]
    pub(crate) max_schema_tokens: Option<usize>,
    /// `"auto"`, or at most this much; [request-path.md](request-path.md#get_server_tools) has what
    /// the words mean.
    #[schemars(extend("default" = "auto"))]
    pub(crate) detail: Option<Word<Detail>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&NOT_YET)))]
pub(crate) struct ContextOfAll {
    /// The most tokens of an answer's tools; `0` shows none.
    #[schemars(extend("default" = 1000))]
    pub(crate) max_schema_tokens: Option<usize>,
    /// `"auto"`, or at most this much.
    #[schemars(extend("default" = "auto"))]
    pub(crate) detail: Option<Word<Detail>>,
    /// How tokens are counted.
    #[schemars(extend("default" = "o200k_base"))]
    pub(crate) encoding: Option<Word<Encoding>>,
}
