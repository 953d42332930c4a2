//! A call on its way to a server.

use serde_json::{Map, Value};

use super::client_channel::ClientChannel;
use crate::domain::{call::ToolName, json::RawJson};

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
}

/// What a server may need of the client whose call it works on.
#[derive(Clone, Debug)]
pub struct ClientContext {
    /// When the call was read, as a number that grows from call to call.
    pub came: u64,
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
            came: 0,
            channel: ClientChannel::disconnected(),
            elicitation: None,
            answers: None,
            state: None,
        }
    }
}
