//! Follows the journals of all runs, and the hosts: what happens to them becomes notices, marks of game days and findings.
//!
//! How far a run was followed is kept in a document, and everything that is done with an event can be done twice. So nothing is
//! missed when the server that follows dies, and nothing is told again long after.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use squall_api::schedules::{Firing, FiringState};
use squall_engine::{State, Stop};
use squall_model::{Event, Record, RunId, Verdict};
use squall_notify::{EventKind, Notice};
use squall_store::{Batch, Change, Filter, List, StoreError, Write};

use crate::scheduler::FIRING;
use crate::{ApiError, App, findings, gamedays};

/// Kind of the documents that say how far a run was followed. The id is the run's; `since` is that of the first start.
const KIND: &str = "followed";
const SINCE: &str = "since";
/// Runs that ended longer ago are not looked at again.
const REACH: Duration = Duration::from_hours(7 * 24);
/// Times of schedules that were decided longer ago are not looked at again.
const FIRINGS_REACH: Duration = Duration::from_hours(1);
const HOSTS_EVERY: Duration = Duration::from_secs(10);
/// A busy run writes many events: they are read together.
const GATHER: Duration = Duration::from_millis(50);
const AFTER_FAILURE: Duration = Duration::from_secs(1);
const PAGE: usize = 500;

/// How far a run was followed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Mark {
    /// Events before this one have been told.
    next: u64,
    /// Its end has been told.
    over: bool,
}

/// A run that is being followed.
struct Followed {
    /// What is known of it; nothing if its manifest can no longer be read.
    state: Option<State>,
    mark: Mark,
    /// The next record to read.
    seen: u64,
    about: About,
}

/// What every notice of a run says.
#[derive(Clone)]
pub(crate) struct About {
    pub run: RunId,
    pub experiment: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub user: String,
    pub began: Timestamp,
    pub cause: Json,
    pub hosts: BTreeSet<String>,
}

/// What a record means to people.
enum Told {
    Started,
    Stopped(String),
    Aborted(String),
    InForce(u64),
    Ended(Verdict, String),
}

/// Follows until the database is gone.
pub(crate) async fn follow(app: &App) {
    let clock = app.notifications.clock().clone();
    let (mut changes, mut runs, mut dirty) = (app.db.watch(), HashMap::new(), Dirty::default());
    let (mut behind, mut hosts_at) = (true, clock.now());
    loop {
        if behind {
            match all(app).await {
                Ok(found) => {
                    dirty.runs.extend(found.runs);
                    dirty.firings.extend(found.firings);
                    behind = false;
                }
                Err(error) => tracing::warn!(problem = ?error.0.detail, "runs cannot be followed just now"),
            }
        }
        let mut failed = behind;
        for run in std::mem::take(&mut dirty.runs) {
            if let Err(error) = advance(app, &mut runs, &run).await {
                tracing::warn!(%run, problem = ?error.0.detail, "the run cannot be followed just now");
                // What is known of it may be half of the truth: read it anew.
                runs.remove(&run);
                dirty.runs.insert(run);
                failed = true;
            }
        }
        for firing in std::mem::take(&mut dirty.firings) {
            if let Err(error) = fired(app, &firing).await {
                tracing::warn!(firing, problem = ?error.0.detail, "what became of a schedule's time cannot be told just now");
                dirty.firings.insert(firing);
                failed = true;
            }
        }
        if clock.now() >= hosts_at {
            hosts_at = clock.now() + HOSTS_EVERY;
            if let Err(error) = hosts(app).await {
                tracing::warn!(problem = ?error.0.detail, "hosts cannot be looked at just now");
            }
        }
        let pause = if failed { clock.now() + AFTER_FAILURE } else { hosts_at };
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => behind |= noted(&mut dirty, change),
                None => return,
            },
            () = clock.sleep_until(pause) => {}
        }
        clock.sleep_until(clock.now() + GATHER).await;
        while let Some(Some(change)) = changes.next().now_or_never() {
            behind |= noted(&mut dirty, change);
        }
    }
}

