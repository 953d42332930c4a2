//! Which servers have a tool, where a call names none. What is known answers at once. Servers of which
//! nothing is known are started for it, all together, so one that hangs costs the others nothing.

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    Snapshot, builtin,
    request::Call,
    resolve::{Meant, bare},
};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        policy::Visit,
        refusal::Refusal,
    },
    downstream::{Member, NotYet},
    host::clock,
};

/// A server has this long to come up and list its tools, or its own timeout if that is shorter,
/// counted from when its start was first asked for. So one that hangs is not waited for again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Once a server with the tool is found, others have this long to say that they have one as well.
const GRACE: Duration = Duration::from_secs(5);

/// Servers whose tools are not known yet, and why.
pub(super) type Unreached = Vec<(ServerName, NotYet)>;

impl Snapshot {
    /// The servers that a caller may use.
    pub(super) fn usable(&self, caller: &Caller) -> impl Iterator<Item = (Visit, &Member)> {
        let members = self.fleet.members().iter();
        members.filter_map(|member| {
            Some((self.settings.rules.visit(caller, member.name()).ok()?, member))
        })
    }

    /// Every tool of that name, with its server's name in front or without, among the tools that are
    /// known and that the caller may call.
    pub(super) async fn owners(&self, caller: &Caller, tool: &ToolName) -> Vec<Meant<'_>> {
        let mut owners = Vec::new();
        for (visit, member) in self.usable(caller) {
            let Some(catalogue) = member.server().known_catalogue().await else { continue };
            let names = [Some(tool.clone()), bare(tool, member.name())];
            let mut names = names.into_iter().flatten();
            if let Some(name) = names.find(|name| self.sees(&visit, &catalogue, name)) {
                owners.push((visit, member, name));
            }
        }
        owners
    }

    /// Learns the tools of all servers that the caller may use and of which nothing is known. Ends when
    /// all have answered or had their time; soon after one with the tool is found. Answers those that
    /// are not known yet.
    ///
    /// # Errors
    /// The call was cancelled.
    pub(super) async fn learn(
        &self,
        caller: &Caller,
        call: &Call,
        cancel: &CancellationToken,
    ) -> Result<Unreached, Refusal> {
        let mut asked = JoinSet::new();
        let mut servers = Vec::new();
        for (_, member) in self.usable(caller) {
            if member.server().known_catalogue().await.is_some() {
                continue;
            }
            let wait = member.spec().timeout.min(LONGEST_WAIT);
            let wait = call.left().map_or(wait, |left| left.min(wait));
            let wait = (!self.one_call).then_some(wait);
            let (index, server) = (servers.len(), member.server().clone());
            servers.push(member.name().clone());
            asked.spawn(async move { (index, server.shelf_in_turn(wait).await.err()) });
        }
        let mut answers: Vec<Option<NotYet>> = vec![Some(NotYet::Starting); servers.len()];
        let grace = clock::tokio_instant() + GRACE;
        let mut found = builtin::bare(&call.tool).is_some();
        while let Some(joined) = tokio::select! {
            joined = asked.join_next() => joined,
            () = sleep_until(grace), if found => None,
            () = cancel.cancelled() => return Err(Refusal::Cancelled),
        } {
            let Ok((index, why)) = joined else { continue };
            found = found || why.is_none() && !self.owners(caller, &call.tool).await.is_empty();
            if let Some(answer) = answers.get_mut(index) {
                *answer = why;
            }
        }
        let answered = servers.into_iter().zip(answers);
        Ok(answered.filter_map(|(server, why)| Some((server, why?))).collect())
    }
}
