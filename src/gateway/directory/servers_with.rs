//! Which servers have a tool, where a call names none. What is known answers at once. Servers of which
//! nothing is known are started for it, all together, so one that hangs costs the others nothing.

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinSet, time::sleep_until};

use super::{Directory, ToolTarget};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        catalog::Catalogue,
        policy::Visit,
        refusal::Refusal,
    },
    downstream::NotYet,
    gateway::{builtin, deadline::Deadline},
    host::clock,
};

/// A server has this long to come up and list its tools, or its own timeout if that is shorter,
/// counted from when its start was first asked for. So one that hangs is not waited for again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Once a server with the tool is found, others have this long to say that they have one as well.
const GRACE: Duration = Duration::from_secs(5);

/// Servers whose tools are not known yet, and why.
pub(in crate::gateway) type Unreached = Vec<(ServerName, NotYet)>;

impl Directory {
    /// Every tool of that name, with its server's name in front or without, of those that are known
    /// and that the caller may call.
    pub(super) async fn servers_with(
        &self,
        caller: &Caller,
        tool: &ToolName,
    ) -> Vec<ToolTarget<'_>> {
        let mut targets = Vec::new();
        for (visit, member) in self.usable(caller) {
            let Some(catalogue) = member.server().known_catalogue().await else { continue };
            let mut names = [Some(tool.clone()), bare(tool, member.name())].into_iter().flatten();
            if let Some(tool) = names.find(|name| self.sees(&visit, &catalogue, name)) {
                targets.push(ToolTarget { visit, member, tool });
            }
        }
        targets
    }

    /// Learns the tools of all servers that the caller may use and of which nothing is known. Ends when
    /// all have answered or had their time; soon after one with the tool is found. Returns those that
    /// are not known yet.
    ///
    /// # Errors
    /// The call was cancelled.
    pub(super) async fn learn(
        &self,
        caller: &Caller,
        tool: &ToolName,
        deadline: &Deadline,
    ) -> Result<Unreached, Refusal> {
        let mut asked = JoinSet::new();
        let mut answers: Vec<(ServerName, Option<NotYet>)> = Vec::new();
        for (_, member) in self.usable(caller) {
            if member.server().known_catalogue().await.is_some() {
                continue;
            }
            let wait = member.spec().timeout.min(LONGEST_WAIT);
            let wait = deadline.left_of_timeout().map_or(wait, |left| left.min(wait));
            let wait = (!self.waits_for_starts).then_some(wait);
            let (index, server) = (answers.len(), member.server().clone());
            answers.push((member.name().clone(), Some(NotYet::Starting)));
            asked.spawn(async move { (index, server.rendered_in_turn(wait).await.err()) });
        }
        let grace = clock::tokio_instant() + GRACE;
        let mut found = builtin::bare(tool).is_some();
        while let Some(joined) = tokio::select! {
            joined = asked.join_next() => joined,
            () = sleep_until(grace), if found => None,
            () = deadline.cancel.cancelled() => return Err(Refusal::Cancelled),
        } {
            let Ok((index, why)) = joined else { continue };
            found = found || why.is_none() && !self.servers_with(caller, tool).await.is_empty();
            if let Some((_, answer)) = answers.get_mut(index) {
                *answer = why;
            }
        }
        Ok(answers.into_iter().filter_map(|(server, why)| Some((server, why?))).collect())
    }

    pub(super) fn sees(&self, visit: &Visit, catalogue: &Arc<Catalogue>, tool: &ToolName) -> bool {
        catalogue.tool(tool).is_some() && self.may_call(visit, tool)
    }
}

/// A tool's name without its server's in front: `server__tool`, `server/tool`, `mcp__server__tool`.
pub(super) fn bare(tool: &ToolName, server: &ServerName) -> Option<ToolName> {
    let tool = tool.as_str();
    let tool = tool.strip_prefix("mcp__").unwrap_or(tool).strip_prefix(server.as_str())?;
    let bare = tool.strip_prefix("__").or_else(|| tool.strip_prefix('/'))?;
    (!bare.is_empty()).then(|| ToolName::from(bare))
}

#[cfg(test)]
mod tests {
    use super::bare;

    #[test]
    fn a_servers_name_in_front_is_taken_off() {
        for (tool, server, expected) in [
            ("git__log", "git", Some("log")),
            ("git/log", "git", Some("log")),
            ("mcp__git__log", "git", Some("log")),
            ("git__a__b", "git", Some("a__b")),
            ("git_log", "git", None),
            ("gitlog", "git", None),
            ("git__", "git", None),
            ("log", "git", None),
            ("mcp__log", "git", None),
        ] {
            let found = bare(&tool.into(), &server.into());
            assert_eq!(found, expected.map(Into::into), "{tool}");
        }
    }
}
