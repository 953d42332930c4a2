//! What a call costs.

use serde::Serialize;

use super::{
    call::{ServerName, ToolName},
    credits::Credits,
    pattern::Pattern,
};

/// The prices of all tools (`tools.defaultCost`, `tools.costs`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tariff {
    /// The price of what no entry names.
    pub default: Credits,
    /// Prices by tool, as written.
    pub entries: Vec<PriceEntry>,
}

/// One entry of `tools.costs`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PriceEntry {
    /// The server, if the key names one (`server/tool`, split at the first `/`).
    pub server: Option<Pattern>,
    /// The tool.
    pub tool: Pattern,
    /// The price; 0 is free.
    pub cost: Credits,
}

/// A price, and what decided it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price<'a> {
    /// The price.
    pub cost: Credits,
    /// The entry that decided; None for the default price.
    pub entry: Option<&'a PriceEntry>,
}

impl Default for Tariff {
    fn default() -> Self {
        Self { default: Credits::ONE, entries: Vec::new() }
    }
}

impl PriceEntry {
    /// The key as it was written.
    pub fn key(&self) -> String {
        match &self.server {
            Some(server) => format!("{}/{}", server.as_str(), self.tool.as_str()),
            None => self.tool.as_str().to_owned(),
        }
    }

    fn covers(&self, server: &ServerName, tool: &ToolName) -> bool {
        self.server.as_ref().is_none_or(|pattern| pattern.matches(server.as_str()))
            && self.tool.matches(tool.as_str())
    }

    /// What decides between entries that cover a tool, the greater first: an exact name of the tool
    /// over a wildcard, and that over a bare `*`; then a key that names the server; then more
    /// literal characters.
    fn weight(&self) -> (bool, bool, bool, usize, bool, usize) {
        let literal = |pattern: &Pattern| {
            pattern.as_str().chars().filter(|c| !matches!(c, '*' | '?')).count()
        };
        (
            self.tool.is_explicit(),
            self.tool.as_str() != "*",
            self.server.is_some(),
            literal(&self.tool),
            self.server.as_ref().is_some_and(Pattern::is_explicit),
            self.server.as_ref().map_or(0, literal),
        )
    }
}

impl Tariff {
    /// The price of a tool: exact name → longest wildcard → `*` → default; at each stage a key that
    /// names the server goes before one that does not.
    pub fn price(&self, server: &ServerName, tool: &ToolName) -> Price<'_> {
        let covering = self.entries.iter().filter(|entry| entry.covers(server, tool));
        let entry = covering.max_by_key(|entry| entry.weight());
        Price { cost: entry.map_or(self.default, |entry| entry.cost), entry }
    }

    /// The price of a tool where it is not the default: agents see it with the signature.
    pub fn own_price(&self, server: &ServerName, tool: &ToolName) -> Option<Credits> {
        Some(self.price(server, tool).cost).filter(|cost| *cost != self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::{Credits, Pattern, PriceEntry, Tariff};

    fn tariff(costs: &[(&str, u64)]) -> Tariff {
        let entries = costs.iter().map(|(key, cost)| {
            let (server, tool) = match key.split_once('/') {
                Some((server, tool)) => (Some(Pattern::parse(server).unwrap()), tool),
                None => (None, *key),
            };
            let cost = Credits::new(*cost).unwrap();
            PriceEntry { server, tool: Pattern::parse(tool).unwrap(), cost }
        });
        Tariff { entries: entries.collect(), ..Tariff::default() }
    }

    #[test]
    fn exact_then_longest_wildcard_then_star_then_default() {
        let check = |costs: &[(&str, u64)], tool: &str, expected: u64| {
            let tariff = tariff(costs);
            let cost = tariff.price(&"db".into(), &tool.into()).cost;
            assert_eq!(cost.amount(), expected, "{tool} of {costs:?}");
        };
        let older =
            [("db_query", 1), ("db_write*", 5), ("gpt4*", 10), ("dalle_generate", 50), ("*", 3)];
        check(&older, "db_query", 1);
        check(&older, "db_write_row", 5);
        check(&older, "db_write", 5);
        check(&older, "gpt4", 10);
        check(&older, "other", 3);
        check(&[], "other", 1);
        check(&[("a*", 2), ("ab*", 0), ("*", 9)], "abc", 0);
        // The server's own price goes before, at each stage and not across them.
        check(&[("x", 1), ("db/x", 2), ("*/x", 3)], "x", 2);
        check(&[("x", 1), ("db/*", 2)], "x", 1);
        check(&[("xy*", 1), ("db/x*", 2)], "xyz", 2);
        check(&[("db/xy*", 1), ("db/x*", 2)], "xyz", 1);
        check(&[("x*", 1), ("db/*", 2)], "xyz", 1);
        check(&[("x*", 1), ("db/x*", 2), ("api/x*", 3)], "xyz", 2);
        check(&[("*", 1), ("db/*", 2)], "x", 2);
        // A tool's name may hold a slash.
        check(&[("db/a/b", 7)], "a/b", 7);
    }

    #[test]
    fn price_is_shown_when_it_differs_from_default() {
        let tariff = tariff(&[("free", 0), ("dear", 5), ("same", 1)]);
        let told = |tool: &str| tariff.own_price(&"db".into(), &tool.into()).map(Credits::amount);
        assert_eq!([told("free"), told("dear")], [Some(0), Some(5)]);
        assert_eq!([told("same"), told("other")], [None, None]);
    }
}
