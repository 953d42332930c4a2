//! Lines to the client.

use std::io;

use bytes::Bytes;
use rmcp::{model::RequestId, transport::io::StdioWriter};
use serde::Serialize;
use tokio::{io::AsyncWriteExt, sync::Mutex};
use tokio_util::sync::CancellationToken;

/// A line of at most this many bytes is copied to be written at once.
const ONE_WRITE: usize = 64 * 1024;

/// Writes whole lines, one at a time.
pub(super) struct Output {
    stream: Mutex<StdioWriter>,
    /// Cancelled when the client has closed its end.
    gone: CancellationToken,
}

impl Output {
    pub(super) fn new(stream: StdioWriter, gone: CancellationToken) -> Self {
        Self { stream: Mutex::new(stream), gone }
    }

    /// Writes a message.
    pub(super) async fn message(&self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.write(&[line.into()]).await
    }

    /// Writes a result that is text already, in pieces.
    pub(super) async fn result(&self, id: &RequestId, result: Vec<Bytes>) -> io::Result<()> {
        let id = serde_json::to_string(id)?;
        let head = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
        let line = [Bytes::from(head)].into_iter().chain(result);
        let line: Vec<Bytes> = line.chain([Bytes::from_static(b"}\n")]).collect();
        match line.iter().map(Bytes::len).sum() {
            0..=ONE_WRITE => self.write(&[line.concat().into()]).await,
            _ => self.write(&line).await,
        }
    }

    async fn write(&self, pieces: &[Bytes]) -> io::Result<()> {
        let mut stream = self.stream.lock().await;
        let written = async {
            for piece in pieces {
                stream.write_all(piece).await?;
            }
            stream.flush().await
        };
        let written = written.await;
        if written.is_err() {
            self.gone.cancel();
        }
        written
    }
}
