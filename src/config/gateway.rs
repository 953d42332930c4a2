//! `gateway.yaml`: how the gateway runs. [`super::money`] and [`super::upstreams`] read the larger
//! parts of it.

use std::path::Path;

use super::{
    auth,
    document::{self, Value},
    entry::{self, worth_hiding},
    fault::Faults,
    money,
    reader::{At, Object, Reader, Refused},
    rules::context_of_all,
    upstreams::{self, Destinations, Others},
};
use crate::{
    domain::{
        budget::{Backend, Budgeting, Discovery, Durability, StoreSettings},
        routing::Routing,
        rules::ContextLimits,
        settings::{LogLevel, Logging},
        tokens::Encoding,
    },
    host::environment::Environment,
};

const KNOWN: [&str; 16] = [
    "server",
    "auth",
    "upstreams",
    "servers",
    "defaultUpstream",
    "routing",
    "budget",
    "tools",
    "enforcement",
    "audit",
    "metering",
    "logging",
    "allowPrivateUpstreams",
    "context",
    "store",
    "$schema",
];

/// Who writes these relies on them.
const NOT_ENFORCED: &str = "is not enforced by this version yet, so the gateway does not start; removing it removes the protection that it asks for";

const POLICIES: &str = "is not enforced by this version yet, so the gateway does not start; removing it removes the protection that it asks for: write into .mcp-gateway-rules.json first what each agent may do";

const REFUSED: [Refused; 5] = [
    ("policies", POLICIES),
    ("rateLimit", NOT_ENFORCED),
    ("tenants", NOT_ENFORCED),
    ("ipFilter", NOT_ENFORCED),
    ("cors", NOT_ENFORCED),
];

/// What the file says.
#[derive(Default)]
pub(super) struct Loaded {
    /// Its servers; warnings and secrets are those of the whole file.
    pub(super) servers: entry::Loaded,
    /// To be settled with the rules.
    pub(super) auth: auth::Loaded,
    pub(super) budgeting: Budgeting,
    pub(super) routing: Routing,
    pub(super) presented_as: (Option<String>, Option<String>),
    pub(super) logging: Logging,
    /// For agents whose rules say nothing.
    pub(super) context: ContextLimits,
    pub(super) encoding: Option<Encoding>,
}

/// Reads the file.
pub(super) fn load(
    file: Option<&Path>,
    others: Others<'_>,
    env: &Environment,
    faults: &mut Faults,
) -> Loaded {
    let mut loaded = Loaded::default();
    let Some(file) = file else { return loaded };
    let Some(document) = document::read(file, faults) else { return loaded };
    let mut reader = Reader::new(file.to_owned(), env, faults);
    let top = At::top(&document);
    // All of it may be commented out.
    if let Value::Null = &document.value {
        return loaded;
    }
    if let Some(top) = reader.object_but(&top, &KNOWN, &REFUSED) {
        loaded.servers = upstreams::servers(&top, others.servers, &mut reader);
        let known = others.servers.entries.keys().chain(loaded.servers.entries.keys());
        let known: Vec<&str> = known.map(String::as_str).collect();
        if let Some(at) = top.get("tools") {
            loaded.budgeting.tariff = money::tariff(&at, &known, &mut reader);
        }
        let destinations = Destinations { others, own: &loaded.servers };
        loaded.routing = destinations.routing(&top, &mut reader);
        sections(&top, &mut loaded, &mut reader);
    }
    loaded.servers.warnings = reader.warnings;
    loaded.servers.secrets.extend(worth_hiding(reader.secrets, env));
    loaded
}

/// What depends on nothing else.
fn sections(top: &Object<'_>, loaded: &mut Loaded, reader: &mut Reader<'_>) {
    if let Some(at) = top.get("server") {
        loaded.presented_as = server(&at, reader);
    }
    if let Some(at) = top.get("auth") {
        // Beside policies, which are refused themselves, one fault is enough.
        let policies = top.get("policies").is_some_and(|at| !reader.asks_for_nothing(&at));
        loaded.auth = auth::load(&at, policies, reader);
    }
    if let Some(at) = top.get("budget") {
        money::budget(&at, &mut loaded.budgeting, reader);
    }
    if let Some(at) = top.get("enforcement") {
        loaded.budgeting.mode = money::mode(&at, reader);
    }
    if let Some(at) = top.get("audit") {
        audit(&at, &mut loaded.budgeting, reader);
    }
    if let Some(at) = top.get("metering") {
        metering(&at, reader);
    }
    if let Some(at) = top.get("logging") {
        loaded.logging = logging(&at, reader);
    }
    if let Some(at) = top.get("context") {
        (loaded.context, loaded.encoding) = context_of_all(&at, reader);
    }
    if let Some(at) = top.get("store") {
        store(&at, &mut loaded.budgeting.store, reader);
    }
}

