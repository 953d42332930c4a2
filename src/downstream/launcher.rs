//! What all servers of a gateway share.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Semaphore;

use super::backlog::Backlog;
use crate::host::{activity::ProcessTable, children::Children};

/// Starts servers, and bounds what they may take together.
#[derive(Debug)]
pub struct Launcher {
    pub(super) children: Children,
    /// Read by all who watch a start.
    pub(super) processes: Arc<ProcessTable>,
    /// Bounds the starts ahead of need.
    pub(super) start_turns: Arc<Semaphore>,
    pub(super) backlog: Backlog,
}

impl Launcher {
    /// Starts servers through the `tollgate` binary at `supervisor`, for a gateway that runs below
    /// `depth` others.
    pub fn new(supervisor: PathBuf, depth: u32) -> Self {
        // A start loads its core half of the time, and the network or the disk otherwise.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            children: Children::new(supervisor, depth),
            processes: Arc::default(),
            start_turns: Arc::new(Semaphore::new(2 * cores)),
            backlog: Backlog::default(),
        }
    }

    /// Ends what killed gateways have left behind, as far as they have recorded it in `dir`, and
    /// records there what this one starts.
    pub fn recording(mut self, dir: Option<&Path>) -> Self {
        self.children = self.children.recording(dir);
        self
    }
}
