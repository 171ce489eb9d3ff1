//! Game days in the database: each change is one batch of the game day, what it adds to the timeline, and the audit trail's row,
//! made from the version that was read. Two people at once are one after the other, and none is lost.

use jiff::Timestamp;
use serde_json::{Value as Json, json};
use squall_api::Problem;
use squall_api::gamedays::{Changed, DaySummary, DayView};
use squall_api::runs::NewRun;
use squall_gameday::{DayError, DayState, DayStep, Entry, Experiment, GameDay, Plan, ScenarioState};
use squall_model::{RunId, Verdict};
use squall_notify::{EventKind, Notice};
use squall_store::{Batch, CommitError, Document, List, StoreError, Write};

use crate::auth::{Caller, Outcome, Role, audit, secrets};
use crate::error::{fields, json_of};
use crate::follow::About;
use crate::runs::Wish;
use crate::versions::key;
use crate::{ApiError, App};

/// Kind of the documents of game days.
const DAY: &str = "gameday";
/// Kind of the documents of their timelines. The id is the game day's, and the entry's number.
pub(crate) const ENTRY: &str = "gameday-entry";
/// How often a change is made anew when somebody else was faster.
const TRIES: usize = 50;
/// How long the start of a scenario's run may take.
const STARTING: std::time::Duration = std::time::Duration::from_mins(1);

/// A game day, and its version.
pub(crate) struct Known {
    pub id: String,
    pub version: u64,
    pub day: GameDay,
}

impl Known {
    fn of(document: &Document) -> Result<Self, StoreError> {
        Ok(Self { id: document.id.clone(), version: document.version, day: document.decode()? })
    }

    /// As the API shows it.
    pub(crate) fn view(self, now: Timestamp) -> DayView {
        DayView { id: self.id, version: self.version, now, day: self.day }
    }
}

/// One game day.
pub(crate) async fn get(app: &App, id: &str) -> Result<Known, ApiError> {
    let document = app.db.get(DAY, key("game day", id)?).await?.ok_or_else(|| Problem::not_found("game day", id))?;
    Ok(Known::of(&document)?)
}

/// Game days, the newest first.
pub(crate) async fn list(app: &App, after: Option<String>, limit: usize) -> Result<Vec<DaySummary>, ApiError> {
    let list = List { after, limit: Some(limit), descending: true, ..List::default() };
    let summary = |document: &Document| -> Result<DaySummary, StoreError> {
        let Known { id, day, .. } = Known::of(document)?;
        Ok(DaySummary {
            id,
            state: day.state,
            starts: day.plan.starts,
            started: day.started,
            ended: day.ended,
            scenarios: day.scenarios.len(),
            participants: day.plan.participants.into_iter().map(|participant| participant.name).collect(),
            title: day.plan.title,
        })
    };
    app.db.list(DAY, &list).await?.iter().map(summary).collect::<Result<_, StoreError>>().map_err(ApiError::from)
}

/// Entries of a timeline after a number.
pub(crate) async fn entries(app: &App, id: &str, after: u64, limit: Option<usize>) -> Result<Vec<Entry>, ApiError> {
    let list = List { prefix: format!("{id}/"), after: Some(entry_id(id, after)), limit, descending: false };
    app.db.list(ENTRY, &list).await?.iter().map(Document::decode).collect::<Result<_, StoreError>>().map_err(ApiError::from)
}

fn entry_id(day: &str, seq: u64) -> String {
    format!("{day}/{seq:010}")
}

/// Refuses a plan that says what cannot be meant.
pub(crate) fn check(plan: &Plan) -> Result<(), ApiError> {
    let mistakes = plan.check();
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(fields("the plan cannot be used", mistakes.into_iter().map(|m| (m.path, m.message, m.hint))).into())
}

