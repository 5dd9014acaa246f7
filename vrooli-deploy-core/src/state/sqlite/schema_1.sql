-- One row: whose state this is, and in which shape. `guard` is the checksum of `id`,
-- `settings` the exclusive or of the checksums of all settings.
CREATE TABLE meta (
    id       TEXT    NOT NULL,
    guard    INTEGER NOT NULL,
    schema   INTEGER NOT NULL,
    settings INTEGER NOT NULL
) STRICT;

-- The head of each journal: a journal that ends before its head has lost records.
-- The row stays when a stack is forgotten.
CREATE TABLE stacks (
    stack    TEXT    NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Append-only. `checksum` covers the row and the checksum before it.
CREATE TABLE journal (
    stack    TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    fence    INTEGER NOT NULL,
    at       TEXT    NOT NULL,
    entry    TEXT    NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (stack, seq)
) STRICT, WITHOUT ROWID;

-- Who holds a stack, for people; whether it is held says the file lock. `holder` is null
-- when it was given back. The row stays when a stack is forgotten: fences only rise.
CREATE TABLE leases (
    stack     TEXT    NOT NULL PRIMARY KEY,
    fence     INTEGER NOT NULL,
    holder    TEXT,
    since     TEXT    NOT NULL,
    heartbeat TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
    stack    TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    value    TEXT    NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (stack, name)
) STRICT, WITHOUT ROWID;

-- A fold of the journal up to `seq`, whose record has the checksum `head`. Only a
-- shortcut: whenever it does not fit, the journal is read from its beginning. `fold` is
-- the version of the fold that made it.
CREATE TABLE snapshots (
    stack    TEXT    NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL,
    head     INTEGER NOT NULL,
    fold     INTEGER NOT NULL,
    state    TEXT    NOT NULL,
    checksum INTEGER NOT NULL
) STRICT;

-- Where the journal of a stack that was forgotten goes on: numbers are never used twice.
CREATE TABLE tombstones (
    stack        TEXT    NOT NULL PRIMARY KEY,
    seq          INTEGER NOT NULL,
    head         INTEGER NOT NULL,
    last_release INTEGER NOT NULL,
    fence        INTEGER NOT NULL,
    checksum     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
