//! `delegate`: part of a caller's credits and rights, given to a subagent.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Number, Value, json};

use super::{
    arguments, billing::settling::pauses, call::CallContext, refusals::ledger_unavailable,
};
use crate::{
    domain::{
        auth::AuthMode,
        call::AgentId,
        caller::Caller,
        caveat::{Caveat, Caveats},
        credits::Credits,
        delegation::{self, Delegate, Delegation},
        ledger::{AccountId, HoldRefused, TransferRefused, declare::account_of_token},
        period::timestamp,
        record::{Draft, hex},
        refusal::Refusal,
        scope::Scope,
        token::TokenId,
    },
    host::{clock::now, random},
    ledger,
};

/// How long a delegation without an expiry lasts if its maker could not revoke it once its client is
/// gone.
const OF_A_PROCESS: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest and the longest `expiresIn`.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The terms of a delegation.
struct DelegationTerms {
    budget: Credits,
    label: Option<String>,
    caveats: Caveats,
    expires: Option<i64>,
}

/// How a delegation is named.
struct Named {
    token: TokenId,
    handle: String,
    /// Whether by a key of its maker's: then it may be there already.
    by_key: bool,
}

/// Gives part of a caller's credits to a child, whose rights are the caller's within `scope` and
/// `agent`. A delegation that was made before under the same `key` is answered again.
pub(super) async fn delegate(
    call: &mut CallContext<'_>,
    args: &arguments::DelegateInput,
) -> Result<Value, Refusal> {
    let (settings, identifier) = (&call.snapshot.settings, &call.snapshot.identifier);
    let ledger = call.snapshot.ledger();
    let from = call.snapshot.billing.paying_account(&call.caller).await?;
    let terms = terms(call, args)?;
    let named = name(call, args, &from)?;
    if let Some(before) = made_before(call, &named, &terms).await? {
        return Ok(before);
    }
    let made_with = call.caller.grant().filter(|grant| grant.account.is_none());
    let kept = Delegation {
        token: named.token,
        account: account_of_token(&settings.budgeting, named.token),
        handle: Some(identifier.handle_digest(&named.handle)?),
        principal: Some(identifier.principal(call.caller.credential())?),
        made_with: made_with.and_then(|grant| grant.token.clone()),
        caveats: terms.caveats.clone(),
        label: terms.label.clone(),
    };
    // Credits are given only if the token can be made that the answer needs.
    mint(call, named.token, &kept.caveats)?;
    let draft = Draft { token: Some(named.token.to_string()), ..call.record.draft.clone() };
    let (amount, expires) = (terms.budget, terms.expires);
    let asked = Delegate { from, amount, expires, delegation: kept.clone() };
    match ledger.delegate(asked, draft).await {
        // The same may have been asked for twice at once.
        Ok(Err(TransferRefused::KeyReuse)) if named.by_key => {
            let before = made_before(call, &named, &terms).await?;
            return before.ok_or_else(|| not_given(TransferRefused::KeyReuse));
        }
        Ok(given) => given.map_err(not_given)?,
        Err(unavailable) => {
            // One that has a key is found under it.
            if unavailable.maybe_applied && !named.by_key {
                take_back(call, named.token);
            }
            return Err(unavailable.into());
        }
    };
    call.record.recorded = true;
    describe(call, &named, &kept, amount).await
}

/// The answer to who made a delegation.
async fn describe(
    call: &CallContext<'_>,
    named: &Named,
    kept: &Delegation,
    amount: Credits,
) -> Result<Value, Refusal> {
    let mut answer = json!({
        "token": mint(call, kept.token, &kept.caveats)?,
        "tokenId": kept.token.to_string(),
        "agent_id": named.handle,
        "budget": amount,
        "budgetId": kept.account.name(),
        // The delegation stands, even if the balance cannot be read.
        "parentRemaining": call.snapshot.billing.balance(&call.caller).await.ok().and_then(|left| left.remaining),
    });
    if let (Value::Object(answer), Some(at)) = (&mut answer, kept.caveats.expires()) {
        answer.insert("expires_at".into(), timestamp(at).into());
    }
    Ok(answer)
}

