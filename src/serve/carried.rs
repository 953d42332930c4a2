//! What travels with a request past rmcp's types, which do not keep it whole, or at a great cost. It
//! is in the extensions of the request.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::Value;

use crate::{domain::json::RawJson, gateway::ToolResult};

/// When a request was read: a number that grows from one to the next. The tasks that work on requests
/// may overtake each other.
#[derive(Clone, Copy, Default)]
pub(super) struct Came(pub(super) u64);

/// The `arguments` of a call.
#[derive(Clone)]
pub(super) struct RawArguments(pub(super) RawJson);

/// The `inputResponses` of a call.
#[derive(Clone)]
pub(super) struct RawAnswers(pub(super) Value);

/// Where the result of a request is put for the transport, which writes it as it is.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Vec<Bytes>>>>);

impl Slot {
    /// `stateless` says whether the client speaks a version without handshake.
    pub(super) fn put(&self, result: &ToolResult, stateless: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.pieces(stateless));
    }

    /// The result as text, in pieces.
    pub(super) fn take(&self) -> Option<Vec<Bytes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
