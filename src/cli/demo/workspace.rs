//! Where the demo lives: servers from npm, settings, a file to read.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{
    cli::{context::CommandContext, output::Printer, shell::quoted},
    domain::settings::ChildCommand,
    host::{
        children::{self, DEPTH_VARIABLE},
        clock,
        environment::Environment,
        files,
    },
    ledger::keys,
};

/// The servers of the demo, at the versions it was written for.
const SERVERS: [(&str, &str); 2] = [
    ("@modelcontextprotocol/server-everything", "2026.8.31"),
    ("@modelcontextprotocol/server-filesystem", "2026.8.31"),
];

const NOTES: &str =
    "Agents read this file through Tollgate.\nThe rules decide whether they may change it.\n";

/// Enough credits for all calls of the story except one.
const GATEWAY: &str = "\
# Written anew by each `tollgate demo`.
budget:
  limit: 8                    # credits for all callers; `tollgate budget grant root` gives more
tools:
  costs:
    everything/get-sum: 5     # every other call costs 1
store:
  path: ledger.db             # accounts and records of the demo, apart from yours
";

/// The files of the demo's store.
const STORE: [&str; 3] = ["ledger.db", "ledger.db-wal", "ledger.db-shm"];

const RULES: &str = ".mcp-gateway-rules.json";

pub(super) struct Workspace {
    /// Settings, servers and files; kept, so that the next demo starts at once.
    pub(super) dir: PathBuf,
    /// This binary.
    pub(super) tollgate: PathBuf,
}

impl Workspace {
    /// Installs the servers if they are not there, and writes settings if there are none.
    pub(super) fn prepare(context: &CommandContext) -> anyhow::Result<Self> {
        let tollgate = context.env.executable.clone().context("cannot find this binary")?;
        let cache = context.places().cache;
        let cache = cache
            .context("neither HOME nor XDG_CACHE_HOME says where the demo may keep its servers")?;
        let dir = cache.join("demo");
        let workspace = Self { dir, tollgate };
        workspace.write("files/notes.txt", NOTES)?;
        workspace.install(&context.printer, &context.env)?;
        workspace.write(".mcp.json", &format!("{:#}\n", servers(&workspace.dir)))?;
        // Users edit the rules, so existing rules stay.
        if !workspace.dir.join(RULES).exists() {
            workspace.write(RULES, &format!("{:#}\n", rules()))?;
        }
        workspace.write("gateway.yaml", GATEWAY)?;
        workspace.forget_credits()?;
        workspace.share_key(context)?;
        Ok(workspace)
    }

    /// Every demo starts with all of its credits.
    fn forget_credits(&self) -> anyhow::Result<()> {
        STORE.iter().try_for_each(|file| {
            let path = self.dir.join(file);
            files::remove(&path).with_context(|| format!("cannot remove {}", path.display()))
        })
    }

    /// Signs the demo's records with the user's key, so that they verify outside the demo too.
    fn share_key(&self, context: &CommandContext) -> anyhow::Result<()> {
        let state = context.places().state;
        let state = state.context("neither HOME nor XDG_STATE_HOME says where the key is")?;
        keys::key(Some(&state))?;
        let own = self.state().join("tollgate");
        let key = own.join("key");
        files::make_private(&own)
            .and_then(|()| files::link(&state.join("key"), &key))
            .with_context(|| format!("cannot create {}", key.display()))
    }

    /// Keeps the demo's count of tokens apart from the user's.
    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        files::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The surroundings of the demo's gateway: without the variables that configure the user's own, and
    /// with a state directory of its own.
    pub(super) fn environment(&self, of_user: &Environment) -> Environment {
        let mut env = of_user.clone();
        env.variables.retain(|name, _| {
            !name.starts_with("GATEWAY_")
                && ![DEPTH_VARIABLE, "MCP_GATEWAY_CONFIG"].contains(&&**name)
        });
        let state = self.state().to_string_lossy().into_owned();
        env.variables.insert("XDG_STATE_HOME".to_owned(), state);
        env
    }

