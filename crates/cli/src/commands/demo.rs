//! `squall demo`

pub mod edges;
mod learned;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use squall_engine::State;
use squall_model::Verdict;
use squall_proxy::tls::AuthorityDir;
use squall_shop::{Ports, Service, Shop};

use self::edges::Edges;
use super::shop::{Scratch, start_through};
use crate::context::{CliError, Context, Style};
use crate::library::{Values, fill};
use crate::live;
use crate::runner::{Finished, Options, Prepared};

/// Watch five experiments on a small shop: some hold, some find a weakness
///
/// Starts a shop of five real processes on this machine with a fault proxy on every way between them, puts load on it, runs
/// real experiments (a slow edge, a storm of 503s, a cut stream, processes that hang), says what was learned, writes the
/// reports, and stops everything. It takes under a minute, and needs no root, no server, no configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall demo
  squall demo --keep                 leave the shop open afterwards, for experiments of your own
  squall demo --reports ./reports")]
pub struct Args {
    /// Leave the shop running afterwards, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Where the reports go; a new directory for temporary files by default
    #[arg(long, value_name = "DIR")]
    reports: Option<PathBuf>,
    /// Lines instead of the live view
    #[arg(long)]
    plain: bool,
}

/// One of the demo's experiments.
struct Scene {
    title: &'static str,
    file: &'static str,
    text: &'static str,
    parameters: &'static [(&'static str, Service)],
    /// Whether it breaks an edge, by its proxy, instead of a process.
    through_proxy: bool,
    expected: Verdict,
    words: fn(&Shop, &Edges, &State) -> Vec<String>,
}

const SCENES: [Scene; 5] = [
    Scene {
        title: "The way to payments is slow",
        file: "examples/demo/payments-slow.yaml",
        text: include_str!("../../../../examples/demo/payments-slow.yaml"),
        parameters: &[("gateway_port", Service::Gateway)],
        through_proxy: true,
        expected: Verdict::Held,
        words: learned::slow,
    },
    Scene {
        title: "A storm of 503s",
        file: "examples/demo/orders-storm.yaml",
        text: include_str!("../../../../examples/demo/orders-storm.yaml"),
        parameters: &[("gateway_port", Service::Gateway)],
        through_proxy: true,
        expected: Verdict::Held,
        words: learned::storm,
    },
    Scene {
        title: "The catalogue is cut",
        file: "examples/demo/catalogue-cut.yaml",
        text: include_str!("../../../../examples/demo/catalogue-cut.yaml"),
        parameters: &[("gateway_port", Service::Gateway)],
        through_proxy: true,
        expected: Verdict::Deviated,
        words: learned::cut,
    },
    Scene {
        title: "The cache hangs",
        file: "examples/demo/cache-hangs.yaml",
        text: include_str!("../../../../examples/demo/cache-hangs.yaml"),
        parameters: &[("gateway_port", Service::Gateway), ("cache_port", Service::Cache)],
        through_proxy: false,
        expected: Verdict::Held,
        words: learned::cache,
    },
    Scene {
        title: "Payments hangs",
        file: "examples/demo/payments-hangs.yaml",
        text: include_str!("../../../../examples/demo/payments-hangs.yaml"),
        parameters: &[("gateway_port", Service::Gateway), ("orders_port", Service::Orders), ("payments_port", Service::Payments)],
        through_proxy: false,
        expected: Verdict::Deviated,
        words: learned::payments,
    },
];

