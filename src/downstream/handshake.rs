//! The MCP handshake: which version a server speaks.
//!
//! Servers of 2026-07-28 answer `server/discover`; older ones answer `initialize`, and some refuse it
//! if anything came before. So a server whose era is not known is asked for the newer one first, and
//! nothing is sent after that until it has answered, or has read the question and stays silent.

use std::{pin::pin, time::Duration};

use rmcp::model::{
    ClientCapabilities, ClientConfig, ClientJsonRpcMessage, ClientNotification, ClientRequest,
    DiscoverRequest, DiscoverRequestParams, DiscoverResult, ElicitationCapability, ErrorCode,
    Implementation, InitializeRequest, InitializeResult, InitializedNotification, ProtocolVersion,
    RequestMetaObject, ServerCapabilities,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    failure::ServerUnavailable,
    listing::{MOST_LISTED, cut},
    peer::Peer,
    pending::Reply,
    stdin_writer::StdinWriter,
};
use crate::{
    domain::{json::RawJson, refusal::RpcError, render::first_sentence, settings::Elicitation},
    host::{activity::Activity, clock},
};

/// The most characters that are kept of a server's description of itself.
pub(super) const LONGEST_ABOUT: usize = 160;

/// A server that has read `server/discover`, does nothing, and has not answered after this long is
/// taken for one that ignores what it does not know.
pub(super) const SILENCE: Duration = Duration::from_secs(10);

/// A server is taken for that even if it is busy.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Without work for this long, a server does nothing.
const STILL: Duration = Duration::from_secs(3);

const LOOK: Duration = Duration::from_millis(100);

/// Whether a server speaks a version with a handshake. Remembered, in this process and on disk, so that
/// an older server is not asked again what it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Era {
    Handshake,
    Stateless,
}

/// What the handshake settled.
#[derive(Debug)]
pub(super) struct Agreement {
    pub(super) version: ProtocolVersion,
    /// What the server says of itself, in one sentence.
    pub(super) about: Option<String>,
    /// Whether it reports that its tools have changed.
    pub(super) tells_of_changes: bool,
}

/// Why there is no session.
pub(super) struct NotOpened {
    pub(super) why: ServerUnavailable,
    /// The era to try instead in another session, if the server refused this one; None in it leaves
    /// the era to the server.
    pub(super) instead: Option<Option<Era>>,
}

impl From<ServerUnavailable> for NotOpened {
    fn from(why: ServerUnavailable) -> Self {
        Self { why, instead: None }
    }
}

fn because(cause: &str) -> NotOpened {
    ServerUnavailable::because(cause).into()
}

fn ended() -> NotOpened {
    because("it ended before it answered the MCP handshake; the gateway's log has its stderr")
}

fn refused(error: &RpcError) -> String {
    format!("it refused the MCP handshake: {}", cut(&error.message))
}

impl Agreement {
    pub(super) fn era(&self) -> Era {
        if self.version.has_initialize() { Era::Handshake } else { Era::Stateless }
    }

    /// What every request of the stateless version says of the gateway.
    pub(super) fn meta(&self, elicitation: Elicitation) -> Option<RequestMetaObject> {
        (self.era() == Era::Stateless).then(|| meta(self.version.clone(), elicitation))
    }

    /// The first sentence of the server's instructions, else its title, else its description.
    fn new(
        version: ProtocolVersion,
        capabilities: &ServerCapabilities,
        instructions: Option<&str>,
        server: Option<&Implementation>,
    ) -> Self {
        let said = [
            instructions,
            server.and_then(|server| server.title.as_deref()),
            server.and_then(|server| server.description.as_deref()),
        ];
        let mut said = said.into_iter().flatten().map(|text| first_sentence(text, LONGEST_ABOUT));
        let listens = capabilities.tools.as_ref().and_then(|tools| tools.list_changed);
        Self {
            tells_of_changes: version.has_initialize() || listens == Some(true),
            version,
            about: said.find(|sentence| !sentence.is_empty()),
        }
    }
}

/// Completes the handshake, in the era that the server is known to speak if it is. A server of an
/// unknown era is taken for an older one when `silence` ends.
pub(super) async fn agree(
    peer: &Peer,
    elicitation: Elicitation,
    known: Option<Era>,
    silence: impl Future<Output = ()>,
) -> Result<Agreement, NotOpened> {
    if known == Some(Era::Handshake) {
        return initialize(peer, elicitation, Some(None)).await;
    }
    let mut discovery = pin!(peer.request(discover(elicitation)));
    let reply = tokio::select! {
        reply = &mut discovery => Some(reply),
        () = silence, if known.is_none() => None,
    };
    if let Some(reply) = reply {
        let mut reply = reply.ok_or_else(ended)?;
        if let Reply::Error(error) = &reply
            && ErrorCode(error.code) == ErrorCode::UNSUPPORTED_PROTOCOL_VERSION
            && offers(error, Era::Stateless)
        {
            // It lists the version that it has just refused: it gets a second try.
            reply = peer.request(discover(elicitation)).await.ok_or_else(ended)?;
        }
        return match discovered(reply, known)? {
            Some(agreement) => Ok(agreement),
            None => initialize(peer, elicitation, None).await,
        };
    }
    // A server that answers the first question after all refuses the second, or goes on without it.
    let late = async {
        match discovery.await {
            Some(Reply::Result(result)) if result.member("supportedVersions").is_some() => {}
            _ => std::future::pending().await,
        }
    };
    let instead = Some(Some(Era::Stateless));
    tokio::select! {
        agreement = initialize(peer, elicitation, instead) => agreement,
        () = late => {
            let why = ServerUnavailable::because("it answered server/discover too late");
            Err(NotOpened { why, instead })
        }
    }
}

