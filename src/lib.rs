//! Tollgate: the gateway between AI agents and their MCP servers.
//!
//! A client sees three tools, however many servers stand behind. Every call is identified,
//! authorised and checked before it is forwarded.
//!
//! # Layout
//!
//! Seven floors; a module uses only floors below its own, and modules on one floor meet only in
//! [`app`] and [`cli`]. `tests/it/architecture.rs` keeps this true. From the ground up:
//!
//! - [`domain`], floor 0: names, rules, identity, policy, catalogue, the ledger's machine. Values in,
//!   values out; no I/O, no clock, no async.
//! - [`host`], floor 1: the machine: clock, randomness, private files, bounded lines, processes.
//! - [`ledger`], floor 2: accounts and records: stores, mirror, queries.
//! - [`downstream`], floor 2: the MCP servers behind us: start, supervise, list, call, stop.
//! - [`gateway`], floor 3: what happens to a call: the three tools and the request path.
//! - [`config`], floor 4: settings as written, then as checked, then live.
//! - [`serve`], floor 4: MCP in: messages, sessions, stdio.
//! - [`app`], floor 5: a running gateway: wiring, signals, reload.
//! - [`cli`], floor 6: one file per command.

pub mod app;
pub mod cli;
pub mod config;
pub mod domain;
pub mod downstream;
pub mod gateway;
pub mod host;
pub mod ledger;
pub mod serve;
