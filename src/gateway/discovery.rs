//! `list_servers` and `get_server_tools`: what the caller may use, and nothing else.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, CallRequest, Snapshot, advice::Known, builtin, entry::Entry, facade, fields::Fields,
    forward::unavailable, text_result,
};
use crate::{
    domain::{
        call::ServerName,
        caller::Caller,
        catalog::{Catalogue, Tool},
        credits::Credits,
        detail::{Detail, Level},
        fit::{Candidate, fit, fit_one},
        json::RawJson,
        pattern::Pattern,
        policy::Visit,
        refusal::Refusal,
        rendered::{RenderedCatalog, assemble},
        settings::{Endpoint, public_url},
    },
    downstream::{Member, Status},
    host::blocking,
};

impl Snapshot {
    /// The servers that the caller may use; contacts none of them.
    pub(super) async fn list_servers(
        &self,
        asked: CallRequest,
        entry: &mut Entry,
    ) -> Result<Answer, Refusal> {
        let shown = asked.shown()?;
        entry.asks_by(facade::LIST_SERVERS, &asked.arguments);
        let metadata = match list_metadata(&asked.arguments) {
            Ok(metadata) => metadata,
            Err(refusal) => return Err(self.of_caller(refusal, &shown, entry).await),
        };
        let caller = self.identify(&shown, entry).await?;
        let mut servers = Vec::new();
        for member in self.fleet.members() {
            let Ok(visit) = self.settings.rules.visit(&caller, member.name()) else { continue };
            let about = match member.spec().description.trim().is_empty() {
                true => member.server().about().await,
                false => None,
            };
            servers.push(self.entry(member, about, metadata.then_some(&visit)));
        }
        entry.found(servers.len());
        let text = Value::Array(servers).to_string();
        entry.uncounted = Some(text.clone());
        Ok(Answer::Result(text_result(&text).into()))
    }

    /// The tools of one server, or of all, that the caller may use, fitted into its budget.
    pub(super) async fn get_server_tools(
        self: &Arc<Self>,
        asked: CallRequest,
        entry: &mut Entry,
        cancel: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        let shown = asked.shown()?;
        entry.asks_by(facade::GET_SERVER_TOOLS, &asked.arguments);
        let mut query = match Query::parse(&asked.arguments) {
            Ok(query) => query,
            Err(refusal) => return Err(self.of_caller(refusal, &shown, entry).await),
        };
        let caller = self.identify(&shown, entry).await?;
        query.server = self.server_meant(&caller, &query.server).to_owned();
        let found = match query.server.as_str() {
            builtin::SERVER => self.built_in(&caller).await?,
            "*" => self.search(&caller, cancel).await?,
            name => self.one(&caller, name, cancel).await?,
        };
        let (cap, detail) = query.context(self.settings.rules.context_of(caller.agent()));
        let remaining = self.remaining(&caller).await;
        // How long this takes is up to servers, and to who asks.
        let snapshot = self.clone();
        let fitted = move || snapshot.fitted(&query, &found, (cap, detail), remaining);
        let answer = blocking(fitted).await;
        entry.found(answer.returned);
        entry.tokens(answer.tokens_used);
        self.usage.answered(caller.agent(), answer.tokens_used, answer.raw);
        // The answer does not wait for the disk; the end of the gateway does.
        let usage = self.usage.clone();
        self.background.spawn(async move { usage.flush().await });
        Ok(Answer::Result(text_result(&answer.text).into()))
    }

    /// What the caller may still spend, if anything bounds it. Where nothing does, the store is not
    /// asked.
    async fn remaining(&self, caller: &Caller) -> Option<Credits> {
        if self.terms.declaration.is_unlimited() && !caller.has_account() {
            return None;
        }
        self.balance(caller).await.ok()?.remaining
    }

    async fn one(
        &self,
        caller: &Caller,
        name: &str,
        cancel: &CancellationToken,
    ) -> Result<Found, Refusal> {
        let (visit, member) = self.visit(caller, name)?;
        let (server, wait) = (member.server(), self.listing_wait(member));
        let rendered = tokio::select! {
            rendered = server.rendered(wait, !self.one_call) => rendered.map_err(|cause| unavailable(server.name(), cause))?,
            () = cancel.cancelled() => return Err(Refusal::Cancelled),
        };
        let note = match server.status() {
            Status::Failed { .. } => Some("as last seen; the server does not start now".to_owned()),
            _ => None,
        };
        Ok(Found { shelves: vec![(visit, rendered)], note, everywhere: false })
    }

