//! Which tools a credential reaches: patterns of `tool` or `server/tool`, separated by commas.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    call::{ServerName, ToolName},
    pattern::Pattern,
};

/// A list of patterns, of which one must match. Never empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(Vec<ScopePattern>);

#[derive(Clone, Debug, PartialEq)]
struct ScopePattern {
    server: Option<Pattern>,
    tool: Pattern,
}

/// The longest scope of a delegation, in bytes, and the most patterns in it: it is kept with the
/// delegation, and matched by every call and search.
const LONGEST: usize = 2_048;
const MOST: usize = 64;

impl Scope {
    /// Reads what a caller narrows a delegation to.
    ///
    /// # Errors
    /// As [`Scope::parse`]; or that it is too long.
    pub fn parse_bounded(text: &str) -> Result<Self, String> {
        match (text.len(), text.split(',').count()) {
            (0..=LONGEST, 0..=MOST) => Self::parse(text),
            (0..=LONGEST, _) => Err(format!("has more than {MOST} patterns")),
            (long, _) => Err(format!("is {long} bytes long; it may have {LONGEST}")),
        }
    }

    /// Reads `get_*, db/query`. `*` is every tool; so are `api:*` and `mcp:*`, as clients of satgate
    /// write.
    ///
    /// # Errors
    /// An empty list, or a pattern that is none, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let entries: Result<Vec<ScopePattern>, String> = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                let entry = if ["api:*", "mcp:*"].contains(&entry) { "*" } else { entry };
                let (server, tool) = match entry.split_once('/') {
                    Some((server, tool)) => (Some(Pattern::parse(server)?), tool),
                    None => (None, entry),
                };
                Ok(ScopePattern { server, tool: Pattern::parse(tool)? })
            })
            .collect();
        match entries? {
            entries if entries.is_empty() => {
                Err("is empty; write patterns of tools, such as `get_*, db/query`".into())
            }
            entries => Ok(Self(entries)),
        }
    }

    /// Whether it reaches a tool of a server.
    pub fn covers(&self, server: &ServerName, tool: &ToolName) -> bool {
        self.0.iter().any(|entry| entry.speaks_of(server) && entry.tool.matches(tool.as_str()))
    }

    /// Whether it may reach any tool of a server.
    pub fn may_cover(&self, server: &ServerName) -> bool {
        self.0.iter().any(|entry| entry.speaks_of(server))
    }
}

impl ScopePattern {
    fn speaks_of(&self, server: &ServerName) -> bool {
        self.server.as_ref().is_none_or(|pattern| pattern.matches(server.as_str()))
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, ScopePattern { server, tool }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match server {
                Some(server) => write!(f, "{comma}{}/{}", server.as_str(), tool.as_str())?,
                None => write!(f, "{comma}{}", tool.as_str())?,
            }
        }
        Ok(())
    }
}
