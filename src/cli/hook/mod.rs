//! `tollgate hook`: clients run it before their calls, so that the gateway learns who calls.

mod args;
mod claude_code;
mod edit;
mod install;

use clap::Subcommand;

use self::args::ClaudeCodeArgs;
use super::{context::CommandContext, exit::Exit};

const OF_CLAUDE_CODE: &str = "\
Claude Code runs this before each call of the gateway's tools (a PreToolUse hook): the event comes on
standard input, the answer goes to standard output. The answer sets `agent_id` to a stamp: the true
agent, signed for this very call. The agent is the subagent's type; for the main thread it is `main`,
or that of --main. The hook never allows a call on the user's behalf.

Examples:
  tollgate hook claude-code --install               into ~/.claude/settings.json
  tollgate hook claude-code --print                 what --install would add
  tollgate hook claude-code --main lead --install   the main thread's calls are `lead`'s
  tollgate hook claude-code --uninstall             remove it again";

/// Which client runs it.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HookArgs {
    /// Answer an event of Claude Code, or add the hook to its settings
    #[command(after_help = OF_CLAUDE_CODE)]
    ClaudeCode(ClaudeCodeArgs),
}

pub(super) fn run(context: &CommandContext, args: &HookArgs) -> anyhow::Result<Exit> {
    let HookArgs::ClaudeCode(args) = args;
    match args {
        ClaudeCodeArgs { install: true, .. } => install::install(context, args),
        ClaudeCodeArgs { uninstall: true, .. } => install::uninstall(context, args),
        ClaudeCodeArgs { print: true, .. } => install::print(context, args),
        _ => claude_code::answer(context, args),
    }
}
