//! Schedules and monkeys: each time once, whoever looks, and whoever is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use squall_api::Problem;
use squall_api::client::Client;
use squall_api::schedules::{
    Firing, FiringState, ImportedMonkey, MonkeyDay, MonkeyImport, NewMonkey, NewSchedule, NextTime, SavedMonkey, SavedSchedule,
};
use squall_engine::{BoxFuture, Clock};
use squall_model::{Event, JOURNAL_VERSION, Record, RunId, Started, Verdict};
use squall_schedule::Candidate;
use squall_server::scheduler::{Began, Launcher, Pending, Scheduler};
use squall_server::{ApiError, WallClock};
use squall_store::{Batch, BeginRun, Database, Fence, Write};
use squall_testkit::FakeClock;

use crate::team::{PASSWORD, Team, status};

struct Wall(FakeClock);

impl WallClock for Wall {
    fn now(&self) -> Timestamp {
        self.0.wall().parse().expect("a time")
    }
}

/// Runs that only have a beginning and an end.
struct List {
    db: Arc<dyn Database>,
    clock: FakeClock,
    ids: Arc<AtomicU64>,
    /// What was begun, on any server: firing, and run.
    begun: Arc<Mutex<Vec<(String, RunId, Pending)>>>,
    stopped: Mutex<Vec<RunId>>,
    refuse: Arc<Mutex<Option<Problem>>>,
    hosts: Vec<Candidate>,
}

impl List {
    async fn begin(&self, run: &RunId, fence: Fence, wanted: &Pending) -> Result<Began, ApiError> {
        if let Some(problem) = self.refuse.lock().expect("mine").clone() {
            return Err(problem.into());
        }
        let started = Started {
            version: JOURNAL_VERSION,
            run: run.clone(),
            experiment: wanted.new.experiment.clone().unwrap_or_else(|| "of-a-monkey".into()),
            manifest: String::new(),
            seed: 1,
            wall: self.clock.wall(),
            host: "test".into(),
            user: wanted.by.clone(),
            squall: "0".into(),
        };
        let begin = BeginRun {
            started: started.clone(),
            labels: BTreeMap::new(),
            extra: json!({ "server": "test" }),
            records: Vec::new(),
            fence: Some(fence.clone()),
        };
        self.db.begin(begin).await?;
        self.db.append(run, &[Record { seq: 0, at: 0, event: Event::Started(Box::new(started)) }], true, Some(&fence)).await?;
        self.begun.lock().expect("mine").push((wanted.firing.clone(), run.clone(), wanted.clone()));
        Ok(Began::Yes)
    }
}

impl Launcher for List {
    fn new_run(&self) -> RunId {
        RunId::new(self.ids.fetch_add(1, Ordering::Relaxed), 0)
    }

    fn start<'a>(&'a self, run: &'a RunId, fence: Fence, wanted: &'a Pending) -> BoxFuture<'a, Result<Began, ApiError>> {
        Box::pin(self.begin(run, fence, wanted))
    }

    fn stop<'a>(&'a self, run: &'a RunId, _: &'a str) -> BoxFuture<'a, Result<(), ApiError>> {
        self.stopped.lock().expect("mine").push(run.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn hosts(&self) -> Option<Vec<Candidate>> {
        Some(self.hosts.clone())
    }
}

/// A server's scheduler.
struct Server {
    scheduler: Scheduler,
    list: Arc<List>,
}

struct Bench {
    team: Team,
    admin: Client,
    ids: Arc<AtomicU64>,
    begun: Arc<Mutex<Vec<(String, RunId, Pending)>>>,
    refuse: Arc<Mutex<Option<Problem>>>,
}

impl Bench {
    async fn start() -> Self {
        let team = Team::start().await;
        let admin = team.admin().await;
        let body = json!({ "manifest": "", "by": "test" });
        let saved = Write::Put { kind: "experiment".into(), id: "kill".into(), body };
        team.app.db.commit(Batch::new([saved])).await.expect("saved");
        Self { team, admin, ids: Arc::new(AtomicU64::new(1)), begun: Arc::default(), refuse: Arc::default() }
    }

