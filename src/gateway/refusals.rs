//! How causes become refusals and errors.

use std::fmt::Display;

use crate::{
    domain::{
        call::ServerName,
        policy::Denied,
        refusal::{Refusal, RpcError},
    },
    downstream, ledger,
};

/// Calls that cannot be identified or accounted for are refused; the log says why.
impl From<ledger::LedgerUnavailable> for Refusal {
    fn from(cause: ledger::LedgerUnavailable) -> Self {
        ledger_unavailable(cause)
    }
}

pub(super) fn ledger_unavailable(cause: impl Display) -> Refusal {
    tracing::error!("a call is refused, as the ledger or its key cannot be used: {cause}");
    Refusal::LedgerUnavailable
}

/// A token whose account was closed while it was used.
pub(super) fn token_ended() -> Refusal {
    Refusal::unauthenticated(
        "the token or handle was revoked or has expired, or it has more ceilings than accounts can be nested",
    )
}

pub(super) fn denied(what: String, Denied { rule, subject }: Denied) -> Refusal {
    Refusal::Denied { what, subject, rule }
}

pub(super) fn unavailable(server: &ServerName, cause: downstream::ServerUnavailable) -> Refusal {
    let (server, retry_after_ms) = (server.clone(), cause.retry_after_ms);
    if cause.needs_login {
        Refusal::AuthRequired { server, cause: cause.cause }
    } else {
        Refusal::Unavailable { server, cause: cause.cause, retry_after_ms }
    }
}

pub(super) fn because(server: &ServerName, cause: &str) -> Refusal {
    unavailable(server, downstream::ServerUnavailable::because(cause))
}

pub(super) fn internal_error() -> RpcError {
    const INTERNAL_ERROR: i32 = -32603;
    let message = "the gateway failed on this call; its log says more";
    RpcError { code: INTERNAL_ERROR, message: message.into(), data: None }.marked("INTERNAL_ERROR")
}
