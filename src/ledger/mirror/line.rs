//! A record and its hash as one line: the record's own JSON, `hash` added as its last member, so that
//! the text that was hashed can be restored byte for byte.

use serde::Deserialize;
use serde_json::json;

use crate::domain::{
    keyed::unhex,
    record::{Sealed, hex},
};

/// How every line begins.
pub const START: &str = r#"{"v":"#;

const BEFORE_HASH: &str = r#","hash":""#;
const AFTER_HASH: &str = r#""}"#;
/// Hexadecimal digits of a hash.
const DIGITS: usize = 64;

/// The chain and place of a record, by its own text.
#[derive(Debug, Deserialize)]
struct ChainPosition {
    chain: String,
    seq: u64,
}

/// A line as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLine {
    /// The chain that it names.
    pub chain: String,
    /// The record.
    pub sealed: Sealed,
}

/// The line of a record, without a line break. A record whose text was altered so that it does not
/// fit into one is quoted whole; such a line does not verify, as the record does not.
pub fn write(chain: &str, sealed: &Sealed) -> String {
    let hash = hex(&sealed.hash);
    let whole = sealed.line.starts_with(START) && !sealed.line.contains('\n');
    let place = if whole { serde_json::from_str::<ChainPosition>(&sealed.line).ok() } else { None };
    match (place, sealed.line.strip_suffix('}')) {
        (Some(place), Some(open)) if place.seq == sealed.seq && place.chain == chain => {
            format!("{open}{BEFORE_HASH}{hash}{AFTER_HASH}")
        }
        _ => {
            let (seq, text) = (sealed.seq, &sealed.line);
            json!({"v": 0, "chain": chain, "seq": seq, "altered": text, "hash": hash}).to_string()
        }
    }
}

/// What [`write`] wrote; None if it is anything else.
pub fn read(line: &str) -> Option<RecordLine> {
    let rest = line.strip_suffix(AFTER_HASH)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    // Only lower-case digits: no other text may stand for the same hash.
    let hash = unhex(digits).filter(|hash| hex(hash) == digits)?;
    let line = format!("{}}}", rest.strip_suffix(BEFORE_HASH)?);
    let place: ChainPosition = serde_json::from_str(&line).ok()?;
    Some(RecordLine { chain: place.chain, sealed: Sealed { seq: place.seq, line, hash } })
}

#[cfg(test)]
mod tests {
    use super::{RecordLine, read, write};
    use crate::domain::record::{Draft, Head, Sealed};

    #[test]
    fn the_text_that_was_hashed_is_had_back() {
        let mut head = Head::genesis("c");
        let note = Some("a } \" \n ü ,\"hash\":\"00\"}".to_owned());
        let sealed = head.seal(Draft { note, ..Draft::default() }, String::new()).unwrap();
        let line = write("c", &sealed);
        assert_eq!(read(&line), Some(RecordLine { chain: "c".to_owned(), sealed: sealed.clone() }));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&value["seq"], value["hash"].as_str().map(str::len)), (&1.into(), Some(64)));
        assert_eq!(read(&line.to_uppercase()), None);
        assert_eq!(read(&sealed.line), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn unreadable_record_still_prints_one_line() {
        for text in ["", "}", "{\"v\":1}\n{\"v\":1}", "{\"v\":1,\"chain\":\"c\",\"seq\":8}"] {
            let sealed = Sealed { seq: 7, line: text.to_owned(), hash: [1; 32] };
            let line = write("c", &sealed);
            assert!(!line.contains('\n'), "{line}");
            let RecordLine { chain, sealed } = read(&line).unwrap();
            assert_eq!((chain.as_str(), sealed.seq, sealed.hash), ("c", 7, [1; 32]));
        }
    }
}
