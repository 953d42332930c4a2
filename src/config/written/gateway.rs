//! `gateway.yaml`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    forms::{At, ByName, LATER, OneOrMany, Word, refused},
    rules::ContextOfAll,
    servers::{ListedServer, NamedServer},
};
use crate::domain::{
    budget::{Backend, Durability, Mode},
    credits::Credits,
    pattern::Pattern,
    period::Period,
    settings::LogLevel,
};

const NOT_ENFORCED: &str = "is not enforced by this version yet, so the gateway does not start; removing it removes the protection that it asks for";

const POLICIES: &str = "is not enforced by this version yet, so the gateway does not start; removing it removes the protection that it asks for: write into .mcp-gateway-rules.json first what each agent may do";

/// How Tollgate runs, and what calls cost (`gateway.yaml`).
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&[
    ("policies", POLICIES), ("rateLimit", NOT_ENFORCED), ("tenants", NOT_ENFORCED),
    ("ipFilter", NOT_ENFORCED), ("cors", NOT_ENFORCED),
])))]
pub(crate) struct GatewayFile {
    /// The name and version that clients see, and how they are served.
    pub(crate) server: Option<ServerSection>,
    /// What a call must show before its agent's rules are looked at.
    pub(crate) auth: Option<At<AuthSection>>,
    /// Servers by name, beside those of `.mcp.json`.
    pub(crate) upstreams: Option<ByName<At<NamedServer>>>,
    /// The same, or a list of servers.
    pub(crate) servers: Option<Servers>,
    /// The server of calls that name none, where no route and no known tool decides.
    pub(crate) default_upstream: Option<At<String>>,
    /// Which server calls mean that name none. The first route whose `tools` match decides.
    pub(crate) routing: Option<Vec<At<RouteEntry>>>,
    /// What all callers together may spend.
    pub(crate) budget: Option<At<BudgetSection>>,
    /// What calls cost.
    pub(crate) tools: Option<ToolsSection>,
    /// What happens to a call that the budget does not cover.
    pub(crate) enforcement: Option<EnforcementSection>,
    /// What records hold.
    pub(crate) audit: Option<AuditSection>,
    /// How calls are metered.
    pub(crate) metering: Option<MeteringSection>,
    /// How the log is written.
    pub(crate) logging: Option<LoggingSection>,
    /// `true`: servers of this file that do not say `allowPrivate` may have any address.
    #[schemars(extend("default" = false))]
    pub(crate) allow_private_upstreams: Option<bool>,
    /// As `defaults.context` of the rules, which win where both speak.
    pub(crate) context: Option<ContextOfAll>,
    /// Where accounts and records are kept.
    pub(crate) store: Option<StoreSection>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Servers {
    ByName(ByName<At<NamedServer>>),
    List(Vec<At<ListedServer>>),
}

const STDIO_ONLY: &str = "and this version serves `stdio` only";

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ServerSection {
    /// Only `stdio` in this version.
    #[schemars(extend("default" = "stdio"))]
    #[schemars(extend("x-refused" = refused(&[
        ("http", STDIO_ONLY), ("sse", STDIO_ONLY), ("streamable", STDIO_ONLY),
        ("streamable-http", STDIO_ONLY),
    ])))]
    pub(crate) transport: Option<Transport>,
    /// The name that clients see; Tollgate's own by default.
    #[schemars(extend("x-format" = "line"))]
    pub(crate) name: Option<String>,
    /// The version that clients see; Tollgate's own by default.
    #[schemars(extend("x-format" = "line"))]
    pub(crate) version: Option<String>,
    /// A warning: it has no effect beside `stdio`.
    pub(crate) host: Option<At<String>>,
    /// A warning: it has no effect beside `stdio`.
    pub(crate) port: Option<At<usize>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Stdio,
}

const NO_IDENTITY: &str = "which this version cannot enforce yet, and therefore it does not start; use `header`, `api-key` or `config`";

