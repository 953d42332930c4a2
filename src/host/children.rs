//! Child processes: how they are found, started and ended.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio_util::sync::CancellationToken;

use super::{MARK_VARIABLE, environment::program_dirs};
#[cfg(target_os = "linux")]
use super::{blocking, leftovers::Roster};
use crate::domain::settings::ChildCommand;

/// Tells a gateway how many other gateways it runs below.
pub const DEPTH_VARIABLE: &str = "TOLLGATE_DEPTH";

/// How long a server has to end after its stdin was closed.
const EOF_GRACE: Duration = Duration::from_millis(700);

/// How long the supervisor has to end the tree after SIGTERM.
const TERM_GRACE: Duration = Duration::from_millis(1_200);

/// Starts children, through the supervisor where there is one.
#[derive(Debug)]
pub struct Children {
    /// The `tollgate` binary.
    supervisor: PathBuf,
    depth: u32,
    /// Begins the mark of each child.
    mark: String,
    /// How many children were started.
    started: AtomicU64,
    /// Tells the next gateway what this one has started.
    #[cfg(target_os = "linux")]
    roster: Option<Arc<Roster>>,
}

/// How long after each other a child's processes are recorded; those that it starts later are known
/// by their mark.
#[cfg(target_os = "linux")]
const RECORDED_AGAIN: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// A child just started, and its streams.
pub struct Spawned {
    pub process: Child,
    /// Tells this child's descendants from all other processes.
    pub mark: String,
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: ChildStderr,
}

