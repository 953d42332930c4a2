//! `tollgate completions` and `tollgate man`: made from the command line itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use serde_json::json;

use super::{context::CommandContext, exit::Exit, output::Report};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write one page per command into this directory, which must exist
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn completions(
    context: &CommandContext,
    asked: &CompletionsArgs,
    command: &Command,
) -> anyhow::Result<Exit> {
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    let mut command =
        Command::new("tollgate").args(command.get_arguments().cloned()).subcommands(shown.cloned());
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut command, "tollgate", &mut script);
    let script = String::from_utf8(script)?;
    context.show(&Report::new(json!({"script": script})).line(script.trim_end()))
}

pub(super) fn man(
    context: &CommandContext,
    asked: &ManArgs,
    command: Command,
) -> anyhow::Result<Exit> {
    if let Some(dir) = &asked.dir {
        let dir = context.env.path(dir);
        clap_mangen::generate_to(command, &dir)
            .with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
        let words = format!("the manual pages are in {}", dir.display());
        return context.show(&Report::new(json!({"written": dir})).line(words));
    }
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    let page = String::from_utf8(page)?;
    context.show(&Report::new(json!({"page": page})).line(page.trim_end()))
}
