//! `.mcp.json`: which servers. The format that MCP clients share, so an existing file works as it is.

use std::path::Path;

use super::{
    document::{self, Node, Value},
    entry::{Form, KNOWN, Loaded, NOT_BUILT, worth_hiding},
    fault::Faults,
    reader::{At, LATER, Object, Reader},
};
use crate::{domain::near::near, host::environment::Environment};

pub(super) fn load(file: Option<&Path>, env: &Environment, faults: &mut Faults) -> Loaded {
    let mut loaded = Loaded::default();
    let Some(file) = file else { return loaded };
    let Some(document) = document::read(file, faults) else { return loaded };
    let mut reader = Reader::new(file.to_owned(), env, faults);
    let top = At::top(&document);
    if let Some(object) = reader.object(&top, &["mcpServers", "$schema"], &[]) {
        match object.get("mcpServers") {
            Some(servers) => all(&servers, &mut reader, &mut loaded),
            None => reader.fault(&top, "`mcpServers` is missing; it maps names to servers"),
        }
    }
    loaded.warnings = reader.warnings;
    loaded.secrets.extend(worth_hiding(reader.secrets, env));
    loaded
}

fn all(servers: &At<'_>, reader: &mut Reader<'_>, loaded: &mut Loaded) {
    let Some(servers) = reader.any_object(servers) else { return };
    for (name, at) in servers.members() {
        loaded.found(name, &at, reader);
        let Some(object) = reader.any_object(&at) else { continue };
        check_keys(&object, reader);
        let off = is_disabled(&object, reader);
        loaded.add(name, &object, off, Form::default(), reader);
    }
}

/// Keys with which clients hide the tools that they name. Passing them over would offer these.
const HIDING: [&str; 3] = ["disabledTools", "disabled_tools", "excludeTools"];

/// Keys with which clients hide all other tools.
const SHOWING: [&str; 5] =
    ["enabledTools", "enabled_tools", "includeTools", "allowedTools", "tools"];

/// Whether an entry is switched off, by either of the words for it.
pub(super) fn is_disabled(object: &Object<'_>, reader: &mut Reader<'_>) -> bool {
    let disabled = object.get("disabled").and_then(|at| reader.flag(&at));
    let enabled = object.get("enabled").and_then(|at| reader.flag(&at));
    disabled == Some(true) || enabled == Some(false)
}

/// Clients keep keys of their own in an entry, so an unknown one is only worth a warning.
fn check_keys(object: &Object<'_>, reader: &mut Reader<'_>) {
    for (key, at) in object.members() {
        if NOT_BUILT.contains(&key) {
            if !reader.asks_for_nothing(&at) {
                reader.fault(&at, LATER);
            }
        } else if HIDING.contains(&key) || SHOWING.contains(&key) {
            if hides_tools(key, &at) {
                reader.fault(&at, "hides tools, which is the work of rules here; write it into `allow.tools` or `deny.tools` of .mcp-gateway-rules.json, then remove it");
            }
        } else if !KNOWN.contains(&key) {
            let meant = near(key, KNOWN.iter().copied());
            let meant = meant.first().map(|meant| format!("; did you mean `{meant}`?"));
            reader.warn(
                &at,
                &format!("is not a key that Tollgate knows{}", meant.unwrap_or_default()),
            );
        }
    }
}

/// Whether a client that reads this key offers less than all tools.
fn hides_tools(key: &str, at: &At<'_>) -> bool {
    let is_all = |item: &Node| matches!(&item.value, Value::Text(text) if text == "*");
    match &at.node.value {
        Value::Null => false,
        Value::List(items) if HIDING.contains(&key) => !items.is_empty(),
        Value::List(items) => !items.iter().any(is_all),
        _ => true,
    }
}
