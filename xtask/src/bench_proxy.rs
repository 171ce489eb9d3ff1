//! `cargo xtask bench-proxy`: the fault proxy beside no proxy, `HAProxy`, Envoy and Toxiproxy, in turns, in one run.
//!
//! Everything is measured through the loopback of a network namespace of its own, after the machine has gone quiet. What
//! is judged is the median of five rounds, as a ratio wherever another is measured beside it.

mod api;
mod backend;
mod bulk;
mod contestant;
mod limits;
mod namespace;
mod plain;
mod poll;
pub mod report;
mod requests;
mod toxics;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use backend::Backend;
pub use backend::serve;
use contestant::{Contestant, Programs, Running};
use report::{Report, Rounds};

use crate::shell;

#[derive(clap::Args)]
pub struct Args {
    /// One short round of everything, shown and not judged: what CI does on a machine that is not quiet
    #[arg(long)]
    quick: bool,
    /// Rounds of each measurement; the median is judged
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these rows
    #[arg(long, value_enum, num_args = 1..)]
    only: Vec<Row>,
    /// Only these contestants, by name, beside Squall and `direct`
    #[arg(long, num_args = 1.., value_name = "NAME")]
    against: Vec<String>,
    /// The program to measure; built here if left out
    #[arg(long)]
    squall: Option<PathBuf>,
    /// One more relay: `NAME=COMMAND`, in which `{listen}` and `{upstream}` stand for addresses. The name `squall` replaces
    /// Squall itself in the rows without faults
    #[arg(long, value_name = "NAME=COMMAND")]
    other: Vec<String>,
    /// In a virtual machine (QEMU, Debian's kernel): for the rows `idle` and `many` where a process may not have the
    /// descriptors that they need
    #[arg(long, requires = "only")]
    vm: bool,
    /// The result as JSON, at the end
    #[arg(long)]
    json: bool,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Row {
    /// Bulk over one connection
    OneStream,
    /// Bulk over eight
    EightStreams,
    /// Requests over one connection: what the proxy adds
    KeepAlive1,
    /// Requests over 64 connections
    KeepAlive64,
    /// A connection for each request
    Connections,
    /// Requests over 64 connections, by proxies that know HTTP
    Http,
    /// Memory of idle connections
    Idle,
    /// How exact the latency toxic is
    Latency,
    /// Whether jitter has the distribution asked for
    Jitter,
    /// How exact the bandwidth toxic is
    Bandwidth,
    /// Bulk through a latency toxic
    Delayed,
    /// Whether toxicity hits the share asked for
    Toxicity,
    /// New connections beside very many idle ones
    Many,
    /// No descriptor left
    Descriptors,
}

/// One run.
pub struct Bench {
    quick: bool,
    rounds: usize,
    against: Vec<String>,
    others: Vec<Contestant>,
    programs: Programs,
    backend: Backend,
    report: Report,
    /// Connections that one process can relay, by its descriptors.
    most: usize,
}

pub fn run(args: &Args) -> Result<()> {
    if args.vm {
        return namespace::enter_vm(&shell::release_squall(args.squall.as_deref())?);
    }
    // Built outside: it may need the network.
    let others = others(&args.other)?;
    let replaced = others.iter().any(|other| other.name() == "squall");
    let work = tempfile::tempdir()?;
    let mut programs = Programs { squall: None, envoy: None, work: work.path().to_owned() };
    if namespace::outside() {
        let squall = if replaced { None } else { Some(shell::release_squall(args.squall.as_deref())?) };
        let envoy = if wanted(args, Row::Http) && (args.against.is_empty() || args.against.iter().any(|n| n == "envoy")) {
            contestant::envoy().map_err(|error| shell::say(&format!("without Envoy: {error:#}"))).ok()
        } else {
            None
        };
        namespace::enter(squall.as_deref(), envoy.as_deref())?;
        (programs.squall, programs.envoy) = (squall, envoy);
    } else {
        namespace::settle()?;
        (programs.squall, programs.envoy) = (namespace::given("SQUALL"), namespace::given("ENVOY"));
    }
    let descriptors = namespace::raise_descriptors()?;
    let mut bench = Bench {
        quick: args.quick,
        rounds: if args.quick { 1 } else { args.rounds },
        against: args.against.clone(),
        others,
        programs,
        backend: Backend::start()?,
        report: Report::new(!args.quick, args.json),
        most: usize::try_from(descriptors.saturating_sub(400) / 2)?,
    };
    for row in <Row as clap::ValueEnum>::value_variants() {
        if wanted(args, *row) {
            bench.measure(*row).with_context(|| format!("{row:?}"))?;
        }
    }
    let missed = bench.report.end();
    if missed > 0 && !args.quick {
        bail!("{missed} missed");
    }
    Ok(())
}

fn wanted(args: &Args, row: Row) -> bool {
    args.only.is_empty() || args.only.contains(&row)
}

fn others(given: &[String]) -> Result<Vec<Contestant>> {
    let parse = |text: &String| -> Result<Contestant> {
        let (name, line) = text.split_once('=').with_context(|| format!("`{text}` is not NAME=COMMAND"))?;
        Ok(Contestant::Other(name.to_owned(), line.to_owned()))
    };
    given.iter().map(parse).collect()
}

impl Bench {
    fn measure(&mut self, row: Row) -> Result<()> {
        match row {
            Row::OneStream => plain::bulk(self, 1),
            Row::EightStreams => plain::bulk(self, 8),
            Row::KeepAlive1 => plain::tcp_keep_alive(self, 1),
            Row::KeepAlive64 => plain::tcp_keep_alive(self, 64),
            Row::Connections => plain::connections(self),
            Row::Http => plain::http(self),
            Row::Idle => plain::idle(self),
            Row::Latency => toxics::latency(self),
            Row::Jitter => toxics::jitter(self),
            Row::Bandwidth => toxics::bandwidth(self),
            Row::Delayed => toxics::delayed(self),
            Row::Toxicity => toxics::toxicity(self),
            Row::Many => limits::many(self),
            Row::Descriptors => limits::descriptors(self),
        }
    }

