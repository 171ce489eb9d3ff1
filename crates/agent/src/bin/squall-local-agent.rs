//! The local API alone, for this crate's tests: what `squall agent`, `squall watchdog` and `squall stressor` are in the real binary.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use squall_agent::local::{DEFAULT_DURATION, Ground, LONGEST_DURATION, LocalApi, LocalConfig, serve};
use squall_engine::{Gate, GateRequest, Registry, RegistryUndoer, Target};
use squall_sys::BootClock;
use squall_undo::{StateDir, Watchdog};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|word| word == "stressor") {
        return squall_faults::stressor::run(args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Arc::new(Registry { faults: squall_faults::all(), probes: Vec::new(), targets: squall_faults::targets() });
    if std::env::args().nth(1).as_deref() == Some("watchdog") {
        let directory = given("--run-dir").ok_or("--run-dir is missing")?;
        squall_undo::watch(Path::new(&directory), &RegistryUndoer(registry)).await?;
        return Ok(());
    }
    let state = StateDir::new(given("--state-dir").ok_or("--state-dir is missing")?)?;
    let watchdog = |directory: &Path| {
        let args = [std::ffi::OsString::from("watchdog"), "--run-dir".into(), directory.into()];
        Watchdog::start(Path::new("/proc/self/exe"), args).map_err(|error| error.to_string())
    };
    let ground = Ground { state, registry, host: squall_sys::facts(), clock: Arc::new(BootClock::new()), watchdog: Arc::new(watchdog) };
    let windows = given("--closed").map_or(Ok(()), Err);
    let config = LocalConfig {
        ground,
        gate: Arc::new(Deny(given("--deny").unwrap_or_default())),
        allowed_now: Arc::new(move || windows.clone()),
        faults_directory: given("--faults-dir").map(PathBuf::from),
        socket: given("--socket").map(PathBuf::from),
        users: given("--user").map(|user| user.parse()).transpose()?.into_iter().collect(),
        tcp: given("--tcp").map(|address| address.parse()).transpose()?,
        token_file: given("--token-file").map(PathBuf::from),
        default_duration: DEFAULT_DURATION,
        longest: given("--longest").map_or(Ok(LONGEST_DURATION), |time| time.parse())?,
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    let ready = |address: Option<std::net::SocketAddr>| say(&format!("ready {}", address.map(|a| a.to_string()).unwrap_or_default()));
    Ok(serve(Arc::new(LocalApi::new(config)), ready, stop).await?)
}

#[expect(clippy::print_stdout, reason = "the test that starts this reads it")]
fn say(line: &str) {
    println!("{line}");
}

/// The value behind a name.
fn given(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

/// A policy that denies one kind of fault.
struct Deny(String);

impl Gate for Deny {
    fn protected(&self, _: &Target) -> Option<String> {
        None
    }

    fn allow(&self, request: &GateRequest<'_>) -> Result<(), squall_engine::Denied> {
        if request.fault == self.0 { Err(format!("`{}` is not allowed here", request.fault).into()) } else { Ok(()) }
    }
}
