//! `tollgate demo`: one whole agent session over real servers, as the agent sees it.
//!
//! The servers are installed once, in the user's cache. The session runs in a gateway of this process,
//! over the demo's own settings.

mod workspace;

use std::sync::Arc;

use anyhow::bail;
use serde_json::{Value, json};

use super::{
    call::{request, rpc_error},
    context::{CommandContext, answer},
    exit::Exit,
    output::{Printer, Report},
    tokens::up_front,
};
use crate::{
    app::{drain::stop, wiring},
    domain::{credits::in_words, refusal::Refusal, tokens},
    gateway::{Answer, Gateway, as_sent, facade},
};
use workspace::Workspace;

pub(super) async fn run(context: &CommandContext) -> anyhow::Result<Exit> {
    let printer = &context.printer;
    printer.progress("Tollgate demo: one agent, two real servers, three tools.\n");
    let workspace = Workspace::prepare(context)?;
    let own = context.over(&workspace.dir, workspace.environment(&context.env));
    let gateway = wiring::gateway(own.settings()?, &own.env);
    let mut story = Story { gateway: &gateway, printer, steps: Vec::new(), seen: 0 };
    let told = story.tell().await;
    let Story { steps, seen, .. } = story;
    let up_front = up_front(gateway.current().fleet().members()).await;
    stop(&gateway).await;
    told?;
    let records = records(&own).await?;
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

/// How many records the demo made; fails if they do not verify.
async fn records(own: &CommandContext) -> anyhow::Result<u64> {
    let verdict = answer(own.store()?.ledger.verify()).await?;
    match verdict.broken.map(|(_, cause)| cause).or(verdict.incomplete) {
        Some(cause) => bail!("the records are not what was written: {cause}"),
        None => Ok(verdict.records),
    }
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
    gateway: &'a Arc<Gateway>,
    printer: &'a Printer,
    steps: Vec<Value>,
    /// The tokens that the agent was sent.
    seen: usize,
}

impl Story<'_> {
    async fn tell(&mut self) -> anyhow::Result<()> {
        self.gateway.open_accounts().await?;
        let names = [facade::LIST_SERVERS, facade::GET_SERVER_TOOLS, facade::EXECUTE_TOOL];
        let cost = self.spend(&facade::tools_json(false));
        self.printer.progress("The client connects and sees:");
        self.printer.progress(&format!("  ← {}  ({cost} tokens)\n", names.join(", ")));
        self.steps.push(json!({"tools": names, "tokens": cost}));

        for (title, tool, arguments) in script() {
            self.step(title, tool, arguments).await;
        }
        Ok(())
    }

    /// Makes one call as the agent; shows the request, the answer and the cost.
    async fn step(&mut self, title: &str, tool: &str, mut arguments: Value) {
        if let Value::Object(arguments) = &mut arguments {
            arguments.insert("agent_id".into(), "researcher".into());
        }
        self.printer.progress(title);
        self.printer.progress(&format!("  → {tool} {arguments}"));
        let call = request(tool, arguments.clone());
        let answer = self.gateway.call_tool(call, self.gateway.cancellation()).await;
        let (text, paid) = as_seen(answer);
        let cost = self.spend(&text);
        let credits = paid.map(|(credits, left)| format!(", {}, {left} left", in_words(credits)));
        let credits = credits.unwrap_or_default();
        self.printer.progress(&format!("  ← {}  ({cost} tokens{credits})\n", shortened(&text)));
        self.steps.push(json!({"tool": tool, "arguments": arguments, "answer": text,
            "tokens": cost, "credits": paid.map(|(credits, _)| credits)}));
    }

    fn spend(&mut self, text: &str) -> usize {
        let cost = tokens::count(text);
        self.seen += cost;
        cost
    }
}

/// The calls of the agent, with what they show.
fn script() -> [(&'static str, &'static str, Value); 9] {
    [
        ("Which servers are there for `researcher`?", facade::LIST_SERVERS, json!({})),
        (
            "Which tools of `filesystem` read text?",
            facade::GET_SERVER_TOOLS,
            json!({"server": "filesystem", "pattern": "read_text*"}),
        ),
        (
            "It reads a file.",
            facade::EXECUTE_TOOL,
            json!({"server": "filesystem", "tool": "read_text_file", "args": {"path": "notes.txt"}}),
        ),
        (
            "A sum has a price: calls cost credits, and this session may spend 8 of them.",
            facade::GET_SERVER_TOOLS,
            json!({"server": "everything", "names": "get-sum", "detail": "signature"}),
        ),
        (
            "It calls that, with a wrong argument: nothing runs or is paid, and the answer teaches.",
            facade::EXECUTE_TOOL,
            json!({"server": "everything", "tool": "get-sum", "args": {"a": 2, "b": "three"}}),
        ),
        (
            "Corrected, it works.",
            facade::EXECUTE_TOOL,
            json!({"server": "everything", "tool": "get-sum", "args": {"a": 2, "b": 3}}),
        ),
        (
            "A second sum would cost more than is left: the server never hears of it.",
            facade::EXECUTE_TOOL,
            json!({"server": "everything", "tool": "get-sum", "args": {"a": 5, "b": 8}}),
        ),
        (
            "It tries to write, which the rules forbid.",
            facade::EXECUTE_TOOL,
            json!({"server": "filesystem", "tool": "write_file",
                "args": {"path": "notes.txt", "content": "gone"}}),
        ),
        (
            "What was spent? Asking is free, and so is what was refused.",
            facade::EXECUTE_TOOL,
            json!({"server": "gateway", "tool": "budget", "args": {}}),
        ),
    ]
}

/// The text of an answer as the agent sees it; what it cost and what is left, if it was paid for.
fn as_seen(answer: Result<Answer, Refusal>) -> (String, Option<(u64, u64)>) {
    let result = match as_sent(answer) {
        Ok(result) => result.to_value(),
        Err(error) => return (rpc_error(error).to_string(), None),
    };
    let blocks = result.get("content").and_then(Value::as_array).into_iter().flatten();
    let texts = blocks.filter_map(|block| block.get("text").and_then(Value::as_str));
    let of_meta = |key: &str| result.get("_meta")?.get(key)?.as_u64();
    let paid = of_meta("tollgate/cost").zip(of_meta("tollgate/remaining"));
    (texts.collect::<Vec<_>>().join("\n"), paid)
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
