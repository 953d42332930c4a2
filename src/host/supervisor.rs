//! The process between the gateway and a server: it sees to it that the server's whole tree ends.
//!
//! The gateway starts each server through itself (`tollgate supervise`). This process becomes a
//! session leader and child subreaper, starts the server with its own standard streams, and then
//! only waits: for the server's end, for SIGTERM, or for the end of the gateway. Whichever comes
//! first, every descendant is killed, those behind setsid included. It copies no data.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{
        Pid, PidfdFlags, Signal, getpid, getppid, kill_process_group, pidfd_open,
        set_child_subreaper, setsid,
    },
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::tree;

/// The name this process goes by, so that `pkill tollgate` leaves it to do its work.
pub const PROCESS_NAME: &str = "mcp-keeper";

/// How long a server has to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_millis(500);

/// How often the gateway is looked for where the kernel does not tell of its end.
const POLL: Duration = Duration::from_millis(100);

/// Exit status for a program that was not found, as shells have it.
pub const NOT_FOUND: u8 = 127;

/// Exit status for a program that could not be run, as shells have it.
pub const NOT_RUN: u8 = 126;

/// Runs `program` until it ends, the gateway ends (`gateway` is its process id) or SIGTERM arrives;
/// then kills what is left of its tree. Answers the exit status to end with.
pub fn supervise(gateway: i32, program: OsString, args: Vec<OsString>) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(run(gateway, program, args)));
    tree::kill_everything_below();
    match outcome {
        Ok(status) => status,
        Err(error) => {
            // Goes to the gateway's log, as the server's stderr does.
            let _ = writeln!(io::stderr(), "cannot supervise the server: {error}");
            NOT_RUN
        }
    }
}

async fn run(gateway: i32, program: OsString, args: Vec<OsString>) -> io::Result<u8> {
    // Fails only for a process that leads a group already, which is as good.
    let _ = setsid();
    // Only a name: without it the process works as well.
    let _ = fs::write("/proc/self/comm", PROCESS_NAME);
    set_child_subreaper(Some(getpid()))?;
    let mut term = signal(SignalKind::terminate())?;
    let mut child_ended = signal(SignalKind::child())?;
    let Some(mut gateway_ended) = watch(gateway)? else { return Ok(NOT_RUN) };

    let mut child = match Command::new(program).args(args).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot run the command: {error}");
            return Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN });
        }
    };
    release_streams()?;
    loop {
        tokio::select! {
            status = child.wait() => return status.map(exit_code),
            _ = &mut gateway_ended => return Ok(NOT_RUN),
            _ = term.recv() => return terminate(&mut child).await,
            // Orphans of the server come to us and must not stay as zombies.
            _ = child_ended.recv() => reap_strays(&child),
        }
    }
}

/// Resolves when the gateway ends; None if it has ended already. A thread waits, as tokio's own
/// readiness for foreign descriptors takes unsafe code.
fn watch(gateway: i32) -> io::Result<Option<oneshot::Receiver<()>>> {
    let expected = Pid::from_raw(gateway);
    let Some(pid) = expected.filter(|_| getppid() == expected) else { return Ok(None) };
    // Old kernels and strict sandboxes have no such handle: then the parent is looked at again
    // and again.
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok();
    // The id could have passed to another process before the handle was taken.
    if getppid() != expected {
        return Ok(None);
    }
    let (ended, seen) = oneshot::channel();
    thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        match handle {
            Some(handle) => {
                while poll(&mut [PollFd::new(&handle, PollFlags::IN)], None) != Ok(1) {}
            }
            None => {
                while getppid() == expected {
                    thread::sleep(POLL)
                }
            }
        }
        // The receiver is gone if the server ended first.
        let _ = ended.send(());
    })?;
    Ok(Some(seen))
}

/// Lets go of the pipes that the server now holds, so that its end is an end of file at once.
fn release_streams() -> io::Result<()> {
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    Ok(())
}

async fn terminate(child: &mut Child) -> io::Result<u8> {
    if let Some(group) = pid_of(child) {
        let _ = kill_process_group(group, Signal::TERM);
    }
    match tokio::time::timeout(TERM_GRACE, child.wait()).await {
        Ok(status) => status.map(exit_code),
        Err(_) => Ok(NOT_RUN),
    }
}

fn reap_strays(child: &Child) {
    let server = pid_of(child);
    let strays: Vec<Pid> =
        tree::children(getpid()).into_iter().filter(|&pid| Some(pid) != server).collect();
    tree::reap(&strays);
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| Pid::from_raw(id.cast_signed()))
}

/// The status of the server as a shell would give it: its own, or 128 + the signal.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
