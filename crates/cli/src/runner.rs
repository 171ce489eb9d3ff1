//! Carries out an experiment from its text: what `squall run`, `squall demo` and the library share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use squall_engine::{Clock, Control, Outcome, Preview, Program, Registry, RegistryUndoer, RunFacts, Setup, drive, validate_experiment};
use squall_model::{Experiment, JOURNAL_VERSION, RevertedBy, RunId, Started};
use squall_probes::LoadGenerator;
use squall_store::Store;
use squall_sys::BootClock;
use squall_undo::{Ledger, RecoveredRun, StateDir, Watchdog};
use tokio::sync::{mpsc, watch};

use crate::context::{CliError, Context, exit};
use crate::policy::Policies;
use crate::registry::registry;
use crate::{diagnostics, library};

/// An experiment that has been read and checked.
pub struct Prepared {
    /// Where it came from, for messages.
    pub source: String,
    /// Its text, with parameters filled in.
    pub text: String,
    /// As read.
    pub experiment: Experiment,
    /// Made ready to run.
    pub program: Arc<Program>,
    /// The kinds.
    pub registry: Arc<Registry>,
}

impl Prepared {
    /// Reads `path`, `-` (standard input) or `library:NAME`, fills in parameters, and checks everything that can be checked
    /// without looking at the host.
    pub fn read(source: &str, set: &[String]) -> anyhow::Result<Self> {
        let parameters = library::parameters(set)?;
        let text = if let Some(name) = source.strip_prefix("library:") {
            library::load(name, &parameters)?
        } else {
            library::fill(&read_text(source)?, &parameters).map_err(|e| CliError::usage(e.to_string(), None))?
        };
        Self::from_text(source, text)
    }

    /// The same from a text that is at hand.
    pub fn from_text(source: &str, text: String) -> anyhow::Result<Self> {
        let registry = registry();
        let (experiment, _) = validate_experiment(&text, &registry).map_err(|found| diagnostics::error(source, &text, found))?;
        let program = Program::compile(&experiment, &registry).map_err(|e| CliError::usage(e.to_string(), None))?;
        Ok(Self { source: source.to_owned(), text, experiment, program: Arc::new(program), registry })
    }
}

fn read_text(source: &str) -> anyhow::Result<String> {
    let text = if source == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(source) };
    text.map_err(|e| {
        let hint = "give the path of a manifest, `-` for standard input, or `library:NAME` (`squall library list`)";
        CliError::usage(format!("{source} cannot be read: {e}"), Some(hint.to_owned())).into()
    })
}

/// What may be said besides the manifest.
#[derive(Debug, Default)]
pub struct Options {
    /// In place of the manifest's own seed.
    pub seed: Option<u64>,
    /// Policies besides the host's.
    pub policies: Vec<PathBuf>,
    /// For tests of crash safety.
    pub halt_after: Option<u64>,
}

/// A finished run.
pub struct Finished {
    /// Its id.
    pub run: RunId,
    /// How it ended.
    pub outcome: Outcome,
}

/// What is common to `run` and `plan`: where state is, what the limits are, what the host can do.
pub struct Ground {
    /// Where state is kept.
    pub state: StateDir,
    /// The limits.
    pub policies: Arc<Policies>,
    /// What the host can do.
    pub host: squall_engine::HostFacts,
    /// Decides every random choice.
    pub seed: u64,
}

impl Ground {
    /// Looks at the host. Changes nothing but that the state directory is there.
    pub fn look(cx: &Context, prepared: &Prepared, options: &Options) -> anyhow::Result<Self> {
        let seed = options.seed.or(prepared.experiment.spec.seed).unwrap_or_else(|| u64::from(chance()) << 21 | u64::from(chance()));
        let metadata = &prepared.experiment.metadata;
        let facts = RunFacts {
            who: user(),
            cause: "person".into(),
            experiment: metadata.name.clone(),
            labels: metadata.labels.clone(),
            ..RunFacts::default()
        };
        let policies = Arc::new(Policies::load(&options.policies)?.of(facts));
        Ok(Self { state: cx.state_dir()?, policies, host: squall_sys::facts(), seed })
    }

