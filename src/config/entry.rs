//! An entry of a server, in whichever file it stands.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::{
    auth::{NOT_PASSED_ON, PRESENTED},
    document::Value,
    reader::{At, Object, Reader},
};
use crate::{
    domain::{
        call::ServerName,
        pattern::Pattern,
        settings::{
            AllowPrivate, ChildCommand, DEFAULT_TIMEOUT, Elicitation, Endpoint, Remote, ServerSpec,
            StartMode,
        },
    },
    downstream::refused_address,
    host::environment::Environment,
};

/// The keys of a server entry.
pub(super) const KNOWN: [&str; 18] = [
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
    "enabled",
    "init",
    "idle",
    "maxConcurrency",
    "inheritEnv",
    "allowPrivate",
    "elicitation",
];

/// Keys of the contract that this version cannot honour yet.
pub(super) const NOT_BUILT: [&str; 3] = ["oauth", "pin", "instances"];

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

/// A timeout below this is most likely meant as seconds.
const SHORT: Duration = Duration::from_secs(1);

/// How entries are written where they stand.
#[derive(Clone, Copy, Default)]
pub(super) struct Form {
    /// Whether `command` may be a list: the program and its arguments.
    pub(super) command_may_be_list: bool,
    /// Whether a server without a `description` is described by its `name`.
    pub(super) name_describes: bool,
    /// Whether servers that do not say `allowPrivate` may have any address.
    pub(super) any_address: bool,
}

/// The servers of one file.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) specs: Vec<ServerSpec>,
    /// Servers that are there but switched off.
    pub(super) disabled: Vec<String>,
    /// Every entry, faulty ones included, and where it stands.
    pub(super) entries: BTreeMap<String, String>,
    pub(super) warnings: Vec<String>,
    pub(super) secrets: Vec<String>,
}

impl Loaded {
    /// Takes note of an entry, whatever is in it.
    pub(super) fn found(&mut self, name: &str, at: &At<'_>, reader: &mut Reader<'_>) {
        self.entries.insert(name.to_owned(), reader.whereabouts(at));
        if let Err(message) = check_name(name) {
            reader.fault(at, message);
        }
    }

    /// Takes in an entry, which may be switched off.
    pub(super) fn add(
        &mut self,
        name: &str,
        object: &Object<'_>,
        off: bool,
        form: Form,
        reader: &mut Reader<'_>,
    ) {
        if off {
            self.disabled.push(name.to_owned());
            return;
        }
        reader.for_server = true;
        let entry = entry(name, object, form, reader, &mut self.secrets);
        reader.for_server = false;
        match entry {
            Some(spec) if starts_tollgate(&spec, reader.env) => {
                reader.warn(object.at(), "starts Tollgate itself and is left out");
                self.disabled.push(name.to_owned());
            }
            Some(spec) => self.specs.push(spec),
            None => {}
        }
    }
}

/// What expansion brought in, without what every log may show, such as `$HOME`.
pub(super) fn worth_hiding(secrets: Vec<String>, env: &Environment) -> Vec<String> {
    let public: Vec<&String> =
        INHERITED.iter().filter_map(|name| env.variables.get(*name)).collect();
    secrets.into_iter().filter(|secret| !public.contains(&secret)).collect()
}

fn check_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("has an empty name".into()),
        ServerName::BUILT_IN => Err("uses a name that is kept for the gateway itself; rename the server".into()),
        name if name.contains(['*', '?', '[', ']']) || name.chars().any(char::is_control) => {
            Err("has a name that rules could not write; leave out `*`, `?`, `[`, `]` and control characters".into())
        }
        _ => Ok(()),
    }
}

fn entry(
    name: &str,
    object: &Object<'_>,
    form: Form,
    reader: &mut Reader<'_>,
    secrets: &mut Vec<String>,
) -> Option<ServerSpec> {
    let at = object.at();
    let description = object.get("description");
    let description = description.or_else(|| object.get("name").filter(|_| form.name_describes));
    let description = description.and_then(|at| reader.text(&at));
    let timeout = object.get("timeout").map(|at| timeout(&at, reader));
    let start = object
        .get("init")
        .map(|at| reader.choice(&at, &[("lazy", StartMode::Lazy), ("eager", StartMode::Eager)]));
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
        (Some(command), None) => stdio(&command, object, form, reader, secrets),
        (None, Some(url)) => http(&url, object, form, reader, secrets),
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

fn default_start(env: &Environment) -> StartMode {
    match env.get("GATEWAY_INIT_STRATEGY") {
        Some("eager") => StartMode::Eager,
        _ => StartMode::Lazy,
    }
}

fn stdio(
    command: &At<'_>,
    object: &Object<'_>,
    form: Form,
    reader: &mut Reader<'_>,
    secrets: &mut Vec<String>,
) -> Option<(Endpoint, String)> {
    let (program, mut args) = program(command, form, reader);
    if program.as_deref() == Some("") {
        reader.fault(command, "must name a program");
    }
    reader.for_shell = program.as_deref().is_some_and(is_shell);
    args.extend(object.get("args").map(|at| reader.texts(&at)).unwrap_or_default());
    reader.for_shell = false;
    let own = object.get("env").map(|at| pairs(&at, reader, secrets, false)).unwrap_or_default();
    let inherit = object.get("inheritEnv").map(|at| inherited(&at, reader)).unwrap_or_default();
    let cwd = object.get("cwd").and_then(|at| reader.text(&at));
    let env = reader.env;
    // What is passed on by name is mostly credentials.
    let passed_on = inherit.iter().filter_map(|name| env.variables.get(name)).cloned();
    reader.secrets.extend(passed_on);
    let inherited = INHERITED.iter().copied().chain(inherit.iter().map(String::as_str));
    let mut variables: BTreeMap<String, String> = inherited
        .filter_map(|name| Some((name.to_owned(), env.variables.get(name)?.clone())))
        .collect();
    let cwd = cwd.map(|cwd| env.path(cwd));
    let program = beneath_home(program?, env);
    let place = cwd.as_ref().unwrap_or(&env.working_dir).display().to_string();
    // Without what is inherited by default: the same server is started from many terminals.
    let passed_on = inherit.iter().filter_map(|name| env.variables.get(name));
    let texts = [&program, &place].into_iter().chain(&args).chain(&inherit).chain(passed_on);
    let identity = identity(texts.chain(own.iter().flat_map(|(name, value)| [name, value])));
    variables.extend(own);
    Some((Endpoint::Stdio(ChildCommand { program, args, env: variables, cwd }), identity))
}

/// A timeout. Some clients write seconds where others write milliseconds.
fn timeout(at: &At<'_>, reader: &mut Reader<'_>) -> Option<Duration> {
    let timeout = reader.duration(at)?;
    if timeout < SHORT {
        let (ms, form) = (timeout.as_millis(), "\"60s\"");
        reader.warn(
            at,
            &format!("is only {ms} ms: a number counts milliseconds; write seconds as {form}"),
        );
    }
    Some(timeout)
}

/// Whether a program expands `$NAME` in its arguments.
fn is_shell(program: &str) -> bool {
    let name = Path::new(program).file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| ["sh", "bash", "dash", "zsh", "ksh", "fish"].contains(&name))
}

