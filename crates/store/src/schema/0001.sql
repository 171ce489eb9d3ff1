-- Format 1 of the journal's database. Released formats are never edited; a change is a new file and a new version.
CREATE TABLE runs (
    n          INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    experiment TEXT    NOT NULL,
    started    TEXT    NOT NULL,
    host       TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    labels     TEXT    NOT NULL
) STRICT;

-- The manifest, seed and version of a run are in its first event, `started`, and nowhere else.
CREATE TABLE events (
    run   INTEGER NOT NULL REFERENCES runs (n),
    seq   INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    kind  TEXT    NOT NULL,
    body  TEXT    NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- The end of a run without walking its samples; holds one entry a run.
CREATE INDEX events_ended ON events (run, seq) WHERE kind = 'ended';

CREATE TRIGGER events_keep_what_was_written BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append-only: events cannot be changed'); END;

CREATE TRIGGER events_keep_everything BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the journal is append-only: events cannot be deleted'); END;