impl Children {
    /// Children that the `tollgate` binary at `supervisor` supervises, of a gateway that runs below
    /// `depth` others. On Linux this process adopts what a dead supervisor leaves behind.
    pub fn new(supervisor: PathBuf, depth: u32) -> Self {
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%error, "orphans of a killed supervisor cannot be adopted");
        }
        Self {
            supervisor,
            depth,
            #[cfg(target_os = "linux")]
            mark: super::leftovers::mark_prefix(),
            #[cfg(not(target_os = "linux"))]
            mark: format!("{}-", std::process::id()),
            started: AtomicU64::new(0),
            #[cfg(target_os = "linux")]
            roster: None,
        }
    }

    /// Ends what killed gateways have left behind, as far as they have recorded it in `dir`, and
    /// records there what this one starts. A gateway below another one does neither: it may run
    /// below what is to be ended.
    pub fn recording(mut self, dir: Option<&Path>) -> Self {
        #[cfg(target_os = "linux")]
        if self.depth == 0 {
            self.roster = dir.and_then(Roster::open).map(Arc::new);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (dir, &mut self);
        self
    }

    /// Starts `command` with its streams piped.
    ///
    /// # Errors
    /// Why it cannot be started, without naming a path of the host.
    pub fn spawn(&self, command: &ChildCommand) -> Result<Spawned, String> {
        check(command)?;
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let mark = format!("{}{number}", self.mark);
        #[cfg(target_os = "linux")]
        if let Some(roster) = &self.roster {
            roster.expect(&mark);
        }
        let mut line = self.command_line(command);
        line.env_clear()
            .envs(&command.env)
            .env(DEPTH_VARIABLE, (self.depth + 1).to_string())
            .env(MARK_VARIABLE, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(cwd) = &command.cwd {
            line.current_dir(cwd);
        }
        let mut process = line
            .spawn()
            .map_err(|error| format!("its process cannot be started ({})", error.kind()))?;
        match (process.stdin.take(), process.stdout.take(), process.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => {
                Ok(Spawned { process, mark, stdin, stdout, stderr })
            }
            _ => Err("its process has no pipes".into()),
        }
    }

    #[cfg(target_os = "linux")]
    fn command_line(&self, command: &ChildCommand) -> tokio::process::Command {
        let mut line = tokio::process::Command::new(&self.supervisor);
        line.arg0(super::supervisor::PROCESS_NAME)
            .args(["supervise", "--parent", &std::process::id().to_string(), "--"])
            .arg(&command.program)
            .args(&command.args);
        line
    }

    /// Without a supervisor the child leads its own process group, and the group is killed.
    #[cfg(not(target_os = "linux"))]
    fn command_line(&self, command: &ChildCommand) -> tokio::process::Command {
        let mut line = tokio::process::Command::new(&command.program);
        line.args(&command.args);
        #[cfg(unix)]
        line.process_group(0);
        line.kill_on_drop(true);
        line
    }

    /// Waits until the child has ended by itself, or ends it when `stop` is cancelled: its stdin is
    /// closed by then; after a grace its tree is terminated, then killed.
    pub async fn wait_for_exit(
        &self,
        mut child: Child,
        mark: String,
        stop: CancellationToken,
    ) -> String {
        let pid = child.id();
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => end(&mut child).await,
            () = self.record(pid, &mark) => child.wait().await,
        };
        self.sweep(mark.clone(), &status).await;
        self.forget(mark).await;
        match status {
            Ok(status) => status.to_string(),
            Err(error) => format!("unknown exit status ({error})"),
        }
    }

    /// Records a child as long as it runs: at once, and again when it has started others.
    #[cfg(target_os = "linux")]
    async fn record(&self, pid: Option<u32>, mark: &str) {
        let pid = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed()));
        if let (Some(roster), Some(pid)) = (&self.roster, pid) {
            for pause in RECORDED_AGAIN {
                let (roster, mark) = (roster.clone(), mark.to_owned());
                blocking(move || roster.record(&mark, pid)).await;
                tokio::time::sleep(pause).await;
            }
        }
        std::future::pending().await
    }

    #[cfg(not(target_os = "linux"))]
    async fn record(&self, _pid: Option<u32>, _mark: &str) {
        std::future::pending().await
    }

    #[cfg(target_os = "linux")]
    async fn forget(&self, mark: String) {
        if let Some(roster) = self.roster.clone() {
            blocking(move || roster.forget(&mark)).await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn forget(&self, _mark: String) {}

    /// Ends what a supervisor left behind that was killed; one that ended by itself leaves nothing.
    #[cfg(target_os = "linux")]
    async fn sweep(&self, mark: String, status: &std::io::Result<ExitStatus>) {
        use std::os::unix::process::ExitStatusExt;
        let killed = status.as_ref().is_ok_and(|status| status.signal().is_some());
        if killed {
            let sweep = move || super::tree::kill_marked(&format!("{MARK_VARIABLE}={mark}"));
            blocking(sweep).await;
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn sweep(&self, _mark: String, _status: &std::io::Result<ExitStatus>) {}
}

async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Ok(status) = tokio::time::timeout(EOF_GRACE, child.wait()).await {
        return status;
    }
    if is_stopped(child) {
        // It would see the signal only when somebody lets it go on.
        child.kill().await?;
        return child.wait().await;
    }
    terminate(child);
    if let Ok(status) = tokio::time::timeout(TERM_GRACE, child.wait()).await {
        return status;
    }
    child.kill().await?;
    child.wait().await
}

/// Whether the supervisor is stopped by a signal.
#[cfg(target_os = "linux")]
fn is_stopped(child: &Child) -> bool {
    let pid = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
    pid.and_then(super::tree::process).is_some_and(super::tree::Process::is_stopped)
}

#[cfg(not(target_os = "linux"))]
fn is_stopped(_child: &Child) -> bool {
    false
}

/// Asks the supervisor, or where there is none the child's group, to end.
#[cfg(unix)]
fn terminate(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return };
    // One that has just ended needs no signal.
    let _ = if cfg!(target_os = "linux") {
        kill_process(pid, Signal::TERM)
    } else {
        kill_process_group(pid, Signal::TERM)
    };
}

#[cfg(not(unix))]
fn terminate(_child: &Child) {}

/// Faults that the supervisor could only report as an exit status.
fn check(command: &ChildCommand) -> Result<(), String> {
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

/// Runs a command and waits for its end. It gets no input, its output is dropped, and its standard
/// error is that of this process.
pub fn run(command: &ChildCommand) -> std::io::Result<ExitStatus> {
    let program = find(&command.program, command).unwrap_or_else(|| (&command.program).into());
    std::process::Command::new(program)
        .args(&command.args)
        .env_clear()
        .envs(&command.env)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
}

/// Where the program is, as the child would find it.
pub fn find(program: &str, command: &ChildCommand) -> Option<PathBuf> {
    if program.contains(std::path::MAIN_SEPARATOR) || program.contains('/') {
        let base = command.cwd.clone().unwrap_or_default();
        return Some(base.join(program)).filter(|path| is_program(path));
    }
    program_dirs(command.env.get("PATH").map(String::as_str))
        .into_iter()
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
