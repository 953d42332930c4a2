//! The check of a call's arguments, off the threads that answer other calls.

use std::sync::Arc;

use super::{
    call::CallContext,
    deadline::unless_cancelled,
    directory::{ToolTarget, catalogue},
    fingerprint::LARGE,
    journal::CallRecord,
    refusals::because,
};
use crate::{
    domain::{
        catalog::{Checked, Tool},
        json::{MOST_VALUES, NoTree, RawJson},
        policy::Permit,
        refusal::Refusal,
    },
    host::blocking,
};

/// The arguments, once they satisfy the tool's schema. Both are foreign: work of more than
/// microseconds runs on a thread of its own. The server is started if it is not up.
pub(super) async fn check(
    call: &mut CallContext<'_>,
    target: &ToolTarget<'_>,
    permit: &Permit,
    args: RawJson,
) -> Result<RawJson, Refusal> {
    let server = target.member.server();
    let catalogue = catalogue(server, call.deadline.for_start(), call.cancel).await?;
    call.deadline = call.deadline.after_start();
    let Some(tool) = catalogue.tool(permit.tool()) else {
        return Err(call.snapshot.directory.no_tool(&target.visit, permit.tool(), &catalogue));
    };
    match fits(call, target, tool, &args).await? {
        Ok(checked) => {
            note_unchecked(permit, tool, checked, call.record);
            Ok(args)
        }
        Err(message) => {
            let tool = tool.clone();
            let signature = on_a_thread(call, target, move || tool.signature()).await?;
            Err(Refusal::InvalidArguments { message, signature: Some(signature) })
        }
    }
}

async fn fits(
    call: &CallContext<'_>,
    target: &ToolTarget<'_>,
    tool: &Arc<Tool>,
    args: &RawJson,
) -> Result<Result<Checked, String>, Refusal> {
    let values = (args.length() <= LARGE).then(|| args.tree(MOST_VALUES));
    if let Some(Ok(values)) = &values
        && tool.is_quickly_checked(values)
    {
        return Ok(tool.check(values));
    }
    let (tool, args) = (tool.clone(), args.clone());
    let check = move || match values.unwrap_or_else(|| args.tree(MOST_VALUES)) {
        Ok(values) => tool.check(&values),
        Err(cause @ NoTree::TooManyValues(_)) => {
            Ok(Checked::Unchecked(format!("they have {cause}")))
        }
        Err(cause @ NoTree::ReservedName) => Err(format!("`args` has {cause}")),
    };
    on_a_thread(call, target, check).await
}

/// Runs work that may take long on a thread for that, at most as long as the call may take. Each
/// server has one such thread at a time: what its schemas cost delays its own calls only.
async fn on_a_thread<T: Send + 'static>(
    call: &CallContext<'_>,
    target: &ToolTarget<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let server = target.member.server();
    let done = async {
        let turn = server.turn_to_check().await;
        blocking(move || {
            // The thread goes on when the call has ended; so does its turn.
            let _turn = turn;
            work()
        })
        .await
    };
    let done = tokio::time::timeout(call.deadline.left(), done);
    unless_cancelled(call.cancel, done).await?.map_err(|_| because(server.name(), TOO_LATE))
}

const TOO_LATE: &str =
    "the time of the call was over before its arguments were checked; it was not sent";

/// Calls whose arguments go unchecked say so: the first of a tool in the log, each in its record.
fn note_unchecked(permit: &Permit, tool: &Tool, checked: Checked, record: &mut CallRecord) {
    let Checked::Unchecked(reason) = checked else { return };
    if tool.is_first_unchecked() {
        tracing::warn!(
            server = %permit.server(), tool = %tool.name(),
            "arguments of this tool are not checked: {reason}"
        );
    }
    record.draft.note = Some(format!("arguments not checked: {reason}"));
}
