//! Answers one PreToolUse event of Claude Code.
//!
//! If anything goes wrong, the call gets no stamp, which can only cost it rights.

use std::{
    io::{self, Read as _},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value, json};

use super::args::ClaudeCodeArgs;
use crate::{
    cli::{
        context::CommandContext,
        exit::Exit,
        output::{Report, note},
    },
    domain::{
        call::AgentId,
        keyed::Key,
        stamp::{CallDigest, Stamp, is_stamp, verify},
    },
    host::clock,
    ledger::keys,
};

/// The tools of the facade whose calls name an agent.
pub(super) const TOOLS: [&str; 3] = ["list_servers", "get_server_tools", "execute_tool"];

/// A longer event is refused.
const LONGEST_EVENT: u64 = 16 << 20;

/// The members of an event that matter here.
#[derive(Deserialize)]
struct HookEvent {
    hook_event_name: String,
    #[serde(default)]
    tool_name: String,
    #[serde(default)]
    tool_input: Value,
    /// The id of the calling subagent; None on the main thread.
    agent_id: Option<String>,
    /// The subagent's type. A main thread may have one as well.
    agent_type: Option<String>,
    prompt_id: Option<IgnoredAny>,
    effort: Option<IgnoredAny>,
    mcp_server: Option<IgnoredAny>,
}

impl HookEvent {
    /// Whether the client names subagents in its events, as it does since 2.1.64. Events have no
    /// version, but these members came later (2.1.196, 2.1.133, 2.1.274).
    fn tells_subagents_apart(&self) -> bool {
        self.prompt_id.is_some() || self.effort.is_some() || self.mcp_server.is_some()
    }
}

/// Reads the event, and answers it.
pub(super) fn answer(context: &CommandContext, args: &ClaudeCodeArgs) -> anyhow::Result<Exit> {
    let found = read().and_then(|event| {
        let Some(call) = HookedCall::of(&event) else { return Ok(None) };
        key(context).and_then(|key| call.stamped(args, &key)).or_else(|why| {
            let why = format!("this call has no stamp: {why}");
            match call.names_a_stamp() {
                // The model found it somewhere, and it may be valid.
                true => {
                    note(&format!("tollgate hook: {why}"));
                    Ok(Some(call.without_id(args)))
                }
                false => Err(why),
            }
        })
    });
    match found {
        // JSON in any case: the client reads it.
        Ok(Some(answer)) => context.show(&Report::new(answer.clone()).line(answer.to_string())),
        Ok(None) => Ok(Exit::Done),
        // The client shows this to its user, and goes on with the call as it is.
        Err(why) => {
            note(&format!("tollgate hook: {why}"));
            Ok(Exit::Failed)
        }
    }
}

fn read() -> Result<HookEvent, String> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(LONGEST_EVENT + 1).read_to_end(&mut bytes);
    let length = read.map_err(|error| format!("the event cannot be read: {error}"))?;
    if length as u64 > LONGEST_EVENT {
        return Err(format!("the event is longer than {} MiB", LONGEST_EVENT >> 20));
    }
    serde_json::from_slice(&bytes).map_err(|error| {
        format!(
            "standard input is no event of a hook ({error}); Claude Code runs this command itself"
        )
    })
}

/// A call of one of the gateway's tools, before it is made.
struct HookedCall<'a> {
    event: &'a HookEvent,
    input: &'a Map<String, Value>,
    digest: CallDigest,
}

impl<'a> HookedCall<'a> {
    /// None if the event is about something else.
    fn of(event: &'a HookEvent) -> Option<Self> {
        let name = event.tool_name.strip_prefix("mcp__")?;
        let (_, tool) = name.rsplit_once("__").filter(|(_, tool)| TOOLS.contains(tool))?;
        let (Value::Object(input), "PreToolUse") = (&event.tool_input, &*event.hook_event_name)
        else {
            return None;
        };
        Some(Self { event, input, digest: CallDigest::of(tool, input) })
    }

    fn named(&self) -> Option<&str> {
        self.input.get("agent_id").and_then(Value::as_str)
    }

