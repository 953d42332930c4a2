//! The path of a call through the gateway, one line a step: `identify → resolve → authorise → check →
//! price → hold → forward → settle → record`, whatever the way in.

use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    builtin_tools,
    call::CallContext,
    check::check,
    directory::{ToolTarget, resolve::Resolved},
    discovery,
    forward::forward,
    identify::PresentedCredentials,
    journal::CallRecord,
    operation::{Invocation, Operation},
    request::{CallRequest, EntryPoint},
    result::Answer,
    snapshot::Snapshot,
    status::status,
};
use crate::domain::{policy::Permit, refusal::Refusal};

/// Runs a call to its end, and records it, whatever comes of it. Secrets of a refusal are masked, so
/// that it may leave the gateway.
pub(super) async fn run(
    snapshot: &Arc<Snapshot>,
    entry_point: EntryPoint,
    request: CallRequest,
    cancel: &CancellationToken,
) -> Result<Answer, Refusal> {
    let mut record = snapshot.journal.open(entry_point, &request.tool, &request.arguments);
    let outcome = answer(snapshot, entry_point, request, &mut record, cancel).await;
    snapshot.journal.close(entry_point, record, outcome.as_ref().map(|_| ())).await;
    outcome.map_err(|refusal| refusal.masked(&snapshot.settings.redactor))
}

/// Reads what a call asks for, identifies its caller, and answers it.
async fn answer(
    snapshot: &Arc<Snapshot>,
    entry_point: EntryPoint,
    request: CallRequest,
    record: &mut CallRecord,
    cancel: &CancellationToken,
) -> Result<Answer, Refusal> {
    let deadline = snapshot.directory.deadline(cancel);
    let CallRequest { tool, arguments, meta, credential, granted, client } = request;
    let presented =
        PresentedCredentials::read(entry_point, &tool, &arguments, credential, granted)?;
    if entry_point == EntryPoint::Status {
        // It reports all agents, so it asks for none: any good credential will do.
        snapshot.identifier.credential(&presented).await?;
        return status(&snapshot.settings, &snapshot.shared.readings(), &arguments);
    }
    let asked = Operation::read(entry_point, &tool, arguments, record);
    let caller = snapshot.identifier.identify(&presented, record).await;
    // A fault of the arguments comes first; the record says all the same who made it.
    let (asked, caller) = (asked?, caller?);
    let deadline = deadline.shortened_by(asked.timeout());
    let mut call = CallContext { snapshot, caller, record, deadline, meta, client };
    match asked {
        Operation::ListServers { metadata } => discovery::list_servers(&mut call, metadata).await,
        Operation::GetServerTools(query) => discovery::get_server_tools(&mut call, query).await,
        Operation::CallTool(asked) => {
            let beside = || json!([call.meta, call.client.answers, call.client.state]).into();
            let sent = || [asked.args.clone(), beside()];
            snapshot.identifier.keep_credential(&presented, sent)?;
            execute(&mut call, asked).await
        }
    }
}

/// The path of a call of a tool. Each step hands the next one a value that it needs, so that no step
/// can be left out.
async fn execute(call: &mut CallContext<'_>, asked: Invocation) -> Result<Answer, Refusal> {
    let billing = &call.snapshot.billing;
    let target = match resolve(call, &asked).await? {
        Resolved::Tool(target) => target,
        Resolved::BuiltIn(tool) => return builtin_tools::answer(call, &tool, &asked.args).await,
    };
    // One use for all its steps, so that the server is not stopped between them.
    let _in_use = target.member.server().in_use();
    let permit = authorise(call, &target).await?;
    let arguments = check(call, &target, &permit, asked.args).await?;
    let priced = billing.price(permit)?;
    let hold = billing.hold(priced, &arguments, call.record).await?;
    forward(call, &target, hold, arguments).await
}

async fn resolve<'a>(call: &CallContext<'a>, asked: &Invocation) -> Result<Resolved<'a>, Refusal> {
    let (directory, Invocation { server, tool, .. }) = (&call.snapshot.directory, asked);
    if asked.direct {
        directory.resolve_direct(&call.caller, tool, &call.deadline).await
    } else {
        directory.resolve(&call.caller, server.as_deref(), tool, &call.deadline).await
    }
}

async fn authorise(call: &mut CallContext<'_>, target: &ToolTarget<'_>) -> Result<Permit, Refusal> {
    let ToolTarget { visit, member, tool } = target;
    call.record.names(Some(member.name().as_str()), tool);
    call.deadline = call.deadline.of(member);
    let directory = &call.snapshot.directory;
    let permit = directory.authorise(visit.clone(), tool, member.server(), &call.deadline).await?;
    call.record.permits(&permit);
    call.snapshot.shared.usage.called(permit.caller().agent());
    Ok(permit)
}
