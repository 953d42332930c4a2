//! Ways to the server: none between, the pass-through, Tollgate, and other gateways if installed.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};

use super::{Era, echo, file_name, pass};

pub(super) const OURS: &str = env!("CARGO_BIN_EXE_tollgate");

/// Servers in the settings, [`echo`] being one of them.
pub(super) const SERVERS: usize = 70;

const AGENTS: usize = 20;

/// Settings with credits and records in a file, as they are by default, and in memory.
const IN_SQLITE: &str = "sqlite.yaml";
const IN_MEMORY: &str = "memory.yaml";

/// Who calls; one in the middle of the rules.
const AGENT: &str = "agent-11";

/// How to reach the server, and how to say what is called there.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) name: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Direct,
    Pass { threads: bool },
    Tollgate { binary: String, settings: &'static str },
    Rival { program: PathBuf },
}

impl Way {
    /// Where this build is among the ways.
    pub(super) const OURS_AT: usize = 2;

    /// Those that every other is compared with, and this build.
    pub(super) fn compared() -> Vec<Self> {
        let direct = Self { name: "direct".into(), kind: Kind::Direct };
        vec![direct, Self::pass(false, "pass-through"), Self::tollgate(OURS)]
    }

    /// Those that are always there, unless two binaries are compared.
    pub(super) fn standard() -> Vec<Self> {
        let mut ways = Self::compared();
        ways.push(Self::pass(true, "pass-through, a thread per core"));
        // What the store's file costs, beside accounts and records themselves.
        ways.push(Self::over("tollgate, ledger in memory", OURS, IN_MEMORY));
        ways
    }

    fn pass(threads: bool, name: &str) -> Self {
        Self { name: name.into(), kind: Kind::Pass { threads } }
    }

    /// Whether it is Tollgate, as another binary than this build.
    pub(super) fn is_other_binary(&self) -> bool {
        matches!(&self.kind, Kind::Tollgate { binary, .. } if binary != OURS)
    }

    pub(super) fn tollgate(binary: &str) -> Self {
        let name = if binary == OURS { "tollgate".into() } else { format!("`{binary}`") };
        Self::over(&name, binary, IN_SQLITE)
    }

    fn over(name: &str, binary: &str, settings: &'static str) -> Self {
        let kind = Kind::Tollgate { binary: binary.to_owned(), settings };
        Self { name: name.to_owned(), kind }
    }

    /// The command that serves MCP, with its settings below `home`.
    pub(super) fn command(&self, home: &Path, era: Era) -> Command {
        let this = env::current_exe().unwrap();
        let mut command = match &self.kind {
            Kind::Direct => with(this, &[echo::ROLE, era.argument()]),
            Kind::Pass { threads: false } => with(this, &[pass::ROLE, era.argument()]),
            Kind::Pass { threads: true } => {
                with(this, &[pass::ROLE, era.argument(), pass::THREADS])
            }
            Kind::Tollgate { binary, .. } => with(binary.into(), &["serve"]),
            Kind::Rival { program } => with(program.clone(), &[]),
        };
        settle(&mut command, home);
        if let Kind::Tollgate { settings, .. } = &self.kind {
            command.env("GATEWAY_CONFIG", home.join(settings));
        }
        command
    }

    /// The parameters of `tools/call` that reach this tool of the server.
    pub(super) fn call(&self, tool: &str, arguments: &Value) -> Value {
        match &self.kind {
            Kind::Direct | Kind::Pass { .. } => json!({"name": tool, "arguments": arguments}),
            Kind::Tollgate { .. } | Kind::Rival { .. } => json!({
                "name": "execute_tool",
                "arguments": {"agent_id": AGENT, "server": "echo", "tool": tool, "args": arguments},
            }),
        }
    }
}

