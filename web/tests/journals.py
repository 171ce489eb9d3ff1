"""Puts finished runs into the database of a Squall server, as `squall_store` writes them: for lists and charts of a size that no test has
the time to make. Usage: journals.py STATE_DIRECTORY SPEC.json; prints the ids.

SPEC: [{"experiment", "verdict", "reason", "manifest", "probes": N, "samples": N in all, "every": microseconds}]"""

import glob
import json
import math
import random
import sqlite3
import sys
import time

state, spec = sys.argv[1], json.load(open(sys.argv[2], encoding="utf-8"))
found = [path for path in glob.glob(f"{state}/**/*.db", recursive=True) + glob.glob(f"{state}/**/*.sqlite*", recursive=True) if not path.endswith(("-wal", "-shm"))]
database = sqlite3.connect(found[0], timeout=30)
random.seed(7)
ids = []
with database:
    for number, run in enumerate(spec):
        began = int(time.time() * 1000) - (number + 1) * 3_600_000
        wall = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began / 1000))
        # As `squall_model::RunId`: milliseconds and 15 bits, in Crockford's base32.
        digits = (began << 15) | (number & 0x7FFF)
        run_id = "r" + "".join("0123456789abcdefghjkmnpqrstvwxyz"[(digits >> (i * 5)) & 31] for i in reversed(range(12)))
        ids.append(run_id)
        insert = "INSERT INTO runs (id, experiment, started, host, user, labels, extra) VALUES (?, ?, ?, 'office', 'admin', '{}', ?)"
        key = database.execute(insert, (run_id, run["experiment"], wall, json.dumps({"server": "office", "lease": "10s", "cause": None}))).lastrowid
        started = {"version": 1, "run": run_id, "experiment": run["experiment"], "manifest": run["manifest"], "seed": 7, "wall": wall, "host": "office", "user": "admin", "squall": "0.1.0"}
        events = [(0, {"started": started}), (1000, "planned")]
        probes, every = run.get("probes", 0), run.get("every", 100_000)
        for index in range(run.get("samples", 0)):
            probe, at = index % probes, 2000 + (index // probes) * every
            value = 0.05 + 0.02 * math.sin(index / probes / 40 + probe) + random.random() * 0.01
            if random.random() < 0.002:
                value = 0.4
            measured = {"unmeasured": "timeout"} if random.random() < 0.001 else {"value": {"number": value}}
            events.append((at + probe, {"sampled": {"probe": probe, "took": 1000, "measured": measured}}))
        end = events[-1][0] + 1000
        events.append((end, {"ended": {"verdict": run["verdict"], "reason": run["reason"]}}))
        rows = []
        for seq, (at, event) in enumerate(events):
            kind = event if isinstance(event, str) else next(iter(event))
            rows.append((key, seq, at, kind, json.dumps(event)))
        database.executemany("INSERT INTO events (run, seq, at_us, kind, body) VALUES (?, ?, ?, ?, ?)", rows)
database.close()
print(json.dumps(ids))
