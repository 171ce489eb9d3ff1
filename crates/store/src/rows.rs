//! Rows to values. A row that cannot be read is an error with its place, never a panic.

use rusqlite::Row;
use squall_model::{Event, Record, RunId, Verdict};

use crate::{RunSummary, StoreError};

/// Columns of one event.
pub(crate) const EVENT: &str = "seq, at_us, body";

/// Columns of one run, its last event's number and time, and the body of its last `ended`.
pub(crate) const RUN: &str = "id, experiment, started, host, user, labels, \
    (SELECT max(seq) FROM events e WHERE e.run = r.n), \
    (SELECT at_us FROM events e WHERE e.run = r.n ORDER BY seq DESC LIMIT 1), \
    (SELECT body FROM events e WHERE e.run = r.n AND e.kind = 'ended' ORDER BY seq DESC LIMIT 1)";

/// The name under which an event is indexed: the variant as JSON has it.
pub(crate) fn kind(body: &str) -> &str {
    body.trim_start_matches(['{', '"']).split('"').next().unwrap_or_default()
}

/// One event; `Ok(Err(_))` is a row that is there but makes no sense.
pub(crate) fn event(run: &RunId, row: &Row<'_>) -> rusqlite::Result<Result<Record, StoreError>> {
    let (seq, at, body): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let damaged = |reason: String| StoreError::DamagedEvent { run: run.to_string(), seq: u64::try_from(seq).unwrap_or(0), reason };
    let (Ok(number), Ok(at)) = (u64::try_from(seq), u64::try_from(at)) else {
        return Ok(Err(damaged("its number or time is negative".into())));
    };
    Ok(serde_json::from_str::<Event>(&body).map(|event| Record { seq: number, at, event }).map_err(|e| damaged(e.to_string())))
}

/// One run. Parts that make no sense are left out and told of in `damaged`; `None` where not even the id does.
pub(crate) fn run(row: &Row<'_>) -> rusqlite::Result<Option<RunSummary>> {
    let id: String = row.get(0)?;
    let Ok(run) = id.parse::<RunId>() else { return Ok(None) };
    let mut damaged = None;
    let labels: String = row.get(5)?;
    let labels = serde_json::from_str(&labels).unwrap_or_else(|error| {
        damaged = Some(format!("labels: {error}"));
        std::collections::BTreeMap::new()
    });
    let last: Option<i64> = row.get(6)?;
    let lasted: Option<i64> = row.get(7)?;
    let (verdict, reason) = ended(row.get::<_, Option<String>>(8)?.as_deref(), &mut damaged).unzip();
    Ok(Some(RunSummary {
        run,
        experiment: row.get(1)?,
        started: row.get(2)?,
        host: row.get(3)?,
        user: row.get(4)?,
        labels,
        verdict,
        reason,
        lasted_us: lasted.and_then(|at| u64::try_from(at).ok()).unwrap_or(0),
        events: last.and_then(|seq| u64::try_from(seq).ok()).map_or(0, |seq| seq + 1),
        damaged,
    }))
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
