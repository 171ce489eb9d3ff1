//! Leases in SQLite's tables. Time is the machine's (`CLOCK_BOOTTIME`), and counts within one start of it.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use super::documents::next;
use crate::sqlite::{Fault, as_i64};
use crate::{CommitError, Fence, Lease, LeaseError, List, StoreError};

/// Now: which start of the machine, and how long ago that was.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub boot: String,
    pub since: Duration,
}

impl Now {
    fn micros(&self) -> i64 {
        micros(self.since)
    }

    fn after(&self, ttl: Duration) -> i64 {
        micros(self.since.saturating_add(ttl))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Refuses what is fenced off.
pub(super) fn check(connection: &Connection, fence: Option<&Fence>) -> Result<(), Fault<CommitError>> {
    let Some(fence) = fence else { return Ok(()) };
    let sql = "SELECT 1 FROM leases WHERE name = ?1 AND token = ?2";
    let held = connection.prepare_cached(sql)?.exists(params![fence.name, as_i64(fence.token)])?;
    if held { Ok(()) } else { Err(CommitError::Fenced(fence.clone()).into()) }
}

pub(super) fn acquire(connection: &Connection, name: &str, holder: &str, ttl: Duration, now: &Now) -> Result<Option<Fence>, Fault> {
    let sql = "INSERT INTO leases VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE \
        SET holder = excluded.holder, token = excluded.token, boot = excluded.boot, until_us = excluded.until_us \
        WHERE holder = excluded.holder OR boot <> excluded.boot OR until_us <= ?6";
    let token = next(connection)?;
    let taken = connection.prepare_cached(sql)?.execute(params![name, holder, token, now.boot, now.after(ttl), now.micros()])?;
    Ok((taken > 0).then(|| Fence { name: name.to_owned(), token: u64::try_from(token).unwrap_or(0) }))
}

pub(super) fn renew(connection: &Connection, fence: &Fence, ttl: Duration, now: &Now) -> Result<(), Fault<LeaseError>> {
    let sql = "UPDATE leases SET boot = ?3, until_us = ?4 WHERE name = ?1 AND token = ?2";
    let renewed = connection.prepare_cached(sql)?.execute(params![fence.name, as_i64(fence.token), now.boot, now.after(ttl)])?;
    if renewed > 0 { Ok(()) } else { Err(Fault::Own(LeaseError::Lost(fence.clone()))) }
}

pub(super) fn release(connection: &Connection, fence: &Fence) -> Result<(), Fault> {
    let sql = "DELETE FROM leases WHERE name = ?1 AND token = ?2";
    connection.prepare_cached(sql)?.execute(params![fence.name, as_i64(fence.token)])?;
    Ok(())
}

pub(super) fn list(connection: &Connection, prefix: &str, now: &Now) -> Result<Vec<Lease>, Fault> {
    let sql = "SELECT name, holder, token, CASE WHEN boot = ?3 THEN until_us ELSE 0 END FROM leases \
        WHERE name >= ?1 AND (?2 IS NULL OR name < ?2) ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![prefix, List::prefix(prefix).end(), now.boot], |row| {
        let left = row.get::<_, i64>(3)?.saturating_sub(now.micros());
        let token = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
        Ok(Lease { name: row.get(0)?, holder: row.get(1)?, token, left: Duration::from_micros(u64::try_from(left).unwrap_or(0)) })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Which start of the machine this is.
pub(super) fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// How far versions and tokens jump when the machine was started anew: more than can have been lost with it that was
/// acknowledged and not yet on disk, so that none is given twice.
const JUMP: i64 = 1_000_000;

/// Notes which start of the machine it is.
pub(super) fn note_boot(connection: &Connection, boot: &str) -> Result<(), Fault> {
    let known: Option<String> = connection.query_row("SELECT boot FROM counters", [], |row| row.get(0)).optional()?;
    match known {
        None => Err(Fault::Own(StoreError::DamagedAudit { seq: 0, reason: "its end is not remembered".into() })),
        Some(known) if known == boot => Ok(()),
        Some(known) => {
            let jump = if known.is_empty() { 0 } else { JUMP };
            connection.execute("UPDATE counters SET boot = ?1, last = last + ?2", params![boot, jump])?;
            Ok(())
        }
    }
}
