//! What a call's end means for the credits that were held for it.

use super::{budget::ChargeOn, credits::Credits, ledger::Finish, words::words};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// A result.
    Success,
    /// The tool's own `isError` result: it ran.
    ToolError,
    /// The server asks something before it goes on; the call will come again.
    Asked,
    /// The server refused the call as such (JSON-RPC −32601, −32602): the tool did not run.
    Declined,
    /// A JSON-RPC error of the server, or an answer that could not be read.
    ServerError,
    /// No answer in time.
    Timeout,
    /// The client withdrew the call after it was sent.
    Cancelled,
    /// The connection went before the answer.
    Lost,
    /// The call never left the gateway.
    NotSent,
}

words!(CallOutcome {
    Success = "success", ToolError = "tool_error", Asked = "asked", Declined = "declined",
    ServerError = "server_error", Timeout = "timeout", Cancelled = "cancelled", Lost = "lost",
    NotSent = "not_sent",
});

impl CallOutcome {
    /// How the hold ends. Where it is unknown whether the tool ran, the charge is
    /// flagged.
    pub fn finish(self, held: Credits, charge_on: &ChargeOn) -> Finish {
        let (charged, uncertain) = match self {
            Self::Success => (true, false),
            Self::ToolError => (charge_on.tool_error, false),
            Self::ServerError => (charge_on.server_error, false),
            Self::Timeout => (charge_on.timeout, true),
            Self::Cancelled => (charge_on.cancelled, true),
            Self::Lost => (charge_on.lost, true),
            Self::Asked | Self::Declined | Self::NotSent => (false, false),
        };
        match (charged, uncertain) {
            (true, true) => Finish::Uncertain,
            (true, false) => Finish::Post(held),
            (false, _) => Finish::Void,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CallOutcome, ChargeOn, Credits, Finish};

    #[test]
    fn calls_that_may_have_run_are_charged_by_default() {
        let five = Credits::new(5).unwrap();
        let never = ChargeOn {
            tool_error: false,
            server_error: false,
            timeout: false,
            cancelled: false,
            lost: false,
        };
        for (outcome, by_default, if_never) in [
            (CallOutcome::Success, Finish::Post(five), Finish::Post(five)),
            (CallOutcome::ToolError, Finish::Post(five), Finish::Void),
            (CallOutcome::ServerError, Finish::Post(five), Finish::Void),
            (CallOutcome::Timeout, Finish::Uncertain, Finish::Void),
            (CallOutcome::Cancelled, Finish::Uncertain, Finish::Void),
            (CallOutcome::Lost, Finish::Uncertain, Finish::Void),
            (CallOutcome::Asked, Finish::Void, Finish::Void),
            (CallOutcome::Declined, Finish::Void, Finish::Void),
            (CallOutcome::NotSent, Finish::Void, Finish::Void),
        ] {
            assert_eq!(outcome.finish(five, &ChargeOn::default()), by_default, "{outcome:?}");
            assert_eq!(outcome.finish(five, &never), if_never, "{outcome:?}");
        }
    }
}
