//! Another hand writes into the file of a store, without the key: each change is reported by `budget
//! prove` or `audit verify`, or gives no right.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use rusqlite::Connection;
use tempfile::TempDir;
use tollgate::{
    domain::{
        budget::{Budgeting, Limit},
        call::AgentId,
        ledger::{AccountId, Declaration, Finish, HoldId, Transfer, TransferId},
        period::Period,
        record::{Draft, Event},
        rules::{AgentRules, Rules},
        token::TokenId,
    },
    ledger::{Ledger, Verdict, sqlite::Sqlite},
};

use crate::support::{
    delegated::{account, asked},
    store::{api_key, clock, credits, done, request, sqlite, wait},
};

const HOUR: i64 = 3_600_000;
const BEGIN: i64 = 498_670 * HOUR;

/// A root, and an agent's limit per hour below it.
fn declaration() -> Declaration {
    let limit = Some(Limit { credits: credits(1_000), period: None });
    let budgeting = Budgeting { limit, namespace: "book".into(), ..Budgeting::default() };
    let of = AgentRules {
        budget: Some(Limit { credits: credits(100), period: Some(Period::Hour) }),
        ..AgentRules::default()
    };
    let agents = [(AgentId::from("a"), of)].into_iter().collect();
    Declaration::of(&budgeting, &Rules { agents, ..Rules::default() })
}

fn pays(ledger: &Sqlite, id: u128, account: &AccountId, finish: Finish) {
    done(ledger.hold(request(id, account, 10), Draft::default())).unwrap();
    done(ledger.finish(HoldId(id), finish, Draft::default())).unwrap();
}

fn open(dir: &Path) -> Sqlite {
    sqlite(dir, clock(&Arc::new(AtomicI64::new(BEGIN + 2 * HOUR))))
}

/// The directory of a store in which everything has happened. Its last record moved nothing.
fn lived() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = Arc::new(AtomicI64::new(BEGIN));
    let ledger = sqlite(dir.path(), clock(&at));
    let (root, agent) = (AccountId::new("book", "root"), AccountId::new("book", "agent/a/hour"));
    let draft = Draft::default;
    done(ledger.declare(declaration(), draft()));
    pays(&ledger, 1, &agent, Finish::Post(credits(7)));
    at.fetch_add(HOUR, Ordering::SeqCst);
    pays(&ledger, 2, &agent, Finish::Uncertain);
    pays(&ledger, 3, &agent, Finish::Void);
    pays(&ledger, 4, &agent, Finish::Post(credits(10)));
    let refund = |id| Transfer::Refund { hold: HoldId(id).to_string(), amount: Some(credits(3)) };
    done(ledger.transfer(TransferId(1), refund(4), draft())).unwrap();
    done(ledger.hold(request(5, &agent, 10), draft())).unwrap();
    let mint =
        |account: &AccountId| Transfer::Mint { account: account.clone(), amount: credits(5) };
    done(ledger.transfer(TransferId(2), mint(&agent), draft())).unwrap();
    done(ledger.transfer(TransferId(3), mint(&root), draft())).unwrap();
    let expires = Some(BEGIN + 50 * HOUR);
    for token in [7, 8] {
        done(ledger.delegate(asked(token, &agent, 20, expires), draft())).unwrap();
    }
    let cap = AccountId::new("book", &format!("{}/cap/0011", account(7).name()));
    let capped =
        Transfer::Cap { from: account(7), to: cap.clone(), limit: credits(15), expires: None };
    done(ledger.transfer(TransferId(4), capped, draft())).unwrap();
    pays(&ledger, 6, &cap, Finish::Post(credits(10)));
    pays(&ledger, 9, &account(8), Finish::Post(credits(10)));
    done(ledger.revoke(TokenId(8), draft())).unwrap().len();
    for token in [30, 31] {
        done(ledger.revoke(TokenId(token), draft())).unwrap();
    }
    for (id, digest) in [("k1", 1), ("k2", 2)] {
        assert!(done(ledger.add_api_key(api_key(id, digest), draft())));
    }
    // How a row was before it was changed.
    let db = hand(dir.path());
    db.execute_batch("CREATE TABLE kept_before AS SELECT * FROM api_key WHERE id = 'k2'").unwrap();
    assert!(done(ledger.revoke_api_key("k2".to_owned(), draft())).is_some());
    done(ledger.record(Draft { event: Event::Call, ..draft() }));
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    drop((db, ledger));
    dir
}

