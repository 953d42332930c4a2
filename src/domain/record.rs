//! Records of decisions and movements of credits, and the chain that binds them.
//!
//! A record is one line of flat JSON. Its hash is `SHA-256(domain ‖ hash before ‖ length ‖ line)`
//! over the line's bytes as kept, so every field is bound, and every record to all before it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::period::Period;

/// Set before everything that is hashed, so that the hash means nothing elsewhere.
const DOMAIN: &[u8] = b"tollgate-record-1\0";

/// A link of the chain.
pub type Hash = [u8; 32];

/// What a record is about.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Credits were reserved, and the call goes to its server.
    #[default]
    Hold,
    /// A call was refused; nothing was reserved.
    Refusal,
    /// A call was charged.
    Post,
    /// A call was not charged; what was reserved went back.
    Void,
    /// A call was answered for which nothing was held, as it was beyond a shadow budget.
    Call,
    /// Accounts were opened or changed as the settings ask.
    Declare,
    /// An operator gave credits to an account.
    Grant,
    /// Credits were given to an account below.
    Delegate,
    /// An operator gave back what a call was charged.
    Refund,
    /// An account was closed; what it had left went up.
    Close,
    /// Settings were read anew, and are in force or were refused.
    Reload,
    /// A ceiling was opened below an account.
    Cap,
    /// A token that has no account was ended.
    Revoke,
    /// An API key was made or taken back.
    Key,
    /// Accounts and rights as they were found when the store was brought to a later version.
    Baseline,
    /// Servers or tools were looked up.
    Discovery,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may go on.
    Allowed,
    /// It may not.
    Refused,
    /// It may go on although the budget does not cover it (soft).
    OverBudget,
    /// It may go on; the budget would not have covered it (shadow).
    WouldRefuse,
}

/// Everything a record can say; what does not apply is left out. Members are in the order in which
/// they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Draft {
    /// The event.
    pub event: Event,
    /// The agent whose rules applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Which instance of the agent the client says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// How its identity was established.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assurance: Option<String>,
    /// The id of the token that was shown; of a delegation or a revocation, of the one that was made
    /// or ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The server, as the call named it if there is none of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// How it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Which rules and prices were in force: the first digits of their hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// `soft` or `shadow`, where it is not `hard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The hold, as 32 hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// The account, with its namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// What the call costs; of a post, what was charged; else what moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<u64>,
    /// What the account, and those above it that pay, have left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
    /// Whether it was charged although it is unknown whether the tool ran.
    #[serde(skip_serializing_if = "is_false")]
    pub uncertain: bool,
    /// How the call ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// How long it took, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<u64>,
    /// The length of the arguments as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_bytes: Option<u64>,
    /// Their keyed digest: equal arguments have equal digests, and no one can guess them without the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args_mac: Option<String>,
    /// The arguments themselves, where the settings ask for them; secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// The length of the result as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// Its SHA-256.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_sha256: Option<String>,
    /// The query of a lookup, with secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// How many servers or tools the answer to a look-up shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<u64>,
    /// How many tokens that is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// What a delegation is for, in the words of who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Accounts that the step opened or changed, so that they can be replayed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<AccountState>,
    /// The keyed digest of the delegation's or API key's row, with the installation's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
    /// Rows as they were found (`ledger::replay::Baseline`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<serde_json::Value>,
    /// Anything else, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a step left an account that it opened or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountState {
    /// The account, with its namespace.
    pub id: String,
    /// The account above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// The credits issued to it, if it owns credits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued: Option<u64>,
    /// How much of that the settings ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub declared: Option<u64>,
    /// Whether it never refuses.
    #[serde(skip_serializing_if = "is_false")]
    pub unlimited: bool,
    /// The limit of a ceiling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<u64>,
    /// How often it is counted anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// When its window began, in milliseconds since 1970, if it has a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<i64>,
    /// When it closes by itself, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Whether it is closed.
    #[serde(skip_serializing_if = "is_false")]
    pub closed: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A record as kept: a draft, and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The format of the record.
    pub v: u32,
    /// Which chain it is part of.
    pub chain: String,
    /// Its place in the chain, from 1.
    pub seq: u64,
    /// When, in UTC (RFC 3339, milliseconds).
    pub at: String,
    /// What it says.
    #[serde(flatten)]
    pub draft: Draft,
}

/// The end of a chain, to which the next record is bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Which chain.
    pub chain: String,
    /// The place of the last record; 0 before the first.
    pub seq: u64,
    /// Its hash; of the chain's name before the first.
    pub hash: Hash,
}

/// A record's line and its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its place.
    pub seq: u64,
    /// The line.
    pub line: String,
    /// The hash over it and all before it.
    pub hash: Hash,
}

/// Why a record is not the next of its chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlinked {
    /// One is missing, or there twice, or out of order.
    #[error("record {expected} is missing; record {found} is in its place")]
    Order {
        /// The place that comes next.
        expected: u64,
        /// The place that is there.
        found: u64,
    },
    /// It was altered, or one before it.
    #[error("record {seq} was altered: its hash is not that of its text")]
    Altered {
        /// Its place.
        seq: u64,
    },
    /// It says that it stands elsewhere.
    #[error("record {seq} was altered: its text is that of another place or chain")]
    Misplaced {
        /// Its place.
        seq: u64,
    },
}

