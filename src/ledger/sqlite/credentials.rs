//! Tokens, stamps and API keys as SQL. They change seldom, and are written at once. A row that gives
//! or takes a right is bound with a digest under the installation's key, which is checked whenever the
//! row is used: one that was changed by another hand gives no right.

use rusqlite::{Connection, Error, OptionalExtension, Params, Row, params, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use super::{Failure, rows, transaction::Transaction};
use crate::{
    domain::{
        auth::ApiKey,
        delegation::Delegation,
        keyed::Key,
        ledger::{
            AccountId,
            replay::{Right, RightRow},
        },
        token::TokenId,
    },
    ledger::credentials::{Credentials, RowDigest},
};

type Read<T> = rusqlite::Result<T>;

/// No digest: the row of `shown` that says what may have been forgotten.
const FORGOTTEN: [u8; 32] = *b"shown before then, and forgotten";

impl Credentials for Transaction<'_> {
    fn delegation(&mut self, token: TokenId) -> Result<Option<Delegation>, Failure> {
        const BY_TOKEN: &str = "SELECT * FROM delegation WHERE token = ?1";
        self.delegation_if(BY_TOKEN, [token.0.to_be_bytes()])
    }

    fn delegation_by_handle(&mut self, handle: &[u8; 32]) -> Result<Option<Delegation>, Failure> {
        self.delegation_if("SELECT * FROM delegation WHERE handle = ?1", [handle])
    }

    fn delegations(&mut self) -> Result<Vec<Delegation>, Failure> {
        let all =
            self.ask(|db| all(db, "SELECT * FROM delegation ORDER BY account", delegation_row));
        Ok(all?.into_iter().filter_map(|found| self.sound_delegation(found).ok()).collect())
    }

    fn made_with(&mut self, credential: &str) -> Result<Vec<AccountId>, Failure> {
        const MADE: &str = "SELECT account FROM delegation WHERE made_with = ?1 ORDER BY account";
        self.ask(|db| {
            let mut sql = db.prepare_cached(MADE)?;
            sql.query_map([credential], |row| rows::account_id_at(row, 0))?.collect()
        })
    }

    fn open_below(&mut self, id: &AccountId, most: usize) -> Result<Vec<AccountId>, Failure> {
        const OPEN_BELOW: &str = "SELECT id FROM account
            WHERE parent = ?1 AND open AND source IS NOT NULL ORDER BY id DESC LIMIT ?2";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.ask(|db| {
            let mut sql = db.prepare_cached(OPEN_BELOW)?;
            sql.query_map((id.as_str(), most), |row| rows::account_id_at(row, 0))?.collect()
        })
    }

    fn add_delegation(&mut self, delegation: &Delegation) -> Result<RowDigest, Failure> {
        const ADD: &str = "INSERT INTO delegation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let Delegation { token, account, handle, principal, made_with, caveats, label } =
            delegation;
        let mac = self.rights_key().mac(&delegation_text(delegation));
        self.tell(|db| {
            let (token, caveats) = (token.0.to_be_bytes(), json(caveats)?);
            let row =
                params![token, account.as_str(), handle, principal, made_with, caveats, label, mac];
            db.prepare_cached(ADD)?.execute(row)
        })
        .map(|_| Some(mac))
    }

    fn is_denied(&mut self, token: TokenId) -> Result<bool, Failure> {
        const DENIED: &str = "SELECT 1 FROM denied WHERE token = ?1";
        let denied = self.ask(|db| db.prepare_cached(DENIED)?.exists([token.0.to_be_bytes()]))?;
        // A denial that was deleted shows in the digest of all.
        if !denied && !self.ask(|db| denials_are_whole(db, self.rights_key()))? {
            return Err(self.altered("a row of `denied`"));
        }
        Ok(denied)
    }

    fn deny(&mut self, token: TokenId) -> Result<(), Failure> {
        if !self.ask(|db| denials_are_whole(db, self.rights_key()))? {
            return Err(self.altered("a row of `denied`"));
        }
        let key = self.rights_key().clone();
        self.tell(|db| {
            put_denial(db, &key, token)?;
            bind_denials(db, &key)
        })
    }

    fn show(&mut self, what: &[u8; 32], until: i64) -> Result<bool, Failure> {
        self.tell(|db| {
            let mut add = db.prepare_cached("INSERT OR IGNORE INTO shown VALUES (?1, ?2)")?;
            Ok(add.execute((what, until))? == 1)
        })
    }

    fn forget_shown(&mut self, now: i64) -> Result<Option<i64>, Failure> {
        const LAST: &str = "SELECT max(until) FROM shown WHERE until <= ?1 AND what <> ?2";
        const FORGET: &str = "DELETE FROM shown WHERE until <= ?1 AND what <> ?2";
        let past = (now, FORGOTTEN);
        let last: Option<i64> =
            self.ask(|db| db.prepare_cached(LAST)?.query_row(past, |row| row.get(0)))?;
        if last.is_some() {
            self.tell(|db| db.prepare_cached(FORGET)?.execute(past))?;
        }
        Ok(last)
    }

    fn forgotten(&mut self) -> Result<Option<i64>, Failure> {
        self.ask(|db| {
            one(db, "SELECT until FROM shown WHERE what = ?1", [FORGOTTEN], |row| row.get(0))
        })
    }

    fn put_forgotten(&mut self, moment: i64) -> Result<(), Failure> {
        const PUT: &str = "INSERT OR REPLACE INTO shown VALUES (?1, ?2)";
        self.tell(|db| db.prepare_cached(PUT)?.execute((FORGOTTEN, moment))).map(|_| ())
    }

    fn api_key(&mut self, id: &str) -> Result<Option<ApiKey>, Failure> {
        self.api_key_if("SELECT * FROM api_key WHERE id = ?1", [id])
    }

    fn api_key_by_digest(&mut self, digest: &[u8; 32]) -> Result<Option<ApiKey>, Failure> {
        let found = self.api_key_if("SELECT * FROM api_key WHERE digest = ?1", [digest])?;
        // The row may be found by the digest of another key.
        match found {
            Some(key) if key.digest != *digest => Err(self.altered("the row of an API key")),
            found => Ok(found),
        }
    }

    fn api_keys(&mut self) -> Result<Vec<ApiKey>, Failure> {
        let all = self.ask(|db| all(db, "SELECT * FROM api_key ORDER BY id", api_key_row))?;
        Ok(all.into_iter().filter_map(|found| self.sound_api_key(found).ok()).collect())
    }

    fn put_api_key(&mut self, key: &ApiKey) -> Result<RowDigest, Failure> {
        const PUT: &str = "INSERT INTO api_key VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (id) DO UPDATE SET about = excluded.about, mac = excluded.mac";
        let mac = self.rights_key().mac(&api_key_text(key));
        self.tell(|db| db.prepare_cached(PUT)?.execute((&key.id, key.digest, json(key)?, mac)))
            .map(|_| Some(mac))
    }
}

