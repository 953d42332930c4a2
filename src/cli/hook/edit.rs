//! Edits the settings of Claude Code as text: adds, changes or removes the hook and keeps every other
//! byte. If a member occurs twice, the last one counts, as in the client.

use anyhow::{Context as _, bail};
use jsonc_parser::{
    ParseOptions,
    cst::{CstArray, CstInputValue, CstObject, CstObjectProp, CstRootNode},
};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::claude_code::TOOLS;
use crate::cli::shell::{is_plain, unquoted};

/// Follows the program in every command that we install; only options follow it.
pub(super) const OURS: &str = " hook claude-code";

/// The hook to install.
pub(super) struct Hook<'a> {
    /// Its command line.
    pub(super) command: &'a str,
    /// The program that it runs.
    pub(super) program: &'a str,
    /// The whole entry of `hooks.PreToolUse`.
    pub(super) entry: &'a Value,
}

/// Settings after a change.
pub(super) struct Edited {
    pub(super) text: String,
    /// What the user should know about hooks that were there before.
    pub(super) notes: Vec<String>,
}

/// Adds the hook, or updates it where its entry already matches the gateway's tools.
pub(super) fn install(before: Option<&str>, hook: &Hook<'_>) -> anyhow::Result<Edited> {
    let (root, settings) = parse(before.unwrap_or("{}\n"))?;
    let hooks = match member(&settings, "hooks") {
        Some(hooks) => hooks.object_value().context("`hooks` is not an object")?,
        None => settings.object_value_or_set("hooks"),
    };
    let entries = match member(&hooks, "PreToolUse") {
        Some(entries) => entries.array_value().context("`hooks.PreToolUse` is not a list")?,
        None => hooks.array_value_or_set("PreToolUse"),
    };
    let FoundHooks { ours, mut notes } = find(&entries, hook.program);
    let mut installed = false;
    for found in ours {
        if found.runs {
            // All of them: one left unchanged could answer first.
            found.set_command(hook.command);
            installed = true;
        } else {
            notes.push(format!(
                "under the matcher {} the hook did not run for the gateway's tools: it has an entry of its own now",
                found.matcher
            ));
            found.remove();
        }
    }
    if !installed {
        entries.append(input(hook.entry));
    }
    Ok(Edited { text: root.to_string(), notes })
}

/// Removes the hook, and lists and objects that are empty without it.
pub(super) fn uninstall(before: &str, program: &str) -> anyhow::Result<Edited> {
    let (root, settings) = parse(before)?;
    let unchanged = |notes| Edited { text: before.to_owned(), notes };
    let hooks = member(&settings, "hooks").and_then(|hooks| Some((hooks.object_value()?, hooks)));
    let Some((hooks, in_settings)) = hooks else { return Ok(unchanged(Vec::new())) };
    let entries = member(&hooks, "PreToolUse").and_then(|list| Some((list.array_value()?, list)));
    let Some((entries, in_hooks)) = entries else { return Ok(unchanged(Vec::new())) };
    let FoundHooks { ours, notes } = find(&entries, program);
    if ours.is_empty() {
        return Ok(unchanged(notes));
    }
    ours.into_iter().for_each(Ours::remove);
    if entries.elements().is_empty() {
        in_hooks.remove();
        if hooks.properties().is_empty() {
            in_settings.remove();
        }
    }
    Ok(Edited { text: root.to_string(), notes })
}

/// Parses the settings into a tree that keeps every byte.
fn parse(text: &str) -> anyhow::Result<(CstRootNode, CstObject)> {
    // Strict, unlike the tree: a file that the client may not read is left alone.
    serde_json::from_str::<IgnoredAny>(text).context("it is not JSON")?;
    let root = CstRootNode::parse(text, &ParseOptions::default()).context("it is not JSON")?;
    let Some(settings) = root.object_value() else { bail!("the file is not an object") };
    Ok((root, settings))
}

/// The last member of a name.
fn member(object: &CstObject, name: &str) -> Option<CstObjectProp> {
    let named = |member: &CstObjectProp| member.decoded_name().as_deref() == Some(name);
    object.properties().into_iter().rfind(named)
}

