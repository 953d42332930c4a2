//! `delegations` and `revoke`: what a caller gave to subagents, and how it is taken back.

use serde_json::{Value, json};

use super::{arguments, call::CallContext};
use crate::{
    domain::{
        call::AgentId,
        caller::Caller,
        credits::Credits,
        delegation::{Delegation, OpenDelegation, is_handle},
        period::timestamp,
        record::Draft,
        refusal::Refusal,
        token::TokenId,
    },
    host::clock::now,
};

/// At most this many delegations of an account are read, and this many listed.
const MOST_READ: usize = 1_000;
const MOST_LISTED: usize = 100;

/// The caller's own delegations that have not ended.
pub(super) async fn delegations(call: &CallContext<'_>) -> Result<Value, Refusal> {
    let (snapshot, caller) = (call.snapshot, &call.caller);
    let account = snapshot.billing.paying_account(caller).await?;
    let principal = snapshot.identifier.principal(caller.credential())?;
    let mut own = Vec::new();
    for open in snapshot.ledger().open_delegations(account, MOST_READ).await? {
        if caller.has_account() || was_made_by(&open.delegation, caller, principal) {
            own.push(open_json(&open));
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

/// Ends a delegation of the caller's.
pub(super) async fn revoke(
    call: &mut CallContext<'_>,
    args: &arguments::RevokeInput,
) -> Result<Value, Refusal> {
    let token = find(call, args).await?;
    let draft = Draft { token: Some(token.to_string()), ..call.record.draft.clone() };
    let closed = call.snapshot.ledger().revoke(token, draft).await?.map_err(Refusal::delegation)?;
    call.record.recorded = true;
    // The last one closed is the delegation itself, with what those below it gave up.
    let returned = closed.last().map_or(Credits::ZERO, |closed| closed.returned);
    Ok(json!({
        "tokenId": token.to_string(),
        "returned": returned,
        "remaining": call.snapshot.billing.balance(&call.caller).await.ok().and_then(|left| left.remaining),
    }))
}

/// The delegation that is to be revoked. One that is not the caller's is answered as one that is
/// not there.
async fn find(call: &CallContext<'_>, args: &arguments::RevokeInput) -> Result<TokenId, Refusal> {
    let id = args.token_id.as_deref().or(args.budget_id.as_deref());
    let found = match (args.agent_id.as_deref(), id) {
        (Some(handle), _) if is_handle(handle) => {
            call.snapshot.identifier.by_handle(handle).await?
        }
        (None, Some(id)) => match TokenId::parse(id.strip_prefix("token/").unwrap_or(id)) {
            Some(id) => Some(call.snapshot.ledger().standing(id).await?),
            None => None,
        },
        _ => None,
    };
    match found.and_then(|standing| standing.delegation) {
        Some(delegation) if is_own(call, &delegation).await? => Ok(delegation.token),
        _ if args.agent_id.is_some() => Err(Refusal::HandleNotFound),
        _ => Err(Refusal::delegation("there is no delegation of yours with this id")),
    }
}

/// Whether a delegation was made of the caller's credits, by itself or by those below it. Agents
/// that share an account, and differ by name only, have each their own.
async fn is_own(call: &CallContext<'_>, delegation: &Delegation) -> Result<bool, Refusal> {
    let (snapshot, caller) = (call.snapshot, &call.caller);
    let account = snapshot.billing.account_of(caller);
    if !snapshot.ledger().lies_below(delegation.account.clone(), account).await? {
        return Ok(false);
    }
    let principal = snapshot.identifier.principal(caller.credential())?;
    Ok(caller.has_account() || was_made_by(delegation, caller, principal))
}

/// What its maker sees of a delegation: no token, and no handle.
fn open_json(OpenDelegation { delegation, account }: &OpenDelegation) -> Value {
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

/// Whether this caller made a delegation: the same principal stands behind it, and its agents begin
/// with all that the caller is bound to. Whom it was given to comes after.
fn was_made_by(delegation: &Delegation, caller: &Caller, principal: [u8; 32]) -> bool {
    let bound = caller.grant().into_iter().flat_map(|grant| grant.caveats.agents());
    let mut maker: Vec<&AgentId> = bound.chain([caller.agent()]).collect();
    maker.dedup();
    delegation.principal == Some(principal)
        && delegation.caveats.agents().collect::<Vec<_>>().starts_with(&maker)
}
