//! The server `gateway`, which is built in: free of charge, and open to every agent unless its rules
//! deny it by name.

use std::sync::{Arc, LazyLock};

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::{
    Answer, Granted, Snapshot,
    arguments::{Delegate, Nothing, Revoke, read, schema_of},
    billing::ended,
    discovery::Found,
    entry::Entry,
    fields::LONGEST_NAME,
    identify::Shown,
    text_result,
};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        catalog::{Catalogue, Checked, Tool},
        json::{MOST_VALUES, RawJson},
        ledger::Balance,
        near::near,
        period::timestamp,
        policy::Denied,
        refusal::{Refusal, RpcError},
        rendered::RenderedCatalog,
    },
    host::blocking,
};

/// The name of the built-in server. No other server can have it.
pub(super) const SERVER: &str = ServerName::BUILT_IN;

/// Its tools by name, as agents see them.
static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let tools = [
        (
            "budget",
            "What you may still spend: limit, remaining, reserved, spent.",
            schema_of::<Nothing>(),
        ),
        (
            "delegate",
            "Give part of your budget to a subagent. It passes the agent_id of the answer as its own agent_id in every call; it has your rights within scope. What it does not spend comes back when you revoke it or its time is over.",
            schema_of::<Delegate>(),
        ),
        (
            "delegations",
            "Your delegations that have not ended: what they were given, and what they have left.",
            schema_of::<Nothing>(),
        ),
        ("ping", "Whether the gateway answers.", schema_of::<Nothing>()),
        (
            "revoke",
            "End a delegation of yours and all below it; what is unspent comes back to you.",
            schema_of::<Revoke>(),
        ),
    ];
    let tools = tools.into_iter().filter_map(|(name, description, schema)| {
        let tool = json!({"name": name, "description": description, "inputSchema": schema});
        Tool::parse(tool).ok()
    });
    Arc::new(Catalogue::new(tools))
});

/// The built-in tool of that bare name.
pub(super) fn bare(tool: &ToolName) -> Option<ToolName> {
    CATALOGUE.tool(tool).map(|tool| tool.name().clone())
}

/// The built-in tool that a name with the server's in front means.
pub(super) fn qualified(tool: &ToolName) -> Option<ToolName> {
    let rest = tool.as_str().strip_prefix(SERVER)?;
    rest.strip_prefix("__").or_else(|| rest.strip_prefix('/')).map(ToolName::from)
}

/// The tool that a JSON-RPC method of the gateway's own stands for; the second prefix is what
/// clients of an older gateway know.
pub(crate) fn of_method(method: &str) -> Option<&'static str> {
    let tool = method.strip_prefix("tollgate/").or_else(|| method.strip_prefix("satgate/"))?;
    ["budget", "delegate", "delegations", "revoke"].into_iter().find(|known| *known == tool)
}

impl Snapshot {
    /// Answers a call of a built-in tool.
    pub(super) async fn builtin(
        &self,
        caller: &Caller,
        tool: &ToolName,
        args: &RawJson,
        entry: &mut Entry,
    ) -> Result<Answer, Refusal> {
        let args = args
            .tree(MOST_VALUES)
            .map_err(|cause| Refusal::arguments(format!("the arguments have {cause}")))?;
        let answer = self.builtin_value(caller, tool, args, entry).await?;
        Ok(Answer::Result(text_result(&answer.to_string()).into()))
    }

    async fn builtin_value(
        &self,
        caller: &Caller,
        tool: &ToolName,
        args: Value,
        entry: &mut Entry,
    ) -> Result<Value, Refusal> {
        entry.means(&SERVER.into(), tool);
        self.open_to(caller, tool)?;
        let Some(known) = CATALOGUE.tool(tool) else { return Err(self.unknown(caller, tool)) };
        short_enough(tool, &args)?;
        let args = checked(known, args).await?;
        match tool.as_str() {
            "budget" => self.budget(caller).await,
            "delegate" => self.delegate(caller, &read(args)?, entry).await,
            "revoke" => self.revoke(caller, &read(args)?, entry).await,
            "delegations" => self.delegations(caller).await,
            _ => Ok(json!({"ok": true})),
        }
    }

