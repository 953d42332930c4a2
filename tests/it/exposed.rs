//! Files of the store that others than the user can write.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;

use crate::support::Setup;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn start_and_check_warn_about_writable_files() {
    let setup = Setup::new(json!({}), None).gateway(&json!({"budget": {"limit": 5}}));
    assert_eq!(setup.run(&["budget", "show"]).0, 0);
    let state = setup.path().join(".local/state/tollgate");
    let said = || {
        let (code, out, err) = setup.run(&["check"]);
        assert_eq!(code, 0, "{err}");
        (out, setup.connect().finish().2)
    };
    let (check, start) = said();
    assert!(!check.contains("others can write") && !start.contains("others can write"), "{check}");
    for (path, bad, good) in
        [(state.clone(), 0o770, 0o700), (state.join("ledger.db"), 0o602, 0o600)]
    {
        mode(&path, bad);
        let (check, start) = said();
        let expected = format!("others can write `{}`", path.display());
        assert!(check.contains(&expected), "{check}");
        assert!(start.contains(&expected), "{start}");
        assert!(check.contains("chmod go-w"), "{check}");
        mode(&path, good);
    }
}
