//! A search over all servers (`get_server_tools` with server `*`). Servers that are up, or whose tools
//! are kept from earlier, answer at once, so one that hangs costs the others nothing.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::Directory;
use crate::{
    domain::{
        caller::Caller, policy::Visit, redact::Redactor, refusal::Refusal,
        rendered::RenderedCatalog,
    },
    downstream::{LONGEST_START, NotYet, Status},
    gateway::{deadline::Deadline, refusals::unavailable},
};

/// How long a search waits for a server that is not up, counted from when its start was first asked
/// for.
const SEARCH_TIME: Duration = Duration::from_secs(5);

/// At most this many servers are named in a note, and this many characters said of each.
const MOST_NAMED: usize = 30;
const LONGEST_REASON: usize = 160;

/// The tools of one server, or of all.
pub(in crate::gateway) struct FoundTools {
    pub(in crate::gateway) catalogues: Vec<(Visit, Arc<RenderedCatalog>)>,
    pub(in crate::gateway) note: Option<String>,
    /// Whether all servers were searched, so that names begin with the server's.
    pub(in crate::gateway) everywhere: bool,
}

impl Directory {
    /// The tools of one server, which is started if nothing is known of it.
    pub(in crate::gateway) async fn look_up(
        &self,
        caller: &Caller,
        name: &str,
        deadline: &Deadline,
    ) -> Result<FoundTools, Refusal> {
        let (visit, member) = self.visit(caller, name)?;
        let server = member.server();
        // A command of the shell would end the start.
        let wait = member.spec().timeout;
        let wait = if self.waits_for_starts { LONGEST_START + wait } else { wait };
        let rendered = deadline
            .unless_cancelled(server.kept_or_rendered(wait, !self.waits_for_starts))
            .await?;
        let rendered = rendered.map_err(|cause| unavailable(server.name(), cause))?;
        let note = matches!(server.status(), Status::Failed { .. })
            .then(|| "as last seen; the server does not start now".to_owned());
        Ok(FoundTools { catalogues: vec![(visit, rendered)], note, everywhere: false })
    }

    /// All servers that the caller may use, in the order of the settings. A command of the shell waits
    /// until each is up or cannot be used.
    pub(in crate::gateway) async fn search(
        &self,
        caller: &Caller,
        deadline: &Deadline,
    ) -> Result<FoundTools, Refusal> {
        let wait = (!self.waits_for_starts).then_some(SEARCH_TIME);
        let mut asked: JoinSet<_> = JoinSet::new();
        let mut found = Vec::new();
        for (visit, member) in self.usable(caller) {
            let (index, server) = (found.len(), member.server().clone());
            found.push((visit, Err(NotYet::Starting)));
            asked.spawn(async move { (index, server.rendered_in_turn(wait).await) });
        }
        while let Some(joined) = deadline.unless_cancelled(asked.join_next()).await? {
            let Ok((index, rendered)) = joined else { continue };
            if let Some((_, place)) = found.get_mut(index) {
                *place = rendered;
            }
        }
        let note = note(&found, &self.settings.redactor);
        let known = found.into_iter().filter_map(|(visit, rendered)| Some((visit, rendered.ok()?)));
        Ok(FoundTools { catalogues: known.collect(), note, everywhere: true })
    }
}

type Sought = (Visit, Result<Arc<RenderedCatalog>, NotYet>);

/// Which servers are not in the answer, and why.
fn note(found: &[Sought], redactor: &Redactor) -> Option<String> {
    let missing = found.iter().filter_map(|(visit, rendered)| match rendered {
        Ok(_) => None,
        Err(why) => Some((visit.server().as_str(), why)),
    });
    let (mut starting, mut unavailable) = (Vec::new(), Vec::new());
    for (server, why) in missing {
        match why {
            NotYet::Starting => starting.push(server.to_owned()),
            NotYet::Unavailable(unavailable_because) => {
                let reason = redactor.redact(&unavailable_because.cause);
                let reason: String = reason.chars().take(LONGEST_REASON).collect();
                unavailable.push(format!("{server} ({reason})"));
            }
        }
    }
    let parts = [("starting, ask again", starting), ("unavailable", unavailable)];
    let parts = parts.into_iter().filter(|(_, servers)| !servers.is_empty());
    let parts: Vec<String> =
        parts.map(|(what, servers)| format!("{what}: {}", listed(servers))).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn listed(mut servers: Vec<String>) -> String {
    let more = servers.len().saturating_sub(MOST_NAMED);
    servers.truncate(MOST_NAMED);
    if more > 0 {
        servers.push(format!("{more} more"));
    }
    servers.join(", ")
}
