//! Adds the hook to the settings of Claude Code: everything else in them stays as it is.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use super::{ClaudeCodeArgs, MAIN, claude_code::TOOLS};
use crate::{
    cli::{Exit, output::Output},
    config::Environment,
};

/// What every command of ours ends in, but for its options.
const OURS: &str = " hook claude-code";

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
    let path = match &args.settings {
        Some(path) => path.clone(),
        None => settings_of_user(&env).context(
            "neither CLAUDE_CONFIG_DIR nor HOME says where the settings are; give --settings FILE",
        )?,
    };
    // What a link leads to is changed, not the link.
    let path = match fs::canonicalize(&path) {
        Ok(found) => found,
        Err(_) if path.is_symlink() => {
            bail!(
                "`{}` is a link that leads to no file; make the file, or remove the link",
                path.display()
            )
        }
        Err(_) => path,
    };
    let command = command(args, &env)?;
    let before = read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let (settings, changed) = with_hook(before.as_deref(), &command)
        .with_context(|| format!("`{}` was left as it is", path.display()))?;
    let backup = match changed {
        true => replace(&path, before.as_deref(), &settings)
            .with_context(|| format!("cannot write `{}`", path.display()))?,
        false => None,
    };
    if output.json {
        output.value(&json!({
            "settings": path,
            "command": command,
            "changed": changed,
            "backup": backup,
        }));
        return Ok(Exit::Done);
    }
    if !changed {
        output.line(&format!("`{}` has the hook already", path.display()));
        return Ok(Exit::Done);
    }
    output.line(&format!("`{}` has the hook now: {command}", path.display()));
    if let Some(backup) = backup {
        output.line(&format!("what it was before is `{}`", backup.display()));
    }
    output.line("sessions of Claude Code that run already may need to be started anew");
    Ok(Exit::Done)
}

fn settings_of_user(env: &Environment) -> Option<PathBuf> {
    let dir = env.get("CLAUDE_CONFIG_DIR").map(PathBuf::from);
    let dir = dir.or_else(|| Some(Path::new(env.get("HOME")?).join(".claude")))?;
    Some(dir.join("settings.json"))
}

/// The command that the client is to run.
fn command(args: &ClaudeCodeArgs, env: &Environment) -> anyhow::Result<String> {
    let program = env.executable.as_deref().and_then(Path::to_str);
    let program = program.context("the path of this program is not known, or not Unicode")?;
    let mut command = format!("{}{OURS}", quoted(program));
    if args.main.as_str() != MAIN {
        command.push_str(&format!(" --main {}", args.main));
    }
    if args.deny_wrong_id {
        command.push_str(" --deny-wrong-id");
    }
    Ok(command)
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+".contains(&b);
    match word.bytes().all(plain) {
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

/// The settings with the hook, and whether that is a change.
fn with_hook(before: Option<&str>, command: &str) -> anyhow::Result<(String, bool)> {
    let mut settings: Value = match before {
        None => json!({}),
        Some(text) => serde_json::from_str(text).context("it is not JSON")?,
    };
    let before = settings.clone();
    let hooks = member(&mut settings, "the file", "hooks", json!({}))?;
    let entries = member(hooks, "`hooks`", "PreToolUse", json!([]))?;
    let Some(entries) = entries.as_array_mut() else { bail!("`hooks.PreToolUse` is not a list") };
    let program = command.split(OURS).next().unwrap_or_default();
    let mut found = false;
    // Those of an older place, or with other options: whichever is left may answer first.
    for ours in entries.iter_mut().flat_map(|entry| ours(entry, program)) {
        ours.insert("command".into(), command.into());
        found = true;
    }
    if !found {
        entries.push(entry(command));
    }
    let changed = settings != before;
    Ok((format!("{settings:#}\n"), changed))
}

/// A member of an object, which is given this value if it is not there.
fn member<'a>(
    object: &'a mut Value,
    what: &str,
    name: &str,
    value: Value,
) -> anyhow::Result<&'a mut Value> {
    let Some(object) = object.as_object_mut() else { bail!("{what} is not an object") };
    Ok(object.entry(name).or_insert(value))
}

/// The hooks of ours among those of an entry, whatever the entry matches: those that run this
/// program, whatever its name, or one named as ours is.
fn ours<'a>(
    entry: &'a mut Value,
    program: &'a str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let hooks = entry.get_mut("hooks").and_then(Value::as_array_mut);
    hooks.into_iter().flatten().filter_map(Value::as_object_mut).filter(move |hook| {
        let command = hook.get("command").and_then(Value::as_str);
        command
            .and_then(|command| command.split_once(OURS))
            .is_some_and(|(runs, _)| runs == program || runs.contains("tollgate"))
    })
}

/// Writes the file anew, at once or not at all, beside a copy of what it was. Answers where that is.
fn replace(path: &Path, before: Option<&str>, text: &str) -> anyhow::Result<Option<PathBuf>> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
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

/// Keeps a copy under a name that nothing has.
fn keep(path: &Path, text: &str) -> io::Result<PathBuf> {
    let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now());
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