/// What has changed.
#[derive(Default)]
struct Dirty {
    runs: BTreeSet<RunId>,
    /// Ids of the documents that say what became of the times of schedules.
    firings: BTreeSet<String>,
}

/// Whether some may have been missed.
fn noted(dirty: &mut Dirty, change: Change) -> bool {
    match change {
        Change::Run(run) => drop(dirty.runs.insert(run)),
        Change::Document { kind, id } if kind == FIRING => drop(dirty.firings.insert(id)),
        Change::Document { .. } => {}
        Change::Missed => return true,
    }
    false
}

/// Everything that may have something to tell. What is from before the first start of a server that follows has not.
async fn all(app: &App) -> Result<Dirty, ApiError> {
    let now = app.wall.now();
    let since: Timestamp = if let Some(document) = app.db.get(KIND, SINCE).await? {
        document.decode()?
    } else {
        let body = Json::String(now.to_string());
        app.db.commit(Batch::new([Write::Put { kind: KIND.into(), id: SINCE.into(), body }])).await?;
        now
    };
    let oldest = since.max(now.checked_sub(REACH).unwrap_or(since));
    forget(app, now).await?;
    let (mut found, mut before) = (Dirty::default(), None);
    let recent = since.max(now.checked_sub(FIRINGS_REACH).unwrap_or(since));
    let firings = app.db.list(FIRING, &List::default()).await?;
    found.firings = firings.into_iter().filter(|document| document.updated >= recent).map(|document| document.id).collect();
    loop {
        let page = app.db.runs(&Filter { limit: Some(PAGE), ..Filter::default() }, before.as_ref()).await?;
        let last = page.len() < PAGE;
        for stored in page {
            before = Some(stored.summary.run.clone());
            // One that began before may still be under way.
            let began: Option<Timestamp> = stored.summary.started.parse().ok();
            if began.is_some_and(|began| began < oldest) && stored.summary.verdict.is_some() {
                return Ok(found);
            }
            found.runs.insert(stored.summary.run);
        }
        if last {
            return Ok(found);
        }
    }
}

/// Forgets how far runs were followed that are not looked at again.
async fn forget(app: &App, now: Timestamp) -> Result<(), ApiError> {
    let documents = app.db.list(KIND, &List::prefix("r")).await?;
    let old = documents.into_iter().filter(|document| document.updated + REACH * 2 < now);
    let writes: Vec<Write> = old.map(|document| Write::Delete { kind: document.kind, id: document.id, version: None }).collect();
    if !writes.is_empty() {
        app.db.commit(Batch::new(writes).unsynced()).await?;
    }
    Ok(())
}

async fn advance(app: &App, runs: &mut HashMap<RunId, Followed>, run: &RunId) -> Result<(), ApiError> {
    if !runs.contains_key(run) {
        let Some(followed) = open(app, run).await? else { return Ok(()) };
        runs.insert(run.clone(), followed);
    }
    let Some(followed) = runs.get_mut(run) else { return Ok(()) };
    loop {
        let records = app.db.records_from(run, followed.seen, PAGE).await?;
        let last = records.len() < PAGE;
        for record in &records {
            for told in followed.take(record) {
                let over = matches!(told, Told::Ended(..));
                if record.seq >= followed.mark.next {
                    tell(app, &followed.about, record.seq, record.at, told).await?;
                    followed.mark = Mark { next: record.seq, over };
                    keep(app, run, followed.mark).await?;
                }
            }
            followed.seen = record.seq + 1;
        }
        if last {
            break;
        }
    }
    if followed.mark.over {
        runs.remove(run);
    }
    Ok(())
}

async fn keep(app: &App, run: &RunId, mark: Mark) -> Result<(), ApiError> {
    let body = serde_json::to_value(mark).unwrap_or_default();
    app.db.commit(Batch::new([Write::Put { kind: KIND.into(), id: run.to_string(), body }]).unsynced()).await?;
    Ok(())
}

