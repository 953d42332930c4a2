//! `tollgate servers`, `tools`, `call`: the request path of the gateway, driven from the shell.

use std::io::Read;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::{
    Exit,
    args::{CallArgs, ServersArgs, SettingsArgs, ToolsArgs},
    output::{Output, note as note_to_people},
    progress,
};
use crate::{
    app::wiring,
    domain::{call::AgentId, refusal::RpcError},
    downstream::Client,
    gateway::{self, Answer, CallRequest, Granted, facade},
    host::environment::Environment,
};

pub(super) fn servers(
    settings: &SettingsArgs,
    args: &ServersArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let arguments = json!({"agent_id": args.agent, "include_metadata": true});
    let found = ask(settings, facade::LIST_SERVERS, arguments)?;
    found.show(output, |value, asker| {
        let text = |server: &Value, key: &str| {
            server.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let rows = value.as_array().into_iter().flatten().map(|server| {
            let place = text(server, "command") + &text(server, "url");
            vec![
                text(server, "name"),
                text(server, "transport"),
                place,
                status(server),
                text(server, "description"),
            ]
        });
        note_to_people(&format!("the servers that {asker} may use:"));
        output.table(&["SERVER", "TRANSPORT", "AT", "STATUS", "DESCRIPTION"], rows.collect());
    })
}

/// The status of a server, and when it is tried again.
fn status(server: &Value) -> String {
    let status = server.get("status").and_then(Value::as_str).unwrap_or_default();
    match server.get("retry_after_ms").and_then(Value::as_u64) {
        Some(after) => format!("{status}, next trial in {} s", after.div_ceil(1_000)),
        None => status.to_owned(),
    }
}

pub(super) fn tools(
    settings: &SettingsArgs,
    args: &ToolsArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let arguments = json!({
        "server": args.server,
        "agent_id": args.agent,
        "names": args.names,
        "pattern": args.pattern,
        "query": args.query,
        "detail": args.detail.as_deref().or(args.names.is_none().then_some("signature")),
        "max_schema_tokens": args.max_tokens,
    });
    let found = ask(settings, facade::GET_SERVER_TOOLS, arguments)?;
    found.show(output, |value, asker| {
        for tool in value.get("tools").and_then(Value::as_array).into_iter().flatten() {
            match tool {
                Value::String(line) => output.line(line),
                object => output.value(object),
            }
        }
        if let Some(note) = value.get("note").and_then(Value::as_str) {
            note_to_people(note);
        }
        let number = |key| value.get(key).and_then(Value::as_u64).unwrap_or_default();
        note_to_people(&format!(
            "{} of {} tools, {} tokens as sent to {asker}",
            number("returned"),
            number("total_available"),
            number("tokens_used")
        ));
    })
}

pub(super) fn call(
    settings: &SettingsArgs,
    args: &CallArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let arguments = json!({
        "server": args.server,
        "tool": args.tool,
        "args": arguments(&args.arguments)?,
        "agent_id": args.agent,
        "timeout_ms": args.timeout_ms,
    });
    match ask(settings, facade::EXECUTE_TOOL, arguments)? {
        Found::Result { value: result, .. } => {
            if output.json {
                output.value(&result);
            } else {
                print_content(&result, output);
            }
            let failed = result.get("isError").and_then(Value::as_bool) == Some(true);
            Ok(if failed { Exit::Failed } else { Exit::Done })
        }
        failure => failure.show(output, |_, _| {}),
    }
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

/// What a call from the shell came to.
enum Found {
    /// A result, and the agent as which it was asked for.
    Result {
        value: Value,
        agent: Option<AgentId>,
    },
    Refused {
        error: Value,
        denied: bool,
    },
    Error(Value),
}

/// Builds the gateway, makes one call, and stops everything again.
fn ask(args: &SettingsArgs, tool: &str, arguments: Value) -> anyhow::Result<Found> {
    let settings = wiring::settings(&args.options())?;
    let arguments = arguments.into();
    let runtime = wiring::runtime()?;
    let found = runtime.block_on(async {
        let gateway = wiring::gateway_for_one_call(settings, &Environment::of_process());
        let cancel = gateway.cancellation();
        let (tool, client) = (tool.to_owned(), Client::absent());
        let asked = CallRequest {
            tool,
            arguments,
            meta: Map::new(),
            credential: None,
            granted: Granted::ProcessCredential,
            client,
        };
        let agent = gateway.agent_of(&asked).await;
        let snapshot = gateway.current();
        let call = gateway.call_tool(asked, cancel);
        let answer = progress::shown(snapshot.fleet().members(), call).await;
        let found = match answer {
            Answer::Result(result) => Found::Result { value: result.to_value(), agent },
            Answer::Refused(refusal) => Found::Refused {
                error: match refusal.is_rpc_error() {
                    true => rpc_error(refusal.to_rpc_error()),
                    false => parsed(&gateway::refused(&refusal)),
                },
                denied: refusal.is_denial(),
            },
            Answer::Error(error) => Found::Error(rpc_error(error)),
        };
        gateway.stop().await;
        found
    });
    runtime.shutdown_background();
    Ok(found)
}

fn rpc_error(error: RpcError) -> Value {
    json!({"error": {"code": error.code, "message": error.message, "data": error.data}})
}

impl Found {
    /// Prints a result of ours (JSON in a text block) with `print`, which is given the words for
    /// who asked, or prints what went wrong.
    fn show(self, output: &Output, print: impl FnOnce(&Value, &str)) -> anyhow::Result<Exit> {
        let (error, exit) = match self {
            Self::Result { value, agent } => {
                let value = parsed(&value);
                let asker = agent.map_or_else(|| "an agent".into(), |id| format!("agent `{id}`"));
                if output.json {
                    output.value(&value)
                } else {
                    print(&value, &asker)
                }
                return Ok(Exit::Done);
            }
            Self::Refused { error, denied } => {
                (error, if denied { Exit::Refused } else { Exit::Failed })
            }
            Self::Error(error) => (error, Exit::Failed),
        };
        if output.json {
            output.value(&error);
        } else {
            output.error(&in_words(&error));
        }
        Ok(exit)
    }
}

/// An error of the gateway or of a server, for people.
fn in_words(error: &Value) -> String {
    let Some(error) = error.get("error") else { return error.to_string() };
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let mut words = text("message").unwrap_or_default().to_owned();
    for (key, label) in [("rule", "rule"), ("signature", "it takes"), ("hint", "hint")] {
        if let Some(text) = text(key) {
            words.push_str(&format!("\n  {label}: {text}"));
        }
    }
    words
}

/// The JSON in the text block of a result of ours.
fn parsed(result: &Value) -> Value {
    let text = result.pointer("/content/0/text").and_then(Value::as_str).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn print_content(result: &Value, output: &Output) {
    let blocks = result.get("content").and_then(Value::as_array);
    for block in blocks.into_iter().flatten() {
        match block.get("text").and_then(Value::as_str) {
            Some(text) => output.line(text),
            None => {
                let kind = block.get("type").and_then(Value::as_str).unwrap_or("unknown");
                output.line(&format!("({kind} content; --json shows it)"));
            }
        }
    }
    if blocks.is_none_or(Vec::is_empty)
        && let Some(structured) = result.get("structuredContent")
    {
        output.value(structured);
    }
}