/// Under which name and version the gateway presents itself.
fn server(at: &At<'_>, reader: &mut Reader<'_>) -> (Option<String>, Option<String>) {
    let known = ["transport", "name", "version", "host", "port"];
    let Some(object) = reader.object(at, &known, &[]) else { return (None, None) };
    if let Some(at) = object.get("transport") {
        let why = "and this version serves `stdio` only";
        let refused = ["http", "sse", "streamable", "streamable-http"].map(|word| (word, why));
        reader.choice_but(&at, &[("stdio", ())], &refused);
    }
    if let Some(at) = object.get("host") {
        reader.text(&at);
        reader.warn(&at, "has no effect on a gateway that serves stdio");
    }
    if let Some(at) = object.get("port") {
        reader.count(&at);
        reader.warn(&at, "has no effect on a gateway that serves stdio");
    }
    let mut named = |key| {
        let at = object.get(key)?;
        let text = reader.text(&at)?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            reader.fault(&at, "must be text in one line");
        }
        Some(text)
    };
    (named("name"), named("version"))
}

/// Whether records hold whole arguments, and where they are kept: `path` is the SQLite file of
/// records in the older system, and accounts lie in the same file here.
fn audit(at: &At<'_>, budgeting: &mut Budgeting, reader: &mut Reader<'_>) {
    let known = ["enabled", "hashChain", "storage", "arguments", "discovery", "path"];
    let later = ["dsn", "webhookUrl", "retentionDays", "export"];
    let Some(object) = reader.object(at, &known, &later) else { return };
    always_on(&object, "enabled", "every call is recorded all the same", reader);
    always_on(&object, "hashChain", "records are chained all the same", reader);
    if let Some(at) = object.get("storage") {
        reader.choice(&at, &[("sqlite", ())]);
    }
    budgeting.discovery =
        object.get("discovery").and_then(|at| discovery(&at, reader)).unwrap_or_default();
    let full = object.get("arguments");
    let full = full.and_then(|at| reader.choice(&at, &[("digest", false), ("full", true)]));
    budgeting.full_arguments = full.unwrap_or(false);
    if let Some(at) = object.get("path") {
        store_path(&at, &mut budgeting.store, reader);
    }
}

/// `each`, `off`, or one in how many.
fn discovery(at: &At<'_>, reader: &mut Reader<'_>) -> Option<Discovery> {
    match &at.node.value {
        Value::Number(_) => reader.positive(at).map(|many| Discovery::OneIn(many.get())),
        _ => reader.choice(at, &[("each", Discovery::OneIn(1)), ("off", Discovery::Off)]),
    }
}

fn metering(at: &At<'_>, reader: &mut Reader<'_>) {
    let known = ["enabled", "dimensions"];
    let Some(object) = reader.object(at, &known, &["flushIntervalMs"]) else { return };
    always_on(&object, "enabled", "every call is metered all the same", reader);
    let dimensions = object.get("dimensions").and_then(|at| reader.list(&at));
    for at in dimensions.unwrap_or_default() {
        reader.choice(&at, &["calls", "errors", "latency", "credits", "tokens"].map(|w| (w, ())));
    }
}

/// Warns of a switch that says `false` and switches nothing off.
fn always_on(object: &Object<'_>, key: &str, why: &str, reader: &mut Reader<'_>) {
    if let Some(at) = object.get(key)
        && reader.flag(&at) == Some(false)
    {
        reader.warn(&at, &format!("has no effect: {why}"));
    }
}

fn logging(at: &At<'_>, reader: &mut Reader<'_>) -> Logging {
    let Some(object) = reader.object(at, &["level", "json"], &[]) else {
        return Logging::default();
    };
    let level = object.get("level").and_then(|at| reader.choice(&at, &LogLevel::WORDS));
    let json = object.get("json").and_then(|at| reader.flag(&at));
    Logging { level, json: json.unwrap_or(false) }
}

fn store(at: &At<'_>, settings: &mut StoreSettings, reader: &mut Reader<'_>) {
    let Some(object) = reader.object(at, &["path", "durability"], &["url"]) else { return };
    let words = [("process", Durability::Process), ("power", Durability::Power)];
    let durability = object.get("durability").and_then(|at| reader.choice(&at, &words));
    settings.durability = durability.unwrap_or_default();
    if let Some(at) = object.get("path") {
        store_path(&at, settings, reader);
    }
}

/// Where accounts and records are kept: `store.path`, or `audit.path` of the older system.
fn store_path(at: &At<'_>, settings: &mut StoreSettings, reader: &mut Reader<'_>) {
    let Some(path) = reader.text(at) else { return };
    if path.is_empty() {
        reader.fault(at, "must name a file");
    }
    if settings.backend == Backend::Memory {
        reader.warn(at, "has no effect beside `budget.backend: memory`");
    }
    // Beside the file that names it: the gateway is started from many directories.
    let dir = reader.file.parent().unwrap_or(Path::new(""));
    let path = dir.join(reader.env.beneath_home(path));
    if settings.path.as_ref().is_some_and(|other| *other != path) {
        reader.fault(
            at,
            "is another file than `audit.path`, and both name the store of accounts and records; keep one of them",
        );
    }
    settings.path = Some(path);
}
