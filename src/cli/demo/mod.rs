//! `tollgate demo`: one whole agent session over real servers, as the agent sees it.
//!
//! The servers are installed once, in the user's cache. The session runs over the stdio of `tollgate
//! serve`, like a client's.

mod client;
mod workspace;

use serde_json::{Value, json};

use super::{
    context::CommandContext,
    exit::Exit,
    output::{Printer, Report},
};
use crate::{
    domain::{credits::in_words, tokens},
    gateway::facade,
};
use client::{DemoAnswer, DemoClient};
use workspace::Workspace;

pub(super) fn run(context: &CommandContext) -> anyhow::Result<Exit> {
    let printer = &context.printer;
    printer.progress("Tollgate demo: one agent, two real servers, three tools.\n");
    let workspace = Workspace::prepare(context)?;
    let client = DemoClient::start(&workspace)?;
    let mut story = Story { client, printer, steps: Vec::new(), seen: 0 };
    story.tell()?;
    let Story { client, steps, seen, .. } = story;
    client.finish()?;
    let (up_front, records) = (workspace.tokens_up_front()?, workspace.records()?);
    let commands = AFTERWARDS.map(|(_, command)| workspace.typed(command));
    let (connect, dir) = (workspace.claude_command(), &workspace.dir);
    let json = json!({
        "steps": steps,
        "tokens": {"up_front": up_front, "through_tollgate": seen},
        "records": records,
        "config_dir": dir,
        "commands": commands,
        "connect": connect,
    });
    let commands = AFTERWARDS.iter().zip(&commands);
    let report = Report::new(json)
        .line("Every call and refusal is on record, in a chain of hashes:")
        .line(format!("  {records} records, as they were written\n"))
        .line("What the agent paid for tools and answers, in o200k tokens:")
        .line(format!(
            "  {up_front:>6}  all tools of both servers, loaded up front as most clients do"
        ))
        .line(format!("  {seen:>6}  this whole session through Tollgate, answers included\n"))
        .lines(commands.map(|((purpose, _), command)| format!("{purpose}:\n  {command}\n")))
        .line("Connect a client to these servers:")
        .line(format!("  {connect}\n"))
        .line("or paste this into its MCP settings:")
        .line(workspace.snippet())
        .line(format!(
            "\nThe settings are in {}; edit the rules there and try again.",
            dir.display()
        ));
    context.show(&report)
}

/// What to try with the demo's settings afterwards.
const AFTERWARDS: [(&str, &str); 4] = [
    ("See the records", "audit log"),
    ("Verify that none was altered", "audit verify"),
    ("See what is left of the credits", "budget show"),
    ("Give more, as a client that you connect needs some", "budget grant root 100"),
];

/// The session, step by step.
struct Story<'a> {
    client: DemoClient,
    printer: &'a Printer,
    steps: Vec<Value>,
    /// The tokens that the agent was sent.
    seen: usize,
}

impl Story<'_> {
    fn tell(&mut self) -> anyhow::Result<()> {
        let tools = self.client.list_tools()?;
        let cost = self.spend(&tools.to_string());
        let names: Vec<&str> = tools
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|tool| tool.get("name").and_then(Value::as_str))
            .collect();
        self.printer.progress("The client connects and sees:");
        self.printer.progress(&format!("  ← {}  ({cost} tokens)\n", names.join(", ")));
        self.steps.push(json!({"tools": names, "tokens": cost}));

        self.step("Which servers are there for `researcher`?", facade::LIST_SERVERS, json!({}))?;
        self.step(
            "Which tools of `filesystem` read text?",
            facade::GET_SERVER_TOOLS,
            json!({"server": "filesystem", "pattern": "read_text*"}),
        )?;
        self.step(
            "It reads a file.",
            facade::EXECUTE_TOOL,
            json!({"server": "filesystem", "tool": "read_text_file", "args": {"path": "notes.txt"}}),
        )?;
        self.step(
            "A sum has a price: calls cost credits, and this session may spend 8 of them.",
            facade::GET_SERVER_TOOLS,
            json!({"server": "everything", "names": "get-sum", "detail": "signature"}),
        )?;
        self.step(
            "It calls that, with a wrong argument: nothing runs or is paid, and the answer teaches.",
            facade::EXECUTE_TOOL,
            json!({"server": "everything", "tool": "get-sum", "args": {"a": 2, "b": "three"}}),
        )?;
        self.step(
            "Corrected, it works.",
            facade::EXECUTE_TOOL,
            json!({"server": "everything", "tool": "get-sum", "args": {"a": 2, "b": 3}}),
        )?;
        self.step(
            "A second sum would cost more than is left: the server never hears of it.",
            facade::EXECUTE_TOOL,
            json!({"server": "everything", "tool": "get-sum", "args": {"a": 5, "b": 8}}),
        )?;
        self.step(
            "It tries to write, which the rules forbid.",
            facade::EXECUTE_TOOL,
            json!({"server": "filesystem", "tool": "write_file",
                "args": {"path": "notes.txt", "content": "gone"}}),
        )?;
        self.step(
            "What was spent? Asking is free, and so is what was refused.",
            facade::EXECUTE_TOOL,
            json!({"server": "gateway", "tool": "budget", "args": {}}),
        )?;
        Ok(())
    }

    /// Makes one call as the agent; shows the request, the answer and the cost.
    fn step(&mut self, title: &str, tool: &str, mut arguments: Value) -> anyhow::Result<()> {
        if let Value::Object(arguments) = &mut arguments {
            arguments.insert("agent_id".into(), "researcher".into());
        }
        self.printer.progress(title);
        self.printer.progress(&format!("  → {tool} {arguments}"));
        let DemoAnswer { text, paid } = self.client.call(tool, &arguments)?;
        let cost = self.spend(&text);
        let credits = paid.map(|(credits, left)| format!(", {}, {left} left", in_words(credits)));
        let credits = credits.unwrap_or_default();
        self.printer.progress(&format!("  ← {}  ({cost} tokens{credits})\n", shortened(&text)));
        self.steps.push(json!({"tool": tool, "arguments": arguments, "answer": text,
            "tokens": cost, "credits": paid.map(|(credits, _)| credits)}));
        Ok(())
    }

    fn spend(&mut self, text: &str) -> usize {
        let cost = tokens::count(text);
        self.seen += cost;
        cost
    }
}

/// The beginning of an answer.
fn shortened(answer: &str) -> String {
    const SHOWN: usize = 420;
    let line = answer.trim_end().replace('\n', "\n    ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