    /// What is sent: the selected tools, as much of each as the budget takes.
    fn fitted(
        &self,
        query: &Query,
        found: &Found,
        (cap, detail): (usize, Detail),
        remaining: Option<Credits>,
    ) -> Fitted {
        let mut known = Known::new(found.everywhere);
        let mut raw = Vec::new();
        let mut candidates = Vec::new();
        let tariff = &self.settings.budgeting.tariff;
        for (visit, rendered) in &found.shelves {
            let server = rendered.server();
            let mut raw_tokens = 0;
            for tool in rendered.tools().iter().filter(|tool| self.may_call(visit, tool.tool())) {
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
        let encoding = self.settings.rules.encoding;
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

    fn may_call(&self, visit: &Visit, tool: &Tool) -> bool {
        self.settings.rules.authorize(visit.clone(), tool.name()).is_ok()
    }

    /// The tools that a visitor may call, in the server's order.
    pub(super) fn visible_tools<'a>(
        &'a self,
        visit: &'a Visit,
        catalogue: &'a Catalogue,
    ) -> impl Iterator<Item = &'a Tool> {
        catalogue.tools().iter().map(Arc::as_ref).filter(|tool| self.may_call(visit, tool))
    }

    /// A server in the list, with what it says of itself where its settings say nothing, and with
    /// metadata for a visitor; what may be secret (arguments,
    /// environment, headers) is never in it, and only tools that the visitor may call are counted.
    fn entry(&self, member: &Member, about: Option<String>, metadata_for: Option<&Visit>) -> Value {
        let spec = member.spec();
        let mut entry = Map::new();
        entry.insert("name".into(), spec.name.as_str().into());
        let masked = |text: &str| Value::from(self.settings.redactor.redact(text));
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
                entry.insert("tools".into(), self.visible_tools(visit, &catalogue).count().into());
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
}

/// Whether `list_servers` is asked for metadata.
fn list_metadata(arguments: &RawJson) -> Result<bool, Refusal> {
    let mut fields = Fields::new(facade::LIST_SERVERS, arguments)?;
    fields.optional_name("agent_id")?;
    let metadata = fields.flag("include_metadata")?;
    fields.finish()?;
    Ok(metadata)
}

/// Tools of one server, or of all.
pub(super) struct Found {
    pub(super) shelves: Vec<(Visit, Arc<RenderedCatalog>)>,
    pub(super) note: Option<String>,
    /// Names begin with the server's.
    pub(super) everywhere: bool,
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

/// A `get_server_tools` call as asked for.
pub(super) struct Query {
    server: String,
    /// None is no filter, as is a list of blanks.
    pub(super) names: Option<HashSet<String>>,
    pub(super) pattern: Option<Pattern>,
    /// In small letters; none is no filter.
    pub(super) words: Vec<String>,
    detail: Option<Detail>,
    cap: Option<usize>,
}

impl Query {
    fn parse(arguments: &RawJson) -> Result<Self, Refusal> {
        let mut fields = Fields::new(facade::GET_SERVER_TOOLS, arguments)?;
        let server = fields.name("server")?;
        fields.optional_name("agent_id")?;
        let words = fields.optional_text("query")?;
        let names = fields.names("names")?;
        let pattern = fields.optional_name("pattern")?;
        let detail = fields.choice("detail", &Detail::WORDS)?;
        let cap = fields.count("max_schema_tokens")?;
        fields.finish()?;
        let pattern = pattern.filter(|pattern| !pattern.is_empty()).map(|pattern| {
            Pattern::parse(&pattern)
                .map_err(|fault| Refusal::arguments(format!("get_server_tools: `pattern` {fault}")))
        });
        Ok(Self {
            server,
            names,
            pattern: pattern.transpose()?,
            words: words_of(&words.unwrap_or_default()),
            detail,
            cap,
        })
    }

    /// The budget and the detail, where the call does not say from the rules. Tools that are asked
    /// for by name are wanted whole.
    fn context(&self, (cap, detail): (usize, Detail)) -> (usize, Detail) {
        let whole = self.names.as_ref().map(|_| Detail::AtMost(Level::Full));
        (self.cap.unwrap_or(cap), self.detail.or(whole).unwrap_or(detail))
    }

    /// In a search, names and patterns may also be given with the server, as the answer shows them.
    fn selects(&self, tool: &Tool, server: &ServerName) -> bool {
        let name = tool.name().as_str();
        let whole = (self.server == "*").then(|| format!("{server}/{name}"));
        let is_meant =
            |holds: &dyn Fn(&str) -> bool| holds(name) || whole.as_deref().is_some_and(holds);
        self.names.as_ref().is_none_or(|names| is_meant(&|name| names.contains(name)))
            && self.pattern.as_ref().is_none_or(|pattern| is_meant(&|name| pattern.matches(name)))
            && (self.words.is_empty() || self.mentions(tool))
    }

    /// The arguments that select.
    pub(super) fn filters(&self) -> Vec<&'static str> {
        let given = [
            ("query", !self.words.is_empty()),
            ("names", self.names.is_some()),
            ("pattern", self.pattern.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// Whether the name or the description holds one of the words.
    fn mentions(&self, tool: &Tool) -> bool {
        let name = tool.name().as_str().to_lowercase();
        let description = tool.description().to_lowercase();
        self.words.iter().any(|word| name.contains(word) || description.contains(word))
    }
}

/// The words of a query, in small letters. Single letters would find everything.
fn words_of(query: &str) -> Vec<String> {
    const MOST: usize = 64;
    query
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 1)
        .take(MOST)
        .map(str::to_owned)
        .collect()
}
