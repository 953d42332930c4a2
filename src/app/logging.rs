//! The log: on standard error, with every secret of the settings masked.
//!
//! A thread of its own writes the lines. Lines that standard error does not take are dropped and
//! counted: a client that does not read the gateway's stderr must not hold anything up.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use arc_swap::ArcSwap;
use tracing::subscriber::set_global_default;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt as _, reload};

use crate::{
    domain::{redact::Redactor, render::visible, settings::LogLevel},
    host::{
        environment::Environment,
        terminal::{colour, watched},
    },
};

/// The most lines that wait to be written.
const WAITING_LINES: usize = 1024;

/// The secrets that the log masks. None is ever removed: a server of earlier settings may still
/// write its own.
type Secrets = Arc<ArcSwap<Redactor>>;

#[derive(Clone)]
pub(super) struct Log {
    secrets: Secrets,
    /// Sets another level; None where `RUST_LOG` decides.
    set_level: Option<Arc<dyn Fn(LogLevel) + Send + Sync>>,
}

impl Log {
    /// Masks these as well from now on.
    pub(super) fn learn(&self, more: &Redactor) {
        self.secrets.rcu(|known| known.with(more));
    }

    /// Sets the level, unless `RUST_LOG` does.
    pub(super) fn set_level(&self, level: LogLevel) {
        if let Some(set) = &self.set_level {
            set(level);
        }
    }
}

/// Starts the log: text, or a JSON object per line. `RUST_LOG` overrides the level.
pub(super) fn start(level: LogLevel, json: bool, redactor: &Redactor, env: &Environment) -> Log {
    let secrets = Secrets::new(ArcSwap::from_pointee(redactor.clone()));
    let asked = env.get("RUST_LOG").filter(|filter| !filter.trim().is_empty());
    let asked = asked.map(EnvFilter::try_new).transpose();
    let bad = asked.as_ref().err().map(ToString::to_string);
    let asked = asked.unwrap_or_default();
    let overridden = asked.is_some();
    let (filter, handle) = reload::Layer::new(asked.unwrap_or_else(|| of_level(level)));
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colour())
        .with_writer(Masked::new(secrets.clone()));
    // Fails only if a log was started before, which then goes on.
    let _ = match json {
        true => set_global_default(registry.with(lines.json())),
        false => set_global_default(registry.with(lines)),
    };
    if let Some(bad) = bad {
        tracing::warn!("RUST_LOG has no effect, as it is not a filter: {bad}");
    }
    let set_level = move |level| {
        // Fails only if the log has ended.
        let _ = handle.reload(of_level(level));
    };
    Log { secrets, set_level: (!overridden).then(|| Arc::new(set_level) as _) }
}

/// rmcp logs whole requests, arguments and tokens included; it stays silent unless `RUST_LOG` asks.
fn of_level(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("off,tollgate={}", level.as_str()))
}

/// Masks secrets in lines and hands them to the thread that writes.
struct Masked {
    secrets: Secrets,
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    /// Whether a terminal shows the lines, which acts on some of what it is sent.
    terminal: bool,
}

impl Masked {
    fn new(secrets: Secrets) -> Self {
        let (lines, waiting) = sync_channel(WAITING_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let count = dropped.clone();
        // Ends with the process. Without the thread there is no log, but there is a gateway.
        let _ = thread::Builder::new().name("log".into()).spawn(move || write(&waiting, &count));
        Self { secrets, lines, dropped, terminal: watched() }
    }
}

fn write(waiting: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    for line in waiting {
        let dropped = dropped.swap(0, Ordering::Relaxed);
        let mut stderr = io::stderr().lock();
        // A log that cannot be written cannot say so.
        if dropped > 0 {
            let _ = writeln!(
                stderr,
                "({dropped} log lines were dropped, as standard error was not read)"
            );
        }
        let _ = stderr.write_all(&line);
    }
}

impl<'a> MakeWriter<'a> for Masked {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine { log: self }
    }
}

/// One event, which `tracing_subscriber` writes in one piece.
struct LogLine<'a> {
    log: &'a Masked,
}

impl Write for LogLine<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let mut line = self.log.secrets.load().redact(&text).into_owned();
        if self.log.terminal {
            // The formatter writes its colours with ESC, and escapes those in what it is given.
            let harmless = line.split('\u{1b}').map(visible);
            line = harmless.collect::<Vec<_>>().join("\u{1b}").replace('\r', "");
        }
        let line = line.into_bytes();
        if self.log.lines.try_send(line).is_err() {
            self.log.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
