//! Server-sent events of bounded size.

use futures_util::{Stream, StreamExt, stream};
use sse_stream::{Sse, SseStream};

use crate::domain::frame::MAX_MESSAGE_BYTES;

/// What a stream of events brings.
#[derive(Debug)]
pub(super) enum Event {
    Sse(Sse),
    /// An event of more than [`MAX_MESSAGE_BYTES`]; nothing follows.
    TooLong,
    /// The stream broke; nothing follows.
    Broken,
}

/// Why bytes are not read on.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error("an event is too long")]
    TooLong,
    #[error("the stream broke")]
    Broken,
}

/// The events in a body, up to the first that is too long.
pub(super) fn events(body: reqwest::Response) -> impl Stream<Item = Event> + Send {
    let bytes = body.bytes_stream().scan(Length::default(), |length, chunk| {
        let chunk = match (length.stopped, chunk) {
            (true, _) => return std::future::ready(None),
            (false, Ok(chunk)) if length.admits(&chunk) => Ok(chunk),
            (false, Ok(_)) => Err(Stop::TooLong),
            (false, Err(_)) => Err(Stop::Broken),
        };
        length.stopped = chunk.is_err();
        std::future::ready(Some(chunk))
    });
    let read = SseStream::from_bytes_stream(bytes);
    stream::unfold(Some(Box::pin(read)), |read| async {
        let mut read = read?;
        match read.next().await? {
            Ok(event) => Some((Event::Sse(event), Some(read))),
            Err(sse_stream::Error::Body(error))
                if matches!(error.downcast_ref(), Some(Stop::TooLong)) =>
            {
                Some((Event::TooLong, None))
            }
            Err(_) => Some((Event::Broken, None)),
        }
    })
}

/// How long the event is that is being read.
#[derive(Default)]
struct Length {
    event: usize,
    line: usize,
    /// Whether the last byte was a carriage return, which a line feed may complete.
    after_return: bool,
    stopped: bool,
}

impl Length {
    /// Takes note of more bytes; false if an event is too long.
    fn admits(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            let second = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if second => {}
                b'\n' | b'\r' if self.line == 0 => self.event = 0,
                b'\n' | b'\r' => self.line = 0,
                _ => {
                    self.line += 1;
                    self.event += 1;
                }
            }
            if self.event > MAX_MESSAGE_BYTES {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Length, MAX_MESSAGE_BYTES};

    #[test]
    fn many_lines_of_one_event_count_together() {
        for end in ["\n", "\r\n", "\r"] {
            let line = format!("data: {}{end}", "x".repeat(1000));
            let mut length = Length::default();
            let admitted =
                (0..MAX_MESSAGE_BYTES / 1000 + 10).all(|_| length.admits(line.as_bytes()));
            assert!(!admitted, "{end:?}");
        }
    }

    #[test]
    fn the_length_is_that_of_one_event_however_it_is_cut() {
        let event = format!("id: 1\r\ndata: {}\r\n\r\n", "x".repeat(MAX_MESSAGE_BYTES - 100));
        for chunk in [7, 4096, usize::MAX] {
            let mut length = Length::default();
            for _ in 0..3 {
                assert!(event.as_bytes().chunks(chunk.min(event.len())).all(|c| length.admits(c)));
            }
            assert!(!length.admits(&[b'x'; MAX_MESSAGE_BYTES + 1]));
        }
    }
}
