//! The tables of the file, and constraints on their rows.

/// Marks the file as a ledger of ours: `TOLG`.
pub(super) const APPLICATION: i32 = 0x544f_4c47;

/// The version of the tables.
pub(super) const VERSION: i32 = 3;

/// How each version is made of the one before, the first of an empty file.
pub(super) const STEPS: [(i32, &str); 3] =
    [(1, CREATE), (2, ADD_CREDENTIALS), (3, BIND_CREDENTIALS)];

/// The first version. The checks and triggers are a second guard: the machine
/// in `domain::ledger` never violates them.
const CREATE: &str = "
CREATE TABLE account (
    id TEXT PRIMARY KEY,
    parent TEXT,
    open INTEGER NOT NULL CHECK (open IN (0, 1)),
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    spent INTEGER NOT NULL CHECK (spent >= 0),
    expires INTEGER,
    kind TEXT NOT NULL CHECK (kind IN ('funded', 'ceiling')),
    issued INTEGER CHECK (issued >= 0),
    declared INTEGER CHECK (declared >= 0),
    net INTEGER,
    available INTEGER,
    unlimited INTEGER CHECK (unlimited IN (0, 1)),
    cap INTEGER CHECK (cap >= 0),
    period TEXT,
    window INTEGER,
    used INTEGER CHECK (used >= 0),
    carved INTEGER CHECK (carved >= 0),
    granted INTEGER CHECK (granted >= 0),
    source TEXT,
    CHECK (kind = 'ceiling' OR (issued IS NOT NULL AND declared IS NOT NULL AND net IS NOT NULL
        AND available IS NOT NULL AND unlimited IS NOT NULL)),
    CHECK (kind = 'funded' OR (parent IS NOT NULL AND cap IS NOT NULL AND window IS NOT NULL
        AND used IS NOT NULL AND carved IS NOT NULL AND granted IS NOT NULL)),
    CHECK (kind = 'ceiling' OR available + reserved + spent = issued + net),
    CHECK (kind = 'ceiling' OR open OR available <= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX account_below ON account (parent) WHERE parent IS NOT NULL;
CREATE INDEX account_expiring ON account (expires) WHERE open AND expires IS NOT NULL;

CREATE TABLE hold (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    amount INTEGER NOT NULL CHECK (amount >= 0),
    state INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
    posted INTEGER NOT NULL CHECK (posted BETWEEN 0 AND amount),
    uncertain INTEGER NOT NULL CHECK (uncertain IN (0, 1)),
    refunded INTEGER NOT NULL CHECK (refunded BETWEEN 0 AND posted),
    forced INTEGER NOT NULL CHECK (forced IN (0, 1)),
    charge_if_lost INTEGER NOT NULL CHECK (charge_if_lost IN (0, 1)),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
    deadline INTEGER NOT NULL,
    path TEXT NOT NULL,
    agent TEXT NOT NULL,
    server TEXT NOT NULL,
    tool TEXT NOT NULL,
    CHECK (state = 1 OR (posted = 0 AND uncertain = 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_due ON hold (deadline, id) WHERE state = 0;
CREATE TRIGGER hold_ends_once BEFORE UPDATE OF state ON hold
    WHEN old.state <> 0 AND new.state <> old.state
    BEGIN SELECT RAISE(ABORT, 'a hold ends once'); END;

CREATE TABLE transfer (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE record (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    line TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER record_stays BEFORE UPDATE ON record
    BEGIN SELECT RAISE(ABORT, 'records are not changed'); END;
CREATE TRIGGER record_remains BEFORE DELETE ON record
    BEGIN SELECT RAISE(ABORT, 'records are not deleted'); END;

CREATE TABLE head (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    chain TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq >= 0),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT;
";

/// The second version: tokens, stamps, API keys. What the first has stays as it is: a process that
/// opened the file before goes on with it.
const ADD_CREDENTIALS: &str = "
CREATE TABLE delegation (
    token BLOB PRIMARY KEY CHECK (length(token) = 16),
    account TEXT NOT NULL UNIQUE,
    handle BLOB UNIQUE CHECK (length(handle) = 32),
    principal BLOB CHECK (length(principal) = 32),
    made_with TEXT,
    caveats TEXT NOT NULL,
    label TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX delegation_made_with ON delegation (made_with) WHERE made_with IS NOT NULL;
CREATE TRIGGER delegation_stays BEFORE UPDATE ON delegation
    BEGIN SELECT RAISE(ABORT, 'delegations are not changed'); END;
CREATE TRIGGER delegation_remains BEFORE DELETE ON delegation
    BEGIN SELECT RAISE(ABORT, 'delegations are not deleted'); END;

CREATE TABLE denied (
    token BLOB PRIMARY KEY CHECK (length(token) = 16)
) STRICT, WITHOUT ROWID;

CREATE TABLE shown (
    what BLOB PRIMARY KEY CHECK (length(what) = 32),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX shown_until ON shown (until);

CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    about TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The third version: rows that give or take rights have a keyed digest, and all denials together
/// have one as well, so that none can be deleted unnoticed. A process of an earlier version goes on
/// with its calls. What would leave a row without a digest, or a record that cannot be replayed, is
/// refused to it.
const BIND_CREDENTIALS: &str = r#"
ALTER TABLE delegation ADD COLUMN mac BLOB CHECK (length(mac) = 32);
ALTER TABLE api_key ADD COLUMN mac BLOB CHECK (length(mac) = 32);
ALTER TABLE denied ADD COLUMN mac BLOB CHECK (length(mac) = 32);

CREATE TABLE denials (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    mac BLOB NOT NULL CHECK (length(mac) = 32)
) STRICT;

CREATE TRIGGER record_can_be_replayed BEFORE INSERT ON record
    WHEN instr(new.line, '"event":"declare"') AND NOT instr(new.line, '"accounts":[')
        OR instr(new.line, '"event":"cap"') AND NOT instr(new.line, '"accounts":[')
    BEGIN SELECT RAISE(ABORT, 'a later version of tollgate uses this store; start this one again with it'); END;
"#;
