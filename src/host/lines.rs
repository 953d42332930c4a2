//! Lines of bounded length from a stream.

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::domain::frame::{Frame, Framer};

/// What a stream holds, line by line.
#[derive(Debug)]
pub struct Lines<R> {
    read: BufReader<R>,
    framer: Framer,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The lines of `stream`, each of at most `limit` bytes.
    pub fn new(stream: R, limit: usize) -> Self {
        Self { read: BufReader::with_capacity(64 * 1024, stream), framer: Framer::new(limit) }
    }

    /// The next line, the last without an end included; None at the end of the stream, which a
    /// stream that fails has reached. Loses nothing if it is dropped: there is no await between
    /// taking bytes and keeping them.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            let chunk = self.read.fill_buf().await.unwrap_or_default();
            if chunk.is_empty() {
                return self.framer.end();
            }
            let (taken, frame) = self.framer.push(chunk);
            self.read.consume(taken);
            if frame.is_some() {
                return frame;
            }
        }
    }
}
