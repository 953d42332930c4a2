//! Starting and ending the child process of a server.

use std::{
    collections::HashSet,
    env,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;

use crate::domain::settings::Command;

/// Tells a gateway that it runs below another one, and how deep.
pub const DEPTH_VARIABLE: &str = "TOLLGATE_DEPTH";

/// How long a server has to end after its stdin was closed.
const EOF_GRACE: Duration = Duration::from_millis(700);

/// How long the supervisor has to end the tree after SIGTERM.
const TERM_GRACE: Duration = Duration::from_millis(1_200);

/// Starts children, through the supervisor where there is one.
#[derive(Debug)]
pub struct Launcher {
    /// The `tollgate` binary.
    supervisor: PathBuf,
    depth: u32,
    /// The supervisors that run. Held while one is started, so that a sweep for orphans never
    /// takes a supervisor that is just being born for one.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "sweeps exist on Linux only"))]
    running: Mutex<HashSet<u32>>,
}

/// A child just started, and its streams.
pub(super) struct Spawned {
    pub(super) process: Child,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Launcher {
    /// A launcher that uses the `tollgate` binary at `supervisor`, for a gateway that runs below
    /// `depth` others. On Linux this process adopts what a dead supervisor leaves behind.
    pub fn new(supervisor: PathBuf, depth: u32) -> Self {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%error, "orphans of a killed supervisor cannot be adopted");
        }
        Self { supervisor, depth, running: Mutex::default() }
    }

    /// Starts `command` with its streams piped.
    ///
    /// # Errors
    /// Why it cannot be started, without naming a path of the host.
    pub(super) fn spawn(&self, command: &Command) -> Result<Spawned, String> {
        check(command)?;
        let mut line = self.command_line(command);
        line.env_clear()
            .envs(&command.env)
            .env(DEPTH_VARIABLE, (self.depth + 1).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = &command.cwd {
            line.current_dir(cwd);
        }
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let mut process = line
            .spawn()
            .map_err(|error| format!("its process cannot be started ({})", error.kind()))?;
        running.extend(process.id());
        match (process.stdin.take(), process.stdout.take(), process.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                Ok(Spawned { process, stdin, stdout, stderr })
            }
            _ => Err("its process has no pipes".into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn command_line(&self, command: &Command) -> tokio::process::Command {
        let mut line = tokio::process::Command::new(&self.supervisor);
        line.arg0(super::supervisor::PROCESS_NAME)
            .args(["supervise", "--parent", &std::process::id().to_string(), "--"])
            .arg(&command.program)
            .args(&command.args);
        line
    }

    /// Without a supervisor the child leads its own process group, and the group is killed.
    #[cfg(not(target_os = "linux"))]
    fn command_line(&self, command: &Command) -> tokio::process::Command {
        let mut line = tokio::process::Command::new(&command.program);
        line.args(&command.args);
        #[cfg(unix)]
        line.process_group(0);
        line.kill_on_drop(true);
        line
    }

    /// Waits until the child has ended by itself, or ends it when `stop` is cancelled: its stdin is
    /// closed by then; after a grace its tree is terminated, then killed.
    pub(super) async fn attend(&self, mut child: Child, stop: CancellationToken) -> String {
        let id = child.id();
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => end(&mut child).await,
        };
        self.forget(id);
        match status {
            Ok(status) => status.to_string(),
            Err(error) => format!("unknown exit status ({error})"),
        }
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, id: Option<u32>) {
        use super::tree;
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        id.map(|id| running.remove(&id));
        // A supervisor that was killed leaves its server to us.
        for orphan in tree::children(rustix::process::getpid()) {
            if !running.contains(&orphan.as_raw_nonzero().get().cast_unsigned()) {
                tree::kill(&tree::descendants(orphan));
                tree::kill(&[orphan]);
                tree::reap(&[orphan]);
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn forget(&self, _id: Option<u32>) {}
}

async fn end(child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
    if let Ok(status) = tokio::time::timeout(EOF_GRACE, child.wait()).await {
        return status;
    }
    signal(child, false);
    if let Ok(status) = tokio::time::timeout(TERM_GRACE, child.wait()).await {
        return status;
    }
    signal(child, true);
    child.kill().await?;
    child.wait().await
}

/// Terminates or kills the child; what it leaves is swept up when its end is seen.
#[cfg(unix)]
fn signal(child: &Child, kill: bool) {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    let signal = if kill { Signal::KILL } else { Signal::TERM };
    // One that has just ended needs no signal.
    let _ = if cfg!(target_os = "linux") {
        kill_process(pid, signal)
    } else {
        kill_process_group(pid, signal)
    };
}

#[cfg(not(unix))]
fn signal(_child: &Child, _kill: bool) {}

/// Faults that the supervisor could only report as an exit status.
fn check(command: &Command) -> Result<(), String> {
    if let Some(cwd) = &command.cwd
        && !cwd.is_dir()
    {
        return Err("its working directory (`cwd`) does not exist".into());
    }
    if find(&command.program, command).is_none() {
        return Err("its command was not found; check `command` and the PATH it runs with".into());
    }
    Ok(())
}

/// Where the program is, as the child would find it.
pub fn find(program: &str, command: &Command) -> Option<PathBuf> {
    if program.contains(std::path::MAIN_SEPARATOR) || program.contains('/') {
        let base = command.cwd.clone().unwrap_or_default();
        return Some(base.join(program)).filter(|path| is_program(path));
    }
    let path = command.env.get("PATH").cloned().or_else(|| env::var("PATH").ok())?;
    env::split_paths(&path)
        .flat_map(|dir| {
            [
                dir.join(program),
                dir.join(format!("{program}.exe")),
                dir.join(format!("{program}.cmd")),
            ]
        })
        .find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}
