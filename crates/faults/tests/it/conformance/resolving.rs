//! A host that resolves names: what the faults on DNS break.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use squall_engine::Target;
use squall_faults::dns::{error, latency, random, timeout, wrong_answer};
use squall_faults::stressor::Launcher;
use squall_testkit::conformance::{Subject, World};
use squall_testkit::net::Family;

use super::table::load;
use crate::dns::Bench;
use crate::dns::wire::Kept;

/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// Every row of the family.
pub fn rows() -> Vec<Subject> {
    let launcher = || Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"));
    let names = || json!({ "names": ["web.example.com"] });
    let queries = [
        json!({ "queries": { "names": [] } }),
        json!({ "queries": { "names": ["a b"] } }),
        json!({ "queries": { "names": ["*"], "types": ["NONE"] } }),
        json!({ "queries": { "names": ["*"], "percent": "0%" } }),
        json!({ "queries": { "names": ["*"], "ports": [0] } }),
    ];
    let bad = |more: &[Json]| queries.iter().chain(more).cloned().collect::<Vec<Json>>();
    let delays = [json!({ "queries": names(), "delay": "0s" }), json!({ "queries": names(), "delay": "1s", "jitter": "2s" })];
    let addresses = [json!({ "queries": names() }), json!({ "queries": names(), "a": ["::1"] })];
    let blocks = [json!({ "queries": names(), "from": ["10.0.0.0/40"] }), json!({ "queries": names(), "count": 0 })];
    vec![
        load("dns.error", error::DnsError::with(launcher()), || Box::new(Resolving::nowhere()), bad(&[json!({ "answer": "maybe" })])),
        load("dns.timeout", timeout::DnsTimeout::with(launcher()), || Box::new(Resolving::never()), bad(&[])),
        load("dns.latency", latency::DnsLatency::with(launcher()), || Box::new(Resolving::late()), bad(&delays)),
        load("dns.wrong-answer", wrong_answer::DnsWrongAnswer::with(launcher()), || Box::new(Resolving::elsewhere()), bad(&addresses)),
        load("dns.random", random::DnsRandom::with(launcher()), || Box::new(Resolving::anywhere()), bad(&blocks)),
    ]
}

/// A client, its name server, and sockets that stay the same from beginning to end.
struct Resolving {
    kept: Vec<(Family, Kept)>,
    id: AtomicU16,
    rules: String,
    args: Json,
    broken: fn(&Resolving) -> Result<(), String>,
    bench: Bench,
}

impl Resolving {
    fn new(more: &Json, broken: fn(&Resolving) -> Result<(), String>) -> Self {
        let bench = Bench::new();
        let kept = Family::BOTH.map(|family| (family, Kept::new(&bench.client, bench.server.socket(family, 53)))).into();
        let mut args = json!({ "queries": { "names": ["web.example.com"] } });
        args.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let rules = bench.client.run("nft list ruleset");
        let made = Self { kept, id: AtomicU16::new(1), rules, args, broken, bench };
        made.whole().expect("names are resolved");
        made
    }

    /// Asks over the sockets that are kept: each has to satisfy the check with code and number of answers.
    fn each(&self, name: &str, check: impl Fn(Option<(u8, u16)>, Duration) -> bool) -> Result<(), String> {
        for (family, kept) in &self.kept {
            #[expect(clippy::disallowed_methods, reason = "the bench measures from outside")]
            let start = Instant::now();
            let answer = kept.ask_within(self.id.fetch_add(1, Ordering::Relaxed), name, SILENCE);
            if !check(answer, start.elapsed()) {
                return Err(format!("{family:?}: {name}: {answer:?} after {:?}", start.elapsed()));
            }
        }
        Ok(())
    }

    fn whole(&self) -> Result<(), String> {
        self.each("web.example.com", |answer, _| answer == Some((0, 1)))?;
        self.each("db.example.com", |answer, _| answer == Some((0, 1)))?;
        let found = self.bench.short(Family::V4, "+tcp web.example.com A");
        if found == ["10.9.9.1"] { Ok(()) } else { Err(format!("over TCP: {found:?}")) }
    }

    fn nowhere() -> Self {
        Self::new(&json!({ "answer": "servfail" }), |world| world.each("web.example.com", |answer, _| answer == Some((2, 0))))
    }

    fn never() -> Self {
        Self::new(&json!({}), |world| world.each("web.example.com", |answer, _| answer.is_none()))
    }

    fn late() -> Self {
        Self::new(&json!({ "delay": "100ms" }), |world| {
            world.each("web.example.com", |answer, took| answer == Some((0, 1)) && took >= Duration::from_millis(100))
        })
    }

    fn elsewhere() -> Self {
        Self::new(&json!({ "a": ["192.0.2.7"] }), |world| {
            let found = world.bench.short(Family::V6, "web.example.com A");
            if found == ["192.0.2.7"] { Ok(()) } else { Err(format!("{found:?}")) }
        })
    }

    fn anywhere() -> Self {
        Self::new(&json!({ "from": ["198.51.100.0/24"], "count": 2 }), |world| {
            let found = world.bench.short(Family::V4, "+tcp web.example.com A");
            if found.len() == 2 && found.iter().all(|a| a.starts_with("198.51.100.")) { Ok(()) } else { Err(format!("{found:?}")) }
        })
    }
}

impl World for Resolving {
    fn target(&self) -> Target {
        self.bench.target()
    }
    fn args(&self) -> Json {
        self.args.clone()
    }
    fn untouched(&self) -> Result<(), String> {
        self.restored()
    }
    fn broken(&self) -> Result<(), String> {
        (self.broken)(self)?;
        self.each("db.example.com", |answer, _| answer == Some((0, 1)))
    }
    fn restored(&self) -> Result<(), String> {
        self.whole()?;
        let now = self.bench.client.run("nft list ruleset");
        if now == self.rules { Ok(()) } else { Err(format!("the rules are now:\n{now}")) }
    }
}
