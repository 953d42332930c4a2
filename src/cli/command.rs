//! The command line as typed, and its help.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use super::{
    args::{ServeArgs, SettingsArgs},
    audit::AuditArgs,
    budget::BudgetArgs,
    call::{CallArgs, ServersArgs, ToolsArgs},
    completions::{CompletionsArgs, ManArgs},
    exit::Exit,
    explain::ExplainArgs,
    hook::HookArgs,
    keys::KeysArgs,
    schema::SchemaArgs,
    token::TokenArgs,
    usage::UsageArgs,
};

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
  tollgate check                                    find what is wrong with the settings
  tollgate explain researcher postgres drop_table   which rule decides, what it costs, who pays
  tollgate budget show                              the credits that are left
  tollgate usage --by agent,tool --since 7d         calls, errors and credits of a week
  tollgate audit log --since 1h                     the records of the last hour
  claude mcp add tollgate -- tollgate serve --config-dir DIR

Settings are looked for as .mcp.json, .mcp-gateway-rules.json and gateway.yaml (or .yml, .json, or
satgate-mcp.yaml) in the working directory, in ./config and in ~/.config/tollgate. A running gateway
reads them again when they change, and on SIGHUP.

Exit status: 0 done, 1 failed, 2 usage or settings wrong, 3 refused by policy or budget,
4 records altered, 5 records missing at the end.";

const OF_SERVE: &str = "\
Clients start this command themselves; standard output carries MCP only.

Examples:
  claude mcp add tollgate -- tollgate serve --config-dir DIR
  tollgate serve --as researcher     every call is this agent's";

const OF_CALLS: &str = "\
Examples:
  tollgate servers --agent researcher
  tollgate tools '*' --query 'pull request' --agent researcher
  tollgate call filesystem read_text_file '{\"path\": \"notes.md\"}' --agent researcher
  tollgate call db query - --agent backend <arguments.json";

const OF_EXPLAIN: &str = "\
Exit status 3 if the call would be denied. No server is contacted.

Examples:
  tollgate explain researcher postgres drop_table
  tollgate explain researcher postgres drop_table --json";

const OF_USAGE: &str = "\
Examples:
  tollgate usage --by agent,tool --since 7d
  tollgate usage 'research*' --by day
  tollgate usage --by key,label           by API key, and by what delegations are for";

const OF_BUDGET: &str = "\
`root` is the account of all callers, `agent/NAME` the limit of one agent; an account that ends in
/day or another period starts anew with each period (UTC), and `shadow/` counts what
`enforcement.mode: shadow` would take. `tollgate explain AGENT SERVER TOOL` names the accounts that
pay for a call.

Examples:
  tollgate budget grant agent/researcher/day 50 --note 'release week'
  tollgate audit log --event post --since 1d | grep uncertain    calls that may not have run
  tollgate budget refund 01a1fb32c00771deaf46                    the HOLD of one of those";

const OF_TOKEN: &str = "\
A token proves who calls where `auth.mode` is `header`: in `_meta.token`, or in TOLLGATE_TOKEN of
the client's entry for this gateway. Its holder can narrow it, offline and without a key; no one can
widen it. Other users of this machine can see the arguments of a command: pass a token on standard
input (`-`) or in TOLLGATE_TOKEN.

Examples:
  tollgate token mint --agent researcher --expires 7d
  tollgate token mint --budget 500 --tools 'get_*, db/query' --label 'nightly report'
  printf %s \"$TOKEN\" | tollgate token narrow - --expires 1h --max-cost 5
  tollgate token inspect - <token.txt
  tollgate token revoke 5f0c2a9d                     the first digits of its id";

const OF_AUDIT: &str = "\
A call has two records: `hold` when it starts, and `post` (charged) or `void` (not charged) when it
ends. A refused call has one, `refusal`. The records are those of all gateways that share the store,
whatever their settings.

Examples:
  tollgate audit log --decision refused --since 1d    what was refused today
  tollgate audit log --agent researcher --follow      what one agent does, as it does it
  tollgate audit log --json --limit 1000000           everything, for programs
  tollgate audit verify && echo whole                 for scripts";

const OF_KEYS: &str = "\
A key is shown once, when it is created; the store keeps only its digest. The client's entry for this
gateway passes it in its environment, as TOLLGATE_TOKEN. Keys can also be written into `auth.keys` of
gateway.yaml.

Examples:
  tollgate keys create --name laptop --agent researcher
  tollgate keys create --name ci --agent reader --agent writer --expires 90d > key
  tollgate keys revoke 3f9c01ab";

const OF_COMPLETIONS: &str = "\
Examples:
  tollgate completions bash >~/.local/share/bash-completion/completions/tollgate
  tollgate completions zsh >~/.zfunc/_tollgate     with ~/.zfunc in fpath
  tollgate completions fish >~/.config/fish/completions/tollgate.fish";

const OF_MAN: &str = "\
Examples:
  tollgate man | man -l -
  tollgate man --dir ~/.local/share/man/man1";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway on stdio (the default)
    #[command(after_help = OF_SERVE)]
    Serve(ServeArgs),
    /// Show one whole agent session over real servers
    Demo,
    /// Check all settings; report every fault and warning with its place
    Check,
    /// List the servers that an agent may use
    #[command(after_help = OF_CALLS)]
    Servers(ServersArgs),
    /// List the tools of a server that an agent may use
    #[command(after_help = OF_CALLS)]
    Tools(ToolsArgs),
    /// Call a tool, as an agent would
    #[command(after_help = OF_CALLS)]
    Call(CallArgs),
    /// Show what tools cost in tokens: per server, and what each agent was sent
    Tokens,
    /// Explain which rule decides about a call, what the call costs and who pays
    #[command(after_help = OF_EXPLAIN)]
    Explain(ExplainArgs),
    /// Show, grant, refund and recount the credits of accounts
    #[command(subcommand, after_help = OF_BUDGET)]
    Budget(BudgetArgs),
    /// Mint, narrow, inspect and revoke tokens (`auth.mode: header`)
    #[command(subcommand, after_help = OF_TOKEN)]
    Token(TokenArgs),
    /// Show calls, errors, credits and latencies, by agent, tool, day and so on
    #[command(after_help = OF_USAGE)]
    Usage(UsageArgs),
    /// Read and verify the records of decisions and credits
    #[command(subcommand, after_help = OF_AUDIT)]
    Audit(AuditArgs),
    /// Create, list and revoke API keys (`auth.mode: api-key`)
    #[command(subcommand, after_help = OF_KEYS)]
    Keys(KeysArgs),
    /// Sign calls with the true agent; a client runs this before each call
    #[command(subcommand)]
    Hook(HookArgs),
    /// Print the JSON Schema of a settings file, for completion in editors
    Schema(SchemaArgs),
    /// Print the completion script of a shell
    #[command(after_help = OF_COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Print the manual page, or write one page per command
    #[command(after_help = OF_MAN)]
    Man(ManArgs),
    /// Run one server and end its whole process tree with the gateway (used by the gateway itself)
    #[command(hide = true)]
    Supervise(SuperviseArgs),
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
