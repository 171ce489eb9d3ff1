//! Where the numbers come from: a load of its own, or queries.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use squall_engine::{Clock, ProbeCx, TrafficControl};
use squall_model::{Arrivals, HttpTraffic, HttpVersion, Measure, Quantity, Time, Traffic, TrafficSummary, Value};
use squall_probes::LoadGenerator;
use squall_sys::BootClock;

use super::{Args, Checked, Level, Subject};
use crate::context::{CliError, Context};

const NAME: &str = "check-slo";
/// How often the line of progress is written anew.
const PROGRESS: Duration = Duration::from_millis(500);

/// Makes the load, then judges all of it.
pub(super) async fn by_load(args: &Args, levels: Vec<Level>, cx: &Context) -> anyhow::Result<(Vec<Checked>, TrafficSummary)> {
    if levels.iter().any(|level| level.subject == Subject::Query) || args.latency_query.is_some() {
        return Err(CliError::usage("a query needs `--prometheus`", None).into());
    }
    if args.duration < Time::from_millis(100) || args.rate.0 <= 0.0 {
        return Err(CliError::usage("nothing to measure: `--rate` must be above 0 and `--duration` at least 100ms", None).into());
    }
    let clock: Arc<dyn Clock> = Arc::new(BootClock::new());
    let generator = match (&args.cacert, args.insecure) {
        (Some(file), _) => LoadGenerator::new(clock.clone()).trusting(file.clone()),
        (None, true) => LoadGenerator::new(clock.clone()).insecure(),
        (None, false) => LoadGenerator::new(clock.clone()),
    };
    generator.start(&[traffic(args)], 0).map_err(|e| CliError::usage(e.message, None))?;
    let start = clock.now();
    let end = start + args.duration.std();
    let mut next = start + PROGRESS;
    while clock.now() < end {
        clock.sleep_until(next.min(end)).await;
        next += PROGRESS;
        progress(cx, &generator, clock.now().saturating_sub(start), args.duration);
    }
    // Every request is decided when the last one has had its time.
    let summary = generator.finish(args.timeout.std() + Duration::from_millis(100)).await.into_iter().next();
    clear_progress(cx);
    let summary = summary.ok_or_else(|| CliError::failed("the load gave no result", None))?;
    warn_of_lateness(cx, &generator, &levels);
    let seconds = args.duration.seconds();
    Ok((levels.into_iter().map(|level| Checked { level, actual: of_summary(level.subject, &summary, seconds) }).collect(), summary))
}

fn traffic(args: &Args) -> Traffic {
    let http = HttpTraffic {
        method: args.method.clone(),
        url: args.url.clone().unwrap_or_default(),
        headers: args.header.iter().cloned().collect(),
        body: args.body.clone(),
        weight: 1,
        success: Vec::new(),
        version: if args.http2 { HttpVersion::Http2 } else { HttpVersion::Http1 },
    };
    Traffic {
        name: NAME.into(),
        http: Some(http),
        mix: Vec::new(),
        rate: args.rate,
        ramp: None,
        arrivals: if args.poisson { Arrivals::Poisson } else { Arrivals::Constant },
        timeout: args.timeout,
        max_in_flight: 10_000,
    }
}

fn of_summary(subject: Subject, summary: &TrafficSummary, seconds: f64) -> Result<f64, String> {
    let of = |class: &str| summary.errors.get(class).copied().unwrap_or(0);
    let ended = summary.requests.saturating_sub(of("unfinished"));
    if ended == 0 {
        return Err("no request ended".into());
    }
    let succeeded = ended.saturating_sub(summary.failed);
    let quantile = |value: f64| {
        // What failed without an answer has no latency.
        let without: u64 = ["connect", "reset", "closed", "tls", "dns", "overload", "protocol"].iter().map(|class| of(class)).sum();
        if without >= ended { Err(format!("none of {ended} requests got an answer")) } else { Ok(value) }
    };
    match subject {
        Subject::ErrorRate => Ok(summary.failed as f64 / ended as f64),
        Subject::Availability => Ok(succeeded as f64 / ended as f64),
        Subject::Throughput => Ok(succeeded as f64 / seconds),
        Subject::Latency(_, "p50") => quantile(summary.latency.p50),
        Subject::Latency(_, "p90") => quantile(summary.latency.p90),
        Subject::Latency(_, "p95") => quantile(summary.latency.p95),
        Subject::Latency(_, "p99") => quantile(summary.latency.p99),
        Subject::Latency(..) => quantile(summary.latency.p999),
        Subject::Query => Err("a query needs `--prometheus`".into()),
    }
}

