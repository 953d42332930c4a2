//! What commands that reach servers share: settings, log, runtime, gateway.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context;
use tokio::runtime::Runtime;

use super::logging;
use crate::{
    config::{self, Options},
    domain::settings::{LogLevel, Settings},
    downstream::Launcher,
    gateway::{Gateway, Places},
    host::{children::DEPTH_VARIABLE, environment::Environment},
};

/// Loads the settings for a command other than `serve`, and starts a quiet log.
pub fn settings(options: &Options) -> anyhow::Result<Settings> {
    let env = Environment::of_process();
    let settings = load(options, &env)?;
    logging::start(LogLevel::Warn, settings.logging.json, &settings.redactor, &env);
    Ok(settings)
}

/// Loads the settings.
///
/// # Errors
/// All faults of the settings files.
pub fn load(options: &Options, env: &Environment) -> anyhow::Result<Settings> {
    config::load(options, env).map_err(anyhow::Error::new)
}

/// A runtime for the whole process.
///
/// # Errors
/// The system has no threads or events for it.
pub fn runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the runtime")
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
