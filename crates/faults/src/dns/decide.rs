//! What becomes of a query: left alone, answered by Squall, held, or ignored.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::job::{DnsJob, Treatment};
use super::message::{Asked, Transport};
use super::names::Names;

/// Decides, and counts.
#[derive(Debug)]
pub(crate) struct Judge {
    names: Names,
    types: BTreeSet<u16>,
    probability: f64,
    treatment: Treatment,
    random: Mutex<StdRng>,
    /// Questions that are at a name server of this very host now, and how often. It may have to ask others, and those queries
    /// are not to be broken a second time.
    passing: Mutex<HashMap<(String, u16), usize>>,
    counters: Counters,
}

/// What becomes of one query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The real server answers.
    Pass,
    /// This is the answer.
    Answer(Vec<u8>),
    /// Nobody answers.
    Silence,
    /// The real server answers, and its answer is held for so long.
    Hold(Duration),
}

#[derive(Debug, Default)]
struct Counters {
    queries: AtomicU64,
    matched: AtomicU64,
    broken: AtomicU64,
    unforwarded: AtomicU64,
}

/// What was counted since the fault began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Counts {
    /// Queries that came, by UDP and TCP.
    pub(crate) queries: u64,
    /// Those whose name and type match.
    pub(crate) matched: u64,
    /// Those of them that were broken.
    pub(crate) broken: u64,
    /// Those that could not be passed on to the real server.
    pub(crate) unforwarded: u64,
}

impl Judge {
    pub(crate) fn new(job: &DnsJob) -> Self {
        Self {
            names: Names::new(&job.names),
            types: job.types.iter().copied().collect(),
            probability: job.probability,
            treatment: job.treatment.clone(),
            random: Mutex::new(StdRng::seed_from_u64(job.seed)),
            passing: Mutex::default(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { queries, matched, broken, unforwarded } = &self.counters;
        Counts { queries: read(queries), matched: read(matched), broken: read(broken), unforwarded: read(unforwarded) }
    }

    /// One more that could not be passed on.
    pub(crate) fn count_unforwarded(&self) {
        self.counters.unforwarded.fetch_add(1, Ordering::Relaxed);
    }

    /// Decides on one query. `asked` is none for what is no query.
    pub(crate) fn decide(&self, asked: Option<&Asked>, transport: Transport) -> Verdict {
        let Some(asked) = asked else {
            self.counters.queries.fetch_add(1, Ordering::Relaxed);
            return Verdict::Pass;
        };
        if asked.is_for_counters() {
            let text = serde_json::to_string(&self.counts()).unwrap_or_default();
            return Verdict::Answer(asked.with_text(text, transport));
        }
        self.counters.queries.fetch_add(1, Ordering::Relaxed);
        let matches = self.names.matches(&asked.name) && (self.types.is_empty() || self.types.contains(&asked.kind));
        if !matches || lock(&self.passing).contains_key(&asked.key()) {
            return Verdict::Pass;
        }
        self.counters.matched.fetch_add(1, Ordering::Relaxed);
        let mut random = lock(&self.random);
        if self.probability < 1.0 && random.random::<f64>() >= self.probability {
            return Verdict::Pass;
        }
        self.counters.broken.fetch_add(1, Ordering::Relaxed);
        match &self.treatment {
            Treatment::Answer { code } => Verdict::Answer(asked.with_code(*code, transport)),
            Treatment::Silence => Verdict::Silence,
            Treatment::Delay { delay, jitter } => {
                let around = if jitter.is_zero() { 0.0 } else { random.random_range(-1.0..=1.0) * jitter.as_secs_f64() };
                Verdict::Hold(Duration::from_secs_f64((delay.as_secs_f64() + around).max(0.0)))
            }
            Treatment::Addresses { v4, v6, ttl } => {
                let all: Vec<IpAddr> = v4.iter().map(|a| IpAddr::V4(*a)).chain(v6.iter().map(|a| IpAddr::V6(*a))).collect();
                Verdict::Answer(asked.with_addresses(&all, *ttl, transport))
            }
            Treatment::Random { blocks, count, ttl } => {
                let of_type: Vec<_> = blocks.iter().filter(|(network, _)| network.is_ipv4() == (asked.kind == 1)).collect();
                let mut draw = || Some(within(*of_type.get(random.random_range(0..of_type.len().max(1)))?, &mut *random));
                let drawn: Vec<IpAddr> = (0..*count).filter_map(|_| draw()).collect();
                Verdict::Answer(asked.with_addresses(&drawn, *ttl, transport))
            }
        }
    }

    /// Lets the same question pass for as long as what is returned lives.
    pub(crate) fn let_pass(&self, asked: &Asked) -> Passing<'_> {
        let key = asked.key();
        *lock(&self.passing).entry(key.clone()).or_default() += 1;
        Passing { judge: self, key }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A question that is at a name server of this host.
#[derive(Debug)]
pub(crate) struct Passing<'a> {
    judge: &'a Judge,
    key: (String, u16),
}

impl Drop for Passing<'_> {
    fn drop(&mut self) {
        let mut passing = lock(&self.judge.passing);
        if let Some(count) = passing.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                passing.remove(&self.key);
            }
        }
    }
}

