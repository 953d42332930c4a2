//! A call as a client made it, and the way in which it came.

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::facade;
use crate::{domain::json::RawJson, downstream::ClientContext};

/// A `tools/call` as the client made it.
#[derive(Debug)]
pub struct CallRequest {
    /// The tool: one of the three, or a server's own, called directly.
    pub tool: String,
    /// Its arguments: an object.
    pub arguments: RawJson,
    /// Its `_meta`, without what belongs to the client's hop.
    pub meta: Map<String, Value>,
    /// The credential that the call shows (`_meta.token`).
    pub credential: Option<SecretString>,
    /// What the listener grants to a call that shows no credential.
    pub granted: Granted,
    /// The way back to the client.
    pub client: ClientContext,
}

/// What a listener grants to calls that show no credential of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The credential of this process (`TOLLGATE_TOKEN`): for the client that started it, on stdio.
    ProcessCredential,
    /// Nothing: anyone may be at the other end.
    Nothing,
}

/// The ways in which a call comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryPoint {
    ListServers,
    GetServerTools,
    ExecuteTool,
    /// The debug tool `get_gateway_status`.
    Status,
    /// A `tools/call` with the name of a server's own tool.
    Direct,
    /// A JSON-RPC method `tollgate/…`, which stands for a tool of the built-in server.
    Method,
}

impl EntryPoint {
    /// The way in of a `tools/call`.
    pub(super) fn of_tool(tool: &str, debug: bool) -> Self {
        match tool {
            facade::LIST_SERVERS => Self::ListServers,
            facade::GET_SERVER_TOOLS => Self::GetServerTools,
            facade::EXECUTE_TOOL => Self::ExecuteTool,
            facade::GET_GATEWAY_STATUS if debug => Self::Status,
            _ => Self::Direct,
        }
    }

    /// Whether it only looks up what there is.
    pub(super) fn is_look_up(self) -> bool {
        matches!(self, Self::ListServers | Self::GetServerTools)
    }
}