/// The name of the delegation that a caller makes: with a `key`, always the same one.
fn name(
    call: &CallContext<'_>,
    args: &arguments::DelegateInput,
    from: &AccountId,
) -> Result<Named, Refusal> {
    let Some(key) = &args.key else {
        return Ok(Named {
            token: TokenId(random::id()),
            handle: delegation::handle(ledger::keys::random()?),
            by_key: false,
        });
    };
    let (identifier, caller) = (&call.snapshot.identifier, &call.caller);
    let parameters = arguments::DelegateInput { key: None, ..args.clone() };
    let parameters = serde_json::to_vec(&parameters).map_err(ledger_unavailable)?;
    let principal = hex(&identifier.principal(caller.credential())?);
    let maker = json!([principal, caller.token(), from.as_str(), caller.agent().as_str(), key]);
    let (token, handle) = identifier.keys()?.of_delegation(&maker.to_string(), &parameters);
    Ok(Named { token, handle: delegation::handle(handle), by_key: true })
}

/// The answer to a delegation that was made before under the same `key`.
async fn made_before(
    call: &CallContext<'_>,
    named: &Named,
    terms: &DelegationTerms,
) -> Result<Option<Value>, Refusal> {
    if !named.by_key {
        return Ok(None);
    }
    let standing = call.snapshot.ledger().standing(named.token).await?;
    let Some(kept) = standing.delegation else { return Ok(None) };
    if kept.handle != Some(call.snapshot.identifier.handle_digest(&named.handle)?) {
        return Err(Refusal::delegation(
            "you delegated under this `key` before, with other parameters; give the same ones, or another `key`",
        ));
    }
    if !standing.usable {
        return Err(Refusal::delegation(
            "the delegation that you made under this `key` has ended; give another `key`",
        ));
    }
    describe(call, named, &kept, terms.budget).await.map(Some)
}

