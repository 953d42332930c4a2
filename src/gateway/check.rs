//! The check of a call's arguments, off the threads that answer other calls.

use std::sync::Arc;

use super::{
    call::CallContext,
    directory::{ToolTarget, catalogue},
    fingerprint::{CheckedArguments, LARGE},
    journal::CallRecord,
    refusals::because,
};
use crate::{
    domain::{
        catalog::{Checked, Tool},
        json::{MOST_VALUES, RawJson},
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
) -> Result<CheckedArguments, Refusal> {
    let catalogue = catalogue(target.member.server(), &call.deadline).await?;
    call.deadline.note_started();
    let Some(tool) = catalogue.tool(permit.tool()) else {
        return Err(call.snapshot.directory.no_tool(&target.visit, permit.tool(), &catalogue));
    };
    match fits(call, target, tool, args).await? {
        Ok((args, checked)) => {
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
    args: RawJson,
) -> Result<Result<(CheckedArguments, Checked), String>, Refusal> {
    let values = (args.length() <= LARGE).then(|| args.tree(MOST_VALUES));
    let is_quick = matches!(&values, Some(Ok(values)) if tool.is_quickly_checked(values));
    let tool = tool.clone();
    let check = move || {
        let values = values.unwrap_or_else(|| args.tree(MOST_VALUES));
        CheckedArguments::check(&tool, args, values)
    };
    if is_quick { Ok(check()) } else { on_a_thread(call, target, check).await }
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
    call.deadline.unless_cancelled(done).await?.map_err(|_| because(server.name(), TOO_LATE))
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
