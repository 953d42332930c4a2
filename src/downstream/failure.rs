//! Why a call has no result.

use crate::{
    domain::refusal::{Refusal, RpcError},
    host::http::Reached,
};

/// A server that cannot be used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUnavailable {
    /// Why, in words for an agent.
    pub cause: String,
    /// When to try again, in milliseconds, if that is known.
    pub retry_after_ms: Option<u64>,
    /// Whether it wants credentials that it was not given.
    pub needs_login: bool,
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq)]
pub enum CallFailure {
    /// The server cannot be used; the call did not reach it.
    Unavailable(ServerUnavailable),
    /// The connection went before the server saw the call.
    NotSent,
    /// When its turn came, the call was not allowed to be sent any more.
    Barred(Refusal),
    /// The connection went after the server may have seen the call; the tool may have run.
    Lost,
    /// The server was reached and answered with something that is no answer; the tool may have run.
    Broken(ServerUnavailable),
    /// No answer in time; the call was withdrawn. The tool may have run.
    Timeout,
    /// The caller withdrew, and so did the gateway. The tool may have run.
    Cancelled,
    /// The caller withdrew before the call was sent.
    Withdrawn,
    /// The answer was longer than any message may be.
    TooLong,
    /// The answer could not be read.
    Unreadable,
    /// The server's own JSON-RPC error.
    Rpc(RpcError),
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) unavailable: ServerUnavailable,
    /// Whether the server may have acted on the request.
    pub(super) reached: Reached,
}

/// Why an answer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is longer than any message may be.
    TooLong,
    /// It is nested too deeply, or not JSON in UTF-8.
    Unreadable,
}

impl ServerUnavailable {
    /// For this reason, and for an unknown time.
    pub fn because(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), retry_after_ms: None, needs_login: false }
    }
}