fn text(object: &CstObject, name: &str) -> Option<String> {
    member(object, name)?.value()?.as_string_lit()?.decoded_value().ok()
}

/// The hooks among the entries.
struct FoundHooks {
    ours: Vec<Ours>,
    notes: Vec<String>,
}

/// A hook of ours.
struct Ours {
    entry: CstObject,
    list: CstArray,
    hook: CstObject,
    matcher: String,
    /// Whether it runs for the gateway's tools.
    runs: bool,
}

impl Ours {
    fn set_command(&self, command: &str) {
        if text(&self.hook, "command").as_deref() != Some(command)
            && let Some(member) = member(&self.hook, "command")
        {
            member.set_value(command.into());
        }
    }

    fn remove(self) {
        self.hook.remove();
        if self.list.elements().is_empty() {
            self.entry.remove();
        }
    }
}

/// Finds the hooks that run this program or another `tollgate`. A command that merely contains such a
/// call is left alone.
fn find(entries: &CstArray, program: &str) -> FoundHooks {
    let mut found = FoundHooks { ours: Vec::new(), notes: Vec::new() };
    for entry in entries.elements().iter().filter_map(|entry| entry.as_object()) {
        let list = member(&entry, "hooks").and_then(|hooks| hooks.array_value());
        let Some(list) = list else { continue };
        let matcher = text(&entry, "matcher");
        for hook in list.elements().iter().filter_map(|hook| hook.as_object()) {
            let command = text(&hook, "command").unwrap_or_default();
            if is_ours(&command, program) {
                found.ours.push(Ours {
                    entry: entry.clone(),
                    list: list.clone(),
                    hook,
                    matcher: format!("`{}`", matcher.as_deref().unwrap_or_default()),
                    runs: matches_the_tools(matcher.as_deref()),
                });
            } else if command.contains(OURS) && command.contains("tollgate") {
                found.notes.push(format!(
                    "another command seems to run the hook as well, and was left as it is: `{command}`"
                ));
            }
        }
    }
    found
}

/// Whether an installation of this program or another `tollgate` wrote a command line.
fn is_ours(command: &str, program: &str) -> bool {
    let Some((word, options)) = command.rsplit_once(OURS) else { return false };
    if !(options.is_empty() || options.starts_with(' ')) {
        return false;
    }
    let mut options = options.split(' ').skip(1);
    let only_options = loop {
        match options.next() {
            None => break true,
            Some("--deny-wrong-id") => {}
            Some("--main") if options.next().is_some_and(is_plain) => {}
            Some(_) => break false,
        }
    };
    let Some(path) = unquoted(word).filter(|_| only_options) else { return false };
    path == program || path.rsplit(['/', '\\']).next().is_some_and(|name| name == "tollgate")
}

/// Whether an entry's matcher seems to match all tools of the gateway.
fn matches_the_tools(matcher: Option<&str>) -> bool {
    let Some(matcher) = matcher else { return true };
    let names_each = || TOOLS.iter().all(|tool| matcher.contains(tool));
    ["", "*", ".*"].contains(&matcher)
        || matcher.starts_with("mcp__") && (matcher.ends_with(".*") || names_each())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(members) => CstInputValue::Object(
            members.iter().map(|(name, value)| (name.clone(), input(value))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_a_plain_call_of_the_program_is_ours() {
        let check = |command: &str, expected: bool| {
            assert_eq!(is_ours(command, "/opt/my gw"), expected, "{command}");
        };
        check("/usr/bin/tollgate hook claude-code", true);
        check("tollgate hook claude-code --main lead --deny-wrong-id", true);
        check("'/opt/my gw' hook claude-code", true);
        check("'/it'\\''s/tollgate' hook claude-code", true);
        check("other hook claude-code", false);
        check("/opt/tollgate/other hook claude-code", false);
        check("sudo tollgate hook claude-code", false);
        check("cd /x && tollgate hook claude-code", false);
        check("tollgate hook claude-code | tee log", false);
        check("tollgate hook claude-code --main a; rm x", false);
        check("tollgate hook claude-code-wrapper", false);
        check("'a' 'tollgate' hook claude-code", false);
    }
}
