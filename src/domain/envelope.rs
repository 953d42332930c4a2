//! The members of a JSON-RPC message.

use super::json::RawJson;

/// A message as it arrived, taken apart.
#[derive(Debug, Default)]
pub struct Envelope {
    /// `jsonrpc`.
    pub version: Option<RawJson>,
    /// `id`; of a notification None.
    pub id: Option<RawJson>,
    /// `method`; of an answer None.
    pub method: Option<RawJson>,
    /// `params`.
    pub params: Option<RawJson>,
    /// `result`.
    pub result: Option<RawJson>,
    /// `error`.
    pub error: Option<RawJson>,
}

impl Envelope {
    /// The members of a message; the last of each name counts.
    pub fn of(message: &RawJson) -> Self {
        let mut found = Self::default();
        for member in message.members() {
            let place = match &*member.name {
                "jsonrpc" => &mut found.version,
                "id" => &mut found.id,
                "method" => &mut found.method,
                "params" => &mut found.params,
                "result" => &mut found.result,
                "error" => &mut found.error,
                _ => continue,
            };
            *place = Some(member.value);
        }
        found
    }

    /// Whether it says that it is of JSON-RPC 2.0.
    pub fn is_of_version_2(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.as_str() == "\"2.0\"")
    }
}
