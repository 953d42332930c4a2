//! Other names of arguments, as clients and models write them, where only one argument can be meant.

use super::facade::{EXECUTE_TOOL, GET_SERVER_TOOLS, LIST_SERVERS};

/// What each tool takes.
const KNOWN: [(&str, &[&str]); 3] = [
    (LIST_SERVERS, &["agent_id", "include_metadata"]),
    (
        GET_SERVER_TOOLS,
        &["server", "agent_id", "query", "names", "pattern", "detail", "max_schema_tokens"],
    ),
    (EXECUTE_TOOL, &["server", "tool", "args", "agent_id", "timeout_ms"]),
];

/// Other names, without capitals and separators. Whoever calls is not among them: an identity is
/// never guessed.
const ALIASES: [(&str, &[(&str, &str)]); 2] = [
    (
        GET_SERVER_TOOLS,
        &[
            ("servername", "server"),
            ("tools", "names"),
            ("toolnames", "names"),
            ("tool", "names"),
            ("toolname", "names"),
            ("search", "query"),
            ("keywords", "query"),
            ("maxtokens", "max_schema_tokens"),
        ],
    ),
    (
        EXECUTE_TOOL,
        &[
            ("servername", "server"),
            ("toolname", "tool"),
            ("name", "tool"),
            ("arguments", "args"),
            ("toolargs", "args"),
            ("toolarguments", "args"),
            ("toolinput", "args"),
            ("parameters", "args"),
            ("params", "args"),
            ("input", "args"),
        ],
    ),
];

/// The argument that a name means; the name itself if it means none.
pub(super) fn argument_meant<'a>(tool: &str, name: &'a str) -> &'a str {
    let known = KNOWN.iter().find(|(of, _)| *of == tool).map_or(&[][..], |(_, known)| known);
    if known.contains(&name) || name.len() > 64 {
        return name;
    }
    let folded = fold(name);
    let alike = known.iter().find(|known| **known != "agent_id" && fold(known) == folded);
    let alias = || {
        let aliases = ALIASES.iter().find(|(of, _)| *of == tool).map(|(_, aliases)| *aliases)?;
        aliases.iter().find(|(alias, _)| *alias == folded).map(|(_, meant)| meant)
    };
    alike.or_else(alias).copied().unwrap_or(name)
}

/// `serverName`, `server-name` and `Server_Name` are the same.
fn fold(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::argument_meant;
    use crate::gateway::facade::{EXECUTE_TOOL, GET_SERVER_TOOLS, LIST_SERVERS};

    #[test]
    fn misnamed_arguments_match_the_only_possible_ones() {
        for (tool, name, expected) in [
            (EXECUTE_TOOL, "server_name", "server"),
            (EXECUTE_TOOL, "serverName", "server"),
            (EXECUTE_TOOL, "tool_name", "tool"),
            (EXECUTE_TOOL, "name", "tool"),
            (EXECUTE_TOOL, "arguments", "args"),
            (EXECUTE_TOOL, "parameters", "args"),
            (EXECUTE_TOOL, "timeoutMs", "timeout_ms"),
            (GET_SERVER_TOOLS, "tools", "names"),
            (GET_SERVER_TOOLS, "tool_names", "names"),
            (GET_SERVER_TOOLS, "Query", "query"),
            (LIST_SERVERS, "includeMetadata", "include_metadata"),
        ] {
            assert_eq!(argument_meant(tool, name), expected);
        }
        for (tool, name) in [
            (EXECUTE_TOOL, "agentId"),
            (EXECUTE_TOOL, "agent"),
            (EXECUTE_TOOL, "timeout"),
            (EXECUTE_TOOL, "query"),
            (GET_SERVER_TOOLS, "name"),
            (LIST_SERVERS, "server"),
            ("other", "server_name"),
        ] {
            assert_eq!(argument_meant(tool, name), name);
        }
    }
}
