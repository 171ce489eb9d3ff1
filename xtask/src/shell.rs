//! Running other programs, and where things are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_owned)
}

/// A command in the root of the repository.
#[expect(clippy::disallowed_methods, reason = "running other programs is what a task runner is for")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Cargo, as the one that runs this.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end and shows the output; an error if it did not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    say(&format!("$ {}", shown(command)));
    #[expect(clippy::disallowed_methods, reason = "how long a step takes is for people, and judged by nobody")]
    let began = std::time::Instant::now();
    let status = command.status().with_context(|| format!("{} could not be started", shown(command)))?;
    let took = began.elapsed().as_secs();
    if took >= 10 {
        say(&format!("  took {} min {} s", took / 60, took % 60));
    }
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and keeps the output.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("{} could not be started", shown(command)))
}

/// Runs to the end; what it said is in the error, if it did not succeed.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{} ended with {}: {}", shown(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// A line for whoever watches.
#[expect(clippy::print_stdout, reason = "the output of a task runner")]
pub fn say(line: &str) {
    println!("{line}");
}

/// Where a program of the PATH is.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// Whether a program is on the PATH.
pub fn has(program: &str) -> bool {
    which(program).is_some()
}

/// The given `squall`, or one built here in the release profile.
pub fn release_squall(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return path.canonicalize().with_context(|| format!("{} is not there", path.display()));
    }
    run(cargo().args(["build", "--quiet", "--release", "--package", "squall"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/squall"))
}

/// The value at a share of sorted numbers, nearest rank.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of an index is an index")]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// Seconds since boot, for measuring.
pub fn now() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
