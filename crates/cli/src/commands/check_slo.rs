//! `squall check-slo`

mod measure;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use squall_model::{Dimension, Quantity, Rate, Time, TrafficSummary, Verdict};

use crate::context::{CliError, Context, Output};

/// Check service levels from one line, with a load of its own or with PromQL
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall check-slo --url http://127.0.0.1:8080/checkout --rate 50/s --duration 30s \\
    --error-rate 1% --latency-p99 500ms
  squall check-slo --prometheus http://127.0.0.1:9090 --error-rate 1% \\
    --error-rate-query 'sum(rate(http_requests_total{status=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))'
  squall check-slo --prometheus http://127.0.0.1:9090 --latency-p99 500ms --latency-query \\
    'histogram_quantile({quantile}, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))'

Exit codes: 0 held, 1 deviated (a level is breached), 2 wrong usage, 5 inconclusive (a level could not be measured)")]
pub struct Args {
    /// Make load on this URL and measure it
    #[arg(long, value_name = "URL", required_unless_present = "prometheus", conflicts_with = "prometheus", help_heading = "Load")]
    url: Option<String>,
    /// Requests a second, whatever becomes of them
    #[arg(long, value_name = "RATE", default_value = "10/s", help_heading = "Load")]
    rate: Rate,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "10s", help_heading = "Load")]
    duration: Time,
    /// Method of the requests
    #[arg(long, default_value = "GET", help_heading = "Load")]
    method: String,
    /// A header, of the requests or of the queries
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Body of the requests
    #[arg(long, help_heading = "Load")]
    body: Option<String>,
    /// When a request counts as failed, and a query as not answered
    #[arg(long, value_name = "TIME", default_value = "10s")]
    timeout: Time,
    /// Speak HTTP/2
    #[arg(long, help_heading = "Load")]
    http2: bool,
    /// Requests come by chance (a Poisson process) instead of evenly
    #[arg(long, help_heading = "Load")]
    poisson: bool,
    /// Believe any certificate
    #[arg(long, help_heading = "Load", conflicts_with = "cacert")]
    insecure: bool,
    /// Believe what the authorities in this PEM file signed
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    cacert: Option<PathBuf>,

    /// Ask this Prometheus, or what speaks its API
    #[arg(long, value_name = "URL", help_heading = "PromQL")]
    prometheus: Option<String>,
    /// A share of requests, for --error-rate
    #[arg(long, value_name = "PROMQL", requires = "prometheus", requires = "error_rate", help_heading = "PromQL")]
    error_rate_query: Option<String>,
    /// A share of requests, for --availability
    #[arg(long, value_name = "PROMQL", requires = "prometheus", requires = "availability", help_heading = "PromQL")]
    availability_query: Option<String>,
    /// Seconds, for --latency-…; {quantile} stands for 0.5, 0.9, 0.95, 0.99 or 0.999
    #[arg(long, value_name = "PROMQL", requires = "prometheus", help_heading = "PromQL")]
    latency_query: Option<String>,
    /// Requests a second, for --throughput
    #[arg(long, value_name = "PROMQL", requires = "prometheus", requires = "throughput", help_heading = "PromQL")]
    throughput_query: Option<String>,
    /// Any value, for --at-most and --at-least
    #[arg(long, value_name = "PROMQL", requires = "prometheus", help_heading = "PromQL")]
    query: Option<String>,
    /// The most that --query may be
    #[arg(long, value_name = "NUMBER", requires = "query", allow_hyphen_values = true, help_heading = "Levels")]
    at_most: Option<Quantity>,
    /// The least that --query may be
    #[arg(long, value_name = "NUMBER", requires = "query", allow_hyphen_values = true, help_heading = "Levels")]
    at_least: Option<Quantity>,

    /// The most that may fail: 1% or 0.01
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Levels")]
    error_rate: Option<Quantity>,
    /// The least that must succeed: 99.9% or 0.999
    #[arg(long, value_name = "SHARE", value_parser = share, help_heading = "Levels")]
    availability: Option<Quantity>,
    /// The most that half of the requests may take
    #[arg(long, value_name = "TIME", help_heading = "Levels")]
    latency_p50: Option<Time>,
    /// The most that 90% of the requests may take
    #[arg(long, value_name = "TIME", help_heading = "Levels")]
    latency_p90: Option<Time>,
    /// The most that 95% of the requests may take
    #[arg(long, value_name = "TIME", help_heading = "Levels")]
    latency_p95: Option<Time>,
    /// The most that 99% of the requests may take
    #[arg(long, value_name = "TIME", help_heading = "Levels")]
    latency_p99: Option<Time>,
    /// The most that 99.9% of the requests may take
    #[arg(long, value_name = "TIME", help_heading = "Levels")]
    latency_p999: Option<Time>,
    /// The least successful answers a second
    #[arg(long, value_name = "RATE", help_heading = "Levels")]
    throughput: Option<Rate>,

    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Write the result as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Subject {
    ErrorRate,
    Availability,
    /// The quantile, and its name in options.
    Latency(f64, &'static str),
    Throughput,
    Query,
}

/// One level that must be kept.
#[derive(Debug, Clone, Copy)]
struct Level {
    subject: Subject,
    /// The limit is the most (else the least) that is good.
    at_most: bool,
    limit: Quantity,
}

/// One level with what was measured.
struct Checked {
    level: Level,
    /// In base units, or why it could not be measured.
    actual: Result<f64, String>,
}

impl Subject {
    fn name(self) -> String {
        match self {
            Self::ErrorRate => "error rate".into(),
            Self::Availability => "availability".into(),
            Self::Latency(_, name) => format!("latency {name}"),
            Self::Throughput => "throughput".into(),
            Self::Query => "query".into(),
        }
    }
}

impl Checked {
    fn verdict(&self) -> Verdict {
        match self.actual {
            Err(_) => Verdict::Inconclusive,
            Ok(actual) if self.level.at_most && actual <= self.level.limit.value => Verdict::Held,
            Ok(actual) if !self.level.at_most && actual >= self.level.limit.value => Verdict::Held,
            Ok(_) => Verdict::Deviated,
        }
    }
}

/// A breached level decides; else one that could not be measured does.
fn overall(checks: &[Checked]) -> Verdict {
    let has = |verdict| checks.iter().any(|check| check.verdict() == verdict);
    [Verdict::Deviated, Verdict::Inconclusive].into_iter().find(|verdict| has(*verdict)).unwrap_or(Verdict::Held)
}

fn share(text: &str) -> Result<Quantity, String> {
    let quantity: Quantity = text.parse().map_err(|e: squall_model::UnitError| e.to_string())?;
    if !matches!(quantity.dimension, Dimension::Ratio | Dimension::Number) || !(0.0..=1.0).contains(&quantity.value) {
        return Err("a share is from 0 to 1, or from 0% to 100%".into());
    }
    Ok(Quantity::new(quantity.value, Dimension::Ratio))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it like `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    fn levels(&self) -> Vec<Level> {
        let level = |subject, at_most, limit: Option<Quantity>| limit.map(|limit| Level { subject, at_most, limit });
        let latency = |quantile, name, limit: Option<Time>| {
            level(Subject::Latency(quantile, name), true, limit.map(|time| Quantity::new(time.seconds(), Dimension::Time)))
        };
        [
            level(Subject::ErrorRate, true, self.error_rate),
            level(Subject::Availability, false, self.availability),
            latency(0.5, "p50", self.latency_p50),
            latency(0.9, "p90", self.latency_p90),
            latency(0.95, "p95", self.latency_p95),
            latency(0.99, "p99", self.latency_p99),
            latency(0.999, "p99.9", self.latency_p999),
            level(Subject::Throughput, false, self.throughput.map(|rate| Quantity::new(rate.0, Dimension::Rate))),
            level(Subject::Query, true, self.at_most),
            level(Subject::Query, false, self.at_least),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Measures, judges and tells.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let levels = args.levels();
    if levels.is_empty() {
        let hint = "add at least one, such as `--error-rate 1%` or `--latency-p99 500ms`".to_owned();
        return Err(CliError::usage("no level to check", hint).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (checks, traffic): (Vec<Checked>, Option<TrafficSummary>) = runtime.block_on(async {
        match &args.prometheus {
            Some(server) => measure::by_query(&args, server, levels).await.map(|checks| (checks, None)),
            None => measure::by_load(&args, levels, cx).await.map(|(checks, summary)| (checks, Some(summary))),
        }
    })?;
    let verdict = overall(&checks);
    if let Some(path) = &args.junit {
        let hint = "check that the directory exists and can be written to".to_owned();
        std::fs::write(path, show::junit(&checks)).map_err(|e| CliError::failed(format!("{}: {e}", path.display()), hint))?;
    }
    match args.output {
        Output::Json => cx.json(&show::json(verdict, &checks, traffic.as_ref()))?,
        Output::Text => show::table(cx, verdict, &checks, traffic.as_ref())?,
    }
    Ok(ExitCode::from(verdict.exit_code()))
}
