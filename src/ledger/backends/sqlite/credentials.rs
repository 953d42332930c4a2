//! Tokens, nonces and API keys as SQL. They change seldom, and are written at once.

use rusqlite::Params;

use super::{
    rights::{self, Bound},
    rows::{self, all, one},
    transaction::Transaction,
};
use crate::{
    domain::{
        auth::ApiKey,
        delegation::Delegation,
        ledger::{AccountId, Failure},
        token::TokenId,
    },
    ledger::engine::{Credentials, RowDigest},
};

/// Not a nonce: the key of the row of `shown` that holds the latest forgotten moment.
const FORGOTTEN: [u8; 32] = *b"shown before then, and forgotten";

impl Credentials for Transaction<'_> {
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure> {
        const BY_TOKEN: &str = "SELECT * FROM delegation WHERE token = ?1";
        self.bound(BY_TOKEN, [token.0.to_be_bytes()])
    }

    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure> {
        self.bound("SELECT * FROM delegation WHERE handle = ?1", [handle])
    }

    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure> {
        self.all_bound()
    }

    fn made_with(&mut self, credential: &str) -> Result<Vec<AccountId>, Failure> {
        const MADE: &str = "SELECT account FROM delegation WHERE made_with = ?1 ORDER BY account";
        self.ask(|db| all(db, MADE, [credential], rows::account_id))
    }

    fn open_below(&mut self, id: &AccountId, most: usize) -> Result<Vec<AccountId>, Failure> {
        const OPEN_BELOW: &str = "SELECT id FROM account
            WHERE parent = ?1 AND open AND source IS NOT NULL ORDER BY id DESC LIMIT ?2";
        let params = (id.as_str(), rows::at_most(most));
        self.ask(|db| all(db, OPEN_BELOW, params, rows::account_id))
    }

    fn add_delegation(&mut self, delegation: &Delegation) -> Result<RowDigest, Failure> {
        self.tell(|db, key| rights::put_delegation(db, key, delegation).map(Some))
    }

    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure> {
        const DENIED: &str = "SELECT 1 FROM denied WHERE token = ?1";
        let denied = self.ask(|db| db.prepare_cached(DENIED)?.exists([token.0.to_be_bytes()]))?;
        if !denied {
            self.check_denials()?;
        }
        Ok(denied)
    }

    fn deny(&mut self, token: TokenId) -> Result<(), Failure> {
        self.check_denials()?;
        self.tell(|db, key| {
            rights::put_denial(db, key, token)?;
            rights::bind_denials(db, key)
        })
    }

    fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>, Failure> {
        self.bound("SELECT * FROM api_key WHERE id = ?1", [id])
    }

    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Failure> {
        let found: Option<ApiKey> =
            self.bound("SELECT * FROM api_key WHERE digest = ?1", [digest])?;
        // The row may be found by the digest of another key.
        match found {
            Some(key) if !key.is_of(&(*digest).into()) => {
                Err(self.altered("the row of an API key"))
            }
            found => Ok(found),
        }
    }

    fn api_keys(&mut self) -> Result<Vec<ApiKey>, Failure> {
        self.all_bound()
    }

    fn put_api_key(&mut self, api_key: &ApiKey) -> Result<RowDigest, Failure> {
        self.tell(|db, key| rights::put_api_key(db, key, api_key).map(Some))
    }

    fn add_nonce(&mut self, nonce: &[u8; 32], until: i64) -> Result<bool, Failure> {
        const ADD: &str = "INSERT OR IGNORE INTO shown VALUES (?1, ?2)";
        self.tell(|db, _| Ok(db.prepare_cached(ADD)?.execute((nonce, until))? == 1))
    }

    fn forget_nonces(&mut self, now: i64) -> Result<Option<i64>, Failure> {
        const LAST: &str = "SELECT max(until) FROM shown WHERE until <= ?1 AND what <> ?2";
        const FORGET: &str = "DELETE FROM shown WHERE until <= ?1 AND what <> ?2";
        let past = (now, FORGOTTEN);
        let last = self.ask(|db| one(db, LAST, past, |row| row.get(0)))?.flatten();
        if last.is_some() {
            self.tell(|db, _| db.prepare_cached(FORGET)?.execute(past))?;
        }
        Ok(last)
    }

    fn nonces_forgotten(&mut self) -> Result<Option<i64>, Failure> {
        const UNTIL: &str = "SELECT until FROM shown WHERE what = ?1";
        self.ask(|db| one(db, UNTIL, [FORGOTTEN], |row| row.get(0)))
    }

    fn put_nonces_forgotten(&mut self, until: i64) -> Result<(), Failure> {
        const PUT: &str = "INSERT OR REPLACE INTO shown VALUES (?1, ?2)";
        self.tell(|db, _| db.prepare_cached(PUT)?.execute((FORGOTTEN, until))).map(|_| ())
    }
}

impl Transaction<'_> {
    /// A row that gives a right, unless it was altered.
    fn bound<T: Bound>(&self, sql: &str, params: impl Params) -> Result<Option<T>, Failure> {
        let found = self.ask(|db| one(db, sql, params, T::read))?;
        found.map(|found| self.sound(found)).transpose()
    }

    /// All rows of a kind that were not altered.
    fn all_bound<T: Bound>(&self) -> Result<Vec<T>, Failure> {
        let found = self.ask(|db| all(db, T::ALL, [], T::read))?;
        Ok(found.into_iter().filter_map(|found| self.sound(found).ok()).collect())
    }

    fn sound<T: Bound>(&self, (row, mac): (T, RowDigest)) -> Result<T, Failure> {
        if row.is_sound(self.rights_key(), mac) {
            return Ok(row);
        }
        let altered = self.altered(&row.name());
        tracing::error!("{altered}");
        Err(altered)
    }

    /// A denial that was deleted shows in the digest of all.
    fn check_denials(&self) -> Result<(), Failure> {
        match self.ask(|db| rights::denials_are_whole(db, self.rights_key()))? {
            true => Ok(()),
            false => Err(self.altered("a row of `denied`")),
        }
    }
}
