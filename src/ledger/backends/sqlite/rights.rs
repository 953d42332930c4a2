//! Rows that give or take rights, as SQL. Each is bound with a digest under the installation's key,
//! which is checked whenever the row is used: one that was changed by another hand gives no right.

use rusqlite::{Connection, Row, params};
use serde::Serialize;

use super::rows::{self, SqlResult, all, from_json, json, one};
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
    ledger::engine::RowDigest,
};

/// A row that is bound.
pub(super) trait Bound: Sized {
    const RIGHT: Right;
    const ALL: &str;

    /// What the digest is over: everything in the row. Rows that differ have different texts.
    fn text(&self) -> Vec<u8>;

    /// Its name for people.
    fn name(&self) -> String;

    /// The id of a row, whatever else is in it.
    fn id(row: &Row<'_>) -> SqlResult<String>;

    /// In the order of the columns, with the stored digest.
    fn read(row: &Row<'_>) -> SqlResult<(Self, RowDigest)>;

    /// The account that it gives.
    fn account(&self) -> Option<AccountId> {
        None
    }

    /// Whether the columns by which a row is found are those of what it holds.
    fn is_found_as(&self, _: &Row<'_>) -> bool {
        true
    }

    fn mac(&self, key: &Key) -> [u8; 32] {
        key.mac(&self.text())
    }

    fn is_sound(&self, key: &Key, mac: RowDigest) -> bool {
        is_sound(key, &self.text(), mac)
    }
}

fn is_sound(key: &Key, text: &[u8], mac: RowDigest) -> bool {
    mac.is_some_and(|mac| key.verifies(text, &mac))
}

/// These values have a JSON form; the digest of none is that of no row.
fn text(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).unwrap_or_default()
}

impl Bound for Delegation {
    const RIGHT: Right = Right::Delegation;
    const ALL: &str = "SELECT * FROM delegation ORDER BY account";

    fn text(&self) -> Vec<u8> {
        let Self { token, account, handle, principal, made_with, caveats, label } = self;
        text(&("delegation", token.0, account, handle, principal, made_with, caveats, label))
    }

    fn name(&self) -> String {
        format!("delegation {}", self.token)
    }

    fn id(row: &Row<'_>) -> SqlResult<String> {
        token_at(row).map(|token| token.to_string())
    }

