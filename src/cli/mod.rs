//! Floor 4: one file per command; wires everything together.

mod args;
mod audit;
mod budget;
mod call;
mod check;
mod consumers;
mod demo;
mod explain;
mod hook;
mod keys;
mod output;
mod progress;
mod records;
mod serve;
mod summary;
mod table;
mod token;
mod tokens;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use output::Output;

/// How a command ends, as its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: failed.
    Failed,
    /// 2: the command line or the settings are wrong.
    Settings,
    /// 3: policy or budget refused.
    Refused,
    /// 4: the chain of records is broken.
    Broken,
    /// 5: records are missing at the end of their chain.
    Incomplete,
    /// The exit status of a supervised server.
    Server(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Settings => 2,
            Exit::Refused => 3,
            Exit::Broken => 4,
            Exit::Incomplete => 5,
            Exit::Server(status) => status,
        })
    }
}

/// Parses the command line and runs the command.
pub fn main() -> Exit {
    let cli = Cli::parse();
    let output = Output::new(cli.settings.json);
    let outcome = match cli.command {
        None => serve::run(&cli.settings, &cli.serve),
        Some(Command::Serve(serve)) => serve::run(&cli.settings, &serve.or(cli.serve)),
        Some(Command::Check) => check::run(&cli.settings, &output),
        Some(Command::Servers(servers)) => call::servers(&cli.settings, &servers, &output),
        Some(Command::Tools(tools)) => call::tools(&cli.settings, &tools, &output),
        Some(Command::Call(call)) => call::call(&cli.settings, &call, &output),
        Some(Command::Tokens) => tokens::run(&cli.settings, &output),
        Some(Command::Explain(explain)) => explain::run(&cli.settings, &explain, &output),
        Some(Command::Budget(budget)) => budget::run(&cli.settings, &budget, &output),
        Some(Command::Token(token)) => token::run(&cli.settings, token, &output),
        Some(Command::Usage(usage)) => usage::run(&cli.settings, &usage, &output),
        Some(Command::Audit(audit)) => audit::run(&cli.settings, &audit, &output),
        Some(Command::Keys(keys)) => keys::run(&cli.settings, &keys, &output),
        Some(Command::Hook(hook)) => hook::run(&hook, &output),
        Some(Command::Demo) => demo::run(&output),
        Some(Command::Supervise(supervise)) => Ok(supervise.run()),
    };
    outcome.unwrap_or_else(|error| {
        output.error(&format!("{error:#}"));
        if error.is::<crate::config::Faults>() { Exit::Settings } else { Exit::Failed }
    })
}