/// Runs it.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let interrupt = Interrupt::watch()?;
    let scratch = Scratch::new()?;
    let edges = Edges::start("127.0.0.1:0", AuthorityDir::in_memory())?;
    let shop = start_through(&scratch, Ports::Free, |edge| edges.through(edge))?;
    cx.say(cx.style(Style::Bold, "A small shop is open on this machine: gateway → orders → payments → ledger, and a cache."))?;
    cx.say(format!("Five real processes; the front door is {}", shop.url(Service::Gateway)))?;
    cx.say("Between them stands Squall's fault proxy, one on each edge.")?;
    let mut ended = Vec::new();
    for (number, scene) in SCENES.iter().enumerate() {
        interrupt.check()?;
        match play(&args, cx, (&shop, &edges), scene, number + 1)? {
            Some(finished) if finished.outcome.verdict == scene.expected => ended.push(finished),
            Some(finished) => return otherwise(cx, scene, &finished),
            None => {
                cx.note("left while things were still being put back; the watchdog finishes that, and the shop is closed");
                return Ok(ExitCode::from(Verdict::Aborted.exit_code()));
            }
        }
    }
    interrupt.check()?;
    let reports = write_reports(&args, cx, &ended)?;
    farewell(cx, &ended, &reports)?;
    if args.keep {
        cx.say("")?;
        super::shop::tell(cx, &shop)?;
        edges.tell(cx)?;
        cx.say("\nCtrl-C closes the shop.")?;
        interrupt.wait();
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs one experiment and says what it taught.
fn play(args: &Args, cx: &Context, (shop, edges): (&Shop, &Edges), scene: &Scene, number: usize) -> anyhow::Result<Option<Finished>> {
    let mut values: Values = scene.parameters.iter().map(|(name, service)| ((*name).to_owned(), shop.port(*service).to_string())).collect();
    if scene.through_proxy {
        values.insert("proxy_api".into(), edges.api());
    }
    let text = fill(scene.text, &values).map_err(|e| CliError::failed(e.to_string(), None))?;
    let prepared = Prepared::from_text(scene.file, text)?;
    let heading = format!("\n{number} of {}  {}", SCENES.len(), scene.title);
    cx.say(cx.style(Style::Bold, heading))?;
    say_wrapped(cx, &format!("   We believe: {}", prepared.experiment.spec.hypothesis.statement))?;
    cx.say("")?;
    let mode = live::Mode::choose(cx, args.plain);
    let Some(finished) = super::run::carry_out_here(cx, &prepared, &Options::default(), mode)? else { return Ok(None) };
    super::run::conclude(cx, &finished, false)?;
    if finished.outcome.verdict == scene.expected {
        for line in (scene.words)(shop, edges, &finished.outcome.state) {
            say_wrapped(cx, &format!("   {line}"))?;
        }
    }
    Ok(Some(finished))
}

/// Says something within the width of the terminal.
fn say_wrapped(cx: &Context, text: &str) -> anyhow::Result<()> {
    let width = crossterm::terminal::size().ok().filter(|_| cx.terminal).map_or(120, |(columns, _)| usize::from(columns));
    let start = text.chars().take_while(|c| *c == ' ').count();
    live::wrap(text, width.max(20), start + 2).iter().try_for_each(|line| cx.say(line))
}

/// The demo did not go as it should: what to make of it.
fn otherwise(cx: &Context, scene: &Scene, finished: &Finished) -> anyhow::Result<ExitCode> {
    match finished.outcome.verdict {
        Verdict::Aborted => cx.note("stopped; everything is put back and the shop is closed"),
        Verdict::Unsteady | Verdict::Inconclusive => {
            cx.note("the shop itself is not steady here, which a very busy machine can cause; try again when it is less busy");
        }
        _ => cx.note(format!("the demo expected this one to end as {}; `squall show {}` has the evidence", scene.expected, finished.run)),
    }
    Ok(ExitCode::from(match finished.outcome.verdict {
        Verdict::Held => Verdict::Failed.exit_code(),
        verdict => verdict.exit_code(),
    }))
}

fn write_reports(args: &Args, cx: &Context, ended: &[Finished]) -> anyhow::Result<Vec<PathBuf>> {
    let directory = match (&args.reports, ended.first()) {
        (Some(directory), _) => directory.clone(),
        (None, first) => std::env::temp_dir().join(format!("squall-demo-{}", first.map_or("none", |f| f.run.as_str()))),
    };
    std::fs::create_dir_all(&directory)
        .map_err(|e| CliError::failed(format!("{} cannot be made: {e}", directory.display()), "name another with --reports".to_owned()))?;
    let mut written = Vec::new();
    for (number, finished) in ended.iter().enumerate() {
        let path = directory.join(format!("{}-{}.html", number + 1, finished.outcome.verdict));
        super::report::write(cx, &finished.run, super::report::format_of(&path)?, &path)?;
        written.push(path);
    }
    Ok(written)
}

fn farewell(cx: &Context, ended: &[Finished], reports: &[PathBuf]) -> anyhow::Result<()> {
    cx.say(cx.style(Style::Bold, "\nEverything is put back. Reports with charts:"))?;
    for path in reports {
        cx.result(format!("   {}", path.display()))?;
    }
    let last = ended.last().map_or("latest", |f| f.run.as_str());
    cx.say("\nLook closer:")?;
    cx.say(format!("   squall history\n   squall show {last}\n   squall report {last} --format md"))?;
    cx.say(cx.style(Style::Bold, "\nNext: run your own"))?;
    cx.say("   squall run examples/first.yaml     the smallest useful experiment, to change as you like")?;
    cx.say("   squall library list                ready ones, and `squall shop up` to try them on")
}

/// Ctrl-C and SIGTERM while no experiment runs. (While one runs, it listens to them itself.)
struct Interrupt {
    came: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Interrupt {
    fn watch() -> anyhow::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut int, mut term) = {
            let _entered = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let came = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("interrupt".into()).spawn({
            let came = came.clone();
            move || {
                runtime.block_on(async {
                    tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                });
                came.store(true, Ordering::SeqCst);
            }
        })?;
        Ok(Self { came, thread })
    }

    /// An error once one came: what was begun is closed by whoever holds it.
    fn check(&self) -> anyhow::Result<()> {
        if self.came.load(Ordering::SeqCst) {
            return Err(super::run::interrupted("stopped; everything is put back and the shop is closed").into());
        }
        Ok(())
    }

    fn wait(self) {
        // It ends by a signal, and cannot panic.
        let _ = self.thread.join();
    }
}
