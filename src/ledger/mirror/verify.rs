//! Verifies a file of records.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::{self, BufRead, Read},
};

use super::line::{self, RecordLine};
use crate::domain::record::Head;

/// No record is longer.
const LONGEST_LINE: u64 = 64 << 20;

/// The result of following a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Records that are as they were written.
    pub records: u64,
    /// The places of the first and the last of them.
    pub places: Option<(u64, u64)>,
    /// How many chains they are of.
    pub chains: usize,
    /// The place of the first altered record, and how it was altered.
    pub broken: Option<(u64, String)>,
    /// Why records are missing at the end.
    pub incomplete: Option<String>,
}

/// Follows the chains of records in a file, up to the first altered record. The file may begin in the
/// middle of a chain: of that first record only the hash can be checked. Calls `progress` with the
/// number of records followed.
pub fn follow(mut file: impl BufRead, mut progress: impl FnMut(u64)) -> io::Result<Followed> {
    let mut followed = Followed::default();
    let mut heads = Heads::default();
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = file.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes)?;
        let Some(text) = bytes.strip_suffix(b"\n") else {
            if length > 0 {
                followed.incomplete = Some("the file ends within a record".to_owned());
            } else if followed.records == 0 {
                followed.incomplete = Some("the file holds no record".to_owned());
            }
            break;
        };
        match heads.follow(text) {
            Ok(seq) => {
                followed.records += 1;
                let first = followed.places.map_or(seq, |(first, _)| first);
                followed.places = Some((first, seq));
                progress(followed.records);
            }
            Err(broken) => {
                followed.broken = Some(broken);
                break;
            }
        }
    }
    followed.chains = heads.by_chain.len();
    Ok(followed)
}

/// The ends of all chains in a file, as far as it was followed.
#[derive(Default)]
struct Heads {
    by_chain: BTreeMap<String, Head>,
    /// The chain of the line before.
    last: String,
}

impl Heads {
    fn follow(&mut self, text: &[u8]) -> Result<u64, (u64, String)> {
        let read = std::str::from_utf8(text).ok().and_then(line::read);
        let Some(RecordLine { chain, sealed }) = read else {
            let seq = self.by_chain.get(&self.last).map_or(1, |head| head.seq + 1);
            return Err((seq, format!("record {seq} was altered: it cannot be read")));
        };
        self.last.clone_from(&chain);
        let seq = sealed.seq;
        let begins = self.by_chain.is_empty();
        let head = match self.by_chain.entry(chain) {
            Entry::Occupied(known) => known.into_mut(),
            // The file begins in the middle of a chain.
            Entry::Vacant(new) if begins && seq > 1 => {
                let chain = new.key().clone();
                new.insert(Head { chain, seq, hash: sealed.hash });
                return Ok(seq);
            }
            Entry::Vacant(new) if seq != 1 && !begins => {
                let text = format!("record {seq} is of chain `{}`, of which nothing", new.key());
                return Err((seq, format!("{text} is before it")));
            }
            Entry::Vacant(new) => {
                let genesis = Head::genesis(new.key());
                new.insert(genesis)
            }
        };
        let unlinked = head.follow(&sealed).err();
        unlinked.map_or(Ok(seq), |unlinked| Err((unlinked.place(), unlinked.to_string())))
    }
}
