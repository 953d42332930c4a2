//! What a transaction can read and write, whatever keeps the rows.

use crate::domain::{
    auth::ApiKey,
    delegation::Delegation,
    ledger::{Account, AccountId, Failure, HoldEntry, HoldId, Tables, replay::RightRow},
    record::{Draft, Head, Sealed},
    token::TokenId,
};

type Fallible<T> = Result<T, Failure>;

/// The keyed digest stored with a row, if the store has a key.
pub type RowDigest = Option<[u8; 32]>;

/// Rows and records within one transaction: what a backend implements. Every method fails where the
/// store cannot be read or written.
pub trait LedgerTx: Credentials {
    /// The rows that the steps of `domain::ledger` work on.
    fn tables(&mut self) -> &mut dyn Tables;

    /// Adds a record to the chain.
    fn append(&mut self, draft: Draft) -> Fallible<()>;

    /// The records after a place, in order, up to a limit.
    fn records(&mut self, after: u64, most: usize) -> Fallible<Vec<Sealed>>;

    /// The end of the chain.
    fn head(&mut self) -> Fallible<Head>;

    /// The chain before the first record that is kept.
    fn origin(&mut self) -> Fallible<Head>;

    /// Whether the end of the chain is one that this store wrote.
    fn vouched(&mut self) -> Fallible<bool>;

    /// All accounts, in order of their ids.
    fn accounts(&mut self) -> Fallible<Vec<(AccountId, Account)>>;

    /// The holds whose ids lie between two, both included, in order, up to a limit.
    fn holds(
        &mut self,
        from: HoldId,
        to: HoldId,
        most: usize,
    ) -> Fallible<Vec<(HoldId, HoldEntry)>>;

    /// How many transfers were made.
    fn transfers(&mut self) -> Fallible<u64>;

    /// All rows that give or take rights, altered ones too.
    fn rights(&mut self) -> Fallible<Vec<RightRow>>;
}

/// What there is of tokens, nonces and API keys within one transaction.
pub trait Credentials {
    /// The delegation of a token.
    fn delegation(&mut self, token: TokenId) -> Fallible<Option<Delegation>>;

    /// The delegation whose handle has this keyed digest.
    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Fallible<Option<Delegation>>;

    /// All delegations, in order of their accounts' ids.
    fn delegations(&mut self) -> Fallible<Vec<Delegation>>;

    /// The accounts of the delegations made with a credential that has no account.
    fn made_with(&mut self, credential: &str) -> Fallible<Vec<AccountId>>;

    /// Open accounts directly below one that were given credits, the last ids first, up to a limit.
    fn open_below(&mut self, id: &AccountId, most: usize) -> Fallible<Vec<AccountId>>;

    /// Adds a delegation whose token, account and handle no other has.
    fn add_delegation(&mut self, delegation: &Delegation) -> Fallible<RowDigest>;

    /// Whether a token was denied.
    fn is_denied(&mut self, token: TokenId) -> Fallible<bool>;

    /// Denies a token that was not.
    fn deny(&mut self, token: TokenId) -> Fallible<()>;

    /// The API key of that id.
    fn api_key(&mut self, id: &str) -> Fallible<Option<ApiKey>>;

    /// The API key with this digest.
    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Fallible<Option<ApiKey>>;

    /// All API keys, in order of their ids.
    fn api_keys(&mut self) -> Fallible<Vec<ApiKey>>;

    /// Writes an API key, in place of the one of that id.
    fn put_api_key(&mut self, key: &ApiKey) -> Fallible<RowDigest>;

    /// Adds a nonce, to be remembered until a moment. Returns false if it is known.
    fn add_nonce(&mut self, nonce: &[u8; 32], until: i64) -> Fallible<bool>;

    /// Forgets the nonces that need not be remembered at a moment. Returns the latest moment until
    /// which one of them had to be.
    fn forget_nonces(&mut self, now: i64) -> Fallible<Option<i64>>;

    /// The latest moment of all nonces that were forgotten: one that ends before may have been used.
    fn nonces_forgotten(&mut self) -> Fallible<Option<i64>>;

    /// Writes that moment.
    fn put_nonces_forgotten(&mut self, until: i64) -> Fallible<()>;
}
