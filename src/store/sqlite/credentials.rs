//! Tokens, stamps and API keys as SQL. They change seldom, and are written at once.

use rusqlite::{Connection, Error, OptionalExtension, Params, Row, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use super::{Failure, desk::Desk, rows};
use crate::{
    domain::{auth::ApiKey, delegation::Delegation, ledger::AccountId, token::TokenId},
    store::credentials::Credentials,
};

type Read<T> = rusqlite::Result<T>;

impl Credentials for Desk<'_> {
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure> {
        const BY_TOKEN: &str = "SELECT * FROM delegation WHERE token = ?1";
        self.ask(|db| one(db, BY_TOKEN, [token.0.to_be_bytes()], delegation_row))
    }

    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure> {
        const BY_HANDLE: &str = "SELECT * FROM delegation WHERE handle = ?1";
        self.ask(|db| one(db, BY_HANDLE, [handle], delegation_row))
    }

    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure> {
        self.ask(|db| all(db, "SELECT * FROM delegation ORDER BY account", delegation_row))
    }

    fn made_with(&mut self, credential: &str) -> Result<Vec<AccountId>, Failure> {
        const MADE: &str = "SELECT account FROM delegation WHERE made_with = ?1 ORDER BY account";
        self.ask(|db| {
            let mut sql = db.prepare_cached(MADE)?;
            sql.query_map([credential], |row| rows::account_id_at(row, 0))?.collect()
        })
    }

    fn add_delegation(&mut self, delegation: &Delegation) -> Result<(), Failure> {
        const ADD: &str = "INSERT INTO delegation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let Delegation { token, account, handle, principal, made_with, caveats, label } =
            delegation;
        self.tell(|db| {
            let (token, caveats) = (token.0.to_be_bytes(), json(caveats)?);
            let row =
                params![token, account.as_str(), handle, principal, made_with, caveats, label];
            db.prepare_cached(ADD)?.execute(row)
        })
        .map(|_| ())
    }

    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure> {
        const DENIED: &str = "SELECT 1 FROM denied WHERE token = ?1";
        self.ask(|db| db.prepare_cached(DENIED)?.exists([token.0.to_be_bytes()]))
    }

    fn deny(&mut self, token: TokenId) -> Result<(), Failure> {
        const DENY: &str = "INSERT INTO denied VALUES (?1)";
        self.tell(|db| db.prepare_cached(DENY)?.execute([token.0.to_be_bytes()])).map(|_| ())
    }

    fn show(&mut self, what: &[u8; 32], until: i64, now: i64) -> Result<bool, Failure> {
        self.tell(|db| {
            db.prepare_cached("DELETE FROM shown WHERE until <= ?1")?.execute([now])?;
            let mut add = db.prepare_cached("INSERT OR IGNORE INTO shown VALUES (?1, ?2)")?;
            Ok(add.execute((what, until))? == 1)
        })
    }

    fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>, Failure> {
        self.ask(|db| one(db, "SELECT about FROM api_key WHERE id = ?1", [id], api_key_row))
    }

    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Failure> {
        const BY_DIGEST: &str = "SELECT about FROM api_key WHERE digest = ?1";
        self.ask(|db| one(db, BY_DIGEST, [digest], api_key_row))
    }

    fn api_keys(&mut self) -> Result<Vec<ApiKey>, Failure> {
        self.ask(|db| all(db, "SELECT about FROM api_key ORDER BY id", api_key_row))
    }

    fn put_api_key(&mut self, key: &ApiKey) -> Result<(), Failure> {
        const PUT: &str = "INSERT INTO api_key VALUES (?1, ?2, ?3)
            ON CONFLICT (id) DO UPDATE SET about = excluded.about";
        self.tell(|db| db.prepare_cached(PUT)?.execute((&key.id, key.digest, json(key)?)))
            .map(|_| ())
    }
}

fn one<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: fn(&Row<'_>) -> Read<T>,
) -> Read<Option<T>> {
    db.prepare_cached(sql)?.query_row(params, read).optional()
}

fn all<T>(db: &Connection, sql: &str, read: fn(&Row<'_>) -> Read<T>) -> Read<Vec<T>> {
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

/// In the order of the columns.
fn delegation_row(row: &Row<'_>) -> Read<Delegation> {
    Ok(Delegation {
        token: TokenId(u128::from_be_bytes(row.get(0)?)),
        account: rows::account_id_at(row, 1)?,
        handle: row.get(2)?,
        principal: row.get(3)?,
        made_with: row.get(4)?,
        caveats: from_json(row, 5)?,
        label: row.get(6)?,
    })
}

fn api_key_row(row: &Row<'_>) -> Read<ApiKey> {
    from_json(row, 0)
}

fn json(value: &impl Serialize) -> Read<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Read<T> {
    let value = serde_json::from_str(row.get_ref(column)?.as_str()?);
    value.map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