/// What the answer to `server/discover` tells; None from a server of the older era. Of the errors
/// only those that 2026-07-28 defines are of the newer one; older servers have all kinds of others.
fn discovered(reply: Reply, known: Option<Era>) -> Result<Option<Agreement>, NotOpened> {
    let unknown_version = || because("it speaks no MCP version that is known here");
    match reply {
        Reply::Result(result) => {
            let Some(result) = parsed::<DiscoverResult>(&result) else { return Ok(None) };
            let version = ProtocolVersion::V_2026_07_28;
            if !result.supported_versions.contains(&version) {
                return Err(unknown_version());
            }
            let server = result.server_info();
            let instructions = result.instructions.as_deref();
            let agreement =
                Agreement::new(version, &result.capabilities, instructions, server.as_ref());
            Ok(Some(agreement))
        }
        Reply::Error(error) => match ErrorCode(error.code) {
            ErrorCode::UNSUPPORTED_PROTOCOL_VERSION if offers(&error, Era::Handshake) => Ok(None),
            ErrorCode::UNSUPPORTED_PROTOCOL_VERSION => Err(unknown_version()),
            ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY | ErrorCode::HEADER_MISMATCH => {
                Err(because(&refused(&error)))
            }
            _ => Ok(None),
        },
        Reply::Failed(failed) if known.is_some() => Err(failed.unavailable.into()),
        Reply::Failed(_) | Reply::Unusable(_) => Ok(None),
    }
}

/// Whether a server that refuses a version lists one of an era among those it supports
/// (`UnsupportedProtocolVersionError` of 2026-07-28).
fn offers(refusal: &RpcError, era: Era) -> bool {
    let supported = refusal.data.as_ref().and_then(|data| data.get("supported")?.as_array());
    supported.into_iter().flatten().any(|version| {
        ProtocolVersion::KNOWN_VERSIONS.iter().any(|known| {
            version == known.as_str() && known.has_initialize() == (era == Era::Handshake)
        })
    })
}

/// The older handshake. `instead` is what to try if the server refuses it.
async fn initialize(
    peer: &Peer,
    elicitation: Elicitation,
    instead: Option<Option<Era>>,
) -> Result<Agreement, NotOpened> {
    let request = InitializeRequest::new(us(elicitation));
    let reply = peer.request(ClientRequest::InitializeRequest(request)).await.ok_or_else(ended)?;
    let cause = match reply {
        Reply::Result(result) => match parsed::<InitializeResult>(&result) {
            Some(result) => {
                let done =
                    ClientNotification::InitializedNotification(InitializedNotification::default());
                let sent = peer.send(ClientJsonRpcMessage::notification(done)).await;
                sent.map_err(|_| ended())?;
                return Ok(Agreement::new(
                    result.protocol_version,
                    &result.capabilities,
                    result.instructions.as_deref(),
                    Some(&result.server_info),
                ));
            }
            None => "it did not answer the MCP handshake as a server does".to_owned(),
        },
        Reply::Error(error) => refused(&error),
        Reply::Failed(failed) => return Err(failed.unavailable.into()),
        Reply::Unusable(_) => {
            return Err(because("its answer to the MCP handshake is too long, or cannot be read"));
        }
    };
    Err(NotOpened { why: ServerUnavailable::because(cause), instead })
}

fn parsed<T: DeserializeOwned>(result: &RawJson) -> Option<T> {
    serde_json::from_value(result.tree(MOST_LISTED).ok()?).ok()
}

fn us(elicitation: Elicitation) -> ClientConfig {
    let us = Implementation::new("tollgate", env!("CARGO_PKG_VERSION"));
    ClientConfig::new(capabilities(elicitation), us)
        .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
}

fn capabilities(elicitation: Elicitation) -> ClientCapabilities {
    let mut capabilities = ClientCapabilities::default();
    if elicitation == Elicitation::Allow {
        capabilities.elicitation = Some(ElicitationCapability::default());
    }
    capabilities
}

fn discover(elicitation: Elicitation) -> ClientRequest {
    let mut request = DiscoverRequest::new(DiscoverRequestParams {});
    request.extensions.insert(meta(ProtocolVersion::V_2026_07_28, elicitation));
    ClientRequest::DiscoverRequest(request)
}

fn meta(version: ProtocolVersion, elicitation: Elicitation) -> RequestMetaObject {
    let ClientConfig { client_info, capabilities, .. } = us(elicitation);
    RequestMetaObject::with_client_context(version, client_info, capabilities)
}

/// Returns when a child has read all that was sent, and has then been silent for long.
pub(super) async fn silence(writer: &StdinWriter, activity: &Activity) {
    let begun = clock::tokio_instant();
    // Where that cannot be seen, the longest silence tells.
    while !writer.is_read().unwrap_or_else(|| begun.elapsed() >= LONGEST_SILENCE) {
        tokio::time::sleep(LOOK).await;
    }
    let read = clock::tokio_instant();
    loop {
        tokio::time::sleep(LOOK).await;
        let silent = read.elapsed();
        let still = silent >= SILENCE && activity.idle() >= STILL;
        if still || silent >= LONGEST_SILENCE {
            return;
        }
    }
}
