//! `delegate` and `revoke`: part of a caller's credits and rights, given to a subagent and taken
//! back.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Number, Value, json};

use super::{Snapshot, arguments, builtin::unreadable, entry::Entry, settling::pauses};
use crate::{
    domain::{
        auth::AuthMode,
        budget::Mode,
        call::AgentId,
        caller::Caller,
        caveat::{Caveat, Caveats},
        credits::Credits,
        delegation::{self, Delegate, Delegation, OpenDelegation, is_handle},
        ledger::{
            Account, AccountId, HoldRefused, Transfer, TransferId, TransferRefused,
            declare::{account_of, account_of_token, caps, paying},
        },
        period::timestamp,
        record::{Draft, hex},
        refusal::Refusal,
        scope::Scope,
        token::{Token, TokenId},
    },
    host::{clock::now, random},
    ledger::{self, Unavailable},
};

/// How long a delegation lasts that does not say, where who made it cannot take it back once its
/// client is gone.
const OF_A_PROCESS: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest and the longest time that a delegation may say.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What is to be delegated.
struct Asked {
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

/// How many delegations of an account are looked at, and how many are listed.
const MOST_LOOKED_AT: usize = 1_000;
const MOST_LISTED: usize = 100;

impl Snapshot {
    /// Gives part of a caller's credits to a child, whose rights are the caller's within `scope` and
    /// `agent`. What was given before under the same `key` is answered again.
    pub(super) async fn delegate(
        &self,
        caller: &Caller,
        args: &arguments::Delegate,
        entry: &mut Entry,
    ) -> Result<Value, Refusal> {
        self.terms.declare(&self.billing).await.map_err(unreadable)?;
        let asked = self.asked(caller, args)?;
        let from = self.payable(caller).await.map_err(unreadable)?;
        let named = self.named_by(caller, args, &from)?;
        if let Some(before) = self.given_before(&named, &asked, caller).await? {
            return Ok(before);
        }
        let Named { token, handle, .. } = &named;
        let keys = self.billing.key_ring.keys().map_err(unreadable)?;
        let kept = Delegation {
            token: *token,
            account: account_of_token(&self.settings.budgeting, *token),
            handle: Some(keys.handles.mac(handle.as_bytes())),
            principal: Some(self.principal(caller.credential())?),
            made_with: caller
                .grant()
                .filter(|grant| grant.account.is_none())
                .and_then(|grant| grant.token.clone()),
            caveats: asked.caveats.clone(),
            label: asked.label.clone(),
        };
        // What cannot be answered is not given.
        self.minted(*token, &kept.caveats)?;
        let draft = Draft { token: Some(token.to_string()), ..entry.draft.clone() };
        let (amount, expires) = (asked.budget, asked.expires);
        let given = Delegate { from, amount, expires, delegation: kept.clone() };
        match self.billing.ledger.delegate(given, draft).await {
            // The same may have been asked for twice at once.
            Ok(Err(TransferRefused::KeyReuse)) if named.by_key => {
                let before = self.given_before(&named, &asked, caller).await?;
                return before.ok_or_else(|| not_given(TransferRefused::KeyReuse));
            }
            Ok(given) => given.map_err(not_given)?,
            Err(unavailable) => {
                // One that has a key is found under it.
                self.take_back(*token, unavailable.maybe_applied && !named.by_key);
                return Err(unreadable(unavailable));
            }
        };
        entry.recorded = true;
        self.given(&named, &kept, amount, caller).await
    }

    /// What there is to say of a delegation to who made it.
    async fn given(
        &self,
        named: &Named,
        kept: &Delegation,
        amount: Credits,
        caller: &Caller,
    ) -> Result<Value, Refusal> {
        let mut answer = json!({
            "token": self.minted(kept.token, &kept.caveats)?,
            "tokenId": kept.token.to_string(),
            "agent_id": named.handle,
            "budget": amount,
            "budgetId": kept.account.name(),
            // It is given by now: a balance that cannot be read takes nothing back.
            "parentRemaining": self.balance(caller).await.ok().and_then(|left| left.remaining),
        });
        if let (Value::Object(answer), Some(at)) = (&mut answer, kept.caveats.expires()) {
            answer.insert("expires_at".into(), timestamp(at).into());
        }
        Ok(answer)
    }

    /// The delegation that a caller makes: with a `key`, always the same one.
    fn named_by(
        &self,
        caller: &Caller,
        args: &arguments::Delegate,
        from: &AccountId,
    ) -> Result<Named, Refusal> {
        let Some(key) = &args.key else {
            return Ok(Named {
                token: TokenId(random::id()),
                handle: delegation::handle(ledger::keys::random().map_err(unreadable)?),
                by_key: false,
            });
        };
        let parameters = arguments::Delegate { key: None, ..args.clone() };
        let parameters = serde_json::to_vec(&parameters).map_err(unreadable)?;
        let principal = hex(&self.principal(caller.credential())?);
        let maker = json!([principal, caller.token(), from.as_str(), caller.agent().as_str(), key]);
        let keys = self.billing.key_ring.keys().map_err(unreadable)?;
        let (token, handle) = keys.of_delegation(&maker.to_string(), &parameters);
        Ok(Named { token, handle: delegation::handle(handle), by_key: true })
    }

