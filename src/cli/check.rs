//! `tollgate check`: every fault and every warning, with its place.

use serde_json::{Value, json};

use super::{Exit, args::SettingsArgs, output::Output, summary};
use crate::{
    config::{self, Environment, Faults},
    domain::settings::{Endpoint, Settings},
    downstream::child::find,
};

pub(super) fn run(args: &SettingsArgs, output: &Output) -> anyhow::Result<Exit> {
    match config::load(&args.options(), &Environment::of_process()) {
        Ok(mut settings) => {
            let missing = missing_commands(&settings);
            settings.sources.mcp_config.warnings.extend(missing);
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
            tell(&faults, output);
            Ok(Exit::Settings)
        }
    }
}

/// Servers that cannot be started here as they are configured.
fn missing_commands(settings: &Settings) -> Vec<String> {
    let stdio = settings.servers.iter().filter_map(|server| match &server.endpoint {
        Endpoint::Stdio(command) => Some((&server.name, command)),
        Endpoint::Http(_) => None,
    });
    stdio
        .filter(|(_, command)| find(&command.program, command).is_none())
        .map(|(name, command)| {
            format!("server `{name}`: the command `{}` was not found", command.program)
        })
        .collect()
}

fn tell(faults: &Faults, output: &Output) {
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
        output.value(&json!({ "faults": list }));
        return;
    }
    for fault in faults.iter() {
        output.line(&fault.to_string());
    }
    let count = faults.iter().count();
    output.line(&format!("{count} fault{} found", if count == 1 { "" } else { "s" }));
}
