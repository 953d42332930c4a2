//! Floor 2: the MCP servers behind us.
//!
//! - [`Fleet`]: all servers of the settings, by name.
//! - [`server`]: one server as others see it. [`life`]: how it is started, started again, stopped.
//!   [`uses`]: who uses it.
//! - [`connection`]: one live MCP session: handshake, tools, calls.
//! - [`cache`]: tools and their counts, kept between runs.
//! - [`lines`]: lines of bounded length. [`transport`]: JSON-RPC over a child's standard streams, results kept raw.
//! - [`child`], [`supervisor`], [`tree`]: child processes, and how the whole tree of them ends.
//!
//! A broken server delays nobody else: every server has its own state and its own deadlines.

mod cache;
pub mod child;
mod connection;
mod failure;
mod handler;
mod life;
pub mod lines;
mod server;
mod stderr;
#[cfg(target_os = "linux")]
pub mod supervisor;
mod transport;
#[cfg(target_os = "linux")]
mod tree;
mod uses;

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};

pub use cache::SchemaCache;
pub use child::Launcher;
pub use failure::{CallFailure, Unavailable};
pub use server::{Server, Status};
pub use uses::Use;

use life::START_DEADLINE;

use crate::domain::{
    call::ServerName,
    settings::{ServerSpec, Start},
};

/// Eager servers are started this many at a time: `npx` and `uvx` are heavy at start.
const PARALLEL_STARTS: usize = 4;

/// How long stopping everything may take, in all.
const STOP_DEADLINE: Duration = Duration::from_millis(2_200);

/// All servers of a gateway.
#[derive(Debug)]
pub struct Fleet {
    servers: Vec<Arc<Server>>,
    by_name: HashMap<ServerName, Arc<Server>>,
}

impl Fleet {
    /// A fleet of these servers, none of them started.
    pub fn new(specs: &[ServerSpec], launcher: &Arc<Launcher>, cache: &SchemaCache) -> Self {
        let servers: Vec<_> = specs
            .iter()
            .map(|spec| Arc::new(Server::new(spec.clone(), launcher.clone(), cache.clone())))
            .collect();
        let by_name =
            servers.iter().map(|server| (server.name().clone(), server.clone())).collect();
        Self { servers, by_name }
    }

    /// The servers, in the order of the settings.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// The server of that exact name.
    pub fn server(&self, name: &str) -> Option<&Arc<Server>> {
        self.by_name.get(name)
    }

    /// Starts the servers that are to be started with the gateway, a few at a time, in the
    /// background. Failures are logged; the next call tries again.
    pub fn start_eager(&self) {
        let permits = Arc::new(Semaphore::new(PARALLEL_STARTS));
        for server in self.servers.iter().filter(|server| server.spec().start == Start::Eager) {
            let (server, permits) = (server.clone(), permits.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire_owned().await;
                // The failure is in the log and in the server's status already.
                let _ = server.connection(&server.in_use(), START_DEADLINE).await;
            });
        }
    }

    /// Stops all servers in parallel and for good; whatever still runs at the deadline is killed.
    pub async fn stop(&self) {
        let mut stops: JoinSet<()> =
            self.servers.iter().cloned().map(|server| async move { server.stop().await }).collect();
        let all = async { while stops.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_DEADLINE, all).await.is_err() {
            tracing::warn!("some servers did not stop in time");
        }
    }
}

/// Runs what blocks on a thread for that; a panic goes on here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only a runtime that is being torn down cancels such work, and it drops this task as well.
        Err(_) => std::future::pending().await,
    }
}
