//! What a call asks for, read from its arguments.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    builtin, facade, fields::Fields, journal::CallRecord, query::Query, request::EntryPoint,
};
use crate::domain::{
    call::ToolName,
    json::{MOST_VALUES, RawJson},
    refusal::Refusal,
};

/// What a call asks for.
pub(super) enum Operation {
    /// `list_servers`.
    ListServers { metadata: bool },
    /// `get_server_tools`.
    GetServerTools(Query),
    /// The call of a tool.
    CallTool(Invocation),
}

/// The call of a tool: with `execute_tool`, by the tool's own name, or as a method.
pub(super) struct Invocation {
    pub(super) server: Option<String>,
    pub(super) tool: ToolName,
    pub(super) args: RawJson,
    timeout: Option<Duration>,
    /// By the tool's own name.
    pub(super) direct: bool,
}

impl Operation {
    /// Reads the arguments of a call; the record gets the names that they give.
    pub(super) fn read(
        entry_point: EntryPoint,
        tool: &str,
        arguments: RawJson,
        record: &mut CallRecord,
    ) -> Result<Self, Refusal> {
        let call = match entry_point {
            EntryPoint::ListServers => return Self::list_servers(&arguments),
            EntryPoint::GetServerTools => {
                return Query::parse(&arguments).map(Self::GetServerTools);
            }
            EntryPoint::Method => Invocation::of_method(tool, &arguments)?,
            EntryPoint::ExecuteTool => Invocation::parse(&arguments)?,
            EntryPoint::Direct | EntryPoint::Status => Invocation {
                server: None,
                tool: ToolName::from(tool),
                args: arguments,
                timeout: None,
                direct: true,
            },
        };
        record.names(call.server.as_deref(), &call.tool);
        Ok(Self::CallTool(call))
    }

    fn list_servers(arguments: &RawJson) -> Result<Self, Refusal> {
        let mut fields = Fields::new(facade::LIST_SERVERS, arguments)?;
        fields.optional_name("agent_id")?;
        let metadata = fields.flag("include_metadata")?;
        fields.finish()?;
        Ok(Self::ListServers { metadata })
    }

    /// The `timeout_ms` of the call, if it has one.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match self {
            Self::CallTool(call) => call.timeout,
            Self::ListServers { .. } | Self::GetServerTools(_) => None,
        }
    }
}

impl Invocation {
    fn parse(arguments: &RawJson) -> Result<Self, Refusal> {
        let mut fields = Fields::new(facade::EXECUTE_TOOL, arguments)?;
        let call = Self {
            server: fields.optional_name("server")?,
            tool: ToolName::from(fields.name("tool")?.as_str()),
            args: fields.object("args")?,
            timeout: fields.positive("timeout_ms")?.map(Duration::from_millis),
            direct: false,
        };
        fields.optional_name("agent_id")?;
        fields.unsupported("max_result_tokens")?;
        fields.finish()?;
        Ok(call)
    }

    /// A JSON-RPC method of the gateway's own, whose `agent_id` may say who asks.
    fn of_method(tool: &str, params: &RawJson) -> Result<Self, Refusal> {
        let mut args = match params.tree(MOST_VALUES) {
            Ok(Value::Object(args)) => args,
            Ok(Value::Null) => Map::new(),
            Ok(_) => return Err(Refusal::arguments("the params must be an object")),
            Err(cause) => return Err(Refusal::arguments(format!("the params have {cause}"))),
        };
        match args.shift_remove("agent_id") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(_) => return Err(Refusal::arguments("`agent_id` must be a string")),
        }
        Ok(Self {
            server: Some(builtin::SERVER.to_owned()),
            tool: ToolName::from(tool),
            args: Value::Object(args).into(),
            timeout: None,
            direct: false,
        })
    }
}
