//! The server `gateway`, which is built in: free of charge, and open to every agent unless its rules
//! deny it by name.

use serde_json::{Map, Value, json};

use super::{Answer, Snapshot, text_result, till::Undeclared};
use crate::{
    domain::{
        call::{Caller, ServerName, ToolName},
        ledger::{Balance, declare::account_of},
        period::timestamp,
        policy::Denied,
        refusal::{Refusal, RpcError},
    },
    store,
};

/// The name of the built-in server.
pub(super) const SERVER: &str = ServerName::BUILT_IN;

const PING: &str = "ping";
const BUDGET: &str = "budget";

/// The built-in tool of that bare name.
pub(super) fn bare(tool: &ToolName) -> Option<ToolName> {
    [PING, BUDGET].contains(&tool.as_str()).then(|| tool.clone())
}

/// The built-in tool that a name with the server's in front means.
pub(super) fn qualified(tool: &ToolName) -> Option<ToolName> {
    let rest = tool.as_str().strip_prefix(SERVER)?;
    rest.strip_prefix("__").or_else(|| rest.strip_prefix('/')).map(ToolName::from)
}

impl Snapshot {
    /// Answers a call of a built-in tool.
    pub(super) async fn builtin(
        &self,
        caller: &Caller,
        tool: &ToolName,
        args: Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        self.open_to(caller, tool)?;
        let answer = match tool.as_str() {
            PING => json!({"ok": true}),
            BUDGET => self.budget(caller).await?,
            _ => return Err(unknown(tool)),
        };
        if let Some(name) = args.keys().next() {
            let message = format!("{SERVER}/{tool} takes no arguments, not `{name}`");
            return Err(Refusal::arguments(message));
        }
        Ok(Answer::Result(text_result(&answer.to_string())))
    }

    /// Whether rules deny a built-in tool by name.
    fn open_to(&self, caller: &Caller, tool: &ToolName) -> Result<(), Refusal> {
        let rules = &self.settings.rules;
        rules.builtin(caller, &SERVER.into(), tool).map_err(|Denied { rule, subject }| {
            let what = format!("tool `{tool}` on server `{SERVER}`");
            match rules.explain_denials {
                true => Refusal::Denied { what, subject, rule },
                false => unknown(tool),
            }
        })
    }

    /// The same as a JSON-RPC method, denied where the tool is; `agent_id` may say who asks.
    pub(super) async fn budget_method(&self, params: Value) -> Result<Value, RpcError> {
        let agent = match params.get("agent_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(agent)) => Some(agent.as_str()),
            Some(_) => {
                let refusal = Refusal::arguments("`agent_id` must be a string");
                return Err(refusal.to_rpc_error());
            }
        };
        let budget = async {
            let caller = self.identify(agent)?;
            self.open_to(&caller, &BUDGET.into())?;
            self.budget(&caller).await
        };
        budget.await.map_err(|refusal: Refusal| self.masked(refusal).to_rpc_error())
    }

    /// What a caller may still spend.
    pub(super) async fn budget(&self, caller: &Caller) -> Result<Value, Refusal> {
        let unavailable = |cause: String| {
            tracing::error!("a balance cannot be read: {cause}");
            Refusal::LedgerUnavailable
        };
        let declared = self.terms.declare(&self.till).await;
        declared.map_err(|undeclared: Undeclared| unavailable(undeclared.to_string()))?;
        let account = account_of(&self.settings.budgeting, &self.settings.rules, caller.agent());
        let read = self.till.ledger.read(account).await;
        let balance = read.map_err(|cause: store::Unavailable| unavailable(cause.to_string()))?;
        let Some(balance) = balance else {
            return Err(unavailable("the account is missing".to_owned()));
        };
        Ok(budget_json(&balance))
    }
}

fn unknown(tool: &ToolName) -> Refusal {
    Refusal::ToolNotFound {
        server: ServerName::from(SERVER),
        tool: tool.clone(),
        near: vec![PING.to_owned(), BUDGET.to_owned()],
    }
}

/// The answer of `budget`, to the tool and to the methods of that name.
fn budget_json(balance: &Balance) -> Value {
    let mut answer = json!({
        "tokenId": null,
        "budgetId": balance.name,
        "limit": balance.limit,
        "remaining": balance.remaining,
        "reserved": balance.reserved,
        "spent": balance.spent,
        "period": balance.period,
    });
    if let (Value::Object(answer), Some(at)) = (&mut answer, balance.resets_at) {
        answer.insert("resets_at".into(), timestamp(at).into());
    }
    answer
}
