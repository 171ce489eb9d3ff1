//! What has to be true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use squall_api::Page;
use squall_api::client::Client;
use squall_api::hosts::Host;
use squall_api::runs::{NewRun, Run};
use squall_api::schedules::{Firing, FiringState};
use squall_model::{Event, Record, RunId, Verdict};

use crate::site::{PATIENCE, SCHEDULES, Site, VICTIMS};
use crate::work::{self, JITTER, LONG, Work, follow, schedules};

/// A host is heard of within this, if it is linked.
const BEATS: Duration = Duration::from_secs(6);

/// A run that one server drives is stopped by way of the other.
pub async fn stopped_by_the_other_server(site: &Site) {
    for server in &site.servers {
        site.linked(server).await;
    }
    let new = NewRun { manifest: Some(site.manifest("last", VICTIMS - 1, "100s")), ..NewRun::default() };
    let [one, two] = site.servers.each_ref().map(|server| &server.client);
    let run: Run = one.post("runs", &new).await.expect("begun");
    let _: Json = two.post(&format!("runs/{}/stop", run.run), &json!({ "reason": "by way of the other server" })).await.expect("asked");
    let records = follow(two, &run.run).await;
    let ended = records.last().map(|record| &record.event);
    assert!(matches!(ended, Some(Event::Ended { verdict: Verdict::Aborted, .. })), "{ended:?}");
    assert!(records.len() < 100, "at once");
}

/// Everything; in words.
pub async fn all(work: &Work) -> String {
    let site = &work.site;
    let client = &site.servers[1].client;
    work::pause(client).await;
    stop_the_long_one(client).await;
    let runs = all_over(work, client).await;
    let mut told = vec![format!("{} kills", work.kills.load(Ordering::Relaxed))];
    told.push(firings(work, client, &runs).await);
    let mut journals = BTreeMap::new();
    for run in &runs {
        journals.insert(run.run.clone(), follow(client, &run.run).await);
    }
    told.push(whole(&journals, &work.seen.lock().expect("mine")));
    told.push(ends(&runs));
    told.push(paused(work, &runs, &journals));
    for server in &site.servers {
        nothing_left(&server.client).await;
    }
    told.join("; ")
}