fn with(program: PathBuf, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Settings from `home` and nothing of the user's.
fn settle(command: &mut Command, home: &Path) {
    command.current_dir(home).env("HOME", home);
    for variable in [
        "GATEWAY_AUDIT_LOG",
        "XDG_CACHE_HOME",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
        "GATEWAY_DEFAULT_AGENT",
    ] {
        command.env_remove(variable);
    }
    command.env("GATEWAY_MCP_CONFIG", home.join(".mcp.json"));
    command.env("GATEWAY_RULES", home.join(".mcp-gateway-rules.json"));
}

/// Writes settings with the server, with `more` servers, and with others that do not exist, up to
/// `count` in all.
pub(super) fn write_settings(home: &Path, era: Era, more: Map<String, Value>, count: usize) {
    let this = env::current_exe().unwrap();
    let mut servers = more;
    servers.insert("echo".into(), json!({"command": this, "args": [echo::ROLE, era.argument()]}));
    for i in servers.len()..count {
        let server = json!({"command": "/no/such/program", "args": ["--flag"], "env": {"A": "b"}});
        servers.insert(format!("server-{i}"), server);
    }
    write(home, ".mcp.json", &json!({"mcpServers": servers}));
    write(home, ".mcp-gateway-rules.json", &rules());
    write(home, IN_SQLITE, &gateway("sqlite"));
    write(home, IN_MEMORY, &gateway("memory"));
}

fn write(home: &Path, name: &str, value: &Value) {
    fs::write(home.join(name), value.to_string()).unwrap();
}

/// A budget that lasts, and a price list to look through.
fn gateway(backend: &str) -> Value {
    let costs: Map<_, _> = (0..30).map(|i| (format!("tool_{i}_*"), json!(i))).collect();
    json!({
        "budget": {"limit": 1_000_000_000_000_u64, "backend": backend},
        "tools": {"defaultCost": 2, "costs": costs},
        "enforcement": {"mode": "hard"},
    })
}

/// Twenty agents with allow and deny entries, explicit and with wildcards.
fn rules() -> Value {
    let agent = |i: usize| {
        let own = format!("server-{i}");
        let rules = json!({
            "allow": {
                "servers": [own, "echo", "*"],
                "tools": {"echo": ["ec*", "payload", "record", "read_*", "list_*"], "*": ["*"]},
            },
            "deny": {
                "servers": [format!("server-{}", i + AGENTS)],
                "tools": {"echo": ["delete_*", "drop"], "*": ["*_secret"]},
            },
            "budget": {"limit": 1_000_000_000_u64, "period": "day"},
        });
        (format!("agent-{i}"), rules)
    };
    json!({"agents": (0..AGENTS).map(agent).collect::<Map<_, _>>()})
}

/// Another gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rival {
    name: &'static str,
    /// Whether, with settings as ours in the environment, it serves these three tools on stdio. How
    /// the others are started so is not known here.
    known: bool,
}

const RIVALS: [Rival; 5] = [
    Rival { name: "agent-mcp-gateway", known: true },
    Rival { name: "satgate-mcp", known: false },
    Rival { name: "mcp-gateway", known: false },
    Rival { name: "mcp-proxy", known: false },
    Rival { name: "agentgateway", known: false },
];

/// A rival where it was found.
pub(super) struct Found {
    rival: Rival,
    program: Option<PathBuf>,
}

impl Rival {
    /// The rival that this argument names, by name or by path.
    pub(super) fn named(argument: &str) -> Option<Found> {
        let rival = RIVALS.into_iter().find(|rival| rival.name == file_name(argument))?;
        let path = PathBuf::from(argument);
        let program = if path.components().count() > 1 { Some(path) } else { on_path(argument) };
        Some(Found { rival, program })
    }

    /// All of them that no argument names.
    pub(super) fn known(arguments: &[String]) -> impl Iterator<Item = Found> {
        let named = |rival: &Rival| arguments.iter().any(|name| file_name(name) == rival.name);
        let rest = RIVALS.into_iter().filter(move |rival| !named(rival));
        rest.map(|rival| Found { rival, program: on_path(rival.name) })
    }
}

impl Found {
    /// The way through it, if there is one that is known; else says why not.
    pub(super) fn way(self) -> Option<Way> {
        match self.program {
            None => println!("{}: not found.", self.rival.name),
            Some(_) if !self.rival.known => {
                println!("{}: found, but how it serves stdio is not known here.", self.rival.name);
            }
            Some(program) => {
                let name = self.rival.name.to_owned();
                return Some(Way { name, kind: Kind::Rival { program } });
            }
        }
        None
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|dir| dir.join(name)).find(|program| program.is_file())
}
