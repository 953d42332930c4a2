//! Messages towards the client.

use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::Mutex,
};
use tokio_util::sync::CancellationToken;

use crate::domain::{frame::line_of, refusal::RpcError};

/// A line of at most this many bytes is copied to be written at once.
const ONE_WRITE: usize = 64 * 1024;

/// Writes whole messages, one per line.
pub(super) struct Outbox {
    stream: Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Cancelled when the client has closed its end.
    gone: CancellationToken,
}

/// The result of a request: JSON in pieces, so that what a server said is not copied.
pub(super) type ResultText = Vec<Bytes>;

impl Outbox {
    pub(super) fn new(
        stream: impl AsyncWrite + Send + Unpin + 'static,
        gone: CancellationToken,
    ) -> Self {
        Self { stream: Mutex::new(Box::new(stream)), gone }
    }

    /// Writes a notification or a request of ours.
    pub(super) async fn message(&self, message: &impl Serialize) -> io::Result<()> {
        self.write(&[line_of(message)?.into()]).await
    }

    /// Answers a request.
    pub(super) async fn answer(
        &self,
        id: &impl Serialize,
        answer: Result<ResultText, RpcError>,
    ) -> io::Result<()> {
        let result = match answer {
            Ok(result) => result,
            Err(error) => {
                let error = json!({"jsonrpc": "2.0", "id": id, "error": error});
                return self.message(&error).await;
            }
        };
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
