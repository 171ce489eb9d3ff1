//! Kills of monkeys.

use serde_json::json;
use squall_api::Problem;
use squall_api::runs::NewRun;
use squall_api::schedules::{Firing, FiringState};
use squall_schedule::{Candidate, Kill, Monkey, Planner};
use squall_store::{Batch, CommitError, Document, Fence, Write};

use super::documents::PendingKill;
use super::schedules::{firing, later};
use super::{FIRING, MONKEY_STATE, MonkeyDocument, MonkeyState, PENDING, Pending, Scheduler, firing_id};
use crate::ApiError;
use crate::error::json_of;

impl Scheduler {
    /// Does what is due of one monkey.
    pub(super) async fn monkey(&self, fence: &Fence, document: &Document, hosts: &[Candidate]) -> Result<(), ApiError> {
        let now = self.0.wall.now();
        let monkey = document.decode::<MonkeyDocument>()?.read()?;
        let planner = Planner::new(&monkey).map_err(|e| Problem::invalid(format!("{}: {}", e.path, e.message)))?;
        let kept = self.0.db.get(MONKEY_STATE, &document.id).await?;
        let state = known(kept.as_ref(), planner.leashed())?;
        let decided = planner.decide(now, hosts, &state.groups);
        // A change of a monkey is good from then on: what would have been before is nobody's.
        let counts = |kill: &Kill| kill.at >= document.updated;
        let kills: Vec<Kill> = decided.kills.into_iter().filter(counts).collect();
        let missed: Vec<Kill> = decided.missed.into_iter().filter(counts).collect();
        if kills.is_empty() && missed.is_empty() {
            return Ok(());
        }
        let mut done = Vec::new();
        loop {
            let mut state = state.clone();
            let mut writes = Vec::new();
            for (kill, late) in kills.iter().map(|kill| (kill, false)).chain(missed.iter().map(|kill| (kill, true))) {
                let history = state.groups.entry(kill.group.clone()).or_default();
                history.decided = Some(kill.date);
                let id = firing_id("monkey", planner.name(), &kill.id);
                if done.contains(&id) {
                    continue;
                }
                let mut record = Firing {
                    group: Some(kill.group.clone()),
                    host: Some(kill.target.clone()),
                    ..firing(kill.id.clone(), kill.at, now, FiringState::Leashed, String::new())
                };
                if late {
                    (record.state, record.detail) = (FiringState::Missed, "nobody looked in time, or business hours were over".into());
                } else {
                    let before = history.last_kill.replace(kill.date);
                    if !kill.leashed {
                        let run = self.0.launcher.new_run();
                        let undone = PendingKill { monkey: planner.name().into(), group: kill.group.clone(), date: kill.date, before };
                        let mut pending = pending(&monkey, kill, run.clone(), undone)?;
                        pending.until = later(now, monkey.spec.late.std());
                        writes.push(Write::Create { kind: PENDING.into(), id: id.clone(), body: json_of(&pending)? });
                        (record.state, record.run) = (FiringState::Waiting, Some(run));
                    }
                }
                writes.push(Write::Create { kind: FIRING.into(), id, body: json_of(&record)? });
            }
            let (kind, id, body) = (MONKEY_STATE.to_owned(), document.id.clone(), json_of(&state)?);
            writes.push(match &kept {
                Some(kept) => Write::Replace { kind, id, version: kept.version, body },
                None => Write::Create { kind, id, body },
            });
            match self.0.db.commit(Batch::new(writes).fenced(fence.clone())).await {
                Ok(_) => return self.prune(&format!("monkey/{}/", document.id)).await,
                Err(CommitError::Conflict { kind, id, .. }) if kind == FIRING && !done.contains(&id) => done.push(id),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What a monkey remembers. What it did on the leash was not done, so it does not count for one that is off it.
pub(crate) fn known(kept: Option<&Document>, leashed: bool) -> Result<MonkeyState, ApiError> {
    let mut state: MonkeyState = kept.map(Document::decode).transpose()?.unwrap_or_default();
    if state.leashed != leashed {
        state.groups.values_mut().for_each(|history| history.last_kill = None);
        state.leashed = leashed;
    }
    Ok(state)
}

fn pending(monkey: &Monkey, kill: &Kill, run: squall_model::RunId, undone: PendingKill) -> Result<Pending, ApiError> {
    let name = &monkey.metadata.name;
    let experiment = monkey.experiment(kill).ok_or_else(|| Problem::internal("an unleashed monkey without a hypothesis"))?;
    let manifest = serde_json::to_string(&experiment).map_err(|e| Problem::internal(e.to_string()))?;
    Ok(Pending {
        firing: firing_id("monkey", name, &kill.id),
        run,
        new: NewRun { manifest: Some(manifest), from: monkey.spec.from.clone(), ..NewRun::default() },
        by: format!("monkey/{name}"),
        cause: json!({ "monkey": name, "kill": kill.id, "group": kill.group, "host": kill.target }),
        until: kill.at,
        replaces: Vec::new(),
        kill: Some(undone),
    })
}
