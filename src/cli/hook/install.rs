//! Adds the hook to the settings of Claude Code, and removes it: the files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    args::{ClaudeCodeArgs, MAIN},
    claude_code::TOOLS,
    edit::{self, Edited, Hook, OURS},
};
use crate::{
    cli::{context::CommandContext, exit::Exit, output::Report, shell::quoted},
    host::{environment::Environment, files},
};

/// How long the client waits for an answer, in seconds.
const TIMEOUT: u64 = 10;

pub(super) fn print(context: &CommandContext, args: &ClaudeCodeArgs) -> anyhow::Result<Exit> {
    let command = command(args, &context.env)?;
    let snippet = json!({"hooks": {"PreToolUse": [entry(&command)]}});
    context.show(&Report::new(snippet.clone()).line(format!("{snippet:#}")))
}

/// Adds the hook to the settings, or changes it there.
pub(super) fn install(context: &CommandContext, args: &ClaudeCodeArgs) -> anyhow::Result<Exit> {
    let env = &context.env;
    let (command, program) = (command(args, env)?, program(env)?);
    let hook = Hook { command: &command, program, entry: &entry(&command) };
    let change = change(args, env, |before| edit::install(before, &hook))?;
    let said = match change.changed {
        true => format!("`{}` has the hook now: {command}", change.settings.display()),
        false => format!("`{}` has the hook already", change.settings.display()),
    };
    context.show(&change.report(Some(&command), said))
}

/// Removes the hook from the settings.
pub(super) fn uninstall(context: &CommandContext, args: &ClaudeCodeArgs) -> anyhow::Result<Exit> {
    let program = program(&context.env)?;
    let change = change(args, &context.env, |before| match before {
        Some(before) => edit::uninstall(before, program),
        None => Ok(Edited { text: String::new(), notes: Vec::new() }),
    })?;
    let said = match change.changed {
        true => format!("`{}` no longer has the hook", change.settings.display()),
        false => format!("`{}` does not have the hook", change.settings.display()),
    };
    context.show(&change.report(None, said))
}

/// What became of the settings.
struct SettingsChange {
    settings: PathBuf,
    changed: bool,
    backup: Option<PathBuf>,
    notes: Vec<String>,
}

impl SettingsChange {
    fn report(self, command: Option<&str>, said: String) -> Report {
        let json = json!({
            "settings": self.settings,
            "command": command,
            "changed": self.changed,
            "backup": self.backup,
            "notes": self.notes,
        });
        let copy = |path: PathBuf| format!("a copy of what it was is `{}`", path.display());
        let restart = "running sessions of Claude Code may need a restart";
        Report::new(json)
            .line(said)
            .lines(self.backup.map(copy))
            .lines(self.notes)
            .lines(self.changed.then(|| restart.to_owned()))
    }
}

/// Edits the settings and keeps a copy of what they were. Writes nothing if nothing changes.
fn change(
    args: &ClaudeCodeArgs,
    env: &Environment,
    edit: impl Fn(Option<&str>) -> anyhow::Result<Edited>,
) -> anyhow::Result<SettingsChange> {
    let path = place(args, env)?;
    let before = files::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let Edited { text, notes } = edit(before.as_deref())
        .with_context(|| format!("`{}` was left as it is", path.display()))?;
    let changed = text != before.as_deref().unwrap_or_default();
    let backup = match changed {
        true => files::replace(&path, before.as_deref(), &text).with_context(|| {
            format!("cannot write `{}` (`--print` has the lines)", path.display())
        })?,
        false => None,
    };
    Ok(SettingsChange { settings: path, changed, backup, notes })
}

/// The file to change: the target of a link, not the link.
fn place(args: &ClaudeCodeArgs, env: &Environment) -> anyhow::Result<PathBuf> {
    let path = match &args.settings {
        Some(path) => env.beneath_home(path),
        None => settings_of_user(env).context(
            "neither CLAUDE_CONFIG_DIR nor HOME says where the settings are; give --settings FILE",
        )?,
    };
    files::target(path.clone()).with_context(|| format!("cannot use `{}`", path.display()))
}

fn settings_of_user(env: &Environment) -> Option<PathBuf> {
    let dir = env.get("CLAUDE_CONFIG_DIR").map(|dir| env.beneath_home(dir));
    let dir = dir.or_else(|| Some(Path::new(env.get("HOME")?).join(".claude")))?;
    Some(dir.join("settings.json"))
}

/// The command for the client to run.
fn command(args: &ClaudeCodeArgs, env: &Environment) -> anyhow::Result<String> {
    let mut command = format!("{}{OURS}", quoted(program(env)?));
    if args.main.as_str() != MAIN {
        command.push_str(&format!(" --main {}", args.main));
    }
    if args.deny_wrong_id {
        command.push_str(" --deny-wrong-id");
    }
    Ok(command)
}

fn program(env: &Environment) -> anyhow::Result<&str> {
    let program = env.executable.as_deref().and_then(Path::to_str);
    program.context("the path of this program is not known, or not Unicode")
}

fn entry(command: &str) -> Value {
    let hook = json!({"type": "command", "command": command, "timeout": TIMEOUT});
    json!({"matcher": format!("mcp__.*__({})", TOOLS.join("|")), "hooks": [hook]})
}
