//! The check of a call's arguments, off the threads that answer everybody else.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    Snapshot,
    entry::Entry,
    forward::unavailable,
    request::{Deadline, LARGE},
};
use crate::{
    domain::{
        catalog::{Catalogue, Checked, Tool},
        json::{MOST_VALUES, NoTree, RawJson},
        policy::Permit,
        refusal::Refusal,
    },
    downstream::{Server, Unavailable},
    host::blocking,
};

impl Snapshot {
    /// The arguments, once they satisfy the tool's schema. Both are foreign: what takes more than
    /// microseconds runs on a thread of its own.
    pub(super) async fn check(
        &self,
        permit: &Permit,
        catalogue: Arc<Catalogue>,
        args: RawJson,
        checking: &Checking<'_>,
        entry: &mut Entry,
    ) -> Result<RawJson, Refusal> {
        let Some(tool) = catalogue.tool(permit.tool()) else {
            let visit = self.settings.rules.visit(permit.caller(), permit.server());
            return Err(match visit {
                Ok(visit) => self.no_tool(&visit, permit.tool(), &catalogue),
                Err(_) => self.no_server(permit.caller(), permit.server().as_str()),
            });
        };
        match Self::checked(tool, &args, checking).await? {
            Ok(checked) => {
                note_unchecked(permit, tool, checked, entry);
                Ok(args)
            }
            Err(message) => {
                let tool = tool.clone();
                let signature = checking.on_a_thread(move || tool.signature()).await?;
                Err(Refusal::InvalidArguments { message, signature: Some(signature) })
            }
        }
    }

    async fn checked(
        tool: &Arc<Tool>,
        args: &RawJson,
        checking: &Checking<'_>,
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
        checking.on_a_thread(check).await
    }
}

/// What a check needs beside what is checked.
pub(super) struct Checking<'a> {
    pub(super) server: &'a Arc<Server>,
    pub(super) patience: &'a Deadline,
    pub(super) cancel: &'a CancellationToken,
}

impl Checking<'_> {
    /// Runs what may take long on a thread for that, at most as long as the call may take. Each
    /// server has one such thread at a time: what its schemas cost delays its own calls only.
    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let done = async {
            let turn = self.server.turn_to_check().await;
            blocking(move || {
                // A thread goes on when nobody waits for it any more; so does its turn.
                let _turn = turn;
                work()
            })
            .await
        };
        tokio::select! {
            done = done => Ok(done),
            () = tokio::time::sleep(self.patience.left()) => Err(unavailable(
                self.server.name(),
                Unavailable::because(
                    "the time of the call was over before its arguments were checked; it was not sent"
                        .to_owned(),
                ),
            )),
            () = self.cancel.cancelled() => Err(Refusal::Cancelled),
        }
    }
}

/// Calls whose arguments go unchecked say so: the first of a tool in the log, each in its record.
fn note_unchecked(permit: &Permit, tool: &Tool, checked: Checked, entry: &mut Entry) {
    let Checked::Unchecked(reason) = checked else { return };
    if tool.is_first_unchecked() {
        tracing::warn!(
            server = %permit.server(), tool = %tool.name(),
            "arguments of this tool are not checked: {reason}"
        );
    }
    entry.draft.note = Some(format!("arguments not checked: {reason}"));
}
