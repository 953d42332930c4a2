//! The command line as typed.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand};

use super::{
    Exit, audit::AuditArgs, budget::BudgetArgs, hook::HookArgs, keys::KeysArgs, token::TokenArgs,
    usage::UsageArgs,
};
use crate::config::Options;

/// The gateway between AI agents and their MCP servers.
///
/// MCP clients see three tools, however many servers stand behind: list_servers, get_server_tools
/// and execute_tool. Rules say which agent may use which server and tool. Without a command,
/// `tollgate` serves on stdio.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, after_help = EXAMPLES)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) settings: SettingsArgs,
    #[command(flatten)]
    pub(super) serve: ServeArgs,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  tollgate demo                                     see it work, over real servers
  tollgate check                                    what is wrong with the settings, if anything
  tollgate explain researcher postgres drop_table   which rule decides, what it costs, who pays
  tollgate budget show                              what is left of the credits
  tollgate usage --by agent,tool --since 7d         what calls came to
  tollgate audit log --since 1h                     what was decided, and what moved
  claude mcp add tollgate -- tollgate serve --config-dir DIR

Settings are looked for as .mcp.json, .mcp-gateway-rules.json and gateway.yaml (or .yml, .json, or
satgate-mcp.yaml) in the working directory, in ./config and in ~/.config/tollgate. A gateway that
serves reads them again when they change, and at SIGHUP.

Exit status: 0 done, 1 failed, 2 usage or settings wrong, 3 refused by policy or budget,
4 records altered, 5 records missing at the end.";

const OF_BUDGET: &str = "\
An account is named as `budget show` names it: `root` is what all may spend, `agent/NAME` a limit of
one agent's, `/day` and the like count anew in UTC, `shadow/` counts what `enforcement.mode: shadow`
would take. Which of them pays for a call: `tollgate explain AGENT SERVER TOOL`.

Examples:
  tollgate budget grant agent/researcher/day 50 --note 'release week'
  tollgate audit log --event post --since 1d | grep uncertain    calls that may not have run
  tollgate budget refund 01a1fb32c00771deaf46                    the HOLD of one of those";

const OF_TOKEN: &str = "\
A token says who calls where `auth.mode` is `header`: in `_meta.token`, or
in TOLLGATE_TOKEN of the client's entry for this gateway. Who holds one can narrow it, offline and
without any key; nobody can widen it. What users of this machine may not see, give on standard input
(`-`) or in TOLLGATE_TOKEN: the arguments of a command are visible to all of them.

Examples:
  tollgate token mint --agent researcher --expires 7d
  tollgate token mint --budget 500 --tools 'get_*, db/query' --label 'nightly report'
  printf %s \"$TOKEN\" | tollgate token narrow - --expires 1h --max-cost 5
  tollgate token inspect - <token.txt
  tollgate token revoke 5f0c2a9d                     the first digits of its id";

const OF_AUDIT: &str = "\
A call has two records: `hold` when it is let through, and `post` (charged) or `void` (not charged)
at its end. What is refused has one, `refusal`. The records are those of all gateways that share the
store, whatever their settings.

Examples:
  tollgate audit log --decision refused --since 1d    what was refused today
  tollgate audit log --agent researcher --follow      what one agent does, as it does it
  tollgate audit log --json --limit 1000000           everything, for programs
  tollgate audit verify && echo whole                 for scripts";

const OF_KEYS: &str = "\
A key is shown once, when it is made; the store keeps its digest only. The client's entry for this
gateway passes it in its environment, as TOLLGATE_TOKEN. Keys may also be written into `auth.keys` of
gateway.yaml.

Examples:
  tollgate keys create --name laptop --agent researcher
  tollgate keys create --name ci --agent reader --agent writer --expires 90d > key
  tollgate keys revoke 3f9c01ab";

