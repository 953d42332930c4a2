//! Floor 4: settings as written, then as checked.
//!
//! - [`locate`]: which files. [`load`]: all three, read and checked together.
//! - [`document`]: a file as a tree in which every value knows its place. [`jsonc`]: JSON files.
//! - [`written`]: the files as types; [`schema`]: the JSON Schemas that are made from these.
//! - [`check`], [`values`], [`expand`]: a tree is checked against a schema and read into the types.
//!   Every fault is kept ([`findings`]), none ends the check.
//! - [`rules`], [`servers`], [`gateway`]: what a schema cannot say, file by file. Sections of
//!   `gateway.yaml` have files of their own, which the head of [`gateway`] lists.
//! - [`namespace`]: whose accounts are used. [`fixed`]: what a reload cannot change.
//! - [`watch`]: when files change, they are read again. [`watched_paths`]: where they are.

mod audit;
mod auth;
mod budget;
mod check;
mod document;
mod entry;
mod expand;
mod fault;
mod findings;
mod fixed;
mod gateway;
mod jsonc;
mod load;
mod locate;
mod namespace;
mod routing;
mod rules;
mod schema;
mod servers;
mod values;
mod watch;
mod watched_paths;
mod written;

pub use fault::{Faults, SettingsFault};
pub use fixed::following;
pub use load::{files, load, reload};
pub use locate::Options;
pub use schema::schema;
pub use watch::{Reload, Watch};
