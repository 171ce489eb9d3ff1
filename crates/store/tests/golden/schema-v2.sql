-- A database as format 2 made it, with the journal of journal-v1.jsonl and a little of everything else. Never edited.
PRAGMA application_id = 0x53716c6c;
PRAGMA user_version = 2;
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

INSERT INTO runs VALUES (1, 'r1m7y9vza0y0b', 'payments-hangs', '2026-11-21T05:39:34.848Z', 'shop-1', 'ada', '{"team":"checkout"}', '{"schedule":"nightly"}');
INSERT INTO events VALUES (1, 0, 0, 'started', '{"started":{"version":1,"run":"r1m7y9vza0y0b","experiment":"payments-hangs","manifest":"apiVersion: squall.dev/v1\nkind: Experiment\n","seed":42,"wall":"2026-11-21T05:39:34.848Z","host":"shop-1","user":"ada","squall":"0.1.0"}}');
INSERT INTO events VALUES (1, 1, 1000, 'planned', '"planned"');
INSERT INTO events VALUES (1, 2, 2000, 'sampled', '{"sampled":{"probe":0,"took":1200,"measured":{"value":{"number":0.012}}}}');
INSERT INTO events VALUES (1, 3, 3000, 'sampled', '{"sampled":{"probe":1,"took":900,"measured":{"value":{"text":"open"}}}}');
INSERT INTO events VALUES (1, 4, 4000, 'sampled', '{"sampled":{"probe":0,"took":5000000,"measured":{"unmeasured":"timed out after 5s"}}}');
INSERT INTO events VALUES (1, 5, 5000, 'elapsed', '{"elapsed":{"timer":"steadyEnd"}}');
INSERT INTO events VALUES (1, 6, 6000, 'selected', '{"selected":{"node":1,"matched":3,"targets":[{"injection":1,"id":"process:4711:99","label":"payments (pid 4711)"}]}}');
INSERT INTO events VALUES (1, 7, 7000, 'selectFailed', '{"selectFailed":{"node":2,"error":"no process is named ledger"}}');
INSERT INTO events VALUES (1, 8, 8000, 'armed', '{"armed":{"injection":1}}');
INSERT INTO events VALUES (1, 9, 9000, 'injected', '{"injected":{"injection":1}}');
INSERT INTO events VALUES (1, 10, 10000, 'injectFailed', '{"injectFailed":{"injection":2,"error":"process 4712 is gone"}}');
INSERT INTO events VALUES (1, 11, 11000, 'verified', '{"verified":{"injection":1,"in_force":true,"evidence":"state of process 4711 is T (stopped)"}}');
INSERT INTO events VALUES (1, 12, 12000, 'elapsed', '{"elapsed":{"timer":{"node":3}}}');
INSERT INTO events VALUES (1, 13, 13000, 'elapsed', '{"elapsed":{"timer":{"timeBox":1}}}');
INSERT INTO events VALUES (1, 14, 14000, 'elapsed', '{"elapsed":{"timer":{"guard":0}}}');
INSERT INTO events VALUES (1, 15, 15000, 'revertFailed', '{"revertFailed":{"injection":1,"error":"operation not permitted"}}');
INSERT INTO events VALUES (1, 16, 16000, 'elapsed', '{"elapsed":{"timer":{"retryRevert":1}}}');
INSERT INTO events VALUES (1, 17, 17000, 'reverted', '{"reverted":{"injection":1,"by":"engine","how":"sent SIGCONT to process 4711"}}');
INSERT INTO events VALUES (1, 18, 18000, 'elapsed', '{"elapsed":{"timer":"observeEnd"}}');
INSERT INTO events VALUES (1, 19, 19000, 'elapsed', '{"elapsed":{"timer":"timeout"}}');
INSERT INTO events VALUES (1, 20, 20000, 'rolledBack', '{"rolledBack":{"action":0,"error":null}}');
INSERT INTO events VALUES (1, 21, 21000, 'rolledBack', '{"rolledBack":{"action":1,"error":"exit code 3"}}');
INSERT INTO events VALUES (1, 22, 22000, 'stopRequested', '{"stopRequested":{"by":"squall stop"}}');
INSERT INTO events VALUES (1, 23, 23000, 'continueRequested', '{"continueRequested":{"by":"ada"}}');
INSERT INTO events VALUES (1, 24, 24000, 'safetyLost', '{"safetyLost":{"reason":"the watchdog is gone"}}');
INSERT INTO events VALUES (1, 25, 25000, 'trafficEnded', '{"trafficEnded":{"summaries":[{"name":"shoppers","requests":100,"failed":2,"errors":{"timeout":2},"rate":99.5,"latency":{"p50":0.01,"p90":0.02,"p95":0.03,"p99":0.04,"p99.9":0.05,"mean":0.012,"max":0.06}}]}}');
INSERT INTO events VALUES (1, 26, 26000, 'noted', '{"noted":{"text":"the clock of the host was set back by 2s"}}');
INSERT INTO events VALUES (1, 27, 27000, 'elapsed', '{"elapsed":{"timer":"recoveryEnd"}}');
INSERT INTO events VALUES (1, 28, 28000, 'ended', '{"ended":{"verdict":"deviated","reason":"checkout p99 did not stay < 500ms"}}');

INSERT INTO documents VALUES ('schedule', 'nightly', 7, 1795239574848000, 1795239575000000, '{"cron":"0 3 * * *","z":1,"a":0.1}');
INSERT INTO leases VALUES ('scheduler', 'server-1', 8, 'a boot of long ago', 4000000000);
INSERT INTO audit VALUES (1, '8f87b57b27411035b0bc9bc78bfceb1a5902399c40e5a2efeedff1b8bf53a524', '{"action":"run.start","actor":"ada","at":"2026-11-21T05:39:34.848Z","detail":{"a":"\u0000é\"","b":[1,{"a":0.1,"z":null}]},"outcome":"ok","subject":"x"}');
UPDATE counters SET last = 8, boot = 'a boot of long ago', audit_seq = 1, audit_hash = '8f87b57b27411035b0bc9bc78bfceb1a5902399c40e5a2efeedff1b8bf53a524';
