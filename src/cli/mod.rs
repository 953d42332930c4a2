//! Floor 6: one file per command. Arguments in, one report out, one printer.
//!
//! - [`command`]: the command line as typed; [`args`], [`parse`]: what commands share of it.
//! - [`context`]: settings, store and printer of a command. [`output`]: reports and the printer.

mod args;
mod audit;
mod budget;
mod call;
mod check;
mod command;
mod completions;
mod consumers;
mod context;
mod demo;
mod exit;
mod explain;
mod hook;
mod keys;
mod lookup;
mod output;
mod parse;
mod progress;
mod records;
mod schema;
mod serve;
mod shell;
mod summary;
mod table;
mod token;
mod tokens;
mod usage;

use clap::{CommandFactory as _, Parser as _};

use self::{
    args::ServeArgs,
    command::{Cli, Command},
    context::CommandContext,
};
use crate::app::wiring;

pub use exit::Exit;

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let Cli { settings, serve, command } = Cli::parse();
    let context = CommandContext::new(settings);
    let done = match command {
        None => serve::run(&context.args, &serve),
        Some(command) => run(&context, command, serve),
    };
    done.unwrap_or_else(|error| {
        output::error(&format!("{error:#}"));
        if error.is::<crate::config::Faults>() { Exit::Settings } else { Exit::Failed }
    })
}

/// Runs a command; `before` is what was typed for `serve` before its name.
fn run(context: &CommandContext, command: Command, before: ServeArgs) -> anyhow::Result<Exit> {
    match command {
        Command::Serve(asked) => serve::run(&context.args, &asked.or(before)),
        Command::Demo => wait(demo::run(context)),
        Command::Check => check::run(context),
        Command::Explain(asked) => explain::run(context, &asked),
        Command::Hook(asked) => hook::run(context, &asked),
        Command::Completions(asked) => completions::completions(context, &asked, &Cli::command()),
        Command::Man(asked) => completions::man(context, &asked, Cli::command()),
        Command::Schema(asked) => schema::run(context, &asked),
        Command::Supervise(asked) => Ok(asked.run()),
        Command::Servers(asked) => wait(call::servers(context, &asked)),
        Command::Tools(asked) => wait(call::tools(context, &asked)),
        Command::Call(asked) => wait(call::call(context, &asked)),
        Command::Tokens => wait(tokens::run(context)),
        Command::Budget(asked) => wait(budget::run(context, &asked)),
        Command::Token(asked) => wait(token::run(context, asked)),
        Command::Usage(asked) => wait(usage::run(context, &asked)),
        Command::Audit(asked) => wait(audit::run(context, &asked)),
        Command::Keys(asked) => wait(keys::run(context, &asked)),
    }
}

fn wait(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = wiring::runtime()?;
    let done = runtime.block_on(command);
    // Something a server was asked may still hang in a thread.
    runtime.shutdown_background();
    done
}
