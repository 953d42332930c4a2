//! How callers prove who they are, as the settings say it.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::call::AgentId;

/// How callers prove who they are (`auth`).
#[derive(Clone, Debug, Default)]
pub struct Auth {
    /// What a call must show.
    pub mode: AuthMode,
    /// What this process was given to show for its calls that show nothing (`TOLLGATE_TOKEN`).
    pub presented: Option<SecretString>,
}

/// What a call must show (`auth.mode`).
#[derive(Clone, Debug, Default)]
pub enum AuthMode {
    /// Nothing.
    #[default]
    None,
    /// One token, which the settings hold (`auth.token`).
    Config(SecretString),
    /// A Tollgate token.
    Header(Tokens),
    /// An API key: one of these, or one of the store's.
    ApiKey(Vec<ApiKey>),
}

/// An API key as kept: never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Names it, and begins it; no secret.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// The SHA-256 of the whole key, which is random: nobody can guess it.
    pub digest: [u8; 32],
    /// The agents that it may act as; the first acts for calls that name none, if it is the only one.
    pub agents: Vec<AgentId>,
    /// Its roles, for role policies.
    pub roles: Vec<String>,
    /// When it was made, in milliseconds since 1970.
    pub created: i64,
    /// When it ends, in milliseconds since 1970.
    pub expires: Option<i64>,
    /// Whether it was taken back, or is not enabled.
    pub revoked: bool,
}

/// Keys of Tollgate tokens, and what is done about root tokens (`auth.mode: header`).
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// `auth.rootKey`: the first signs, all verify. If empty, the installation's key does both.
    pub root_keys: Vec<SecretString>,
    /// Whether a root token is made at the start.
    pub auto_mint_root: bool,
    /// A root token that was made before.
    pub root_token: Option<SecretString>,
}
