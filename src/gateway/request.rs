//! The path of an `execute_tool` call.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, CallRequest, Snapshot, builtin,
    checking::Checking,
    entry::Entry,
    facade,
    fields::Fields,
    forward::{Ready, forward, unavailable},
    identify::Shown,
    no_such_tool,
    resolve::{Meaning, Meant, Unclear, not_known, several_have},
};
use crate::{
    domain::{
        call::{ServerName, ToolName},
        caller::Caller,
        catalog::Catalogue,
        json::RawJson,
        near::near,
        policy::{Denied, Permit, Visit},
        refusal::{Refusal, RpcError},
    },
    downstream::{Client, LONGEST_START, Member, Outgoing, Server},
    host::clock,
};

/// What is done with longer texts takes time that is worth a thread; in bytes.
pub(super) const LARGE: usize = 64 * 1024;

/// A call as asked for, with `execute_tool` or by the tool's own name.
pub(super) struct Call {
    pub(super) server: Option<String>,
    pub(super) tool: ToolName,
    args: RawJson,
    timeout: Option<Duration>,
    begun: Instant,
    /// Whether a start is waited for to its end. So it is by a command of the shell, which would end it.
    patient: bool,
}

/// How long a call may still take.
pub(super) struct Deadline {
    /// The server's timeout, or the caller's `timeout_ms` if that is shorter.
    whole: Duration,
    /// Set by `timeout_ms`, which bounds the whole call, a start included.
    until: Option<Instant>,
    patient: bool,
}

impl Snapshot {
    /// A call with `execute_tool`.
    pub(super) async fn execute_tool(
        &self,
        asked: CallRequest,
        cancel: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        let mut entry = self.new_entry();
        let answer = self.execute_for(asked, &mut entry, cancel).await;
        self.note(entry, answer.as_ref().err()).await;
        answer
    }

    async fn execute_for(
        &self,
        asked: CallRequest,
        entry: &mut Entry,
        cancel: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        let shown = asked.shown()?;
        let CallRequest { arguments, meta, client, credential, .. } = asked;
        entry.asks_by(facade::EXECUTE_TOOL, &arguments);
        let call = match Call::parse(&arguments) {
            Ok(call) => Call { patient: self.one_call, ..call },
            Err(refusal) => return Err(self.of_caller(refusal, &shown, entry).await),
        };
        entry.asks(call.server.as_deref(), Some(call.tool.as_str()), shown.agent_id.as_deref());
        let caller = self.identify(&shown, entry).await?;
        self.keeps_its_credential(credential.as_ref(), &sent(&call, &meta, &client))?;
        let server = call.server.as_deref().map(|name| self.server_meant(&caller, name).to_owned());
        let call = Call { server, ..call };
        let builtin = match call.server.as_deref() {
            Some(builtin::SERVER) => {
                Some(builtin::qualified(&call.tool).unwrap_or_else(|| call.tool.clone()))
            }
            Some(_) => None,
            None => builtin::qualified(&call.tool),
        };
        if let Some(tool) = builtin {
            return self.builtin(&caller, &tool, &call.args, entry).await;
        }
        match self.resolve(&caller, &call, cancel).await? {
            Meaning::Tool(meant) => self.execute(meant, call, meta, client, entry, cancel).await,
            Meaning::BuiltIn(tool) => self.builtin(&caller, &tool, &call.args, entry).await,
        }
    }

    /// A call by a name that is not listed: a downstream's own tool, as clients of other gateways
    /// call it, or one of the gateway's own.
    ///
    /// # Errors
    /// A JSON-RPC error, as such clients expect.
    pub(super) async fn execute_directly(
        &self,
        asked: CallRequest,
        cancel: &CancellationToken,
    ) -> Result<Answer, RpcError> {
        let tool = asked.tool.clone();
        let mut entry = self.new_entry();
        entry.asks(None, Some(&tool), None);
        let answer = self.execute_by_name(asked, &mut entry, cancel).await;
        self.note(entry, answer.as_ref().err()).await;
        answer.map_err(|refusal| match refusal {
            Refusal::ServerNotFound { server, near } if server.is_empty() => {
                no_such_tool(&self.settings.redactor.redact(&tool), &near.concat())
            }
            refusal => self.masked(refusal).to_rpc_error(),
        })
    }