    fn server(&self, name: &str, hosts: Vec<Candidate>) -> Server {
        let (db, clock) = (self.team.app.db.clone(), self.team.clock.clone());
        let list = Arc::new(List {
            db: db.clone(),
            clock: clock.clone(),
            ids: self.ids.clone(),
            begun: self.begun.clone(),
            stopped: Mutex::default(),
            refuse: self.refuse.clone(),
            hosts,
        });
        let scheduler = Scheduler::new(db, Arc::new(Wall(clock.clone())), Arc::new(clock), list.clone(), name.into());
        Server { scheduler, list }
    }

    /// To a second of the first of January 2026.
    fn until(&self, time: &str) {
        let now: Timestamp = self.team.clock.wall().parse().expect("a time");
        let then: Timestamp = format!("2026-01-{time}Z").parse().expect(time);
        self.team.clock.advance(then.duration_since(now).try_into().expect("ahead"));
    }

    async fn save(&self, spec: &str) -> SavedSchedule {
        let schedule =
            format!("apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: {{ name: nightly }}\nspec: {{ experiment: kill, {spec} }}\n");
        self.admin.put("schedules/nightly", &NewSchedule { schedule }).await.expect("saved")
    }

    /// Somebody who has just signed in: sessions end while the clock is moved over days.
    async fn signed_in(&self) -> Client {
        self.team.login("admin", PASSWORD).await.expect("signed in").0
    }

    /// State and due time of each, the oldest first.
    async fn history(&self, of: &str) -> Vec<String> {
        let mut found: Vec<Firing> = self.signed_in().await.pages(&format!("{of}/history"), 50).all().await.expect("a list");
        found.reverse();
        found.iter().map(|firing| format!("{:?} {}", firing.state, firing.due.strftime("%dT%H:%M"))).collect()
    }

    async fn end(&self, run: &RunId) {
        let ended = Event::Ended { verdict: Verdict::Held, reason: "it held".into() };
        self.team.app.db.append(run, &[Record { seq: 1, at: 1, event: ended }], true, None).await.expect("ended");
    }

    fn begun(&self) -> Vec<RunId> {
        self.begun.lock().expect("mine").iter().map(|(_, run, _)| run.clone()).collect()
    }
}

async fn look(server: &Server) {
    for begin in server.scheduler.once().await.expect("looked") {
        begin.await;
    }
}

#[tokio::test]
async fn a_schedule_fires_when_it_is_due_and_says_what_became_of_it() {
    let bench = Bench::start().await;
    let server = bench.server("a", Vec::new());
    let saved = bench.save("cron: 30 * * * *").await;
    assert_eq!(saved.next.map(|next| next.to_string()).as_deref(), Some("2026-01-01T00:30:00Z"));
    look(&server).await;
    assert!(bench.begun().is_empty());
    bench.until("01T00:30:01");
    look(&server).await;
    look(&server).await;
    assert_eq!(bench.history("schedules/nightly").await, ["Started 01T00:30"]);
    let runs = bench.begun();
    assert_eq!(runs.len(), 1);
    // It is still going on at the next time, and over at the one after.
    bench.until("01T01:30:01");
    look(&server).await;
    bench.end(&runs[0]).await;
    bench.until("01T02:30:01");
    look(&server).await;
    // Nobody looks for two hours.
    bench.until("01T04:45:00");
    look(&server).await;
    let history = ["Started 01T00:30", "Skipped 01T01:30", "Started 01T02:30", "Missed 01T03:30", "Missed 01T04:30"];
    assert_eq!(bench.history("schedules/nightly").await, history);
    let newest: squall_api::Page<Firing> = bench.admin.get("schedules/nightly/history?limit=2").await.expect("a page");
    assert!(newest.next.is_some() && newest.items[0].detail.contains("nobody looked"), "{newest:?}");
}

