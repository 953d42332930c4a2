//! Why a call did not reach its tool, in words that an agent can act on.
//!
//! The wire form is one line of compact JSON, `{"error":{"code","message","rule"?,"hint"?,…}}`.
//! A refusal never shows another agent's existence, a secret, or a path of the host.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    call::{ServerName, ToolName},
    credits::Credits,
    identity::Unidentified,
    ledger::Shortage,
    period::timestamp,
    policy::{Rule, Subject},
    redact::Redactor,
};

/// The JSON-RPC code of a refusal by budget.
pub const BUDGET_EXHAUSTED: i32 = -32000;

/// Under this name in `_meta` a refusal carries its code.
pub const MARK: &str = "tollgate/refusal";

/// How the names in `_meta` begin that are the gateway's alone; what a server writes under them is
/// taken out.
pub const RESERVED: &str = "tollgate/";

/// An unknown tool is quoted by at most this many characters.
const LONGEST_QUOTED: usize = 64;

/// A refusal at tool level.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The caller could not be identified.
    #[error("{0}")]
    Unidentified(#[from] Unidentified),
    /// There is no such server, or the caller may not know of it.
    #[error("server `{server}` is not configured here")]
    ServerNotFound {
        /// The name that was asked for.
        server: String,
        /// Names like it that the caller may use.
        near: Vec<String>,
    },
    /// A rule refuses.
    #[error("{what} is not allowed by policy ({})", rule.says)]
    Denied {
        /// The server, or the tool and its server, in words.
        what: String,
        /// Whether the server is refused, or the tool.
        subject: Subject,
        /// The rule that decided.
        rule: Rule,
    },
    /// The server cannot be reached now.
    #[error("server `{server}` is unavailable: {cause}")]
    Unavailable {
        /// Which server.
        server: ServerName,
        /// Why, fit for an agent's eyes.
        cause: String,
        /// When to try again, in milliseconds, if that is known.
        retry_after_ms: Option<u64>,
    },
    /// The caller shows no credential, or not one that is good here.
    #[error("{0}")]
    Unauthenticated(String),
    /// The handle stands for no delegation that the caller may use.
    #[error(
        "`agent_id` is the handle of a delegation that is not there, that has ended, or that is not yours to use"
    )]
    HandleNotFound,
    /// Credits cannot be delegated, or a delegation not be revoked.
    #[error("{reason}")]
    Delegation {
        /// Why.
        reason: String,
        /// What the account that was to give has left, where that is why.
        shortage: Option<Shortage>,
    },
    /// The server wants credentials that the gateway does not have.
    #[error("server `{server}` cannot be used without credentials: {cause}")]
    AuthRequired {
        /// Which server.
        server: ServerName,
        /// Why, fit for an agent's eyes.
        cause: String,
    },
    /// The server has no such tool, or the caller may not know of it.
    #[error("server `{server}` has no tool `{tool}`")]
    ToolNotFound {
        /// Which server.
        server: ServerName,
        /// The name that was asked for.
        tool: ToolName,
        /// Names like it that the caller may use.
        near: Vec<String>,
    },
    /// A call by a tool's own name, which no server has.
    #[error(
        "unknown tool `{}`; the tools here are list_servers, get_server_tools and execute_tool{unreached}",
        tool.as_str().chars().take(LONGEST_QUOTED).collect::<String>()
    )]
    UnknownTool {
        /// The name that was asked for.
        tool: ToolName,
        /// The servers that may have it all the same, in words; empty if there are none.
        unreached: String,
    },
    /// The server did not answer in time; the tool may have run.
    #[error(
        "tool `{tool}` on server `{server}` did not answer within {after_ms} ms; it may have run"
    )]
    Timeout {
        /// Which server.
        server: ServerName,
        /// Which tool.
        tool: ToolName,
        /// The time it was given, in milliseconds.
        after_ms: u64,
    },
    /// The arguments are not what the tool takes.
    #[error("{message}")]
    InvalidArguments {
        /// The faults, each with its place.
        message: String,
        /// What the tool takes.
        signature: Option<String>,
    },
    /// The budget does not cover the call.
    #[error("Budget exhausted: {}", exhausted(shortage, tool))]
    Budget {
        /// The account that is short, and of how much.
        shortage: Shortage,
        /// Which tool.
        tool: ToolName,
    },
    /// The store cannot be used, so no call is made.
    #[error("the gateway cannot account for calls now, so it makes none")]
    LedgerUnavailable,
    /// The client withdrew the call, or the gateway is stopping.
    #[error("the call was cancelled")]
    Cancelled,
}

