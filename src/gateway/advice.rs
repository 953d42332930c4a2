//! What an answer of `get_server_tools` says of tools that were not found: what is like them, and
//! what to ask instead. Only of tools that the caller may call.

use std::collections::HashSet;

use super::query::Query;
use crate::domain::{
    call::{ServerName, ToolName},
    near::{near, near_word},
};

/// The most names that one answer offers.
const OFFERED: usize = 5;

/// The tools that the caller may call, of the servers that were asked.
pub(super) struct KnownTools<'a> {
    tools: Vec<(&'a ServerName, &'a ToolName)>,
    /// Names are shown with their server's.
    everywhere: bool,
}

impl<'a> KnownTools<'a> {
    pub(super) fn new(everywhere: bool) -> Self {
        Self { tools: Vec::new(), everywhere }
    }

    pub(super) fn add(&mut self, server: &'a ServerName, tool: &'a ToolName) {
        self.tools.push((server, tool));
    }

    pub(super) fn count(&self) -> usize {
        self.tools.len()
    }

    /// What to say where nothing was selected.
    pub(super) fn nothing_found(&self, query: &Query) -> String {
        let total = match self.count() {
            0 => return "there is no tool here that you may call".into(),
            1 => "1 tool".to_owned(),
            more => format!("{more} tools"),
        };
        let filters = query.filters().join(" and ");
        let total = format!("{total} without {filters}");
        let shown = self.shown();
        let names = || shown.iter().map(String::as_str);
        let words = query.words.iter().flat_map(|word| near_word(word, names()));
        let pattern =
            query.pattern.as_ref().map(|pattern| pattern.as_str().replace(['*', '?'], ""));
        let like = pattern.iter().flat_map(|name| near(name, names()));
        match offered(words.chain(like)) {
            None => format!("nothing matches; {total}"),
            Some(offered) => format!("nothing matches; nearest: {offered}; {total}"),
        }
    }

    /// What to say of names that no tool has, or none that the caller may know of.
    pub(super) fn unknown_names(&self, query: &Query) -> Option<String> {
        let asked = query.names.as_ref()?;
        let known: HashSet<&str> = self.tools.iter().map(|(_, tool)| tool.as_str()).collect();
        let qualified: HashSet<String> = if asked.iter().any(|name| name.contains('/')) {
            self.tools.iter().map(|(server, tool)| format!("{server}/{tool}")).collect()
        } else {
            HashSet::new()
        };
        let is_unknown =
            |name: &&String| !known.contains(name.as_str()) && !qualified.contains(name.as_str());
        let mut unknown: Vec<&String> = asked.iter().filter(is_unknown).collect();
        unknown.sort_unstable();
        let said = match unknown.len() {
            0 => return None,
            1 => "one of the names is no tool here".to_owned(),
            more => format!("{more} of the names are no tools here"),
        };
        let shown = self.shown();
        let like = unknown.iter().take(OFFERED);
        let like =
            like.filter_map(|name| near(name, shown.iter().map(String::as_str)).first().copied());
        Some(match offered(like) {
            None => said,
            Some(offered) => format!("{said}; did you mean {offered}?"),
        })
    }

    fn shown(&self) -> Vec<String> {
        let tools = self.tools.iter().map(|(server, tool)| {
            if self.everywhere { format!("{server}/{tool}") } else { tool.to_string() }
        });
        tools.collect()
    }
}

fn offered<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for name in names {
        if kept.len() < OFFERED && !kept.contains(&name) {
            kept.push(name);
        }
    }
    (!kept.is_empty())
        .then(|| kept.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
}