fn hand(dir: &Path) -> Connection {
    Connection::open(dir.join("ledger.db")).unwrap()
}

/// A copy of a store that another hand has written into, past every trigger and check.
fn tampered(whole: &Path, sql: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ledger.db", "key"] {
        fs::copy(whole.join(name), dir.path().join(name)).unwrap();
    }
    let db = hand(dir.path());
    db.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let names: Vec<String> =
        names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    names.iter().for_each(|name| db.execute_batch(&format!("DROP TRIGGER {name}")).unwrap());
    db.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    dir
}

/// What `budget prove` and `audit verify` report.
fn reported(dir: &Path) -> (Vec<String>, Vec<String>) {
    let ledger = open(dir);
    let faults = match wait(ledger.prove()) {
        Ok(proof) => proof.faults,
        Err(unavailable) => vec![unavailable.cause],
    };
    let verdict = match wait(ledger.verify()) {
        Ok(Verdict { broken, incomplete, .. }) => {
            broken.map(|(_, why)| why).into_iter().chain(incomplete).collect()
        }
        Err(unavailable) => vec![unavailable.cause],
    };
    (faults, verdict)
}

/// Each of these was done with the key out of reach.
#[rustfmt::skip]
const TAMPERINGS: &[&str] = &[
    // Accounts.
    "UPDATE account SET issued = issued + 500, available = available + 500 WHERE id = 'book/root'",
    "UPDATE account SET issued = issued + 500, declared = declared + 500, available = available + 500
        WHERE id = 'book/root'",
    "UPDATE account SET declared = declared - 100 WHERE id = 'book/root'",
    "UPDATE account SET spent = spent - 5, available = available + 5 WHERE id = 'book/root'",
    "UPDATE account SET reserved = 0, available = available + 10 WHERE id = 'book/root'",
    "UPDATE account SET unlimited = 1 WHERE id = 'book/root'",
    "UPDATE account SET net = net + 20, available = available + 20 WHERE id = 'book/root'",
    "UPDATE account SET cap = 100000 WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET cap = 100000 WHERE kind = 'ceiling' AND period IS NULL",
    "UPDATE account SET period = 'month' WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET period = NULL WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET window = window + 3600000, used = 0, carved = 0, granted = 0
        WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET used = 0 WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET carved = 0 WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET granted = 500 WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET spent = 0 WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET parent = NULL WHERE id = 'book/agent/a/hour'",
    "UPDATE account SET open = 1 WHERE NOT open",
    "UPDATE account SET open = 0 WHERE id = 'book/root'",
    "UPDATE account SET expires = NULL WHERE expires IS NOT NULL",
    "UPDATE account SET expires = expires + 36000000 WHERE expires IS NOT NULL",
    "UPDATE account SET parent = 'book/root' WHERE source IS NOT NULL AND open",
    "UPDATE account SET source = replace(source, '\"owed\":20', '\"owed\":10') WHERE open",
    "UPDATE account SET kind = 'funded', issued = 9999, declared = 9999, net = 0, unlimited = 1,
        available = 9999 WHERE id = 'book/agent/a/hour'",
    "DELETE FROM account WHERE NOT open",
    "DELETE FROM account WHERE kind = 'ceiling' AND period IS NULL",
    "INSERT INTO account SELECT 'book/other', NULL, 1, 0, 0, NULL, 'funded', 500, 500, 0, 500, 0,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL",
    // Holds.
    "UPDATE hold SET amount = 1 WHERE state = 0",
    "UPDATE hold SET state = 2, posted = 0 WHERE state = 1 AND uncertain = 0",
    "UPDATE hold SET posted = 1 WHERE state = 1 AND uncertain = 0",
    "UPDATE hold SET uncertain = 0",
    "UPDATE hold SET uncertain = 1 WHERE state = 1",
    "UPDATE hold SET refunded = 0",
    "UPDATE hold SET refunded = posted",
    "UPDATE hold SET state = 0, posted = 0, uncertain = 0 WHERE state = 2",
    "UPDATE hold SET forced = 1",
    "UPDATE hold SET path = replace(path, 'agent/a/hour', 'root')",
    "UPDATE hold SET agent = 'another' WHERE state = 1",
    "UPDATE hold SET tool = 'another' WHERE state = 1",
    "DELETE FROM hold WHERE state = 0",
    "DELETE FROM hold WHERE state = 1",
    "INSERT INTO hold SELECT zeroblob(16), amount, state, posted, uncertain, refunded, forced,
        charge_if_lost, fingerprint, deadline, path, agent, server, tool FROM hold WHERE state = 2",
    // Transfers.
    "DELETE FROM transfer WHERE id = (SELECT min(id) FROM transfer)",
    "INSERT INTO transfer VALUES (zeroblob(16), zeroblob(32))",
    // Rights.
    "UPDATE api_key SET about = replace(about, '\"a\"', '\"b\"')",
    "UPDATE api_key SET about = replace(about, '\"expires\":null', '\"expires\":9')",
    "UPDATE api_key SET about = replace(about, 'true', 'false')",
    "UPDATE api_key SET about = k.about, mac = k.mac FROM kept_before AS k WHERE api_key.id = k.id",
    "UPDATE api_key SET digest = zeroblob(32) WHERE id = 'k1'",
    "UPDATE api_key SET id = 'k3' WHERE id = 'k1'",
    "UPDATE api_key SET mac = zeroblob(32)",
    "DELETE FROM api_key WHERE id = 'k1'",
    "INSERT INTO api_key SELECT 'k9', zeroblob(32), replace(about, 'k1', 'k9'), mac FROM api_key
        WHERE id = 'k1'",
    "UPDATE delegation SET caveats = '[]'",
    "UPDATE delegation SET handle = zeroblob(32) WHERE token = (SELECT min(token) FROM delegation)",
    "UPDATE delegation SET principal = zeroblob(32)",
    "UPDATE delegation SET made_with = 'another'",
    "UPDATE delegation SET label = 'another'",
    "UPDATE delegation SET account = 'book/root' WHERE token = (SELECT min(token) FROM delegation)",
    "DELETE FROM delegation WHERE token = (SELECT max(token) FROM delegation)",
    "DELETE FROM delegation",
    "DELETE FROM denied WHERE token = (SELECT min(token) FROM denied)",
    "DELETE FROM denied",
    "DELETE FROM denied; DELETE FROM denials",
    "UPDATE denied SET token = zeroblob(16) WHERE token = (SELECT min(token) FROM denied)",
    "UPDATE denied SET mac = zeroblob(32)",
    // The chain.
    "UPDATE record SET line = replace(line, '\"cost\":7', '\"cost\":1')",
    "DELETE FROM record WHERE seq = 3",
    "DELETE FROM record WHERE seq > 20",
    "UPDATE head SET seq = seq - 1",
    "DELETE FROM head",
];