/// An address of a block, drawn. The first and the last of an IPv4 block with room for others are left out: they are no hosts'.
fn within(&(network, bits): &(IpAddr, u8), random: &mut impl Rng) -> IpAddr {
    match network {
        IpAddr::V4(network) => {
            let hosts = u32::MAX.checked_shr(bits.into()).unwrap_or(0);
            let offset = if hosts > 2 { random.random_range(1..hosts) } else { random.random_range(0..=hosts) };
            Ipv4Addr::from((u32::from(network) & !hosts) | offset).into()
        }
        IpAddr::V6(network) => {
            let hosts = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
            let offset = if hosts > 2 { random.random_range(1..hosts) } else { random.random_range(0..=hosts) };
            Ipv6Addr::from((u128::from(network) & !hosts) | offset).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::DNSClass;

    use super::super::message::{answered, query};
    use super::super::tests::job;
    use super::*;

    fn asked(name: &str, kind: u16) -> Asked {
        Asked::read(&query(name, kind, DNSClass::IN, 7).expect("a query")).expect("read")
    }

    fn decide(judge: &Judge, name: &str, kind: u16) -> Verdict {
        judge.decide(Some(&asked(name, kind)), Transport::Udp)
    }

    #[test]
    fn only_what_matches_in_name_and_type_is_broken_and_all_is_counted() {
        let judge = Judge::new(&DnsJob { types: vec![1], ..job(Treatment::Silence) });
        assert_eq!(decide(&judge, "a.example.com", 1), Verdict::Silence);
        assert_eq!(decide(&judge, "a.example.com", 28), Verdict::Pass);
        assert_eq!(decide(&judge, "example.org", 1), Verdict::Pass);
        assert_eq!(judge.decide(None, Transport::Udp), Verdict::Pass);
        assert_eq!(judge.counts(), Counts { queries: 4, matched: 1, broken: 1, unforwarded: 0 });
    }

    #[test]
    fn a_share_is_kept_and_the_same_seed_draws_the_same() {
        let draws = |seed| {
            let judge = Judge::new(&DnsJob { probability: 0.3, seed, ..job(Treatment::Silence) });
            (0..10_000).map(|_| decide(&judge, "a.example.com", 1) == Verdict::Silence).collect::<Vec<_>>()
        };
        let broken = draws(1).iter().filter(|broken| **broken).count();
        // Six standard deviations of the binomial distribution around 3,000.
        assert!((2725..=3275).contains(&broken), "{broken}");
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn random_addresses_are_hosts_of_the_blocks_and_differ() {
        let blocks = vec![("198.51.100.77".parse().expect("v4"), 24), ("2001:db8::".parse().expect("v6"), 32)];
        let judge = Judge::new(&job(Treatment::Random { blocks, count: 4, ttl: 1 }));
        let mut seen = BTreeSet::new();
        for kind in [1, 28].repeat(50) {
            let Verdict::Answer(bytes) = decide(&judge, "a.example.com", kind) else { panic!("an answer") };
            let addresses = answered(&bytes).expect("an answer").addresses;
            assert_eq!(addresses.len(), 4);
            for address in addresses {
                match address {
                    IpAddr::V4(a) => assert!(a.octets()[..3] == [198, 51, 100] && !matches!(a.octets()[3], 0 | 255), "{a}"),
                    IpAddr::V6(a) => assert_eq!(a.segments()[..2], [0x2001, 0xdb8]),
                }
                seen.insert(address);
            }
        }
        assert!(seen.len() > 250, "{}", seen.len());
        // A type that has no addresses.
        let Verdict::Answer(bytes) = decide(&judge, "a.example.com", 65) else { panic!("an answer") };
        assert!(answered(&bytes).expect("an answer").addresses.is_empty());
    }

    #[test]
    fn what_is_at_a_server_of_this_host_passes_when_that_asks_on() {
        let judge = Judge::new(&job(Treatment::Silence));
        let (one, other) = (judge.let_pass(&asked("A.example.com", 1)), judge.let_pass(&asked("a.example.com", 1)));
        drop(one);
        assert_eq!(decide(&judge, "a.EXAMPLE.com", 1), Verdict::Pass);
        assert_eq!(decide(&judge, "a.example.com", 28), Verdict::Silence);
        drop(other);
        assert_eq!(decide(&judge, "a.example.com", 1), Verdict::Silence);
    }

    #[test]
    fn a_delay_is_drawn_around_its_middle() {
        let (delay, jitter) = (Duration::from_millis(100), Duration::from_millis(20));
        let judge = Judge::new(&job(Treatment::Delay { delay, jitter }));
        let mut held = Vec::new();
        for _ in 0..1000 {
            let Verdict::Hold(time) = decide(&judge, "a.example.com", 16) else { panic!("held") };
            held.push(time);
        }
        assert!(held.iter().all(|h| (80..=120).contains(&h.as_millis())));
        assert!(held.iter().max() > Some(&Duration::from_millis(115)) && held.iter().min() < Some(&Duration::from_millis(85)));
    }

    #[test]
    fn the_counters_are_told_in_the_class_chaos() {
        let judge = Judge::new(&job(Treatment::Silence));
        decide(&judge, "a.example.com", 1);
        let asked = Asked::read(&query(super::super::message::COUNTERS, 16, DNSClass::CH, 1).expect("a query")).expect("read");
        let Verdict::Answer(bytes) = judge.decide(Some(&asked), Transport::Udp) else { panic!("an answer") };
        let text = answered(&bytes).expect("an answer").text;
        assert_eq!(serde_json::from_str::<Counts>(&text).expect("counts"), Counts { queries: 1, matched: 1, broken: 1, unforwarded: 0 });
    }
}
