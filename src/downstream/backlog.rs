//! Results that clients have not taken yet: how many bytes of them there may be.

use std::{io, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Results may take this many bytes until they are written. Beyond it no more are read from servers.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Shorter messages are not counted: calls in flight are bounded in number.
const SMALL: usize = 4 * 1024;

/// Room for one message, as long as it is held.
pub(super) type Room = OwnedSemaphorePermit;

/// The bytes of all results on their way to clients.
#[derive(Clone, Debug)]
pub(super) struct Backlog(Arc<Semaphore>);

impl Default for Backlog {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_BYTES)))
    }
}

impl Backlog {
    /// Waits until there is room for a message of that length; None if it needs none.
    pub(super) async fn room(&self, length: usize) -> Option<Room> {
        if length <= SMALL {
            return None;
        }
        let bytes = u32::try_from(length.min(MOST_BYTES)).ok()?;
        self.0.clone().acquire_many_owned(bytes).await.ok()
    }

    /// The same, if there is room now; of a message of any length.
    pub(super) fn room_now(&self, length: usize) -> Option<Room> {
        self.0.clone().try_acquire_many_owned(u32::try_from(length).ok()?).ok()
    }

    /// As much of the room as a message needs; the rest is free again.
    pub(super) fn part(mut room: Room, length: usize) -> Option<Room> {
        room.split(length)
    }
}

/// The length of a value as JSON text, without writing it.
pub(super) fn size(value: &impl serde::Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing to a counter cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}
