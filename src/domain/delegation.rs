//! Delegations: tokens that have an account of their own.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    account_id::AccountId, caveat::Caveats, credits::Credits, ledger::Account, token::TokenId,
};

/// A delegation as kept: written once, with the credits that it is given. It ends when its account
/// is closed.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegation {
    /// The token.
    pub token: TokenId,
    /// Its account.
    pub account: AccountId,
    /// The keyed digest of the handle by which a subagent may name it, if it has one.
    pub handle: Option<[u8; 32]>,
    /// Behind which principal the handle may be used: a keyed digest.
    pub principal: Option<[u8; 32]>,
    /// Names the credential that it was made with, if that has no account below which this one could
    /// lie: the id of a token, or of an API key. It ends with that as well.
    pub made_with: Option<String>,
    /// What narrows it: all of what narrowed its parent, and its own.
    pub caveats: Caveats,
    /// What it is for, in the words of who made it.
    pub label: Option<String>,
}

/// A token's delegation, and whether it may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its delegation, if it has an account of its own.
    pub delegation: Option<Delegation>,
    /// Whether it may be used now: it was not revoked, and its account, if it has one, and all above
    /// that are open and not expired. A token of which nothing is known may be.
    pub usable: bool,
}

/// A delegation that has not ended, and its account.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenDelegation {
    /// The delegation.
    pub delegation: Delegation,
    /// Its account.
    pub account: Account,
}

/// Asks for a delegation.
#[derive(Clone, Debug, PartialEq)]
pub struct Delegate {
    /// The account whose credits they are.
    pub from: AccountId,
    /// How many.
    pub amount: Credits,
    /// When it ends by itself, in milliseconds since 1970.
    pub expires: Option<i64>,
    /// The delegation to store.
    pub delegation: Delegation,
}

const HANDLE: &str = "sub_";

/// The handle of a delegation: what a subagent writes in `agent_id` to act under it.
pub fn handle(random: [u8; 16]) -> String {
    format!("{HANDLE}{}", URL_SAFE_NO_PAD.encode(random))
}

/// Whether `text` has the form of a handle; whether it is one, the store knows.
pub fn is_handle(text: &str) -> bool {
    text.strip_prefix(HANDLE).is_some_and(|random| {
        random.len() == 22
            && random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}
