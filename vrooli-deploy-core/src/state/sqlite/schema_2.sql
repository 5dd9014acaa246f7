-- Versions of what a workspace keeps beside its stacks (profiles, configuration). Append-only.
-- `body` is null where it was deleted.
CREATE TABLE revisions (
    collection TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    at         TEXT    NOT NULL,
    by         TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    name       TEXT,
    body       TEXT,
    checksum   INTEGER NOT NULL,
    PRIMARY KEY (collection, key, version)
) STRICT, WITHOUT ROWID;

-- The exclusive or of the checksums of all revisions: one that is gone would not be missed otherwise.
ALTER TABLE meta ADD COLUMN revisions INTEGER NOT NULL DEFAULT 0;
