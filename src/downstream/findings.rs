//! What the gateway itself finds out about a request: that it was not sent, or that its answer cannot
//! be used.
//!
//! A finding never travels in a message, where a server could write the same. rmcp gets a placeholder
//! for it, which means nothing by itself; whoever made the request asks for the finding by its id.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rmcp::model::{ClientRequest, ErrorCode, RequestId};

use super::failure::Unavailable;
use crate::host::http::Reached;

/// The code of the error that rmcp gets in the place of a finding. Nothing looks at it.
pub(super) const PLACEHOLDER: ErrorCode = ErrorCode(i32::MIN);

/// What the gateway found out about a request.
#[derive(Clone, Debug)]
pub(super) enum Finding {
    /// There is no answer.
    Failed(Failed),
    /// There is one that cannot be used.
    Unusable(Unusable),
}

/// Why a request has no answer, where the transport knows better than that it went wrong.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) unavailable: Unavailable,
    /// Whether the server may have acted on the request.
    pub(super) reached: Reached,
}

/// Why an answer cannot be handed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is longer than any message may be.
    TooLong,
    /// It is nested beyond what is parsed, or not JSON in UTF-8.
    Unreadable,
}

impl From<Unusable> for Finding {
    fn from(why: Unusable) -> Self {
        Self::Unusable(why)
    }
}

/// The findings about requests of the handshake and for lists, which rmcp makes for us. Those about
/// calls are kept with their pending_calls.
#[derive(Debug, Default)]
pub(super) struct Findings(Mutex<HashMap<RequestId, Option<Finding>>>);

impl Findings {
    /// A request is about to be sent. Findings are kept only of those that somebody asks for, so no
    /// server can make them pile up.
    pub(super) fn expect(&self, id: &RequestId, request: &ClientRequest) {
        match request {
            ClientRequest::InitializeRequest(_) | ClientRequest::DiscoverRequest(_) => {
                let mut findings = self.lock();
                // Of a handshake only the last request counts.
                findings.clear();
                findings.insert(id.clone(), None);
            }
            ClientRequest::ListToolsRequest(_) => {
                self.lock().insert(id.clone(), None);
            }
            _ => {}
        }
    }

    /// Keeps a finding; of several about one request the first.
    pub(super) fn note(&self, id: &RequestId, finding: Finding) {
        if let Some(kept) = self.lock().get_mut(id) {
            kept.get_or_insert(finding);
        }
    }

    /// The finding about this request, which is read once.
    pub(super) fn take(&self, id: &RequestId) -> Option<Finding> {
        self.lock().remove(id).flatten()
    }

    /// What was found out about the last request of the handshake.
    pub(super) fn of_handshake(&self) -> Option<Finding> {
        self.lock().drain().find_map(|(_, finding)| finding)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RequestId, Option<Finding>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