/// Where the settings are.
#[derive(Clone, Debug, Args)]
pub(super) struct SettingsArgs {
    /// Look for all settings files in this directory, and nowhere else
    #[arg(long, global = true, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// Which servers there are (default: .mcp.json) [env: GATEWAY_MCP_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    mcp_config: Option<PathBuf>,
    /// Who may do what (default: .mcp-gateway-rules.json) [env: GATEWAY_RULES]
    #[arg(long, global = true, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How the gateway runs (default: gateway.yaml) [env: GATEWAY_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl SettingsArgs {
    pub(super) fn options(&self) -> Options {
        Options {
            config_dir: self.config_dir.clone(),
            mcp_config: self.mcp_config.clone(),
            rules: self.rules.clone(),
            config: self.config.clone(),
            ..Options::default()
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway on stdio (the default)
    Serve(ServeArgs),
    /// See one whole agent session over real servers
    Demo,
    /// Check all settings; tell every fault and warning, with its place
    Check,
    /// List the servers that an agent may use
    Servers(ServersArgs),
    /// List the tools of a server that an agent may use
    Tools(ToolsArgs),
    /// Call a tool, as an agent would
    Call(CallArgs),
    /// Tell what tools cost in context: per server, and what each agent was sent
    Tokens,
    /// Tell which rule decides whether an agent may call a tool, what a call costs and who pays
    Explain(ExplainArgs),
    /// See the credits of accounts; give them, give them back, recount them
    #[command(subcommand, after_help = OF_BUDGET)]
    Budget(BudgetArgs),
    /// Make tokens that callers show, narrow them, see what they allow, take them back
    #[command(subcommand, after_help = OF_TOKEN)]
    Token(TokenArgs),
    /// Tell what calls came to: how many, how long, how many credits
    Usage(UsageArgs),
    /// Read the records of what was decided and what moved, and verify them
    #[command(subcommand, after_help = OF_AUDIT)]
    Audit(AuditArgs),
    /// Make, list and take back API keys (`auth.mode: api-key`)
    #[command(subcommand, after_help = OF_KEYS)]
    Keys(KeysArgs),
    /// Sign who calls, within a client that runs this before each call
    #[command(subcommand)]
    Hook(HookArgs),
    /// Run one server and end its whole process tree with the gateway (used by the gateway itself)
    #[command(hide = true)]
    Supervise(SuperviseArgs),
}

#[derive(Clone, Debug, Default, Args)]
pub(super) struct ServeArgs {
    /// Offer the tool get_gateway_status, and log more [env: GATEWAY_DEBUG]
    #[arg(long)]
    pub(super) debug: bool,
    /// Serve this one agent; calls may only name it, or an agent in its may_act_as
    #[arg(long = "as", value_name = "AGENT")]
    pub(super) act_as: Option<String>,
    /// Serve over HTTP at this address (not supported by this version)
    #[arg(long, value_name = "ADDR")]
    pub(super) http: Option<String>,
}

impl ServeArgs {
    /// What was typed before `serve` counts as well.
    pub(super) fn or(self, before: Self) -> Self {
        Self {
            debug: self.debug || before.debug,
            act_as: self.act_as.or(before.act_as),
            http: self.http.or(before.http),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ServersArgs {
    /// The agent that asks
    #[arg(long)]
    pub(super) agent: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ToolsArgs {
    /// The server, by the name that the settings give it; `*` searches all
    pub(super) server: String,
    /// The agent that asks
    #[arg(long)]
    pub(super) agent: Option<String>,
    /// Only these tools, comma-separated
    #[arg(long)]
    pub(super) names: Option<String>,
    /// Only tools that match, such as get_*
    #[arg(long)]
    pub(super) pattern: Option<String>,
    /// Only tools whose name or description has one of these words
    #[arg(long, value_name = "WORDS")]
    pub(super) query: Option<String>,
    /// How much of each tool: auto, names, summary, signature or full (default: signature, and full
    /// with --names)
    #[arg(long)]
    pub(super) detail: Option<String>,
    /// The most tokens of tools; detail is left out before tools are
    #[arg(long, value_name = "TOKENS", default_value_t = 1_000_000)]
    pub(super) max_tokens: usize,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The server, by the name that the settings give it
    pub(super) server: String,
    /// The tool
    pub(super) tool: String,
    /// The arguments as a JSON object; `-` reads them from standard input
    #[arg(value_name = "JSON", default_value = "{}")]
    pub(super) arguments: String,
    /// The agent that calls
    #[arg(long)]
    pub(super) agent: Option<String>,
    /// Give up after this many milliseconds without progress; may only shorten the server's timeout
    #[arg(long, value_name = "MS")]
    pub(super) timeout_ms: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The agent
    pub(super) agent: String,
    /// The server
    pub(super) server: String,
    /// The tool
    pub(super) tool: String,
}

#[derive(Debug, Args)]
pub(super) struct SuperviseArgs {
    /// The process id of the gateway
    #[arg(long)]
    parent: i32,
    /// The server's command line
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl SuperviseArgs {
    #[cfg(target_os = "linux")]
    pub(super) fn run(self) -> Exit {
        let mut command = self.command.into_iter();
        let Some(program) = command.next() else { return Exit::Settings };
        let status = crate::host::supervisor::supervise(self.parent, program, command.collect());
        Exit::Server(status)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn run(self) -> Exit {
        let _ = (self.parent, self.command);
        Exit::Settings
    }
}
