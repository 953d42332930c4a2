//! `tollgate token mint`.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::{keys, narrowing::Narrowing, print};
use crate::{
    app::wiring,
    cli::{
        Exit,
        args::SettingsArgs,
        budget::declare,
        keys::one_line,
        output::{Output, note},
        records::{self, answer},
    },
    domain::{
        auth::AuthMode,
        budget::Backend,
        call::AgentId,
        caveat::Caveats,
        credits::Credits,
        delegation::{Delegate, Delegation, account_name},
        ledger::{
            AccountId, TransferRefused, Transferred,
            declare::{account_of, account_of_token, root_of},
        },
        near::near,
        period::timestamp,
        record::Draft,
        settings::Settings,
        token::{Token, TokenId},
    },
    ledger::{Ledger, keys::random},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct MintArgs {
    /// Give it an account with so many credits, taken from the agent's or from the root's; without,
    /// its calls are paid for as its agent's are
    #[arg(long, value_name = "CREDITS", value_parser = budget)]
    budget: Option<Credits>,
    /// What it is for; kept with its account
    #[arg(long, value_name = "TEXT", requires = "budget", value_parser = one_line)]
    label: Option<String>,
    #[command(flatten)]
    narrowing: Narrowing,
}

fn budget(text: &str) -> Result<Credits, String> {
    let amount = text.parse::<u64>().ok().filter(|amount| *amount > 0);
    Credits::try_from(amount.ok_or("credits are a whole number from 1 on")?)
}

pub(super) fn run(args: &SettingsArgs, asked: MintArgs, output: &Output) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let caveats = Caveats(asked.narrowing.caveats());
    if let Some(agent) = &asked.narrowing.agent {
        known(&settings, agent)?;
    }
    let id = TokenId(u128::from_be_bytes(random()?));
    let (namespace, has_account) = (&settings.budgeting.namespace, asked.budget.is_some());
    let token = Token::mint(&keys(&settings)?, has_account, id, namespace, &caveats.0)?;
    let expires = caveats.expires();
    let given = asked.budget.map(|amount| {
        let delegation = Delegation {
            token: id,
            account: account_of_token(&settings.budgeting, id),
            handle: None,
            principal: None,
            made_with: None,
            caveats,
            label: asked.label.clone(),
        };
        let from = payer(&settings, asked.narrowing.agent.as_ref());
        fund(&settings, Delegate { from, amount, expires, delegation })
    });
    let given = match given.transpose()? {
        Some(Ok(given)) => Some(given),
        None => None,
        Some(Err(refused)) => {
            output.error(&refused.to_string());
            return Ok(Exit::Refused);
        }
    };
    if !output.json {
        note(&told(id, given.as_ref(), expires));
    }
    if !matches!(settings.auth.mode, AuthMode::Header(_)) {
        note("warning: `auth.mode` is not `header`: this gateway asks for no Tollgate token");
    }
    let given = given.as_ref();
    let about = json!({
        "tokenId": id.to_string(),
        "expires": expires.map(timestamp),
        "agent": asked.narrowing.agent.as_ref().map(AgentId::as_str),
        "label": asked.label,
        "budget": asked.budget,
        "budgetId": given.map(|_| account_name(id)),
        "parent": given.map(|given| given.account.name()),
        "parentRemaining": given.map(|given| given.remaining),
    });
    let printed = print(&token, about, output);
    printed.with_context(|| format!("take it back: `tollgate token revoke {id}`"))?;
    Ok(Exit::Done)
}

/// What is to be said of a token, beside the token.
fn told(id: TokenId, given: Option<&Transferred>, expires: Option<i64>) -> String {
    let ends =
        expires.map_or_else(|| "without an end".into(), |at| format!("until {}", timestamp(at)));
    let pays = match given {
        None => "paid for as its agent is".to_owned(),
        Some(Transferred { amount, account, remaining, .. }) => {
            let left =
                remaining.map_or_else(String::new, |left| format!(", which has {left} left"));
            format!("with {} of its own from {account}{left}", amount.in_words())
        }
    };
    format!(
        "token {id}, {pays}, {ends}. It is shown this once: put it into TOLLGATE_TOKEN of the client's entry for this gateway."
    )
}

/// Whether the rules have an agent.
fn known(settings: &Settings, agent: &AgentId) -> anyhow::Result<()> {
    let rules = &settings.rules.agents;
    if rules.contains_key(agent) {
        return Ok(());
    }
    match near(agent.as_str(), rules.keys().map(AgentId::as_str)).join("`, `") {
        near if near.is_empty() => bail!("the rules have no agent `{agent}`"),
        near => bail!("the rules have no agent `{agent}`; they have `{near}`"),
    }
}

/// Whose credits they are.
fn payer(settings: &Settings, agent: Option<&AgentId>) -> AccountId {
    match agent {
        Some(agent) => account_of(&settings.budgeting, &settings.rules, agent),
        None => root_of(&settings.budgeting),
    }
}

/// Opens the account of a token.
fn fund(
    settings: &Settings,
    asked: Delegate,
) -> anyhow::Result<Result<Transferred, TransferRefused>> {
    if settings.budgeting.store.backend == Backend::Memory {
        bail!(
            "a token with `--budget` needs accounts that outlive this command, and those of these settings are in the memory of each gateway (`budget.backend: memory`): use `sqlite`, let agents use the tool `delegate`, or leave `--budget` out"
        );
    }
    let ledger = records::ledger(settings)?;
    wiring::runtime()?.block_on(async {
        declare(settings, &ledger).await?;
        delegate(&ledger, asked).await
    })
}

async fn delegate(
    ledger: &Arc<dyn Ledger>,
    asked: Delegate,
) -> anyhow::Result<Result<Transferred, TransferRefused>> {
    match ledger.delegate(asked.clone(), Draft::default()).await {
        // For the same token, nothing moves twice.
        Err(unavailable) if unavailable.maybe_applied => {
            answer(ledger.delegate(asked, Draft::default())).await
        }
        other => answer(Box::pin(std::future::ready(other))).await,
    }
}