    async fn execute_by_name(
        &self,
        asked: CallRequest,
        entry: &mut Entry,
        cancel: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        let CallRequest { tool, arguments, meta, client, credential, granted } = asked;
        let call = Call {
            server: None,
            tool: ToolName::from(tool.as_str()),
            args: arguments,
            timeout: None,
            begun: clock::tokio_instant(),
            patient: self.one_call,
        };
        let shown = Shown { agent_id: None, credential, granted, call: None };
        let caller = self.identify(&shown, entry).await?;
        self.keeps_its_credential(shown.credential.as_ref(), &sent(&call, &meta, &client))?;
        if let Some(tool) = builtin::qualified(&call.tool) {
            return self.builtin(&caller, &tool, &call.args, entry).await;
        }
        let nowhere = match self.without_server(&caller, &call, cancel).await {
            Ok(Meaning::Tool(meant)) => {
                return self.execute(meant, call, meta, client, entry, cancel).await;
            }
            Ok(Meaning::BuiltIn(tool)) => {
                return self.builtin(&caller, &tool, &call.args, entry).await;
            }
            Err(Unclear::Refused(refusal)) => return Err(refusal),
            Err(Unclear::Several(several)) => {
                let why = several_have(&call.tool, &several);
                return Err(Refusal::arguments(format!("{why}; name one of them in front of it")));
            }
            Err(Unclear::Nowhere(unreached)) => not_known(&unreached),
        };
        // No server is meant, so none can be named; what is near are those that may have the tool.
        let near = Some(nowhere).filter(|nowhere| !nowhere.is_empty());
        Err(Refusal::ServerNotFound { server: String::new(), near: near.into_iter().collect() })
    }

    /// Policy → existence → arguments → price → hold → forward → settle, for a caller who was
    /// identified and a tool that was found.
    async fn execute(
        &self,
        (visit, member, tool): Meant<'_>,
        call: Call,
        meta: Map<String, Value>,
        client: Client,
        entry: &mut Entry,
        cancel: &CancellationToken,
    ) -> Result<Answer, Refusal> {
        entry.means(member.name(), &tool);
        let server = member.server();
        // One use for all its steps, so that the server is not stopped between them.
        let in_use = server.in_use();
        let patience = call.patience(member);
        let permit = self.authorize(visit, &tool, server, &patience, cancel).await?;
        entry.permits(&permit);
        self.usage.called(permit.caller().agent());
        let catalogue = catalogue(server, patience.for_start(), cancel).await?;
        // A start that was waited for takes nothing from the time of the call.
        let patience = if call.patient {
            call.patience_from(clock::tokio_instant(), member)
        } else {
            patience
        };
        let checking = Checking { server, patience: &patience, cancel };
        let arguments = self.check(&permit, catalogue, call.args, &checking, entry).await?;
        self.affords(&permit)?;
        let hold = self.hold(&permit, &arguments, entry).await?;
        let outgoing = Outgoing { tool: permit.tool().clone(), arguments, meta, client };
        let snapshot = self;
        forward(Ready { snapshot, permit, member, outgoing, hold, patience, in_use }, cancel).await
    }

    /// The right to use the server, and the server.
    pub(super) fn visit(&self, caller: &Caller, name: &str) -> Result<(Visit, &Member), Refusal> {
        let Some(member) = self.fleet.member(name) else {
            return Err(self.no_server(caller, name));
        };
        match self.settings.rules.visit(caller, member.name()) {
            Ok(visit) => Ok((visit, member)),
            Err(denied) if self.settings.rules.explain_denials => {
                Err(refused(&format!("server `{name}`"), denied))
            }
            Err(_) => Err(self.no_server(caller, name)),
        }
    }

    /// A permit for the tool. A refusal that may not be explained looks exactly like a tool that
    /// does not exist, which takes the server's list of tools.
    async fn authorize(
        &self,
        visit: Visit,
        tool: &ToolName,
        server: &Arc<Server>,
        patience: &Deadline,
        cancel: &CancellationToken,
    ) -> Result<Permit, Refusal> {
        let seen_by = visit.clone();
        match self.settings.rules.authorize(visit, tool) {
            Ok(permit) => Ok(permit),
            Err(denied) if self.settings.rules.explain_denials => {
                let what = format!("tool `{tool}` on server `{}`", server.name());
                Err(refused(&what, denied))
            }
            Err(_) => {
                let catalogue = catalogue(server, patience.for_start(), cancel).await?;
                Err(self.no_tool(&seen_by, tool, &catalogue))
            }
        }
    }

