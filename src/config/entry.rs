//! An entry of a server, in whichever file it stands: how the server is reached.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::{
    findings::{Findings, INHERITED},
    values::{NOT_PASSED_ON, PRESENTED},
    written::{At, ByName, OneOrMany, Private, ServerEntry, Time},
};
use crate::{
    domain::{
        call::ServerName,
        pattern::Pattern,
        settings::{
            AllowPrivate, ChildCommand, DEFAULT_TIMEOUT, Endpoint, Remote, ServerSpec, StartMode,
        },
    },
    downstream::refused_address,
    host::environment::Environment,
};

/// A value under such a name is a secret, even if it stands in the file as it is.
const SECRET_NAMES: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASS", "AUTH", "CREDENTIAL", "COOKIE"];

/// A timeout below this is most likely meant as seconds.
const SHORT: Duration = Duration::from_secs(1);

/// What holds for entries where they stand.
#[derive(Clone, Copy, Default)]
pub(super) struct Form {
    /// Whether servers that do not say `allowPrivate` may have any address.
    pub(super) any_address: bool,
}

/// The server of an entry; None if what is there cannot be one.
pub(super) fn spec(
    name: &str,
    entry: At<ServerEntry>,
    form: Form,
    findings: &mut Findings<'_>,
) -> Option<ServerSpec> {
    let At { place, value: entry } = entry;
    match (place.has("command"), place.has("url")) {
        (true, true) => return findings.refuse(&place, "has both `command` and `url`; keep one"),
        (false, false) => {
            return findings.refuse(&place, "has neither `command` nor `url`; give one");
        }
        _ => {}
    }
    let start = match findings.env.get("GATEWAY_INIT_STRATEGY") {
        Some("eager") => StartMode::Eager,
        _ => StartMode::Lazy,
    };
    warn_if_short(entry.timeout.as_ref(), findings);
    let name = ServerName::from(name);
    let description = entry.description.clone().or_else(|| entry.name.clone());
    let timeout = entry.timeout.as_ref().map_or(DEFAULT_TIMEOUT, |at| at.0);
    let start = entry.init.map_or(start, |word| word.0);
    let elicitation = entry.elicitation.map(|word| word.0).unwrap_or_default();
    let (idle, most_calls) = (entry.idle.map(|time| time.0), entry.max_concurrency);
    let is_command = place.has("command");
    check_transport(&entry, is_command, findings);
    let (without_effect, beside): (&[&str], _) = match is_command {
        true => (&["headers", "allowPrivate"], "`command`"),
        false => (&["args", "env", "cwd", "inheritEnv"], "`url`"),
    };
    for key in without_effect.iter().filter(|key| place.has(key)) {
        if let Some(at) = place.even_null(key) {
            findings.warn(&at, &format!("has no effect beside {beside}"));
        }
    }
    let (endpoint, identity) = match is_command {
        true => stdio(entry, findings),
        false => http(entry, form, findings),
    }?;
    Some(ServerSpec {
        name,
        description: description.unwrap_or_default(),
        endpoint,
        timeout,
        start,
        elicitation,
        idle,
        most_calls,
        identity,
    })
}

/// Some clients write seconds where others write milliseconds.
fn warn_if_short(timeout: Option<&At<Time>>, findings: &mut Findings<'_>) {
    let Some(at) = timeout.filter(|at| at.0 < SHORT) else { return };
    let ms = at.0.as_millis();
    findings.warn(
        &at.place,
        &format!("is only {ms} ms: a number counts milliseconds; write seconds as \"60s\""),
    );
}

fn stdio(entry: ServerEntry, findings: &mut Findings<'_>) -> Option<(Endpoint, String)> {
    let At { place, value } = entry.command?;
    let mut words = match value {
        OneOrMany::One(program) => vec![program],
        OneOrMany::Many(words) => words,
    };
    words.extend(entry.args.unwrap_or_default());
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_default();
    if program.is_empty() {
        findings.fault(&place, "must name a program");
    }
    let args: Vec<String> = words.collect();
    let own = pairs(entry.env.map(|at| at.value), findings, false);
    let env = findings.env;
    let inherit = inherited(entry.inherit_env.unwrap_or_default(), findings);
    // Variables that are passed on by name are mostly credentials.
    let passed_on: Vec<&String> =
        inherit.iter().filter_map(|name| env.variables.get(name)).collect();
    passed_on.iter().for_each(|value| findings.hide(value));
    let inherited = INHERITED.iter().copied().chain(inherit.iter().map(String::as_str));
    let mut variables: BTreeMap<String, String> = inherited
        .filter_map(|name| Some((name.to_owned(), env.variables.get(name)?.clone())))
        .collect();
    let cwd = entry.cwd.map(|cwd| env.path(cwd));
    let program = beneath_home(program, env);
    let dir = cwd.as_ref().unwrap_or(&env.working_dir).display().to_string();
    // Without what is inherited by default: the same server is started from many terminals.
    let texts = [&program, &dir].into_iter().chain(&args).chain(&inherit).chain(passed_on);
    let identity = identity(texts.chain(own.iter().flat_map(|(name, value)| [name, value])));
    variables.extend(own);
    Some((Endpoint::Stdio(ChildCommand { program, args, env: variables, cwd }), identity))
}

