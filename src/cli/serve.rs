//! `tollgate serve`: runs the gateway on stdio. Standard output carries protocol only.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::bail;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::{
    Exit,
    args::{ServeArgs, SettingsArgs},
    output::note,
    records, summary,
};
use crate::{
    app::{logging, reload, session, signals},
    config::{Options, Watch},
    domain::settings::Settings,
    gateway::Gateway,
    host::{environment::Environment, terminal::watched},
    ledger::mirror::Mirror,
    serve::{HangUp, serve_stdio},
};

pub(super) fn run(args: &SettingsArgs, serve: &ServeArgs) -> anyhow::Result<Exit> {
    let env = Environment::of_process();
    if let Some(address) = &serve.http {
        note(&format!("error: --http {address}: this version serves stdio only"));
        return Ok(Exit::Settings);
    }
    if session::depth(&env) > 0 {
        note("error: this gateway was started by another Tollgate; a gateway never starts itself");
        return Ok(Exit::Settings);
    }
    let runtime = session::runtime()?;
    let shutdown = CancellationToken::new();
    let hang_up = HangUp::default();
    signals::start(shutdown.clone(), hang_up.clone())?;
    let options = Options { act_as: serve.act_as.clone(), debug: serve.debug, ..args.options() };
    let watch = runtime.block_on(async { Watch::new(options.clone(), env.clone()) })?;
    let mut settings = session::load(&options, &env)?;
    let exposed = records::exposed(&settings, &env);
    settings.sources.gateway.warnings.extend(exposed);
    let log = logging::start(settings.log_level(), settings.logging.json, &settings.redactor, &env);
    introduce(&settings);
    let audit_log = settings.audit_log.clone();
    let gateway = runtime.block_on(async { session::gateway(settings, &env) });
    runtime.block_on(open_accounts(&gateway));
    if let Err(cause) = runtime.block_on(tell_root_token(&gateway)) {
        note(&format!("error: {cause}"));
        return Ok(Exit::Settings);
    }
    let mirror = audit_log.map(|path| {
        runtime.block_on(async { Mirror::start(path, records::source(gateway.ledger())) })
    });
    let mirror = match mirror.transpose() {
        Ok(mirror) => mirror,
        Err(cause) => {
            note(&format!("error: GATEWAY_AUDIT_LOG: {cause}"));
            return Ok(Exit::Settings);
        }
    };
    let outcome = runtime.block_on(async {
        let sweeping = gateway.clone();
        tokio::spawn(async move { sweeping.sweep().await });
        gateway.start_eager();
        tokio::spawn(reload::follow(watch, gateway.clone(), log));
        let outcome = serve_stdio(gateway, shutdown, hang_up).await;
        if let Some(mirror) = mirror {
            mirror.stop().await;
        }
        outcome
    });
    // A read of standard input may still hang in a thread of the runtime.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => Ok(Exit::Done),
        Err(error) => bail!("the session broke down: {error}"),
    }
}

/// Says what is served, and what to do on a terminal. Where nobody watches, that is one line, and one
/// for each warning: clients show it as the first words of every session.
fn introduce(settings: &Settings) {
    let title = format!("tollgate {} on stdio", env!("CARGO_PKG_VERSION"));
    let one_line = || format!("{title}: {}", summary::line(settings));
    match (settings.logging.json, watched()) {
        (true, _) => tracing::info!("{}", one_line()),
        (false, true) => {
            note(&title);
            summary::lines(settings).iter().for_each(|line| note(line));
        }
        (false, false) => {
            note(&one_line());
            summary::warnings(settings).iter().for_each(|line| note(line));
        }
    }
    if settings.logging.json {
        summary::warnings(settings).iter().for_each(|line| tracing::warn!("{}", line.trim_start()));
    }
    if io::stdin().is_terminal() {
        note(WAITING);
    }
}

/// For those who type `tollgate` and see nothing happen.
const WAITING: &str = "\
waiting for an MCP client on standard input. A client starts this command itself:
  claude mcp add tollgate -- tollgate serve --config-dir DIR
`tollgate demo` shows a session, `tollgate --help` every command. Ctrl-C ends this.";

/// Tells whoever started the gateway the root token, as the older system did: on standard error, and
/// never in the log.
async fn tell_root_token(gateway: &Gateway) -> Result<(), String> {
    if let Some(root) = gateway.root_token().await? {
        note(&format!("ROOT_TOKEN={}", root.token.expose_secret()));
        note(&format!("TOKEN_ID={}", root.id));
    }
    Ok(())
}

/// A client waits for the handshake meanwhile.
const OPENING_PATIENCE: Duration = Duration::from_secs(1);

/// Opens the accounts that the settings ask for. If that fails, calls are refused until the store can
/// be used, and each of them tries again.
async fn open_accounts(gateway: &Gateway) {
    match tokio::time::timeout(OPENING_PATIENCE, gateway.open_accounts()).await {
        Ok(Ok(())) => {}
        Ok(Err(unavailable)) => tracing::error!("the ledger cannot be used: {unavailable}"),
        Err(_) => tracing::error!(
            "the ledger did not open the accounts within {} s; the first call tries again",
            OPENING_PATIENCE.as_secs()
        ),
    }
}