    /// Whether what narrows the caller's credential lets it pay what the call costs.
    fn affords(&self, permit: &Permit) -> Result<(), Refusal> {
        if permit.caller().grant().is_none() {
            return Ok(());
        }
        let price = self.settings.budgeting.tariff.price(permit.server(), permit.tool());
        self.settings.rules.affords(permit, price.cost).map_err(|denied| {
            let cost = price.cost.in_words();
            let what = format!("tool `{}`, which costs {cost},", permit.tool());
            refused(&what, denied)
        })
    }

    pub(super) fn no_server(&self, caller: &Caller, name: &str) -> Refusal {
        let rules = &self.settings.rules;
        let visible = self.fleet.members().iter().map(Member::name);
        let visible = visible.filter(|server| rules.visit(caller, server).is_ok());
        let near = owned(near(name, visible.map(ServerName::as_str)));
        Refusal::ServerNotFound { server: name.to_owned(), near }
    }

    pub(super) fn no_tool(&self, visit: &Visit, tool: &ToolName, catalogue: &Catalogue) -> Refusal {
        let visible = self.visible_tools(visit, catalogue).map(|tool| tool.name().as_str());
        let near = owned(near(tool.as_str(), visible));
        Refusal::ToolNotFound { server: visit.server().clone(), tool: tool.clone(), near }
    }
}

/// All that a call sends to a server which came from the client.
fn sent(call: &Call, meta: &Map<String, Value>, client: &Client) -> [RawJson; 2] {
    let beside = json!([meta, client.answers, client.state]);
    [call.args.clone(), beside.into()]
}

impl Call {
    fn parse(arguments: &RawJson) -> Result<Self, Refusal> {
        let mut fields = Fields::new(facade::EXECUTE_TOOL, arguments)?;
        let call = Self {
            server: fields.optional_name("server")?,
            tool: ToolName::from(fields.name("tool")?.as_str()),
            args: fields.object("args")?,
            timeout: fields.positive("timeout_ms")?.map(Duration::from_millis),
            begun: clock::tokio_instant(),
            patient: false,
        };
        fields.optional_name("agent_id")?;
        fields.unsupported("max_result_tokens")?;
        fields.finish()?;
        Ok(call)
    }

    /// The caller may only shorten what the server is given.
    pub(super) fn patience(&self, member: &Member) -> Deadline {
        self.patience_from(self.begun, member)
    }

    /// What is left of `timeout_ms`, if the call says any.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = self.begun + self.timeout?;
        Some(until.saturating_duration_since(clock::tokio_instant()))
    }

    fn patience_from(&self, begun: Instant, member: &Member) -> Deadline {
        let server = member.spec().timeout;
        let shorter = self.timeout.filter(|asked| *asked < server);
        let until = shorter.map(|asked| begun + asked);
        Deadline { whole: shorter.unwrap_or(server), until, patient: self.patient }
    }
}

impl Deadline {
    /// The whole of it, in milliseconds.
    pub(super) fn whole_ms(&self) -> u64 {
        u64::try_from(self.whole.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long the server has to come up and list its tools.
    pub(super) fn for_start(&self) -> Duration {
        if self.patient { LONGEST_START + self.whole } else { self.left() }
    }

    pub(super) fn left(&self) -> Duration {
        self.until
            .map_or(self.whole, |until| until.saturating_duration_since(clock::tokio_instant()))
    }
}

/// The server's tools; starts it if need be.
pub(super) async fn catalogue(
    server: &Arc<Server>,
    wait: Duration,
    cancel: &CancellationToken,
) -> Result<Arc<Catalogue>, Refusal> {
    tokio::select! {
        found = server.catalogue(wait) => found.map_err(|cause| unavailable(server.name(), cause)),
        () = cancel.cancelled() => Err(Refusal::Cancelled),
    }
}

fn refused(what: &str, denied: Denied) -> Refusal {
    Refusal::Denied { what: what.to_owned(), subject: denied.subject, rule: denied.rule }
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(str::to_owned).collect()
}
