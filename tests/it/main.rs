//! One integration binary, a module per subject.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test that fails may panic, and documents itself by its name"
)]

mod agents_see;
mod architecture;
mod audit;
mod auth_settings;
mod bare_names;
mod canaries;
mod catalogue;
mod catalogue_kept;
mod cli;
mod clients;
mod clocks;
mod conformance;
mod consumers;
mod corpus;
#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod crash_delegation;
mod credits;
mod credits_many;
#[cfg(unix)]
mod credits_mishaps;
mod credits_modes;
mod delegation;
mod delegation_attacks;
#[cfg(unix)]
mod delegation_crash;
mod delegation_store;
mod delegations_found;
mod discovery_records;
mod downstream;
#[cfg(unix)]
mod exposed;
mod facade;
#[cfg(unix)]
mod fencing;
mod forgery;
mod gateway_faults;
mod gateway_file;
#[cfg(unix)]
mod gateway_live;
mod hook;
mod hook_install;
mod hostile;
mod hostile_schemas;
mod http;
mod http_closed;
mod http_faults;
mod http_guard;
mod http_limits;
mod http_meanwhile;
mod identity;
mod in_flight;
mod journal;
mod journal_cli;
mod keys_cli;
mod ledger;
mod ledger_histories;
mod ledger_unavailable;
#[cfg(target_os = "linux")]
mod leftovers;
mod limits_lowered;
mod made_before;
mod meanwhile;
mod migration;
mod minify_model;
mod odd_text;
mod policy;
mod policy_model;
mod price_model;
mod prices;
mod questions;
mod rates;
#[cfg(unix)]
mod readme;
#[cfg(unix)]
mod records_many;
#[cfg(unix)]
mod reload;
#[cfg(unix)]
mod reload_restart;
mod reload_servers;
mod repair;
mod request_path;
mod root_token;
mod satgate;
mod secrets;
mod secrets_compared;
mod server_volume;
mod sessions;
mod settings;
mod settings_faults;
mod settings_forms;
mod settings_paths;
mod settings_schema;
mod settings_warnings;
mod stamped_calls;
mod stamps;
mod starts;
mod store;
#[cfg(target_os = "linux")]
mod store_divided;
#[cfg(unix)]
mod store_faults;
#[cfg(unix)]
mod store_processes;
mod store_sweep;
mod store_tampered;
mod store_versions;
mod supervision;
mod support;
mod terminal;
mod token_cli;
mod tokens;
mod tokens_model;
mod told;
mod turns;
mod volume;