#[tokio::test]
async fn what_stands_against_a_run_is_told_and_what_is_only_away_is_tried_again() {
    let bench = Bench::start().await;
    let server = bench.server("a", Vec::new());
    bench.save("cron: '*/10 * * * *'").await;
    *bench.refuse.lock().expect("mine") = Some(Problem::refused("frozen until Monday"));
    bench.until("01T00:20:01");
    look(&server).await;
    assert_eq!(bench.history("schedules/nightly").await, ["Refused 01T00:20"]);
    *bench.refuse.lock().expect("mine") = Some(Problem::unavailable("the host is away"));
    bench.until("01T00:30:01");
    look(&server).await;
    assert_eq!(bench.history("schedules/nightly").await[1], "Waiting 01T00:30");
    *bench.refuse.lock().expect("mine") = None;
    bench.until("01T00:30:20");
    look(&server).await;
    assert_eq!(bench.history("schedules/nightly").await[1], "Started 01T00:30");
    *bench.refuse.lock().expect("mine") = Some(Problem::unavailable("the host is away"));
    bench.end(&bench.begun()[0]).await;
    bench.until("01T00:40:01");
    look(&server).await;
    bench.until("01T00:42:00");
    look(&server).await;
    assert_eq!(bench.history("schedules/nightly").await[2], "Missed 01T00:40", "after `missed.after` it is too late");
    assert_eq!(bench.begun().len(), 1);
}

#[tokio::test]
async fn what_the_server_itself_cannot_run_is_refused_with_the_reason() {
    let bench = Bench::start().await;
    bench.save("cron: '*/10 * * * *'").await;
    bench.until("01T00:20:01");
    // The saved experiment has no text.
    for begin in bench.team.app.runs.scheduler().once().await.expect("looked") {
        begin.await;
    }
    let page: squall_api::Page<Firing> = bench.admin.get("schedules/nightly/history").await.expect("a page");
    assert_eq!((page.items.len(), page.items[0].state), (1, FiringState::Refused));
    assert!(page.items[0].detail.contains("the manifest has") && page.items[0].run.is_none(), "{page:?}");
    let trail: serde_json::Value = bench.admin.get("audit?actor=schedule/nightly").await.expect("rows");
    assert_eq!(trail["items"][0]["outcome"], "refused", "{trail}");
}

#[tokio::test]
async fn a_run_that_is_replaced_is_over_before_the_next_begins() {
    let bench = Bench::start().await;
    let server = bench.server("a", Vec::new());
    bench.save("cron: '*/10 * * * *', concurrency: replace").await;
    bench.until("01T00:20:01");
    look(&server).await;
    bench.until("01T00:30:01");
    look(&server).await;
    let first = bench.begun();
    assert_eq!((first.len(), server.list.stopped.lock().expect("mine").clone()), (1, first.clone()), "it is asked to stop");
    assert_eq!(bench.history("schedules/nightly").await[1], "Waiting 01T00:30");
    bench.end(&first[0]).await;
    look(&server).await;
    assert_eq!(bench.begun().len(), 2);
    assert_eq!(bench.history("schedules/nightly").await[1], "Started 01T00:30");
}

#[tokio::test]
async fn pausing_resuming_triggering_and_removing_do_what_they_say() {
    let bench = Bench::start().await;
    let server = bench.server("a", Vec::new());
    bench.save("cron: 30 * * * *").await;
    let paused: SavedSchedule = bench.admin.post("schedules/nightly/pause", &json!({})).await.expect("paused");
    assert!(paused.paused && paused.next.is_none());
    bench.until("01T00:30:01");
    look(&server).await;
    let fired: Firing = bench.admin.post("schedules/nightly/trigger", &json!({})).await.expect("triggered");
    assert_eq!(fired.state, FiringState::Waiting);
    look(&server).await;
    assert_eq!(bench.begun(), [fired.run.expect("a run")], "also when it is paused");
    let resumed: SavedSchedule = bench.admin.post("schedules/nightly/resume", &json!({})).await.expect("resumed");
    assert_eq!(resumed.next.map(|next| next.to_string()).as_deref(), Some("2026-01-01T01:30:00Z"));
    assert_eq!(bench.history("schedules/nightly").await, ["Skipped 01T00:30", "Started 01T00:30"]);
    bench.admin.delete("schedules/nightly").await.expect("removed");
    bench.until("01T02:00:00");
    look(&server).await;
    assert_eq!(bench.begun().len(), 1);
    assert_eq!(status(bench.admin.get::<SavedSchedule>("schedules/nightly").await), 404);
}

