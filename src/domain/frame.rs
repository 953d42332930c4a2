//! Cuts a byte stream into lines of bounded length (MCP's stdio framing: one JSON-RPC message per
//! line), and reads the `id` of a message that is too long or too deep to parse.

use serde::Serialize;
use serde_json::Value;

/// The largest message accepted in either direction, in bytes. The same as rmcp's bound for HTTP.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// A message as a whole line.
///
/// # Errors
/// A message that has no JSON form.
pub fn line_of(message: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// What a stream of bytes yields.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// A whole line, without its end.
    Line(Vec<u8>),
    /// A line beyond the limit; its bytes are gone, its `id` was read in passing if it has one.
    TooLong(Option<Value>),
}

/// Collects a line across reads. Every call is complete in itself, so a reader may be cancelled
/// between calls without losing a byte.
#[derive(Debug)]
pub struct Framer {
    line: Vec<u8>,
    limit: usize,
    /// Set while the rest of a line beyond the limit is passed over.
    skipping: Option<IdScan>,
}

impl Framer {
    /// A framer for lines of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { line: Vec::new(), limit, skipping: None }
    }

    /// Takes bytes up to and including the first line end; answers how many it took, and the frame
    /// that they complete, if they do.
    pub fn push(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let end = bytes.iter().position(|&b| b == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let content = bytes.get(..end.unwrap_or(taken)).unwrap_or_default();
        self.extend(content);
        (taken, end.map(|_| self.finish()))
    }

    /// The stream has ended: a last line without an end is a frame all the same.
    pub fn end(&mut self) -> Option<Frame> {
        (self.skipping.is_some() || !self.line.is_empty()).then(|| self.finish())
    }

    fn extend(&mut self, content: &[u8]) {
        if let Some(scan) = &mut self.skipping {
            scan.feed(content);
        } else if self.line.len() + content.len() > self.limit {
            let mut scan = IdScan::default();
            scan.feed(&std::mem::take(&mut self.line));
            scan.feed(content);
            self.skipping = Some(scan);
        } else {
            self.line.extend_from_slice(content);
        }
    }

    fn finish(&mut self) -> Frame {
        if let Some(scan) = self.skipping.take() {
            return Frame::TooLong(scan.id());
        }
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Frame::Line(line)
    }
}

/// The `id` of a JSON-RPC message, read without parsing the rest; None where there is none that is
/// a string or a number.
pub fn id_of(message: &[u8]) -> Option<Value> {
    let mut scan = IdScan::default();
    scan.feed(message);
    scan.id()
}

/// The same of a message that names a method, and so is a request.
pub fn id_of_request(message: &[u8]) -> Option<Value> {
    let mut scan = IdScan::default();
    scan.feed(message);
    scan.id.filter(|_| scan.has_method)
}

/// Follows the structure of a JSON text byte by byte, in constant memory, and keeps the value of
/// the top-level member `id`.
#[derive(Debug, Default)]
struct IdScan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The key or scalar now being read at depth one; cut at [`IdScan::LONGEST`].
    text: Vec<u8>,
    key_is_id: bool,
    id: Option<Value>,
    has_method: bool,
}

impl IdScan {
    /// No real request id is longer, quotes included.
    const LONGEST: usize = 514;

    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.keep(byte);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.end_member();
                self.depth = self.depth.saturating_sub(1);
            }
            b':' if self.depth == 1 => {
                let key = self.text.trim_ascii();
                self.key_is_id = key == br#""id""#;
                self.has_method |= key == br#""method""#;
                self.text.clear();
            }
            b',' => self.end_member(),
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.text.len() < Self::LONGEST {
            self.text.push(byte);
        }
    }

    fn end_member(&mut self) {
        if self.depth != 1 {
            return;
        }
        if self.key_is_id {
            let value = serde_json::from_slice::<Value>(&self.text).ok();
            self.id = value.filter(|value| value.is_string() || value.is_number());
        }
        self.key_is_id = false;
        self.text.clear();
    }

    fn id(self) -> Option<Value> {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Frame, Framer, id_of};

    fn frames(limit: usize, chunks: &[&[u8]]) -> Vec<Frame> {
        let mut framer = Framer::new(limit);
        let mut out = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let (taken, frame) = framer.push(rest);
                rest = rest.get(taken..).unwrap_or_default();
                out.extend(frame);
            }
        }
        out.extend(framer.end());
        out
    }

    #[test]
    fn lines_survive_any_split() {
        let line = |text: &str| Frame::Line(text.as_bytes().to_vec());
        assert_eq!(
            frames(9, &[b"ab\r\nc", b"d", b"\n\nrest"]),
            [line("ab"), line("cd"), line(""), line("rest")]
        );
    }

    #[test]
    fn a_line_beyond_the_limit_keeps_only_its_id() {
        let long = br#"{"result":{"id":1,"x":"{\"id\":2"},"id":"seven"}"#;
        let found = frames(20, &[&long[..15], &long[15..30], &long[30..], b"\nok\n"]);
        assert_eq!(found, [Frame::TooLong(Some(json!("seven"))), Frame::Line(b"ok".to_vec())]);
    }

    #[test]
    fn the_id_is_found_at_the_top_level_only() {
        assert_eq!(id_of(br#"{"a":{"id":1},"id" : 42 ,"b":[1]}"#), Some(json!(42)));
        assert_eq!(id_of(br#"{"id":{"id":1}}"#), None);
        assert_eq!(id_of(br#"{"id":null,"method":"x"}"#), None);
        assert_eq!(id_of(b"[1,2"), None);
        let deep = format!(r#"{{"x":{}{},"id":9}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(id_of(deep.as_bytes()), Some(json!(9)));
    }
}
