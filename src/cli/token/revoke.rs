//! `tollgate token revoke`.

use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{given, keys};
use crate::{
    app::wiring,
    cli::{
        Exit,
        args::SettingsArgs,
        output::Output,
        records::{self, answer, returned},
    },
    domain::{
        budget::Backend,
        credits::Credits,
        delegation::Standing,
        ledger::{AccountId, Closed},
        record::Draft,
        settings::Settings,
        token::{Token, TokenId, Unverified},
    },
    host::clock::now,
    ledger::Ledger,
};

/// Of an id.
const DIGITS: usize = 32;
/// Fewer digits may be those of several.
const FEWEST_DIGITS: usize = 8;

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// Its id; of a token with an account, the first digits are enough, eight at least. Or the token
    /// itself; `-` reads it from standard input
    #[arg(value_name = "ID")]
    token: String,
}

pub(super) fn run(args: &SettingsArgs, asked: RevokeArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    if settings.budgeting.store.backend == Backend::Memory {
        bail!(
            "which tokens were taken back is in the memory of each gateway (`budget.backend: memory`), which no command reaches: change `auth.rootKey`, or use `sqlite`"
        );
    }
    let ledger = records::ledger(&settings)?;
    wiring::runtime()?.block_on(async {
        let id = wanted(&settings, &ledger, asked.token).await?;
        let Standing { delegation, usable } = answer(ledger.standing(id)).await?;
        let closed = match answer(ledger.revoke(id, Draft::default())).await? {
            Ok(closed) => closed,
            Err(refused) => bail!("{refused}"),
        };
        let account = delegation.map(|delegation| delegation.account);
        let returned = returned(&ledger, &closed).await?;
        if output.json {
            output.value(&json!({
                "tokenId": id.to_string(),
                "budgetId": account.as_ref().map(AccountId::name),
                "closed": closed.iter().map(|closed| closed.account.name()).collect::<Vec<_>>(),
                "returned": returned.as_ref().map(|(amount, _)| amount),
                "to": returned.as_ref().and_then(|(_, to)| Some(to.as_ref()?.name())),
                "already": closed.is_empty() && !usable,
            }));
        } else {
            output.line(&told(id, account.is_some(), usable, &closed, returned));
        }
        Ok(Exit::Done)
    })
}

fn told(
    id: TokenId,
    has_account: bool,
    usable: bool,
    closed: &[Closed],
    returned: Option<(Credits, Option<AccountId>)>,
) -> String {
    match (returned, has_account) {
        (Some((amount, to)), _) => {
            let to = to.map_or_else(String::new, |to| format!(" to {to}"));
            let below = match closed.len() - usize::from(has_account) {
                0 => String::new(),
                1 => ", with 1 delegation under it".to_owned(),
                more => format!(", with {more} delegations under it"),
            };
            let amount = amount.in_words();
            format!("token {id} is revoked{below}; {amount} went back{to}")
        }
        (None, true) => format!("token {id} had ended already"),
        (None, false) if !usable => format!("token {id} was revoked already"),
        (None, false) => {
            format!("token {id} is revoked; it had no account of its own, so nothing goes back")
        }
    }
}

/// The token that is meant.
async fn wanted(
    settings: &Settings,
    ledger: &Arc<dyn Ledger>,
    text: String,
) -> anyhow::Result<TokenId> {
    // As `budget show` names its account.
    let text = text.strip_prefix("token/").map_or(text.clone(), str::to_owned);
    let is_id = text.len() <= DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id {
        return of_token(settings, text);
    }
    if text.len() == DIGITS {
        return Ok(TokenId(u128::from_str_radix(&text, 16)?));
    }
    let digits = text.to_ascii_lowercase();
    if digits.len() < FEWEST_DIGITS {
        bail!("give at least the first {FEWEST_DIGITS} digits of the token's id");
    }
    let kept = answer(ledger.delegations()).await?;
    let ids = kept.into_iter().filter_map(|standing| Some(standing.delegation?.token));
    let found: Vec<TokenId> = ids.filter(|id| id.to_string().starts_with(&digits)).collect();
    match found.as_slice() {
        [one] => Ok(*one),
        [] => bail!(
            "no token with an account begins with `{digits}`; of one without, give all {DIGITS} digits of its id"
        ),
        several => {
            let ids: Vec<String> = several.iter().take(8).map(TokenId::to_string).collect();
            bail!("{} tokens begin with `{digits}`: {}", several.len(), ids.join(", "))
        }
    }
}

/// The id of a token that is this gateway's: the id in any other may be somebody else's.
fn of_token(settings: &Settings, text: String) -> anyhow::Result<TokenId> {
    let text = given(Some(text))?;
    let proven = keys(settings)?.verify(text.expose_secret(), &settings.budgeting.namespace, now());
    match proven {
        Ok(verified) => Ok(verified.id()),
        Err(
            wrong @ (Unverified::Unreadable(_)
            | Unverified::UnknownKey
            | Unverified::Altered
            | Unverified::OtherNamespace),
        ) => bail!("{wrong}; nothing is revoked"),
        // It proves nothing any more, and is still a token of this gateway.
        Err(_) => Ok(Token::parse(text.expose_secret())?.id()),
    }
}
