//! The settings as checked: what the rest of the gateway works from. `config` makes them.

use std::{
    collections::BTreeMap,
    fmt,
    num::NonZeroUsize,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use url::Url;

use super::{
    auth::Auth, budget::Budgeting, call::ServerName, identity::Identities, redact::Redactor,
    routing::Routing, rules::Rules, words::words,
};

/// The time a server has to answer a call, where its settings name none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// One immutable snapshot of all settings. A call works on one snapshot from beginning to end.
#[derive(Debug)]
pub struct Settings {
    /// The servers, in the order of their files.
    pub servers: Vec<ServerSpec>,
    /// Who may do what.
    pub rules: Rules,
    /// How callers are identified.
    pub identities: Identities,
    /// What callers must show.
    pub auth: Auth,
    /// How calls are paid for.
    pub budgeting: Budgeting,
    /// Where calls go that name no server.
    pub routing: Routing,
    /// What the gateway calls itself towards clients, where it has another name than its own
    /// (`server.name`, `server.version`).
    pub presented_as: (Option<String>, Option<String>),
    /// How the log is written.
    pub logging: Logging,
    /// Where records of calls are written as lines of JSON as well (`GATEWAY_AUDIT_LOG`).
    pub audit_log: Option<PathBuf>,
    /// Whether the debug tool `get_gateway_status` is offered.
    pub debug: bool,
    /// Knows every secret that the settings brought in.
    pub redactor: Redactor,
    /// Where the settings come from.
    pub sources: Sources,
}

impl Settings {
    /// Every warning there is, in the order of the files.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let all = SettingsFile::ALL.into_iter();
        all.flat_map(|file| &self.sources.of(file).warnings).map(String::as_str)
    }

    /// The level of a serving gateway's log.
    pub fn log_level(&self) -> LogLevel {
        if self.debug { LogLevel::Debug } else { self.logging.level.unwrap_or(LogLevel::Info) }
    }
}

/// How the log is written (`logging`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// None leaves it to the command.
    pub level: Option<LogLevel>,
    /// Whether each line is an object of JSON.
    pub json: bool,
}

/// The least important messages that the log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Warnings.
    Warn,
    /// Changes.
    Info,
    /// Each action.
    Debug,
    /// Every step.
    Trace,
}

words!(LogLevel {
    Error = "error", Warn = "warn", Info = "info", Debug = "debug", Trace = "trace",
});

/// One of the files that settings are read from, in the order in which they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingsFile {
    /// `.mcp.json`: which servers.
    McpConfig,
    /// `gateway.yaml`: how the gateway runs.
    Gateway,
    /// `.mcp-gateway-rules.json`: who may do what.
    Rules,
}

impl SettingsFile {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::McpConfig, Self::Rules, Self::Gateway];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::McpConfig => ".mcp.json",
            Self::Rules => ".mcp-gateway-rules.json",
            Self::Gateway => "gateway.yaml",
        }
    }

    /// The names under which it is looked for: its own, and those of older systems.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::McpConfig => &[".mcp.json"],
            Self::Rules => &[".mcp-gateway-rules.json"],
            Self::Gateway => &["gateway.yaml", "gateway.yml", "gateway.json", "satgate-mcp.yaml"],
        }
    }
}

/// One of something for each settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerFile<T> {
    /// `.mcp.json`.
    pub mcp_config: T,
    /// `.mcp-gateway-rules.json`.
    pub rules: T,
    /// `gateway.yaml`.
    pub gateway: T,
}

impl<T> PerFile<T> {
    pub fn each(mut make: impl FnMut(SettingsFile) -> T) -> Self {
        Self {
            mcp_config: make(SettingsFile::McpConfig),
            rules: make(SettingsFile::Rules),
            gateway: make(SettingsFile::Gateway),
        }
    }

    pub fn of(&self, file: SettingsFile) -> &T {
        match file {
            SettingsFile::McpConfig => &self.mcp_config,
            SettingsFile::Rules => &self.rules,
            SettingsFile::Gateway => &self.gateway,
        }
    }

    pub fn of_mut(&mut self, file: SettingsFile) -> &mut T {
        match file {
            SettingsFile::McpConfig => &mut self.mcp_config,
            SettingsFile::Rules => &mut self.rules,
            SettingsFile::Gateway => &mut self.gateway,
        }
    }
}

/// Where settings come from.
pub type Sources = PerFile<SettingsSource>;

/// One settings file.
#[derive(Clone, Debug)]
pub struct SettingsSource {
    /// Where it is; None where there is none.
    pub path: Option<PathBuf>,
    /// When it was read.
    pub read_at: SystemTime,
    /// How many servers it names, those not counted that are left out.
    pub servers: usize,
    /// Warnings: odd, but not wrong.
    pub warnings: Vec<String>,
}

