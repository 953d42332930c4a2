//! `.mcp.json`: which servers. The format that MCP clients share, so an existing file works as it is.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::{
    Environment,
    document::{self, Value},
    fault::Faults,
    reader::{At, Object, Reader},
};
use crate::domain::{
    call::ServerName,
    near::near,
    settings::{
        AllowPrivate, Command, DEFAULT_TIMEOUT, Elicitation, Endpoint, Remote, ServerSpec, Start,
    },
};

/// The keys of a server entry.
const KNOWN: [&str; 17] = [
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "headers",
    "type",
    "transport",
    "description",
    "timeout",
    "disabled",
    "init",
    "idle",
    "maxConcurrency",
    "inheritEnv",
    "allowPrivate",
    "elicitation",
];

/// Keys of the contract that this version cannot honour yet.
const LATER: [&str; 3] = ["oauth", "pin", "instances"];

/// What a child gets of the gateway's environment, besides what its entry says. Nothing here names
/// a secret; the gateway's own variables stay with the gateway.
const INHERITED: [&str; 27] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMFILES",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "TEMP",
    "TMP",
    "USERNAME",
    "USERPROFILE",
    "COMSPEC",
];

/// A value under such a name is a secret, even if it stands in the file as it is.
const SECRET_NAMES: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASS", "AUTH", "CREDENTIAL", "COOKIE"];

/// What the file says.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) specs: Vec<ServerSpec>,
    /// Servers that are there but switched off.
    pub(super) disabled: Vec<String>,
    pub(super) warnings: Vec<String>,
    pub(super) secrets: Vec<String>,
}

pub(super) fn load(file: Option<&Path>, env: &Environment, faults: &mut Faults) -> Loaded {
    let mut loaded = Loaded::default();
    let Some(file) = file else { return loaded };
    let Some(document) = document::read(file, faults) else { return loaded };
    let mut reader = Reader::new(file.to_owned(), env, faults);
    let top = At::top(&document);
    if let Some(object) = reader.object(&top, &["mcpServers", "$schema"], &[]) {
        match object.get("mcpServers") {
            Some(servers) => all(&servers, &mut reader, &mut loaded),
            None => reader.fault(&top, "`mcpServers` is missing; it maps names to servers"),
        }
    }
    loaded.warnings = reader.warnings;
    loaded.secrets.extend(worth_hiding(reader.secrets, env));
    loaded
}

/// What expansion brought in, without what every log may show, such as `$HOME`.
pub(super) fn worth_hiding(secrets: Vec<String>, env: &Environment) -> Vec<String> {
    let public: Vec<&String> =
        INHERITED.iter().filter_map(|name| env.variables.get(*name)).collect();
    secrets.into_iter().filter(|secret| !public.contains(&secret)).collect()
}

fn all(servers: &At<'_>, reader: &mut Reader<'_>, loaded: &mut Loaded) {
    let Some(servers) = reader.any_object(servers) else { return };
    for (name, at) in servers.members() {
        if let Err(message) = check_name(name) {
            reader.fault(&at, message);
        }
        let Some(object) = reader.any_object(&at) else { continue };
        check_keys(&object, reader);
        if object.get("disabled").and_then(|at| reader.flag(&at)) == Some(true) {
            loaded.disabled.push(name.to_owned());
            continue;
        }
        match entry(name, &at, &object, reader, loaded) {
            Some(spec) if starts_tollgate(&spec, reader.env) => {
                reader.warn(&at, "starts Tollgate itself and is left out");
                loaded.disabled.push(name.to_owned());
            }
            Some(spec) => loaded.specs.push(spec),
            None => {}
        }
    }
}

fn check_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("has an empty name".into()),
        "gateway" => Err("uses a name that is kept for the gateway itself; rename the server".into()),
        name if name.contains(['*', '?', '[', ']']) || name.chars().any(char::is_control) => {
            Err("has a name that rules could not write; leave out `*`, `?`, `[`, `]` and control characters".into())
        }
        _ => Ok(()),
    }
}

/// Clients keep keys of their own in an entry, so an unknown one is only worth a warning.
fn check_keys(object: &Object<'_>, reader: &mut Reader<'_>) {
    for (key, at) in object.members() {
        if LATER.contains(&key) {
            reader.fault(&at, "is not supported by this version; remove it");
        } else if !KNOWN.contains(&key) {
            let meant = near(key, KNOWN.iter().copied());
            let meant = meant.first().map(|meant| format!("; did you mean `{meant}`?"));
            reader.warn(
                &at,
                &format!("is not a key that Tollgate knows{}", meant.unwrap_or_default()),
            );
        }
    }
}