    /// The answer to a delegation that was made before under the same `key`.
    async fn given_before(
        &self,
        named: &Named,
        asked: &Asked,
        caller: &Caller,
    ) -> Result<Option<Value>, Refusal> {
        if !named.by_key {
            return Ok(None);
        }
        let standing = self.billing.ledger.standing(named.token).await.map_err(unreadable)?;
        let Some(kept) = standing.delegation else { return Ok(None) };
        let keys = self.billing.key_ring.keys().map_err(unreadable)?;
        if kept.handle != Some(keys.handles.mac(named.handle.as_bytes())) {
            return Err(Refusal::delegation(
                "you delegated under this `key` before, with other parameters; give the same ones, or another `key`",
            ));
        }
        if !standing.usable {
            return Err(Refusal::delegation(
                "the delegation that you made under this `key` has ended; give another `key`",
            ));
        }
        self.given(named, &kept, asked.budget, caller).await.map(Some)
    }

    /// The caller's own delegations that have not ended.
    pub(super) async fn delegations(&self, caller: &Caller) -> Result<Value, Refusal> {
        self.terms.declare(&self.billing).await.map_err(unreadable)?;
        let account = self.payable(caller).await.map_err(unreadable)?;
        let open = self.billing.ledger.open_delegations(account, MOST_LOOKED_AT).await;
        let principal = self.principal(caller.credential())?;
        let mut own = Vec::new();
        for OpenDelegation { delegation, account } in open.map_err(unreadable)? {
            let made = delegation.principal == Some(principal) && was_made_by(&delegation, caller);
            if caller.has_account() || made {
                own.push(open_json(&delegation, &account));
            }
        }
        let more = own.len() > MOST_LISTED;
        own.truncate(MOST_LISTED);
        let mut answer = json!({ "delegations": own });
        if let (Value::Object(answer), true) = (&mut answer, more) {
            let note = format!("these are {MOST_LISTED} of them; there are more");
            answer.insert("note".into(), note.into());
        }
        Ok(answer)
    }

    /// The account that pays for what a caller does. The caps of its token are put on it when it is
    /// first used.
    pub(super) async fn payable(&self, caller: &Caller) -> Result<AccountId, Unavailable> {
        let (budgeting, rules) = (&self.settings.budgeting, &self.settings.rules);
        let account = paying(budgeting, rules, caller);
        let in_shadow = budgeting.mode == Mode::Shadow;
        let capped = caller.grant().is_some_and(|grant| !grant.ceilings.is_empty());
        if !caller.has_account() || !(in_shadow || capped) {
            return Ok(account);
        }
        let ledger = &self.billing.ledger;
        if ledger.balance(account.clone()).await?.is_none() {
            self.cap(caller).await?;
            // A token that was made under another mode has none here; a shadow stops nobody.
            if in_shadow && ledger.balance(account.clone()).await?.is_none() {
                return Ok(account_of(budgeting, rules, caller.billed_agent()));
            }
        }
        Ok(account)
    }

    /// Puts the caps of a caller's token on its account; those that are there stay as they are.
    async fn cap(&self, caller: &Caller) -> Result<(), Unavailable> {
        for (to, from, limit) in caps(&self.settings.budgeting, caller) {
            let id = TransferId(random::id());
            let cap = Transfer::Cap { from, to, limit, expires: None };
            let draft = Draft { token: caller.token().map(str::to_owned), ..Draft::default() };
            if let Err(refused) = self.billing.ledger.transfer(id, cap, draft).await? {
                tracing::warn!("a token is not capped: {refused}");
                // Nothing can be below what is not there.
                break;
            }
        }
        Ok(())
    }

