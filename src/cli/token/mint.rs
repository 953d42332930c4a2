//! `tollgate token mint`.

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{given::keys, narrow::Narrowing};
use crate::{
    cli::{
        budget::declare,
        context::{CommandContext, applied, known_agent},
        exit::Exit,
        output::{Report, error, note},
        parse::{one_line, some_credits},
    },
    domain::{
        account_id::account_name,
        auth::AuthMode,
        caveat::Caveats,
        credits::Credits,
        delegation::{Delegate, Delegation},
        ledger::{
            TransferRefused, Transferred,
            declare::{account_of, account_of_token, root_of},
        },
        period::timestamp,
        record::Draft,
        settings::Settings,
        token::{Token, TokenId},
    },
    ledger::keys::random,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct MintArgs {
    /// Give the token an account with this many credits, from its agent's account or the root;
    /// without, its calls are paid for like its agent's
    #[arg(long, value_name = "CREDITS", value_parser = some_credits)]
    budget: Option<Credits>,
    /// What it is for; kept with its account
    #[arg(long, value_name = "TEXT", requires = "budget", value_parser = one_line)]
    label: Option<String>,
    #[command(flatten)]
    narrowing: Narrowing,
}

pub(super) async fn run(context: &CommandContext, asked: MintArgs) -> anyhow::Result<Exit> {
    let settings = context.settings()?;
    let agent = asked.narrowing.agent.clone();
    if let Some(agent) = &agent {
        known_agent(&settings, agent.as_str())?;
    }
    let caveats = Caveats(asked.narrowing.caveats());
    let id = TokenId(u128::from_be_bytes(random()?));
    let has_account = asked.budget.is_some();
    let keys = keys(context, &settings)?;
    let token = Token::mint(&keys, has_account, id, &settings.budgeting.namespace, &caveats.0)?;
    if !matches!(settings.auth.mode, AuthMode::Header(_)) {
        note("warning: `auth.mode` is not `header`: this gateway asks for no Tollgate token");
    }
    let budget = asked.budget.map(|amount| {
        let from = match &agent {
            Some(agent) => account_of(&settings.budgeting, &settings.rules, agent),
            None => root_of(&settings.budgeting),
        };
        let delegation = Delegation {
            token: id,
            account: account_of_token(&settings.budgeting, id),
            handle: None,
            principal: None,
            made_with: None,
            label: asked.label.clone(),
            caveats: caveats.clone(),
        };
        Delegate { from, amount, expires: caveats.expires(), delegation }
    });
    let given = match budget {
        None => None,
        Some(budget) => match fund(context, settings, budget).await? {
            Ok(given) => Some(given),
            Err(refused) => {
                error(&refused.to_string());
                return Ok(Exit::Refused);
            }
        },
    };
    let (expires, text) = (caveats.expires().map(timestamp), token.text());
    let (text, given) = (text.expose_secret(), given.as_ref());
    let json = json!({
        "tokenId": id.to_string(),
        "expires": expires,
        "agent": agent,
        "label": asked.label,
        "budget": asked.budget,
        "budgetId": given.map(|_| account_name(id)),
        "parent": given.map(|given| given.account.name()),
        "parentRemaining": given.map(|given| given.remaining),
        "token": text,
    });
    let report = Report::new(json).note(minted(id, given, expires)).line(text);
    context.show_once(&report, &format!("; take it back: `tollgate token revoke {id}`"))
}

/// The lines for people that follow the token.
fn minted(id: TokenId, given: Option<&Transferred>, expires: Option<String>) -> String {
    let until = expires.map_or("without expiry".into(), |at| format!("until {at}"));
    let paid = match given {
        None => "paid for as its agent is".to_owned(),
        Some(Transferred { amount, account, remaining, .. }) => {
            let left =
                remaining.map_or_else(String::new, |left| format!(", which has {left} left"));
            format!("with {} of its own from {account}{left}", amount.in_words())
        }
    };
    format!(
        "token {id}, {paid}, {until}. It is shown this once: put it into TOLLGATE_TOKEN of the client's entry for this gateway."
    )
}

/// Opens the account of a token.
async fn fund(
    context: &CommandContext,
    settings: Settings,
    asked: Delegate,
) -> anyhow::Result<Result<Transferred, TransferRefused>> {
    let instead = "let agents use the tool `delegate`, or leave `--budget` out";
    let store = context.open(settings, "accounts of tokens", instead)?;
    declare(&store).await?;
    // For the same token, nothing moves twice.
    applied(|| store.ledger.delegate(asked.clone(), Draft::default())).await
}