/// Which mode each key belongs to is checked apart.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AuthSection {
    /// What a call must show.
    #[schemars(with = "At<AuthWord>", extend("default" = "none"))]
    #[schemars(extend("x-refused" = refused(&[("jwt", NO_IDENTITY), ("oidc", NO_IDENTITY)])))]
    pub(crate) mode: Option<At<AuthWord>>,
    /// The same as `mode`.
    #[serde(rename = "type")]
    #[schemars(with = "At<AuthWord>")]
    #[schemars(extend("x-refused" = refused(&[("jwt", NO_IDENTITY), ("oidc", NO_IDENTITY)])))]
    pub(crate) kind: Option<At<AuthWord>>,
    /// The one token that calls must show. Text that is not empty.
    #[schemars(with = "String", extend("x-format" = "secret"))]
    pub(crate) token: Option<String>,
    /// What tokens are made and verified with: text, or a list of texts, of which the first makes
    /// tokens and all verify them. So a new key goes first, and the old one is left out when its
    /// tokens have ended. The key of this installation is the default.
    #[schemars(with = "At<OneOrMany<String>>", extend("x-format" = "secret"))]
    pub(crate) root_key: Option<At<OneOrMany<String>>>,
    /// Whether a root token is made at the start.
    #[schemars(extend("default" = false))]
    pub(crate) auto_mint_root: Option<At<bool>>,
    /// A root token that was made before; it begins with `gwt1.`. One of another system is an error.
    #[schemars(with = "At<String>", extend("x-format" = "secret"))]
    pub(crate) root_token: Option<At<String>>,
    /// API keys, beside those of `tollgate keys create`.
    pub(crate) keys: Option<Vec<At<KeyEntry>>>,
    /// An error: this version cannot enforce it.
    #[schemars(extend("deprecated" = true))]
    pub(crate) jwt: serde_json::Value,
    /// An error: this version cannot enforce it.
    #[schemars(extend("deprecated" = true))]
    pub(crate) oidc: serde_json::Value,
}

