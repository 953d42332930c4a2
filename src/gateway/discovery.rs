//! `list_servers` and `get_server_tools`: what the caller may use, and nothing else.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{Answer, Gateway, facade, fields::Fields, request::catalogue, text_result};
use crate::{
    domain::{
        catalog::{Catalogue, Tool},
        pattern::Pattern,
        policy::Visit,
        refusal::Refusal,
        settings::{Endpoint, public_url},
        tokens,
    },
    downstream::{Server, Status},
};

impl Gateway {
    /// The servers that the caller may use; contacts none of them.
    pub(super) fn list_servers(&self, arguments: Map<String, Value>) -> Result<Answer, Refusal> {
        let mut fields = Fields::new(facade::LIST_SERVERS, arguments);
        let agent_id = fields.optional_text("agent_id")?;
        let metadata = fields.flag("include_metadata")?;
        fields.finish()?;
        let caller = self.identify(agent_id.as_deref())?;
        let servers: Vec<Value> = self
            .fleet
            .servers()
            .iter()
            .filter_map(|server| {
                let visit = self.settings.rules.visit(&caller, server.name()).ok()?;
                Some(self.entry(server, metadata.then_some(&visit)))
            })
            .collect();
        Ok(Self::json_answer(&Value::Array(servers)))
    }

    /// The tools of one server that the caller may use, at full detail.
    pub(super) async fn get_server_tools(
        &self,
        arguments: Map<String, Value>,
        cancel: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        let query = Query::parse(arguments)?;
        let caller = self.identify(query.agent_id.as_deref())?;
        let (visit, server) = self.visit(&caller, &query.server)?;
        let catalogue = catalogue(server, server.spec().timeout, cancel).await?;
        let visible: Vec<&Tool> = self.visible_tools(&visit, &catalogue).collect();
        let tools: Vec<Value> =
            visible.iter().filter(|tool| query.selects(tool)).map(|tool| tool.full()).collect();
        let returned = tools.len();
        let tools = Value::Array(tools);
        let tokens_used = count(tools.to_string()).await;
        Ok(Self::json_answer(&json!({
            "server": server.name().as_str(),
            "total_available": visible.len(),
            "returned": returned,
            "tokens_used": tokens_used,
            "tools": tools,
        })))
    }

    /// The tools that a visitor may call, in the server's order.
    pub(super) fn visible_tools<'a>(
        &'a self,
        visit: &'a Visit,
        catalogue: &'a Catalogue,
    ) -> impl Iterator<Item = &'a Tool> {
        catalogue
            .tools()
            .iter()
            .filter(|tool| self.settings.rules.authorize(visit.clone(), tool.name()).is_ok())
    }

    /// A server in the list, with metadata for a visitor; what may be secret (arguments,
    /// environment, headers) is never in it, and only tools that the visitor may call are counted.
    fn entry(&self, server: &Server, metadata_for: Option<&Visit>) -> Value {
        let spec = server.spec();
        let mut entry = Map::new();
        entry.insert("name".into(), spec.name.as_str().into());
        let masked = |text: &str| Value::from(self.settings.redactor.redact(text));
        entry.insert("description".into(), masked(&spec.description));
        let Some(visit) = metadata_for else { return Value::Object(entry) };
        entry.insert("transport".into(), spec.transport().into());
        match &spec.endpoint {
            Endpoint::Stdio(command) => entry.insert("command".into(), masked(&command.program)),
            Endpoint::Http { url, .. } => entry.insert("url".into(), masked(&public_url(url))),
        };
        let status = server.status();
        entry.insert("status".into(), status.as_str().into());
        if let Status::Ready(Some(catalogue)) = status {
            entry.insert("tools".into(), self.visible_tools(visit, &catalogue).count().into());
        }
        Value::Object(entry)
    }

    /// One text block of compact JSON.
    fn json_answer(value: &Value) -> Answer {
        Answer::Result(text_result(&value.to_string()))
    }
}

/// A `get_server_tools` call as asked for.
struct Query {
    server: String,
    agent_id: Option<String>,
    /// None is no filter, as is a list of blanks.
    names: Option<HashSet<String>>,
    pattern: Option<Pattern>,
}

impl Query {
    fn parse(arguments: Map<String, Value>) -> Result<Self, Refusal> {
        let mut fields = Fields::new(facade::GET_SERVER_TOOLS, arguments);
        let server = fields.text("server")?;
        let agent_id = fields.optional_text("agent_id")?;
        let names = fields.optional_text("names")?;
        let pattern = fields.optional_text("pattern")?;
        for later in ["query", "detail", "max_schema_tokens"] {
            fields.unsupported(later)?;
        }
        fields.finish()?;
        if server == "*" {
            return Err(Refusal::arguments(
                "get_server_tools: `server` must name one server; `*` is not supported by this version",
            ));
        }
        let names: Option<HashSet<String>> = names.map(|names| {
            names
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        });
        let pattern = pattern.filter(|pattern| !pattern.is_empty()).map(|pattern| {
            Pattern::parse(&pattern)
                .map_err(|fault| Refusal::arguments(format!("get_server_tools: `pattern` {fault}")))
        });
        Ok(Self {
            server,
            agent_id,
            names: names.filter(|names| !names.is_empty()),
            pattern: pattern.transpose()?,
        })
    }

    fn selects(&self, tool: &Tool) -> bool {
        let name = tool.name().as_str();
        self.names.as_ref().is_none_or(|names| names.contains(name))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(name))
    }
}

/// Counts on a blocking thread: the first count loads the tables, and a long text takes a while.
async fn count(text: String) -> usize {
    match tokio::task::spawn_blocking(move || tokens::count(&text)).await {
        Ok(tokens) => tokens,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => 0,
    }
}
