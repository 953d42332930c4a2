//! Keys for what the gateway signs and digests, derived from the installation's.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::{
    domain::{
        auth::AuthMode,
        keyed::Key,
        token::{TokenId, TokenKeys},
    },
    ledger::{self, LedgerUnavailable},
};

/// The keys, read when one is first needed.
#[derive(Debug)]
pub(super) struct KeyRing {
    /// Where the installation's key is.
    state: Option<PathBuf>,
    read: OnceLock<Keys>,
}

/// One key for each purpose.
#[derive(Debug)]
pub(super) struct Keys {
    /// For digests of arguments.
    pub(super) arguments: Key,
    /// For digests of handles, and of whom they are bound to.
    pub(super) handles: Key,
    /// The installation's own, from which the key for signatures of a client's hook is derived.
    pub(super) stamps: Key,
}

impl Keys {
    /// The token id and the handle of a delegation. The maker and its name for the delegation
    /// determine the token id; the parameters also determine the handle. Both need the key.
    pub(super) fn of_delegation(&self, maker: &str, parameters: &[u8]) -> (TokenId, [u8; 16]) {
        let half = |digest: [u8; 32]| {
            let mut half = [0; 16];
            half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
            half
        };
        let token = half(self.handles.derive("named delegations").mac(maker.as_bytes()));
        let about = [token.as_slice(), parameters].concat();
        let handle = half(self.handles.derive("named handles").mac(&about));
        (TokenId(u128::from_be_bytes(token)), handle)
    }
}

impl KeyRing {
    pub(super) fn new(state: Option<&Path>) -> Self {
        Self { state: state.map(Path::to_owned), read: OnceLock::new() }
    }

    /// What signs and verifies tokens under these settings; not remembered.
    pub(super) fn token_keys(&self, mode: &AuthMode) -> Result<TokenKeys, LedgerUnavailable> {
        ledger::keys::token_keys(mode, self.state.as_deref())
    }

    pub(super) fn keys(&self) -> Result<&Keys, LedgerUnavailable> {
        if let Some(keys) = self.read.get() {
            return Ok(keys);
        }
        let key = ledger::keys::key(self.state.as_deref())?;
        Ok(self.read.get_or_init(|| Keys {
            arguments: key.derive("arguments"),
            handles: key.derive("handles"),
            stamps: key.clone(),
        }))
    }
}