    /// Nobody will ever know of a delegation whose answer was lost on the way from the store.
    fn take_back(&self, token: TokenId, maybe_given: bool) {
        let ledger = self.billing.ledger.clone();
        if maybe_given {
            self.background.spawn(async move {
                for pause in pauses() {
                    if ledger.revoke(token, Draft::default()).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
                tracing::error!(
                    "delegation {token} may hold credits, and nobody has it: run `tollgate token revoke {token}` when the store can be used"
                );
            });
        }
    }

    /// What is asked for, and what narrows it.
    fn asked(&self, caller: &Caller, args: &arguments::Delegate) -> Result<Asked, Refusal> {
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
            own.push(Caveat::Agent(self.named(caller, agent)?));
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
        let expires = caveats.expires();
        Ok(Asked {
            budget,
            label: args
                .label
                .as_ref()
                .map(|label| self.settings.redactor.redact(label).into_owned()),
            caveats,
            expires,
        })
    }

    /// The agent that a child is to be, if the caller could name it.
    fn named(&self, caller: &Caller, agent: &str) -> Result<AgentId, Refusal> {
        if agent == caller.agent().as_str() {
            return Err(Refusal::delegation(format!(
                "you are `{agent}`; leave `agent` out, and the child has your rights"
            )));
        }
        match caller.might_name(agent, &self.settings.rules) {
            true => Ok(AgentId::from(agent)),
            false => Err(Refusal::delegation(format!(
                "`{agent}` is no agent that you may name; leave `agent` out, and the child acts as `{}`",
                caller.agent()
            ))),
        }
    }

    /// The token of a child; none where calls show no such tokens.
    fn minted(&self, id: TokenId, caveats: &Caveats) -> Result<Option<String>, Refusal> {
        let AuthMode::Header(_) = self.settings.auth.mode else { return Ok(None) };
        let keys = self.token_keys()?;
        let token = Token::mint(keys, true, id, &self.settings.budgeting.namespace, &caveats.0);
        let token = token.map_err(Refusal::delegation)?;
        Ok(Some(token.text().expose_secret().to_owned()))
    }

    /// Ends a delegation of the caller's.
    pub(super) async fn revoke(
        &self,
        caller: &Caller,
        args: &arguments::Revoke,
        entry: &mut Entry,
    ) -> Result<Value, Refusal> {
        let token = self.meant(caller, args).await?;
        let draft = Draft { token: Some(token.to_string()), ..entry.draft.clone() };
        let closed = self.billing.ledger.revoke(token, draft).await.map_err(unreadable)?;
        let closed = closed.map_err(Refusal::delegation)?;
        entry.recorded = true;
        // The last one closed is the delegation itself, with what those below it gave up.
        let returned = closed.last().map_or(Credits::ZERO, |closed| closed.returned);
        Ok(json!({
            "tokenId": token.to_string(),
            "returned": returned,
            "remaining": self.balance(caller).await.ok().and_then(|left| left.remaining),
        }))
    }

    /// The delegation that is to be revoked. One that is not the caller's is answered as one that is
    /// not there.
    async fn meant(&self, caller: &Caller, args: &arguments::Revoke) -> Result<TokenId, Refusal> {
        let ledger = &self.billing.ledger;
        let id = args.token_id.as_deref().or(args.budget_id.as_deref());
        let found = match (args.agent_id.as_deref(), id) {
            (Some(handle), _) if is_handle(handle) => {
                let keys = self.billing.key_ring.keys().map_err(unreadable)?;
                let found = ledger.by_handle(keys.handles.mac(handle.as_bytes())).await;
                found.map_err(unreadable)?
            }
            (None, Some(id)) => match TokenId::parse(id.strip_prefix("token/").unwrap_or(id)) {
                Some(id) => Some(ledger.standing(id).await.map_err(unreadable)?),
                None => None,
            },
            _ => None,
        };
        let by_handle = args.agent_id.is_some();
        let not_yours = || match by_handle {
            true => Refusal::HandleNotFound,
            false => Refusal::delegation("there is no delegation of yours with this id"),
        };
        let delegation = found.and_then(|standing| standing.delegation).ok_or_else(not_yours)?;
        match self.is_of(caller, &delegation).await? {
            true => Ok(delegation.token),
            false => Err(not_yours()),
        }
    }

    /// Whether a delegation was made of the caller's credits, by itself or by those below it. Agents
    /// that share an account, and are told apart by name only, have each their own.
    async fn is_of(&self, caller: &Caller, delegation: &Delegation) -> Result<bool, Refusal> {
        let account = paying(&self.settings.budgeting, &self.settings.rules, caller);
        let below = self.billing.ledger.lies_below(delegation.account.clone(), account).await;
        if !below.map_err(unreadable)? {
            return Ok(false);
        }
        let made = delegation.principal == Some(self.principal(caller.credential())?)
            && was_made_by(delegation, caller);
        Ok(caller.has_account() || made)
    }
}

/// What its maker sees of a delegation: no token, and no handle.
fn open_json(delegation: &Delegation, account: &Account) -> Value {
    let given = account.source().map_or(Credits::ZERO, |source| source.given);
    let left = account.headroom(now()).map(Credits::of_balance);
    let mut shown = json!({
        "tokenId": delegation.token.to_string(),
        "budgetId": delegation.account.name(),
        "label": delegation.label,
        "agent": delegation.caveats.agents().last(),
        "budget": given,
        "remaining": left,
        "reserved": account.reserved,
    });
    if let (Value::Object(shown), Some(at)) = (&mut shown, account.expires) {
        shown.insert("expires_at".into(), timestamp(at).into());
    }
    shown
}

/// Whether the agents of a delegation begin with all that its maker was bound to; whom it was given
/// to comes after.
fn was_made_by(delegation: &Delegation, caller: &Caller) -> bool {
    let bound = caller.grant().into_iter().flat_map(|grant| grant.caveats.agents());
    let mut maker: Vec<&AgentId> = bound.chain([caller.agent()]).collect();
    maker.dedup();
    delegation.caveats.agents().collect::<Vec<_>>().starts_with(&maker)
}

/// A number that the schema lets through: whole, and not below zero. Nothing that is to narrow a child
/// may be passed over, however it is written.
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

/// When a child ends that is to last so long: a number of seconds, or a duration.
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