    fn read(row: &Row<'_>) -> SqlResult<(Self, RowDigest)> {
        let delegation = Self {
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

    fn account(&self) -> Option<AccountId> {
        Some(self.account.clone())
    }
}

impl Bound for ApiKey {
    const RIGHT: Right = Right::ApiKey;
    const ALL: &str = "SELECT * FROM api_key ORDER BY id";

    fn text(&self) -> Vec<u8> {
        text(&("API key", self))
    }

    fn name(&self) -> String {
        format!("API key {}", self.id)
    }

    fn id(row: &Row<'_>) -> SqlResult<String> {
        row.get(0)
    }

    fn read(row: &Row<'_>) -> SqlResult<(Self, RowDigest)> {
        Ok((from_json(row, 2)?, row.get(3)?))
    }

    fn is_found_as(&self, row: &Row<'_>) -> bool {
        row.get(0).is_ok_and(|id: String| id == self.id)
            && row.get(1).is_ok_and(|digest: [u8; 32]| self.is_of(&digest.into()))
    }
}

/// A token that was denied.
struct Denial(TokenId);

impl Bound for Denial {
    const RIGHT: Right = Right::Denied;
    const ALL: &str = "SELECT * FROM denied ORDER BY token";

    fn text(&self) -> Vec<u8> {
        text(&("denied", self.0.0))
    }

    fn name(&self) -> String {
        format!("the denial of token {}", self.0)
    }

    fn id(row: &Row<'_>) -> SqlResult<String> {
        token_at(row).map(|token| token.to_string())
    }

    fn read(row: &Row<'_>) -> SqlResult<(Self, RowDigest)> {
        Ok((Self(token_at(row)?), row.get(1)?))
    }
}

pub(super) fn token_at(row: &Row<'_>) -> SqlResult<TokenId> {
    row.get(0).map(|token| TokenId(u128::from_be_bytes(token)))
}

pub(super) fn put_delegation(db: &Connection, key: &Key, it: &Delegation) -> SqlResult<[u8; 32]> {
    const ADD: &str = "INSERT INTO delegation VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let Delegation { token, account, handle, principal, made_with, caveats, label } = it;
    let (token, caveats, mac) = (token.0.to_be_bytes(), json(caveats)?, it.mac(key));
    let row = params![token, account.as_str(), handle, principal, made_with, caveats, label, mac];
    db.prepare_cached(ADD)?.execute(row).map(|_| mac)
}

pub(super) fn put_api_key(db: &Connection, key: &Key, it: &ApiKey) -> SqlResult<[u8; 32]> {
    const PUT: &str = "INSERT INTO api_key VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (id) DO UPDATE SET about = excluded.about, mac = excluded.mac";
    let mac = it.mac(key);
    db.prepare_cached(PUT)?.execute((&it.id, it.digest.expose(), json(it)?, mac)).map(|_| mac)
}

pub(super) fn put_denial(db: &Connection, key: &Key, token: TokenId) -> SqlResult<()> {
    const DENY: &str = "INSERT OR REPLACE INTO denied VALUES (?1, ?2)";
    let row = (token.0.to_be_bytes(), Denial(token).mac(key));
    db.prepare_cached(DENY)?.execute(row).map(|_| ())
}

/// Binds all denials together.
pub(super) fn bind_denials(db: &Connection, key: &Key) -> SqlResult<()> {
    let mac = key.mac(&denials_text(db)?);
    db.prepare_cached("INSERT OR REPLACE INTO denials VALUES (1, ?1)")?.execute([mac]).map(|_| ())
}

/// Whether no denial was deleted.
pub(super) fn denials_are_whole(db: &Connection, key: &Key) -> SqlResult<bool> {
    let mac = one(db, "SELECT mac FROM denials WHERE one = 1", [], |row| row.get(0));
    Ok(is_sound(key, &denials_text(db)?, mac?))
}

fn denials_text(db: &Connection) -> SqlResult<Vec<u8>> {
    let mut text = b"denials".to_vec();
    let mut sql = db.prepare_cached("SELECT token FROM denied ORDER BY token")?;
    let mut rows = sql.query([])?;
    while let Some(row) = rows.next()? {
        text.extend_from_slice(row.get_ref(0)?.as_blob()?);
    }
    Ok(text)
}

/// All rows that give or take rights, for comparison with the records: those too that no step uses.
pub(super) fn rights(db: &Connection, key: &Key) -> SqlResult<Vec<RightRow>> {
    let mut rights = of_kind::<Delegation>(db, key)?;
    rights.extend(of_kind::<ApiKey>(db, key)?);
    rights.extend(of_kind::<Denial>(db, key)?);
    if !denials_are_whole(db, key)? {
        rights.push(RightRow {
            right: Right::Denied,
            id: "any, by their common digest".to_owned(),
            account: None,
            digest: None,
            is_sound: false,
        });
    }
    Ok(rights)
}

fn of_kind<T: Bound>(db: &Connection, key: &Key) -> SqlResult<Vec<RightRow>> {
    all(db, T::ALL, [], |row| {
        let found = T::read(row).ok();
        let is_sound = |(it, mac): &(T, RowDigest)| it.is_sound(key, *mac) && it.is_found_as(row);
        let mac = row.get(row.as_ref().column_count() - 1).ok().flatten();
        Ok(RightRow {
            right: T::RIGHT,
            id: T::id(row)?,
            is_sound: found.as_ref().is_some_and(is_sound),
            account: found.and_then(|(it, _)| it.account()),
            // Records have no digest of a denial.
            digest: if T::RIGHT == Right::Denied { None } else { mac },
        })
    })
}