/// Writes a new game day.
pub(crate) async fn create(app: &App, caller: &Caller, plan: Plan) -> Result<Known, ApiError> {
    check(&plan)?;
    let day = GameDay::new(plan, &caller.name);
    let millis = u64::try_from(app.wall.now().as_millisecond()).unwrap_or_default();
    let id = format!("g{}", &RunId::new(millis, u16::from_ne_bytes(secrets::random()?)).as_str()[1..]);
    let write = Write::Create { kind: DAY.into(), id: id.clone(), body: json_of(&day)? };
    let row = audit(app, caller, "gameday.create", &format!("gameday/{id}"), Outcome::Ok, json!({ "title": day.plan.title }));
    let committed = app.db.commit(Batch::new([write, row])).await?;
    Ok(Known { id, version: committed.versions.first().copied().unwrap_or_default(), day })
}

/// Takes away one that was never started.
pub(crate) async fn remove(app: &App, caller: &Caller, id: &str) -> Result<(), ApiError> {
    let known = get(app, id).await?;
    if known.day.started.is_some() {
        return Err(Problem::conflict("the game day was started: what happened on it is kept").into());
    }
    let mut writes = vec![Write::Delete { kind: DAY.into(), id: id.to_owned(), version: Some(known.version) }];
    let notes = entries(app, id, 0, None).await?;
    writes.extend(notes.iter().map(|entry| Write::Delete { kind: ENTRY.into(), id: entry_id(id, entry.seq), version: None }));
    writes.push(audit(app, caller, "gameday.remove", &format!("gameday/{id}"), Outcome::Ok, Json::Null));
    app.db.commit(Batch::new(writes)).await?;
    Ok(())
}

/// What somebody may do on a game day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Start, end and cancel: a facilitator or operator of it who may also run experiments, or an admin.
    Lead,
    /// Mark and note: whoever takes part, and whoever may run experiments.
    TakePart,
}

impl Right {
    fn check(self, caller: &Caller, day: &GameDay) -> Result<(), ApiError> {
        let role = day.role(&caller.name);
        let (may, hint) = match self {
            Self::Lead => {
                let leads = role.is_some_and(squall_gameday::Role::leads) && caller.may(Role::Operator);
                (leads || caller.may(Role::Admin), "its facilitators and operators may, if they are operators of Squall too")
            }
            Self::TakePart => (role.is_some() || caller.may(Role::Operator), "ask its facilitator to be added to the participants"),
        };
        if may { Ok(()) } else { Err(Problem::forbidden(format!("`{}` may not do this on this game day", caller.name)).hint(hint).into()) }
    }
}

fn refused(error: DayError) -> ApiError {
    match error {
        DayError::NoScenario(_) | DayError::NoAction(_) => Problem { detail: Some(error.to_string()), ..Problem::not_found("", "") }.into(),
        DayError::Words(words) => Problem::invalid(words).into(),
        DayError::Day { .. } | DayError::Scenario { .. } | DayError::Busy(_) => Problem::conflict(error.to_string()).into(),
    }
}