#[tokio::test]
async fn a_schedule_that_is_changed_makes_up_for_nothing() {
    let bench = Bench::start().await;
    let server = bench.server("a", Vec::new());
    bench.save("cron: 0 12 * * *").await;
    bench.until("01T08:30:00");
    look(&server).await;
    bench.save("cron: 0 * * * *, missed: { policy: all, deadline: 1d, upTo: 50 }, concurrency: allow").await;
    look(&server).await;
    assert!(bench.begun().is_empty());
    bench.until("01T09:00:01");
    look(&server).await;
    assert_eq!(bench.begun().len(), 1);
}

#[tokio::test]
async fn a_schedule_that_cannot_be_is_refused_with_its_places() {
    let bench = Bench::start().await;
    let refused = |schedule: &str| {
        let (admin, schedule) = (bench.admin.clone(), schedule.to_owned());
        async move { admin.put::<SavedSchedule>("schedules/nightly", &NewSchedule { schedule }).await.expect_err("refused") }
    };
    let head = "apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: { name: nightly }\nspec:\n";
    let error = refused(&format!("{head}  experiment: kill\n  cron: 99 * * * *\n")).await;
    assert_eq!((error.status(), error.problem().expect("one").errors[0].place.as_str()), (Some(422), "line 6, column 9"));
    let error = refused(&format!("{head}  experiment: other\n  cron: '@daily'\n")).await;
    assert_eq!(error.problem().expect("one").errors[0].message, "there is no experiment `other`");
    let preview =
        NewSchedule { schedule: format!("{head}  experiment: kill\n  cron: 0 2 * * 1-5\n  holidays: [{{ date: 2026-01-02 }}]\n") };
    let next: Vec<NextTime> = bench.admin.post("schedules/preview?count=2", &preview).await.expect("times");
    let shown: Vec<String> = next.iter().map(|next| format!("{} {:?}", next.due, next.skipped)).collect();
    assert_eq!(shown, ["2026-01-01T02:00:00Z None", "2026-01-02T02:00:00Z Some(\"a holiday: 2026-01-02\")"]);
}

/// Not a random number generator, but enough for choices in a test.
struct Choices(u64);

