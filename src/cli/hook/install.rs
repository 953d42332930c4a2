//! Adds the hook to the settings of Claude Code, and removes it: the files.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::{
    ClaudeCodeArgs, MAIN,
    claude_code::TOOLS,
    edit::{self, Edited, Hook, OURS, is_plain},
};
use crate::{
    cli::{Exit, output::Output},
    host::{clock, environment::Environment},
};

/// How long the client waits for an answer, in seconds.
const TIMEOUT: u64 = 10;

/// Prints what would be added.
pub(super) fn print(args: &ClaudeCodeArgs, output: &Output) -> anyhow::Result<Exit> {
    let command = command(args, &Environment::of_process())?;
    output.line(&format!("{:#}", json!({"hooks": {"PreToolUse": [entry(&command)]}})));
    Ok(Exit::Done)
}

/// Adds the hook to the settings, or changes it there.
pub(super) fn install(args: &ClaudeCodeArgs, output: &Output) -> anyhow::Result<Exit> {
    let env = Environment::of_process();
    let (command, program) = (command(args, &env)?, program(&env)?);
    let hook = Hook { command: &command, program, entry: &entry(&command) };
    let done = change(args, &env, |before| edit::install(before, &hook))?;
    let place = done.path.display();
    let said = match done.changed {
        true => format!("`{place}` has the hook now: {command}"),
        false => format!("`{place}` has the hook already"),
    };
    done.report(output, Some(&command), &said)
}

/// Removes the hook from the settings.
pub(super) fn uninstall(args: &ClaudeCodeArgs, output: &Output) -> anyhow::Result<Exit> {
    let env = Environment::of_process();
    let program = program(&env)?;
    let done = change(args, &env, |before| match before {
        Some(before) => edit::uninstall(before, program),
        None => Ok(Edited { text: String::new(), notes: Vec::new() }),
    })?;
    let place = done.path.display();
    let said = match done.changed {
        true => format!("`{place}` does not have the hook any more"),
        false => format!("`{place}` does not have the hook"),
    };
    done.report(output, None, &said)
}

/// What became of the settings.
struct Done {
    path: PathBuf,
    changed: bool,
    backup: Option<PathBuf>,
    notes: Vec<String>,
}

impl Done {
    fn report(self, output: &Output, command: Option<&str>, said: &str) -> anyhow::Result<Exit> {
        if output.json {
            output.value(&json!({
                "settings": self.path,
                "command": command,
                "changed": self.changed,
                "backup": self.backup,
                "notes": self.notes,
            }));
            return Ok(Exit::Done);
        }
        output.line(said);
        if let Some(backup) = &self.backup {
            output.line(&format!("what it was before is `{}`", backup.display()));
        }
        self.notes.iter().for_each(|note| output.line(note));
        if self.changed {
            output.line("sessions of Claude Code that run already may need to be started anew");
        }
        Ok(Exit::Done)
    }
}

/// Edits the settings, and keeps a copy of what they were. Nothing is written if nothing changes.
fn change(
    args: &ClaudeCodeArgs,
    env: &Environment,
    edit: impl Fn(Option<&str>) -> anyhow::Result<Edited>,
) -> anyhow::Result<Done> {
    let path = place(args, env)?;
    let before = read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let Edited { text, notes } = edit(before.as_deref())
        .with_context(|| format!("`{}` was left as it is", path.display()))?;
    let changed = text != before.as_deref().unwrap_or_default();
    let backup = match changed {
        true => replace(&path, before.as_deref(), &text)
            .with_context(|| format!("cannot write `{}`", path.display()))?,
        false => None,
    };
    Ok(Done { path, changed, backup, notes })
}

/// The file that is changed: what a link leads to, not the link.
fn place(args: &ClaudeCodeArgs, env: &Environment) -> anyhow::Result<PathBuf> {
    let path = match &args.settings {
        Some(path) => env.beneath_home(path),
        None => settings_of_user(env).context(
            "neither CLAUDE_CONFIG_DIR nor HOME says where the settings are; give --settings FILE",
        )?,
    };
    match fs::canonicalize(&path) {
        Ok(found) => Ok(found),
        Err(_) if path.is_symlink() => {
            bail!(
                "`{}` is a link that leads to no file; make the file, or remove the link",
                path.display()
            )
        }
        Err(_) => Ok(path),
    }
}

fn settings_of_user(env: &Environment) -> Option<PathBuf> {
    let dir = env.get("CLAUDE_CONFIG_DIR").map(|dir| env.beneath_home(dir));
    let dir = dir.or_else(|| Some(Path::new(env.get("HOME")?).join(".claude")))?;
    Some(dir.join("settings.json"))
}

/// The command that the client is to run.
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

/// A word for a shell.
fn quoted(word: &str) -> String {
    match is_plain(word) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn matcher() -> String {
    format!("mcp__.*__({})", TOOLS.join("|"))
}

fn entry(command: &str) -> Value {
    json!({"matcher": matcher(), "hooks": [hook(command)]})
}

fn hook(command: &str) -> Value {
    json!({"type": "command", "command": command, "timeout": TIMEOUT})
}

/// A file's text; None if there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the file anew, at once or not at all, beside a copy of what it was. Answers where that is.
fn replace(path: &Path, before: Option<&str>, text: &str) -> anyhow::Result<Option<PathBuf>> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    if before.is_some() {
        writable(path)?;
    }
    let kept = match before {
        Some(before) => Some(keep(path, before)?),
        None => None,
    };
    let beside = named(path, &format!("new-{}", std::process::id()));
    let written = write_new(&beside, text).and_then(|()| {
        if let Ok(found) = fs::metadata(path) {
            fs::set_permissions(&beside, found.permissions())?;
        }
        if read(path)?.as_deref() != before {
            return Err(io::Error::other("it was changed meanwhile; run this again"));
        }
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // What matters is why it was not written. Nothing was changed that a copy is needed of.
        let _ = fs::remove_file(&beside);
        let _ = kept.as_ref().map(fs::remove_file);
    }
    written?;
    Ok(kept)
}

/// A new file takes the place of the old one, which could be done to a file that may not be written.
fn writable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.permissions().readonly() {
        let says =
            "it is read-only; make it writable, or edit it by hand (`--print` has the lines)";
        return Err(io::Error::other(says));
    }
    fs::OpenOptions::new().write(true).open(path).map(drop)
}

/// Keeps a copy under a name that nothing has.
fn keep(path: &Path, text: &str) -> io::Result<PathBuf> {
    let now = chrono::DateTime::<chrono::Utc>::from(clock::system());
    let mut at = now.timestamp();
    loop {
        let copy = named(path, &format!("bak-{at}"));
        match write_new(&copy, text) {
            Ok(()) => return Ok(copy),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at += 1,
            Err(error) => return Err(error),
        }
    }
}

fn named(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{ending}"));
    path.with_file_name(name)
}

/// Settings can hold secrets, so that what is made here is for its owner alone.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