/// One downstream server.
#[derive(Clone, PartialEq)]
pub struct ServerSpec {
    /// Its name here.
    pub name: ServerName,
    /// What it is for, told to agents.
    pub description: String,
    /// How it is reached.
    pub endpoint: Endpoint,
    /// How long a call may take.
    pub timeout: Duration,
    /// Whether it is started with the gateway, or at first use.
    pub start: StartMode,
    /// Whether it may ask the user through the client.
    pub elicitation: Elicitation,
    /// Stopped after this time without a use; never if None.
    pub idle: Option<Duration>,
    /// How many calls are forwarded to it at a time; unlimited if None.
    pub most_calls: Option<NonZeroUsize>,
    /// All settings that decide which server is reached, as one text. May hold secrets.
    pub identity: String,
}

/// When a server is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartMode {
    /// At first use.
    #[default]
    Lazy,
    /// With the gateway.
    Eager,
}

words!(StartMode { Lazy = "lazy", Eager = "eager" });

/// How a server is reached.
#[derive(Clone, PartialEq)]
pub enum Endpoint {
    /// A child process that speaks MCP on its standard streams.
    Stdio(ChildCommand),
    /// A remote server (Streamable HTTP).
    Http(Remote),
}

/// A server reached over HTTP.
#[derive(Clone, PartialEq)]
pub struct Remote {
    /// Where.
    pub url: Url,
    /// Headers sent with every request; may hold secrets.
    pub headers: BTreeMap<String, String>,
    /// Which addresses it may have beside public ones.
    pub allow_private: AllowPrivate,
}

/// Which addresses a server may have that are not public: private, loopback, link-local, metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AllowPrivate {
    /// None of them.
    #[default]
    None,
    /// Those in these networks.
    Only(Vec<IpNet>),
    /// All of them.
    All,
}

/// Whether a server may ask the user something in the middle of a call (MCP elicitation).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Elicitation {
    /// Its questions are declined.
    #[default]
    Deny,
    /// Its questions are passed on to clients that take them.
    Allow,
}

words!(Elicitation { Allow = "allow", Deny = "deny" });

/// A command line, run without a shell.
#[derive(Clone, PartialEq)]
pub struct ChildCommand {
    /// The program: a path, or a name to find in `PATH`.
    pub program: String,
    /// Its arguments; may hold secrets.
    pub args: Vec<String>,
    /// The whole environment of the process; may hold secrets.
    pub env: BTreeMap<String, String>,
    /// Where it runs; the gateway's own working directory if None.
    pub cwd: Option<PathBuf>,
}

impl ServerSpec {
    /// Whether a running server can stay: the two differ at most in description, timeout and start.
    pub fn runs_as(&self, other: &Self) -> bool {
        let Self { description, timeout, start, .. } = self.clone();
        *self == Self { description, timeout, start, ..other.clone() }
    }

    /// `stdio` or `http`.
    pub fn transport(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Stdio(_) => "stdio",
            Endpoint::Http(_) => "http",
        }
    }
}

/// Shows the name and the place, never arguments, environment or headers.
impl fmt::Debug for ServerSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.endpoint {
            Endpoint::Stdio(command) => command.program.clone(),
            Endpoint::Http(remote) => public_url(&remote.url),
        };
        f.debug_struct("ServerSpec").field("name", &self.name).field("at", &place).finish()
    }
}

/// A URL without what may be secret in it: user info, query, fragment.
pub fn public_url(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs without a host, which cannot carry user info.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use url::Url;

    use super::{AllowPrivate, Elicitation, Endpoint, Remote, ServerSpec, StartMode, public_url};

    #[test]
    fn only_launch_settings_make_a_server_a_new_one() {
        let spec = |url: &str| ServerSpec {
            name: "a".into(),
            description: String::new(),
            endpoint: Endpoint::Http(Remote {
                url: Url::parse(url).unwrap(),
                headers: BTreeMap::new(),
                allow_private: AllowPrivate::None,
            }),
            elicitation: Elicitation::Deny,
            idle: None,
            most_calls: None,
            timeout: Duration::from_secs(1),
            start: StartMode::Lazy,
            identity: url.to_owned(),
        };
        let told = ServerSpec {
            description: "new".into(),
            timeout: Duration::from_secs(2),
            start: StartMode::Eager,
            ..spec("http://a/")
        };
        assert!(told.runs_as(&spec("http://a/")));
        assert!(!told.runs_as(&spec("http://b/")));
    }

    #[test]
    fn a_public_url_has_no_credentials() {
        let url = Url::parse("https://user:pw@example.com/mcp?key=secret#frag").unwrap();
        assert_eq!(public_url(&url), "https://example.com/mcp");
    }
}
