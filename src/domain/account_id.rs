//! The ids of accounts, which callers and delegations name without knowing the ledger.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::token::TokenId;

/// An account, as `namespace/name`: gateways over different settings keep different namespaces in one store.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// The account of that name in a namespace.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self(format!("{namespace}/{name}").into())
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the namespace: what users and agents see.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }
}

impl From<&str> for AccountId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a token's account within its namespace.
pub fn account_name(token: TokenId) -> String {
    format!("token/{token}")
}

/// The token whose account it is.
pub fn token_of(account: &AccountId) -> Option<TokenId> {
    let (before, token) = account.name().rsplit_once('/')?;
    TokenId::parse(token).filter(|_| before == "token" || before.ends_with("/token"))
}
