//! `tollgate serve`: runs the gateway on stdio. Standard output carries protocol only.

use std::io::{self, IsTerminal};

use secrecy::ExposeSecret;

use super::{
    Exit,
    args::{ServeArgs, SettingsArgs},
    output::note,
    summary,
};
use crate::{
    app::{self, Announcement, RunError},
    config::Options,
    domain::settings::Settings,
    gateway::Root,
    host::terminal::watched,
};

pub(super) fn run(args: &SettingsArgs, serve: &ServeArgs) -> anyhow::Result<Exit> {
    if let Some(address) = &serve.http {
        note(&format!("error: --http {address}: this version serves stdio only"));
        return Ok(Exit::Settings);
    }
    let options = Options { act_as: serve.act_as.clone(), debug: serve.debug, ..args.options() };
    let announce = |announcement: Announcement<'_>| match announcement {
        Announcement::Settings(settings) => introduce(settings),
        Announcement::Root(root) => tell_root_token(root),
    };
    match app::run(options, announce) {
        Ok(()) => Ok(Exit::Done),
        Err(error @ (RunError::Nested | RunError::Refused(_))) => {
            note(&format!("error: {error}"));
            Ok(Exit::Settings)
        }
        Err(RunError::Settings(faults)) => Err(faults.into()),
        Err(error) => Err(error.into()),
    }
}

/// Prints what is served, and what to do on a terminal. Elsewhere that is one line, and one for each
/// warning: clients show it as the first words of every session.
fn introduce(settings: &Settings) {
    let title = format!("tollgate {} on stdio", env!("CARGO_PKG_VERSION"));
    let one_line = || format!("{title}: {}", summary::line(settings));
    match (settings.logging.json, watched()) {
        (true, _) => tracing::info!("{}", one_line()),
        (false, true) => {
            note(&title);
            summary::lines(settings).iter().for_each(|line| note(line));
        }
        (false, false) => {
            note(&one_line());
            summary::warnings(settings).iter().for_each(|line| note(line));
        }
    }
    if settings.logging.json {
        summary::warnings(settings).iter().for_each(|line| tracing::warn!("{}", line.trim_start()));
    }
    if io::stdin().is_terminal() {
        note(WAITING);
    }
}

/// For those who type `tollgate` and see nothing happen.
const WAITING: &str = "\
waiting for an MCP client on standard input. A client starts this command itself:
  claude mcp add tollgate -- tollgate serve --config-dir DIR
`tollgate demo` shows a session, `tollgate --help` every command. Ctrl-C ends this.";

/// Prints the root token for whoever started the gateway, as the older system did: on standard error,
/// never in the log.
fn tell_root_token(root: &Root) {
    note(&format!("ROOT_TOKEN={}", root.token.expose_secret()));
    note(&format!("TOKEN_ID={}", root.id));
}
