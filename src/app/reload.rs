//! Live settings: puts what `config` reads anew in force in the gateway.

use std::{sync::Arc, time::SystemTime};

use super::logging::Log;
use crate::{
    config::{Faults, Reload, Watch, following},
    domain::{
        call::ServerName,
        record::{Decision, Draft, Event},
        settings::{Settings, SettingsFile},
    },
    downstream::Succession,
    gateway::Gateway,
};

/// Puts every change of the settings files in force, unless it has faults; does not end.
pub(super) async fn follow(mut watch: Watch, gateway: Arc<Gateway>, log: Log) {
    loop {
        let in_use = gateway.current().settings().sources.clone();
        let Reload { files, at, outcome } = watch.next(&in_use).await;
        if let Ok(settings) = &outcome {
            log.learn(&settings.redactor);
        }
        let before = gateway.current();
        match outcome.map(|settings| following(before.settings(), settings)) {
            Ok(settings) => {
                let prepared = gateway.prepare(settings).await;
                let summary = Summary::of(&files, before.settings(), prepared.settings());
                let sources = prepared.settings().sources.clone();
                let level = prepared.settings().log_level();
                let Some(succession) = gateway.replace(prepared) else { continue };
                gateway.readings().succeeded(&files, at, &sources);
                log.set_level(level);
                let line = summary.line(&succession);
                match summary.warnings.is_empty() {
                    true => tracing::info!("{line}"),
                    false => tracing::warn!("{line}"),
                }
                record(&gateway, Decision::Allowed, line).await;
            }
            Err(faults) => {
                refuse(&gateway, &files, at, &lines(&faults, &gateway)).await;
            }
        }
    }
}

/// Records and logs why settings were not put in force.
async fn refuse(
    gateway: &Gateway,
    files: &[SettingsFile],
    at: SystemTime,
    faults: &[(Option<SettingsFile>, String)],
) {
    let each = faults.iter().map(|(about, line)| (*about, line.as_str()));
    gateway.readings().failed(files, at, each);
    for (_, line) in faults {
        tracing::error!("settings not reloaded, those before stay in force: {line}");
    }
    let note = faults.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>().join("; ");
    record(gateway, Decision::Refused, note).await;
}

async fn record(gateway: &Gateway, decision: Decision, note: String) {
    let (decision, note) = (Some(decision), Some(note));
    gateway.record(Draft { event: Event::Reload, decision, note, ..Draft::default() }).await;
}

/// The faults as lines, each with the file that it is about. The new settings masked their own
/// secrets in what is quoted; those in force are masked here.
fn lines(faults: &Faults, gateway: &Gateway) -> Vec<(Option<SettingsFile>, String)> {
    let current = gateway.current();
    let masked = |text: String| current.settings().redactor.redact(&text).into_owned();
    faults.iter().map(|fault| (fault.about, masked(fault.to_string()))).collect()
}

/// What the log and the record say of a reload.
struct Summary {
    files: Vec<&'static str>,
    /// Parts of the settings that changed, apart from servers.
    changed: Vec<&'static str>,
    warnings: Vec<String>,
}

impl Summary {
    fn of(files: &[SettingsFile], before: &Settings, after: &Settings) -> Self {
        let changed = [
            ("rules", before.rules != after.rules || before.identities != after.identities),
            ("prices", before.budgeting.tariff != after.budgeting.tariff),
            ("budget", before.budgeting.terms() != after.budgeting.terms()),
            ("auth", !before.auth.mode.takes_the_same(&after.auth.mode)),
            ("routing", before.routing != after.routing),
            ("logging", before.logging != after.logging),
        ];
        let changed = changed.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| what);
        let known: Vec<&str> = before.warnings().collect();
        let new = after.warnings().filter(|warning| !known.contains(warning));
        Self {
            files: files.iter().map(|file| file.name()).collect(),
            changed: changed.collect(),
            warnings: new.map(str::to_owned).collect(),
        }
    }

    fn line(&self, servers: &Succession) -> String {
        let lists = [
            ("servers added", &servers.added),
            ("removed", &servers.removed),
            ("replaced", &servers.replaced),
            ("described anew", &servers.altered),
        ];
        let mut parts: Vec<String> = lists
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", list(names)))
            .collect();
        parts.extend(self.changed.iter().map(|what| format!("{what} changed")));
        if parts.is_empty() {
            parts.push("nothing changed".to_owned());
        }
        parts.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        format!("settings reloaded ({}): {}", self.files.join(", "), parts.join("; "))
    }
}

fn list(names: &[ServerName]) -> String {
    names.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ")
}
