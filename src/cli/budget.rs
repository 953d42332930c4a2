//! `tollgate budget`: the credits of accounts.

mod holds;

use std::sync::Arc;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use self::holds::Found;
use super::{
    Exit,
    args::SettingsArgs,
    consumers::Consumers,
    output::{Output, note},
    records::{self, answer, plain},
};
use crate::{
    app::{surely_abandoned, wiring},
    domain::{
        credits::Credits,
        ledger::{
            Account, AccountId, Balance, Declaration, Finish, HoldId, HoldState, Transfer,
            TransferId, TransferRefused, Transferred,
        },
        near::near,
        period::timestamp,
        record::Draft,
        settings::Settings,
    },
    host::random,
    ledger::Ledger,
};

#[derive(Debug, Subcommand)]
pub(super) enum BudgetArgs {
    /// Show what accounts have left, hold and have spent, those of earlier settings among them
    Show(ShowArgs),
    /// Give credits to an account; to one that is counted anew by period, for its present period
    Grant(GrantArgs),
    /// Give back what a call was charged
    Refund(RefundArgs),
    /// End a call's hold that nothing ends; what it held goes back
    Release(ReleaseArgs),
    /// Recount all accounts, holds and records. Exit status 1 if anything does not hold
    Prove,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The account, as it is shown here: root, agent/researcher/day; or the label or the first digits
    /// of the token that has it
    account: Option<String>,
    /// Those of all settings that share the store, and closed ones
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct GrantArgs {
    /// The account, as `budget show` names it
    account: String,
    /// How many credits
    #[arg(value_parser = credits)]
    credits: Credits,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct RefundArgs {
    /// The call's hold, as `audit log` shows it; its first digits are enough if no other begins so
    hold: String,
    /// How many credits (default: all that the call was charged)
    #[arg(value_parser = credits)]
    credits: Option<Credits>,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ReleaseArgs {
    /// The hold, as `audit log` shows it; its first digits are enough if no other begins so
    hold: String,
    /// Why; kept in the record
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

fn credits(text: &str) -> Result<Credits, String> {
    let amount = text.parse::<u64>().ok().filter(|amount| *amount > 0);
    let amount = amount.ok_or_else(|| "credits are a whole number from 1 on".to_owned())?;
    Credits::try_from(amount)
}

pub(super) fn run(
    args: &SettingsArgs,
    asked: &BudgetArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let settings = wiring::settings(&args.options())?;
    let ledger = records::ledger(&settings)?;
    wiring::runtime()?.block_on(async {
        declare(&settings, &ledger).await?;
        let desk = Desk { settings: &settings, ledger: &ledger, output };
        match asked {
            BudgetArgs::Show(asked) => desk.show(asked).await,
            BudgetArgs::Grant(asked) => desk.grant(asked).await,
            BudgetArgs::Refund(asked) => desk.refund(asked).await,
            BudgetArgs::Release(asked) => desk.release(asked).await,
            BudgetArgs::Prove => desk.prove().await,
        }
    })
}

/// Brings accounts in line with the settings, as a gateway does when it starts: so they are there
/// before the first call. Calls whose gateway is surely gone are ended.
pub(super) async fn declare(settings: &Settings, ledger: &Arc<dyn Ledger>) -> anyhow::Result<()> {
    const AT_A_TIME: usize = 1_000;
    let declaration = Declaration::of(&settings.budgeting, &settings.rules);
    let declared = answer(ledger.declare(declaration, Draft::default())).await?;
    declared.undeclarable.iter().for_each(|limit| note(&format!("warning: {limit}")));
    if let Some(late) = surely_abandoned() {
        while answer(ledger.sweep_late(late, AT_A_TIME)).await? > 0 {}
    }
    Ok(())
}

/// What the commands work with.
struct Desk<'a> {
    settings: &'a Settings,
    ledger: &'a Arc<dyn Ledger>,
    output: &'a Output,
}

impl Desk<'_> {
    async fn show(&self, asked: &ShowArgs) -> anyhow::Result<Exit> {
        let accounts = match &asked.account {
            Some(account) => vec![self.account(account).await?],
            None => {
                let mut accounts = answer(self.ledger.accounts()).await?;
                accounts.retain(|(id, account)| asked.all || self.is_own(id) && account.open);
                accounts
            }
        };
        let consumers = Consumers::of(self.settings, self.ledger).await?;
        let mut shown = Vec::new();
        for (id, account) in accounts {
            if let Some(balance) = answer(self.ledger.balance(id.clone())).await? {
                let delegation = consumers.delegation(&id);
                shown.push(Shown {
                    name: self.name(&id),
                    open: account.open,
                    balance,
                    token: delegation.map(|one| one.token.to_string()),
                    label: delegation.and_then(|one| one.label.clone()),
                    key: consumers.key(&id).map(str::to_owned),
                });
            }
        }
        match self.output.json {
            true => self.output.value(&shown.iter().map(json).collect()),
            false => self.table(&shown),
        }
        Ok(Exit::Done)
    }

    fn is_own(&self, id: &AccountId) -> bool {
        id.namespace() == self.settings.budgeting.namespace
    }

    /// The name under which an account is shown: that of another namespace with it.
    fn name(&self, id: &AccountId) -> String {
        if self.is_own(id) { id.name() } else { id.as_str() }.to_owned()
    }

    /// The account of a name.
    async fn account(&self, name: &str) -> anyhow::Result<(AccountId, Account)> {
        let accounts = answer(self.ledger.accounts()).await?;
        let known: Vec<String> = accounts.iter().map(|(id, _)| self.name(id)).collect();
        let consumers = Consumers::of(self.settings, self.ledger).await?;
        let of_token = consumers.account(name);
        let named = |(id, _): &&(AccountId, Account)| self.name(id) == name || id.as_str() == name;
        let found = accounts.iter().find(named);
        let found = found.or_else(|| accounts.iter().find(|(id, _)| Some(id) == of_token));
        if let Some(found) = found {
            return Ok(found.clone());
        }
        match near(name, known.iter().map(String::as_str)).join("`, `") {
            near if near.is_empty() => {
                bail!("there is no account `{name}`; `tollgate budget show` lists those there are")
            }
            near => bail!("there is no account `{name}`; there is `{near}`"),
        }
    }

    async fn grant(&self, asked: &GrantArgs) -> anyhow::Result<Exit> {
        let (account, _) = self.account(&asked.account).await?;
        let transfer = Transfer::Mint { account: account.clone(), amount: asked.credits };
        let draft = Draft { note: asked.note.clone(), ..Draft::default() };
        let done = self.transfer(transfer, draft).await?;
        self.tell(done, |done| {
            format!("{} given to {}", done.amount.in_words(), self.name(&account))
        })
    }

    async fn refund(&self, asked: &RefundArgs) -> anyhow::Result<Exit> {
        let found = holds::find(self.ledger, &asked.hold).await?;
        let transfer = Transfer::Refund { hold: found.id.clone(), amount: asked.credits };
        let draft = Draft { note: asked.note.clone(), ..found.draft };
        let done = self.transfer(transfer, draft).await?;
        self.tell(done, |done| {
            format!("{} given back to {}", done.amount.in_words(), self.name(&done.account))
        })
    }

    /// Ends a hold for good, also that of a call that a gateway still makes: what became of it is then
    /// not charged.
    async fn release(&self, asked: &ReleaseArgs) -> anyhow::Result<Exit> {
        let Found { id, draft } = holds::find(self.ledger, &asked.hold).await?;
        let Some(hold) = HoldId::parse(&id) else { bail!("there is no hold `{id}`") };
        let status = Some("released".to_owned());
        let draft = Draft { note: asked.note.clone(), status, ..draft };
        let ended = answer(self.ledger.finish(hold, Finish::Void, draft)).await?;
        let Some(ended) = ended else { bail!("there is no hold `{id}`") };
        match ended.state {
            HoldState::Posted { amount, .. } if ended.replayed => bail!(
                "hold {id} has ended: {amount} credits were charged; `tollgate budget refund {id}` gives them back"
            ),
            _ if ended.replayed => bail!("hold {id} has ended, and nothing was charged"),
            _ => {}
        }
        let account = self.name(&ended.account);
        if self.output.json {
            self.output.value(&json!({"hold": id, "account": account, "credits": ended.held}));
        } else {
            self.output.line(&format!("{} went back to {account}", ended.held.in_words()));
        }
        Ok(Exit::Done)
    }

    async fn transfer(
        &self,
        transfer: Transfer,
        draft: Draft,
    ) -> anyhow::Result<Result<Transferred, TransferRefused>> {
        let id = TransferId(random::id());
        match self.ledger.transfer(id, transfer.clone(), draft.clone()).await {
            // Under the same id, nothing moves twice.
            Err(unavailable) if unavailable.maybe_applied => {
                answer(self.ledger.transfer(id, transfer, draft)).await
            }
            other => answer(Box::pin(std::future::ready(other))).await,
        }
    }

    fn tell(
        &self,
        done: Result<Transferred, TransferRefused>,
        words: impl Fn(&Transferred) -> String,
    ) -> anyhow::Result<Exit> {
        let done = match done {
            Ok(done) => done,
            Err(refused) => bail!("{refused}"),
        };
        if self.output.json {
            self.output.value(&json!({
                "account": self.name(&done.account),
                "credits": done.amount,
                "remaining": done.remaining,
            }));
        } else {
            let left = done.remaining.map(|left| format!("; it has {left} left"));
            self.output.line(&format!("{}{}", words(&done), left.unwrap_or_default()));
        }
        Ok(Exit::Done)
    }

    async fn prove(&self) -> anyhow::Result<Exit> {
        let proof = answer(self.ledger.prove()).await?;
        if self.output.json {
            self.output.value(&serde_json::to_value(&proof)?);
        } else {
            let row = |label: &str, text: String| self.output.line(&format!("{label:<10} {text}"));
            row("accounts", proof.accounts.to_string());
            row("holds", format!("{}, of which {} open", proof.holds, proof.open));
            row("issued", proof.issued.to_string());
            row("available", proof.available.to_string());
            row("reserved", proof.reserved.to_string());
            row("spent", proof.spent.to_string());
            if let Some(since) = proof.accounts_since {
                self.output.line(&format!(
                    "accounts are proven from record {since} on: an earlier version wrote what was before"
                ));
            }
            match proof.faults.len() {
                0 => self.output.line("everything adds up"),
                1 => self.output.line("1 fault:"),
                faults => self.output.line(&format!("{faults} faults:")),
            }
            proof.faults.iter().for_each(|fault| self.output.line(&format!("  {}", plain(fault))));
        }
        Ok(if proof.faults.is_empty() { Exit::Done } else { Exit::Failed })
    }

    fn table(&self, shown: &[Shown]) {
        let overdrawn = shown.iter().any(|one| one.balance.overdrawn > Credits::ZERO);
        let labels = shown.iter().any(|one| one.label.is_some());
        let keys = shown.iter().any(|one| one.key.is_some());
        let mut header =
            vec!["ACCOUNT", "LIMIT", "REMAINING", "RESERVED", "SPENT", "PERIOD", "RESETS AT"];
        header.extend(overdrawn.then_some("OVERDRAWN"));
        header.extend(labels.then_some("LABEL"));
        header.extend(keys.then_some("KEY"));
        let or = |credits: Option<Credits>, none: &str| {
            credits.map_or_else(|| none.to_owned(), |credits| credits.to_string())
        };
        let row = |Shown { name, open, balance, label, key, .. }: &Shown| {
            let name = if *open { plain(name) } else { format!("{} (closed)", plain(name)) };
            let mut row = vec![
                name,
                or(balance.limit, "none"),
                or(balance.remaining, "unlimited"),
                balance.reserved.to_string(),
                balance.spent.to_string(),
                balance.period.map_or("-", |period| period.as_str()).to_owned(),
                resets_at(balance).unwrap_or_else(|| "-".to_owned()),
            ];
            row.extend(overdrawn.then(|| balance.overdrawn.to_string()));
            let or_none = |text: &Option<String>| plain(text.as_deref().unwrap_or("-"));
            row.extend(labels.then(|| or_none(label)));
            row.extend(keys.then(|| or_none(key)));
            row
        };
        self.output.table(&header, shown.iter().map(row).collect());
    }
}

/// An account as it is shown, and whose it is.
struct Shown {
    name: String,
    open: bool,
    balance: Balance,
    /// The token that has it.
    token: Option<String>,
    /// What that is for.
    label: Option<String>,
    /// The API key with which that was made.
    key: Option<String>,
}

fn json(Shown { name, open, balance, token, label, key }: &Shown) -> Value {
    let mut value = json!(balance);
    if let Value::Object(members) = &mut value {
        members.insert("account".to_owned(), json!(name));
        members.insert("resets_at".to_owned(), json!(resets_at(balance)));
        members.insert("open".to_owned(), json!(open));
        for (name, text) in [("token", token), ("label", label), ("key", key)] {
            members.extend(text.as_ref().map(|text| (name.to_owned(), json!(text))));
        }
    }
    value
}

fn resets_at(balance: &Balance) -> Option<String> {
    balance.resets_at.map(timestamp)
}
