//! A file of an earlier version: its rows are bound, and recorded as they are found, so that the
//! records can be replayed from there on.

use rusqlite::{Connection, params};

use super::{
    rights::{self, Bound},
    rows::{self, SqlResult},
};
use crate::{
    domain::{
        auth::ApiKey,
        delegation::Delegation,
        keyed::Key,
        ledger::replay::Baseline,
        period::timestamp,
        record::{Draft, Event, Head, hex},
        token::{TokenId, denial_of_api_key},
    },
    host::clock::now,
};

/// One record has at most this many rows of a kind.
const AT_A_TIME: usize = 200;

/// The first version whose records say how accounts were opened, and whose rows have digests.
const BOUND: i32 = 3;

/// Binds the rows of a file that was of version `from`, and records them. False if the end of the
/// chain was not written with this key: then nothing may be added to it.
pub(super) fn take_over(db: &Connection, key: &Key, rights: &Key, from: i32) -> SqlResult<bool> {
    if from >= BOUND {
        return Ok(true);
    }
    let (mut head, vouched) = rows::head(db, key)?;
    if !vouched {
        return Ok(false);
    }
    let mut found = bind(db, rights)?;
    let accounts = rows::all(db, rows::ACCOUNTS, [], rows::account_row)?;
    let open = "SELECT * FROM hold WHERE state = 0";
    let holds = rows::all(db, open, [], |row| {
        Ok((rows::hold_id(row)?.to_string(), rows::hold_row(row)?.path))
    })?;
    let (mut accounts, mut holds) = (accounts.into_iter(), holds.into_iter());
    while accounts.len() > AT_A_TIME || holds.len() > AT_A_TIME {
        let some = Baseline {
            accounts: accounts.by_ref().take(AT_A_TIME).collect(),
            holds: holds.by_ref().take(AT_A_TIME).collect(),
            ..Baseline::default()
        };
        append(db, &mut head, some)?;
    }
    (found.accounts, found.holds) = (accounts.collect(), holds.collect());
    found.transfers = Some(rows::transfers(db)?);
    append(db, &mut head, found)?;
    rows::put_head(db, key, &head)?;
    Ok(true)
}

/// Binds every row that gives or takes a right.
fn bind(db: &Connection, key: &Key) -> SqlResult<Baseline> {
    // Rows stay as they are, except for their digests.
    db.execute_batch("DROP TRIGGER delegation_stays")?;
    let mut found = Baseline::default();
    for (delegation, _) in rows::all(db, Delegation::ALL, [], Delegation::read)? {
        let mac = delegation.mac(key);
        let token = delegation.token.0.to_be_bytes();
        db.execute("UPDATE delegation SET mac = ?2 WHERE token = ?1", params![token, mac])?;
        found.delegations.push((delegation.token.to_string(), hex(&mac)));
    }
    db.execute_batch(
        "CREATE TRIGGER delegation_stays BEFORE UPDATE ON delegation
            BEGIN SELECT RAISE(ABORT, 'delegations are not changed'); END",
    )?;
    let mut denied: Vec<TokenId> = rows::all(db, "SELECT token FROM denied", [], rights::token_at)?;
    for (api_key, _) in rows::all(db, ApiKey::ALL, [], ApiKey::read)? {
        let mac = api_key.mac(key);
        db.execute("UPDATE api_key SET mac = ?2 WHERE id = ?1", params![api_key.id, mac])?;
        if api_key.revoked {
            denied.push(denial_of_api_key(&api_key.id));
        }
        found.api_keys.push((api_key.id, hex(&mac)));
    }
    for token in denied {
        rights::put_denial(db, key, token)?;
        found.denied.push(token.to_string());
    }
    rights::bind_denials(db, key)?;
    Ok(found)
}

fn append(db: &Connection, head: &mut Head, found: Baseline) -> SqlResult<()> {
    let unwritten = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    let baseline = Some(serde_json::to_value(found).map_err(unwritten)?);
    let note = Some("as found by a later version of tollgate".to_owned());
    let draft = Draft { event: Event::Baseline, baseline, note, ..Draft::default() };
    rows::put_record(db, &head.seal(draft, timestamp(now())).map_err(unwritten)?)
}
