//! The token that a command is given, and the keys that sign tokens.

use std::io::{self, Read as _};

use anyhow::{Context as _, bail};
use secrecy::SecretString;

use crate::{
    cli::context::CommandContext,
    domain::{auth::AuthMode, settings::Settings, token::TokenKeys},
    ledger,
};

/// Holds the token of a command that is given none.
const VARIABLE: &str = "TOLLGATE_TOKEN";
/// No token is longer, white space around it included.
const MOST_READ: u64 = 64 * 1024;

/// The token that a command is given.
pub(super) fn given(
    context: &CommandContext,
    argument: Option<String>,
) -> anyhow::Result<SecretString> {
    let text = match (argument.as_deref(), context.env.get(VARIABLE)) {
        (Some("-"), _) => {
            let mut text = String::new();
            let read = io::stdin().take(MOST_READ).read_to_string(&mut text);
            read.context("standard input cannot be read")?;
            text
        }
        (Some(text), _) | (None, Some(text)) => text.to_owned(),
        (None, None) => {
            bail!(
                "no token is given: name it, pass it on standard input with `-`, or set {VARIABLE}"
            )
        }
    };
    match text.trim() {
        "" => bail!("the token is empty"),
        text => Ok(text.into()),
    }
}

/// The keys that sign the tokens of these settings.
pub(super) fn keys(context: &CommandContext, settings: &Settings) -> anyhow::Result<TokenKeys> {
    let state = context.places().state;
    let place = ledger::place_of_key(&settings.budgeting.store, state.as_deref());
    let given =
        matches!(&settings.auth.mode, AuthMode::Header(tokens) if !tokens.root_keys.is_empty());
    if place.is_none() && !given {
        // A key made here would be gone with this process, and no one would accept its tokens.
        bail!("there is no place for the key of tokens: set HOME, or `auth.rootKey`");
    }
    let keys = ledger::keys::token_keys(&settings.auth.mode, place);
    keys.context("the key of tokens cannot be used")
}
