//! Usage by agent, server, tool, day or consumer: counted from records, in any order.

use std::collections::{BTreeMap, HashMap};

use super::{
    charge::CallOutcome,
    histogram::Histogram,
    record::{Decision, Draft, Event, Record},
    words::words,
};

/// Stands where a record names nothing.
const NONE: &str = "-";

/// What usage is grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// The agent whose rules applied.
    Agent,
    /// The server.
    Server,
    /// The tool.
    Tool,
    /// The day, in UTC.
    Day,
    /// What the credential is for: the label of a delegation, the name of an API key.
    Label,
    /// The API key, also of calls by tokens that were made with it.
    Key,
    /// The token or delegation.
    Token,
}

/// What records do not say of credentials.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// What tokens and API keys are for, by their ids.
    pub labels: HashMap<String, String>,
    /// The API keys that tokens were made with, by the tokens' ids.
    pub keys: HashMap<String, String>,
}

impl Names {
    /// The API key of a credential.
    pub fn key<'a>(&'a self, credential: &'a str) -> Option<&'a str> {
        match is_token(credential) {
            true => self.keys.get(credential).map(String::as_str),
            false => Some(credential),
        }
    }
}

/// Whether a credential is a token, by the form of its id.
pub fn is_token(credential: &str) -> bool {
    credential.len() == 32 && credential.bytes().all(|b| b.is_ascii_hexdigit())
}

words!(GroupBy {
    Agent = "agent", Server = "server", Tool = "tool", Day = "day", Label = "label", Key = "key",
    Token = "token",
});

impl GroupBy {
    /// Several, separated by commas.
    ///
    /// # Errors
    /// Says which word is none.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let key = |word: &str| {
            let known = Self::WORDS.iter().find(|(known, _)| *known == word.trim());
            known.map(|(_, key)| *key).ok_or_else(|| {
                let words = Self::WORDS.map(|(word, _)| word).join(", ");
                format!("`{word}` is none of {words} (separated by commas)")
            })
        };
        text.split(',').map(key).collect()
    }

    /// What a record says under this key.
    fn of(self, record: &Record, names: &Names) -> String {
        let Draft { agent, server, tool, token, .. } = &record.draft;
        let credential = token.as_deref();
        let said = match self {
            Self::Agent => agent.as_deref(),
            Self::Server => server.as_deref(),
            Self::Tool => tool.as_deref(),
            Self::Day => record.at.split_once('T').map(|(day, _)| day),
            Self::Label => credential.and_then(|id| names.labels.get(id)).map(String::as_str),
            Self::Key => credential.and_then(|id| names.key(id)),
            Self::Token => credential.filter(|id| is_token(id)),
        };
        said.unwrap_or(NONE).to_owned()
    }
}

/// Totals of some calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls that went their way to an end, whatever it was.
    pub calls: u64,
    /// Those of them that did not end well.
    pub errors: u64,
    /// Calls that were refused.
    pub refusals: u64,
    /// Calls that a budget would have refused, had it not been a shadow.
    pub would_refuse: u64,
    /// Calls that were charged though it is unknown whether the tool ran.
    pub uncertain: u64,
    /// Credits charged, less those given back. Below zero if the charge itself is not counted here.
    pub credits: i128,
    /// Bytes of results.
    pub bytes: u64,
    /// How long calls took, in microseconds.
    pub latencies: Histogram,
}

impl Tally {
    /// Whether a record of this kind is about usage at all.
    fn counts(event: Event) -> bool {
        matches!(event, Event::Post | Event::Void | Event::Call | Event::Refusal | Event::Refund)
    }

    fn add(&mut self, draft: &Draft) {
        let cost = i128::from(draft.cost.unwrap_or_default());
        match draft.event {
            Event::Refusal if draft.decision == Some(Decision::WouldRefuse) => {
                self.would_refuse += 1;
            }
            Event::Refusal => self.refusals += 1,
            Event::Refund => self.credits -= cost,
            Event::Post => {
                self.credits += cost;
                self.call(draft);
            }
            _ => self.call(draft),
        }
    }

    fn call(&mut self, draft: &Draft) {
        self.calls += 1;
        // A server that asks for more first has not failed.
        let well = [CallOutcome::Success, CallOutcome::Asked].map(CallOutcome::as_str);
        let failed = draft.status.as_deref().is_some_and(|status| !well.contains(&status));
        self.errors += u64::from(failed);
        self.uncertain += u64::from(draft.uncertain);
        self.bytes = self.bytes.saturating_add(draft.result_bytes.unwrap_or_default());
        if let Some(took) = draft.latency_us {
            self.latencies.add(took);
        }
    }
}

/// Usage by the chosen keys.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    keys: Vec<GroupBy>,
    names: Names,
    groups: BTreeMap<Vec<String>, Tally>,
    total: Tally,
}

impl Usage {
    /// Nothing yet.
    pub fn by(keys: Vec<GroupBy>, names: Names) -> Self {
        Self { keys, names, groups: BTreeMap::new(), total: Tally::default() }
    }

    /// Counts a record.
    pub fn add(&mut self, record: &Record) {
        if !Tally::counts(record.draft.event) {
            return;
        }
        let group = self.keys.iter().map(|key| key.of(record, &self.names)).collect();
        self.groups.entry(group).or_default().add(&record.draft);
        self.total.add(&record.draft);
    }

    /// What it is grouped by.
    pub fn keys(&self) -> &[GroupBy] {
        &self.keys
    }

    /// Each group, by what it has under the keys, in that order.
    pub fn groups(&self) -> impl Iterator<Item = (&[String], &Tally)> {
        self.groups.iter().map(|(group, tally)| (group.as_slice(), tally))
    }

    /// All groups together.
    pub fn total(&self) -> &Tally {
        &self.total
    }
}
