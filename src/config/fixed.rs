//! What stays as it was when the gateway was started.

use secrecy::ExposeSecret;

use crate::domain::{
    auth::{AuthMode, Tokens},
    settings::Settings,
};

/// Settings read anew, as they may follow those in force: what cannot change while the gateway runs
/// stays as it was, and a warning names it.
pub fn following(before: &Settings, mut after: Settings) -> Settings {
    let mut waiting = Vec::new();
    keep("server.name", &before.presented_as.0, &mut after.presented_as.0, &mut waiting);
    keep("server.version", &before.presented_as.1, &mut after.presented_as.1, &mut waiting);
    keep("logging.json", &before.logging.json, &mut after.logging.json, &mut waiting);
    let (old, new) = (&before.budgeting.store, &mut after.budgeting.store);
    keep("budget.backend", &old.backend, &mut new.backend, &mut waiting);
    keep("store.path", &old.path, &mut new.path, &mut waiting);
    keep("store.durability", &old.durability, &mut new.durability, &mut waiting);
    keep_root_token(&before.auth.mode, &mut after.auth.mode, &mut waiting);
    keep_accounts(before, &mut after, &mut waiting);
    let file = after.sources.gateway.path.as_ref().map(|path| format!("{}: ", path.display()));
    let file = file.unwrap_or_default();
    after.sources.gateway.warnings.extend(waiting.into_iter().map(|what| {
        format!("{file}{what}, which takes a restart of the gateway; what was in force goes on until then")
    }));
    after
}

/// Puts what was there before back in its place.
fn keep<T: Clone + PartialEq>(place: &str, old: &T, new: &mut T, waiting: &mut Vec<String>) {
    if old != new {
        new.clone_from(old);
        waiting.push(changed(place));
    }
}

fn changed(place: &str) -> String {
    format!("`{place}` has changed")
}

/// A root token is made, or taken over, at the start only.
fn keep_root_token(before: &AuthMode, after: &mut AuthMode, waiting: &mut Vec<String>) {
    let AuthMode::Header(after) = after else { return };
    let none = Tokens::default();
    let before = if let AuthMode::Header(before) = before { before } else { &none };
    keep("auth.autoMintRoot", &before.auto_mint_root, &mut after.auto_mint_root, waiting);
    let text =
        |tokens: &Tokens| tokens.root_token.as_ref().map(|token| token.expose_secret().to_owned());
    if text(before) != text(after) {
        after.root_token.clone_from(&before.root_token);
        waiting.push(changed("auth.rootToken"));
    }
}

/// The accounts are those in use, even where rules have come that decide by their place whose they
/// are: rules wait for no restart.
fn keep_accounts(before: &Settings, after: &mut Settings, waiting: &mut Vec<String>) {
    let same_rules = before.sources.rules.path == after.sources.rules.path;
    let (old, new) = (&before.budgeting, &mut after.budgeting);
    let decided = std::mem::replace(&mut new.namespace, old.namespace.clone());
    if decided == new.namespace {
        return;
    }
    // A gateway.yaml brings accounts of its own, and its limit is none for those in use, which others
    // may share.
    let brought = after.sources.gateway.path.is_some();
    if brought {
        new.limit = old.limit;
        waiting.push("brings accounts of its own, and their `budget.limit`".to_owned());
    }
    if brought && same_rules {
        new.agents.clone_from(&old.agents);
    } else {
        new.agents.get_or_insert(decided);
    }
}
