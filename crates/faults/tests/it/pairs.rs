//! After every fault on the network, and after every pair of them, the network is again as it was to the letter: with a queueing
//! discipline and a table of somebody else's in place, whichever is reverted first. Some pairs in every run, all of them with
//! `SQUALL_TEST_SIZE=full`.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Value as Json, json};
use squall_engine::{AnyFault, Target};
use squall_faults::network::{
    Down, Mtu, PortExhaustion, bandwidth, corrupt, duplicate, latency, loss, partition, redirect, reject, reorder, reset,
};
use squall_faults::stressor::Launcher;
use squall_testkit::NetSnapshot;
use squall_testkit::net::{Host, InForce};

use crate::dns::{self, Bench};

/// How many pairs in a usual run.
const SOME: usize = 12;
/// Until everything is as it was.
const SOON: Duration = Duration::from_secs(3);

/// A fault with good arguments.
#[derive(Clone)]
struct Row {
    fault: Arc<dyn AnyFault>,
    args: Json,
}

impl Row {
    fn name(&self) -> &'static str {
        self.fault.meta().name
    }

    /// On the whole host, as its only program or as a namespace.
    fn inject(&self, bench: &Bench) -> Result<InForce, String> {
        let whole: Target = if self.name().starts_with("dns.") { bench.target() } else { bench.client.target() };
        InForce::try_new(&self.fault, &self.args, &whole).map_err(|error| error.to_string())
    }
}

fn rows() -> Vec<Row> {
    let carried = || Launcher::of_program(env!("CARGO_BIN_EXE_squall-stressor"));
    let row = |fault: Arc<dyn AnyFault>, args: Json| Row { fault, args };
    let names = json!({ "names": ["web.example.com"] });
    let with = |more: Json| {
        let mut args = more;
        args["queries"] = names.clone();
        args
    };
    let share = json!({ "percent": "50%" });
    let rows = vec![
        row(Arc::new(latency::Latency::with(carried())), json!({ "delay": "50ms", "scope": { "direction": "both" } })),
        row(Arc::new(loss::NetworkLoss::with(carried())), share.clone()),
        row(Arc::new(duplicate::Duplicate::with(carried())), share.clone()),
        row(Arc::new(corrupt::Corrupt::with(carried())), share),
        row(Arc::new(reorder::NetworkReorder::with(carried())), json!({ "percent": "25%", "delay": "20ms" })),
        row(Arc::new(bandwidth::Bandwidth::with(carried())), json!({ "rate": "1Mbit/s" })),
        row(Arc::new(partition::Partition::with(carried())), json!({ "scope": { "peers": ["10.0.0.0/8", "^10.0.0.200"] } })),
        row(Arc::new(reject::NetworkReject::with(carried())), json!({ "scope": { "remotePorts": ["8000-8100"] } })),
        row(Arc::new(reset::Reset::with(carried())), json!({})),
        row(Arc::new(redirect::Redirect::with(carried())), json!({ "to": 7000, "scope": { "remotePorts": [7777] } })),
        row(Arc::new(Down), json!({ "interface": "eth0" })),
        row(Arc::new(Mtu), json!({ "interface": "eth0", "mtu": 1300 })),
        row(Arc::new(PortExhaustion), json!({ "leave": 3 })),
        row(dns::fault("dns.error"), with(json!({}))),
        row(dns::fault("dns.timeout"), with(json!({}))),
        row(dns::fault("dns.latency"), with(json!({ "delay": "50ms" }))),
        row(dns::fault("dns.wrong-answer"), with(json!({ "a": ["192.0.2.7"] }))),
        row(dns::fault("dns.random"), with(json!({ "from": ["198.51.100.0/24"] }))),
    ];
    for fault in squall_faults::all() {
        let meta = fault.meta();
        let is_there = rows.iter().any(|row| row.name() == meta.name);
        assert!(is_there || !["network", "dns"].contains(&meta.family), "{} is missing here", meta.name);
    }
    rows
}

/// What others have made: nothing of it may be touched.
fn furnish(host: &Host) {
    let shaping = [
        "tc qdisc add dev eth0 root handle 1: htb default 20",
        "tc class add dev eth0 parent 1: classid 1:1 htb rate 800mbit",
        "tc class add dev eth0 parent 1:1 classid 1:10 htb rate 300mbit prio 1",
        "tc class add dev eth0 parent 1:1 classid 1:20 htb rate 500mbit prio 2",
        "tc qdisc add dev eth0 parent 1:10 handle 10: tbf rate 200mbit burst 64kb latency 50ms",
        "tc filter add dev eth0 parent 1: protocol ip prio 5 u32 match ip dport 9999 0xffff flowid 1:10",
    ];
    let rules = [
        "nft add table inet foreign",
        "nft add set inet foreign ports { type inet_service ; elements = { 9998, 9999 } ; }",
        "nft add chain inet foreign sent { type filter hook output priority 0 ; }",
        "nft add rule inet foreign sent tcp dport @ports drop",
        "nft add chain inet foreign first { type filter hook prerouting priority -300 ; }",
        "nft add rule inet foreign first udp dport 9998 accept",
    ];
    for line in shaping.into_iter().chain(rules) {
        host.run(line);
    }
}

/// Both in force, then reverted: the second one first, or the first one. False if the second was refused beside the first.
#[expect(clippy::print_stdout, reason = "what was done, for whoever runs all of them")]
fn both(bench: &Bench, before: &NetSnapshot, rows: [&Row; 2], last_first: bool) -> bool {
    let [one, other] = rows.map(|row| (row.name(), row.inject(bench)));
    let first = one.1.unwrap_or_else(|error| panic!("{}: {error}", one.0));
    let (path, names) = (bench.client.path(), format!("{} and {}", one.0, other.0));
    let second = other.1.map_err(|error| println!("{names}: refused together: {error}")).ok();
    let composed = second.is_some();
    if last_first {
        second.inspect(|second| drop(second.revert()));
        first.revert();
    } else {
        first.revert();
        second.inspect(|second| drop(second.revert()));
    }
    before.returns(&path, SOON);
    println!("{names}: as it was");
    composed
}

#[test]
fn after_every_fault_and_after_pairs_of_them_the_network_is_as_it_was() {
    let bench = Bench::new();
    furnish(&bench.client);
    let before = NetSnapshot::take(&bench.client.path());
    let rows = rows();
    let full = std::env::var("SQUALL_TEST_SIZE").as_deref() == Ok("full");
    for row in &rows {
        let made = row.inject(&bench).unwrap_or_else(|error| panic!("{}: {error}", row.name()));
        let meanwhile = before.diff(&NetSnapshot::take(&bench.client.path()));
        assert!(!meanwhile.is_empty(), "{} leaves no trace: what would be compared?", row.name());
        made.revert();
        before.returns(&bench.client.path(), SOON);
        println!("{}: as it was", row.name());
    }
    // Every pair in the one order or the other, and reverted in the one order or the other; all four where all are done.
    let mut pairs: Vec<(usize, usize, bool)> =
        (0..rows.len()).flat_map(|a| (0..rows.len()).flat_map(move |b| [(a, b, false), (a, b, true)])).collect();
    pairs.shuffle(&mut StdRng::seed_from_u64(4));
    pairs.truncate(if full { pairs.len() } else { SOME });
    let composed = pairs.iter().filter(|(a, b, last_first)| both(&bench, &before, [&rows[*a], &rows[*b]], *last_first)).count();
    println!("{} single faults, {} of {} ordered pairs composed, the others refused", rows.len(), composed, pairs.len());
    assert!(composed * 2 > pairs.len(), "most faults compose");
}
