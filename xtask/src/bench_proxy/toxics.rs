//! Rows with a toxic: whether it does what was asked for. Toxiproxy, where it is here, is shown beside and not judged.

use anyhow::{Context, Result};
use serde_json::json;

use super::backend::MEMORY;
use super::contestant::{Contestant, Running};
use super::report::{Bar, Rounds, number};
use super::requests::{Load, Outcome, Until, keep_alive};
use super::{Bench, bulk, plain, requests};

const TOXIC: [Contestant; 2] = [Contestant::Toxiproxy, Contestant::Squall];
/// Requests a second, at most: what is measured is the delay, not a queue before a busy core.
const RATE: f64 = 10_000.0;

/// Starts are spread over the time that one exchange takes, so that connections do not march in step.
fn paced(running: &Running, connections: usize, until: Until, takes: f64) -> Result<Outcome> {
    let interval = connections as f64 / RATE;
    keep_alive(Load { address: running.address, connections, until, interval, spread: interval.max(takes) })
}

/// The toxic for what comes from the upstream.
fn add(running: &Running, kind: &str, toxicity: f64, attributes: &serde_json::Value) -> Result<()> {
    running.api.context("no API")?.add_toxic("bench", kind, toxicity, attributes)
}

fn of<'a>(metrics: &'a [Vec<Rounds>], metric: usize, name: &str) -> Option<&'a Rounds> {
    metrics.get(metric)?.iter().find(|rounds| rounds.name == name)
}

pub fn latency(bench: &mut Bench) -> Result<()> {
    let respond = bench.backend.respond;
    let (delays, counts): (&[u32], &[usize]) = if bench.quick { (&[10], &[1, 64]) } else { (&[1, 10, 100, 1000], &[1, 64, 1000]) };
    for &connections in counts {
        for &delay in delays {
            let (asked, until) = (f64::from(delay), Until::Each(exchanges(bench.quick, delay, connections)));
            let metrics = bench.turns(&TOXIC, respond, |running| {
                // What the way itself takes, at the same pace, is not the toxic's.
                let base = paced(running, connections, Until::Each(5), 0.0)?.quantile(0.5);
                add(running, "latency", 1.0, &json!({ "latency": delay }))?;
                let outcome = paced(running, connections, until, asked / 1e3)?;
                Ok(vec![(outcome.quantile(0.5) - base) * 1e3, (outcome.quantile(0.99) - base) * 1e3])
            })?;
            let name = format!("latency {delay} ms, {connections} connections");
            for (unit, all) in ["p50 ms added", "p99 ms added"].iter().zip(&metrics) {
                bench.report.row(&name, unit, all);
            }
            if let Some(p50) = of(&metrics, 0, "squall") {
                let off = (p50.median() - asked).abs();
                bench.report.check("p50 off by, ms", off, Bar::AtMost((asked * 0.005).max(0.3)));
            }
            let patience = if connections >= 1000 { 10.0 } else { 2.0 };
            if let Some(p99) = of(&metrics, 1, "squall").filter(|_| connections > 1) {
                bench.report.check("p99 later by, ms", p99.median() - asked, Bar::AtMost(patience));
            }
        }
    }
    Ok(())
}

/// On each connection: enough for a percentile over all, and no more than some seconds.
fn exchanges(quick: bool, delay: u32, connections: usize) -> u32 {
    match (quick, delay) {
        (true, _) => 5,
        (_, d) if d >= 1000 => 3,
        (_, d) if d >= 100 => 20,
        _ if connections == 1 => 200,
        _ => 40,
    }
}

/// The delays are to be uniform in [50, 150) ms: Kolmogorov–Smirnov, one sample, at 1%.
pub fn jitter(bench: &mut Bench) -> Result<()> {
    let respond = bench.backend.respond;
    let (connections, each) = if bench.quick { (64, 4) } else { (200, 50) };
    let metrics = bench.turns(&TOXIC, respond, |running| {
        let base = paced(running, connections, Until::Each(5), 0.0)?.quantile(0.5);
        add(running, "latency", 1.0, &json!({ "latency": 100, "jitter": 50 }))?;
        let outcome = paced(running, connections, Until::Each(each), 0.0)?;
        let n = outcome.times.len() as f64;
        let distance = outcome.times.iter().enumerate().map(|(i, time)| {
            let asked = ((time - base - 0.05) / 0.1).clamp(0.0, 1.0);
            (asked - i as f64 / n).abs().max((asked - (i as f64 + 1.0) / n).abs())
        });
        // 1.628 is the 99% point of Kolmogorov's distribution.
        Ok(vec![distance.fold(0.0, f64::max) / (1.628 / n.sqrt())])
    })?;
    if let Some(all) = metrics.first() {
        bench.report.row("jitter 100 ± 50 ms", "KS distance, as a share of what 1% allow", all);
    }
    if let Some(ours) = of(&metrics, 0, "squall") {
        bench.report.check("KS distance of squall / critical", ours.median(), Bar::AtMost(1.0));
    }
    Ok(())
}