/// Latency counts from when a request was due, so a busy host is in it: whoever reads the result should know.
fn warn_of_lateness(cx: &Context, generator: &LoadGenerator, levels: &[Level]) {
    let limits = levels.iter().filter(|level| matches!(level.subject, Subject::Latency(..))).map(|level| level.limit.value);
    let tightest = limits.fold(f64::INFINITY, f64::min);
    if let Some(late) = generator.lateness(NAME).filter(|late| late.seconds() > tightest / 10.0) {
        cx.note(format!("warning: this host was busy: 1% of the requests started {late} late or more, which is in the latencies"));
    }
}

fn progress(cx: &Context, generator: &LoadGenerator, passed: Duration, of: Time) {
    if cx.quiet || !std::io::stderr().is_terminal() {
        return;
    }
    let window = Time::from_secs(2);
    let show = |measure: Measure| {
        generator.read(NAME, measure, window).map_or_else(|_| "-".to_owned(), |value| Quantity::new(value, measure.dimension()).to_string())
    };
    let (rate, p99, errors) = (show(Measure::Throughput), show(Measure::P99), show(Measure::ErrorRate));
    // A terminal that is gone is nobody to show progress to.
    let _ = write!(std::io::stderr().lock(), "\r\x1b[K{}s of {of}   {rate} good   p99 {p99}   errors {errors}", passed.as_secs());
}

fn clear_progress(cx: &Context) {
    if !cx.quiet && std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
    }
}

/// Asks Prometheus once for each level.
pub(super) async fn by_query(args: &Args, server: &str, levels: Vec<Level>) -> anyhow::Result<Vec<Checked>> {
    let clock: Arc<dyn Clock> = Arc::new(BootClock::new());
    let traffic = Arc::new(LoadGenerator::new(clock.clone()));
    let cx = ProbeCx { clock, traffic, every: Time::from_secs(1), timeout: args.timeout, host: None };
    let kinds = squall_probes::all();
    let kind = kinds.iter().find(|kind| kind.meta().name == "prometheus").ok_or_else(|| CliError::failed("no probe for PromQL", None))?;
    let headers: BTreeMap<&str, &str> = args.header.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut checks = Vec::new();
    for level in levels {
        let query = query(args, level.subject)?;
        let with = serde_json::json!({ "server": server, "query": query, "headers": headers });
        if let Some(error) = kind.check(&with).into_iter().next() {
            return Err(CliError::usage(error.message, error.hint).into());
        }
        let mut probe = kind.open(&with, &cx).map_err(|e| CliError::usage(e, None))?;
        let actual = match tokio::time::timeout(args.timeout.std(), probe.measure()).await {
            Err(_) => Err(format!("no answer within {}", args.timeout)),
            Ok(Ok(Value::Number(number))) => Ok(number),
            Ok(Ok(Value::Text(text))) => Err(format!("`{text}` is not a number")),
            Ok(Err(reason)) => Err(reason),
        };
        checks.push(Checked { level, actual });
    }
    Ok(checks)
}

fn query(args: &Args, subject: Subject) -> anyhow::Result<String> {
    let (query, option) = match subject {
        Subject::ErrorRate => (args.error_rate_query.clone(), "--error-rate-query"),
        Subject::Availability => (args.availability_query.clone(), "--availability-query"),
        Subject::Throughput => (args.throughput_query.clone(), "--throughput-query"),
        Subject::Latency(quantile, _) => {
            (args.latency_query.as_ref().map(|query| query.replace("{quantile}", &quantile.to_string())), "--latency-query")
        }
        Subject::Query => (args.query.clone(), "--query"),
    };
    let message = || format!("no query for the {}", subject.name());
    query.ok_or_else(|| CliError::usage(message(), format!("with `--prometheus`, write `{option} 'PROMQL'`")).into())
}
