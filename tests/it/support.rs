//! What tests share: a gateway under test, a client that speaks the wire, servers, stores.

mod answers;
pub mod calls;
mod client;
#[cfg(target_os = "linux")]
pub mod crash;
pub mod credits;
pub mod delegated;
pub mod discovery;
pub mod faults;
pub mod hook;
pub mod http;
pub mod http_server;
pub mod journal;
pub mod ledger_model;
pub mod policy;
pub mod processes;
pub mod properties;
pub mod reload;
pub mod results;
pub mod sdks;
#[cfg(unix)]
pub mod second_process;
mod seed;
pub mod settings;
mod setup;
pub mod store;
pub mod tokens;

pub use answers::{json_in, refusal, text, unpriced};
pub use client::{Client, PATIENCE, within};
pub use processes::{children, descendants, kill, lives, peak_kib, resident_mib};
pub use sdks::clients;
pub use seed::seed;
pub use setup::{Setup, scripted, scripted_with, tollgate};
