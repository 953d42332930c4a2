//! `tollgate hook`: what clients run before their calls, so that the gateway learns who calls.

mod claude_code;
mod edit;
mod install;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Exit, output::Output};
use crate::domain::call::AgentId;

const OF_CLAUDE_CODE: &str = "\
Claude Code runs it before each call of the gateway's tools (a PreToolUse hook): the event comes on
standard input, the answer goes to standard output. The answer sets `agent_id` to a stamp: the true
agent, signed for this very call. Calls of the main thread are `main`'s, or those of --main; calls
of a subagent are those of its type. It never allows a call on the user's behalf.

Examples:
  tollgate hook claude-code --install               into ~/.claude/settings.json
  tollgate hook claude-code --print                 what --install would add
  tollgate hook claude-code --main lead --install   the main thread's calls are `lead`'s
  tollgate hook claude-code --uninstall             takes it out again";

/// Which client runs it.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HookArgs {
    /// Answer an event of Claude Code, or add the hook to its settings
    #[command(after_help = OF_CLAUDE_CODE)]
    ClaudeCode(ClaudeCodeArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ClaudeCodeArgs {
    /// The agent that the main thread's calls are of
    #[arg(long, value_name = "AGENT", value_parser = agent, default_value = MAIN)]
    main: AgentId,
    /// Refuse calls without a stamp, telling it, for versions that ignore a changed input
    #[arg(long)]
    deny_wrong_id: bool,
    /// Add the hook to the settings of Claude Code, and answer nothing
    #[arg(long, group = "change")]
    install: bool,
    /// Remove the hook from the settings of Claude Code, and answer nothing
    #[arg(long, group = "change")]
    uninstall: bool,
    /// Print what --install would add
    #[arg(long, conflicts_with = "change")]
    print: bool,
    /// The settings that are changed (default: settings.json in $CLAUDE_CONFIG_DIR or ~/.claude)
    #[arg(long, value_name = "FILE", requires = "change")]
    settings: Option<PathBuf>,
}

const MAIN: &str = "main";

fn agent(text: &str) -> Result<AgentId, String> {
    match AgentId::is_well_formed(text) {
        true => Ok(text.into()),
        false => {
            Err("is not an agent name: 1 to 128 of letters, digits, `_`, `.`, `:`, `-`".into())
        }
    }
}

/// Runs the command.
pub(super) fn run(args: &HookArgs, output: &Output) -> anyhow::Result<Exit> {
    let HookArgs::ClaudeCode(args) = args;
    match args {
        ClaudeCodeArgs { install: true, .. } => install::install(args, output),
        ClaudeCodeArgs { uninstall: true, .. } => install::uninstall(args, output),
        ClaudeCodeArgs { print: true, .. } => install::print(args, output),
        _ => Ok(claude_code::answer(args, output)),
    }
}
