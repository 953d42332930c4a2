//! Whether a server that starts is still doing something: downloading, unpacking, compiling.
//!
//! On Linux that is seen from outside, as the processor time and the bytes of its processes. Elsewhere
//! nothing is seen, and a start counts as busy all the time.

use std::{sync::Arc, time::Duration};

use super::{clock, mutex::Mutex};
use tokio::time::Instant;

/// How often a start is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Less than this in one [`LOOK`] is what a process does that only waits: timers, a heartbeat.
#[cfg(target_os = "linux")]
const LEAST_TICKS: u64 = 2;
#[cfg(target_os = "linux")]
const LEAST_BYTES: u64 = 1024;

/// The activity of one start.
#[derive(Debug)]
pub struct Activity {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing is seen elsewhere"))]
    processes: Arc<ProcessTable>,
    state: Mutex<ActivityState>,
}

#[derive(Debug)]
struct ActivityState {
    /// The process at the head of the server's tree; None over HTTP.
    root: Option<u32>,
    /// When it did something last, as far as that was seen.
    last: Instant,
}

/// The processes of the machine, as they were a moment ago: several starts look at one table.
#[derive(Debug, Default)]
pub struct ProcessTable {
    #[cfg(target_os = "linux")]
    table: Mutex<Option<(Instant, Arc<[super::tree::Process]>)>>,
}

impl Activity {
    pub fn new(processes: Arc<ProcessTable>) -> Self {
        Self {
            processes,
            state: Mutex::new(ActivityState { root: None, last: clock::tokio_instant() }),
        }
    }

    /// The server runs below this process from now on.
    pub fn runs_below(&self, root: Option<u32>) {
        *self.state.lock() = ActivityState { root, last: clock::tokio_instant() };
    }

    /// For how long the server has done nothing.
    pub fn idle(&self) -> Duration {
        self.state.lock().last.elapsed()
    }

    /// Looks at the server now and again, until it has done nothing for this long.
    #[cfg(target_os = "linux")]
    pub async fn until_idle_for(self: &Arc<Self>, limit: Duration) {
        let mut before = super::tree::Work::default();
        while self.idle() < limit {
            tokio::time::sleep(LOOK).await;
            let Some(root) = self.root() else { continue };
            let processes = self.processes.clone();
            let now = super::blocking(move || super::tree::work(&processes.table(), root)).await;
            if is_more(before, now) {
                self.state.lock().last = clock::tokio_instant();
            }
            before = now;
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub async fn until_idle_for(self: &Arc<Self>, limit: Duration) {
        loop {
            tokio::time::sleep(LOOK).await;
            let mut state = self.state.lock();
            match state.root {
                Some(_) => state.last = clock::tokio_instant(),
                None if state.last.elapsed() >= limit => return,
                None => {}
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn root(&self) -> Option<rustix::process::Pid> {
        self.state.lock().root.and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
    }
}

/// Whether the difference is more than a waiting process does. What a process has done is no longer
/// counted once it has ended, so less is a change as well.
#[cfg(target_os = "linux")]
fn is_more(before: super::tree::Work, now: super::tree::Work) -> bool {
    now.ticks.abs_diff(before.ticks) >= LEAST_TICKS
        || now.bytes.abs_diff(before.bytes) >= LEAST_BYTES
        || now.processes != before.processes
}

#[cfg(target_os = "linux")]
impl ProcessTable {
    /// Blocks on `/proc`.
    fn table(&self) -> Arc<[super::tree::Process]> {
        let mut table = self.table.lock();
        if let Some((read, table)) = &*table
            && read.elapsed() < LOOK / 2
        {
            return table.clone();
        }
        let fresh: Arc<[_]> = super::tree::table().into();
        *table = Some((clock::tokio_instant(), fresh.clone()));
        fresh
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{process::Command, sync::Arc, time::Duration};

    use tokio::time::timeout;

    use super::{Activity, ProcessTable};

    async fn is_idle_within(script: &str, wait: Duration) -> Result<bool, std::io::Error> {
        let mut child = Command::new("sh").args(["-c", script]).spawn()?;
        let activity = Arc::new(Activity::new(Arc::<ProcessTable>::default()));
        activity.runs_below(Some(child.id()));
        let idle = activity.until_idle_for(Duration::from_secs(3));
        let idle = timeout(wait, idle).await.is_ok();
        child.kill()?;
        child.wait()?;
        Ok(idle)
    }

    #[tokio::test]
    async fn sleeping_start_is_idle_and_working_one_is_not() -> Result<(), std::io::Error> {
        let (long, short) = (Duration::from_secs(30), Duration::from_secs(7));
        assert!(is_idle_within("sleep 1000", long).await?);
        let reads = "while :; do head -c 9000 /dev/zero >/dev/null; sleep 0.2; done";
        assert!(!is_idle_within(reads, short).await?);
        assert!(!is_idle_within("while :; do :; done", short).await?);
        Ok(())
    }
}