impl Transaction<'_> {
    fn delegation_if(&self, sql: &str, params: impl Params) -> Result<Option<Delegation>, Failure> {
        let found = self.ask(|db| one(db, sql, params, delegation_row))?;
        found.map(|found| self.sound_delegation(found)).transpose()
    }

    fn sound_delegation(
        &self,
        (delegation, mac): (Delegation, RowDigest),
    ) -> Result<Delegation, Failure> {
        match is_sound(self.rights_key(), &delegation_text(&delegation), mac) {
            true => Ok(delegation),
            false => {
                let altered = self.altered(&format!("delegation {}", delegation.token));
                tracing::error!("{altered}");
                Err(altered)
            }
        }
    }

    fn api_key_if(&self, sql: &str, params: impl Params) -> Result<Option<ApiKey>, Failure> {
        let found = self.ask(|db| one(db, sql, params, api_key_row))?;
        found.map(|found| self.sound_api_key(found)).transpose()
    }

    fn sound_api_key(&self, (key, mac): (ApiKey, RowDigest)) -> Result<ApiKey, Failure> {
        match is_sound(self.rights_key(), &api_key_text(&key), mac) {
            true => Ok(key),
            false => {
                let altered = self.altered(&format!("API key {}", key.id));
                tracing::error!("{altered}");
                Err(altered)
            }
        }
    }
}

fn is_sound(key: &Key, text: &[u8], mac: RowDigest) -> bool {
    mac.is_some_and(|mac| key.verifies(text, &mac))
}

/// What the digest of a row is over: everything in it.
pub(super) fn delegation_text(delegation: &Delegation) -> Vec<u8> {
    let Delegation { token, account, handle, principal, made_with, caveats, label } = delegation;
    text(&("delegation", token.0, account, handle, principal, made_with, caveats, label))
}

pub(super) fn api_key_text(key: &ApiKey) -> Vec<u8> {
    text(&("API key", key))
}

fn denial_text(token: TokenId) -> Vec<u8> {
    text(&("denied", token.0))
}

/// Two rows that differ have different texts.
fn text(row: &impl Serialize) -> Vec<u8> {
    // These values have a JSON form; the digest of none is that of no row.
    serde_json::to_vec(row).unwrap_or_default()
}

