//! Times of schedules.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use squall_api::Problem;
use squall_api::runs::NewRun;
use squall_api::schedules::{Firing, FiringState};
use squall_model::RunId;
use squall_schedule::{Decided, Decision, Outcome, Schedule, State, Timetable};
use squall_store::{Batch, CommitError, Document, Fence, List, StoreError, Write};

use super::{FIRING, PENDING, Pending, SCHEDULE_STATE, ScheduleDocument, ScheduleState, Scheduler, firing_id};
use crate::ApiError;
use crate::error::json_of;

/// So many decisions of a schedule, or a monkey, are kept at least.
const KEPT: u64 = 2000;
/// And so many more before the oldest are dropped.
const SLACK: u64 = 200;
/// How often a batch is made anew without what was decided already.
const TRIES: usize = 50;

impl Scheduler {
    /// Decides what is due of one schedule.
    pub(super) async fn schedule(&self, fence: &Fence, document: &Document, waiting: &BTreeSet<RunId>) -> Result<(), ApiError> {
        let now = self.0.wall.now();
        let schedule = document.decode::<ScheduleDocument>()?.read()?;
        let timetable = Timetable::new(&schedule).map_err(|e| Problem::invalid(format!("{}: {}", e.path, e.message)))?;
        let Some(kept) = self.0.db.get(SCHEDULE_STATE, &document.id).await? else {
            return Err(Problem::internal("the schedule has no state").hint("save it again").into());
        };
        let state: ScheduleState = kept.decode()?;
        let active = self.active(&state.active, waiting).await?;
        let decided = timetable.decide(State { decided: state.decided }, now, !active.is_empty());
        if decided.clock_went_back {
            tracing::debug!(schedule = document.id, decided = %state.decided, "the wall clock is behind what has been decided");
        }
        if decided.state.decided == state.decided && active == state.active {
            return Ok(());
        }
        let mut taken = BTreeSet::new();
        for _ in 0..TRIES {
            let (mut writes, active) = self.writes(&schedule, &decided, active.clone(), &taken, now)?;
            let body = json_of(&ScheduleState { decided: decided.state.decided, active })?;
            writes.push(Write::Replace { kind: SCHEDULE_STATE.into(), id: document.id.clone(), version: kept.version, body });
            match self.0.db.commit(Batch::new(writes).fenced(fence.clone())).await {
                Ok(_) => return self.prune(&format!("schedule/{}/", document.id)).await,
                // It was decided by another, or before the schedule was removed and saved again.
                Err(CommitError::Conflict { kind, id, .. }) if kind == FIRING => drop(taken.insert(id)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::conflict("its times were decided elsewhere all the while").into())
    }

    /// Those of a schedule's runs that are not over.
    async fn active(&self, runs: &[RunId], waiting: &BTreeSet<RunId>) -> Result<Vec<RunId>, ApiError> {
        let mut active = Vec::new();
        for run in runs {
            if waiting.contains(run) || self.goes_on(run).await? {
                active.push(run.clone());
            }
        }
        Ok(active)
    }

    /// Whether a run has begun and is not over.
    pub(super) async fn goes_on(&self, run: &RunId) -> Result<bool, ApiError> {
        match self.0.db.run(run).await {
            Ok(stored) => Ok(stored.summary.verdict.is_none()),
            Err(StoreError::UnknownRun(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The records of decisions, and the runs that are active then.
    fn writes(
        &self,
        schedule: &Schedule,
        decided: &Decided,
        mut active: Vec<RunId>,
        taken: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<(Vec<Write>, Vec<RunId>), ApiError> {
        let name = &schedule.metadata.name;
        let mut writes = Vec::new();
        if let Some(lapsed) = decided.lapsed {
            let id = format!("{name}-{}-lapsed", lapsed.first.strftime("%Y%m%dt%H%M%Sz"));
            let detail =
                format!("nobody looked for so long that these are not listed: all times from {} to {}", lapsed.first, lapsed.until);
            let firing = firing(id, lapsed.first, now, FiringState::Missed, detail);
            let document = firing_id("schedule", name, &firing.id);
            if !taken.contains(&document) {
                writes.push(Write::Create { kind: FIRING.into(), id: document, body: json_of(&firing)? });
            }
        }
        for Decision { occurrence, outcome } in &decided.decisions {
            let document = firing_id("schedule", name, &occurrence.id);
            if taken.contains(&document) {
                continue;
            }
            let record = |state, detail: &str| firing(occurrence.id.clone(), occurrence.due, now, state, detail.to_owned());
            let firing = match outcome {
                Outcome::Skip { detail, .. } => record(FiringState::Skipped, detail),
                Outcome::Missed { detail } => record(FiringState::Missed, detail),
                Outcome::Fire { replace, late } => {
                    let run = self.0.launcher.new_run();
                    let after = schedule.spec.missed.after.std();
                    let replaces = if *replace { active.clone() } else { Vec::new() };
                    let pending = pending(schedule, &occurrence.id, run.clone(), later(occurrence.due.max(now), after), replaces);
                    writes.push(Write::Create { kind: PENDING.into(), id: document.clone(), body: json_of(&pending)? });
                    active.push(run.clone());
                    let detail = if *late { "it was missed, and is made up for" } else { "" };
                    Firing { run: Some(run), ..record(FiringState::Waiting, detail) }
                }
            };
            writes.push(Write::Create { kind: FIRING.into(), id: document, body: json_of(&firing)? });
        }
        Ok((writes, active))
    }

    /// Drops the oldest records where there are many.
    pub(super) async fn prune(&self, prefix: &str) -> Result<(), ApiError> {
        let count = self.0.db.count(FIRING, prefix).await?;
        if count <= KEPT + SLACK {
            return Ok(());
        }
        let oldest = List { limit: usize::try_from(count - KEPT).ok(), ..List::prefix(prefix) };
        let mut writes = Vec::new();
        for document in self.0.db.list(FIRING, &oldest).await? {
            if document.decode::<Firing>()?.state != FiringState::Waiting {
                writes.push(Write::Delete { kind: FIRING.into(), id: document.id, version: Some(document.version) });
            }
        }
        self.0.db.commit(Batch::new(writes).unsynced()).await?;
        Ok(())
    }
}

/// The note of a run that is to begin.
pub(crate) fn pending(schedule: &Schedule, id: &str, run: RunId, until: Timestamp, replaces: Vec<RunId>) -> Pending {
    let name = &schedule.metadata.name;
    let new = NewRun {
        experiment: Some(schedule.spec.experiment.clone()),
        set: schedule.spec.set.clone(),
        from: schedule.spec.from.clone(),
        ..NewRun::default()
    };
    Pending {
        firing: firing_id("schedule", name, id),
        run,
        new,
        by: format!("schedule/{name}"),
        cause: json!({ "schedule": name, "occurrence": id }),
        until,
        replaces,
        kill: None,
    }
}

pub(crate) fn firing(id: String, due: Timestamp, decided: Timestamp, state: FiringState, detail: String) -> Firing {
    Firing { id, due, decided, state, run: None, detail, group: None, host: None }
}

pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