impl Refusal {
    /// Arguments of one of the three tools that are wrong.
    pub fn arguments(message: impl Into<String>) -> Self {
        Self::InvalidArguments { message: message.into(), signature: None }
    }

    /// A caller who is not let in, and why.
    pub fn unauthenticated(why: impl ToString) -> Self {
        Self::Unauthenticated(why.to_string())
    }

    /// A delegation that fails for another reason than what is left.
    pub fn delegation(reason: impl ToString) -> Self {
        Self::Delegation { reason: reason.to_string(), shortage: None }
    }

    /// The code that programs go by.
    pub fn code(&self) -> &'static str {
        self.class().0
    }

    /// Whether policy, identity or budget refused, as opposed to something that failed.
    pub fn is_denial(&self) -> bool {
        self.class().2
    }

    /// Its code, the code of JSON-RPC, and whether policy, identity or budget refused.
    fn class(&self) -> (&'static str, i32, bool) {
        use Unidentified::{FallbackNotInRules, NoFallback};
        match self {
            Self::Unidentified(FallbackNotInRules(_)) => {
                ("FALLBACK_AGENT_NOT_IN_RULES", -32001, true)
            }
            Self::Unidentified(NoFallback) => ("NO_FALLBACK_CONFIGURED", -32001, true),
            Self::Unidentified(_) => ("INVALID_AGENT_ID", -32001, true),
            Self::Unauthenticated(_) => ("AUTH_REQUIRED", -32001, true),
            Self::HandleNotFound => ("HANDLE_NOT_FOUND", -32001, true),
            Self::Denied { .. } => ("DENIED_BY_POLICY", -32001, true),
            Self::Budget { .. } => ("BUDGET_EXHAUSTED", BUDGET_EXHAUSTED, true),
            Self::Delegation { .. } => ("DELEGATION_FAILED", BUDGET_EXHAUSTED, true),
            Self::Unavailable { .. } => ("SERVER_UNAVAILABLE", -32002, false),
            Self::AuthRequired { .. } => ("AUTH_REQUIRED", -32002, false),
            Self::Cancelled => ("CANCELLED", -32002, false),
            Self::Timeout { .. } => ("TIMEOUT", -32003, false),
            Self::LedgerUnavailable => ("LEDGER_UNAVAILABLE", -32603, false),
            // Records have always had this code for an unknown tool.
            Self::ServerNotFound { .. } | Self::UnknownTool { .. } => {
                ("SERVER_NOT_FOUND", -32602, false)
            }
            Self::ToolNotFound { .. } => ("TOOL_NOT_FOUND", -32602, false),
            Self::InvalidArguments { .. } => ("INVALID_ARGUMENTS", -32602, false),
        }
    }

    /// As the JSON-RPC error that answers a call by the tool's own name; its data is the wire form.
    pub fn to_rpc_error(&self) -> RpcError {
        let (word, code, _) = self.class();
        let (word, data) = match self {
            Self::Budget { shortage, tool } => (word, Some(shortage_data(shortage, tool))),
            Self::Delegation { shortage, .. } => (word, Some(delegation_data(shortage.as_ref()))),
            // Clients have always had this code for it, and records the other.
            Self::UnknownTool { .. } => ("TOOL_NOT_FOUND", None),
            _ => (word, Some(self.to_json())),
        };
        RpcError { code, message: self.to_string(), data }.marked(word)
    }

    /// Whether it is a JSON-RPC error even in answer to one of the three tools, as clients of credit
    /// gateways expect of budgets.
    pub fn is_rpc_error(&self) -> bool {
        matches!(self, Self::Budget { .. })
    }

    /// The refusal with secrets masked in the words of callers and servers that it quotes.
    pub fn masked(mut self, redactor: &Redactor) -> Self {
        let mask = |text: &mut String| {
            if let Cow::Owned(masked) = redactor.redact(text) {
                *text = masked;
            }
        };
        match &mut self {
            Self::Unavailable { cause, .. } | Self::AuthRequired { cause, .. } => mask(cause),
            Self::Unidentified(
                Unidentified::Unknown(claimed)
                | Unidentified::NotPinned { claimed, .. }
                | Unidentified::NotGranted(claimed),
            ) => mask(claimed),
            Self::ServerNotFound { server, .. } => mask(server),
            Self::ToolNotFound { tool, .. } | Self::UnknownTool { tool, .. } => {
                let mut name = tool.as_str().to_owned();
                mask(&mut name);
                *tool = ToolName::from(name.as_str());
            }
            Self::InvalidArguments { message, .. } | Self::Delegation { reason: message, .. } => {
                mask(message);
            }
            _ => {}
        }
        self
    }

    /// The wire form.
    pub fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), self.code().into());
        error.insert("message".into(), self.to_string().into());
        match self {
            Self::Denied { rule, .. } => {
                error.insert("rule".into(), rule.pointer.clone().into());
            }
            Self::Unavailable { retry_after_ms: Some(after), .. } => {
                error.insert("retry_after_ms".into(), (*after).into());
            }
            Self::InvalidArguments { signature: Some(signature), .. } => {
                error.insert("signature".into(), signature.clone().into());
            }
            _ => {}
        }
        if let Some(hint) = self.hint() {
            error.insert("hint".into(), hint.into());
        }
        json!({ "error": error })
    }

    /// What to do next.
    fn hint(&self) -> Option<String> {
        match self {
            Self::ServerNotFound { near, .. } if near.is_empty() => {
                Some("call list_servers for the servers you may use".into())
            }
            Self::ServerNotFound { near, .. } => Some(format!("did you mean {}?", one_of(near))),
            Self::ToolNotFound { near, server, .. } if near.is_empty() => {
                Some(format!("call get_server_tools with server `{server}` for its tools"))
            }
            Self::ToolNotFound { near, .. } => Some(format!("did you mean {}?", one_of(near))),
            Self::Denied { subject: Subject::Server, .. } => {
                Some("list_servers tells which servers you may use".into())
            }
            Self::Denied { subject: Subject::Tool, .. } => {
                Some("get_server_tools tells which tools you may call".into())
            }
            Self::Unauthenticated(_) => Some("tell the user; no other name or tool helps".into()),
            Self::HandleNotFound => {
                Some("ask whoever gave you this `agent_id`; do not go on under another".into())
            }
            Self::LedgerUnavailable => Some("tell the user that the gateway's log says why".into()),
            Self::AuthRequired { server, .. } => Some(format!(
                "tell the user to give server `{server}` an `Authorization` header in its settings"
            )),
            _ => None,
        }
    }
}

