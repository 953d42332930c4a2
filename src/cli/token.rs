//! `tollgate token`: what callers show where `auth.mode` is `header`.

mod inspect;
mod mint;
mod narrowing;
mod revoke;

use std::io::{self, Read as _};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use self::{inspect::InspectArgs, mint::MintArgs, narrowing::Narrowing, revoke::RevokeArgs};
use super::{Exit, args::SettingsArgs, output::Output};
use crate::{
    app::wiring,
    domain::{
        auth::AuthMode,
        caveat::Caveats,
        settings::Settings,
        token::{Token, TokenKeys},
    },
    host::environment::Environment,
    ledger,
};

/// Where a token is looked for that is not given.
const VARIABLE: &str = "TOLLGATE_TOKEN";
/// No token is longer, whatever stands around it.
const MOST_READ: u64 = 64 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum TokenArgs {
    /// Make a token and print it, this once
    Mint(MintArgs),
    /// Make a narrower token of one; needs no settings and no key
    Narrow(NarrowArgs),
    /// Show what a token allows, and whether it is taken here. Exit status 3 if it is not
    Inspect(InspectArgs),
    /// Take a token back, at once and for good, and all that were delegated under it
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct NarrowArgs {
    /// The token; `-` reads it from standard input, as it should be where others use this machine
    /// (default: TOLLGATE_TOKEN of the environment)
    token: Option<String>,
    #[command(flatten)]
    narrowing: Narrowing,
}

pub(super) fn run(args: &SettingsArgs, asked: TokenArgs, output: &Output) -> anyhow::Result<Exit> {
    match asked {
        TokenArgs::Mint(asked) => mint::run(args, asked, output),
        TokenArgs::Narrow(asked) => narrow(asked, output),
        TokenArgs::Inspect(asked) => inspect::run(args, asked, output),
        TokenArgs::Revoke(asked) => revoke::run(args, asked, output),
    }
}

fn narrow(asked: NarrowArgs, output: &Output) -> anyhow::Result<Exit> {
    let caveats = asked.narrowing.caveats();
    if caveats.is_empty() {
        output.error("nothing narrows the token; `tollgate token narrow --help` tells what can");
        return Ok(Exit::Settings);
    }
    let token = Token::parse(given(asked.token)?.expose_secret())?;
    let narrowed = caveats.iter().try_fold(token, Token::narrow)?;
    if let Ok(all) = narrowed.caveats() {
        Caveats(all).tenant().context("the token would allow nothing")?;
    }
    print(&narrowed, json!({"tokenId": narrowed.id().to_string()}), output)?;
    Ok(Exit::Done)
}

/// Prints a token, the only time that anything does: alone, or beside what is to be known of it.
fn print(token: &Token, about: serde_json::Value, output: &Output) -> anyhow::Result<()> {
    output.secret("token", token.text().expose_secret(), about)
}

/// The token that a command is given.
fn given(argument: Option<String>) -> anyhow::Result<SecretString> {
    let text = match argument.as_deref() {
        Some("-") => {
            let mut text = String::new();
            let read = io::stdin().take(MOST_READ).read_to_string(&mut text);
            read.context("standard input cannot be read")?;
            text
        }
        Some(text) => text.to_owned(),
        None => match Environment::of_process().get(VARIABLE) {
            Some(text) => text.to_owned(),
            None => bail!(
                "no token is given: name it, give it on standard input with `-`, or set {VARIABLE}"
            ),
        },
    };
    match text.trim() {
        "" => bail!("the token that is given is empty"),
        text => Ok(text.into()),
    }
}

/// The keys of these settings' tokens.
fn keys(settings: &Settings) -> anyhow::Result<TokenKeys> {
    let state = wiring::places(&Environment::of_process()).state;
    let place = ledger::place_of_key(&settings.budgeting.store, state.as_deref());
    let given =
        matches!(&settings.auth.mode, AuthMode::Header(tokens) if !tokens.root_keys.is_empty());
    if place.is_none() && !given {
        // One made here would be gone with this process, and its tokens good for nobody.
        bail!("there is no place for the key of tokens: set HOME, or `auth.rootKey`");
    }
    let keys = ledger::keys::token_keys(&settings.auth.mode, place);
    keys.context("the key of tokens cannot be used")
}
