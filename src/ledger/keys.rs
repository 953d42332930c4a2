//! The secret of an installation. Whoever has it can forge records that the store accepts.

use std::{fs, io, io::Write as _, path::Path};

use super::answer::LedgerUnavailable;
use crate::{
    domain::{
        auth::AuthMode,
        keyed::{Key, unhex},
        record::hex,
        token::TokenKeys,
    },
    host::{
        files::{self, create_private, make_private},
        random,
    },
};

/// The key of the installation whose state is kept in a directory: its file `key`, which is made if
/// it is not there. Processes that make it at once use the same. Without a directory, a key that
/// this process alone has.
///
/// # Errors
/// A file that cannot be made or read, holds no key, or can be read by others.
pub fn key(state: Option<&Path>) -> Result<Key, LedgerUnavailable> {
    let Some(state) = state else { return random().map(Key::new) };
    let path = state.join("key");
    match read(&path)? {
        Some(key) => Ok(key),
        None => {
            make(state, &path).map_err(|error| cannot("made", &path, &error))?;
            let gone = || cannot("read", &path, &io::ErrorKind::NotFound.into());
            read(&path)?.ok_or_else(gone)
        }
    }
}

/// The keys of Tollgate tokens: those that the settings give, else the installation's.
///
/// # Errors
/// As for [`key`], if it is needed.
pub fn token_keys(mode: &AuthMode, state: Option<&Path>) -> Result<TokenKeys, LedgerUnavailable> {
    match mode {
        AuthMode::Header(tokens) if !tokens.root_keys.is_empty() => {
            Ok(TokenKeys::of_texts(&tokens.root_keys))
        }
        _ => Ok(TokenKeys::of_keys([&key(state)?])),
    }
}

fn read(path: &Path) -> Result<Option<Key>, LedgerUnavailable> {
    let found = files::read(path).map_err(|error| cannot("read", path, &error))?;
    let Some(text) = found else { return Ok(None) };
    private(path)?;
    match unhex(text.trim()) {
        Some(bytes) => Ok(Some(Key::new(bytes))),
        None => Err(LedgerUnavailable::unchanged(format!(
            "`{}` does not hold a key of 64 hexadecimal digits; restore it, or move it away and a new one is made",
            path.display()
        ))),
    }
}

#[cfg(unix)]
fn private(path: &Path) -> Result<(), LedgerUnavailable> {
    use std::os::unix::fs::PermissionsExt as _;
    let found = fs::metadata(path).map_err(|error| cannot("read", path, &error))?;
    match found.permissions().mode() & 0o077 {
        0 => Ok(()),
        _ => Err(LedgerUnavailable::unchanged(format!(
            "`{path}` can be read by others; run `chmod 600 {path}`",
            path = path.display()
        ))),
    }
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), LedgerUnavailable> {
    Ok(())
}

/// The file appears whole, or is that of another process: a hard link never replaces a file.
fn make(state: &Path, path: &Path) -> io::Result<()> {
    let other = |error: LedgerUnavailable| io::Error::other(error.to_string());
    make_private(state)?;
    let text = hex(&random::<32>().map_err(other)?);
    let beside = state.join(format!("key.{}", hex(&random::<8>().map_err(other)?)));
    let linked = write(&beside, &text).and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // A file system without links.
        Err(_) if !path.exists() => write(path, &text),
        linked => linked.and(removed),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Random bytes for keys and ids.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], LedgerUnavailable> {
    random::bytes().map_err(|error| {
        LedgerUnavailable::unchanged(format!("the system has no random numbers: {error}"))
    })
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> LedgerUnavailable {
    LedgerUnavailable::unchanged(format!("the key `{}` cannot be {what}: {error}", path.display()))
}