fn entry(
    name: &str,
    at: &At<'_>,
    object: &Object<'_>,
    reader: &mut Reader<'_>,
    loaded: &mut Loaded,
) -> Option<ServerSpec> {
    let description = object.get("description").and_then(|at| reader.text(&at));
    let timeout = object.get("timeout").map(|at| reader.duration(&at));
    let start = object
        .get("init")
        .map(|at| reader.choice(&at, &[("lazy", Start::Lazy), ("eager", Start::Eager)]));
    let idle = object.get("idle").and_then(|at| reader.duration(&at));
    let most_calls = object.get("maxConcurrency").and_then(|at| reader.positive(&at));
    let endpoint = match (object.get("command"), object.get("url")) {
        (Some(_), Some(_)) => {
            reader.fault(at, "has both `command` and `url`; keep one");
            None
        }
        (None, None) => {
            reader.fault(at, "has neither `command` nor `url`; give one");
            None
        }
        (Some(command), None) => stdio(&command, object, reader, loaded),
        (None, Some(url)) => http(&url, object, reader, loaded),
    };
    let elicitation = object.get("elicitation").map(|at| {
        reader.choice(&at, &[("allow", Elicitation::Allow), ("deny", Elicitation::Deny)])
    });
    let (endpoint, identity) = endpoint?;
    check_transport(object, &endpoint, reader);
    check_kind(object, &endpoint, reader);
    Some(ServerSpec {
        identity,
        name: ServerName::from(name),
        description: description.unwrap_or_default(),
        endpoint,
        timeout: timeout.unwrap_or(Some(DEFAULT_TIMEOUT))?,
        start: start.unwrap_or(Some(default_start(reader.env)))?,
        elicitation: elicitation.unwrap_or(Some(Elicitation::default()))?,
        idle,
        most_calls,
    })
}

fn default_start(env: &Environment) -> Start {
    match env.get("GATEWAY_INIT_STRATEGY") {
        Some("eager") => Start::Eager,
        _ => Start::Lazy,
    }
}

fn stdio(
    command: &At<'_>,
    object: &Object<'_>,
    reader: &mut Reader<'_>,
    loaded: &mut Loaded,
) -> Option<(Endpoint, String)> {
    let program = reader.text(command);
    if program.as_deref() == Some("") {
        reader.fault(command, "must name a program");
    }
    let args = object.get("args").map(|at| reader.texts(&at)).unwrap_or_default();
    let own = object.get("env").map(|at| pairs(&at, reader, loaded, false)).unwrap_or_default();
    let inherit = object.get("inheritEnv").map(|at| reader.texts(&at)).unwrap_or_default();
    let cwd = object.get("cwd").and_then(|at| reader.text(&at));
    let env = reader.env;
    // What is passed on by name is mostly credentials.
    let passed_on = inherit.iter().filter_map(|name| env.variables.get(name)).cloned();
    reader.secrets.extend(passed_on);
    let inherited = INHERITED.iter().copied().chain(inherit.iter().map(String::as_str));
    let mut variables: BTreeMap<String, String> = inherited
        .filter_map(|name| Some((name.to_owned(), env.variables.get(name)?.clone())))
        .collect();
    let cwd = cwd.map(|cwd| env.working_dir.join(cwd));
    let program = program?;
    let place = cwd.as_ref().unwrap_or(&env.working_dir).display().to_string();
    // Without what is inherited by default: the same server is started from many terminals.
    let passed_on = inherit.iter().filter_map(|name| env.variables.get(name));
    let texts = [&program, &place].into_iter().chain(&args).chain(&inherit).chain(passed_on);
    let identity = identity(texts.chain(own.iter().flat_map(|(name, value)| [name, value])));
    variables.extend(own);
    Some((Endpoint::Stdio(Command { program, args, env: variables, cwd }), identity))
}

fn http(
    at: &At<'_>,
    object: &Object<'_>,
    reader: &mut Reader<'_>,
    loaded: &mut Loaded,
) -> Option<(Endpoint, String)> {
    let headers = object.get("headers").map(|at| headers(&at, reader, loaded));
    let allow_private = object.get("allowPrivate").map(|at| allow_private(&at, reader));
    let allow_private = allow_private.unwrap_or(Some(AllowPrivate::default()));
    let text = reader.text(at)?;
    match Url::parse(&text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
            loaded.secrets.extend(url.password().map(str::to_owned));
            let headers = headers.unwrap_or_default();
            let place = url.to_string();
            let headers_in_order = headers.iter().flat_map(|(name, value)| [name, value]);
            let identity = identity(std::iter::once(&place).chain(headers_in_order));
            let remote = Remote { url, headers, allow_private: allow_private? };
            Some((Endpoint::Http(remote), identity))
        }
        Ok(_) => {
            reader.fault(at, "must begin with http:// or https://");
            None
        }
        Err(error) => {
            reader.fault(at, format!("is not a URL: {error}"));
            None
        }
    }
}