    fn names_a_stamp(&self) -> bool {
        self.named().is_some_and(is_stamp)
    }

    /// Who calls; on the main thread the agent of `--main`, whatever its type.
    fn agent(&self, args: &ClaudeCodeArgs) -> Result<AgentId, String> {
        if self.event.agent_id.is_none() {
            return match self.event.tells_subagents_apart() {
                true => Ok(args.main.clone()),
                false => Err("this version of Claude Code may not tell subagents from the main thread; use 2.1.196 or later".into()),
            };
        }
        let Some(kind) = self.event.agent_type.as_deref() else {
            return Err("the event does not say of which type the subagent is".into());
        };
        // Any project can define a type of that name, which would get the main thread's rights.
        if kind == args.main.as_str() {
            return Err(format!(
                "the subagent's type {kind:?} is the name of the main thread; give the type another name"
            ));
        }
        match AgentId::is_well_formed(kind) {
            true => Ok(kind.into()),
            false => Err(format!(
                "the subagent's type {kind:?} cannot name an agent: 1 to 128 of letters, digits, `_`, `.`, `:`, `-`"
            )),
        }
    }

    /// The answer that stamps the call; None if its stamp is valid.
    fn stamped(&self, args: &ClaudeCodeArgs, key: &Key) -> Result<Option<Value>, String> {
        let agent = self.agent(args)?;
        let now = now()?;
        let mut stamp = Stamp::new(agent, now, keys::random().map_err(|error| error.to_string())?)
            .ok_or("the agent has no good name")?;
        if let Some(instance) = &self.event.agent_id {
            stamp = stamp.of_instance(instance);
        }
        if args.deny_wrong_id {
            if self.is_stamped(&stamp, key, now) {
                return Ok(None);
            }
            // The denied attempt's handle is in the stamp that the model must repeat.
            stamp = stamp.claiming(self.named().unwrap_or_default());
            return Ok(Some(refusing(&format!(
                "this call must say who calls: call again, with exactly the same arguments but for agent_id, which must be `{}`",
                stamp.sign(key, &self.digest)
            ))));
        }
        let text = stamp.claiming(self.named().unwrap_or_default()).sign(key, &self.digest);
        Ok(Some(self.changed(Some(text))))
    }

    /// Whether the call names a valid stamp of this very caller.
    fn is_stamped(&self, stamp: &Stamp, key: &Key, now: i64) -> bool {
        let named = self.named().and_then(|text| verify(text, key, &self.digest, now).ok());
        named.is_some_and(|named| stamp.is_of(&named))
    }

    /// The answer that removes the id.
    fn without_id(&self, args: &ClaudeCodeArgs) -> Value {
        match args.deny_wrong_id {
            true => refusing("who makes this call is not known; call again without agent_id"),
            false => self.changed(None),
        }
    }

    /// The answer that replaces the id. It says nothing about permission.
    fn changed(&self, id: Option<String>) -> Value {
        let mut input = self.input.clone();
        match id {
            Some(id) => drop(input.insert("agent_id".into(), id.into())),
            None => drop(input.shift_remove("agent_id")),
        }
        json!({"hookSpecificOutput": {"hookEventName": "PreToolUse", "updatedInput": input}})
    }
}

fn refusing(reason: &str) -> Value {
    json!({"hookSpecificOutput": {
        "hookEventName": "PreToolUse",
        "permissionDecision": "deny",
        "permissionDecisionReason": reason,
    }})
}

fn key(context: &CommandContext) -> Result<Key, String> {
    let Some(state) = context.places().state else {
        return Err("neither HOME nor XDG_STATE_HOME says where the key is".into());
    };
    keys::key(Some(&state)).map_err(|error| error.to_string())
}

fn now() -> Result<i64, String> {
    let since = clock::system().duration_since(UNIX_EPOCH).ok();
    let now = since.and_then(|since| i64::try_from(since.as_millis()).ok());
    now.ok_or_else(|| "the clock is before 1970".into())
}