    /// What would be touched.
    pub async fn preview(&self, prepared: &Prepared) -> Preview {
        let mut preview = Preview::make(&prepared.program, &prepared.registry, self.policies.as_ref(), &self.host, self.seed).await;
        if let (Err(why), Some(first)) = (self.policies.allow_now(jiff::Timestamp::now()), preview.steps.first_mut()) {
            first.refusals.insert(0, why);
        }
        self.refuse_claimed(&mut preview);
        if let (Some(says), Some(first)) = (self.state.stopped(), preview.steps.first_mut()) {
            let why = format!("the stop file {} is there ({says}); `squall stop --unblock` removes it", self.state.stop_file().display());
            first.refusals.insert(0, why);
        }
        preview
    }

    /// What other runs have under a fault now is not to be had. (The ledger refuses it too, should it be taken meanwhile.)
    fn refuse_claimed(&self, preview: &mut Preview) {
        if preview.steps.iter().flat_map(|step| &step.targets).all(|target| target.claims.is_empty()) {
            return;
        }
        let views = self
            .state
            .runs()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|run| Some((run.clone(), Ledger::read(&self.state.ledger(&run)).ok()?)));
        for (run, view) in views {
            for entry in view.open() {
                for step in &mut preview.steps {
                    let held = step.targets.iter().find(|t| t.claims.iter().any(|claim| entry.armed.claims.contains(claim)));
                    if let Some(target) = held {
                        let fault = &entry.armed.fault;
                        step.refusals.push(format!(
                            "{} is already under {fault} of run {run}; wait for it, or end it with `squall stop {run}`",
                            target.label
                        ));
                    }
                }
            }
        }
    }
}

/// Some chance: 32 bits that differ from process to process.
pub fn chance() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is as good as the whole")]
    let half = std::collections::hash_map::RandomState::new().build_hasher().finish() as u32;
    half
}

/// Runs an experiment to its end. `live` gets the state as it changes, and a way to stop and continue the run.
pub async fn run<L, F>(cx: &Context, prepared: &Prepared, options: &Options, live: L) -> anyhow::Result<Finished>
where
    L: FnOnce(RunId, watch::Receiver<Arc<squall_engine::State>>, mpsc::UnboundedSender<Control>) -> F,
    F: Future<Output = ()> + 'static,
{
    let ground = Ground::look(cx, prepared, options)?;
    let undoer = Arc::new(RegistryUndoer(prepared.registry.clone()));
    recover_dead(cx, &ground.state, &undoer).await?;
    let refusals = ground.preview(prepared).await.refusals();
    if !refusals.is_empty() {
        let hint = format!("nothing was touched; `squall plan {}` shows the whole plan", prepared.source);
        return Err(
            CliError { message: format!("the plan was refused: {}", refusals.join("; ")), hint: Some(hint), code: exit::REFUSED }.into()
        );
    }
    let clock = Arc::new(BootClock::new());
    let millis = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    #[expect(clippy::cast_possible_truncation, reason = "fifteen bits of it are used")]
    let run = RunId::new(millis, chance() as u16);
    let started = started(&run, prepared, ground.seed, clock.as_ref());
    let journal = Store::open(&ground.state.path().join("squall.db"))
        .map_err(|e| CliError::failed(e.to_string(), Some("nothing was touched; give another place with --state-dir".to_owned())))?;
    let ledger = Arc::new(Ledger::create(&ground.state, &run)?);
    let directory = ground.state.run_dir(&run);
    let (control, wishes) = mpsc::unbounded_channel();
    let (program, registry) = (prepared.program.clone(), prepared.registry.clone());
    let (view, states) = watch::channel(Arc::new(squall_engine::State::new(program.clone())));
    let watchdog_dir = directory.clone();
    let setup = Setup {
        program,
        registry,
        clock: clock.clone(),
        journal: Box::new(journal),
        ledger,
        undoer,
        watchdog: Some(Box::new(move || start_watchdog(&watchdog_dir))),
        traffic: Arc::new(LoadGenerator::new(clock.clone())),
        host: ground.host,
        gate: ground.policies,
        rollback: squall_faults::custom::rollback_undo,
        started,
        directory: directory.clone(),
        control: wishes,
        view: Some(view),
        halt_after: options.halt_after,
    };
    let showing = tokio::task::spawn_local(live(run.clone(), states, control.clone()));
    let wishes = tokio::task::spawn_local(listen(ground.state.clone(), directory, control, clock));
    let outcome = drive(setup).await.map_err(|e| CliError::failed(e.to_string(), None))?;
    wishes.abort();
    let _ = showing.await;
    Ok(Finished { run, outcome })
}

