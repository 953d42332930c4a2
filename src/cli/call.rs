//! `tollgate servers`, `tools`, `call`: the request path of the gateway, driven from the shell.

use std::io::Read as _;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value, json};

use super::{context::CommandContext, exit::Exit, output::Report, progress};
use crate::{
    app::{drain::stop, wiring},
    domain::refusal::RpcError,
    downstream::ClientContext,
    gateway::{self, Answer, CallRequest, Granted, facade},
};

#[derive(Debug, Args)]
pub(super) struct ServersArgs {
    #[command(flatten)]
    asker: Asker,
}

#[derive(Debug, Args)]
pub(super) struct ToolsArgs {
    /// The server, by its name in the settings; `*` searches all
    server: String,
    #[command(flatten)]
    asker: Asker,
    /// Only these tools, comma-separated
    #[arg(long)]
    names: Option<String>,
    /// Only tools whose names match, such as get_*
    #[arg(long)]
    pattern: Option<String>,
    /// Only tools whose name or description contains one of these words
    #[arg(long, value_name = "WORDS")]
    query: Option<String>,
    /// How much of each tool: auto, names, summary, signature or full (default: signature, and full
    /// with --names)
    #[arg(long)]
    detail: Option<String>,
    /// At most this many tokens of tools; detail is dropped before tools are
    #[arg(long, value_name = "TOKENS", default_value_t = 1_000_000)]
    max_tokens: usize,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The server, by its name in the settings
    server: String,
    /// The tool
    tool: String,
    /// The arguments as a JSON object; `-` reads them from standard input
    #[arg(value_name = "JSON", default_value = "{}")]
    arguments: String,
    #[command(flatten)]
    asker: Asker,
    /// Give up after this many milliseconds without progress; can only shorten the server's timeout
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
}

#[derive(Debug, Args)]
struct Asker {
    /// Act as this agent
    #[arg(long)]
    agent: Option<String>,
}

pub(super) async fn servers(context: &CommandContext, asked: &ServersArgs) -> anyhow::Result<Exit> {
    let arguments = json!({"agent_id": asked.asker.agent, "include_metadata": true});
    ask(context, facade::LIST_SERVERS, arguments, describe_servers).await
}

pub(super) async fn tools(context: &CommandContext, asked: &ToolsArgs) -> anyhow::Result<Exit> {
    let arguments = json!({
        "server": asked.server,
        "agent_id": asked.asker.agent,
        "names": asked.names,
        "pattern": asked.pattern,
        "query": asked.query,
        "detail": asked.detail.as_deref().or(asked.names.is_none().then_some("signature")),
        "max_schema_tokens": asked.max_tokens,
    });
    ask(context, facade::GET_SERVER_TOOLS, arguments, describe_tools).await
}

pub(super) async fn call(context: &CommandContext, asked: &CallArgs) -> anyhow::Result<Exit> {
    let arguments = json!({
        "server": asked.server,
        "tool": asked.tool,
        "args": arguments(&asked.arguments)?,
        "agent_id": asked.asker.agent,
        "timeout_ms": asked.timeout_ms,
    });
    ask(context, facade::EXECUTE_TOOL, arguments, describe_result).await
}

/// The arguments of a call: a JSON object, from standard input for `-`.
fn arguments(text: &str) -> anyhow::Result<Map<String, Value>> {
    let mut from_stdin = String::new();
    let text = if text == "-" {
        std::io::stdin().read_to_string(&mut from_stdin).context("cannot read standard input")?;
        &from_stdin
    } else {
        text
    };
    match serde_json::from_str(text).context("the arguments are not JSON")? {
        Value::Object(arguments) => Ok(arguments),
        _ => bail!("the arguments must be a JSON object, such as '{{\"path\": \"/tmp\"}}'"),
    }
}

/// Adds a result for people; the text names who asked.
type Describe = fn(Report, &Value, &str) -> Report;