/// Nothing is in force on any host, as soon as each has been heard of again: what a server knows of one is as old as its last beat.
async fn nothing_left(client: &Client) {
    let deadline = Instant::now() + BEATS;
    loop {
        let hosts: Page<Host> = client.get("hosts").await.expect("listed");
        if hosts.items.iter().all(|host| host.in_force == 0) {
            return;
        }
        assert!(Instant::now() < deadline, "{hosts:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stop_the_long_one(client: &Client) {
    let runs: Vec<Run> = client.pages("runs?unfinished=true", 500).all().await.expect("listed");
    for run in runs.iter().filter(|run| run.experiment == LONG) {
        // It may have ended meanwhile.
        let _ = client.post::<Json>(&format!("runs/{}/stop", run.run), &json!({})).await;
    }
}

/// Waits until every run has an end and no time of a schedule waits.
async fn all_over(work: &Work, client: &Client) -> Vec<Run> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let runs: Vec<Run> = client.pages("runs", 500).all().await.expect("listed");
        let open: Vec<&Run> = runs.iter().filter(|run| run.verdict.is_none()).collect();
        let mut waiting = Vec::new();
        for (name, _) in schedules() {
            let firings: Vec<Firing> = client.pages(&format!("schedules/{name}/history"), 500).all().await.expect("listed");
            waiting.extend(firings.into_iter().filter(|firing| firing.state == FiringState::Waiting));
        }
        if open.is_empty() && waiting.is_empty() {
            return runs;
        }
        assert!(Instant::now() < deadline, "not over: {open:#?} {waiting:#?}\n{}", work.site.logs());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The minute that a time of a schedule is of, by its id.
fn nominal(firing: &Firing) -> Timestamp {
    let text = firing.id.rsplit('-').next().expect("never empty");
    let at = jiff::civil::DateTime::strptime("%Y%m%dt%H%M%Sz", text).expect("a time");
    at.to_zoned(jiff::tz::TimeZone::UTC).expect("in range").timestamp()
}

/// Every minute of every schedule came once, and each that came has one run.
async fn firings(work: &Work, client: &Client, runs: &[Run]) -> String {
    let minute = SignedDuration::from_mins(1);
    let (saved, mut states) = (*work.saved.lock().expect("mine"), BTreeMap::<String, u32>::new());
    for (name, _) in schedules() {
        let mut firings: Vec<Firing> = client.pages(&format!("schedules/{name}/history"), 500).all().await.expect("listed");
        firings.sort_by_key(nominal);
        let times: Vec<Timestamp> = firings.iter().map(nominal).collect();
        assert!(times.windows(2).all(|two| two[1].duration_since(two[0]) == minute), "{name}: each minute once: {firings:#?}");
        let Some(first) = times.first().copied() else {
            let jitter: SignedDuration = JITTER.parse().expect("a time");
            assert!(Timestamp::now() < saved + minute + jitter, "{name} never came\n{}", work.site.logs());
            continue;
        };
        assert!(first.duration_since(saved) <= minute, "{name}: from its first minute on: {saved} {first}");
        let last = times[times.len() - 1];
        assert!(Timestamp::now().duration_since(last) < minute * 3, "{name}: to its last: {last}");
        for firing in &firings {
            let state = firing.state;
            *states.entry(format!("{state:?}").to_lowercase()).or_default() += 1;
            let paused = state == FiringState::Skipped && firing.detail.contains("paused");
            let fair = matches!(state, FiringState::Started | FiringState::Missed) || paused;
            assert!(fair, "{name}: {firing:#?}\n{}", work.site.logs());
        }
        let wanted: BTreeSet<RunId> = firings.iter().filter_map(|firing| firing.run.clone()).collect();
        assert_eq!(wanted.len(), firings.iter().filter(|firing| firing.state == FiringState::Started).count());
        let user = format!("schedule/{name}");
        let begun: Vec<RunId> = runs.iter().filter(|run| run.user == user).map(|run| run.run.clone()).collect();
        assert_eq!(begun.len(), wanted.len(), "{name}: one run for each time that came");
        assert_eq!(begun.into_iter().collect::<BTreeSet<_>>(), wanted, "{name}");
    }
    let started = states.get("started").copied().unwrap_or_default();
    assert!(started as usize > SCHEDULES / 4, "too little has happened: {states:?}");
    format!("times of schedules: {states:?}")
}

/// Journals are without holes and have one end, and what somebody has seen of them is there.
fn whole(journals: &BTreeMap<RunId, Vec<Record>>, seen: &BTreeMap<RunId, Vec<Record>>) -> String {
    for (run, records) in journals {
        assert!(records.iter().zip(0..).all(|(record, seq)| record.seq == seq), "{run} has a hole");
        assert!(matches!(records.first().map(|first| &first.event), Some(Event::Started(_))), "{run} has no beginning");
        let ends = records.iter().filter(|record| matches!(record.event, Event::Ended { .. })).count();
        let last = records.last().is_some_and(|last| matches!(last.event, Event::Ended { .. }));
        assert!(ends == 1 && last, "{run} has {ends} ends");
    }
    for (run, records) in seen {
        let journal = journals.get(run).unwrap_or_else(|| panic!("{run} was begun, and is not known"));
        assert!(journal.starts_with(records), "{run}: what was seen is not there");
    }
    let records: usize = journals.values().map(Vec::len).sum();
    let watched: usize = seen.values().map(Vec::len).sum();
    format!("{} runs with {records} records, {watched} of them seen by {} who watched", journals.len(), seen.len())
}

fn ends(runs: &[Run]) -> String {
    let mut verdicts = BTreeMap::<&str, u32>::new();
    let (mut by_itself, mut by_other) = (0, 0);
    for run in runs {
        *verdicts.entry(run.verdict.expect("it is over").name()).or_default() += 1;
        let reason = run.reason.as_deref().unwrap_or_default();
        by_itself += u32::from(["one", "two"].iter().any(|name| reason.contains(&format!("server {name} took over, as {name} was gone"))));
        by_other += u32::from(reason.contains("took over"));
    }
    by_other -= by_itself;
    let failed: BTreeSet<&str> =
        runs.iter().filter(|run| run.verdict == Some(Verdict::Failed)).filter_map(|run| run.reason.as_deref()).collect();
    format!(
        "{verdicts:?}; {by_itself} ended by their own server when it was back, {by_other} by the other one; why some failed: {failed:?}"
    )
}

/// No process is paused, and none was more often than there were injections.
fn paused(work: &Work, runs: &[Run], journals: &BTreeMap<RunId, Vec<Record>>) -> String {
    let site = &work.site;
    let mut times = 0;
    for (n, victim) in site.victims.iter().enumerate() {
        assert!(victim.state().is_some_and(|state| state != 'T'), "victim {n} is still paused");
        let paused = site.watch.times[n].load(Ordering::Relaxed);
        times += paused;
        let of = |run: &&Run| match n {
            _ if n < SCHEDULES => run.experiment == format!("pause-{n}"),
            SCHEDULES => run.experiment == LONG,
            _ if n == VICTIMS - 1 => run.experiment == "last",
            _ => run.experiment == format!("by-hand-{}", n - SCHEDULES - 1),
        };
        let selected = |run: &Run| journals[&run.run].iter().any(|record| matches!(record.event, Event::Selected { .. }));
        let injected = runs.iter().filter(of).filter(|run| selected(run)).count();
        assert!(paused as usize <= injected, "victim {n} was paused {paused} times by {injected} runs");
    }
    format!("processes were paused {times} times, and none is")
}