    /// Those of them that are here and were asked for.
    fn present(&self, contestants: &[Contestant]) -> Vec<Contestant> {
        let here = |contestant: &Contestant| match contestant {
            Contestant::Direct | Contestant::Other(..) => true,
            Contestant::Squall | Contestant::SquallHttp => self.programs.squall.is_some(),
            Contestant::Haproxy | Contestant::HaproxySplice | Contestant::HaproxyHttp => shell::has("haproxy"),
            Contestant::Toxiproxy => shell::has("toxiproxy-server"),
            Contestant::Envoy => self.programs.envoy.is_some(),
        };
        let asked = |contestant: &Contestant| {
            let name = contestant.name();
            self.against.is_empty() || name == "direct" || name.starts_with("squall") || self.against.iter().any(|n| n == name)
        };
        // The fastest first, ours last: nobody profits from what another has warmed more than the next.
        let tcp = contestants.contains(&Contestant::Squall);
        contestants.iter().chain(self.others.iter().filter(|_| tcp)).filter(|c| here(c) && asked(c)).cloned().collect()
    }

    /// Measures each in turn, round by round; the result is by metric, then by contestant.
    fn turns(
        &mut self,
        contestants: &[Contestant],
        upstream: SocketAddr,
        mut measure: impl FnMut(&Running) -> Result<Vec<f64>>,
    ) -> Result<Vec<Vec<Rounds>>> {
        let present = self.present(contestants);
        let mut values: Vec<Vec<Vec<f64>>> = Vec::new();
        let mut noisy = 0;
        for _ in 0..self.rounds {
            for (which, contestant) in present.iter().enumerate() {
                let running = self.programs.start(contestant, upstream, None)?;
                noisy += usize::from(!self.quick && !namespace::wait_for_quiet(Duration::from_secs(30)));
                let measured = measure(&running).with_context(|| contestant.name().to_owned())?;
                values.resize(measured.len().max(values.len()), vec![Vec::new(); present.len()]);
                for (metric, value) in measured.into_iter().enumerate() {
                    values[metric][which].push(value);
                }
            }
        }
        if noisy > 0 {
            self.report.note(&format!("{noisy} measurements were made although the machine did not go quiet"));
        }
        let named = |metric: Vec<Vec<f64>>| present.iter().zip(metric).map(|(c, values)| Rounds::new(c.name(), values)).collect();
        Ok(values.into_iter().map(named).collect())
    }

    /// As many connections as asked, or as descriptors allow.
    fn allowed(&mut self, asked: usize) -> usize {
        if asked > self.most {
            self.report.note(&format!("{} connections, not {asked}: a process has no more descriptors here", self.most));
        }
        asked.min(self.most)
    }
}
