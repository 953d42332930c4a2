//! `tollgate explain`: which rule decides, without contacting any server.

use serde_json::json;

use super::{
    Exit,
    args::{ExplainArgs, SettingsArgs},
    output::Output,
    session,
};
use crate::domain::{
    call::{ServerName, ToolName},
    policy::Rule,
    settings::Settings,
};

pub(super) fn run(
    args: &SettingsArgs,
    explain: &ExplainArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let settings = session::settings(args)?;
    let verdict = decide(&settings, explain);
    let configured = settings.servers.iter().any(|s| s.name.as_str() == explain.server);
    if output.json {
        output.value(&json!({
            "allowed": verdict.allowed,
            "reason": verdict.reason,
            "rule": verdict.rule.as_ref().map(|rule| &rule.pointer),
            "says": verdict.rule.as_ref().map(|rule| &rule.says),
            "server_configured": configured,
        }));
    } else {
        let word = if verdict.allowed { "allowed" } else { "denied" };
        output.line(&format!(
            "{word}: `{}` may {}call `{}` on `{}`",
            explain.agent,
            if verdict.allowed { "" } else { "not " },
            explain.tool,
            explain.server,
        ));
        output.line(&format!("  because  {}", verdict.reason));
        if let Some(rule) = &verdict.rule {
            output.line(&format!("  rule     {} ({})", rule.pointer, rule.says));
        }
        if !configured {
            output.line(&format!("  note     server `{}` is not configured", explain.server));
        }
    }
    Ok(if verdict.allowed { Exit::Done } else { Exit::Refused })
}

struct Verdict {
    allowed: bool,
    reason: String,
    rule: Option<Rule>,
}

fn decide(settings: &Settings, explain: &ExplainArgs) -> Verdict {
    let rules = &settings.rules;
    let refused = |reason: String, rule| Verdict { allowed: false, reason, rule };
    let caller = match settings.identities.identify(Some(&explain.agent), rules) {
        Ok(caller) => caller,
        Err(error) => return refused(error.to_string(), None),
    };
    let visit = match rules.visit(&caller, &ServerName::from(explain.server.as_str())) {
        Ok(visit) => visit,
        Err(denied) => return refused("the server is refused".into(), Some(denied.rule)),
    };
    let of_server = visit.rule().clone();
    match rules.authorize(visit, &ToolName::from(explain.tool.as_str())) {
        Ok(permit) if *permit.rule() == of_server => Verdict {
            allowed: true,
            reason: "the server is granted and no tool rule narrows it".into(),
            rule: Some(of_server),
        },
        Ok(permit) => Verdict {
            allowed: true,
            reason: "the tool is granted".into(),
            rule: Some(permit.rule().clone()),
        },
        Err(denied) => refused("the tool is refused".into(), Some(denied.rule)),
    }
}
