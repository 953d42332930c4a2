//! Rows as SQL.

use rusqlite::{
    Connection, Error, OptionalExtension, Params, Row, params,
    types::{Type, ValueRef},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{
    credits::Credits,
    keyed::Key,
    ledger::{
        About, Account, AccountId, AccountKind, Ceiling, Drawn, Funds, HoldEntry, HoldId,
        HoldState, TransferId,
    },
    period::Period,
    record::{Hash, Head, Sealed},
};

/// The accounts below one.
pub(super) const CHILDREN: &str = "SELECT id FROM account WHERE parent = ?1 ORDER BY id";
/// Accounts that have expired.
pub(super) const EXPIRED: &str = "SELECT id FROM account WHERE open AND expires IS NOT NULL AND expires <= ?1 ORDER BY id LIMIT ?2";
/// All accounts.
pub(super) const ACCOUNTS: &str = "SELECT * FROM account ORDER BY id";
/// Overdue holds.
pub(super) const OVERDUE: &str =
    "SELECT id FROM hold WHERE state = 0 AND deadline <= ?1 ORDER BY deadline, id LIMIT ?2";
/// Open holds with a deadline too far ahead.
pub(super) const DUE_AFTER: &str = "SELECT id FROM hold WHERE state = 0 AND deadline > ?1 ORDER BY deadline DESC, id DESC LIMIT ?2";
/// What holds took of an account in a window (?2), and whether any came in a later one.
const USED: &str = "SELECT
    coalesce(sum(iif(leg.value ->> 'window' = ?2, iif(state = 0, amount, posted - refunded), 0)), 0),
    coalesce(max(leg.value ->> 'window' > ?2), 0)
    FROM hold, json_each(hold.path) AS leg WHERE leg.value ->> 'account' = ?1";
/// The same of what was given to other accounts through it.
const CARVED: &str = "SELECT
    coalesce(sum(iif(leg.value ->> 'window' = ?2, source ->> 'owed', 0)), 0),
    coalesce(max(leg.value ->> 'window' > ?2), 0)
    FROM account, json_each(account.source, '$.path') AS leg
    WHERE source IS NOT NULL AND leg.value ->> 'account' = ?1";
/// Holds between two ids.
pub(super) const HOLDS: &str = "SELECT * FROM hold WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3";
/// Some records.
pub(super) const RECORDS: &str =
    "SELECT seq, line, hash FROM record WHERE seq > ?1 ORDER BY seq LIMIT ?2";

pub(super) type SqlResult<T> = rusqlite::Result<T>;

/// The first row of a query, if there is one.
pub(super) fn one<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> SqlResult<T>,
) -> SqlResult<Option<T>> {
    db.prepare_cached(sql)?.query_row(params, read).optional()
}

/// All rows of a query.
pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> SqlResult<T>,
) -> SqlResult<Vec<T>> {
    db.prepare_cached(sql)?.query_map(params, read)?.collect()
}

/// A limit as SQL has it.
pub(super) fn at_most(most: usize) -> i64 {
    i64::try_from(most).unwrap_or(i64::MAX)
}

pub(super) fn account(db: &Connection, id: &AccountId) -> SqlResult<Option<Account>> {
    const BY_ID: &str = "SELECT * FROM account WHERE id = ?1";
    one(db, BY_ID, [id.as_str()], |row| account_row(row).map(|(_, account)| account))
}

/// Amounts drawn through an account in the window that began at a moment.
pub(super) fn drawn(db: &Connection, id: &AccountId, begins: i64) -> SqlResult<Drawn> {
    let read = |sql: &str| {
        let mut sql = db.prepare_cached(sql)?;
        let both = |row: &Row<'_>| Ok((Credits::of_balance(row.get(0)?), row.get::<_, bool>(1)?));
        sql.query_row((id.as_str(), begins), both)
    };
    let ((used, held), (carved, given)) = (read(USED)?, read(CARVED)?);
    Ok(Drawn { used, carved, later: held || given })
}

pub(super) fn account_id(row: &Row<'_>) -> SqlResult<AccountId> {
    account_id_at(row, 0)
}

pub(super) fn account_id_at(row: &Row<'_>, column: usize) -> SqlResult<AccountId> {
    Ok(AccountId::from(text(row, column)?))
}

/// In the order of the columns.
pub(super) fn account_row(row: &Row<'_>) -> SqlResult<(AccountId, Account)> {
    let kind = match text(row, 6)? {
        "funded" => AccountKind::Funded(Funds {
            issued: credits(row, 7)?,
            declared: credits(row, 8)?,
            net: row.get(9)?,
            available: row.get(10)?,
            unlimited: row.get(11)?,
            source: row.get_ref(18)?.as_str_or_null()?.map(|_| from_json(row, 18)).transpose()?,
        }),
        _ => AccountKind::Ceiling(Ceiling {
            limit: credits(row, 12)?,
            period: period(row, 13)?,
            window: row.get(14)?,
            used: credits(row, 15)?,
            carved: credits(row, 16)?,
            granted: credits(row, 17)?,
        }),
    };
    let parent: Option<String> = row.get(1)?;
    let account = Account {
        parent: parent.map(|parent| AccountId::from(parent.as_str())),
        kind,
        open: row.get(2)?,
        reserved: credits(row, 3)?,
        spent: credits(row, 4)?,
        expires: row.get(5)?,
    };
    Ok((account_id(row)?, account))
}

