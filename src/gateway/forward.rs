//! A call on its way to a server, and what came of it.

use tokio_util::sync::CancellationToken;

use super::{
    Answer, Snapshot, ToolResult,
    billing::{Hold, Settled},
    request::Deadline,
};
use crate::{
    domain::{
        call::ServerName,
        charge::Outcome,
        json::RawJson,
        policy::Permit,
        refusal::Refusal,
        settings::{Elicitation, ServerSpec},
    },
    downstream::{CallFailure, Client, ELICITATION, Member, Outgoing, Unavailable, Use},
};

/// A call that may be made: permitted, checked, and paid for.
pub(super) struct Ready<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) permit: Permit,
    pub(super) member: &'a Member,
    pub(super) outgoing: Outgoing,
    pub(super) hold: Hold,
    pub(super) patience: Deadline,
    /// So that the server is not stopped between the steps.
    pub(super) in_use: Use<'a>,
}

/// Makes a call, and settles what was held for it.
pub(super) async fn forward(
    ready: Ready<'_>,
    cancel: &CancellationToken,
) -> Result<Answer, Refusal> {
    let Ready { snapshot, permit, member, outgoing, hold, patience, in_use } = ready;
    let left = patience.left();
    let came = match left.is_zero() {
        // The steps before took all of it: what is sent now would run, and nobody would hear of it.
        true => Err(CallFailure::Unavailable(Unavailable::because(
            "the time of the call was over before it was sent".to_owned(),
        ))),
        false => {
            let (hold, permit) = (&hold, &permit);
            let before_send = |queued: bool| async move {
                if !queued && !hold.is_stale() {
                    return Ok(());
                }
                hold.check_open().await.map_err(|why| why.refusal(permit))?;
                snapshot.readmit(permit.caller()).await
            };
            hold.during(member.server().call(&outgoing, left, cancel, before_send)).await
        }
    };
    let settled = hold.settle(outcome_of(&came), came.as_ref().ok()).await;
    drop(in_use);
    answer_of(&permit, member.spec(), &outgoing.client, &patience, came, &settled)
}

/// What the end of a call means for who pays.
fn outcome_of(came: &Result<RawJson, CallFailure>) -> Outcome {
    const NOT_FOUND: i32 = -32601;
    const INVALID_PARAMS: i32 = -32602;
    match came {
        Ok(result) if is_question(result) => Outcome::Asked,
        Ok(result) if result.member("isError").is_some_and(|is| is.as_str() == "true") => {
            Outcome::ToolError
        }
        Ok(_) => Outcome::Success,
        Err(CallFailure::Rpc(error)) if [NOT_FOUND, INVALID_PARAMS].contains(&error.code) => {
            Outcome::Declined
        }
        Err(CallFailure::Rpc(_) | CallFailure::TooLong | CallFailure::Unreadable) => {
            Outcome::ServerError
        }
        Err(CallFailure::Timeout) => Outcome::Timeout,
        Err(CallFailure::Cancelled) => Outcome::Cancelled,
        Err(CallFailure::Lost | CallFailure::Broken(_)) => Outcome::Lost,
        Err(
            CallFailure::Unavailable(_)
            | CallFailure::NotSent
            | CallFailure::Barred(_)
            | CallFailure::Withdrawn,
        ) => Outcome::NotSent,
    }
}

/// What the caller is told.
fn answer_of(
    permit: &Permit,
    spec: &ServerSpec,
    client: &Client,
    patience: &Deadline,
    came: Result<RawJson, CallFailure>,
    settled: &Settled,
) -> Result<Answer, Refusal> {
    let name = permit.server();
    match came {
        Ok(result) => {
            if is_question(&result) {
                may_ask(spec, client, &result).map_err(|cause| because(&spec.name, cause))?;
            }
            Ok(Answer::Result(ToolResult::priced(result, settled.says())))
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
            tool: permit.tool().clone(),
            after_ms: patience.whole_ms(),
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
fn may_ask(spec: &ServerSpec, client: &Client, result: &RawJson) -> Result<(), &'static str> {
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

pub(super) fn unavailable(server: &ServerName, cause: Unavailable) -> Refusal {
    let (server, retry_after_ms) = (server.clone(), cause.retry_after_ms);
    match cause.needs_login {
        true => Refusal::AuthRequired { server, cause: cause.cause },
        false => Refusal::Unavailable { server, cause: cause.cause, retry_after_ms },
    }
}

pub(super) fn because(server: &ServerName, cause: &str) -> Refusal {
    unavailable(server, Unavailable::because(cause.to_owned()))
}