/// A program that is named by a path; one that is looked for in `PATH` stays as it is.
fn beneath_home(program: String, env: &Environment) -> String {
    match env.beneath_home(&program).into_os_string().into_string() {
        Ok(path) => path,
        Err(_) => program,
    }
}

/// Names of variables that a child gets beside those that every one does. A pattern stands for those
/// that are set, without the gateway's own.
fn inherited(at: &At<'_>, reader: &mut Reader<'_>) -> BTreeSet<String> {
    const OWN: [&str; 3] = ["TOLLGATE_", "GATEWAY_", "MCP_GATEWAY_"];
    let mut names = BTreeSet::new();
    for item in reader.list(at).unwrap_or_default() {
        let Some(name) = reader.text(&item) else { continue };
        if name == PRESENTED {
            reader.fault(&item, format!("names {NOT_PASSED_ON}"));
            continue;
        }
        match Pattern::parse(&name) {
            Ok(pattern) if pattern.is_explicit() => {
                names.insert(name);
            }
            Ok(pattern) => {
                let others = reader.env.variables.keys();
                let others = others.filter(|name| !OWN.iter().any(|own| name.starts_with(own)));
                names.extend(others.filter(|name| pattern.matches(name)).cloned());
            }
            Err(message) => reader.fault(&item, message),
        }
    }
    names
}

/// The program, None if it cannot be read, and those arguments that stand beside it.
fn program(at: &At<'_>, form: Form, reader: &mut Reader<'_>) -> (Option<String>, Vec<String>) {
    let Value::List(items) = &at.node.value else { return (reader.text(at), Vec::new()) };
    if !form.command_may_be_list {
        return (reader.text(at), Vec::new());
    }
    let mut texts = reader.texts(at);
    match texts.len() == items.len() {
        true if texts.is_empty() => (Some(String::new()), texts),
        true => (Some(texts.remove(0)), texts),
        false => (None, texts),
    }
}

fn http(
    at: &At<'_>,
    object: &Object<'_>,
    form: Form,
    reader: &mut Reader<'_>,
    secrets: &mut Vec<String>,
) -> Option<(Endpoint, String)> {
    let headers = object.get("headers").map(|at| headers(&at, reader, secrets));
    let allow_private = object.get("allowPrivate").map(|at| allow_private(&at, reader));
    let unsaid = if form.any_address { AllowPrivate::All } else { AllowPrivate::None };
    let allow_private = allow_private.unwrap_or(Some(unsaid));
    let text = reader.text(at)?;
    match Url::parse(&text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
            secrets.extend(url.password().map(str::to_owned));
            let headers = headers.unwrap_or_default();
            let place = url.to_string();
            let headers_in_order = headers.iter().flat_map(|(name, value)| [name, value]);
            let identity = identity(std::iter::once(&place).chain(headers_in_order));
            let remote = Remote { url, headers, allow_private: allow_private? };
            if let Some(why) = refused_address(&remote) {
                reader.warn(at, &format!("cannot be called: {why}"));
            }
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
fn headers(
    at: &At<'_>,
    reader: &mut Reader<'_>,
    secrets: &mut Vec<String>,
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
    let headers = pairs(at, reader, secrets, true);
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
    secrets: &mut Vec<String>,
    headers: bool,
) -> BTreeMap<String, String> {
    let mut pairs = BTreeMap::new();
    let Some(object) = reader.any_object(at) else { return pairs };
    for (name, at) in object.members() {
        let Some(value) = reader.text(&at) else { continue };
        let upper = name.to_uppercase();
        if headers || SECRET_NAMES.iter().any(|part| upper.contains(part)) {
            secrets.push(value.clone());
            // The credential without its scheme (`Bearer …`) is as secret.
            secrets.extend(value.split_once(' ').map(|(_, credential)| credential.to_owned()));
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