/// Writes an account. Of one that exists, indexed columns seldom change; then the indexes need not
/// be written.
pub(super) fn put_account(db: &Connection, id: &AccountId, account: &Account) -> SqlResult<()> {
    const CHANGE: &str = "UPDATE account SET reserved = ?4, spent = ?5, issued = ?8, declared = ?9,
        net = ?10, available = ?11, cap = ?13, window = ?15, used = ?16, carved = ?17,
        granted = ?18, source = ?19
        WHERE id = ?1 AND parent IS ?2 AND open = ?3 AND expires IS ?6 AND kind = ?7
        AND unlimited IS ?12 AND period IS ?14";
    const PUT: &str = "INSERT OR REPLACE INTO account VALUES
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let source = account.source().map(json).transpose()?;
    let (funds, ceiling) = match &account.kind {
        AccountKind::Funded(funds) => (Some(funds), None),
        AccountKind::Ceiling(ceiling) => (None, Some(ceiling)),
    };
    let row = params![
        id.as_str(),
        account.parent.as_ref().map(AccountId::as_str),
        account.open,
        account.reserved.signed(),
        account.spent.signed(),
        account.expires,
        if funds.is_some() { "funded" } else { "ceiling" },
        funds.map(|funds| funds.issued.signed()),
        funds.map(|funds| funds.declared.signed()),
        funds.map(|funds| funds.net),
        funds.map(|funds| funds.available),
        funds.map(|funds| funds.unlimited),
        ceiling.map(|ceiling| ceiling.limit.signed()),
        ceiling.and_then(|ceiling| ceiling.period).map(Period::as_str),
        ceiling.map(|ceiling| ceiling.window),
        ceiling.map(|ceiling| ceiling.used.signed()),
        ceiling.map(|ceiling| ceiling.carved.signed()),
        ceiling.map(|ceiling| ceiling.granted.signed()),
        source,
    ];
    if db.prepare_cached(CHANGE)?.execute(row)? == 0 {
        db.prepare_cached(PUT)?.execute(row)?;
    }
    Ok(())
}

pub(super) fn hold(db: &Connection, id: HoldId) -> SqlResult<Option<HoldEntry>> {
    one(db, "SELECT * FROM hold WHERE id = ?1", [id.0.to_be_bytes()], hold_row)
}

pub(super) fn hold_id(row: &Row<'_>) -> SqlResult<HoldId> {
    row.get(0).map(|id| HoldId(u128::from_be_bytes(id)))
}

/// In the order of the columns.
pub(super) fn hold_row(row: &Row<'_>) -> SqlResult<HoldEntry> {
    let state = match row.get(2)? {
        0 => HoldState::Open,
        1 => HoldState::Posted {
            amount: credits(row, 3)?,
            uncertain: row.get(4)?,
            refunded: credits(row, 5)?,
        },
        _ => HoldState::Voided,
    };
    Ok(HoldEntry {
        amount: credits(row, 1)?,
        state,
        forced: row.get(6)?,
        charge_if_lost: row.get(7)?,
        fingerprint: row.get(8)?,
        deadline: row.get(9)?,
        path: from_json(row, 10)?,
        about: About { agent: row.get(11)?, server: row.get(12)?, tool: row.get(13)? },
    })
}

/// Writes a hold. State and deadline are all that can change of one that exists.
pub(super) fn put_hold(db: &Connection, id: HoldId, hold: &HoldEntry) -> SqlResult<()> {
    const PUT: &str = "INSERT INTO hold VALUES
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
        ON CONFLICT (id) DO UPDATE SET state = excluded.state, posted = excluded.posted,
        uncertain = excluded.uncertain, refunded = excluded.refunded, deadline = excluded.deadline";
    let (state, posted, uncertain, refunded) = ended(hold.state);
    db.prepare_cached(PUT)?.execute(params![
        id.0.to_be_bytes(),
        hold.amount.signed(),
        state,
        posted,
        uncertain,
        refunded,
        hold.forced,
        hold.charge_if_lost,
        hold.fingerprint,
        hold.deadline,
        json(&hold.path)?,
        hold.about.agent,
        hold.about.server,
        hold.about.tool,
    ])?;
    Ok(())
}

/// State, posted, uncertain, refunded.
fn ended(state: HoldState) -> (i64, i64, bool, i64) {
    match state {
        HoldState::Open => (0, 0, false, 0),
        HoldState::Posted { amount, uncertain, refunded } => {
            (1, amount.signed(), uncertain, refunded.signed())
        }
        HoldState::Voided => (2, 0, false, 0),
    }
}

pub(super) fn transfer(db: &Connection, id: TransferId) -> SqlResult<Option<[u8; 32]>> {
    const BY_ID: &str = "SELECT fingerprint FROM transfer WHERE id = ?1";
    one(db, BY_ID, [id.0.to_be_bytes()], |row| row.get(0))
}