/// Builds the gateway, makes one call, and stops everything again.
async fn ask(
    context: &CommandContext,
    tool: &str,
    arguments: Value,
    describe: Describe,
) -> anyhow::Result<Exit> {
    let settings = context.settings()?;
    let gateway = wiring::gateway_for_one_call(settings, &context.env);
    let asked = request(tool, arguments);
    let agent = gateway.agent_of(&asked).await;
    let snapshot = gateway.current();
    let call = gateway.call_tool(asked, gateway.cancellation());
    let answer = progress::shown(snapshot.fleet().members(), call).await;
    stop(&gateway).await;
    context.show(&match answer {
        Ok(Answer::Result(result)) => {
            let result = result.to_value();
            let asker = agent.map_or_else(|| "an agent".into(), |id| format!("agent `{id}`"));
            let failed = result.get("isError").and_then(Value::as_bool) == Some(true);
            let (value, exit) = match (tool, failed) {
                (facade::EXECUTE_TOOL, true) => (result, Exit::Failed),
                (facade::EXECUTE_TOOL, false) => (result, Exit::Done),
                _ => (parsed(&result), Exit::Done),
            };
            describe(Report::new(value.clone()).exit(exit), &value, &asker)
        }
        Err(refusal) => {
            let error = match refusal.is_rpc_error() {
                true => json!({"error": rpc_error(refusal.to_rpc_error())}),
                false => parsed(&gateway::refused(&refusal)),
            };
            failure(error).exit(if refusal.is_denial() { Exit::Refused } else { Exit::Failed })
        }
        Ok(Answer::Error(error)) => failure(json!({"error": rpc_error(error)})).exit(Exit::Failed),
    })
}

/// A call of this process, which no client makes.
pub(super) fn request(tool: &str, arguments: Value) -> CallRequest {
    CallRequest {
        tool: tool.to_owned(),
        arguments: arguments.into(),
        meta: Map::new(),
        credential: None,
        granted: Granted::ProcessCredential,
        client: ClientContext::absent(),
    }
}

/// A JSON-RPC error, as clients get it.
pub(super) fn rpc_error(error: RpcError) -> Value {
    json!({"code": error.code, "message": error.message, "data": error.data})
}

/// The JSON in the text block of a result of the gateway itself.
fn parsed(result: &Value) -> Value {
    let text = result.pointer("/content/0/text").and_then(Value::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn describe_servers(report: Report, servers: &Value, asker: &str) -> Report {
    let cells = |server: &Value| {
        let status = match server.get("retry_after_ms").and_then(Value::as_u64) {
            Some(after) => {
                format!("{}, next trial in {} s", text(server, "status"), after.div_ceil(1_000))
            }
            None => text(server, "status").to_owned(),
        };
        vec![
            text(server, "name").to_owned(),
            text(server, "transport").to_owned(),
            text(server, "command").to_owned() + text(server, "url"),
            status,
            text(server, "description").to_owned(),
        ]
    };
    let header = ["SERVER", "TRANSPORT", "AT", "STATUS", "DESCRIPTION"];
    let report = report.note(format!("the servers that {asker} may use:"));
    report.table(header, items(Some(servers)).iter().map(cells))
}

fn describe_tools(report: Report, found: &Value, asker: &str) -> Report {
    let report = items(found.get("tools")).iter().fold(report, |report, tool| match tool {
        Value::String(line) => report.line(line),
        object => report.json(object),
    });
    let report = match found.get("note").and_then(Value::as_str) {
        Some(note) => report.note(note),
        None => report,
    };
    let number = |key| found.get(key).and_then(Value::as_u64).unwrap_or_default();
    report.note(format!(
        "{} of {} tools, {} tokens as sent to {asker}",
        number("returned"),
        number("total_available"),
        number("tokens_used")
    ))
}

fn describe_result(report: Report, result: &Value, _: &str) -> Report {
    let blocks = items(result.get("content"));
    match result.get("structuredContent") {
        Some(structured) if blocks.is_empty() => report.json(structured),
        _ => report.lines(blocks.iter().map(
            |block| match block.get("text").and_then(Value::as_str) {
                Some(text) => text.to_owned(),
                None => {
                    let kind = block.get("type").and_then(Value::as_str).unwrap_or("unknown");
                    format!("({kind} content; --json shows it)")
                }
            },
        )),
    }
}

/// An error of the gateway or of a server.
fn failure(value: Value) -> Report {
    let Some(error) = value.get("error") else {
        let words = value.to_string();
        return Report::new(value).error(words);
    };
    let mut words = text(error, "message").to_owned();
    for (key, label) in [("rule", "rule"), ("signature", "it takes"), ("hint", "hint")] {
        if let Some(text) = error.get(key).and_then(Value::as_str) {
            words.push_str(&format!("\n  {label}: {text}"));
        }
    }
    Report::new(value).error(words)
}