#[test]
fn every_tampering_is_reported() {
    let whole = lived();
    let nothing = Vec::<String>::new();
    let untouched = tampered(whole.path(), "SELECT 1");
    assert_eq!(reported(untouched.path()), (nothing.clone(), nothing));
    let mut missed = Vec::new();
    for tampering in TAMPERINGS {
        let dir = tampered(whole.path(), tampering);
        let (faults, verdict) = reported(dir.path());
        if faults.is_empty() || verdict.is_empty() {
            missed.push((*tampering, faults, verdict));
        }
    }
    assert!(missed.is_empty(), "{} of {}: {missed:#?}", missed.len(), TAMPERINGS.len());
}

type Happens = fn(&Sqlite);

/// What a store goes through after its end was put aside.
const LATER: [(&str, Happens); 7] = [
    ("a hold", |ledger| {
        let root = AccountId::new("book", "root");
        done(ledger.hold(request(50, &root, 1), Draft::default())).unwrap();
    }),
    ("the end of a hold", |ledger| {
        done(ledger.finish(HoldId(5), Finish::Void, Draft::default())).unwrap();
    }),
    ("a grant", |ledger| {
        let account = AccountId::new("book", "root");
        let mint = Transfer::Mint { account, amount: credits(5) };
        done(ledger.transfer(TransferId(50), mint, Draft::default())).unwrap();
    }),
    ("a delegation", |ledger| {
        let root = AccountId::new("book", "root");
        done(ledger.delegate(asked(50, &root, 1, None), Draft::default())).unwrap();
    }),
    ("the end of a delegation", |ledger| {
        done(ledger.revoke(TokenId(7), Draft::default())).unwrap();
    }),
    ("a denial", |ledger| drop(done(ledger.revoke(TokenId(50), Draft::default())).unwrap())),
    ("the end of an API key", |ledger| {
        assert!(done(ledger.revoke_api_key("k1".to_owned(), Draft::default())).is_some());
    }),
];

