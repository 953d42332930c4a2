//! What a command shows while it waits for servers to start: on a terminal one line, overwritten;
//! elsewhere a line from time to time.

use std::{pin::pin, time::Duration};

use super::output::{note, passing};
use crate::{
    downstream::{Member, Status},
    host::{clock, terminal::watched},
};

/// A faster start shows nothing.
const FIRST: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(250);

/// The same where standard error is no terminal.
const FIRST_UNWATCHED: Duration = Duration::from_secs(5);
const EVERY_UNWATCHED: Duration = Duration::from_secs(10);

/// At most this many servers are named, within the width of a narrow terminal.
const MOST_NAMED: usize = 3;
const WIDTH: usize = 78;

/// Does the work, and shows meanwhile which of the servers are still starting.
pub(super) async fn shown<T>(members: &[Member], work: impl Future<Output = T>) -> T {
    let (begun, watched) = (clock::instant(), watched());
    let (first, every) = if watched { (FIRST, EVERY) } else { (FIRST_UNWATCHED, EVERY_UNWATCHED) };
    let mut work = pin!(work);
    let mut looks = tokio::time::interval_at(clock::tokio_instant() + first, every);
    let mut on_screen = 0;
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            _ = looks.tick() => {}
        }
        let Some(text) = waiting_for(members, begun.elapsed()) else { continue };
        if watched {
            let text: String = text.chars().take(WIDTH).collect();
            passing(&format!("{text:<on_screen$}"));
            on_screen = text.chars().count();
        } else {
            note(&text);
        }
    };
    if on_screen > 0 {
        passing(&" ".repeat(on_screen));
    }
    done
}

fn waiting_for(members: &[Member], waited: Duration) -> Option<String> {
    let starting = |member: &&Member| matches!(member.server().status(), Status::Starting);
    let starting: Vec<&str> =
        members.iter().filter(starting).map(|member| member.name().as_str()).collect();
    let named: Vec<&str> = starting.iter().take(MOST_NAMED).copied().collect();
    let more = match starting.len().saturating_sub(MOST_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let seconds = waited.as_secs();
    (!named.is_empty()).then(|| format!("{seconds} s: starting {}{more}", named.join(", ")))
}
