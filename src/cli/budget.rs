//! `tollgate budget`: the credits of accounts.

mod holds;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::{
    consumers::Consumers,
    context::{CommandContext, OpenStore, answer, applied, missing},
    exit::Exit,
    output::{Report, note},
    parse::some_credits,
    records::plain,
};
use crate::{
    app::surely_abandoned,
    domain::{
        credits::Credits,
        ledger::{
            Account, AccountId, Balance, Declaration, Finish, HoldState, Transfer, TransferId,
            Transferred, proof::Proof,
        },
        period::timestamp,
        record::Draft,
    },
    host::random,
};

#[derive(Debug, Subcommand)]
pub(super) enum BudgetArgs {
    /// Show what accounts have left, reserved and spent
    #[command(alias = "list")]
    Show(ShowArgs),
    /// Give credits to an account; to one with a period, for the present period
    Grant(GrantArgs),
    /// Give back what a call was charged
    Refund(RefundArgs),
    /// End the hold of a call that never ended; what it held goes back
    Release(ReleaseArgs),
    /// Recount all accounts, holds and records; exit status 1 if anything is wrong
    Prove,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The account by its name (root, agent/researcher/day), or by the label or the first digits of
    /// the token that owns it
    account: Option<String>,
    /// Include closed accounts and those of other settings that share the store
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// The account, as `budget show` names it
    account: String,
    /// How many credits
    #[arg(value_parser = some_credits)]
    credits: Credits,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
pub(super) struct RefundArgs {
    /// The hold of the call, as `audit log` shows it; its first digits are enough if unique
    hold: String,
    /// How many credits (default: all that the call was charged)
    #[arg(value_parser = some_credits)]
    credits: Option<Credits>,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// The hold, as `audit log` shows it; its first digits are enough if unique
    hold: String,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
struct Reason {
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

pub(super) async fn run(context: &CommandContext, asked: &BudgetArgs) -> anyhow::Result<Exit> {
    let store = context.store()?;
    declare(&store).await?;
    match asked {
        BudgetArgs::Show(asked) => context.show(&show(&store, asked).await?),
        BudgetArgs::Grant(asked) => context.show(&grant(&store, asked).await?),
        BudgetArgs::Refund(asked) => context.show(&refund(&store, asked).await?),
        BudgetArgs::Release(asked) => context.show(&release(&store, asked).await?),
        BudgetArgs::Prove => context.show(&prove(&answer(store.ledger.prove()).await?)),
    }
}

/// Opens the accounts of the settings before the first call, as a gateway does when it starts, and
/// ends calls whose gateway is surely gone.
pub(super) async fn declare(store: &OpenStore) -> anyhow::Result<()> {
    const AT_A_TIME: usize = 1_000;
    let declaration = Declaration::of(&store.settings.budgeting, &store.settings.rules);
    let declared = answer(store.ledger.declare(declaration, Draft::default())).await?;
    declared.undeclarable.iter().for_each(|limit| note(&format!("warning: {limit}")));
    if let Some(late) = surely_abandoned() {
        while answer(store.ledger.sweep_late(late, AT_A_TIME)).await? > 0 {}
    }
    Ok(())
}

/// An account, and the credentials behind it.
#[derive(Serialize)]
struct AccountRow {
    #[serde(flatten)]
    balance: Balance,
    resets_at: Option<String>,
    open: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// The API key with which the token was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

async fn show(store: &OpenStore, asked: &ShowArgs) -> anyhow::Result<Report> {
    let consumers = Consumers::of(store).await?;
    let mut accounts = store.accounts().await?;
    match &asked.account {
        Some(name) => accounts = vec![find(store, &consumers, accounts, name)?],
        None => {
            accounts.retain(|(id, account)| asked.all || store.is_own(id) && account.open);
        }
    }
    let mut rows = Vec::new();
    for (id, account) in accounts {
        if let Some(balance) = answer(store.ledger.balance(id.clone())).await? {
            let delegation = consumers.delegation(&id);
            rows.push(AccountRow {
                resets_at: balance.resets_at.map(timestamp),
                open: account.open,
                token: delegation.map(|one| one.token.to_string()),
                label: delegation.and_then(|one| one.label.clone()),
                key: consumers.key(&id).map(str::to_owned),
                balance: Balance { name: store.name(&id), ..balance },
            });
        }
    }
    Ok(table(Report::new(json!(rows)), &rows))
}

/// The account of a name.
fn find(
    store: &OpenStore,
    consumers: &Consumers,
    accounts: Vec<(AccountId, Account)>,
    name: &str,
) -> anyhow::Result<(AccountId, Account)> {
    let of_token = consumers.account(name);
    let named = |(id, _): &&(AccountId, Account)| store.name(id) == name || id.as_str() == name;
    let found = accounts.iter().find(named);
    let found = found.or_else(|| accounts.iter().find(|(id, _)| Some(id) == of_token));
    found.cloned().ok_or_else(|| {
        let known: Vec<String> = accounts.iter().map(|(id, _)| store.name(id)).collect();
        let otherwise = "`tollgate budget show` lists the accounts";
        missing(&format!("account `{name}`"), known.iter().map(String::as_str), name, otherwise)
    })
}

fn table(report: Report, rows: &[AccountRow]) -> Report {
    let any = |has: fn(&AccountRow) -> bool| rows.iter().any(has);
    let overdrawn = any(|row| row.balance.overdrawn > Credits::ZERO);
    let labels = any(|row| row.label.is_some());
    let keys = any(|row| row.key.is_some());
    let header = ["ACCOUNT", "LIMIT", "REMAINING", "RESERVED", "SPENT", "PERIOD", "RESETS AT"];
    let header = header.into_iter().chain(overdrawn.then_some("OVERDRAWN"));
    let header = header.chain(labels.then_some("LABEL")).chain(keys.then_some("KEY"));
    let or = |credits: Option<Credits>, none: &str| {
        credits.map_or_else(|| none.to_owned(), |credits| credits.to_string())
    };
    let or_none = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
    let cells = |AccountRow { balance, resets_at, open, label, key, .. }: &AccountRow| {
        let closed = if *open { "" } else { " (closed)" };
        let mut cells = vec![
            format!("{}{closed}", plain(&balance.name)),
            or(balance.limit, "none"),
            or(balance.remaining, "unlimited"),
            balance.reserved.to_string(),
            balance.spent.to_string(),
            balance.period.map_or("-", |period| period.as_str()).to_owned(),
            or_none(resets_at),
        ];
        cells.extend(overdrawn.then(|| balance.overdrawn.to_string()));
        cells.extend(labels.then(|| or_none(label)));
        cells.extend(keys.then(|| or_none(key)));
        cells
    };
    report.table(header, rows.iter().map(cells))
}

async fn grant(store: &OpenStore, asked: &GrantArgs) -> anyhow::Result<Report> {
    let consumers = Consumers::of(store).await?;
    let (account, _) = find(store, &consumers, store.accounts().await?, &asked.account)?;
    let transfer = Transfer::Mint { account, amount: asked.credits };
    let draft = Draft { note: asked.reason.note.clone(), ..Draft::default() };
    transferred(store, transfer, draft, "given to").await
}

async fn refund(store: &OpenStore, asked: &RefundArgs) -> anyhow::Result<Report> {
    let (hold, draft) = holds::find(store, &asked.hold).await?;
    let transfer = Transfer::Refund { hold: hold.to_string(), amount: asked.credits };
    let draft = Draft { note: asked.reason.note.clone(), ..draft };
    transferred(store, transfer, draft, "given back to").await
}

async fn transferred(
    store: &OpenStore,
    transfer: Transfer,
    draft: Draft,
    verb: &'static str,
) -> anyhow::Result<Report> {
    let id = TransferId(random::id());
    let Transferred { account, amount, remaining, .. } =
        applied(|| store.ledger.transfer(id, transfer.clone(), draft.clone())).await??;
    let account = store.name(&account);
    let left = remaining.map_or_else(String::new, |left| format!("; it has {left} left"));
    let json = json!({"account": account, "credits": amount, "remaining": remaining});
    Ok(Report::new(json).line(format!("{} {verb} {account}{left}", amount.in_words())))
}

/// Ends a hold for good. If a gateway still makes the call, its outcome is not charged.
async fn release(store: &OpenStore, asked: &ReleaseArgs) -> anyhow::Result<Report> {
    let (id, draft) = holds::find(store, &asked.hold).await?;
    let status = Some("released".to_owned());
    let draft = Draft { note: asked.reason.note.clone(), status, ..draft };
    let ended = answer(store.ledger.finish(id, Finish::Void, draft)).await?;
    let Some(ended) = ended else { bail!("there is no hold `{id}`") };
    match ended.state {
        HoldState::Posted { amount, .. } if ended.replayed => bail!(
            "hold {id} has ended: {} charged; `tollgate budget refund {id}` gives them back",
            amount.in_words()
        ),
        _ if ended.replayed => bail!("hold {id} has ended, and nothing was charged"),
        _ => {}
    }
    let (account, held) = (store.name(&ended.account), ended.held);
    Ok(Report::new(json!({"hold": id.to_string(), "account": account, "credits": held}))
        .line(format!("{} went back to {account}", held.in_words())))
}

fn prove(proof: &Proof) -> Report {
    let faults = proof.faults.len();
    let earlier = |since: u64| {
        format!(
            "accounts are proven from record {since} on; an earlier version wrote the records before"
        )
    };
    Report::new(json!(proof))
        .exit(if faults == 0 { Exit::Done } else { Exit::Failed })
        .value("accounts", proof.accounts)
        .value("holds", format!("{}, of which {} open", proof.holds, proof.open))
        .value("issued", proof.issued)
        .value("available", proof.available)
        .value("reserved", proof.reserved)
        .value("spent", proof.spent)
        .lines(proof.accounts_since.map(earlier))
        .line(match faults {
            0 => "everything adds up".to_owned(),
            1 => "1 fault:".to_owned(),
            faults => format!("{faults} faults:"),
        })
        .lines(proof.faults.iter().map(|fault| format!("  {}", plain(fault))))
}
