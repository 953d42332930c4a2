//! `list_servers` and `get_server_tools`: what the caller may use, and nothing else.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    advice::KnownTools, builtin, call::CallContext, directory::search::FoundTools, query::Query,
    result::Answer, snapshot::Snapshot,
};
use crate::{
    domain::{
        call::ServerName,
        credits::Credits,
        detail::Detail,
        fit::{Candidate, fit, fit_one},
        policy::Visit,
        refusal::Refusal,
        rendered::{RenderedCatalog, assemble},
        settings::{Endpoint, public_url},
    },
    downstream::{Member, Status},
    host::blocking,
};

/// The servers that the caller may use; contacts none of them.
pub(super) async fn list_servers(
    call: &mut CallContext<'_>,
    metadata: bool,
) -> Result<Answer, Refusal> {
    let mut servers = Vec::new();
    for (visit, member) in call.snapshot.directory.usable(&call.caller) {
        let about = if member.spec().description.trim().is_empty() {
            member.server().about().await
        } else {
            None
        };
        servers.push(server_json(call.snapshot, member, about, metadata.then_some(&visit)));
    }
    call.record.found(servers.len(), None);
    let text = Value::Array(servers).to_string();
    call.record.uncounted = Some(text.clone());
    Ok(Answer::text(&text))
}

/// The tools of one server, or of all, that the caller may use, fitted into its budget.
pub(super) async fn get_server_tools(
    call: &mut CallContext<'_>,
    mut query: Query,
) -> Result<Answer, Refusal> {
    let (snapshot, caller) = (call.snapshot, &call.caller);
    let directory = &snapshot.directory;
    query.server = directory.server_meant(caller, &query.server).to_owned();
    let found = match query.server.as_str() {
        builtin::SERVER => builtin_found(snapshot, directory.visit_builtin(caller)?).await,
        "*" => directory.search(caller, &call.deadline).await?,
        name => directory.look_up(caller, name, &call.deadline).await?,
    };
    let context = query.context(snapshot.settings.rules.context_of(caller.agent()));
    let remaining = snapshot.billing.remaining(caller).await;
    // How long this takes depends on the servers and on the query.
    let working_on = snapshot.clone();
    let answer = blocking(move || fitted(&working_on, &query, &found, context, remaining)).await;
    call.record.found(answer.returned, Some(answer.tokens_used));
    let usage = snapshot.shared.usage.clone();
    usage.answered(caller.agent(), answer.tokens_used, answer.raw);
    // The answer does not wait for the disk; the end of the gateway does.
    snapshot.shared.background.spawn(async move { usage.flush().await });
    Ok(Answer::text(&answer.text))
}

/// The tools of the built-in server.
async fn builtin_found(snapshot: &Snapshot, visit: Visit) -> FoundTools {
    let encoding = snapshot.settings.rules.encoding;
    let rendered = blocking(move || {
        let server = ServerName::from(builtin::SERVER);
        RenderedCatalog::new(&server, builtin::catalogue(), encoding, |_| None)
    });
    FoundTools {
        catalogues: vec![(visit, Arc::new(rendered.await))],
        note: None,
        everywhere: false,
    }
}

/// An answer, and the tokens of its tools.
struct Fitted {
    text: String,
    tokens_used: usize,
    /// How many tools it shows.
    returned: usize,
    /// What the tools of each server that the caller may use would have cost, loaded as they are
    /// sent.
    raw: Vec<(ServerName, u64)>,
}

/// The answer to a query: the selected tools, as much of each as the budget takes.
fn fitted(
    snapshot: &Snapshot,
    query: &Query,
    found: &FoundTools,
    (cap, detail): (usize, Detail),
    remaining: Option<Credits>,
) -> Fitted {
    let mut known = KnownTools::new(found.everywhere);
    let mut raw = Vec::new();
    let mut candidates = Vec::new();
    let tariff = &snapshot.settings.budgeting.tariff;
    for (visit, rendered) in &found.catalogues {
        let server = rendered.server();
        let mut raw_tokens = 0;
        for tool in
            rendered.tools().iter().filter(|tool| snapshot.directory.may_call(visit, tool.name()))
        {
            known.add(server, tool.name());
            raw_tokens += u64::from(tool.costs().raw);
            if query.selects(tool.tool(), visit.server()) {
                let price = tariff.own_price(server, tool.name());
                candidates.push(Candidate { tool, server, price });
            }
        }
        raw.push((server.clone(), raw_tokens));
    }
    let placed = match candidates.as_slice() {
        [one] if query.names.is_some() => fit_one(one, detail, cap, found.everywhere),
        _ => fit(&candidates, detail, cap, found.everywhere),
    };
    let (tools, tokens) = assemble(&placed, found.everywhere);
    let encoding = snapshot.settings.rules.encoding;
    let tokens_used = tokens.unwrap_or_else(|| encoding.count(&tools));
    let remaining = remaining.map(|left| format!(r#""remaining":{left},"#)).unwrap_or_default();
    let mut text = format!(
        r#"{{"server":{},"total_available":{},"returned":{},"tokens_used":{tokens_used},{remaining}"tools":{tools}"#,
        Value::from(query.server.as_str()),
        known.count(),
        placed.len(),
    );
    let omitted = candidates.len() - placed.len();
    let mut notes: Vec<String> = found.note.iter().cloned().collect();
    notes.extend(known.unknown_names(query));
    if candidates.is_empty() {
        notes.push(known.nothing_found(query));
    }
    if omitted > 0 {
        text.push_str(&format!(r#","omitted":{omitted}"#));
        notes.push("raise max_schema_tokens, or narrow with names, pattern or query".into());
    }
    if !notes.is_empty() {
        text.push_str(&format!(r#","note":{}"#, Value::from(notes.join("; "))));
    }
    text.push('}');
    Fitted { text, tokens_used, returned: placed.len(), raw }
}

/// A server in the list, with what it says of itself where its settings say nothing, and with
/// metadata for a visitor. Its arguments, environment and headers, which may be secret, are never in
/// it, and only tools that the visitor may call are counted.
fn server_json(
    snapshot: &Snapshot,
    member: &Member,
    about: Option<String>,
    metadata_for: Option<&Visit>,
) -> Value {
    let spec = member.spec();
    let mut entry = Map::new();
    entry.insert("name".into(), spec.name.as_str().into());
    let masked = |text: &str| Value::from(snapshot.settings.redactor.redact(text));
    let description = about.as_deref().unwrap_or(&spec.description);
    entry.insert("description".into(), masked(description));
    let Some(visit) = metadata_for else { return Value::Object(entry) };
    entry.insert("transport".into(), spec.transport().into());
    match &spec.endpoint {
        Endpoint::Stdio(command) => entry.insert("command".into(), masked(&command.program)),
        Endpoint::Http(remote) => entry.insert("url".into(), masked(&public_url(&remote.url))),
    };
    let status = member.server().status();
    entry.insert("status".into(), status.as_str().into());
    match status {
        Status::Ready(Some(catalogue)) => {
            entry.insert(
                "tools".into(),
                snapshot.directory.visible_tools(visit, &catalogue).count().into(),
            );
        }
        Status::Failed { retry_after_ms: Some(after), .. } => {
            entry.insert("retry_after_ms".into(), after.into());
        }
        _ => {}
    }
    let deaths = member.server().deaths();
    if deaths > 0 {
        entry.insert("deaths".into(), deaths.into());
    }
    Value::Object(entry)
}