/// Who changes a game day.
enum By<'a> {
    Caller(&'a Caller, Right),
    /// What a run did.
    Run(&'a str),
}

/// Makes a change that somebody asked for. With a version, only of that one; without, of whatever is there.
pub(crate) async fn change(
    app: &App,
    caller: &Caller,
    right: Right,
    id: &str,
    version: Option<u64>,
    step: DayStep,
) -> Result<Changed, ApiError> {
    if let DayStep::Replan(plan) = &step {
        check(plan)?;
    }
    applied(app, &By::Caller(caller, right), id, version, step).await
}

async fn applied(app: &App, by: &By<'_>, id: &str, version: Option<u64>, step: DayStep) -> Result<Changed, ApiError> {
    for _ in 0..TRIES {
        let mut known = get(app, id).await?;
        if version.is_some_and(|version| version != known.version) {
            let hint = "read it again, and repeat the change";
            return Err(Problem::conflict(format!("the game day `{id}` was changed meanwhile")).hint(hint).into());
        }
        let name = match by {
            By::Caller(caller, right) => {
                right.check(caller, &known.day)?;
                caller.name.as_str()
            }
            By::Run(run) => *run,
        };
        let (now, before) = (app.wall.now(), known.day.clone());
        let happened = known.day.apply(step.clone(), name, now).map_err(refused)?;
        if known.day == before {
            return Ok(Changed { view: known.view(now), entry: None, still_running: Vec::new() });
        }
        let entry = happened.map(|what| Entry { seq: known.day.entries, at: now, by: name.to_owned(), what });
        let mut writes = vec![Write::Replace { kind: DAY.into(), id: id.to_owned(), version: known.version, body: json_of(&known.day)? }];
        if let Some(entry) = &entry {
            writes.push(Write::Create { kind: ENTRY.into(), id: entry_id(id, entry.seq), body: json_of(entry)? });
        }
        if let By::Caller(caller, _) = by {
            let detail = entry.as_ref().map(|entry| json_of(&entry.what)).transpose()?.unwrap_or_default();
            writes.push(audit(app, caller, "gameday.change", &format!("gameday/{id}"), Outcome::Ok, json!({ "what": detail })));
        }
        match app.db.commit(Batch::new(writes)).await {
            Ok(committed) => {
                known.version = committed.versions.first().copied().unwrap_or_default();
                return Ok(Changed { view: known.view(now), entry, still_running: Vec::new() });
            }
            // Somebody was faster: from what it is now.
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::conflict("too many change it at once").hint("try again").into())
}

/// Begins it, and tells.
pub(crate) async fn start(app: &App, caller: &Caller, id: &str) -> Result<Changed, ApiError> {
    let changed = change(app, caller, Right::Lead, id, None, DayStep::Start).await?;
    tell(app, id, &changed.view.day, EventKind::GameDayStarted, Some(&caller.name));
    Ok(changed)
}

/// Ends it, and tells.
pub(crate) async fn finish(app: &App, caller: &Caller, id: &str) -> Result<Changed, ApiError> {
    let changed = change(app, caller, Right::Lead, id, None, DayStep::Finish).await?;
    tell(app, id, &changed.view.day, EventKind::GameDayEnded, Some(&caller.name));
    Ok(changed)
}

/// Calls it off, and stops its run.
pub(crate) async fn cancel(app: &App, caller: &Caller, id: &str, reason: String) -> Result<Changed, ApiError> {
    let mut changed = change(app, caller, Right::Lead, id, None, DayStep::Cancel { reason: reason.clone() }).await?;
    let by = format!("{} (game day called off: {reason})", caller.name);
    let live: Vec<RunId> = changed.view.day.live_runs().filter_map(|run| run.parse().ok()).collect();
    for run in live {
        if let Err(error) = app.runs.ask(&run, Wish::Stop, &by).await {
            tracing::warn!(%run, error = %error.0, "a run of a game day that was called off was not asked to stop");
            changed.still_running.push(run.to_string());
        }
    }
    if changed.view.day.started.is_some() {
        tell(app, id, &changed.view.day, EventKind::GameDayEnded, Some(&caller.name));
    }
    Ok(changed)
}

fn tell(app: &App, id: &str, day: &GameDay, event: EventKind, by: Option<&str>) {
    let subject = format!("gameday:{id}");
    let mut notice = Notice::new(format!("{subject}/{}", event.name()), event, app.wall.now(), subject);
    notice.sequence = day.entries;
    (notice.game_day, notice.by) = (Some(day.plan.title.clone()), by.map(str::to_owned));
    notice.reason.clone_from(&day.cancelled);
    notice.url = Some(app.notifications.link(&format!("/gamedays/{id}")));
    app.notifications.tell(notice);
}

/// Starts the run of a scenario. One at a time on each game day, on whichever server it is asked for.
pub(crate) async fn start_scenario(app: &App, caller: &Caller, id: &str, scenario: usize) -> Result<Changed, ApiError> {
    let known = get(app, id).await?;
    Right::Lead.check(caller, &known.day)?;
    let holder = secrets::hex(&secrets::random::<8>()?);
    let lease = app.db.acquire(&format!("gameday/{id}"), &holder, STARTING).await?;
    let Some(lease) = lease else {
        return Err(Problem::conflict("somebody is starting a scenario of this game day").hint("look again in a moment").into());
    };
    let started = started(app, caller, id, scenario).await;
    app.db.release(&lease).await?;
    started
}

async fn started(app: &App, caller: &Caller, id: &str, scenario: usize) -> Result<Changed, ApiError> {
    let known = get(app, id).await?;
    known.day.may_start(scenario).map_err(refused)?;
    let plan = known.day.plan.scenarios.get(scenario).ok_or_else(|| refused(DayError::NoScenario(scenario)))?;
    let (experiment, library) = match &plan.experiment {
        Experiment::Saved(name) => (Some(name.clone()), None),
        Experiment::Library(name) => (None, Some(name.clone())),
    };
    let new = NewRun { experiment, library, set: plan.set.clone(), from: plan.from.clone(), ..NewRun::default() };
    let request = app.runs.read(&new, caller, json!({ "gameDay": id, "scenario": scenario })).await?;
    let run = app.runs.start(request).await?;
    let step = DayStep::StartScenario { scenario, run: run.to_string() };
    let changed = match change(app, caller, Right::Lead, id, None, step).await {
        Ok(changed) => changed,
        Err(error) => {
            // The game day was called off meanwhile: so is the run.
            app.runs.stop(&run, "the game day, which was changed meanwhile");
            return Err(error);
        }
    };
    // Whoever follows the run may have been faster than the game day.
    let Ok(state) = app.runs.state(&run).await else { return Ok(changed) };
    let began = state.started.as_ref().and_then(|started| started.wall.parse::<Timestamp>().ok());
    let mut changed = changed;
    if let Some((at, began)) = state.first_in_force.zip(began) {
        let since = began + std::time::Duration::from_micros(at);
        changed.view = applied(app, &By::Run(run.as_str()), id, None, DayStep::FaultInForce { scenario, since }).await?.view;
    }
    if let Some((verdict, reason)) = state.verdict {
        changed.view = applied(app, &By::Run(run.as_str()), id, None, DayStep::RunEnded { scenario, verdict, reason }).await?.view;
    }
    Ok(changed)
}

/// The game day and scenario that a run was started for.
fn of(about: &About) -> Option<(&str, usize)> {
    let scenario = about.cause["scenario"].as_u64().and_then(|index| usize::try_from(index).ok())?;
    Some((about.cause["gameDay"].as_str()?, scenario))
}

/// The first fault of a run is in force.
pub(crate) async fn in_force(app: &App, about: &About, since: Timestamp) -> Result<(), ApiError> {
    ran(app, about, |scenario| DayStep::FaultInForce { scenario, since }).await
}

/// A run is over.
pub(crate) async fn ended(app: &App, about: &About, verdict: Verdict, reason: &str) -> Result<(), ApiError> {
    ran(app, about, |scenario| DayStep::RunEnded { scenario, verdict, reason: reason.to_owned() }).await
}

async fn ran(app: &App, about: &About, step: impl FnOnce(usize) -> DayStep) -> Result<(), ApiError> {
    let Some((id, scenario)) = of(about) else { return Ok(()) };
    let Some(document) = app.db.get(DAY, id).await? else { return Ok(()) };
    let known = Known::of(&document)?;
    // One that is not this scenario's run was started, and given up, before the game day knew of it.
    let its = known.day.scenarios.get(scenario);
    if its.is_none_or(|its| its.run.as_deref() != Some(about.run.as_str()) || its.state == ScenarioState::Skipped) {
        return Ok(());
    }
    applied(app, &By::Run(about.run.as_str()), id, None, step(scenario)).await.map(drop)
}

/// Whether nothing more is to be expected of its timeline soon.
pub(crate) fn over(day: &GameDay) -> bool {
    matches!(day.state, DayState::Finished | DayState::Cancelled)
}