/// Revokes a delegation whose answer was lost on the way from the store, since no one will ever know
/// its token.
fn take_back(call: &CallContext<'_>, token: TokenId) {
    let ledger = call.snapshot.ledger().clone();
    call.snapshot.shared.background.spawn(async move {
        for pause in pauses() {
            if ledger.revoke(token, Draft::default()).await.is_ok() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
        tracing::error!(
            "delegation {token} may hold credits, and no one has its token: run `tollgate token revoke {token}` when the store can be used"
        );
    });
}

/// The terms that a call asks for, with all that narrows them.
fn terms(
    call: &CallContext<'_>,
    args: &arguments::DelegateInput,
) -> Result<DelegationTerms, Refusal> {
    let caller = &call.caller;
    let budget = credits(&args.budget, "budget")?;
    let narrowed = caller.grant().map(|grant| grant.caveats.clone()).unwrap_or_default();
    if narrowed.depth() == Some(0) {
        return Err(Refusal::delegation("these credits may not be delegated any further"));
    }
    if let Some(most) = narrowed.most_delegated().filter(|most| budget > *most) {
        return Err(Refusal::delegation(format!(
            "one delegation may be given at most {}",
            most.in_words()
        )));
    }
    let expires = expires(args.expires_in.as_ref(), caller)?;
    let mut own = vec![Caveat::Agent(caller.agent().clone())];
    if let Some(agent) = &args.agent {
        own.push(Caveat::Agent(child_agent(call, agent)?));
    }
    if let Some(scope) = &args.scope {
        let wrong = |why: String| Refusal::arguments(format!("delegate: `scope` {why}"));
        own.push(Caveat::Tools(Scope::parse_bounded(scope).map_err(wrong)?));
    }
    own.extend(expires.map(Caveat::Expires));
    let depth = args.depth.as_ref().map(|depth| whole(depth, "depth")).transpose()?;
    let depth = depth.map(|depth| u8::try_from(depth).unwrap_or(u8::MAX));
    let left = narrowed.depth().map(|depth| depth.saturating_sub(1));
    own.extend([depth, left].into_iter().flatten().min().map(Caveat::Depth));
    let most = args.max_delegation.as_ref().map(|most| credits(most, "maxDelegation"));
    own.extend(most.transpose()?.map(Caveat::MostDelegated));
    let caveats = narrowed.delegated(own);
    let redactor = &call.snapshot.settings.redactor;
    let label = args.label.as_ref().map(|label| redactor.redact(label).into_owned());
    Ok(DelegationTerms { budget, label, expires: caveats.expires(), caveats })
}

/// The agent that a child is to be, if the caller could name it.
fn child_agent(call: &CallContext<'_>, agent: &str) -> Result<AgentId, Refusal> {
    let caller = &call.caller;
    if agent == caller.agent().as_str() {
        return Err(Refusal::delegation(format!(
            "you are `{agent}`; leave `agent` out, and the child has your rights"
        )));
    }
    if caller.might_name(agent, &call.snapshot.settings.rules) {
        return Ok(AgentId::from(agent));
    }
    Err(Refusal::delegation(format!(
        "`{agent}` is no agent that you may name; leave `agent` out, and the child acts as `{}`",
        caller.agent()
    )))
}

/// The token of a child; none where calls show no such tokens.
fn mint(call: &CallContext<'_>, id: TokenId, caveats: &Caveats) -> Result<Option<String>, Refusal> {
    let AuthMode::Header(_) = call.snapshot.settings.auth.mode else { return Ok(None) };
    let token = call.snapshot.identifier.mint(true, id, &caveats.0)?;
    Ok(Some(token.expose_secret().to_owned()))
}

/// A number that the schema lets through: whole, and not below zero. A number that narrows a child
/// is never ignored, however it is written.
fn whole(given: &Number, name: &str) -> Result<u64, Refusal> {
    // JSON has one kind of number, so `5.0` is 5. The text of a whole one has no digit after the point.
    let number = given.as_u64().or_else(|| format!("{:.0}", given.as_f64()?).parse().ok());
    let unread =
        || Refusal::arguments(format!("delegate: `{name}` must be a whole number below 2^64"));
    number.ok_or_else(unread)
}

fn credits(given: &Number, name: &str) -> Result<Credits, Refusal> {
    let most = || Refusal::arguments(format!("delegate: `{name}` is at most {}", Credits::MAX));
    Credits::new(whole(given, name)?).ok_or_else(most)
}

/// Returns the expiry of a child account, from a number of seconds or a duration.
fn expires(given: Option<&Value>, caller: &Caller) -> Result<Option<i64>, Refusal> {
    let lasts = match given {
        None => caller.credential().is_none().then_some(OF_A_PROCESS),
        Some(Value::String(text)) => Some(parsed(text)?),
        Some(Value::Number(seconds)) => Some(Duration::from_secs(whole(seconds, "expiresIn")?)),
        Some(_) => {
            return Err(Refusal::arguments("delegate: `expiresIn` is seconds or a duration"));
        }
    };
    let Some(lasts) = lasts else { return Ok(None) };
    if !(SHORTEST..=LONGEST).contains(&lasts) {
        return Err(Refusal::arguments("delegate: `expiresIn` is from 1 second to 366 days"));
    }
    let milliseconds = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
    Ok(Some(now().saturating_add(milliseconds)))
}

fn parsed(text: &str) -> Result<Duration, Refusal> {
    let wrong =
        |_| Refusal::arguments("delegate: `expiresIn` is seconds, or a duration such as `30m`");
    match text.parse::<u64>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).map_err(wrong),
    }
}

/// Why nothing was given.
fn not_given(refused: TransferRefused) -> Refusal {
    match refused {
        TransferRefused::Account(HoldRefused::Short(short)) => Refusal::Delegation {
            reason: format!(
                "{} cannot be delegated: {} in account `{}`",
                short.cost.in_words(),
                short.remaining.left(),
                short.account
            ),
            shortage: Some(short),
        },
        refused => Refusal::delegation(refused),
    }
}
