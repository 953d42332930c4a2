//! Bodies of bounded length.

use reqwest::Response;

use crate::{
    domain::frame::MAX_MESSAGE_BYTES,
    downstream::backlog::{Backlog, Room},
};

/// Of an answer this much is read before there is room for the whole.
pub(super) const READ_AHEAD: usize = 64 * 1024;

const BROKEN: &str = "the connection broke in the middle of its answer";

/// An answer of at most [`MAX_MESSAGE_BYTES`], and its room; None if it is longer. A long one waits
/// for room for all that may come: several that each have some and wait for more would wait for ever.
pub(super) async fn long(
    mut response: Response,
    backlog: &Backlog,
) -> Result<Option<(Vec<u8>, Option<Room>)>, &'static str> {
    let (mut body, mut room) = (Vec::new(), None);
    while let Some(chunk) = response.chunk().await.map_err(|_| BROKEN)? {
        let length = body.len() + chunk.len();
        if length > MAX_MESSAGE_BYTES {
            return Ok(None);
        }
        if room.is_none() && length > READ_AHEAD {
            room = backlog.room(MAX_MESSAGE_BYTES).await;
        }
        body.extend_from_slice(&chunk);
    }
    let room = room.and_then(|room| Backlog::part(room, body.len()));
    Ok(Some((body, room)))
}

/// A body of at most `limit` bytes; None if it is longer.
pub(super) async fn short(
    mut response: Response,
    limit: usize,
) -> Result<Option<Vec<u8>>, &'static str> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| BROKEN)? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}
