//! What we answer when a server asks something of us.

use std::sync::Arc;

use rmcp::{
    ClientHandler, RoleClient,
    model::{
        ClientCapabilities, ClientConfig, CustomRequest, CustomResult, ElicitationCapability,
        ErrorCode, ErrorData, Implementation, ProtocolVersion,
    },
    service::{InboundStreamOrigin, RequestContext},
};
use serde_json::{Value, json};

use super::wire::{QUESTION, Wire};
use crate::domain::settings::Elicitation;

/// The client side of a connection. Roots are answered with none and sampling is refused. Questions
/// to the user go to the client whose call is in flight, if the settings allow them.
#[derive(Clone, Debug)]
pub(super) struct Handler {
    pub(super) wire: Arc<Wire>,
    pub(super) elicitation: Elicitation,
}

impl Handler {
    /// The client's answer to a question. Where nobody can be asked, the question counts as
    /// dismissed; where nobody may be, as declined.
    async fn ask(&self, params: Value, origin: Option<&InboundStreamOrigin>) -> AskOutcome {
        if self.elicitation == Elicitation::Deny {
            return Ok(json!({"action": "decline"}));
        }
        let flight = match origin {
            Some(InboundStreamOrigin::OutboundRequest(call)) => self.wire.pending_calls.get(call),
            // Nothing tells whose call it belongs to, unless there is only one.
            _ => self.wire.pending_calls.only(),
        };
        let answer = match flight {
            Some(flight) => flight.ask(params).await,
            None => None,
        };
        match answer {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(error)) => {
                Err(ErrorData::new(ErrorCode(error.code), error.message, error.data))
            }
            None => Ok(json!({"action": "cancel"})),
        }
    }
}

type AskOutcome = Result<Value, ErrorData>;

impl ClientHandler for Handler {
    /// rmcp's default names a version that has no handshake; servers of the handshake era must be
    /// asked for the newest that has one.
    fn get_info(&self) -> ClientConfig {
        let us = Implementation::new("tollgate", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(capabilities(self.elicitation), us)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
    }

    async fn on_custom_request(
        &self,
        request: CustomRequest,
        context: RequestContext<RoleClient>,
    ) -> Result<CustomResult, ErrorData> {
        if request.method != QUESTION {
            return Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None));
        }
        let origin = context.extensions.get::<InboundStreamOrigin>();
        // A server that withdraws its question waits for no answer.
        tokio::select! {
            answer = self.ask(request.params.unwrap_or_default(), origin) => answer.map(CustomResult::new),
            () = context.ct.cancelled() => Ok(CustomResult::new(json!({"action": "cancel"}))),
        }
    }
}

fn capabilities(elicitation: Elicitation) -> ClientCapabilities {
    let mut capabilities = ClientCapabilities::default();
    if elicitation == Elicitation::Allow {
        capabilities.elicitation = Some(ElicitationCapability::default());
    }
    capabilities
}
