//! Rows to values, for every database. A row that cannot be read is an error with its place, never a panic.

use rusqlite::Row;
use serde_json::Value as Json;
use squall_model::{Event, Record, RunId, Verdict};

use crate::{RunSummary, StoreError, StoredRun};

/// Columns of one event in SQLite.
pub(crate) const EVENT: &str = "seq, at_us, body";

/// Columns of one run in SQLite: its own, its last event's number and time, the body of its last `ended`, and what the server
/// knows of it.
pub(crate) const RUN: &str = "id, experiment, started, host, user, labels, \
    (SELECT max(seq) FROM events e WHERE e.run = r.n), \
    (SELECT at_us FROM events e WHERE e.run = r.n ORDER BY seq DESC LIMIT 1), \
    (SELECT body FROM events e WHERE e.run = r.n AND e.kind = 'ended' ORDER BY seq DESC LIMIT 1), \
    extra";

/// The columns of `RUN`, in any database.
pub(crate) struct RunRow {
    pub id: String,
    pub experiment: String,
    pub started: String,
    pub host: String,
    pub user: String,
    pub labels: String,
    pub last: Option<i64>,
    pub lasted: Option<i64>,
    pub ended: Option<String>,
    pub extra: Option<String>,
}

/// The name under which an event is indexed: the variant as JSON has it.
pub(crate) fn kind(body: &str) -> &str {
    body.trim_start_matches(['{', '"']).split('"').next().unwrap_or_default()
}

/// One event.
pub(crate) fn record(run: &RunId, seq: i64, at: i64, body: &str) -> Result<Record, StoreError> {
    let damaged = |reason: String| StoreError::DamagedEvent { run: run.to_string(), seq: u64::try_from(seq).unwrap_or(0), reason };
    let (Ok(number), Ok(at)) = (u64::try_from(seq), u64::try_from(at)) else {
        return Err(damaged("its number or time is negative".into()));
    };
    serde_json::from_str::<Event>(body).map(|event| Record { seq: number, at, event }).map_err(|e| damaged(e.to_string()))
}

/// One event of SQLite; `Ok(Err(_))` is a row that is there but makes no sense.
pub(crate) fn event(run: &RunId, row: &Row<'_>) -> rusqlite::Result<Result<Record, StoreError>> {
    Ok(record(run, row.get(0)?, row.get(1)?, &row.get::<_, String>(2)?))
}

/// All of them, if they are numbered one after the other from `seq` on.
pub(crate) fn without_gaps(
    run: &RunId,
    seq: u64,
    records: impl Iterator<Item = Result<Record, StoreError>>,
) -> Result<Vec<Record>, StoreError> {
    let checked = (seq..).zip(records).map(|(expected, record)| match record {
        Ok(record) if record.seq != expected => {
            let reason = "it is missing, later ones are there".into();
            Err(StoreError::DamagedEvent { run: run.to_string(), seq: expected, reason })
        }
        record => record,
    });
    checked.collect()
}

/// One run of SQLite.
pub(crate) fn run(row: &Row<'_>) -> rusqlite::Result<Option<StoredRun>> {
    Ok(stored_run(RunRow {
        id: row.get(0)?,
        experiment: row.get(1)?,
        started: row.get(2)?,
        host: row.get(3)?,
        user: row.get(4)?,
        labels: row.get(5)?,
        last: row.get(6)?,
        lasted: row.get(7)?,
        ended: row.get(8)?,
        extra: row.get(9)?,
    }))
}

/// One run. Parts that make no sense are left out and told of in `damaged`; `None` where not even the id does.
pub(crate) fn stored_run(row: RunRow) -> Option<StoredRun> {
    let run = row.id.parse::<RunId>().ok()?;
    let mut damaged = None;
    let labels = serde_json::from_str(&row.labels).unwrap_or_else(|error| {
        damaged = Some(format!("labels: {error}"));
        std::collections::BTreeMap::new()
    });
    let extra = row.extra.map_or(Ok(Json::Null), |extra| serde_json::from_str(&extra)).unwrap_or_else(|error| {
        damaged = Some(format!("what the server knows of it: {error}"));
        Json::Null
    });
    let (verdict, reason) = ended(row.ended.as_deref(), &mut damaged).unzip();
    let summary = RunSummary {
        run,
        experiment: row.experiment,
        started: row.started,
        host: row.host,
        user: row.user,
        labels,
        verdict,
        reason,
        lasted_us: row.lasted.and_then(|at| u64::try_from(at).ok()).unwrap_or(0),
        events: row.last.and_then(|seq| u64::try_from(seq).ok()).map_or(0, |seq| seq + 1),
        damaged,
    };
    Some(StoredRun { summary, extra })
}

fn ended(body: Option<&str>, damaged: &mut Option<String>) -> Option<(Verdict, String)> {
    match serde_json::from_str::<Event>(body?) {
        Ok(Event::Ended { verdict, reason }) => Some((verdict, reason)),
        Ok(_) => {
            *damaged = Some("the event that is marked as its end is another".into());
            None
        }
        Err(error) => {
            *damaged = Some(format!("its end: {error}"));
            None
        }
    }
}
