//! What goes on meanwhile: schedules, people who start runs and watch them, and somebody who kills servers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value as Json, json};
use squall_api::client::{Client, ClientError};
use squall_api::experiments::NewExperiment;
use squall_api::runs::{NewRun, Run};
use squall_api::schedules::{NewSchedule, SavedSchedule};
use squall_model::{Record, RunId};

use crate::site::{SCHEDULES, Site};

/// How much later than their minute the others come.
pub const JITTER: &str = "55s";
/// The schedule whose runs take longer than a minute, so that each replaces the one before.
pub const LONG: &str = "long";

pub struct Work {
    pub site: Arc<Site>,
    seed: u64,
    pub over: AtomicBool,
    /// When the schedules were saved.
    pub saved: Mutex<Timestamp>,
    /// What was seen of each run while it went on, and by somebody who was told that it had begun.
    pub seen: Mutex<BTreeMap<RunId, Vec<Record>>>,
    pub kills: AtomicU32,
}

/// Numbers that look like chance (`SplitMix64`).
pub struct Chance(u64);

impl Chance {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }

    async fn pause(&mut self, least: u64, most: u64) {
        tokio::time::sleep(Duration::from_millis(least + self.below(most - least))).await;
    }
}

/// Names of all schedules, each with its victim.
pub fn schedules() -> impl Iterator<Item = (String, usize)> {
    (0..SCHEDULES).map(|n| (format!("pause-{n}"), n)).chain([(LONG.to_owned(), SCHEDULES)])
}

impl Work {
    pub fn new(site: Arc<Site>, seed: u64) -> Self {
        let saved = Mutex::new(Timestamp::now());
        Self { site, seed, over: AtomicBool::default(), saved, seen: Mutex::default(), kills: AtomicU32::default() }
    }

    fn chance(&self, who: u64) -> Chance {
        Chance(self.seed ^ (who + 1).wrapping_mul(0xa076_1d64_78bd_642f))
    }

    /// Saves experiments and schedules.
    pub async fn begin(&self) {
        let client = &self.site.servers[0].client;
        *self.saved.lock().expect("mine") = Timestamp::now();
        for (name, victim) in schedules() {
            let long = name == LONG;
            let manifest = self.site.manifest(&name, victim, if long { "100s" } else { "2s" });
            let _: Json = client.put(&format!("experiments/{name}"), &NewExperiment { manifest }).await.expect("saved");
            let (concurrency, jitter) = if long { ("replace", "10s") } else { ("allow", JITTER) };
            let schedule = format!(
                "apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: {{ name: {name} }}\nspec:\n  experiment: {name}\n  cron: \"* * * * *\"\n  \
                 jitter: {jitter}\n  concurrency: {concurrency}\n"
            );
            let _: SavedSchedule = client.put(&format!("schedules/{name}"), &NewSchedule { schedule }).await.expect("saved");
        }
    }
}

/// As cron knows minutes alone, the killing goes on for more than one.
const LEAST: SignedDuration = SignedDuration::from_secs(70);

/// Kills a server so many times at least, and starts it again; now and then so late that the other one takes over what it did.
pub async fn kill(work: Arc<Work>, server: usize, kills: u32) {
    let (mut chance, which) = (work.chance(server as u64), server);
    let server = &work.site.servers[server];
    for n in 0.. {
        if n >= kills && Timestamp::now().duration_since(*work.saved.lock().expect("mine")) > LEAST {
            break;
        }
        chance.pause(2_000, 6_000).await;
        server.kill();
        work.kills.fetch_add(1, Ordering::Relaxed);
        let (least, most) = if n as usize % 6 == which { (17_000, 22_000) } else { (0, 3_000) };
        chance.pause(least, most).await;
        server.start();
        server.answers().await;
    }
}

/// Starts runs, one after another, and watches each for as long as the server is there.
pub async fn start_runs(work: Arc<Work>, person: usize) {
    let mut chance = work.chance(100 + person as u64);
    let victim = SCHEDULES + 1 + person;
    let new = NewRun {
        manifest: Some(work.site.manifest(&format!("by-hand-{person}"), victim, "1s")),
        lease: Some("4s".into()),
        ..NewRun::default()
    };
    while !work.over.load(Ordering::Relaxed) {
        let at = usize::try_from(chance.below(2)).expect("small");
        let client = &work.site.servers[at].client;
        let run: Run = match client.post("runs", &new).await {
            Ok(run) => run,
            Err(ClientError::Unreachable { .. }) => {
                chance.pause(50, 500).await;
                continue;
            }
            Err(error) if error.status().is_some_and(|status| status >= 500) => {
                chance.pause(50, 500).await;
                continue;
            }
            Err(error) => panic!("a run does not begin: {error}\n{}", work.site.logs()),
        };
        // Every other one at the server that does not drive it.
        let other = usize::try_from(chance.below(2)).expect("small");
        let records = follow(&work.site.servers[other].client, &run.run).await;
        work.seen.lock().expect("mine").insert(run.run, records);
    }
}

/// What can be seen of a run, until its end or that of the server.
pub async fn follow(client: &Client, run: &RunId) -> Vec<Record> {
    let mut records = Vec::new();
    let Ok(mut events) = client.events(&format!("runs/{run}/events"), None).await else { return records };
    while let Ok(Some(event)) = events.next().await {
        records.push(serde_json::from_str(&event.data).expect("a record"));
    }
    records
}

/// No schedule begins anything more.
pub async fn pause(client: &Client) {
    for (name, _) in schedules() {
        let _: Json = client.post(&format!("schedules/{name}/pause"), &json!({})).await.expect("paused");
    }
}
