//! A call on its way to a server, and what came of it.

use super::{
    billing::hold::{Hold, Settled},
    call::CallContext,
    deadline::Deadline,
    directory::ToolTarget,
    fingerprint::CheckedArguments,
    refusals::{because, unavailable},
    result::{Answer, ToolResult},
};
use crate::{
    domain::{
        charge::CallOutcome,
        json::RawJson,
        refusal::Refusal,
        settings::{Elicitation, ServerSpec},
    },
    downstream::{CallFailure, ClientContext, ELICITATION, Outgoing},
};

/// Makes a call, and settles what was held for it.
pub(super) async fn forward(
    call: &mut CallContext<'_>,
    target: &ToolTarget<'_>,
    hold: Hold,
    arguments: CheckedArguments,
) -> Result<Answer, Refusal> {
    let outgoing = Outgoing {
        tool: hold.permit().tool().clone(),
        arguments: arguments.into_text(),
        meta: std::mem::take(&mut call.meta),
        client: call.client.clone(),
        timeout: target.member.spec().timeout,
        until: call.deadline.until(),
    };
    let (held, identifier) = (&hold, &call.snapshot.identifier);
    // The last look before the call is sent: it may have waited, or the machine slept.
    let before_send = |queued: bool| async move {
        if queued || held.is_stale() {
            held.check_open().await?;
            identifier.readmit(held.permit().caller()).await?;
        }
        Ok(())
    };
    let sent = target.member.server().call(&outgoing, &call.deadline.cancel, before_send);
    let came = held.during(sent).await;
    let settled = hold.settle(outcome_of(&came), came.as_ref().ok()).await;
    answer_of(target, &outgoing, &call.deadline, came, &settled)
}

/// What the end of a call means for who pays.
fn outcome_of(came: &Result<RawJson, CallFailure>) -> CallOutcome {
    const NOT_FOUND: i32 = -32601;
    const INVALID_PARAMS: i32 = -32602;
    match came {
        Ok(result) if is_question(result) => CallOutcome::Asked,
        Ok(result) if result.member("isError").is_some_and(|is| is.as_str() == "true") => {
            CallOutcome::ToolError
        }
        Ok(_) => CallOutcome::Success,
        Err(CallFailure::Rpc(error)) if [NOT_FOUND, INVALID_PARAMS].contains(&error.code) => {
            CallOutcome::Declined
        }
        Err(CallFailure::Rpc(_) | CallFailure::TooLong | CallFailure::Unreadable) => {
            CallOutcome::ServerError
        }
        Err(CallFailure::Timeout) => CallOutcome::Timeout,
        Err(CallFailure::Cancelled) => CallOutcome::Cancelled,
        Err(CallFailure::Lost | CallFailure::Broken(_)) => CallOutcome::Lost,
        Err(
            CallFailure::Unavailable(_)
            | CallFailure::NotSent
            | CallFailure::Barred(_)
            | CallFailure::Withdrawn,
        ) => CallOutcome::NotSent,
    }
}

/// What the caller gets.
fn answer_of(
    target: &ToolTarget<'_>,
    outgoing: &Outgoing,
    deadline: &Deadline,
    came: Result<RawJson, CallFailure>,
    settled: &Settled,
) -> Result<Answer, Refusal> {
    let (name, spec) = (target.member.name(), target.member.spec());
    match came {
        Ok(result) => {
            if is_question(&result) {
                may_ask(spec, &outgoing.client, &result)
                    .map_err(|cause| because(&spec.name, cause))?;
            }
            Ok(Answer::Result(ToolResult::priced(result, settled)))
        }
        Err(CallFailure::Rpc(error)) => Ok(Answer::Error(error.unmarked())),
        Err(CallFailure::Unavailable(cause)) => Err(unavailable(name, cause)),
        Err(CallFailure::Barred(refusal)) => Err(refusal),
        Err(CallFailure::Broken(mut cause)) => {
            cause.cause.push_str("; the call may have run");
            Err(unavailable(name, cause))
        }
        Err(CallFailure::Cancelled | CallFailure::Withdrawn) => Err(Refusal::Cancelled),
        Err(CallFailure::Timeout) => Err(Refusal::Timeout {
            server: name.clone(),
            tool: outgoing.tool.clone(),
            after_ms: deadline.whole_ms(),
        }),
        Err(CallFailure::NotSent) => Err(because(name, "it ended before the call was sent")),
        Err(CallFailure::Lost) => {
            Err(because(name, "it ended during the call, which may have run"))
        }
        Err(CallFailure::TooLong) => Err(because(name, "its answer was longer than 16 MiB")),
        Err(CallFailure::Unreadable) => Err(because(
            name,
            "its answer could not be read: not JSON in UTF-8, or nested too deeply",
        )),
    }
}

/// Whether the server wants to ask the user before it goes on.
fn is_question(result: &RawJson) -> bool {
    let kind = result.member("resultType").and_then(|kind| kind.string());
    kind.as_deref() == Some("input_required")
}

/// Whether a server may ask the user what it asks. Nothing but elicitation is passed on.
fn may_ask(
    spec: &ServerSpec,
    client: &ClientContext,
    result: &RawJson,
) -> Result<(), &'static str> {
    let is_elicitation = |question: RawJson| {
        let method = question.member("method").and_then(|method| method.string());
        method.as_deref() == Some(ELICITATION)
    };
    let are_questions = match result.member("inputRequests") {
        None => true,
        Some(asked) => {
            asked.is_object() && asked.members().all(|question| is_elicitation(question.value))
        }
    };
    if spec.elicitation == Elicitation::Deny {
        Err("it asks the user something, which its settings do not allow (`elicitation`)")
    } else if client.elicitation.is_none() {
        Err(
            "it asks the user something, and this client takes no questions in the version it speaks",
        )
    } else if !are_questions {
        Err("it asks for something other than the user's answer, which is not passed on")
    } else {
        Ok(())
    }
}
