//! A child's stderr goes to the log: whole lines, bounded in length and in rate.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::process::ChildStderr;

use crate::{
    domain::{call::ServerName, frame::Frame, render::plain},
    host::{clock, lines::Lines, mutex::Mutex},
};

/// Longer lines are passed over.
const LONGEST_LINE: usize = 8 * 1024;

/// More lines than this in one [`WINDOW`] are counted, not logged.
const LINES_PER_WINDOW: u32 = 100;

const WINDOW: Duration = Duration::from_secs(10);

/// The last lines of a stream, told when a server does not start.
const TAIL: usize = 5;

/// The last lines that a server wrote to its stderr.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock();
        if lines.len() == TAIL {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// The lines, one by one; none twice.
    pub(super) fn take(&self) -> VecDeque<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Reads until the stream ends, so that a chatty server never blocks on a full pipe.
pub(super) async fn log(server: ServerName, stderr: ChildStderr, tail: Tail) {
    let mut lines = Lines::new(stderr, LONGEST_LINE);
    let mut budget = LineBudget::new();
    while let Some(frame) = lines.next().await {
        match frame {
            Frame::Line(line) => {
                let line = printable(&line);
                if budget.spend(&server) {
                    tracing::info!(%server, "{line}");
                }
                tail.push(line);
            }
            Frame::TooLong(_) if budget.spend(&server) => {
                tracing::info!(%server, "(a line of more than {LONGEST_LINE} bytes)");
            }
            Frame::TooLong(_) => {}
        }
    }
}

/// How many lines may still be logged in this window.
struct LineBudget {
    since: Instant,
    spent: u32,
}

impl LineBudget {
    fn new() -> Self {
        Self { since: clock::instant(), spent: 0 }
    }

    fn spend(&mut self, server: &ServerName) -> bool {
        if self.since.elapsed() > WINDOW {
            let passed_over = self.spent.saturating_sub(LINES_PER_WINDOW);
            if passed_over > 0 {
                tracing::info!(%server, "({passed_over} lines of its stderr were not logged)");
            }
            *self = Self::new();
        }
        self.spent = self.spent.saturating_add(1);
        self.spent <= LINES_PER_WINDOW
    }
}

/// Text without what would act on a terminal that shows the log.
pub(super) fn printable(line: &[u8]) -> String {
    plain(&String::from_utf8_lossy(line)).replace('\n', " ")
}