/// Headers that can be sent, and that the protocol does not set itself.
fn headers(at: &At<'_>, reader: &mut Reader<'_>, loaded: &mut Loaded) -> BTreeMap<String, String> {
    const OURS: [&str; 7] = [
        "accept",
        "content-type",
        "content-length",
        "host",
        "last-event-id",
        "mcp-protocol-version",
        "mcp-session-id",
    ];
    let headers = pairs(at, reader, loaded, true);
    for (name, value) in &headers {
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            reader.fault(at, format!("has `{name}`, which no HTTP header can be named"));
        } else if OURS.contains(&name.to_lowercase().as_str()) {
            reader.fault(at, format!("has `{name}`, which the protocol sets itself"));
        } else if HeaderValue::from_str(value).is_err() {
            reader.fault(at, format!("has a value for `{name}` that no HTTP header can have"));
        }
    }
    headers
}

/// `true`, or the addresses and networks that are meant.
fn allow_private(at: &At<'_>, reader: &mut Reader<'_>) -> Option<AllowPrivate> {
    let Value::List(_) = &at.node.value else {
        return reader.flag(at).map(|all| if all { AllowPrivate::All } else { AllowPrivate::None });
    };
    let mut nets = Vec::new();
    for item in reader.list(at)? {
        let text = reader.text(&item)?;
        let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
        match text.parse().ok().or_else(address) {
            Some(net) => nets.push(net),
            None => {
                reader.fault(&item, "must be an address or a network, such as \"10.0.0.0/8\"");
                return None;
            }
        }
    }
    Some(AllowPrivate::Only(nets))
}

/// Texts as one; none of them can hold what stands between.
fn identity<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    texts.fold(String::new(), |all, text| all + text + "\0")
}

/// Names and values; all values of headers are secret, of the environment those with telling names.
fn pairs(
    at: &At<'_>,
    reader: &mut Reader<'_>,
    loaded: &mut Loaded,
    headers: bool,
) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let Some(object) = reader.any_object(at) else { return pairs };
    for (name, at) in object.members() {
        let Some(value) = reader.text(&at) else { continue };
        let upper = name.to_uppercase();
        if headers || SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            loaded.secrets.push(value.clone());
            // The credential without its scheme (`Bearer …`) is as secret.
            loaded
                .secrets
                .extend(value.split_once(' ').map(|(_, credential)| credential.to_owned()));
        }
        pairs.insert(name.to_owned(), value);
    }
    pairs
}

/// Keys that mean something only to servers of the other kind are worth a warning.
fn check_kind(object: &Object<'_>, endpoint: &Endpoint, reader: &mut Reader<'_>) {
    let (without_effect, beside): (&[&str], _) = match endpoint {
        Endpoint::Stdio(_) => (&["headers", "allowPrivate"], "`command`"),
        Endpoint::Http(_) => (&["args", "env", "cwd", "inheritEnv"], "`url`"),
    };
    for at in without_effect.iter().filter_map(|key| object.get(key)) {
        reader.warn(&at, &format!("has no effect beside {beside}"));
    }
}

/// `type` and `transport` may repeat what `command` and `url` say, not contradict it.
fn check_transport(object: &Object<'_>, endpoint: &Endpoint, reader: &mut Reader<'_>) {
    for key in ["type", "transport"] {
        let Some(at) = object.get(key) else { continue };
        let Some(word) = reader.text(&at) else { continue };
        match (word.as_str(), endpoint) {
            ("stdio", Endpoint::Stdio(_))
            | ("http" | "streamable-http" | "streamableHttp" | "streamable", Endpoint::Http(_)) => {}
            ("sse", _) => reader.fault(
                &at,
                "is the old HTTP+SSE transport, which is not supported; give the server's Streamable HTTP address and type \"http\"",
            ),
            (_, Endpoint::Stdio(_)) => reader.fault(&at, "must be \"stdio\" beside `command`"),
            (_, Endpoint::Http(_)) => reader.fault(&at, "must be \"http\" beside `url`"),
        }
    }
}

/// Whether an entry would start this gateway again.
fn starts_tollgate(spec: &ServerSpec, env: &Environment) -> bool {
    let Endpoint::Stdio(command) = &spec.endpoint else { return false };
    let program = Path::new(&command.program);
    let named = program.file_stem().is_some_and(|stem| stem == "tollgate");
    let same = || {
        let ours = env.executable.as_ref()?.canonicalize().ok()?;
        Some(env.working_dir.join(program).canonicalize().ok()? == ours)
    };
    named || same().unwrap_or(false)
}
