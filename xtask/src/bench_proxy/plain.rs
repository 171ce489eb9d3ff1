//! Rows without a fault: what the proxy costs.

use anyhow::Result;

use super::backend::{BULK, MEMORY};
use super::contestant::Contestant;
use super::report::{Bar, Rounds};
use super::{Bench, bulk, requests};

const TCP: [Contestant; 5] =
    [Contestant::Direct, Contestant::Haproxy, Contestant::HaproxySplice, Contestant::Toxiproxy, Contestant::Squall];

/// The median of one by name; none where it did not take part.
fn median(all: &[Rounds], name: &str) -> Option<f64> {
    all.iter().find(|rounds| rounds.name == name).map(Rounds::median)
}

/// Judges the ratio of ours to another's, where both took part.
fn ratio(bench: &mut Bench, all: &[Rounds], ours: &str, other: &str, bar: f64) {
    if let (Some(mine), Some(theirs)) = (median(all, ours), median(all, other)) {
        bench.report.check(&format!("{ours} / {other}"), mine / theirs, Bar::AtLeast(bar));
    }
}

pub fn bulk(bench: &mut Bench, streams: usize) -> Result<()> {
    let (warm, seconds) = if bench.quick { (0.2, 0.3) } else { (0.5, 3.0) };
    let name = if streams == 1 { "one stream" } else { "eight streams" };
    let (source, cached) = (bench.backend.source, bench.backend.cached);
    // Where both ends only ever touch a cache, no byte comes from memory, and a relay costs more than the work itself: shown, as
    // the worst case there is.
    let worst = bench.turns(&TCP, cached, |running| Ok(vec![bulk::rate(running.address, streams, BULK, warm, seconds)? / 1e9]))?;
    bench.report.row(&format!("{name}, from cache to cache"), "Gb/s", &worst.first().cloned().unwrap_or_default());
    let all = bench.turns(&TCP, source, |running| Ok(vec![bulk::rate(running.address, streams, MEMORY, warm, seconds)? / 1e9]))?;
    let all = all.first().cloned().unwrap_or_default();
    bench.report.row(&format!("{name}, from memory to memory"), "Gb/s", &all);
    ratio(bench, &all, "squall", "direct", if streams == 1 { 0.93 } else { 0.85 });
    if streams == 1 {
        ratio(bench, &all, "squall", "toxiproxy", 4.0);
    }
    Ok(())
}

pub fn keep_alive(bench: &mut Bench, connections: usize, contestants: &[Contestant]) -> Result<()> {
    let until = requests::Until::Seconds(if bench.quick { 0.3 } else { 3.0 });
    let respond = bench.backend.respond;
    let metrics = bench.turns(contestants, respond, |running| {
        let outcome = requests::keep_alive(requests::Load { address: running.address, connections, until, interval: 0.0, spread: 0.0 })?;
        Ok(vec![outcome.rate, outcome.quantile(0.5) * 1e6, outcome.quantile(0.99) * 1e6])
    })?;
    let name = format!("keep-alive, {connections} connection{}", if connections == 1 { "" } else { "s" });
    for (unit, all) in ["requests/s", "p50 µs", "p99 µs"].iter().zip(&metrics) {
        bench.report.row(&name, unit, all);
    }
    let (Some(rates), Some(p50)) = (metrics.first(), metrics.get(1)) else { return Ok(()) };
    if connections == 1 {
        if let (Some(mine), Some(direct)) = (median(p50, "squall"), median(p50, "direct")) {
            bench.report.check("p50 that squall adds, µs", mine - direct, Bar::AtMost(35.0));
        }
    } else {
        ratio(bench, rates, "squall", "haproxy", 1.0);
        ratio(bench, rates, "squall-http", "haproxy-http", 1.0);
        ratio(bench, rates, "squall-http", "envoy", 1.0);
    }
    Ok(())
}

pub fn tcp_keep_alive(bench: &mut Bench, connections: usize) -> Result<()> {
    keep_alive(bench, connections, &TCP)
}

pub fn http(bench: &mut Bench) -> Result<()> {
    keep_alive(bench, 64, &[Contestant::Direct, Contestant::HaproxyHttp, Contestant::Envoy, Contestant::SquallHttp])
}

pub fn connections(bench: &mut Bench) -> Result<()> {
    let seconds = if bench.quick { 0.3 } else { 3.0 };
    let respond = bench.backend.respond;
    let metrics = bench.turns(&TCP, respond, |running| {
        let outcome = requests::one_each(running.address, 16, seconds)?;
        Ok(vec![outcome.rate, outcome.quantile(0.5) * 1e6])
    })?;
    for (unit, all) in ["connections/s", "p50 µs"].iter().zip(&metrics) {
        bench.report.row("a connection a request", unit, all);
    }
    if let Some(rates) = metrics.first() {
        ratio(bench, rates, "squall", "haproxy", 1.0);
        ratio(bench, rates, "squall", "toxiproxy", 2.8);
    }
    Ok(())
}

/// Resident KiB of a process.
pub fn resident(pid: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    Ok(line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(f64::NAN))
}

pub fn idle(bench: &mut Bench) -> Result<()> {
    let respond = bench.backend.respond;
    let counts = if bench.quick { vec![500] } else { vec![10_000, 20_000] };
    for asked in counts {
        let count = bench.allowed(asked);
        let all = bench.turns(&TCP[1..], respond, |running| {
            let Some(pid) = running.pid() else { return Ok(vec![0.0]) };
            // What every connection shares is there after the first.
            drop((0..8).map(|_| requests::connect(running.address)).collect::<std::io::Result<Vec<_>>>()?);
            std::thread::sleep(std::time::Duration::from_millis(300));
            let before = resident(pid)?;
            let held = (0..count).map(|_| requests::connect(running.address)).collect::<std::io::Result<Vec<_>>>()?;
            std::thread::sleep(std::time::Duration::from_millis(1500));
            let after = resident(pid)?;
            drop(held);
            Ok(vec![(after - before) / count as f64])
        })?;
        let all = all.first().cloned().unwrap_or_default();
        bench.report.row(&format!("{count} idle connections"), "KiB each", &all);
        if let Some(mine) = median(&all, "squall") {
            bench.report.check("resident KiB of squall for each idle connection", mine, Bar::AtMost(3.0));
        }
    }
    Ok(())
}
