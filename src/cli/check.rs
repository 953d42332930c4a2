//! `tollgate check`: every fault and every warning, with its place.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Exit, args::SettingsArgs, output::Output, summary};
use crate::{
    app::wiring,
    config::{self, Faults},
    domain::settings::{AllowPrivate, Endpoint, Remote, ServerSpec, Settings},
    host::children::find,
    host::environment::Environment,
};

pub(super) fn run(args: &SettingsArgs, output: &Output) -> anyhow::Result<Exit> {
    let (options, env) = (args.options(), Environment::of_process());
    match config::load(&options, &env) {
        Ok(mut settings) => {
            let unusable = unusable(&settings);
            settings.sources.mcp_config.warnings.extend(unusable);
            let exposed = wiring::exposed(&settings, &Environment::of_process());
            settings.sources.gateway.warnings.extend(exposed);
            if output.json {
                let mut report = summary::json(&settings);
                if let Value::Object(report) = &mut report {
                    report.insert("faults".into(), json!([]));
                }
                output.value(&report);
            } else {
                output.line("the settings are sound");
                summary::lines(&settings).iter().for_each(|line| output.line(line));
            }
            Ok(Exit::Done)
        }
        Err(faults) => {
            let sound = config::files(&options, &env).into_iter();
            let sound = sound.filter(|(file, _)| faults.about(*file).next().is_none());
            tell(&faults, &sound.map(|(_, path)| path).collect::<Vec<_>>(), output);
            Ok(Exit::Settings)
        }
    }
}

/// Servers that cannot be used as they are configured, as far as that is seen from here.
fn unusable(settings: &Settings) -> Vec<String> {
    let reason = |server: &ServerSpec| match &server.endpoint {
        Endpoint::Stdio(command) if find(&command.program, command).is_none() => {
            Some(format!("the command `{}` was not found", command.program))
        }
        Endpoint::Stdio(_) => None,
        Endpoint::Http(remote) => in_the_clear(remote),
    };
    let told = settings.servers.iter().filter_map(|server| Some((&server.name, reason(server)?)));
    told.map(|(name, reason)| format!("server `{name}`: {reason}")).collect()
}

fn in_the_clear(remote: &Remote) -> Option<String> {
    let public = remote.allow_private == AllowPrivate::None;
    (public && remote.url.scheme() == "http" && !remote.headers.is_empty())
        .then(|| "its headers are sent unencrypted; use https".to_owned())
}

fn tell(faults: &Faults, sound: &[PathBuf], output: &Output) {
    if output.json {
        let list: Vec<Value> = faults
            .iter()
            .map(|fault| {
                json!({
                    "file": fault.file,
                    "line": fault.position.map(|(line, _)| line),
                    "column": fault.position.map(|(_, column)| column),
                    "place": fault.place,
                    "message": fault.message,
                })
            })
            .collect();
        output.value(&json!({ "faults": list, "sound": sound }));
        return;
    }
    for fault in faults.iter() {
        output.line(&fault.to_string());
    }
    sound.iter().for_each(|path| output.line(&format!("  sound    {}", path.display())));
    let count = faults.iter().count();
    output.line(&format!("{count} fault{} found", if count == 1 { "" } else { "s" }));
}
