//! Where the demo lives: servers from npm, settings, a file to read.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::{
    cli::{context::CommandContext, output::Printer, shell::quoted},
    host::{children::DEPTH_VARIABLE, clock, environment::Environment},
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
        let files = dir.join("files");
        fs::create_dir_all(&files).with_context(|| format!("cannot create {}", files.display()))?;
        install(&dir, &context.printer)?;
        fs::write(files.join("notes.txt"), NOTES).context("cannot write the demo's file")?;
        let workspace = Self { dir, tollgate };
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
        STORE.iter().try_for_each(|file| remove(&self.dir.join(file)))
    }

    /// Signs the demo's records with the user's key, so that they verify outside the demo too.
    fn share_key(&self, context: &CommandContext) -> anyhow::Result<()> {
        let state = context.places().state;
        let state = state.context("neither HOME nor XDG_STATE_HOME says where the key is")?;
        keys::key(Some(&state))?;
        let own = self.state().join("tollgate");
        fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
        let link = own.join("key");
        remove(&link)?;
        linked(&state.join("key"), &link)
            .with_context(|| format!("cannot create {}", link.display()))
    }

    /// Keeps the demo's count of tokens apart from the user's.
    fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// A command of this binary over the demo's settings, without the variables that configure the
    /// user's own gateway, and with a state directory of its own.
    pub(super) fn command(&self, name: &[&str]) -> Command {
        let mut command = Command::new(&self.tollgate);
        command.args(name).arg("--config-dir").arg(&self.dir);
        for name in Environment::of_process().variables.into_keys() {
            if name.starts_with("GATEWAY_") {
                command.env_remove(name);
            }
        }
        command.env_remove("MCP_GATEWAY_CONFIG").env_remove(DEPTH_VARIABLE);
        command.env("XDG_STATE_HOME", self.state());
        command
    }

    /// The tokens of all tools, for a client that loads them as the servers send them.
    pub(super) fn tokens_up_front(&self) -> anyhow::Result<u64> {
        let report = self.report(&["tokens"])?;
        report.get("raw").and_then(Value::as_u64).context("the count of tokens is missing")
    }

    /// How many records the demo made; fails if they do not verify.
    pub(super) fn records(&self) -> anyhow::Result<u64> {
        let report = self.report(&["audit", "verify"])?;
        if report.get("verdict").and_then(Value::as_str) != Some("ok") {
            bail!("the records are not what was written: {report}");
        }
        report.get("records").and_then(Value::as_u64).context("the count of records is missing")
    }

    /// The JSON report of a command.
    fn report(&self, name: &[&str]) -> anyhow::Result<Value> {
        let what = || format!("`tollgate {}` said no JSON", name.join(" "));
        let report = self.command(name).arg("--json").output().with_context(what)?;
        serde_json::from_slice(&report.stdout).with_context(what)
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

fn install(dir: &Path, printer: &Printer) -> anyhow::Result<()> {
    if version_of("node").is_none() || version_of("npm").is_none() {
        bail!(
            "the demo runs two MCP servers on Node.js, and `node` and `npm` are not both on the PATH\n  \
             install Node.js 20 or newer (https://nodejs.org), then run `tollgate demo` again"
        );
    }
    if SERVERS.iter().all(|(package, version)| installed(dir, package).as_deref() == Some(version))
    {
        return Ok(());
    }
    let begun = clock::instant();
    printer.progress("Installing two MCP servers with npm, once (about 20 MB)…");
    let status = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--no-update-notifier"])
        .args(["--loglevel", "error", "--prefix"])
        .arg(dir)
        .args(SERVERS.map(|(package, version)| format!("{package}@{version}")))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .context("cannot run npm")?;
    if !status.success() {
        bail!("npm could not install the servers ({status}); its message is above");
    }
    printer.progress(&format!("Installed in {:.1} s.\n", begun.elapsed().as_secs_f32()));
    Ok(())
}

fn installed(dir: &Path, package: &str) -> Option<String> {
    let manifest = dir.join("node_modules").join(package).join("package.json");
    let manifest: Value = serde_json::from_str(&fs::read_to_string(manifest).ok()?).ok()?;
    manifest.get("version")?.as_str().map(str::to_owned)
}

fn version_of(program: &str) -> Option<String> {
    let out = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn linked(original: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(original, link)
}

#[cfg(not(unix))]
fn linked(original: &Path, link: &Path) -> io::Result<()> {
    fs::copy(original, link).map(|_| ())
}
