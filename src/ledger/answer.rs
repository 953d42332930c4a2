//! What a store answers.

use futures_util::future::BoxFuture;

/// A store's answer, in time. The step is on its way when the future is made, not when it is
/// awaited: a caller that does not need the answer may drop it.
pub type Answered<T> = BoxFuture<'static, Result<T, LedgerUnavailable>>;

/// The store cannot be used, or contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct LedgerUnavailable {
    /// Why, for the log. May name files.
    pub cause: String,
    /// Whether the step may have been applied. If false, nothing has changed.
    pub maybe_applied: bool,
}

impl From<LedgerUnavailable> for String {
    fn from(unavailable: LedgerUnavailable) -> Self {
        unavailable.cause
    }
}

impl LedgerUnavailable {
    /// A failure that left everything as it was.
    pub(super) fn unchanged(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), maybe_applied: false }
    }
}

/// Whether the records of a store are those that were written, all of them, in order. They are if
/// nothing is broken or incomplete.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verdict {
    /// How many records are as they were written, from the first that is kept.
    pub records: u64,
    /// The place of the first record that was altered, and how.
    pub broken: Option<(u64, String)>,
    /// Why records are missing at the end.
    pub incomplete: Option<String>,
}