impl Unlinked {
    /// The place in the chain where the fault is.
    pub fn place(&self) -> u64 {
        match self {
            Self::Order { expected, .. } => *expected,
            Self::Altered { seq } | Self::Misplaced { seq } => *seq,
        }
    }
}

impl Head {
    /// The beginning of a chain of that name.
    pub fn genesis(chain: &str) -> Self {
        Self { chain: chain.to_owned(), seq: 0, hash: link(&[0; 32], chain.as_bytes()) }
    }

    /// Binds a record to the chain, which it then ends.
    ///
    /// # Errors
    /// None that can happen: a draft has a JSON form.
    pub fn seal(&mut self, draft: Draft, at: String) -> serde_json::Result<Sealed> {
        let (chain, seq) = (self.chain.clone(), self.seq + 1);
        let line = serde_json::to_string(&Record { v: 1, chain, seq, at, draft })?;
        self.seq = seq;
        self.hash = link(&self.hash, line.as_bytes());
        Ok(Sealed { seq, line, hash: self.hash })
    }

    /// Follows the chain by one record, and returns it parsed.
    ///
    /// # Errors
    /// It is not the next, or not what it was.
    pub fn follow(&mut self, sealed: &Sealed) -> Result<Record, Unlinked> {
        let expected = self.seq + 1;
        if sealed.seq != expected {
            return Err(Unlinked::Order { expected, found: sealed.seq });
        }
        let hash = link(&self.hash, sealed.line.as_bytes());
        if hash != sealed.hash {
            return Err(Unlinked::Altered { seq: expected });
        }
        let said = serde_json::from_str::<Record>(&sealed.line).ok();
        let fits = |record: &Record| record.seq == expected && record.chain == self.chain;
        let Some(record) = said.filter(fits) else {
            return Err(Unlinked::Misplaced { seq: expected });
        };
        self.seq = expected;
        self.hash = hash;
        Ok(record)
    }
}

fn link(before: &Hash, line: &[u8]) -> Hash {
    let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
    let hash = Sha256::new().chain_update(DOMAIN).chain_update(before);
    hash.chain_update(length.to_be_bytes()).chain_update(line).finalize().into()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        const DIGITS: [char; 16] =
            ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digit = |half: u8| DIGITS.get(usize::from(half)).copied().unwrap_or('?');
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{Draft, Event, Head, Sealed, Unlinked};

    fn chain(records: u64) -> Vec<Sealed> {
        let mut head = Head::genesis("test");
        let sealed = |n: u64| {
            let draft = Draft { event: Event::Post, cost: Some(n), ..Draft::default() };
            head.seal(draft, "2026-11-20T00:00:00.000Z".to_owned()).unwrap()
        };
        (1..=records).map(sealed).collect()
    }

    /// The place of the first record that is not what it was.
    fn first_bad(records: &[Sealed]) -> Option<u64> {
        let mut head = Head::genesis("test");
        records.iter().find_map(|sealed| {
            head.follow(sealed).err().map(|error| match error {
                Unlinked::Order { expected, .. } => expected,
                Unlinked::Altered { seq } | Unlinked::Misplaced { seq } => seq,
            })
        })
    }

    #[test]
    fn every_byte_and_the_order_are_bound() {
        let whole = chain(6);
        assert_eq!(first_bad(&whole), None);
        for (index, sealed) in whole.iter().enumerate() {
            let seq = Some(sealed.seq);
            for at in 0..sealed.line.len() {
                let mut bad = whole.clone();
                let mut bytes = sealed.line.clone().into_bytes();
                bytes[at] ^= 1;
                bad[index].line = String::from_utf8(bytes).unwrap();
                assert_eq!(first_bad(&bad), seq);
            }
            let mut bad = whole.clone();
            bad[index].hash[31] ^= 1;
            assert_eq!(first_bad(&bad), seq);
            let mut bad = whole.clone();
            bad.insert(index, sealed.clone());
            assert_eq!(first_bad(&bad), seq.map(|seq| seq + 1), "a duplicate");
            if index + 1 < whole.len() {
                let mut bad = whole.clone();
                bad.remove(index);
                assert_eq!(first_bad(&bad), seq, "a gap");
                let mut bad = whole.clone();
                bad.swap(index, index + 1);
                assert_eq!(first_bad(&bad), seq, "a swap");
                // Places that fit do not help.
                bad[index].seq = whole[index].seq;
                bad[index + 1].seq = whole[index + 1].seq;
                assert_eq!(first_bad(&bad), seq, "a swap of texts");
            }
        }
    }

    #[test]
    fn a_record_made_anew_for_another_place_is_noticed() {
        let mut head = Head::genesis("test");
        let mut forged = head.clone();
        forged.seq = 4;
        let mut sealed = forged.seal(Draft::default(), String::new()).unwrap();
        sealed.seq = 1;
        assert_eq!(head.follow(&sealed), Err(Unlinked::Misplaced { seq: 1 }));
    }
}