#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuthWord {
    None,
    Config,
    Header,
    ApiKey,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct KeyEntry {
    /// The key. The gateway keeps its SHA-256 only.
    #[schemars(extend("x-format" = "secret"))]
    pub(crate) key: String,
    /// Names it in records and in `tollgate keys list`. Without one, it is named by a digest of the
    /// key, `config-` and 8 digits, so it keeps its name when other keys are added or removed.
    #[schemars(extend("x-format" = "line"))]
    pub(crate) id: Option<String>,
    /// What it is for.
    #[schemars(extend("x-format" = "line"))]
    pub(crate) name: Option<String>,
    /// Whom it belongs to: without `agents`, the agent of that name.
    #[schemars(extend("x-format" = "line"))]
    pub(crate) consumer_id: Option<String>,
    /// `false`: the key is refused.
    #[serde(default)]
    #[schemars(with = "bool", extend("default" = true))]
    pub(crate) enabled: Option<bool>,
    /// The agents that it may act as. With only one, calls need not name it.
    #[serde(default)]
    #[schemars(with = "At<Vec<At<String>>>")]
    pub(crate) agents: Option<At<Vec<At<String>>>>,
    /// A moment, `"2027-01-31T00:00:00Z"`, or a day, at whose beginning (UTC) it ends. Without it,
    /// the key never ends.
    #[serde(default)]
    #[schemars(with = "At<String>", extend("x-format" = "moment"))]
    pub(crate) expires: Option<At<String>>,
    /// An error: nothing enforces them yet, so the key could do all that its agents may. Restrict
    /// those in the rules.
    #[serde(default)]
    #[schemars(extend("deprecated" = true))]
    #[expect(dead_code, reason = "only whether it is there matters")]
    pub(crate) roles: serde_json::Value,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteEntry {
    /// Tool names or patterns.
    pub(crate) tools: At<Vec<Pattern>>,
    /// A server that is configured.
    pub(crate) upstream: At<String>,
}

const NO_BACKEND: &str = "which this version does not have yet; use `sqlite` or `memory`";
const ONE_NODE: &str = "which needs a store that several nodes share, and this version has none; use `closed`, or leave it out";

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&[("redisUrl", LATER)])))]
pub(crate) struct BudgetSection {
    /// One file for all gateways of a user; or `memory`, which is forgotten with the process.
    /// `usage`, `budget`, `audit` and other commands cannot see it; a warning at the start and the
    /// commands say so.
    #[schemars(extend("default" = "sqlite"))]
    #[schemars(extend("x-refused" = refused(&[("redis", NO_BACKEND), ("postgres", NO_BACKEND)])))]
    pub(crate) backend: Option<At<Word<Backend>>>,
    /// What all callers together may spend: whole credits, at least 1. `0` is an error, since it has
    /// meant both nothing and everything. Without it there is no limit.
    #[schemars(with = "At<Credits>")]
    pub(crate) limit: Option<At<Credits>>,
    /// What happens where the store cannot be reached; `closed` refuses.
    #[schemars(extend("default" = "closed"))]
    #[schemars(extend("x-refused" = refused(&[("open", ONE_NODE)])))]
    pub(crate) fail_mode: Option<FailMode>,
    /// The limit is counted anew in each, in UTC. Without it the limit is for good.
    pub(crate) period: Option<At<Word<Period>>>,
    /// Which outcomes of a call that was sent are charged, beside successes.
    pub(crate) charge_on: Option<ChargeOnSection>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FailMode {
    Closed,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ChargeOnSection {
    /// The tool's own `isError` result.
    #[schemars(extend("default" = true))]
    pub(crate) tool_error: Option<bool>,
    /// A JSON-RPC error of the server, or an answer that cannot be read.
    #[schemars(extend("default" = true))]
    pub(crate) server_error: Option<bool>,
    /// No answer in time.
    #[schemars(extend("default" = true))]
    pub(crate) timeout: Option<bool>,
    /// The client withdrew the call after it was sent.
    #[schemars(extend("default" = true))]
    pub(crate) cancelled: Option<bool>,
    /// The connection, or the gateway, ended before the answer.
    #[schemars(extend("default" = true))]
    pub(crate) lost: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ToolsSection {
    /// The price of a tool that `costs` does not name; `0` is free.
    #[schemars(with = "Credits", extend("default" = 1))]
    pub(crate) default_cost: Option<Credits>,
    /// Prices by `tool` or `server/tool` (split at the first `/`), both with `*` and `?`.
    pub(crate) costs: Option<ByName<At<Credits>>>,
}

const SHADOW: &str = "a word of another system; use `shadow`";
const HARD: &str = "a word of another system; use `hard`";

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EnforcementSection {
    /// What happens to a call that the budget does not cover. `hard` refuses it; `soft` allows it
    /// and warns; `shadow` allows it, and keeps what would have happened apart.
    #[schemars(extend("default" = "hard"))]
    #[schemars(extend("x-refused" = refused(&[
        ("observe", SHADOW), ("chargeback", SHADOW), ("control", HARD), ("charge", HARD),
        ("fiat402", HARD), ("l402", HARD),
    ])))]
    pub(crate) mode: Option<Word<Mode>>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&[
    ("dsn", LATER), ("webhookUrl", LATER), ("retentionDays", LATER), ("export", LATER),
])))]
pub(crate) struct AuditSection {
    /// `false` is a warning: every call is recorded all the same.
    #[schemars(extend("default" = true))]
    pub(crate) enabled: Option<At<bool>>,
    /// `false` is a warning: records are chained all the same.
    #[schemars(extend("default" = true))]
    pub(crate) hash_chain: Option<At<bool>>,
    /// Only `sqlite`.
    #[schemars(extend("default" = "sqlite"))]
    pub(crate) storage: Option<Storage>,
    /// What records hold of the arguments of calls; `full`: all, secrets masked.
    #[schemars(extend("default" = "digest"))]
    pub(crate) arguments: Option<Arguments>,
    /// Which answers of `list_servers` and `get_server_tools` are recorded: `each`, `off`, or a
    /// number: one in that many. Refusals are always recorded.
    #[schemars(extend("default" = "each"))]
    pub(crate) discovery: Option<DiscoveryEntry>,
    /// The same as `store.path`: in `mcp-gateway` it is the SQLite file of records, and here records
    /// and accounts are in one file.
    pub(crate) path: Option<At<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Storage {
    Sqlite,
}

#[derive(PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arguments {
    Digest,
    Full,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum DiscoveryEntry {
    Word(DiscoveryWord),
    OneIn(std::num::NonZeroUsize),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DiscoveryWord {
    Each,
    Off,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&[("flushIntervalMs", LATER)])))]
pub(crate) struct MeteringSection {
    /// `false` is a warning: every call is metered all the same.
    #[schemars(extend("default" = true))]
    pub(crate) enabled: Option<At<bool>>,
    /// Any of these; all are metered.
    pub(crate) dimensions: Option<Vec<Dimension>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Dimension {
    Calls,
    Errors,
    Latency,
    Credits,
    Tokens,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LoggingSection {
    /// The least severe level that is logged. `--debug` is `debug` in any case, and `RUST_LOG` overrides both.
    #[schemars(extend("default" = "info"))]
    pub(crate) level: Option<Word<LogLevel>>,
    /// `true`: all that the gateway writes on standard error is an object per line.
    #[schemars(extend("default" = false))]
    pub(crate) json: Option<bool>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("x-refused" = refused(&[("url", LATER)])))]
pub(crate) struct StoreSection {
    /// The file of the store, from the directory of `gateway.yaml`; in the user's state directory by
    /// default. A database of another program is not touched: the log says so, and calls are refused.
    pub(crate) path: Option<At<String>>,
    /// `process`: a commit survives the end of every process. `power`: a loss of power as well.
    #[schemars(extend("default" = "process"))]
    pub(crate) durability: Option<Word<Durability>>,
}