/// A refusal by budget in words.
fn exhausted(shortage: &Shortage, tool: &ToolName) -> String {
    let Shortage { account, remaining, cost, resets_at } = shortage;
    let words = format!(
        "`{tool}` costs {}, and {} in account `{account}`",
        cost.in_words(),
        remaining.left()
    );
    match resets_at {
        Some(at) => format!("{words}, which is counted anew at {}", timestamp(*at)),
        None => words,
    }
}

/// A refusal by budget as data for programs.
fn shortage_data(shortage: &Shortage, tool: &ToolName) -> Value {
    let nothing_left = shortage.remaining == Credits::ZERO;
    let mut data = json!({
        "error": if nothing_left { "budget_exhausted" } else { "insufficient_budget" },
        "remaining_credits": shortage.remaining,
        "cost_credits": shortage.cost,
        "tool": tool.as_str(),
        "account": shortage.account.name(),
    });
    if let (Value::Object(data), Some(at)) = (&mut data, shortage.resets_at) {
        data.insert("resets_at".into(), timestamp(at).into());
    }
    data
}

/// A failed delegation as data for programs.
fn delegation_data(shortage: Option<&Shortage>) -> Value {
    let mut data = json!({"error": "delegation_failed"});
    if let (Value::Object(data), Some(short)) = (&mut data, shortage) {
        data.insert("remaining_credits".into(), json!(short.remaining));
        data.insert("cost_credits".into(), json!(short.cost));
        data.insert("account".into(), short.account.name().into());
    }
    data
}

fn one_of(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// A downstream's own JSON-RPC error, which keeps its code, message and data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RpcError {
    /// The JSON-RPC error code.
    pub code: i32,
    /// The downstream's message.
    pub message: String,
    /// The downstream's data, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    /// The error as one of the gateway's own, with the mark of this code.
    pub fn marked(mut self, code: &str) -> Self {
        let mut data = match self.data.take() {
            Some(Value::Object(data)) => data,
            None => Map::new(),
            Some(other) => Map::from_iter([("data".to_owned(), other)]),
        };
        data.insert("_meta".into(), json!({ MARK: code }));
        self.data = Some(Value::Object(data));
        self
    }

    /// The error as a server's, which cannot speak in the gateway's name: without what its `_meta`
    /// has under the gateway's names.
    pub fn unmarked(mut self) -> Self {
        let meta = self.data.as_mut().and_then(|data| data.get_mut("_meta"));
        if let Some(Value::Object(meta)) = meta {
            meta.retain(|name, _| !name.starts_with(RESERVED));
        }
        self
    }
}
