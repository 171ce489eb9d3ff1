//! `cargo xtask bench-network`: how exact network faults are, how soon they act, whom they spare and what they leave, each by the
//! tests of that name at full length; and what they cost the traffic that they are not for: a stream of iperf3 and requests of
//! wrk with a fault in force on another flow, in turns with none in force.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use squall_testkit::eventually;
use squall_testkit::net::probe::{Train, connect};
use squall_testkit::net::{Family, Host, Lab};

use crate::bench_proxy::report::{Bar, Report, Rounds};
use crate::shell;

#[derive(clap::Args)]
pub struct Args {
    /// One short round, shown and not judged: what CI does on a machine that is not quiet
    #[arg(long)]
    quick: bool,
    /// Rounds of each measurement of cost; the median of their ratios is judged
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Only this part; else all of them
    #[arg(long)]
    only: Option<Part>,
    /// The program to measure; built here if left out
    #[arg(long)]
    squall: Option<PathBuf>,
    /// The cost as JSON, at the end
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Delays, shares and rates, in numbers
    Accuracy,
    /// Forty selectors against all kinds of traffic
    Scopes,
    /// The host after every fault and every pair of them
    Pairs,
    /// Time to the effect and to healing
    Times,
    /// What faults cost others
    Cost,
}

impl Part {
    const TESTED: [Self; 4] = [Self::Accuracy, Self::Times, Self::Scopes, Self::Pairs];

    /// The file of tests that does it, and which of them.
    fn tests(self) -> Option<[&'static str; 2]> {
        match self {
            Self::Accuracy => Some(["accuracy", ""]),
            Self::Scopes => Some(["it", "scopes::"]),
            Self::Pairs => Some(["it", "pairs::"]),
            Self::Times => Some(["times", ""]),
            Self::Cost => None,
        }
    }

    /// At that length.
    fn test(self, size: &str) -> Result<()> {
        let Some([file, filter]) = self.tests() else { return Ok(()) };
        let mut cargo = shell::cargo();
        cargo.args(["test", "--quiet", "--release", "--package", "squall-faults", "--test", file, filter, "--"]);
        shell::run(cargo.args(["--nocapture", "--test-threads=1"]).env("SQUALL_TEST_SIZE", size))
    }
}

/// Faults on another flow: what is written under `with`, besides the scope.
const FAULTS: [(&str, &str); 3] = [("network.latency", "delay: 50ms"), ("network.loss", "percent: 20%"), ("network.partition", "")];
const HTTP: u16 = 8080;
const IPERF: u16 = 5201;

pub fn run(args: &Args) -> Result<()> {
    let wanted = |part: Part| args.only.is_none_or(|only| only == part);
    // Their short forms are among the tests anyway.
    for part in Part::TESTED.into_iter().filter(|part| wanted(*part) && !(args.quick && args.only.is_none())) {
        part.test(if args.quick { "small" } else { "full" })?;
    }
    if !wanted(Part::Cost) {
        return Ok(());
    }
    for (program, package) in [("iperf3", "iperf3"), ("wrk", "wrk"), ("nginx", "nginx")] {
        if !shell::has(program) {
            bail!("`{program}` is missing: install the Debian package {package}");
        }
    }
    let squall = shell::release_squall(args.squall.as_deref())?;
    let mut report = Report::new(!args.quick, args.json);
    cost(args, &squall, &mut report)?;
    let missed = report.end();
    if missed > 0 && !args.quick {
        bail!("{missed} missed");
    }
    Ok(())
}

/// A host that is measured, the one that it talks to, and a third, on the way to which the fault is.
struct Place {
    from: Host,
    to: Host,
    third: Host,
    work: tempfile::TempDir,
    _servers: [Running; 2],
    _lab: Lab,
}

