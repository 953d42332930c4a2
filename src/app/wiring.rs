//! What commands share: settings, log, runtime, gateway, the store and its records.

use std::{io, path::PathBuf, sync::Arc};

use tokio::runtime::{Builder, Runtime};

use super::logging;
use crate::{
    config::{self, Faults, Options},
    domain::settings::{LogLevel, Settings},
    downstream::Launcher,
    gateway::{Gateway, Places},
    host::{children::DEPTH_VARIABLE, environment::Environment},
    ledger,
};

/// Loads the settings for a command other than `serve`, and starts a quiet log.
pub fn settings(options: &Options, env: &Environment) -> Result<Settings, Faults> {
    let settings = config::load(options, env)?;
    logging::start(LogLevel::Warn, settings.logging.json, &settings.redactor, env);
    Ok(settings)
}

/// A runtime for the whole process.
pub fn runtime() -> io::Result<Runtime> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| io::Error::other(format!("cannot start the runtime: {error}")))
}

/// Warns of files of the store that others can change.
pub fn exposed(settings: &Settings, env: &Environment) -> Vec<String> {
    ledger::exposed(&settings.budgeting.store, places(env).state.as_deref())
}

/// The gateway that serves. Must be called within a runtime.
pub fn gateway(settings: Settings, env: &Environment) -> Arc<Gateway> {
    Gateway::new(settings, &launcher(env), &places(env))
}

/// The gateway of a command that makes one call. Must be called within a runtime.
pub fn gateway_for_one_call(settings: Settings, env: &Environment) -> Arc<Gateway> {
    Gateway::for_one_call(settings, &launcher(env), &places(env))
}

fn launcher(env: &Environment) -> Arc<Launcher> {
    let records = places(env).state.map(|state| state.join("children"));
    Arc::new(Launcher::new(supervisor(env), depth(env)).recording(records.as_deref()))
}

/// The user's directories for caches and state (XDG base directories).
pub fn places(env: &Environment) -> Places {
    let home = env.get("HOME").map(PathBuf::from);
    let place = |variable: &str, below_home: &str| {
        let base = env.get(variable).map(|base| env.beneath_home(base));
        let base = base.or_else(|| Some(home.as_ref()?.join(below_home)))?;
        Some(base.join("tollgate"))
    };
    Places {
        cache: place("XDG_CACHE_HOME", ".cache"),
        state: place("XDG_STATE_HOME", ".local/state"),
    }
}

/// How many gateways this one runs below.
pub fn depth(env: &Environment) -> u32 {
    env.get(DEPTH_VARIABLE).and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// This very binary, even if its file was replaced since.
fn supervisor(env: &Environment) -> PathBuf {
    match cfg!(target_os = "linux") {
        true => PathBuf::from("/proc/self/exe"),
        false => env.executable.clone().unwrap_or_else(|| "tollgate".into()),
    }
}
