//! `tollgate token revoke`.

use anyhow::bail;
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::given::{given, keys};
use crate::{
    cli::{
        context::{CommandContext, OpenStore, answer},
        lookup::only,
        output::Report,
        records::Returned,
    },
    domain::{
        delegation::Standing,
        ledger::AccountId,
        record::Draft,
        token::{Token, TokenId, Unverified},
    },
    host::clock::now,
};

/// Of an id.
const DIGITS: usize = 32;
/// Fewer digits may begin several ids.
const FEWEST_DIGITS: usize = 8;

#[derive(Debug, Args)]
pub(in crate::cli) struct RevokeArgs {
    /// The token's id, or, of a token with an account, at least its first 8 digits; or the token
    /// itself, which `-` reads from standard input
    #[arg(value_name = "ID")]
    token: String,
}

pub(super) async fn run(context: &CommandContext, asked: RevokeArgs) -> anyhow::Result<Report> {
    let store = context.store_of("revoked tokens", "or change `auth.rootKey`")?;
    let id = wanted(context, &store, asked.token).await?;
    let Standing { delegation, usable } = answer(store.ledger.standing(id)).await?;
    let closed = answer(store.ledger.revoke(id, Draft::default())).await??;
    let account = delegation.map(|delegation| delegation.account);
    let returned = Returned::from(&store, &closed).await?;
    let below = match closed.len().saturating_sub(usize::from(account.is_some())) {
        0 => String::new(),
        1 => ", with 1 delegation under it".to_owned(),
        more => format!(", with {more} delegations under it"),
    };
    let words = match (&returned, &account) {
        (Some(returned), _) => format!("token {id} is revoked{below}; {}", returned.in_words()),
        (None, Some(_)) => format!("token {id} had ended already"),
        (None, None) if !usable => format!("token {id} was revoked already"),
        (None, None) => {
            format!("token {id} is revoked; it had no account of its own, so nothing goes back")
        }
    };
    let json = json!({
        "tokenId": id.to_string(),
        "budgetId": account.as_ref().map(AccountId::name),
        "closed": closed.iter().map(|closed| closed.account.name()).collect::<Vec<_>>(),
        "returned": returned.as_ref().map(|returned| returned.amount),
        "to": returned.as_ref().and_then(|returned| Some(returned.to.as_ref()?.name())),
        "already": closed.is_empty() && !usable,
    });
    Ok(Report::new(json).line(words))
}

/// The token that is meant.
async fn wanted(
    context: &CommandContext,
    store: &OpenStore,
    text: String,
) -> anyhow::Result<TokenId> {
    // As `budget show` names its account.
    let text = text.strip_prefix("token/").map_or(text.clone(), str::to_owned);
    if text.len() > DIGITS || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return of_token(context, store, text);
    }
    let digits = text.to_ascii_lowercase();
    match digits.len() {
        DIGITS => return Ok(TokenId(u128::from_str_radix(&digits, 16)?)),
        FEWEST_DIGITS.. => {}
        _ => bail!("give at least the first {FEWEST_DIGITS} digits of the token's id"),
    }
    let delegations = answer(store.ledger.delegations()).await?;
    let ids = delegations.into_iter().filter_map(|standing| Some(standing.delegation?.token));
    let found: Vec<TokenId> = ids.filter(|id| id.to_string().starts_with(&digits)).collect();
    if found.is_empty() {
        bail!(
            "no token with an account begins with `{digits}`; of a token without, give all {DIGITS} digits of its id"
        );
    }
    only("token", &digits, found, TokenId::to_string)
}

/// The id of a token, if it is one of this gateway: another may bear the id of someone else's.
fn of_token(context: &CommandContext, store: &OpenStore, text: String) -> anyhow::Result<TokenId> {
    let text = given(context, Some(text))?;
    let keys = keys(context, &store.settings)?;
    match keys.verify(text.expose_secret(), &store.settings.budgeting.namespace, now()) {
        Ok(verified) => Ok(verified.id()),
        Err(
            wrong @ (Unverified::Unreadable(_)
            | Unverified::UnknownKey
            | Unverified::Altered
            | Unverified::OtherNamespace),
        ) => bail!("{wrong}; nothing is revoked"),
        // Expired, say, and still a token of this gateway.
        Err(_) => Ok(Token::parse(text.expose_secret())?.id()),
    }
}
