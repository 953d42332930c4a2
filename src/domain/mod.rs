//! Floor 0: values in, values out.
//!
//! Nothing here reads a clock, a file, the environment or a socket, and nothing is async: time,
//! randomness and input come in as arguments. `tests/it/architecture.rs` keeps it so.

pub mod account_id;
pub mod auth;
pub mod budget;
pub mod call;
pub mod caller;
pub mod catalog;
pub mod caveat;
pub mod charge;
mod check;
pub mod credits;
pub mod delegation;
pub mod detail;
pub mod digest;
pub mod envelope;
pub mod fit;
pub mod frame;
pub mod histogram;
mod id;
pub mod identity;
pub mod json;
pub mod keyed;
pub mod ledger;
pub mod near;
pub mod pattern;
pub mod period;
pub mod policy;
pub mod price;
pub mod readings;
pub mod record;
pub mod redact;
pub mod refusal;
pub mod render;
pub mod rendered;
pub mod routing;
pub mod rules;
pub mod scope;
pub mod secret;
pub mod settings;
pub mod stamp;
pub mod supervision;
pub mod token;
pub mod tokens;
pub mod usage;
pub mod words;
