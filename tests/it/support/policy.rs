//! Rules found by the path that a refusal names.

use serde_json::Value;

/// What a pointer of a refusal names in rules as written, such as
/// `agents.a.b.deny.tools.db[0]`; agents and servers may have dots in their names.
pub fn rule_at<'a>(rules: &'a Value, pointer: &str) -> Option<&'a Value> {
    let rest = pointer.strip_prefix("agents.")?;
    let agents = rules["agents"].as_object()?;
    let (agent, rest) = agents
        .iter()
        .filter_map(|(name, agent)| Some((agent, rest.strip_prefix(name)?.strip_prefix('.')?)))
        .find(|(_, rest)| rest.starts_with("allow.") || rest.starts_with("deny."))?;
    let (side, rest) = rest.split_once('.')?;
    let (list, index) = match rest.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) {
        Some((list, index)) => (list, Some(index.parse::<usize>().ok()?)),
        None => (rest, None),
    };
    let list = match list.strip_prefix("tools.") {
        Some(key) => agent.get(side)?.get("tools")?.get(key)?,
        None => agent.get(side)?.get(list)?,
    };
    index.map_or(Some(list), |index| list.get(index))
}