pub(super) fn put_denial(db: &Connection, key: &Key, token: TokenId) -> Read<()> {
    const DENY: &str = "INSERT OR REPLACE INTO denied VALUES (?1, ?2)";
    let mac = key.mac(&denial_text(token));
    db.prepare_cached(DENY)?.execute((token.0.to_be_bytes(), mac)).map(|_| ())
}

/// Binds all denials together.
pub(super) fn bind_denials(db: &Connection, key: &Key) -> Read<()> {
    let mac = key.mac(&denials_text(db)?);
    db.prepare_cached("INSERT OR REPLACE INTO denials VALUES (1, ?1)")?.execute([mac]).map(|_| ())
}

pub(super) fn denials_are_whole(db: &Connection, key: &Key) -> Read<bool> {
    let mut sql = db.prepare_cached("SELECT mac FROM denials WHERE one = 1")?;
    let mac: Option<[u8; 32]> = sql.query_row([], |row| row.get(0)).optional()?;
    Ok(is_sound(key, &denials_text(db)?, mac))
}

fn denials_text(db: &Connection) -> Read<Vec<u8>> {
    let mut text = b"denials".to_vec();
    let mut sql = db.prepare_cached("SELECT token FROM denied ORDER BY token")?;
    let mut rows = sql.query([])?;
    while let Some(row) = rows.next()? {
        text.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    Ok(text)
}

/// All rows that give or take rights, for comparison with the records: those too that no step uses.
pub(super) fn rights(db: &Connection, key: &Key) -> Read<Vec<RightRow>> {
    let mut rights = all(db, "SELECT * FROM delegation", |row| {
        let found = delegation_row(row).ok();
        let mac = row.get(7).ok().flatten();
        Ok(RightRow {
            right: Right::Delegation,
            id: token_at(row)?.to_string(),
            is_sound: found
                .as_ref()
                .is_some_and(|(it, mac)| is_sound(key, &delegation_text(it), *mac)),
            account: found.map(|(delegation, _)| delegation.account),
            digest: mac,
        })
    })?;
    rights.extend(all(db, "SELECT * FROM api_key", |row| {
        let found = api_key_row(row).ok();
        Ok(RightRow {
            right: Right::ApiKey,
            id: row.get(0)?,
            // Beside what is bound, there are the columns by which a key is found.
            is_sound: found.is_some_and(|(it, mac)| {
                let columns = (row.get(0).ok(), row.get(1).ok());
                is_sound(key, &api_key_text(&it), mac) && columns == (Some(it.id), Some(it.digest))
            }),
            account: None,
            digest: row.get(3).ok().flatten(),
        })
    })?);
    rights.extend(all(db, "SELECT * FROM denied", |row| {
        let token = token_at(row)?;
        let mac = row.get(1).ok().flatten();
        Ok(RightRow {
            right: Right::Denied,
            id: token.to_string(),
            account: None,
            digest: None,
            is_sound: is_sound(key, &denial_text(token), mac),
        })
    })?);
    if !denials_are_whole(db, key)? {
        let id = "any, by their common digest".to_owned();
        rights.push(RightRow {
            right: Right::Denied,
            id,
            account: None,
            digest: None,
            is_sound: false,
        });
    }
    Ok(rights)
}

fn token_at(row: &Row<'_>) -> Read<TokenId> {
    row.get(0).map(|token| TokenId(u128::from_be_bytes(token)))
}

fn one<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Read<T>,
) -> Read<Option<T>> {
    db.prepare_cached(sql)?.query_row(params, read).optional()
}

fn all<T>(db: &Connection, sql: &str, read: impl FnMut(&Row<'_>) -> Read<T>) -> Read<Vec<T>> {
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

/// In the order of the columns, with the digest that it is kept with.
pub(super) fn delegation_row(row: &Row<'_>) -> Read<(Delegation, RowDigest)> {
    let delegation = Delegation {
        token: token_at(row)?,
        account: rows::account_id_at(row, 1)?,
        handle: row.get(2)?,
        principal: row.get(3)?,
        made_with: row.get(4)?,
        caveats: from_json(row, 5)?,
        label: row.get(6)?,
    };
    Ok((delegation, row.get(7)?))
}

pub(super) fn api_key_row(row: &Row<'_>) -> Read<(ApiKey, RowDigest)> {
    Ok((from_json(row, 2)?, row.get(3)?))
}

fn json(value: &impl Serialize) -> Read<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Read<T> {
    let value = serde_json::from_str(row.get_ref(column)?.as_str()?);
    value.map_err(|error| Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
