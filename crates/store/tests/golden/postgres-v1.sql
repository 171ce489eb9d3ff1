-- A database as format 1 made it in PostgreSQL, with the journal of journal-v1.jsonl and a little of everything else. Never edited.
CREATE TABLE squall_migrations (version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now());
INSERT INTO squall_migrations (version) VALUES (1);

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

INSERT INTO squall_runs VALUES ('r1m7y9vza0y0b', 'payments-hangs', '2026-11-21T05:39:34.848Z', 'shop-1', 'ada', '{"team":"checkout"}', '{"schedule":"nightly"}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 0, 0, 'started', '{"started":{"version":1,"run":"r1m7y9vza0y0b","experiment":"payments-hangs","manifest":"apiVersion: squall.dev/v1\nkind: Experiment\n","seed":42,"wall":"2026-11-21T05:39:34.848Z","host":"shop-1","user":"ada","squall":"0.1.0"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 1, 1000, 'planned', '"planned"');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 2, 2000, 'sampled', '{"sampled":{"probe":0,"took":1200,"measured":{"value":{"number":0.012}}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 3, 3000, 'sampled', '{"sampled":{"probe":1,"took":900,"measured":{"value":{"text":"open"}}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 4, 4000, 'sampled', '{"sampled":{"probe":0,"took":5000000,"measured":{"unmeasured":"timed out after 5s"}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 5, 5000, 'elapsed', '{"elapsed":{"timer":"steadyEnd"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 6, 6000, 'selected', '{"selected":{"node":1,"matched":3,"targets":[{"injection":1,"id":"process:4711:99","label":"payments (pid 4711)"}]}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 7, 7000, 'selectFailed', '{"selectFailed":{"node":2,"error":"no process is named ledger"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 8, 8000, 'armed', '{"armed":{"injection":1}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 9, 9000, 'injected', '{"injected":{"injection":1}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 10, 10000, 'injectFailed', '{"injectFailed":{"injection":2,"error":"process 4712 is gone"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 11, 11000, 'verified', '{"verified":{"injection":1,"in_force":true,"evidence":"state of process 4711 is T (stopped)"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 12, 12000, 'elapsed', '{"elapsed":{"timer":{"node":3}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 13, 13000, 'elapsed', '{"elapsed":{"timer":{"timeBox":1}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 14, 14000, 'elapsed', '{"elapsed":{"timer":{"guard":0}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 15, 15000, 'revertFailed', '{"revertFailed":{"injection":1,"error":"operation not permitted"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 16, 16000, 'elapsed', '{"elapsed":{"timer":{"retryRevert":1}}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 17, 17000, 'reverted', '{"reverted":{"injection":1,"by":"engine","how":"sent SIGCONT to process 4711"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 18, 18000, 'elapsed', '{"elapsed":{"timer":"observeEnd"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 19, 19000, 'elapsed', '{"elapsed":{"timer":"timeout"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 20, 20000, 'rolledBack', '{"rolledBack":{"action":0,"error":null}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 21, 21000, 'rolledBack', '{"rolledBack":{"action":1,"error":"exit code 3"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 22, 22000, 'stopRequested', '{"stopRequested":{"by":"squall stop"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 23, 23000, 'continueRequested', '{"continueRequested":{"by":"ada"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 24, 24000, 'safetyLost', '{"safetyLost":{"reason":"the watchdog is gone"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 25, 25000, 'trafficEnded', '{"trafficEnded":{"summaries":[{"name":"shoppers","requests":100,"failed":2,"errors":{"timeout":2},"rate":99.5,"latency":{"p50":0.01,"p90":0.02,"p95":0.03,"p99":0.04,"p99.9":0.05,"mean":0.012,"max":0.06}}]}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 26, 26000, 'noted', '{"noted":{"text":"the clock of the host was set back by 2s"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 27, 27000, 'elapsed', '{"elapsed":{"timer":"recoveryEnd"}}');
INSERT INTO squall_events VALUES ('r1m7y9vza0y0b', 28, 28000, 'ended', '{"ended":{"verdict":"deviated","reason":"checkout p99 did not stay < 500ms"}}');

INSERT INTO squall_documents VALUES ('schedule', 'nightly', 7, 1795239574848000, 1795239575000000, '{"cron":"0 3 * * *","z":1,"a":0.1}');
INSERT INTO squall_leases VALUES ('scheduler', 'server-1', 8, '2026-11-21T05:39:34Z');
INSERT INTO squall_audit VALUES (1, '8f87b57b27411035b0bc9bc78bfceb1a5902399c40e5a2efeedff1b8bf53a524', '{"action":"run.start","actor":"ada","at":"2026-11-21T05:39:34.848Z","detail":{"a":"\u0000é\"","b":[1,{"a":0.1,"z":null}]},"outcome":"ok","subject":"x"}');
UPDATE squall_audit_head SET seq = 1, hash = '8f87b57b27411035b0bc9bc78bfceb1a5902399c40e5a2efeedff1b8bf53a524';
SELECT setval('squall_counter', 8);
