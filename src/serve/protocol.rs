//! Which version of MCP a request speaks: as its client negotiated in the handshake, or, since
//! 2026-07-28, as the request itself says in its `_meta`.

use rmcp::model::{ClientCapabilities, ProtocolVersion};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::message::{INVALID_PARAMS, error};
use crate::domain::refusal::RpcError;

const UNSUPPORTED_PROTOCOL_VERSION: i32 = -32022;

const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// Every version that is served, oldest first.
pub(super) const VERSIONS: &[ProtocolVersion] = ProtocolVersion::KNOWN_VERSIONS;

/// How a session began.
#[derive(Debug, Default)]
pub(super) enum Lifecycle {
    /// It has not: no handshake, and no request that speaks for itself.
    #[default]
    New,
    /// With `initialize`.
    Handshake { version: ProtocolVersion, elicitation: Option<Value> },
    /// With a request that spoke for itself, as all others must from then on.
    Stateless,
}

/// What one request speaks.
#[derive(Debug, Default)]
pub(super) struct Protocol {
    /// Whether its version has no handshake.
    pub(super) stateless: bool,
    /// Whether it had to say in its `_meta` what it speaks.
    pub(super) self_contained: bool,
    /// The elicitation capability that its client declared.
    pub(super) elicitation: Option<Value>,
}

impl Lifecycle {
    /// Begins a session with the handshake; returns the version that it agrees on.
    pub(super) fn handshake(
        &mut self,
        requested: ProtocolVersion,
        capabilities: ClientCapabilities,
    ) -> ProtocolVersion {
        let known = requested.has_initialize() && VERSIONS.contains(&requested);
        let version = if known { requested } else { ProtocolVersion::LATEST_WITH_INITIALIZE };
        // Once a request has spoken for itself, all others have to.
        if !matches!(self, Self::Stateless) {
            let elicitation = elicitation_of(capabilities);
            *self = Self::Handshake { version: version.clone(), elicitation };
        }
        version
    }

    /// What a request of this method and with this `_meta` speaks. Other than a ping or a probe of the
    /// versions, it begins a session that has not begun.
    ///
    /// # Errors
    /// A version that is not served, or `_meta` that lacks what the request has to say.
    pub(super) fn protocol_of(
        &mut self,
        method: &str,
        meta: &Map<String, Value>,
    ) -> Result<Protocol, RpcError> {
        let is_new = matches!(self, Self::New);
        if is_new && method == "ping" {
            return Ok(Protocol::default());
        }
        let is_probe = method == "server/discover";
        let protocol = self.read(meta, is_probe)?;
        if is_new && !is_probe {
            *self = Self::Stateless;
        }
        Ok(protocol)
    }

    fn read(
        &self,
        meta: &Map<String, Value>,
        speaks_for_itself: bool,
    ) -> Result<Protocol, RpcError> {
        let named: Option<ProtocolVersion> = decoded(meta, PROTOCOL_VERSION);
        if let Some(named) = named.as_ref().filter(|named| !VERSIONS.contains(named)) {
            return Err(unsupported_version(named));
        }
        let capabilities: Option<ClientCapabilities> = decoded(meta, CLIENT_CAPABILITIES);
        let self_contained = speaks_for_itself
            || !matches!(self, Self::Handshake { .. })
            || named.as_ref().is_some_and(|named| !named.has_initialize());
        if self_contained && (named.is_none() || capabilities.is_none()) {
            return Err(missing(named.is_none(), capabilities.is_none()));
        }
        let declared = capabilities.map(elicitation_of);
        let (version, elicitation) = match self {
            Self::Handshake { version, elicitation } => {
                (named.unwrap_or_else(|| version.clone()), declared.unwrap_or(elicitation.clone()))
            }
            Self::New | Self::Stateless => (named.unwrap_or_default(), declared.flatten()),
        };
        Ok(Protocol { stateless: !version.has_initialize(), self_contained, elicitation })
    }
}

fn decoded<T: DeserializeOwned>(meta: &Map<String, Value>, key: &str) -> Option<T> {
    serde_json::from_value(meta.get(key)?.clone()).ok()
}

/// What the client can be asked, as it declared it.
fn elicitation_of(capabilities: ClientCapabilities) -> Option<Value> {
    serde_json::to_value(capabilities.elicitation?).ok()
}

fn unsupported_version(requested: &ProtocolVersion) -> RpcError {
    let data = json!({"requested": requested, "supported": VERSIONS});
    let message = "Unsupported protocol version".to_owned();
    RpcError { code: UNSUPPORTED_PROTOCOL_VERSION, message, data: Some(data) }
}

fn missing(version: bool, capabilities: bool) -> RpcError {
    let missing = [(PROTOCOL_VERSION, version), (CLIENT_CAPABILITIES, capabilities)];
    let missing = missing.into_iter().filter(|(_, missing)| *missing).map(|(key, _)| key);
    let missing = missing.collect::<Vec<_>>().join(", ");
    let message = format!("request _meta is missing or has malformed required fields: {missing}");
    error(INVALID_PARAMS, message)
}
