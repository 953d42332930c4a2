//! The flags of `tollgate hook claude-code`.

use std::path::PathBuf;

use clap::Args;

use crate::{cli::parse::agent, domain::call::AgentId};

#[derive(Debug, Args)]
pub(in crate::cli) struct ClaudeCodeArgs {
    /// The agent of the main thread's calls
    #[arg(long, value_name = "AGENT", value_parser = agent, default_value = MAIN)]
    pub(super) main: AgentId,
    /// Refuse calls without a stamp and name the right one, for versions that ignore a changed input
    #[arg(long)]
    pub(super) deny_wrong_id: bool,
    /// Add the hook to the settings of Claude Code, and answer nothing
    #[arg(long, group = "change")]
    pub(super) install: bool,
    /// Remove the hook from the settings of Claude Code, and answer nothing
    #[arg(long, group = "change")]
    pub(super) uninstall: bool,
    /// Print what --install would add
    #[arg(long, conflicts_with = "change")]
    pub(super) print: bool,
    /// The settings to change (default: settings.json in $CLAUDE_CONFIG_DIR or ~/.claude)
    #[arg(long, value_name = "FILE", requires = "change")]
    pub(super) settings: Option<PathBuf>,
}

pub(super) const MAIN: &str = "main";
