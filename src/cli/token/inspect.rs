//! `tollgate token inspect`.

use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{given, keys};
use crate::{
    app::wiring,
    cli::{
        Exit,
        args::SettingsArgs,
        output::Output,
        records::{self, answer, plain},
    },
    domain::{
        budget::Backend,
        caveat::Caveat,
        delegation::{Standing, account_name},
        ledger::{AccountId, Balance},
        settings::Settings,
        token::Token,
    },
    host::clock::now,
};

#[derive(Debug, Args)]
pub(in crate::cli) struct InspectArgs {
    /// The token; `-` reads it from standard input, as it should be where others use this machine
    /// (default: TOLLGATE_TOKEN of the environment)
    token: Option<String>,
}

/// What is found of a token, without the token.
struct Inspected {
    token: Token,
    key_known: bool,
    of_these_settings: bool,
    caveats: Result<Vec<Caveat>, String>,
    balance: Option<Balance>,
    label: Option<String>,
    /// Why it is not taken here.
    refused: Option<String>,
}

pub(super) fn run(
    args: &SettingsArgs,
    asked: InspectArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let text = given(asked.token)?;
    let settings = wiring::settings(&args.options())?;
    let token = match Token::parse(text.expose_secret()) {
        Ok(token) => token,
        Err(unreadable) => {
            match output.json {
                true => output.value(&json!({"valid": false, "reason": unreadable.to_string()})),
                false => output.line(&format!("refused: {unreadable}")),
            }
            return Ok(Exit::Refused);
        }
    };
    let inspected = inspect(&settings, text.expose_secret(), token)?;
    match output.json {
        true => output.value(&inspected.json()),
        false => inspected.lines().iter().for_each(|line| output.line(line)),
    }
    Ok(if inspected.refused.is_some() { Exit::Refused } else { Exit::Done })
}

fn inspect(settings: &Settings, text: &str, token: Token) -> anyhow::Result<Inspected> {
    let (keys, namespace) = (keys(settings)?, &settings.budgeting.namespace);
    let proven = keys.verify(text, namespace, now()).map_err(|unverified| unverified.to_string());
    let mut inspected = Inspected {
        key_known: keys.know(&token),
        of_these_settings: token.namespace() == namespace,
        caveats: token.caveats().map_err(|unreadable| unreadable.to_string()),
        balance: None,
        label: None,
        refused: proven.as_ref().err().cloned(),
        token,
    };
    // What is not proven is nobody's token, and tells nothing of anybody's account.
    if let (Ok(verified), Backend::Sqlite) = (proven, settings.budgeting.store.backend) {
        let ledger = records::ledger(settings)?;
        wiring::runtime()?.block_on(async {
            let id = verified.id();
            let Standing { delegation, usable } = answer(ledger.standing(id)).await?;
            if verified.has_account() {
                let account = AccountId::new(namespace, &account_name(id));
                inspected.balance = answer(ledger.balance(account)).await?;
            }
            if !usable {
                inspected.refused = Some("the token was revoked, or its account is closed".into());
            } else if verified.has_account() && delegation.is_none() {
                inspected.refused =
                    Some("the token's account is not in the store of these settings".into());
            }
            inspected.label = delegation.and_then(|delegation| delegation.label);
            anyhow::Ok(())
        })?;
    }
    Ok(inspected)
}

impl Inspected {
    fn json(&self) -> Value {
        let caveats = self.caveats.as_ref().ok();
        let caveats = caveats.map(|caveats| -> Vec<Value> {
            caveats.iter().map(|caveat| json!({"is": caveat, "says": caveat.to_string()})).collect()
        });
        json!({
            "tokenId": self.token.id().to_string(),
            "kid": self.token.kid(),
            "keyKnown": self.key_known,
            "book": self.token.namespace(),
            "ofTheseSettings": self.of_these_settings,
            "hasAccount": self.token.has_account(),
            "budgetId": self.token.has_account().then(|| account_name(self.token.id())),
            "label": self.label,
            "remaining": self.balance.as_ref().and_then(|balance| balance.remaining),
            "caveats": caveats,
            "valid": self.refused.is_none(),
            "reason": self.refused,
        })
    }

    fn lines(&self) -> Vec<String> {
        let Self { token, .. } = self;
        let key = if self.key_known { "of this gateway" } else { "of another gateway" };
        let whose = if self.of_these_settings { "of these settings" } else { "of other settings" };
        let mut lines = vec![
            format!("token     {}", token.id()),
            format!("key       {} ({key})", token.kid()),
            format!("book      {} ({whose})", plain(token.namespace())),
            format!("paid by   {}", self.payer()),
        ];
        lines.extend(self.label.as_ref().map(|label| format!("label     {}", plain(label))));
        let mut label = "caveats";
        match &self.caveats {
            Ok(caveats) if caveats.is_empty() => lines.push("caveats   none".into()),
            Ok(caveats) => {
                for caveat in caveats {
                    lines.push(format!("{label:9} {}", plain(&caveat.to_string())));
                    label = "";
                }
            }
            Err(unreadable) => lines.push(format!("caveats   {}", plain(unreadable))),
        }
        lines.push(match &self.refused {
            Some(reason) => format!("refused   {}", plain(reason)),
            None => "valid     it is taken here".to_owned(),
        });
        lines
    }

    fn payer(&self) -> String {
        let left = self.balance.as_ref().and_then(|balance| balance.remaining);
        let left =
            left.map_or_else(String::new, |left| format!(", which has {} left", left.in_words()));
        match self.token.has_account() {
            true => format!("its own account {}{left}", account_name(self.token.id())),
            false => "the account of its agent".to_owned(),
        }
    }
}