    /// What `get_server_tools` says of the built-in server.
    pub(super) async fn built_in(&self, caller: &Caller) -> Result<Found, Refusal> {
        let name = ServerName::from(SERVER);
        let visit = self.settings.rules.visit(caller, &name).map_err(|denied| {
            match self.settings.rules.explain_denials {
                true => refused(format!("server `{SERVER}`"), denied),
                false => Refusal::ServerNotFound { server: SERVER.to_owned(), near: Vec::new() },
            }
        })?;
        let encoding = self.settings.rules.encoding;
        let rendered =
            blocking(move || RenderedCatalog::new(&name, CATALOGUE.clone(), encoding, |_| None));
        Ok(Found {
            shelves: vec![(visit, Arc::new(rendered.await))],
            note: None,
            everywhere: false,
        })
    }

    /// Whether rules deny a built-in tool by name.
    fn open_to(&self, caller: &Caller, tool: &ToolName) -> Result<(), Refusal> {
        let rules = &self.settings.rules;
        rules.builtin(caller, &SERVER.into(), tool).map_err(|denied| match rules.explain_denials {
            true => refused(format!("tool `{tool}` on server `{SERVER}`"), denied),
            false => self.unknown(caller, tool),
        })
    }

    /// There is no such tool, or the caller may not know of it.
    fn unknown(&self, caller: &Caller, tool: &ToolName) -> Refusal {
        let server = ServerName::from(SERVER);
        let open = |name: &ToolName| self.settings.rules.builtin(caller, &server, name).is_ok();
        let visible = CATALOGUE.tools().iter().map(|tool| tool.name()).filter(|name| open(name));
        let visible: Vec<&str> = visible.map(ToolName::as_str).collect();
        let alike = near(tool.as_str(), visible.iter().copied());
        let near = if alike.is_empty() { visible } else { alike };
        let near = near.into_iter().map(str::to_owned).collect();
        Refusal::ToolNotFound { server, tool: tool.clone(), near }
    }

    /// A built-in tool as a JSON-RPC method, denied where the tool is; `agent_id` may say who asks.
    pub(super) async fn method(
        &self,
        tool: &str,
        params: Value,
        credential: Option<SecretString>,
        granted: Granted,
    ) -> Result<Value, RpcError> {
        let mut entry = self.new_entry();
        let answer = self.method_value(tool, params, credential, granted, &mut entry).await;
        self.note(entry, answer.as_ref().err().filter(|refusal| refusal.is_denial())).await;
        answer.map_err(|refusal: Refusal| self.masked(refusal).to_rpc_error())
    }

    async fn method_value(
        &self,
        tool: &str,
        params: Value,
        credential: Option<SecretString>,
        granted: Granted,
        entry: &mut Entry,
    ) -> Result<Value, Refusal> {
        let mut args = match params {
            Value::Object(params) => params,
            Value::Null => Map::new(),
            _ => return Err(Refusal::arguments("the params must be an object")),
        };
        args.shift_remove("_meta");
        let args_as_shown = RawJson::from(Value::Object(args.clone()));
        let shown = Shown::by(tool, &args_as_shown, credential.as_ref(), granted)?;
        entry.asks(Some(SERVER), Some(tool), shown.agent_id.as_deref());
        match args.shift_remove("agent_id") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(_) => return Err(Refusal::arguments("`agent_id` must be a string")),
        }
        let caller = self.identify(&shown, entry).await?;
        let args = Value::Object(args);
        self.keeps_its_credential(shown.credential.as_ref(), &[(&args).into()])?;
        self.builtin_value(&caller, &tool.into(), args, entry).await
    }

    /// What a caller may still spend.
    async fn budget(&self, caller: &Caller) -> Result<Value, Refusal> {
        let balance = self.balance(caller).await?;
        Ok(budget_json(&balance, caller))
    }

    /// The account that pays for a caller.
    pub(super) async fn balance(&self, caller: &Caller) -> Result<Balance, Refusal> {
        self.terms.declare(&self.billing).await.map_err(unreadable)?;
        let account = self.payable(caller).await.map_err(unreadable)?;
        let found = self.billing.ledger.balance(account).await.map_err(unreadable)?;
        match found {
            Some(balance) => Ok(balance),
            None if caller.has_account() => Err(ended()),
            None => Err(unreadable("the account is missing")),
        }
    }
}