async fn open(app: &App, run: &RunId) -> Result<Option<Followed>, ApiError> {
    let mark: Mark = app.db.get(KIND, run.as_str()).await?.map(|document| document.decode()).transpose()?.unwrap_or_default();
    if mark.over {
        return Ok(None);
    }
    let stored = match app.db.run(run).await {
        Ok(stored) => stored,
        Err(StoreError::UnknownRun(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if app.db.records_from(run, 0, 1).await?.is_empty() {
        return Ok(None);
    }
    let state = app.runs.evidence(run).await.ok().map(|(program, _)| State::new(program));
    let summary = stored.summary;
    let about = About {
        run: run.clone(),
        experiment: summary.experiment,
        labels: summary.labels,
        user: summary.user,
        began: summary.started.parse().unwrap_or_default(),
        cause: stored.extra["cause"].clone(),
        hosts: BTreeSet::new(),
    };
    Ok(Some(Followed { state, mark, seen: 0, about }))
}

impl Followed {
    fn take(&mut self, record: &Record) -> Vec<Told> {
        let mut told = Vec::new();
        if let Event::Selected { targets, .. } = &record.event {
            self.about.hosts.extend(targets.iter().filter_map(|target| target.id.split_once('/')).map(|(host, _)| host.to_owned()));
        }
        if let Event::Started(_) = &record.event {
            told.push(Told::Started);
        }
        if let Some(state) = &mut self.state {
            let (stopped, in_force) = (state.stop.is_some(), state.first_in_force.is_some());
            state.step(record.at, &record.event);
            if let Some(at) = state.first_in_force.filter(|_| !in_force) {
                told.push(Told::InForce(at));
            }
            match state.stop.as_ref().filter(|_| !stopped) {
                Some(Stop::Asked(by)) => told.push(Told::Stopped(by.clone())),
                Some(Stop::Guard { why, .. } | Stop::Worse { why, .. } | Stop::Timeout(why) | Stop::NoEffect(why) | Stop::Broken(why)) => {
                    told.push(Told::Aborted(why.clone()));
                }
                // Nothing was touched: its end says so.
                Some(Stop::Unsteady(_) | Stop::Unmeasured(_)) | None => {}
            }
        }
        if let Event::Ended { verdict, reason } = &record.event {
            told.push(Told::Ended(*verdict, reason.clone()));
        }
        told
    }
}

async fn tell(app: &App, about: &About, seq: u64, at: u64, told: Told) -> Result<(), ApiError> {
    let when = |micros: u64| about.began + Duration::from_micros(micros);
    let notice = |event: EventKind| {
        let mut notice = about.notice(app, &format!("{}/{}", about.run, event.name()), event, when(at));
        notice.sequence = seq;
        notice
    };
    match told {
        Told::Started => write(app, &Notice { by: Some(about.user.clone()), ..notice(EventKind::RunStarted) }).await,
        Told::Stopped(by) => write(app, &Notice { by: Some(by), ..notice(EventKind::RunStopped) }).await,
        Told::Aborted(why) => write(app, &Notice { reason: Some(why), ..notice(EventKind::RunAborted) }).await,
        Told::InForce(since) => gamedays::in_force(app, about, when(since)).await,
        Told::Ended(verdict, reason) => {
            let ended = Notice { verdict: Some(verdict), reason: Some(reason.clone()), ..notice(EventKind::RunEnded) };
            write(app, &ended).await?;
            gamedays::ended(app, about, verdict, &reason).await?;
            findings::observe(app, about, verdict, when(at)).await
        }
    }
}

impl About {
    /// A notice about the run.
    pub(crate) fn notice(&self, app: &App, id: &str, event: EventKind, at: Timestamp) -> Notice {
        Notice {
            run: Some(self.run.to_string()),
            experiment: Some(self.experiment.clone()),
            labels: self.labels.clone(),
            hosts: self.hosts.iter().cloned().collect(),
            schedule: self.cause["schedule"].as_str().map(str::to_owned),
            url: Some(app.notifications.link(&format!("/runs/{}", self.run))),
            ..Notice::new(id, event, at, self.run.as_str())
        }
    }
}

/// Writes a notice before going on: the run is not marked as followed before it is on disk.
pub(crate) async fn write(app: &App, notice: &Notice) -> Result<(), ApiError> {
    app.notifications.write(notice).await.map_err(|error| {
        tracing::warn!(notice = notice.id, %error, "a notice was not written yet");
        squall_api::Problem::unavailable("a notice cannot be written").into()
    })
}

/// Tells that a run of a schedule is about to start, or that it could not.
async fn fired(app: &App, id: &str) -> Result<(), ApiError> {
    let Some(document) = app.db.get(FIRING, id).await? else { return Ok(()) };
    let firing: Firing = document.decode()?;
    let event = match firing.state {
        FiringState::Waiting => EventKind::RunStarting,
        FiringState::Missed | FiringState::Refused => EventKind::ScheduleMissed,
        FiringState::Started | FiringState::Skipped | FiringState::Leashed => return Ok(()),
    };
    // `schedule` or `monkey`, its name, and the firing's own id.
    let name = id.split('/').nth(1).unwrap_or(id);
    let subject = format!("schedule:{name}");
    let mut notice = Notice::new(format!("firing:{id}/{}", event.name()), event, firing.decided, subject);
    (notice.schedule, notice.due) = (Some(name.to_owned()), Some(firing.due));
    notice.run = firing.run.map(|run| run.to_string());
    notice.reason = (!firing.detail.is_empty()).then_some(firing.detail);
    notice.hosts = firing.host.into_iter().collect();
    notice.url = Some(app.notifications.link(&format!("/schedules/{name}")));
    write(app, &notice).await
}

/// Kind of the documents that say which hosts were told of as lost. The id is the host's name.
const LOST: &str = "host-lost";

/// Tells of hosts that were not heard of for too long, and of those that are back.
async fn hosts(app: &App) -> Result<(), ApiError> {
    let now = app.wall.now();
    let known = app.db.list(LOST, &List::default()).await?;
    let hosts = app.fleet.hosts().await;
    for host in &hosts {
        let was = known.iter().find(|document| document.id == host.name);
        let silent = Duration::try_from(now.duration_since(host.seen)).unwrap_or_default();
        let lost = !host.connected && silent >= app.notifications.host_lost_after();
        let event = match (was, lost) {
            (None, true) => EventKind::HostLost,
            (Some(_), false) if host.connected => EventKind::HostBack,
            _ => continue,
        };
        let since = was.map_or_else(|| host.seen.to_string(), |document| document.body.as_str().unwrap_or_default().to_owned());
        let subject = format!("host:{}", host.name);
        // Told again, it has the same time, and so is the same.
        let at = if lost { host.seen + app.notifications.host_lost_after() } else { now };
        let mut notice = Notice::new(format!("{subject}/{}/{since}", event.name()), event, at, subject);
        (notice.hosts, notice.labels) = (vec![host.name.clone()], host.labels.clone());
        notice.url = Some(app.notifications.link(&format!("/hosts/{}", host.name)));
        write(app, &notice).await?;
        let id = host.name.clone();
        let change = match event {
            EventKind::HostLost => Write::Put { kind: LOST.into(), id, body: Json::String(since) },
            _ => Write::Delete { kind: LOST.into(), id, version: None },
        };
        app.db.commit(Batch::new([change])).await?;
    }
    // A host that was taken out of the fleet is not lost any more.
    for gone in known.iter().filter(|document| hosts.iter().all(|host| host.name != document.id)) {
        let delete = Write::Delete { kind: LOST.into(), id: gone.id.clone(), version: Some(gone.version) };
        app.db.commit(Batch::new([delete])).await?;
    }
    Ok(())
}