/// A run that is gone and left something behind is put right before anything new is broken.
async fn recover_dead(cx: &Context, state: &StateDir, undoer: &RegistryUndoer) -> anyhow::Result<()> {
    for run in squall_undo::recover(state, undoer).await?.into_iter().filter(RecoveredRun::touched) {
        cx.note(format!("recovered what run {} had left behind: {}", run.run, run.summary()));
    }
    for run in state.runs()? {
        // What ended by itself is in the journal; its ledger says nothing more. What others ended is kept for `squall show`.
        let ledger = state.ledger(&run);
        let over = || Ledger::read(&ledger).is_ok_and(|view| view.closed == Some(RevertedBy::Engine));
        let age = std::fs::metadata(&ledger).and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > LEDGER_KEPT) && over() {
            std::fs::remove_dir_all(state.run_dir(&run))?;
        }
    }
    Ok(())
}

/// How long the ledger of a run that ended by itself is kept, for whoever waits for that end.
const LEDGER_KEPT: Duration = Duration::from_mins(1);

fn start_watchdog(run_dir: &Path) -> Result<Watchdog, String> {
    let program = std::env::current_exe().map_err(|e| format!("this program cannot be found: {e}"))?;
    let args = [std::ffi::OsString::from("watchdog"), "--run-dir".into(), run_dir.into()];
    Watchdog::start(&program, args).map_err(|e| e.to_string())
}

/// Who is at work, for the journal and for rules.
fn user() -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    user.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn started(run: &RunId, prepared: &Prepared, seed: u64, clock: &dyn Clock) -> Started {
    Started {
        version: JOURNAL_VERSION,
        run: run.clone(),
        experiment: prepared.experiment.metadata.name.clone(),
        manifest: prepared.text.clone(),
        seed,
        wall: clock.wall(),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        user: user(),
        squall: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// How often the files with which others ask for something are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Passes on what signals and files ask for: Ctrl-C and SIGTERM, the stop file, `squall continue`.
async fn listen(state: StateDir, run_dir: PathBuf, control: mpsc::UnboundedSender<Control>, clock: Arc<BootClock>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else { return };
    let asked = |default: &str| {
        let by = std::fs::read_to_string(run_dir.join("stop")).ok().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty());
        Control::Stop(by.unwrap_or_else(|| default.to_owned()))
    };
    let go_on = run_dir.join("continue");
    let mut blocked = false;
    loop {
        let wish = tokio::select! {
            _ = term.recv() => Some(asked("SIGTERM")),
            _ = hangup.recv() => Some(asked("SIGHUP")),
            () = clock.sleep_until(clock.now() + LOOK_EVERY) => {
                if !blocked && let Some(says) = state.stopped() {
                    blocked = true;
                    Some(Control::Stop(format!("the stop file {}{}", state.stop_file().display(), if says.is_empty() { String::new() } else { format!(" ({says})") })))
                } else {
                    let by = std::fs::read_to_string(&go_on).ok();
                    by.map(|by| {
                        let _ = std::fs::remove_file(&go_on);
                        Control::Continue(by.trim().to_owned())
                    })
                }
            }
        };
        if let Some(wish) = wish
            && control.send(wish).is_err()
        {
            return;
        }
    }
}
