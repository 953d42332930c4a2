//! How the tools of the server `gateway` are answered.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    arguments::read,
    builtin,
    call::CallContext,
    delegate::delegate,
    delegations::{delegations, revoke},
    fields::LONGEST_NAME,
    result::Answer,
};
use crate::{
    domain::{
        call::ToolName,
        caller::Caller,
        catalog::{Checked, Tool},
        json::{MOST_VALUES, RawJson},
        ledger::Balance,
        period::timestamp,
        refusal::Refusal,
    },
    host::blocking,
};

/// Answers a call of a built-in tool.
pub(super) async fn answer(
    call: &mut CallContext<'_>,
    tool: &ToolName,
    args: &RawJson,
) -> Result<Answer, Refusal> {
    let args = args
        .tree(MOST_VALUES)
        .map_err(|cause| Refusal::arguments(format!("the arguments have {cause}")))?;
    call.record.names(Some(builtin::SERVER), tool);
    let directory = &call.snapshot.directory;
    directory.authorise_builtin(&call.caller, tool)?;
    let Some(known) = builtin::tool(tool) else {
        return Err(directory.no_builtin(&call.caller, tool));
    };
    short_enough(tool, &args)?;
    let args = checked(known, args).await?;
    let answer = match tool.as_str() {
        "budget" => budget_json(&call.snapshot.billing.balance(&call.caller).await?, &call.caller),
        "delegate" => delegate(call, &read(args)?).await?,
        "revoke" => revoke(call, &read(args)?).await?,
        "delegations" => delegations(call).await?,
        _ => json!({"ok": true}),
    };
    Ok(Answer::json(answer))
}

/// The arguments of a built-in tool, once they fit. Its schema costs nothing, but they may; what is
/// too large to be checked is refused, as no server checks it after us.
async fn checked(tool: &Arc<Tool>, args: Value) -> Result<Value, Refusal> {
    let known = tool.clone();
    let check = move || {
        let checked = known.check(&args);
        (args, checked)
    };
    let (args, checked) = blocking(check).await;
    let message = match checked {
        Ok(Checked::Valid) => return Ok(args),
        Ok(Checked::Unchecked(_)) => "the arguments are too large".to_owned(),
        Err(message) => message,
    };
    Err(Refusal::InvalidArguments { message, signature: Some(tool.signature()) })
}

/// Refuses arguments of the built-in tools that are longer than any that is good.
fn short_enough(tool: &ToolName, args: &Value) -> Result<(), Refusal> {
    for (name, value) in args.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        // A scope has a bound of its own.
        if name.len() > LONGEST_NAME || (text.len() > LONGEST_NAME && name != "scope") {
            return Err(Refusal::arguments(format!(
                "{tool}: an argument is too long; names and ids have at most {LONGEST_NAME} bytes"
            )));
        }
    }
    Ok(())
}

/// The answer of `budget`, to the tool and to the methods of that name.
fn budget_json(balance: &Balance, caller: &Caller) -> Value {
    let mut answer = json!({
        "tokenId": caller.token(),
        "budgetId": balance.name,
        "limit": balance.limit,
        "remaining": balance.remaining,
        "reserved": balance.reserved,
        "spent": balance.spent,
        "period": balance.period,
    });
    if let (Value::Object(answer), Some(at)) = (&mut answer, balance.resets_at) {
        answer.insert("resets_at".into(), timestamp(at).into());
    }
    answer
}
