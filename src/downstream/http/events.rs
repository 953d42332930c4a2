//! Server-sent events, read as the standard has it
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), with a bound on their size.
//!
//! A line that means nothing is ignored. Nothing but the end of the body, or an event that is too
//! long, ends a stream.

use std::mem;

use futures_util::{Stream, StreamExt, stream};
use sse_stream::Sse;

use crate::{
    domain::frame::MAX_MESSAGE_BYTES,
    downstream::backlog::{Backlog, Room},
    host::http::Response,
};

/// What a stream of events brings.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// An event, and the room for its data.
    Sse(Sse, Option<Room>),
    /// An event of more than [`MAX_MESSAGE_BYTES`]; nothing follows.
    TooLong,
    /// The stream broke; nothing follows.
    Broken,
}

/// Longer values of `event`, `id` and `retry` are ignored.
const LONGEST_FIELD: usize = 1_024;

/// Of an answer this much is read before there is room for the whole.
pub(super) const READ_AHEAD: usize = 64 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The events in a body, up to the first that is too long.
pub(super) fn events(body: Response, backlog: Backlog) -> impl Stream<Item = StreamEvent> + Send {
    let bytes = body.bytes_stream().map(|chunk| chunk.map_err(|_| ()));
    let parser = Parser::new(MAX_MESSAGE_BYTES);
    let ready = Vec::<Sse>::new().into_iter();
    let state = Some((Box::pin(bytes), parser, ready, backlog, None));
    stream::unfold(state, |state| async {
        let (mut bytes, mut parser, mut ready, backlog, mut ahead) = state?;
        loop {
            if let Some(event) = ready.next() {
                let length = event.data.as_ref().map_or(0, String::len);
                let room = match ahead.take() {
                    Some(ahead) => Backlog::part(ahead, length),
                    None => backlog.room(length).await,
                };
                let state = (bytes, parser, ready, backlog, ahead);
                return Some((StreamEvent::Sse(event, room), Some(state)));
            }
            if parser.too_long {
                return Some((StreamEvent::TooLong, None));
            }
            // A long event waits for room for all that may come of it.
            if ahead.is_none() && parser.length() > READ_AHEAD {
                ahead = backlog.room(MAX_MESSAGE_BYTES).await;
            }
            ready = match bytes.next().await? {
                Ok(chunk) => parser.push(&chunk).into_iter(),
                Err(()) => return Some((StreamEvent::Broken, None)),
            };
        }
    })
}

/// Cuts bytes into lines, and lines into events.
#[derive(Debug)]
struct Parser {
    limit: usize,
    line: Vec<u8>,
    /// Set within a line that is ignored: a comment, however long it is.
    skipping: bool,
    /// Whether the last byte was a carriage return, which a line feed may complete.
    after_return: bool,
    /// Whether a line has ended yet; a byte order mark may only come before.
    begun: bool,
    /// The event that is being read.
    event: Sse,
    data: Option<Vec<u8>>,
    too_long: bool,
}

impl Parser {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            skipping: false,
            after_return: false,
            begun: false,
            event: Sse::default(),
            data: None,
            too_long: false,
        }
    }

    /// Takes bytes; returns the events that they complete.
    fn push(&mut self, mut bytes: &[u8]) -> Vec<Sse> {
        let mut events = Vec::new();
        while !bytes.is_empty() && !self.too_long {
            if mem::take(&mut self.after_return) {
                bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (content, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.extend(content);
            bytes = match rest.split_first() {
                Some((byte, rest)) => {
                    self.after_return = *byte == b'\r';
                    events.extend(self.end_line());
                    rest
                }
                None => rest,
            };
        }
        events
    }

    /// How much of an event it holds.
    fn length(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    fn extend(&mut self, content: &[u8]) {
        if self.skipping {
            return;
        }
        self.line.extend_from_slice(content);
        if self.line.first() == Some(&b':') {
            self.skipping = true;
            self.line.clear();
        } else if self.length() > self.limit {
            self.too_long = true;
        }
    }

    /// A line has ended; returns the event that it completes.
    fn end_line(&mut self) -> Option<Sse> {
        let mut line = mem::take(&mut self.line);
        if !mem::replace(&mut self.begun, true) && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if mem::take(&mut self.skipping) || line.first() == Some(&b':') {
            return None;
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let name_ends = colon.unwrap_or(line.len());
        let value_begins = match (colon, line.get(name_ends + 1)) {
            (Some(colon), Some(b' ')) => colon + 2,
            (Some(colon), _) => colon + 1,
            (None, _) => line.len(),
        };
        match line.get(..name_ends).unwrap_or_default() {
            b"data" => {
                line.drain(..value_begins);
                self.add_data(line);
            }
            name => self.set(name, line.get(value_begins..).unwrap_or_default()),
        }
        None
    }

    fn add_data(&mut self, value: Vec<u8>) {
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(&value);
            }
            None => self.data = Some(value),
        }
    }

    fn set(&mut self, name: &[u8], value: &[u8]) {
        if value.len() > LONGEST_FIELD {
            return;
        }
        let text = || String::from_utf8_lossy(value).into_owned();
        match name {
            b"event" => self.event.event = Some(text()),
            b"id" if !value.contains(&0) => self.event.id = Some(text()),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.event.retry = text().parse().ok().or(self.event.retry);
            }
            _ => {}
        }
    }

    /// The event that an empty line ends. One without data still tells its id and when to open the
    /// stream again.
    fn dispatch(&mut self) -> Option<Sse> {
        let mut event = mem::take(&mut self.event);
        event.data = mem::take(&mut self.data).filter(|data| !data.is_empty()).map(text_of);
        let tells = event.data.is_some() || event.id.is_some() || event.retry.is_some();
        tells.then_some(event)
    }
}