/// The arguments of a built-in tool, once they fit. Its schema costs nothing, but they may; what is
/// too large to be checked is refused, as no server checks it after us.
async fn checked(tool: &Arc<Tool>, args: Value) -> Result<Value, Refusal> {
    let known = tool.clone();
    let check = move || {
        let checked = known.check(&args);
        (args, checked)
    };
    let (args, checked) = blocking(check).await;
    let message = match checked {
        Ok(Checked::Valid) => return Ok(args),
        Ok(Checked::Unchecked(_)) => "the arguments are too large".to_owned(),
        Err(message) => message,
    };
    Err(Refusal::InvalidArguments { message, signature: Some(tool.signature()) })
}

/// Refuses arguments of the built-in tools that are longer than any that is good.
fn short_enough(tool: &ToolName, args: &Value) -> Result<(), Refusal> {
    for (name, value) in args.as_object().into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        // A scope has a bound of its own.
        if name.len() > LONGEST_NAME || (text.len() > LONGEST_NAME && name != "scope") {
            return Err(Refusal::arguments(format!(
                "{tool}: an argument is too long; names and ids have at most {LONGEST_NAME} bytes"
            )));
        }
    }
    Ok(())
}

/// Calls that the ledger cannot answer are refused; the log says why.
pub(super) fn unreadable(cause: impl std::fmt::Display) -> Refusal {
    tracing::error!("the ledger cannot be used: {cause}");
    Refusal::LedgerUnavailable
}

fn refused(what: String, Denied { rule, subject }: Denied) -> Refusal {
    Refusal::Denied { what, subject, rule }
}

/// The answer of `budget`, to the tool and to the methods of that name.
fn budget_json(balance: &Balance, caller: &Caller) -> Value {
    let mut answer = json!({
        "tokenId": caller.token(),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::CATALOGUE;

    #[test]
    fn own_tools_are_shown_as_they_are_read() {
        let schema = |tool: &str| CATALOGUE.tool(&tool.into()).unwrap().input_schema();
        let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
        for (tool, expected) in [
            ("ping", nothing.clone()),
            ("budget", nothing),
            (
                "delegate",
                json!({"type": "object", "properties": {
                    "budget": {"type": "integer", "minimum": 1, "description": "credits"},
                    "scope": {"type": "string", "description": "tools it may call: comma-separated patterns of tool or server/tool"},
                    "label": {"type": "string", "maxLength": 200},
                    "expiresIn": {"type": ["integer", "string"], "description": "seconds, or 30m, 24h"},
                    "agent": {"type": "string", "description": "an agent whose rules narrow it as well"},
                    "depth": {"type": "integer", "minimum": 0, "maximum": 255, "description": "how many levels it may delegate further"},
                    "maxDelegation": {"type": "integer", "minimum": 1, "description": "most credits it may give in one delegation"},
                    "key": {"type": "string", "maxLength": 200, "description": "a name of your choice; asked again with it, the answer is the same delegation, and no more credits go"}},
                    "required": ["budget"], "additionalProperties": false}),
            ),
            (
                "revoke",
                json!({"type": "object", "properties": {
                    "tokenId": {"type": "string", "description": "as delegate answered"},
                    "budgetId": {"type": "string"},
                    "agent_id": {"type": "string", "description": "instead: the agent_id that delegate answered"}},
                    "minProperties": 1, "maxProperties": 1, "additionalProperties": false}),
            ),
        ] {
            // Byte for byte: every word is paid for, and none is there by chance.
            assert_eq!(schema(tool).to_string(), Value::to_string(&expected), "{tool}");
        }
    }
}
