//! Bar: the load generator keeps its rate, tells the truth about latency, and shows a stall in full.
//!
//! `cargo bench -p squall-probes --bench load` starts a server in a process of its own (this same program), which answers
//! after an exact time and keeps its own record of it. It prints one table and exits with 1 when a bar is missed:
//!
//! - **rate**: requests that were due and requests that the server counted, against 5,000/s; within 1%.
//! - **p99**: what the generator reports, against the server's own p99 plus the network. The server's p99 is from "request
//!   read" to "answer written". The network is everything else on the way (both kernels' loopback, waking up on both
//!   sides, the lateness of the pacing), measured the same way against the same server without a delay: its own p50 and
//!   p99 are the least and the most that it adds to a p99. The report must lie between the two sums, give or take 5%.
//! - **stall**: the server stops answering for 1 s, and then needs the time D, which it measures itself, until it has answered
//!   all that waited and is prompt again. Answered first come, first served, a request that was due at t of the 1 + D seconds
//!   is answered at 1 + t × D / (1 + D), so that with a rate r exactly r × (1 − x) × (1 + D) requests wait longer than x. Fewer
//!   would be an omission, more would be the generator's own.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]

mod server;

use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use squall_engine::{BoxFuture, Clock, TrafficControl};
use squall_model::{Measure, Time, Traffic, TrafficSummary};
use squall_probes::{LoadGenerator, Pacer};

const RATE: f64 = 5000.0;
const STALL_RATE: f64 = 2000.0;

struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Duration {
        now()
    }
    fn sleep_until(&self, deadline: Duration) -> BoxFuture<'static, ()> {
        let left = deadline.saturating_sub(now());
        Box::pin(async move {
            let pacer = Pacer::new().expect("a timer");
            pacer.sleep(left).await.expect("a timer");
        })
    }
    fn wall(&self) -> String {
        String::new()
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The server's process, ended with this.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(delay: Duration) -> anyhow::Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the bench's server is a process of its own")]
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.arg("serve").arg(delay.as_micros().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut address = String::new();
        let output = child.stdout.take().context("a pipe")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut address)?;
        Ok(Self { child, address: address.trim().to_owned() })
    }

    /// Asks the server for something beside its load; the answer's words are numbers.
    fn ask(&self, path: &str) -> anyhow::Result<Vec<f64>> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let body = text.split("\r\n\r\n").nth(1).context("an answer")?;
        Ok(body.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }
}

struct Run {
    summary: TrafficSummary,
    server_count: f64,
    server_p99: f64,
    seconds: f64,
    lateness: Time,
}

fn traffic(server: &Server, rate: f64) -> anyhow::Result<Traffic> {
    Ok(serde_json::from_value(serde_json::json!({
        "name": "load", "rate": format!("{rate}/s"), "http": { "url": format!("http://{}/", server.address) },
    }))?)
}

async fn measure(delay: Duration, seconds: u64) -> anyhow::Result<Run> {
    let server = Server::start(delay)?;
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let generator = LoadGenerator::new(clock.clone());
    // Connections and caches warm up outside of the measurement, on both sides.
    generator.start(&[traffic(&server, RATE)?], 1)?;
    clock.sleep_until(now() + Duration::from_secs(1)).await;
    generator.finish(Duration::from_secs(2)).await;
    server.ask("/reset")?;
    generator.start(&[traffic(&server, RATE)?], 1)?;
    let start = now();
    clock.sleep_until(start + Duration::from_secs(seconds)).await;
    let summary = generator.finish(Duration::from_secs(2)).await.remove(0);
    let seconds = now().saturating_sub(start).as_secs_f64();
    let report = server.ask("/report")?;
    let lateness = generator.lateness("load").unwrap_or_default();
    Ok(Run { lateness, summary, server_count: report[0], server_p99: report[2], seconds })
}

fn line(what: &str, is: &str, wanted: &str, good: bool) -> bool {
    println!("{what:<34} {is:>26}   {wanted:<34} {}", if good { "ok" } else { "MISSED" });
    good
}

