//! The settings and servers that a call works on from beginning to end.

use std::{
    path::Path,
    sync::{Arc, MutexGuard},
};

use tokio_util::task::TaskTracker;

use super::{
    billing::{Billing, BillingPolicy, settling::Settlements},
    directory::Directory,
    identify::Identifier,
    journal::{Journal, Recorder},
    key_ring::KeyRing,
    usage::UsageLog,
};
use crate::{
    domain::{readings::Readings, settings::Settings},
    downstream::Fleet,
    host::{mutex::Mutex, random},
    ledger::{self, Ledger},
};

/// Settings, and the servers that they name. It never changes: other settings make another one, and
/// a call keeps the one that it began with.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) settings: Arc<Settings>,
    /// Who calls.
    pub(super) identifier: Identifier,
    /// Which servers and tools there are, and what a caller may know of them.
    pub(super) directory: Directory,
    /// What calls cost, and who pays.
    pub(super) billing: Billing,
    /// The records of calls.
    pub(super) journal: Journal,
    pub(super) shared: SharedState,
}

/// What all snapshots of a gateway have in common.
#[derive(Clone, Debug)]
pub(super) struct SharedState {
    pub(super) settlements: Settlements,
    pub(super) usage: Arc<UsageLog>,
    /// For what goes on after an answer; the end of the gateway waits for it.
    pub(super) background: TaskTracker,
    /// How the settings files were read.
    readings: Arc<Mutex<Readings>>,
    key_ring: Arc<KeyRing>,
    recorder: Arc<Recorder>,
    /// Names this process, and the one client that started it.
    session: u128,
    /// Made for a command of the shell: ends after its call, so nothing is started ahead of need.
    one_call: bool,
}

impl SharedState {
    /// `state` is the user's directory for what cannot be made again.
    pub(super) fn new(settings: &Settings, state: Option<&Path>, one_call: bool) -> Self {
        let store = &settings.budgeting.store;
        let ledger = ledger::open(store, state);
        let background = TaskTracker::new();
        let usage = state.filter(|_| !one_call).map(|dir| dir.join("context.json"));
        Self {
            settlements: Settlements::new(ledger.clone(), &background),
            usage: Arc::new(UsageLog::new(usage)),
            readings: Arc::new(Mutex::new(Readings::begun(&settings.sources))),
            key_ring: Arc::new(KeyRing::new(ledger::place_of_key(store, state))),
            recorder: Arc::new(Recorder::new(ledger, &background, one_call)),
            session: random::id(),
            background,
            one_call,
        }
    }
}

impl SharedState {
    pub(super) fn readings(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock()
    }
}

impl Snapshot {
    pub(super) fn new(
        settings: Settings,
        fleet: Fleet,
        policy: Arc<BillingPolicy>,
        shared: SharedState,
    ) -> Self {
        let settings = Arc::new(settings);
        let (ledger, key_ring) = (shared.settlements.ledger(), &shared.key_ring);
        Self {
            identifier: Identifier::new(&settings, ledger.clone(), key_ring, shared.session),
            directory: Directory::new(&settings, fleet, shared.one_call),
            journal: Journal::new(&settings, policy.id(), &shared.recorder),
            billing: Billing::new(&settings, policy, &shared.settlements, key_ring),
            settings,
            shared,
        }
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn ledger(&self) -> &Arc<dyn Ledger> {
        self.shared.settlements.ledger()
    }

    /// The servers.
    pub fn fleet(&self) -> &Fleet {
        self.directory.fleet()
    }
}
