//! The gateway on stdio, from its settings to the end of its session.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    drain::drained,
    logging::{self, Log},
    reload, signals, sweep, wiring,
};
use crate::{
    config::{self, Faults, Options, Watch},
    domain::settings::Settings,
    gateway::{Gateway, Root},
    host::environment::Environment,
    ledger::mirror::Mirror,
    serve::{HangUp, serve_stdio},
};

/// A client waits for the handshake meanwhile.
const OPENING_DEADLINE: Duration = Duration::from_secs(1);

/// A notice on standard error, for the user or client that started the gateway.
pub enum Announcement<'a> {
    /// The settings that are in force now.
    Settings(&'a Settings),
    /// A root token, which never gets into the log.
    Root(&'a Root),
}

/// Why a gateway did not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Settings(#[from] Faults),
    #[error("this gateway was started by another Tollgate; a gateway never starts itself")]
    Nested,
    /// The settings cannot be put in force on this machine.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Machine(#[from] io::Error),
    #[error("the session broke down: {0}")]
    Session(io::Error),
}

/// Serves one client until it hangs up or a signal arrives.
///
/// # Errors
/// Faults of the settings, or of the machine.
pub fn run(options: Options, announce: impl Fn(Announcement<'_>)) -> Result<(), RunError> {
    let env = Environment::of_process();
    if wiring::depth(&env) > 0 {
        return Err(RunError::Nested);
    }
    let runtime = wiring::runtime()?;
    let shutdown = CancellationToken::new();
    let hang_up = HangUp::default();
    signals::start(shutdown.clone(), hang_up.clone())?;
    let outcome = runtime.block_on(async {
        let watch = Watch::new(options.clone(), env.clone())?;
        let (settings, log) = load(&options, &env)?;
        announce(Announcement::Settings(&settings));
        let audit_log = settings.audit_log.clone();
        let gateway = wiring::gateway(settings, &env);
        open_accounts(&gateway).await;
        if let Some(root) = gateway.root_token().await.map_err(RunError::Refused)? {
            announce(Announcement::Root(&root));
        }
        let mirror = audit_log.map(|path| start_mirror(path, &gateway)).transpose()?;
        let sweeping = gateway.clone();
        tokio::spawn(async move { sweep::sweep(&sweeping).await });
        gateway.start_eager();
        tokio::spawn(reload::follow(watch, gateway.clone(), log));
        let stop = drained(&gateway, &shutdown, &hang_up);
        let outcome = serve_stdio(gateway.clone(), stop, hang_up.clone()).await;
        gateway.stop_servers().await;
        if let Some(mirror) = mirror {
            mirror.stop().await;
        }
        outcome.map_err(RunError::Session)
    });
    // A read of standard input may still hang in a thread of the runtime.
    runtime.shutdown_background();
    outcome
}

fn load(options: &Options, env: &Environment) -> Result<(Settings, Log), RunError> {
    let mut settings = config::load(options, env)?;
    let exposed = wiring::exposed(&settings, env);
    settings.sources.gateway.warnings.extend(exposed);
    let (level, json) = (settings.log_level(), settings.logging.json);
    let log = logging::start(level, json, &settings.redactor, env);
    Ok((settings, log))
}

/// Opens the accounts that the settings ask for. If that fails, calls are refused until the store can
/// be used, and each of them tries again.
async fn open_accounts(gateway: &Gateway) {
    match tokio::time::timeout(OPENING_DEADLINE, gateway.open_accounts()).await {
        Ok(Ok(())) => {}
        Ok(Err(unavailable)) => tracing::error!("the ledger cannot be used: {unavailable}"),
        Err(_) => tracing::error!(
            "the ledger did not open the accounts within {} s; the first call tries again",
            OPENING_DEADLINE.as_secs()
        ),
    }
}

fn start_mirror(path: PathBuf, gateway: &Arc<Gateway>) -> Result<Mirror, RunError> {
    let mirror = Mirror::start(path, gateway.ledger());
    mirror.map_err(|cause| RunError::Refused(format!("GATEWAY_AUDIT_LOG: {cause}")))
}
