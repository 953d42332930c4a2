//! `tollgate token inspect`.

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::given::{given, keys};
use crate::{
    cli::{
        context::{CommandContext, answer},
        exit::Exit,
        output::Report,
        records::plain,
    },
    domain::{
        account_id::account_name,
        budget::Backend,
        credits::Credits,
        delegation::Standing,
        ledger::AccountId,
        settings::Settings,
        token::{Token, TokenId},
    },
    host::clock::now,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArgs {
    /// The token; `-` reads it from standard input, so that other users cannot see it
    /// (default: the environment variable TOLLGATE_TOKEN)
    token: Option<String>,
}

pub(super) async fn run(context: &CommandContext, asked: InspectArgs) -> anyhow::Result<Report> {
    let text = given(context, asked.token)?;
    let settings = context.settings()?;
    let token = match Token::parse(text.expose_secret()) {
        Ok(token) => token,
        Err(unreadable) => {
            let reason = unreadable.to_string();
            return Ok(Report::new(json!({"valid": false, "reason": reason}))
                .exit(Exit::Refused)
                .value("refused", reason));
        }
    };
    let keys = keys(context, &settings)?;
    let (key_known, own) = (keys.know(&token), token.namespace() == settings.budgeting.namespace);
    let verified = keys.verify(text.expose_secret(), &settings.budgeting.namespace, now());
    let known = match verified {
        Err(unverified) => {
            TokenStanding { refused: Some(unverified.to_string()), ..TokenStanding::default() }
        }
        // Only a verified token may say anything of an account.
        Ok(verified) if settings.budgeting.store.backend == Backend::Sqlite => {
            TokenStanding::of(context, settings, verified.id(), verified.has_account()).await?
        }
        Ok(_) => TokenStanding::default(),
    };
    Ok(report(&token, key_known, own, &known))
}

/// What the store knows of a token.
#[derive(Default)]
struct TokenStanding {
    label: Option<String>,
    remaining: Option<Credits>,
    /// Why this gateway does not accept the token.
    refused: Option<String>,
}

impl TokenStanding {
    async fn of(
        context: &CommandContext,
        settings: Settings,
        id: TokenId,
        has_account: bool,
    ) -> anyhow::Result<Self> {
        let store = context.open(settings, "accounts of tokens", "the default")?;
        let Standing { delegation, usable } = answer(store.ledger.standing(id)).await?;
        let refused = match &delegation {
            _ if !usable => Some("the token was revoked, or its account is closed"),
            None if has_account => {
                Some("the token's account is not in the store of these settings")
            }
            _ => None,
        };
        let account = AccountId::new(&store.settings.budgeting.namespace, &account_name(id));
        let balance = match has_account {
            true => answer(store.ledger.balance(account)).await?,
            false => None,
        };
        Ok(Self {
            label: delegation.and_then(|delegation| delegation.label),
            remaining: balance.and_then(|balance| balance.remaining),
            refused: refused.map(str::to_owned),
        })
    }
}

/// Describes a token, without showing it.
fn report(token: &Token, key_known: bool, own: bool, known: &TokenStanding) -> Report {
    let account = token.has_account().then(|| account_name(token.id()));
    let caveats = token.caveats();
    let data = caveats.as_ref().ok().map(|caveats| -> Vec<Value> {
        caveats.iter().map(|caveat| json!({"is": caveat, "says": caveat.to_string()})).collect()
    });
    let json = json!({
        "tokenId": token.id().to_string(),
        "kid": token.kid(),
        "keyKnown": key_known,
        "book": token.namespace(),
        "ofTheseSettings": own,
        "hasAccount": token.has_account(),
        "budgetId": account,
        "label": known.label,
        "remaining": known.remaining,
        "caveats": data,
        "valid": known.refused.is_none(),
        "reason": known.refused,
    });
    let gateway = if key_known { "this gateway" } else { "another gateway" };
    let settings = if own { "these settings" } else { "other settings" };
    let left = known.remaining.map(|left| format!(", which has {} left", left.in_words()));
    let report = Report::new(json)
        .exit(if known.refused.is_none() { Exit::Done } else { Exit::Refused })
        .value("token", token.id())
        .value("key", format!("{} (of {gateway})", token.kid()))
        .value("book", format!("{} (of {settings})", plain(token.namespace())))
        .value(
            "paid by",
            match account {
                Some(account) => format!("its own account {account}{}", left.unwrap_or_default()),
                None => "the account of its agent".to_owned(),
            },
        );
    let report = match &known.label {
        Some(label) => report.value("label", plain(label)),
        None => report,
    };
    let caveats: Vec<String> = match caveats {
        Ok(caveats) if caveats.is_empty() => vec!["none".to_owned()],
        Ok(caveats) => caveats.iter().map(ToString::to_string).collect(),
        Err(unreadable) => vec![unreadable.to_string()],
    };
    let labels = ["caveats"].into_iter().chain(std::iter::repeat(""));
    let report =
        labels.zip(&caveats).fold(report, |report, (label, says)| report.value(label, plain(says)));
    match &known.refused {
        Some(reason) => report.value("refused", plain(reason)),
        None => report.value("valid", "this gateway accepts it"),
    }
}