impl Place {
    fn open() -> Result<Self> {
        let lab = Lab::new();
        let (from, to, third) = (lab.host("from"), lab.host("to"), lab.host("third"));
        let work = tempfile::tempdir()?;
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {0}/pid; error_log {0}/log;\nevents {{}}\n\
             http {{ access_log off; client_body_temp_path {0}/1; proxy_temp_path {0}/2; fastcgi_temp_path {0}/3; uwsgi_temp_path {0}/4;\n\
             scgi_temp_path {0}/5; keepalive_requests 100000000;\n\
             server {{ listen {1}; location / {{ return 200 fine; }} }} }}\n",
            work.path().display(),
            to.socket(Family::V4, HTTP)
        );
        std::fs::write(work.path().join("nginx.conf"), config)?;
        let mut nginx = to.command("nginx");
        nginx.arg("-p").arg(work.path()).arg("-c").arg(work.path().join("nginx.conf"));
        let mut iperf = to.command("iperf3");
        iperf.args(["--server", "--port", &IPERF.to_string()]);
        let servers = [Running::start(&mut nginx)?, Running::start(&mut iperf)?];
        for port in [HTTP, IPERF] {
            eventually("a server listens", || connect(&from, to.socket(Family::V4, port), Duration::from_secs(1)).is_ok());
        }
        Ok(Self { from, to, third, work, _servers: servers, _lab: lab })
    }

    /// Bits a second of one stream, and requests a second over sixteen connections. All the while packets go to the third.
    fn measure(&self, seconds: u32) -> Result<[f64; 2]> {
        std::thread::scope(|scope| {
            let train = Train::new(100 * 2 * seconds, 100.0).grace(Duration::from_millis(1));
            let beside = scope.spawn(move || train.run(&self.from, &self.third, Family::V4));
            let result = self.stream(seconds).and_then(|stream| Ok([stream, self.requests(seconds)?]));
            beside.join().ok().context("the packets to the third host")?;
            result
        })
    }

    fn stream(&self, seconds: u32) -> Result<f64> {
        let line = format!("iperf3 --client {} --port {IPERF} --time {seconds} --json", self.to.v4());
        let answer: serde_json::Value = serde_json::from_str(&self.from.run(&line))?;
        answer["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 measured nothing")
    }

    fn requests(&self, seconds: u32) -> Result<f64> {
        let said = self.from.run(&format!("wrk -t1 -c16 -d{seconds}s http://{}/", self.to.socket(Family::V4, HTTP)));
        let rate = said.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
        Ok(rate.context("wrk measured nothing")?.trim().parse()?)
    }

    /// Puts a fault in force on what goes to the third host and comes from it.
    fn break_third(&self, squall: &Path, fault: &str, with: &str) -> Result<Running> {
        let manifest = format!(
            "apiVersion: squall.dev/v1\nkind: Experiment\nmetadata: {{ name: cost }}\nspec:\n  hypothesis:\n    statement: Nothing else is touched.\n\
             \x20   probes: [{{ name: nothing, command: {{ run: [\"true\"] }}, expect: {{ eq: 0 }} }}]\n  steady: {{ for: 100ms }}\n  method:\n\
             \x20   - name: the other flow\n      fault: {fault}\n      target: {{ namespace: {{ path: {} }} }}\n\
             \x20     with: {{ {with}{} scope: {{ peers: [\"{}\"] }} }}\n      for: 5m\n  recovery: {{ within: 10s, stable: 100ms }}\n",
            self.from.path().display(),
            if with.is_empty() { "" } else { "," },
            self.third.v4()
        );
        let file = self.work.path().join("cost.yaml");
        std::fs::write(&file, manifest)?;
        let mut run = shell::command(squall);
        run.arg("--state-dir").arg(self.work.path().join("state")).args(["run", "--plain"]).arg(&file).env("NO_COLOR", "1");
        let mut running = Running::start(run.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let mut lines = BufReader::new(running.0.stdout.take().context("no output")?).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.contains("in force") {
                // What else it says must have somewhere to go.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(running);
            }
            said = format!("{said}{line}\n");
        }
        bail!("{fault} did not come in force:\n{said}")
    }
}

/// A program that is ended with this.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        if command.get_program() == "nsenter" {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Ok(Self(command.spawn().context("could not be started")?))
    }

    /// Asks it to end, and waits until it has.
    fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("a pid")?;
        kill_process(pid, Signal::INT)?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cost(args: &Args, squall: &Path, report: &mut Report) -> Result<()> {
    let (rounds, seconds) = if args.quick { (1, 1) } else { (args.rounds, 2) };
    let place = Place::open()?;
    // Once for nothing: caches, and what the kernel sets up at first.
    place.measure(1)?;
    for (fault, with) in FAULTS {
        let (mut without, mut beside, mut ratios) = ([vec![], vec![]], [vec![], vec![]], [vec![], vec![]]);
        for round in 0..rounds {
            // Every other round the other way about, so that what drifts is on nobody's side.
            let mut values = [[0.0; 2]; 2];
            for step in 0..2 {
                let in_force = (step + round) % 2 == 1;
                let running = if in_force { Some(place.break_third(squall, fault, with)?) } else { None };
                values[usize::from(in_force)] = place.measure(seconds)?;
                running.map_or(Ok(()), Running::end)?;
            }
            for metric in 0..2 {
                without[metric].push(values[0][metric]);
                beside[metric].push(values[1][metric]);
                ratios[metric].push(values[1][metric] / values[0][metric]);
            }
        }
        let names = [("one stream of iperf3", "bit/s"), ("wrk over 16 connections", "requests/s")];
        for (((name, unit), without), (beside, ratios)) in names.into_iter().zip(without).zip(beside.into_iter().zip(ratios)) {
            let what = format!("{name} beside {fault}");
            report.row(&what, unit, &[Rounds::new("none", without), Rounds::new("in force", beside)]);
            report.check(&format!("{what}: share that is kept"), Rounds::new("", ratios).median(), Bar::AtLeast(0.95));
        }
    }
    Ok(())
}