impl Choices {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

#[tokio::test]
async fn two_servers_that_come_and_go_fire_each_time_once_or_say_that_it_was_missed() {
    let (mut started, mut missed) = (0, 0);
    for seed in 1..=12_u64 {
        let bench = Bench::start().await;
        bench.save("cron: '*/2 * * * *', concurrency: allow, missed: { policy: all, deadline: 1h, upTo: 100, after: 30s }").await;
        let mut servers = [bench.server("a", Vec::new()), bench.server("b", Vec::new())];
        let mut choices = Choices(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut late: Vec<BoxFuture<'static, ()>> = Vec::new();
        for _ in 0..250 {
            bench.team.clock.advance(Duration::from_millis(500 + choices.below(25_000)));
            let who = usize::try_from(choices.below(2)).expect("small");
            if choices.below(15) == 0 {
                // It is killed, and with it what it was about to begin.
                servers[who] = bench.server(["a", "b"][who], Vec::new());
                late.clear();
            }
            for begin in servers[who].scheduler.once().await.expect("looked") {
                match choices.below(4) {
                    // Gone before it began anything.
                    0 => drop(begin),
                    // It is slow, and goes on when others have taken over.
                    1 => late.push(begin),
                    _ => begin.await,
                }
            }
            if choices.below(3) == 0 {
                for begin in late.drain(..) {
                    begin.await;
                }
            }
        }
        let end: Timestamp = bench.team.clock.wall().parse().expect("a time");
        for _ in 0..3 {
            bench.team.clock.advance(Duration::from_secs(40));
            look(&servers[0]).await;
        }
        let begun: Vec<String> = bench.begun.lock().expect("mine").iter().map(|(firing, ..)| firing.clone()).collect();
        let once: BTreeSet<&String> = begun.iter().collect();
        assert_eq!(once.len(), begun.len(), "seed {seed}: one was begun twice");
        let firings: Vec<Firing> = bench.signed_in().await.pages("schedules/nightly/history", 200).all().await.expect("a list");
        let ids: BTreeSet<&str> = firings.iter().map(|firing| firing.id.as_str()).collect();
        assert_eq!(ids.len(), firings.len());
        let first: Timestamp = "2026-01-01T00:18:00Z".parse().expect("a time");
        let mut due = first;
        while due <= end {
            let firing = firings.iter().find(|firing| firing.due == due).unwrap_or_else(|| panic!("seed {seed}: {due} is lost"));
            let was_begun = begun.contains(&format!("schedule/nightly/{}", firing.id));
            match firing.state {
                FiringState::Started => started += 1,
                FiringState::Missed => missed += 1,
                _ => panic!("seed {seed}: {firing:?}"),
            }
            assert_eq!(was_begun, firing.state == FiringState::Started, "seed {seed}: {firing:?}");
            due += jiff::SignedDuration::from_mins(2);
        }
    }
    assert!(started > 200 && missed > 10, "{started} started, {missed} missed");
}

fn hosts() -> Vec<Candidate> {
    let labels = |i: usize| BTreeMap::from([("app".to_owned(), format!("app-{}", i / 4))]);
    (0..40).map(|i| Candidate { id: format!("host-{i}"), labels: labels(i) }).collect()
}

async fn save_monkey(bench: &Bench, spec: &str) -> SavedMonkey {
    let monkey = format!(
        "apiVersion: squall.dev/v1\nkind: Monkey\nmetadata: {{ name: prod }}\nspec:\n  frequency: {{ mean: 1 }}\n  groups: [{{ name: services, by: [app] }}]\n  faults: [{{ fault: process.kill, target: {{ process: {{ name: app }} }}, acceptIrreversible: true }}]\n{spec}"
    );
    bench.admin.put("monkeys/prod", &NewMonkey { monkey }).await.expect("saved")
}

#[tokio::test]
async fn a_monkey_on_the_leash_says_what_it_would_do_once_a_group() {
    let bench = Bench::start().await;
    let servers = [bench.server("a", hosts()), bench.server("b", hosts())];
    assert!(save_monkey(&bench, "").await.leashed);
    // A Thursday, from 9 to 15 o'clock; a look every five minutes, by either server.
    for minute in 0..14 * 12 {
        bench.until(&format!("01T{:02}:{:02}:00", 2 + minute / 12, minute % 12 * 5));
        look(&servers[usize::from(minute % 2 == 0)]).await;
    }
    let admin = bench.signed_in().await;
    let firings: Vec<Firing> = admin.pages("monkeys/prod/history", 50).all().await.expect("a list");
    let groups: BTreeSet<String> = firings.iter().filter_map(|firing| firing.group.clone()).collect();
    assert_eq!((firings.len(), groups.len()), (10, 10), "a mean of one day is each group each day");
    assert!(firings.iter().all(|firing| firing.state == FiringState::Leashed && firing.run.is_none()));
    assert!(bench.begun().is_empty());
    let today: MonkeyDay = admin.get("monkeys/prod/today").await.expect("a day");
    assert_eq!((today.off, today.groups.len()), (None, 0), "no host is linked to this server");
    assert_eq!(bench.history("monkeys/prod").await.len(), 10);
}

#[tokio::test]
async fn a_kill_that_is_refused_does_not_count_and_one_that_is_done_does() {
    let bench = Bench::start().await;
    let server = bench.server("a", hosts());
    // Put into the database as it is: the server of this test has no kinds to check it against.
    let hypothesis = json!({ "statement": "it answers", "probes": [{ "name": "shop", "http": { "url": "http://127.0.0.1:1/" }, "expect": { "lt": "500ms" } }] });
    let monkey = json!({
        "apiVersion": "squall.dev/v1", "kind": "Monkey", "metadata": { "name": "prod" },
        "spec": {
            "leashed": false, "hypothesis": hypothesis, "frequency": { "mean": 3, "minimum": 3 }, "groups": [{ "name": "all" }],
            "faults": [{ "fault": "process.kill", "target": { "process": { "name": "app" } }, "acceptIrreversible": true }]
        }
    });
    let write = Write::Put { kind: "monkey".into(), id: "prod".into(), body: json!({ "monkey": monkey.to_string(), "by": "test" }) };
    bench.team.app.db.commit(Batch::new([write])).await.expect("saved");
    *bench.refuse.lock().expect("mine") = Some(Problem::refused("frozen"));
    let day = |day: &'static str| {
        let (bench, server) = (&bench, &server);
        async move {
            for minute in 0..7 * 12 {
                bench.until(&format!("{day}T{:02}:{:02}:00", 9 + minute / 12, minute % 12 * 5));
                look(server).await;
            }
        }
    };
    day("01").await;
    *bench.refuse.lock().expect("mine") = None;
    day("02").await;
    day("05").await;
    day("06").await;
    day("07").await;
    let history: Vec<String> = bench.history("monkeys/prod").await.iter().map(|line| line[..line.len() - 6].to_owned()).collect();
    assert_eq!(history, ["Refused 01", "Started 02", "Started 07"], "three work days after the one that was done");
    let begun = bench.begun.lock().expect("mine");
    let manifest = begun[0].2.new.manifest.as_deref().expect("a manifest");
    let (experiment, _) = squall_model::parse_experiment(manifest).expect("a good one");
    assert_eq!(experiment.metadata.labels["squall.dev/monkey"], "prod");
}

#[tokio::test]
async fn a_configuration_of_chaos_monkey_comes_in_and_the_calendar_comes_out() {
    let bench = Bench::start().await;
    let files = vec!["[chaosmonkey]\nenabled = true\nschedule_enabled = true\naccounts = [\"prod\"]\nlog_path = \"/var/log\"\n".to_owned()];
    let imported: ImportedMonkey =
        bench.admin.post("monkeys/import", &MonkeyImport { name: "prod".into(), files }).await.expect("imported");
    assert!(imported.warnings.iter().any(|warning| warning.line == 5 && warning.path == "chaosmonkey.log_path"), "{:?}", imported.warnings);
    let saved: SavedMonkey = bench.admin.put("monkeys/prod", &NewMonkey { monkey: imported.monkey }).await.expect("saved");
    assert!(saved.enabled && saved.leashed);
    bench.save("cron: 0 2 * * *").await;
    let listing: serde_json::Value = bench.admin.get("calendar?to=2026-01-08T00:00:00Z").await.expect("a calendar");
    let kinds: Vec<&str> = listing["entries"].as_array().expect("a list").iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert_eq!(
        (kinds.iter().filter(|kind| **kind == "occurrence").count(), kinds.iter().filter(|kind| **kind == "monkeyHours").count()),
        (7, 5)
    );
    let feed = bench.admin.text("calendar.ics").await.expect("a feed");
    assert!(feed.starts_with("BEGIN:VCALENDAR\r\n") && feed.contains("UID:nightly-20260101t020000z@squall\r\n"), "{feed}");
    assert_eq!(status(bench.admin.text("calendar?to=2020-01-01T00:00:00Z").await), 400);
}
