//! Tollgate: the gateway between AI agents and their MCP servers.
//!
//! A client sees three tools, however many servers stand behind. Every call is identified,
//! authorised and checked before it is forwarded.
//!
//! # Layout
//!
//! Four floors; a module uses only floors below its own, and modules on one floor meet only in
//! [`cli`]. `tests/it/architecture.rs` keeps this true. In reading order:
//!
//! - [`domain`], floor 1: names, rules, identity, policy, catalogue. Values in, values out; no I/O,
//!   no clock, no async.
//! - [`downstream`], floor 2: the MCP servers behind us: start, supervise, list, call, stop.
//! - [`store`], floor 2: where credits and records are kept, in one transaction.
//! - [`journal`], floor 2: what is read of records; how many tokens each agent was sent.
//! - [`gateway`], floor 3: what happens to a call: the three tools, the request path, MCP in and out.
//! - [`config`], floor 3: settings as written, then as checked.
//! - [`cli`], floor 4: one file per command; wires everything together.

pub mod cli;
pub mod config;
pub mod domain;
pub mod downstream;
pub mod gateway;
pub mod journal;
pub mod store;