/// As the standard decodes it: what is not UTF-8 is replaced.
fn text_of(data: Vec<u8>) -> String {
    String::from_utf8(data)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use sse_stream::Sse;

    use super::Parser;

    const LIMIT: usize = 10_000;

    /// The events in a text, which must be the same however the text is cut.
    #[track_caller]
    fn events(text: &[u8]) -> Vec<Sse> {
        let whole = Parser::new(LIMIT).push(text);
        for chunk in [1, 2, 3, 7] {
            let mut parser = Parser::new(LIMIT);
            let cut: Vec<Sse> = text.chunks(chunk).flat_map(|chunk| parser.push(chunk)).collect();
            assert_eq!(cut, whole, "in chunks of {chunk}");
        }
        whole
    }

    #[track_caller]
    fn data(text: &str) -> Vec<String> {
        events(text.as_bytes()).into_iter().filter_map(|event| event.data).collect()
    }

    #[test]
    fn all_line_ends_are_read() {
        for end in ["\n", "\r\n", "\r"] {
            assert_eq!(data(&"data: a_data:b__: c_data:  d__".replace('_', end)), ["a\nb", " d"]);
        }
        assert_eq!(data("data: a\r\n\rdata: b\n\rdata: c\r\r\n"), ["a", "b", "c"]);
    }

    #[test]
    fn lines_without_meaning_are_ignored() {
        let noise = [
            "foo: bar",
            "nonsense",
            "retry: soon",
            "retry: +7",
            "retry:",
            " data: x",
            "DATA: x",
            "id: a\0b",
            ":",
            "::",
            "retry: 99999999999999999999",
            "event",
            "event: a",
            "event: b",
        ];
        for line in noise {
            assert_eq!(data(&format!("{line}\ndata: x\n{line}\n\n")), ["x"], "{line}");
        }
    }

    #[test]
    fn fields_without_a_colon_are_empty() {
        assert_eq!(data("data\n\ndata\ndata\n\n"), ["\n"]);
        let id = events(b"id\n\n");
        assert_eq!(id[0].id.as_deref(), Some(""));
    }

    #[test]
    fn a_byte_order_mark_counts_only_at_the_start() {
        assert_eq!(data("\u{feff}data: a\n\n\u{feff}data: b\n\ndata: c\n\n"), ["a", "c"]);
        assert_eq!(data("\u{feff}: comment\n\ndata: a\n\n"), ["a"]);
    }

    #[test]
    fn an_event_keeps_the_last_of_each_field() {
        let all = events(
            b"id: 1\nid: 2\nretry: 5\nretry: 7\nevent: a\nevent: message\ndata: x\n\nid: 3\n\n",
        );
        let [event, id] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((event.id.as_deref(), event.retry), (Some("2"), Some(7)));
        assert_eq!(event.event.as_deref(), Some("message"));
        assert_eq!((id.id.as_deref(), id.data.as_deref()), (Some("3"), None));
    }

    #[test]
    fn an_event_that_is_not_ended_is_none() {
        assert_eq!(data("data: a\n\ndata: b\n"), ["a"]);
    }

    #[test]
    fn what_is_not_utf_8_is_replaced() {
        assert_eq!(events(b"data: a\xFFb\n\n")[0].data.as_deref(), Some("a\u{fffd}b"));
    }

    #[test]
    fn many_lines_of_one_event_count_together() {
        for end in ["\n", "\r\n", "\r"] {
            let line = format!("data: {}{end}", "x".repeat(100));
            let mut parser = Parser::new(LIMIT);
            (0..LIMIT / 100 + 10).for_each(|_| drop(parser.push(line.as_bytes())));
            assert!(parser.too_long, "{end:?}");
        }
    }

    #[test]
    fn comments_and_whole_events_add_nothing_up() {
        let mut parser = Parser::new(LIMIT);
        let text =
            format!("{}\nfoo: x\ndata: {}\n\n", ":".repeat(2 * LIMIT), "x".repeat(LIMIT / 2));
        for _ in 0..20 {
            let read: usize =
                text.as_bytes().chunks(999).map(|chunk| parser.push(chunk).len()).sum();
            assert_eq!(read, 1);
        }
        assert!(!parser.too_long);
    }
}
