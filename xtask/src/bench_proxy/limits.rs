//! Rows at the edge: very many connections, and no descriptor left.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contestant::Contestant;
use super::report::{Bar, Rounds};
use super::{Bench, namespace, plain, requests};
use crate::shell;

/// 1,000 new connections a second beside 20,000 idle ones, each served; none may fail.
pub fn many(bench: &mut Bench) -> Result<()> {
    let respond = bench.backend.respond;
    let (asked, seconds) = if bench.quick { (1000, 1) } else { (20_000, 5) };
    // New ones come on top.
    let idle = bench.allowed(asked + 300) - 300;
    let metrics = bench.turns(&[Contestant::Squall], respond, |running| {
        let held = (0..idle).map(|_| requests::connect(running.address)).collect::<std::io::Result<Vec<_>>>();
        let held = held.context("an idle connection could not be had")?;
        let (begin, mut errors, mut times) = (shell::now(), 0, Vec::new());
        for number in 0..1000 * seconds {
            let due = begin + f64::from(number) / 1000.0;
            std::thread::sleep(Duration::from_secs_f64((due - shell::now()).max(0.0)));
            let start = shell::now();
            match requests::connect(running.address) {
                Ok(_) => times.push((shell::now() - start) * 1e3),
                Err(_) => errors += 1,
            }
        }
        let rate = f64::from(1000 * seconds) / (shell::now() - begin);
        times.sort_by(f64::total_cmp);
        let resident = running.pid().map_or(Ok(0.0), plain::resident)?;
        drop(held);
        Ok(vec![f64::from(errors), rate, shell::quantile(&times, 0.99), resident / idle as f64])
    })?;
    let units = ["errors", "new connections/s", "p99 ms until served", "KiB of the process, for each idle connection"];
    for (unit, all) in units.iter().zip(&metrics) {
        bench.report.row(&format!("new connections beside {idle} idle ones"), unit, all);
    }
    let worst = |metric: usize| metrics.get(metric).and_then(|all| all.first()).map(Rounds::sum);
    if let (Some(errors), Some(_)) = (worst(0), worst(1)) {
        bench.report.check("errors in all rounds", errors, Bar::AtMost(0.0));
        if !namespace::emulated() {
            bench.report.check("new connections a second", metrics[1][0].median(), Bar::AtLeast(990.0));
        }
    }
    Ok(())
}

/// More connections than descriptors: it says so, and goes on when there are some again.
pub fn descriptors(bench: &mut Bench) -> Result<()> {
    if bench.programs.squall.is_none() {
        return Ok(());
    }
    let running = bench.programs.start(&Contestant::Squall, bench.backend.respond, Some(128))?;
    let mut held = Vec::new();
    for _ in 0..200 {
        let stream = std::net::TcpStream::connect(running.address)?;
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        held.push(stream);
    }
    // Some are served, not all: there are two descriptors in each.
    let served = held.iter_mut().take(40).filter_map(|stream| requests::exchange(stream).ok()).count();
    std::thread::sleep(Duration::from_millis(300));
    let log = std::fs::read_to_string(&running.log)?.to_lowercase();
    let said = log.lines().find(|line| line.contains("open files") || line.contains("descriptor")).unwrap_or("nothing").to_owned();
    drop(held);
    let (end, mut again) = (shell::now() + 5.0, false);
    while !again && shell::now() < end {
        again = requests::connect(running.address).is_ok();
    }
    ensure!(running.pid().is_some_and(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists()), "the proxy ended");
    bench.report.verdict("connections served while descriptors last", &served.to_string(), "≥ 1", served >= 1);
    bench.report.verdict("what its log says", &said, "names the limit", said != "nothing");
    bench.report.verdict("serves again afterwards", &again.to_string(), "true", again);
    Ok(())
}