const PUT_ASIDE: &str = "CREATE TABLE old_end AS SELECT * FROM head";
const PUT_BACK: &str = "DELETE FROM record WHERE seq > (SELECT seq FROM old_end);
    DELETE FROM head; INSERT INTO head SELECT * FROM old_end";

#[test]
fn old_end_put_back_is_reported() {
    let whole = lived();
    for (what, happens) in LATER {
        let dir = tampered(whole.path(), PUT_ASIDE);
        happens(&open(dir.path()));
        let db = hand(dir.path());
        db.execute_batch(PUT_BACK).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (faults, verdict) = reported(dir.path());
        assert!(!faults.is_empty(), "{what} is not missed by `budget prove`");
        assert!(!verdict.is_empty(), "{what} is not missed by `audit verify`");
    }
}

#[test]
fn running_gateway_notices_an_old_end() {
    let whole = lived();
    let dir = tampered(whole.path(), PUT_ASIDE);
    let ledger = open(dir.path());
    // Records that move nothing leave no other trace.
    for _ in 0..3 {
        done(ledger.record(Draft { event: Event::Call, ..Draft::default() }));
    }
    hand(dir.path()).execute_batch(PUT_BACK).unwrap();
    let refused = wait(ledger.record(Draft::default())).unwrap_err();
    assert!(refused.cause.contains("were set back"), "{refused}");
}

#[test]
fn altered_rows_give_no_right() {
    let whole = lived();
    let after = |sql: &str| {
        let dir = tampered(whole.path(), sql);
        (open(dir.path()), dir)
    };
    let altered = |answer: Option<String>, sql: &str| {
        assert!(answer.is_some_and(|cause| cause.contains("altered or deleted")), "{sql}");
    };
    for sql in [
        "UPDATE api_key SET about = replace(about, '\"a\"', '\"b\"')",
        "UPDATE api_key SET digest = zeroblob(32) WHERE id = 'k2';
            UPDATE api_key SET digest = x'0101010101010101010101010101010101010101010101010101010101010101' WHERE id = 'k1'",
        "UPDATE api_key SET mac = NULL",
    ] {
        let (ledger, _dir) = after(sql);
        match wait(ledger.api_key([1; 32])) {
            Err(unavailable) => altered(Some(unavailable.cause), sql),
            // Only the digest by which it is found was touched, and is as it was.
            Ok(key) => assert_eq!(key, Some(api_key("k1", 1)), "{sql}"),
        }
    }
    // A key that was taken back stays so.
    let sql = "UPDATE api_key SET about = k.about, mac = k.mac FROM kept_before AS k WHERE api_key.id = k.id";
    let (ledger, _dir) = after(sql);
    assert!(done(ledger.api_key([2; 32])).unwrap().revoked);
    for sql in ["UPDATE delegation SET caveats = '[]'", "UPDATE delegation SET principal = NULL"] {
        let (ledger, _dir) = after(sql);
        altered(wait(ledger.standing(TokenId(7))).err().map(|it| it.cause), sql);
    }
    let (ledger, _dir) = after("DELETE FROM delegation");
    let missing = wait(ledger.standing(TokenId(7))).unwrap_err();
    assert!(missing.cause.contains("delegation"), "{missing}");
    for sql in ["DELETE FROM denied", "DELETE FROM denied; DELETE FROM denials"] {
        let (ledger, _dir) = after(sql);
        altered(wait(ledger.standing(TokenId(30))).err().map(|it| it.cause), sql);
    }
    let (ledger, _dir) = after("SELECT 1");
    assert!(!done(ledger.standing(TokenId(30))).usable);
    assert!(done(ledger.standing(TokenId(7))).usable);
    assert!(done(ledger.standing(TokenId(99))).usable);
}
