//! Budgets as the settings say them.

use std::path::PathBuf;

use serde::Serialize;

use super::{credits::Credits, period::Period, price::Tariff, words::words};

/// How calls are paid for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budgeting {
    /// What all callers together may spend; None is unmetered.
    pub limit: Option<Limit>,
    /// What happens to a call that the budget does not cover.
    pub mode: Mode,
    /// What calls cost.
    pub tariff: Tariff,
    /// Which outcomes are charged.
    pub charge_on: ChargeOn,
    /// Where credits and records are kept.
    pub store: StoreSettings,
    /// Whether records hold the arguments of calls themselves (`audit.arguments: full`), secrets of
    /// the settings masked, besides their keyed digest.
    pub full_arguments: bool,
    /// Which look-ups are recorded.
    pub discovery: Discovery,
    /// Whose accounts these are: gateways over the same settings file share one set of accounts,
    /// gateways over different ones do not.
    pub namespace: String,
    /// Whose agents' own limits these are, if the rules that set them are not what decides `namespace`:
    /// agents of one name in the rules of two projects are two agents.
    pub agents: Option<String>,
}

impl Budgeting {
    /// All that decides what a priced call does to accounts.
    pub fn terms(&self) -> (Option<Limit>, Mode, ChargeOn, bool, Discovery) {
        (self.limit, self.mode, self.charge_on, self.full_arguments, self.discovery)
    }
}

/// Which of the look-ups that are answered are recorded (`audit.discovery`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Discovery {
    /// One of this many; of 1, each.
    OneIn(usize),
    /// None.
    Off,
}

impl Default for Discovery {
    fn default() -> Self {
        Self::OneIn(1)
    }
}

/// A limit on what is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The most that may be spent.
    pub credits: Credits,
    /// Counted anew in every window of this length; once and for all if None.
    pub period: Option<Period>,
}

/// What happens to a call that the budget does not cover (`enforcement.mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Mode {
    /// It is refused.
    #[default]
    Hard,
    /// It is allowed, the account goes below zero, and everyone is warned.
    Soft,
    /// It is allowed; what would have happened is kept in accounts of its own.
    Shadow,
}

words!(Mode { Hard = "hard", Soft = "soft", Shadow = "shadow" });

/// Which outcomes of a call that was sent are charged (`budget.chargeOn`). A success always is; a
/// call that was never sent, or that the server refused as such (JSON-RPC −32601, −32602), never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChargeOn {
    /// The tool's own `isError` result: it ran.
    pub tool_error: bool,
    /// A JSON-RPC error of the server, or an answer that could not be read.
    pub server_error: bool,
    /// No answer in time; it is unknown whether the tool ran.
    pub timeout: bool,
    /// The client withdrew the call after it was sent.
    pub cancelled: bool,
    /// The connection, or the gateway, went before the answer.
    pub lost: bool,
}

impl Default for ChargeOn {
    fn default() -> Self {
        Self { tool_error: true, server_error: true, timeout: true, cancelled: true, lost: true }
    }
}

/// Where credits and records are kept (`budget.backend`, `store`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// Which kind of store.
    pub backend: Backend,
    /// The file of the embedded store (`store.path`); in the user's state directory if None.
    pub path: Option<PathBuf>,
    /// What a commit survives.
    pub durability: Durability,
}

/// Which kind of store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// One SQLite file, shared by all gateway processes of a user.
    #[default]
    Sqlite,
    /// The memory of one process; forgotten with it.
    Memory,
}

words!(Backend { Sqlite = "sqlite", Memory = "memory" });

/// What a commit survives (`store.durability`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The end of every process, `kill -9` included; the last moments may go with the power.
    #[default]
    Process,
    /// The loss of power as well, for a sync of the disk with every commit.
    Power,
}

words!(Durability { Process = "process", Power = "power" });
