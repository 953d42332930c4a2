//! Whose accounts a gateway uses.
//!
//! Two projects with different limits must not share accounts: the limit of one would be the end of
//! what the other may spend. So what a project's own settings say is kept apart, by where they are.
//! The settings in a user's home are the same for all that the user does, and so are the accounts.

use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{
    domain::{record::hex, settings::SettingsFile},
    host::environment::Environment,
};

/// The accounts of a user.
const MAIN: &str = "main";

/// The name of the accounts, by the files in use: `gateway.yaml` decides, else the rules.
pub(super) fn namespace(gateway: Option<&Path>, rules: Option<&Path>, env: &Environment) -> String {
    let deciding = gateway
        .map(|path| (SettingsFile::Gateway, path))
        .or_else(|| rules.map(|path| (SettingsFile::Rules, path)));
    let Some((file, path)) = deciding else { return MAIN.to_owned() };
    let path = normal(&env.path(path));
    let of_user = env.get("HOME").map(|home| Path::new(home).join(".config/tollgate"));
    match of_user {
        Some(dir) if file.names().iter().any(|name| path == normal(&dir.join(name))) => {
            MAIN.to_owned()
        }
        _ => digest(&path),
    }
}

/// Whose the agents' own limits are, where `gateway.yaml` and the rules are in different places: one
/// `gateway.yaml` may serve projects whose rules know agents of the same name.
pub(super) fn of_agents(
    gateway: Option<&Path>,
    rules: Option<&Path>,
    env: &Environment,
) -> Option<String> {
    let dir = |file: &Path| normal(&env.working_dir.join(file)).parent().map(Path::to_owned);
    let (gateway, rules) = (gateway?, rules?);
    (dir(gateway) != dir(rules)).then(|| namespace(None, Some(rules), env))
}

/// The path without `.` and `..`. Links stay: where one leads may change, and the accounts of who
/// comes by it would with it.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// The first 12 hex digits of SHA-256.
fn digest(path: &Path) -> String {
    hex(&Sha256::digest(path.as_os_str().as_encoded_bytes())).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Environment, namespace, of_agents};

    #[test]
    fn each_project_and_each_user_has_separate_accounts() {
        let env = Environment {
            variables: [("HOME".to_owned(), "/home/u".to_owned())].into(),
            working_dir: "/work/p".into(),
            ..Environment::default()
        };
        let of = |gateway: Option<&str>, rules: Option<&str>| {
            namespace(gateway.map(Path::new), rules.map(Path::new), &env)
        };
        let home = "/home/u/.config/tollgate";
        assert_eq!(of(None, None), "main");
        assert_eq!(of(Some(&format!("{home}/gateway.yaml")), Some("/work/p/rules")), "main");
        assert_eq!(of(None, Some(&format!("{home}/x/../.mcp-gateway-rules.json"))), "main");
        // printf %s /work/p/gateway.yaml | sha256sum
        assert_eq!(of(Some("gateway.yaml"), None), "12f586538903");
        assert_eq!(of(Some("/work/./p/../p/gateway.yaml"), None), of(Some("gateway.yaml"), None));
        assert_ne!(of(Some("gateway.yaml"), None), of(None, Some(".mcp-gateway-rules.json")));
        assert_ne!(of(Some(&format!("{home}/other.yaml")), None), "main");
        let agents = |gateway: &str, rules: &str| {
            of_agents(Some(Path::new(gateway)), Some(Path::new(rules)), &env)
        };
        assert_eq!(agents("gateway.yaml", "./rules"), None);
        assert_eq!(agents(&format!("{home}/gateway.yaml"), &format!("{home}/rules")), None);
        let (home, rules) = (format!("{home}/gateway.yaml"), "/work/p/rules");
        assert_eq!(agents(&home, rules), Some(of(None, Some(rules))));
        assert_ne!(agents(&home, rules), agents(&home, "/work/q/rules"));
    }
}
