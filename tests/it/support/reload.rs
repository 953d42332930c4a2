//! Files changed under a running gateway.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};

use crate::support::{Client, json_in};

/// Writes beside and renames.
pub fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// Makes a link stand for something else, in one step.
pub fn point(link: &Path, target: &str) {
    let beside = link.with_file_name("beside");
    symlink(target, &beside).unwrap();
    fs::rename(&beside, link).unwrap();
}

pub fn status(client: &mut Client) -> Value {
    json_in(&client.call("get_gateway_status", json!({})))
}

/// How one of the files was read: `mcp_config`, `gateway_rules`, `gateway`.
pub fn reading(client: &mut Client, file: &str) -> Value {
    status(client)["reload_status"][file].clone()
}