pub fn bandwidth(bench: &mut Bench) -> Result<()> {
    let source = bench.backend.source;
    let (rates, seconds): (&[u32], f64) = if bench.quick { (&[1000], 0.5) } else { (&[10, 100, 1000, 10_000, 100_000, 1_000_000], 2.0) };
    for &rate in rates {
        let metrics = bench.turns(&TOXIC, source, |running| {
            add(running, "bandwidth", 1.0, &json!({ "rate": rate }))?;
            let asked = f64::from(rate) * 1e3;
            let arrived = bulk::arrivals(running.address, seconds)?;
            let largest = arrived.bins.iter().copied().max().unwrap_or(0) as f64;
            Ok(vec![arrived.rate / asked * 100.0, largest / (asked / 10.0) * 100.0])
        })?;
        for (unit, all) in ["% of asked", "% of asked in the largest 100 ms"].iter().zip(&metrics) {
            bench.report.row(&format!("bandwidth {rate} KB/s"), unit, all);
        }
        if let (Some(share), Some(bin)) = (of(&metrics, 0, "squall"), of(&metrics, 1, "squall")) {
            bench.report.check("points off the rate asked for", (share.median() - 100.0).abs(), Bar::AtMost(1.0));
            bench.report.check("largest 100 ms, %", bin.median(), Bar::AtMost(110.0));
        }
    }
    Ok(())
}

/// A delay is not a limit of bandwidth.
pub fn delayed(bench: &mut Bench) -> Result<()> {
    let source = bench.backend.source;
    let (warm, seconds) = if bench.quick { (0.4, 0.3) } else { (1.0, 3.0) };
    let metrics = bench.turns(&TOXIC, source, |running| {
        let without = bulk::rate(running.address, 1, MEMORY, warm, seconds)?;
        add(running, "latency", 1.0, &json!({ "latency": 100 }))?;
        let with = bulk::rate(running.address, 1, MEMORY, warm, seconds)?;
        let resident = running.pid().map_or(Ok(0.0), plain::resident)?;
        running.api.context("no API")?.remove_toxic("bench")?;
        Ok(vec![without / 1e9, with / 1e9, with / without, resident / 1024.0])
    })?;
    let units = ["Gb/s without", "Gb/s through it", "of what there is without", "MiB resident, afterwards"];
    for (unit, all) in units.iter().zip(&metrics) {
        bench.report.row("bulk through a latency of 100 ms", unit, all);
    }
    if let (Some(share), Some(memory)) = (of(&metrics, 2, "squall"), of(&metrics, 3, "squall")) {
        bench.report.check("share of what there is without", share.median(), Bar::AtLeast(0.8));
        bench.report.check("MiB resident", memory.median(), Bar::AtMost(1024.0));
    }
    Ok(())
}

/// Each connection is cut after a byte, or not.
pub fn toxicity(bench: &mut Bench) -> Result<()> {
    let respond = bench.backend.respond;
    let count = if bench.quick { 300 } else { 4000 };
    let shares: &[f64] = if bench.quick { &[0.5] } else { &[0.01, 0.1, 0.5, 0.9] };
    for &share in shares {
        // Each round draws anew: their sum is what is judged.
        let metrics = bench.turns(&TOXIC, respond, |running| {
            add(running, "limit_data", share, &json!({ "bytes": 1 }))?;
            let hits = (0..count).filter(|_| requests::connect(running.address).is_err()).count();
            Ok(vec![hits as f64])
        })?;
        let Some(all) = metrics.first() else { continue };
        bench.report.row(&format!("toxicity {share}, {count} connections"), "hit", all);
        if let Some(ours) = of(&metrics, 0, "squall") {
            let n = f64::from(count) * ours.rounds() as f64;
            let (mean, spread) = (n * share, 2.576 * (n * share * (1.0 - share)).sqrt());
            let bar = format!("{}..{}", number(mean - spread), number(mean + spread));
            bench.report.verdict("connections hit in all", &number(ours.sum()), &bar, (ours.sum() - mean).abs() <= spread);
        }
    }
    Ok(())
}
