//! `tollgate check`: every fault and every warning, with its place.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{context::CommandContext, exit::Exit, output::Report, summary};
use crate::{
    app::wiring,
    config::{self, Faults, SettingsFault},
    domain::settings::{AllowPrivate, Endpoint, Remote, ServerSpec, Settings},
    host::children::find,
};

pub(super) fn run(context: &CommandContext) -> anyhow::Result<Exit> {
    let (options, env) = (context.args.options(), &context.env);
    match config::load(&options, env) {
        Ok(mut settings) => {
            let unusable = unusable(&settings);
            settings.sources.mcp_config.warnings.extend(unusable);
            let exposed = wiring::exposed(&settings, env);
            settings.sources.gateway.warnings.extend(exposed);
            let mut json = summary::json(&settings);
            if let Value::Object(members) = &mut json {
                members.insert("faults".into(), json!([]));
            }
            let report = Report::new(json).line("the settings are sound");
            context.show(&report.lines(summary::lines(&settings)))
        }
        Err(faults) => {
            let sound = config::files(&options, env).into_iter();
            let sound = sound.filter(|(file, _)| faults.about(*file).next().is_none());
            let sound: Vec<PathBuf> = sound.map(|(_, path)| path).collect();
            context.show(&faulty(&faults, &sound))
        }
    }
}

/// Reports every fault, and the files that have none.
fn faulty(faults: &Faults, sound: &[PathBuf]) -> Report {
    let json = |fault: &SettingsFault| {
        json!({
            "file": fault.file,
            "line": fault.position.map(|(line, _)| line),
            "column": fault.position.map(|(_, column)| column),
            "place": fault.place,
            "message": fault.message,
        })
    };
    let json: Vec<Value> = faults.iter().map(json).collect();
    let count = json.len();
    Report::new(json!({"faults": json, "sound": sound}))
        .exit(Exit::Settings)
        .lines(faults.iter().map(ToString::to_string))
        .lines(sound.iter().map(|path| format!("  sound    {}", path.display())))
        .line(format!("{count} fault{} found", if count == 1 { "" } else { "s" }))
}

/// Servers that cannot be used as they are configured, as far as that can be seen from here.
fn unusable(settings: &Settings) -> Vec<String> {
    let reason = |server: &ServerSpec| match &server.endpoint {
        Endpoint::Stdio(command) if find(&command.program, command).is_none() => {
            Some(format!("the command `{}` was not found", command.program))
        }
        Endpoint::Stdio(_) => None,
        Endpoint::Http(remote) => in_the_clear(remote),
    };
    let found = settings.servers.iter().filter_map(|server| Some((&server.name, reason(server)?)));
    found.map(|(name, reason)| format!("server `{name}`: {reason}")).collect()
}

fn in_the_clear(remote: &Remote) -> Option<String> {
    let public = remote.allow_private == AllowPrivate::None;
    (public && remote.url.scheme() == "http" && !remote.headers.is_empty())
        .then(|| "its headers are sent unencrypted; use https".to_owned())
}