/// How many there are.
pub(super) fn transfers(db: &Connection) -> SqlResult<u64> {
    db.query_row("SELECT count(*) FROM transfer", [], |row| unsigned(row, 0))
}

pub(super) fn put_transfer(
    db: &Connection,
    id: TransferId,
    fingerprint: &[u8; 32],
) -> SqlResult<()> {
    let mut sql = db.prepare_cached("INSERT INTO transfer VALUES (?1, ?2)")?;
    sql.execute((id.0.to_be_bytes(), fingerprint)).map(|_| ())
}

pub(super) fn put_record(db: &Connection, sealed: &Sealed) -> SqlResult<()> {
    let mut sql = db.prepare_cached("INSERT INTO record VALUES (?1, ?2, ?3)")?;
    sql.execute((signed(sealed.seq), &sealed.line, sealed.hash)).map(|_| ())
}

/// A record as stored, even if altered: text that cannot be read never matches its hash.
pub(super) fn record(row: &Row<'_>) -> SqlResult<Sealed> {
    let line = match row.get_ref(1)? {
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(line) => line.to_owned(),
            // Not the lossy text, which might be what was there before.
            Err(_) => format!("not UTF-8: {}", String::from_utf8_lossy(bytes)),
        },
        other => format!("not a text, but {}", other.data_type()),
    };
    Ok(Sealed { seq: unsigned(row, 0)?, line, hash: hash(row, 2)?.unwrap_or_default() })
}

/// The end of the chain as stored, and whether it was signed with this key.
pub(super) fn head(db: &Connection, key: &Key) -> SqlResult<(Head, bool)> {
    const HEAD: &str = "SELECT chain, seq, hash, mac FROM head WHERE one = 1";
    let found = one(db, HEAD, [], |row| {
        let chain = match row.get_ref(0)? {
            ValueRef::Text(chain) => String::from_utf8_lossy(chain).into_owned(),
            _ => String::new(),
        };
        let hash = hash(row, 2)?;
        let head = Head { chain, seq: unsigned(row, 1)?, hash: hash.unwrap_or_default() };
        let mac = self::hash(row, 3)?;
        let vouched = mac.is_some_and(|mac| key.verifies(&signature_text(&head), &mac));
        Ok((head, vouched && hash.is_some()))
    })?;
    Ok(found.unwrap_or_default())
}

pub(super) fn put_head(db: &Connection, key: &Key, head: &Head) -> SqlResult<()> {
    let mac = key.mac(&signature_text(head));
    let mut sql = db.prepare_cached("INSERT OR REPLACE INTO head VALUES (1, ?1, ?2, ?3, ?4)")?;
    sql.execute((&head.chain, signed(head.seq), head.hash, mac)).map(|_| ())
}

/// Of fixed length up to the chain's name, so that no two heads have the same.
fn signature_text(head: &Head) -> Vec<u8> {
    [&head.seq.to_be_bytes()[..], &head.hash, head.chain.as_bytes()].concat()
}

/// A value as JSON in a column of text.
pub(super) fn json(value: &impl Serialize) -> SqlResult<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(Box::new(error)))
}

pub(super) fn from_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> SqlResult<T> {
    let value = serde_json::from_str(text(row, column)?);
    value.map_err(|error| unreadable(column, Type::Text, error))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> SqlResult<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn hash(row: &Row<'_>, column: usize) -> SqlResult<Option<Hash>> {
    Ok(row.get_ref(column)?.as_blob().ok().and_then(|bytes| bytes.try_into().ok()))
}

fn credits(row: &Row<'_>, column: usize) -> SqlResult<Credits> {
    let number: i64 = row.get(column)?;
    let credits = u64::try_from(number).ok().and_then(Credits::new);
    credits.ok_or(Error::IntegralValueOutOfRange(column, number))
}

fn period(row: &Row<'_>, column: usize) -> SqlResult<Option<Period>> {
    let Some(word) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    let period = Period::WORDS.into_iter().find(|(known, _)| *known == word);
    let unknown = || unreadable(column, Type::Text, format!("`{word}` is no period"));
    period.map(|(_, period)| Some(period)).ok_or_else(unknown)
}

fn unreadable(
    column: usize,
    of: Type,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::FromSqlConversionFailure(column, of, error.into())
}

/// A place in the chain; 0, where no record is, if it is not one.
fn unsigned(row: &Row<'_>, column: usize) -> SqlResult<u64> {
    let number = row.get_ref(column)?.as_i64().unwrap_or_default();
    Ok(u64::try_from(number).unwrap_or_default())
}

fn signed(place: u64) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::schema;

    #[test]
    fn holds_are_found_by_primary_key() {
        let db = Connection::open_in_memory().unwrap();
        schema::STEPS.iter().for_each(|(_, step)| db.execute_batch(step).unwrap());
        let mut plan = db.prepare(&format!("EXPLAIN QUERY PLAN {}", super::HOLDS)).unwrap();
        let said: Vec<String> =
            plan.query_map((1, 2, 3), |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        assert_eq!(said, ["SEARCH hold USING PRIMARY KEY (id>? AND id<?)"]);
    }
}
