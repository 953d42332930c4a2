//! A call on its way through the gateway: what every step of it may need.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{deadline::Deadline, journal::CallRecord, snapshot::Snapshot};
use crate::{domain::caller::Caller, downstream::ClientContext};

/// A call whose caller is identified.
pub(super) struct CallContext<'a> {
    /// The settings and servers that the call works on to its end.
    pub(super) snapshot: &'a Arc<Snapshot>,
    pub(super) caller: Caller,
    /// What the record of the call says so far.
    pub(super) record: &'a mut CallRecord,
    pub(super) deadline: Deadline,
    /// The call's `_meta`, without what belongs to the client's hop.
    pub(super) meta: Map<String, Value>,
    /// The way back to the client.
    pub(super) client: ClientContext,
}
