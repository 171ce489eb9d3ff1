-- Format 1 of the server's database in PostgreSQL. Released formats are never edited; a change is a new file and a new version.

-- Versions of documents and tokens of leases: never given twice.
CREATE SEQUENCE squall_counter;

-- Texts are compared by their bytes, as everywhere. Bodies are kept as text: `jsonb` has no NUL, and changes numbers.
CREATE TABLE squall_documents (
    kind       text   COLLATE "C" NOT NULL,
    id         text   COLLATE "C" NOT NULL,
    version    bigint NOT NULL,
    created_us bigint NOT NULL,
    updated_us bigint NOT NULL,
    body       text   NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE TABLE squall_leases (
    name   text        COLLATE "C" PRIMARY KEY,
    holder text        NOT NULL,
    token  bigint      NOT NULL,
    until  timestamptz NOT NULL
);

CREATE TABLE squall_audit (
    seq   bigint PRIMARY KEY,
    hash  text   NOT NULL,
    entry text   NOT NULL
);

-- One row: the end of the audit trail. Whoever adds to the trail locks it, so rows follow each other.
CREATE TABLE squall_audit_head (
    one  boolean PRIMARY KEY CHECK (one),
    seq  bigint  NOT NULL,
    hash text    NOT NULL
);

INSERT INTO squall_audit_head VALUES (true, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE squall_runs (
    id         text COLLATE "C" PRIMARY KEY,
    experiment text NOT NULL,
    started    text NOT NULL,
    host       text NOT NULL,
    by_user    text NOT NULL,
    labels     text NOT NULL,
    extra      text
);

CREATE TABLE squall_events (
    run   text   COLLATE "C" NOT NULL REFERENCES squall_runs (id),
    seq   bigint NOT NULL,
    at_us bigint NOT NULL,
    kind  text   NOT NULL,
    body  text   NOT NULL,
    PRIMARY KEY (run, seq)
);

-- The end of a run without walking its samples; holds one entry a run.
CREATE INDEX squall_events_ended ON squall_events (run, seq) WHERE kind = 'ended';

CREATE FUNCTION squall_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only: rows cannot be changed or deleted', TG_TABLE_NAME; END $$;

CREATE TRIGGER squall_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON squall_audit
FOR EACH STATEMENT EXECUTE FUNCTION squall_append_only();

CREATE TRIGGER squall_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON squall_events
FOR EACH STATEMENT EXECUTE FUNCTION squall_append_only();
