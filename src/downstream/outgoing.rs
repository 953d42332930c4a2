//! A call on its way to a server.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::{
    client_channel::ClientChannel,
    failure::{CallFailure, ServerUnavailable},
};
use crate::{
    domain::{call::ToolName, json::RawJson},
    host::clock,
};

/// A call as it is forwarded.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Which tool.
    pub tool: ToolName,
    /// Its arguments: an object.
    pub arguments: RawJson,
    /// The call's `_meta`, without what belongs to the client's hop.
    pub meta: Map<String, Value>,
    /// The way back to the client.
    pub client: ClientContext,
    /// Bounds the waiting for a start and for the answer, each by itself.
    pub timeout: Duration,
    /// When the client waits no longer: bounds the waiting for both together.
    pub until: Option<Instant>,
}

impl Outgoing {
    /// The time that is left until `end` and until the client waits no longer.
    ///
    /// # Errors
    /// None is left: a call that is sent now would run, and no one would hear of it.
    pub(super) fn left_until(&self, end: Instant) -> Result<Duration, CallFailure> {
        let end = self.until.map_or(end, |until| until.min(end));
        let left = end.saturating_duration_since(clock::tokio_instant());
        if left.is_zero() {
            let why = "the time of the call was over before it was sent".to_owned();
            return Err(CallFailure::Unavailable(ServerUnavailable::because(why)));
        }
        Ok(left)
    }
}

/// What a server may need of the client whose call it works on.
#[derive(Clone, Debug)]
pub struct ClientContext {
    /// When the call was read, as a number that grows from call to call.
    pub arrival: u64,
    /// For progress, and for questions in the versions with a handshake.
    pub channel: ClientChannel,
    /// The elicitation capability that a client of the stateless version declared.
    pub elicitation: Option<Value>,
    /// In the stateless version: the answers to what the server asked when this call was made
    /// before, as they came (`inputResponses`).
    pub answers: Option<Value>,
    /// The server's `requestState` of that earlier attempt, as it came.
    pub state: Option<String>,
}

impl ClientContext {
    /// No client: nothing is passed on, and nothing can be asked.
    pub fn absent() -> Self {
        Self {
            arrival: 0,
            channel: ClientChannel::disconnected(),
            elicitation: None,
            answers: None,
            state: None,
        }
    }
}
