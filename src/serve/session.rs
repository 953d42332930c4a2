//! One client, over any transport.

use std::sync::{
    Arc, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use tokio_util::task::TaskTracker;

use super::{in_flight::InFlight, outbox::Outbox, protocol::Lifecycle, questions::OpenQuestions};
use crate::{
    gateway::{Gateway, Granted},
    host::mutex::Mutex,
};

pub(super) struct Session {
    pub(super) gateway: Arc<Gateway>,
    /// What the listener grants to calls that show no credential.
    pub(super) granted: Granted,
    pub(super) outbox: Outbox,
    pub(super) in_flight: InFlight,
    pub(super) questions: OpenQuestions,
    /// The work on requests, until their answers are written.
    pub(super) tasks: TaskTracker,
    lifecycle: Mutex<Lifecycle>,
    arrivals: AtomicU64,
}

impl Session {
    pub(super) fn new(gateway: Arc<Gateway>, granted: Granted, outbox: Outbox) -> Arc<Self> {
        Arc::new(Self {
            gateway,
            granted,
            outbox,
            in_flight: InFlight::new(),
            questions: OpenQuestions::default(),
            tasks: TaskTracker::new(),
            lifecycle: Mutex::default(),
            arrivals: AtomicU64::new(0),
        })
    }

    pub(super) fn lifecycle(&self) -> MutexGuard<'_, Lifecycle> {
        self.lifecycle.lock()
    }

    /// Numbers requests in the order in which they came; the tasks that work on them may overtake
    /// each other.
    pub(super) fn arrival(&self) -> u64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until every request that has come is answered.
    pub(super) async fn answered(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