fn ms(seconds: f64) -> String {
    format!("{:.3} ms", seconds * 1e3)
}

async fn rate_and_latency(seconds: u64) -> anyhow::Result<bool> {
    let plain = measure(Duration::ZERO, seconds).await?;
    let run = measure(Duration::from_millis(1), seconds).await?;
    let (low, high) = (plain.summary.latency.p50, plain.summary.latency.p99);
    println!("network (no delay), {RATE}/s: p50 {}, p99 {}", ms(low), ms(high));
    println!("server (1 ms), its own record: p99 {} over {} answers", ms(run.server_p99), run.server_count);
    let late = run.lateness.max(plain.lateness);
    let mut good = line("idle host: p99 of late starts", &late.to_string(), "at most 500us, else try again", late.seconds() <= 5e-4);
    let off = (run.summary.rate / RATE - 1.0) * 100.0;
    good &= line("rate due", &format!("{:.1}/s ({off:+.2}%)", run.summary.rate), "5000/s within 1%", off.abs() <= 1.0);
    let answered = run.server_count / run.seconds;
    let off = (answered / RATE - 1.0) * 100.0;
    good &= line("rate that the server saw", &format!("{answered:.1}/s ({off:+.2}%)"), "5000/s within 1%", off.abs() <= 1.0);
    let failed = run.summary.failed;
    good &= line("failed", &failed.to_string(), "0", failed == 0);
    let p99 = run.summary.latency.p99;
    let (low, high) = (run.server_p99 + low, run.server_p99 + high);
    let wanted = format!("{} to {}, ±5%", ms(low), ms(high));
    good &= line("reported p99", &ms(p99), &wanted, p99 >= low * 0.95 && p99 <= high * 1.05);
    Ok(good)
}

async fn stall() -> anyhow::Result<bool> {
    let server = Server::start(Duration::from_millis(1))?;
    let clock: Arc<dyn Clock> = Arc::new(BootClock);
    let generator = LoadGenerator::new(clock.clone());
    generator.start(&[traffic(&server, STALL_RATE)?], 1)?;
    clock.sleep_until(now() + Duration::from_secs(2)).await;
    server.ask("/stall")?;
    clock.sleep_until(now() + Duration::from_millis(500)).await;
    let during = generator.read("load", Measure::P99, Time::from_secs(5)).map_err(anyhow::Error::msg)?;
    clock.sleep_until(now() + Duration::from_secs(2)).await;
    let summary = generator.finish(Duration::from_secs(5)).await.remove(0);
    let drain = server.ask("/report")?[3];
    let mut good = line("p99 half a second into the stall", &ms(during), "at least 400 ms", during >= 0.4);
    good &= line("stall: until prompt again", &ms(drain), "at most 100 ms, else try again", drain <= 0.1);
    for x in [100, 250, 500, 750, 900] {
        let count = generator.slower_than("load", Time::from_millis(x)).unwrap_or(0) as f64;
        let expected = STALL_RATE * (1.0 - x as f64 / 1e3) * (1.0 + drain);
        let slack = expected * 0.02 + STALL_RATE * 0.02;
        let wanted = format!("{expected:.0} ± {slack:.0}");
        good &= line(&format!("stall of 1 s: slower than {x} ms"), &format!("{count:.0}"), &wanted, (count - expected).abs() <= slack);
    }
    good &= line("stall: failed", &summary.failed.to_string(), "0", summary.failed == 0);
    Ok(good)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|a| a == "serve") {
        return server::main(arguments.get(at + 1).and_then(|d| d.parse().ok()).unwrap_or(0));
    }
    let seconds = arguments.iter().find_map(|a| a.strip_prefix("--seconds=")?.parse().ok()).unwrap_or(10);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    let result = runtime.block_on(async { Ok::<_, anyhow::Error>(rate_and_latency(seconds).await? & stall().await?) });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