    /// The line that connects Claude Code.
    pub(super) fn claude_command(&self) -> String {
        format!("claude mcp add tollgate -- {}", self.typed("serve"))
    }

    /// A command over the demo's settings, to be typed into any shell.
    pub(super) fn typed(&self, command: &str) -> String {
        format!(
            "{} {command} --config-dir {}",
            quoted(&self.tollgate.to_string_lossy()),
            quoted(&self.dir.to_string_lossy())
        )
    }

    /// The entry for a client's MCP settings. `alwaysLoad` keeps the three tools loaded in clients
    /// that load tools on demand.
    pub(super) fn snippet(&self) -> String {
        let entry = json!({"mcpServers": {"tollgate": {
            "command": self.tollgate,
            "args": ["serve", "--config-dir", self.dir],
            "alwaysLoad": true,
        }}});
        format!("{entry:#}")
    }
}

fn servers(dir: &Path) -> Value {
    let script = |package: &str| dir.join("node_modules").join(package).join("dist/index.js");
    let [(everything, _), (filesystem, _)] = SERVERS;
    let files = dir.join("files");
    json!({"mcpServers": {
        "everything": {
            "description": "echo, sums, sample data",
            "command": "node",
            "args": [script(everything), "stdio"],
        },
        "filesystem": {
            "description": "read and write the demo's files",
            "command": "node",
            "args": [script(filesystem), files],
            "cwd": files,
        },
    }})
}

fn rules() -> Value {
    let reads = |description: &str| {
        json!({
            "description": description,
            "allow": {"servers": ["*"]},
            "deny": {"tools": {"filesystem": ["write_*", "edit_*", "move_*", "create_*"]}},
        })
    };
    json!({
        "agents": {
            "researcher": reads("reads, never writes"),
            "operator": {"description": "everything", "allow": {"servers": ["*"]}},
            "default": reads("calls without an agent_id"),
        },
        "defaults": {"deny_on_missing_agent": false},
    })
}

impl Workspace {
    fn install(&self, printer: &Printer, env: &Environment) -> anyhow::Result<()> {
        let is_installed = |(package, version): &(&str, &str)| {
            self.version_of(package).is_some_and(|installed| installed == *version)
        };
        let npm = self.npm(env);
        if ["node", "npm"].iter().any(|program| children::find(program, &npm).is_none()) {
            bail!(
                "the demo runs two MCP servers on Node.js, and `node` and `npm` are not both on the PATH\n  \
                 install Node.js 20 or newer (https://nodejs.org), then run `tollgate demo` again"
            );
        }
        if SERVERS.iter().all(is_installed) {
            return Ok(());
        }
        let begun = clock::instant();
        printer.progress("Installing two MCP servers with npm, once (about 20 MB)…");
        let status = children::run(&npm).context("cannot run npm")?;
        if !status.success() {
            bail!("npm could not install the servers ({status}); its message is above");
        }
        printer.progress(&format!("Installed in {:.1} s.\n", begun.elapsed().as_secs_f32()));
        Ok(())
    }

    /// The command that installs the servers.
    fn npm(&self, env: &Environment) -> ChildCommand {
        let dir = self.dir.to_string_lossy();
        let options = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error"];
        let args = ["install"].into_iter().chain(options).chain(["--prefix", &dir]);
        let packages = SERVERS.map(|(package, version)| format!("{package}@{version}"));
        ChildCommand {
            program: "npm".to_owned(),
            args: args.map(str::to_owned).chain(packages).collect(),
            env: env.variables.clone().into_iter().collect(),
            cwd: None,
        }
    }

    /// The version of a package that is installed.
    fn version_of(&self, package: &str) -> Option<String> {
        let manifest = self.dir.join("node_modules").join(package).join("package.json");
        let manifest: Value = serde_json::from_str(&files::read(&manifest).ok()??).ok()?;
        manifest.get("version")?.as_str().map(str::to_owned)
    }
}