/// A program that is named by a path; one that is looked for in `PATH` stays as it is.
fn beneath_home(program: String, env: &Environment) -> String {
    env.beneath_home(&program).into_os_string().into_string().unwrap_or(program)
}

/// Names of variables that a child gets beside those that every one does. A pattern stands for those
/// that are set, without the gateway's own.
fn inherited(names: Vec<At<String>>, findings: &mut Findings<'_>) -> BTreeSet<String> {
    const OWN: [&str; 3] = ["TOLLGATE_", "GATEWAY_", "MCP_GATEWAY_"];
    let mut found = BTreeSet::new();
    for At { place, value: name } in names {
        if name == PRESENTED {
            findings.fault(&place, format!("names {NOT_PASSED_ON}"));
            continue;
        }
        match Pattern::parse(&name) {
            Ok(pattern) if pattern.is_explicit() => {
                found.insert(name);
            }
            Ok(pattern) => {
                let others = findings.env.variables.keys();
                let others = others.filter(|name| !OWN.iter().any(|own| name.starts_with(own)));
                found.extend(others.filter(|name| pattern.matches(name)).cloned());
            }
            Err(message) => findings.fault(&place, message),
        }
    }
    found
}

fn http(entry: ServerEntry, form: Form, findings: &mut Findings<'_>) -> Option<(Endpoint, String)> {
    let headers = headers(entry.headers, findings);
    let allow_private = match entry.allow_private {
        None if form.any_address => AllowPrivate::All,
        Some(Private::All(true)) => AllowPrivate::All,
        None | Some(Private::All(false)) => AllowPrivate::None,
        Some(Private::Only(nets)) => {
            let net = |text: &String| {
                text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
            };
            AllowPrivate::Only(nets.iter().filter_map(net).collect())
        }
    };
    let At { place, value: text } = entry.url?;
    let url = match Url::parse(&text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => url,
        Ok(_) => return findings.refuse(&place, "must begin with http:// or https://"),
        Err(error) => return findings.refuse(&place, format!("is not a URL: {error}")),
    };
    findings.secrets.extend(url.password().map(str::to_owned));
    let address = url.to_string();
    let in_order = headers.iter().flat_map(|(name, value)| [name, value]);
    let identity = identity(std::iter::once(&address).chain(in_order));
    let remote = Remote { url, headers, allow_private };
    if let Some(why) = refused_address(&remote) {
        findings.warn(&place, &format!("cannot be called: {why}"));
    }
    Some((Endpoint::Http(remote), identity))
}

/// Headers that can be sent, and that the protocol does not set itself.
fn headers(
    written: Option<At<ByName<String>>>,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, String> {
    const OURS: [&str; 7] = [
        "accept",
        "content-type",
        "content-length",
        "host",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
    ];
    let Some(At { place, value }) = written else { return BTreeMap::new() };
    let headers = pairs(Some(value), findings, true);
    for (name, value) in &headers {
        let fault = if HeaderName::from_bytes(name.as_bytes()).is_err() {
            format!("has `{name}`, which no HTTP header can be named")
        } else if OURS.contains(&name.to_lowercase().as_str()) {
            format!("has `{name}`, which the protocol sets itself")
        } else if HeaderValue::from_str(value).is_err() {
            format!("has a value for `{name}` that no HTTP header can have")
        } else {
            continue;
        };
        findings.fault(&place, fault);
    }
    headers
}

/// Texts as one; none of them can hold what stands between.
fn identity<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    texts.fold(String::new(), |all, text| all + text + "\0")
}

/// Names and values; all values of headers are secret, of the environment those with telling names.
fn pairs(
    written: Option<ByName<String>>,
    findings: &mut Findings<'_>,
    headers: bool,
) -> BTreeMap<String, String> {
    let pairs: BTreeMap<String, String> = written.unwrap_or_default().into_iter().collect();
    for (name, value) in &pairs {
        let upper = name.to_uppercase();
        if headers || SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            findings.secrets.push(value.clone());
            // The credential without its scheme (`Bearer …`) is as secret.
            findings
                .secrets
                .extend(value.split_once(' ').map(|(_, credential)| credential.to_owned()));
        }
    }
    pairs
}

/// `type` and `transport` may repeat what `command` and `url` say, not contradict it.
fn check_transport(entry: &ServerEntry, is_command: bool, findings: &mut Findings<'_>) {
    for At { place, value } in [&entry.kind, &entry.transport].into_iter().flatten() {
        match (value.as_str(), is_command) {
            ("stdio", true)
            | ("http" | "streamable-http" | "streamableHttp" | "streamable", false) => {}
            ("sse", _) => findings.fault(
                place,
                "is the old HTTP+SSE transport, which is not supported; give the server's Streamable HTTP address and type \"http\"",
            ),
            (_, true) => findings.fault(place, "must be \"stdio\" beside `command`"),
            (_, false) => findings.fault(place, "must be \"http\" beside `url`"),
        }
    }
}
