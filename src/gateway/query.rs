//! What a `get_server_tools` call asks for.

use std::collections::HashSet;

use super::{facade, fields::Fields};
use crate::domain::{
    call::ServerName,
    catalog::Tool,
    detail::{Detail, Level},
    json::RawJson,
    pattern::Pattern,
    refusal::Refusal,
};

/// A `get_server_tools` call as asked for.
pub(super) struct Query {
    pub(super) server: String,
    /// None is no filter, as is a list of blanks.
    pub(super) names: Option<HashSet<String>>,
    pub(super) pattern: Option<Pattern>,
    /// In small letters; none is no filter.
    pub(super) words: Vec<String>,
    detail: Option<Detail>,
    cap: Option<usize>,
}

impl Query {
    pub(super) fn parse(arguments: &RawJson) -> Result<Self, Refusal> {
        let mut fields = Fields::new(facade::GET_SERVER_TOOLS, arguments)?;
        let server = fields.name("server")?;
        fields.optional_name("agent_id")?;
        let words = fields.optional_text("query")?;
        let names = fields.names("names")?;
        let pattern = fields.optional_name("pattern")?;
        let detail = fields.choice("detail", &Detail::WORDS)?;
        let cap = fields.count("max_schema_tokens")?;
        fields.finish()?;
        let pattern = pattern.filter(|pattern| !pattern.is_empty()).map(|pattern| {
            Pattern::parse(&pattern)
                .map_err(|fault| Refusal::arguments(format!("get_server_tools: `pattern` {fault}")))
        });
        Ok(Self {
            server,
            names,
            pattern: pattern.transpose()?,
            words: words_of(&words.unwrap_or_default()),
            detail,
            cap,
        })
    }

    /// The budget and the detail, where the call does not say from the rules. Tools that are asked
    /// for by name are wanted whole.
    pub(super) fn context(&self, (cap, detail): (usize, Detail)) -> (usize, Detail) {
        let whole = self.names.as_ref().map(|_| Detail::AtMost(Level::Full));
        (self.cap.unwrap_or(cap), self.detail.or(whole).unwrap_or(detail))
    }

    /// In a search, names and patterns may also be given with the server, as the answer shows them.
    pub(super) fn selects(&self, tool: &Tool, server: &ServerName) -> bool {
        let name = tool.name().as_str();
        let whole = (self.server == "*").then(|| format!("{server}/{name}"));
        let is_meant =
            |holds: &dyn Fn(&str) -> bool| holds(name) || whole.as_deref().is_some_and(holds);
        self.names.as_ref().is_none_or(|names| is_meant(&|name| names.contains(name)))
            && self.pattern.as_ref().is_none_or(|pattern| is_meant(&|name| pattern.matches(name)))
            && (self.words.is_empty() || self.mentions(tool))
    }

    /// The arguments that select.
    pub(super) fn filters(&self) -> Vec<&'static str> {
        let given = [
            ("query", !self.words.is_empty()),
            ("names", self.names.is_some()),
            ("pattern", self.pattern.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// Whether the name or the description holds one of the words.
    fn mentions(&self, tool: &Tool) -> bool {
        let name = tool.name().as_str().to_lowercase();
        let description = tool.description().to_lowercase();
        self.words.iter().any(|word| name.contains(word) || description.contains(word))
    }
}

/// The words of a query, in small letters. Single letters would find everything.
fn words_of(query: &str) -> Vec<String> {
    const MOST: usize = 64;
    query
        .to_lowercase()
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 1)
        .take(MOST)
        .map(str::to_owned)
        .collect()
}
