-- Format 2: what a server keeps beside journals.

-- What the server knows of a run beside its journal, as JSON.
ALTER TABLE runs ADD COLUMN extra TEXT;

-- Texts are compared by their bytes (BINARY), which SQLite does unless told otherwise.
CREATE TABLE documents (
    kind       TEXT    NOT NULL,
    id         TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    updated_us INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT;

-- `until_us` counts from the start of the machine, and means something only while that is the start named by `boot`.
CREATE TABLE leases (
    name     TEXT    PRIMARY KEY,
    holder   TEXT    NOT NULL,
    token    INTEGER NOT NULL,
    boot     TEXT    NOT NULL,
    until_us INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
    seq   INTEGER PRIMARY KEY,
    hash  TEXT    NOT NULL,
    entry TEXT    NOT NULL
) STRICT;

CREATE TRIGGER audit_keeps_what_was_written BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only: rows cannot be changed'); END;

CREATE TRIGGER audit_keeps_everything BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only: rows cannot be deleted'); END;

-- One row: the last version or token given, under which start of the machine, and the end of the audit trail.
CREATE TABLE counters (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    last       INTEGER NOT NULL,
    boot       TEXT    NOT NULL,
    audit_seq  INTEGER NOT NULL,
    audit_hash TEXT    NOT NULL
) STRICT;

INSERT INTO counters VALUES (1, 0, '', 0, '0000000000000000000000000000000000000000000000000000000000000000');
