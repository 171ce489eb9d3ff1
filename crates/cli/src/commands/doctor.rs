//! `squall doctor`

use std::process::ExitCode;

use serde::Serialize;
use squall_engine::{HostFacts, Meta, Undone};
use squall_undo::StateDir;

use crate::context::{Context, Output, Style, exit};
use crate::policy::Policies;
use crate::registry::registry;

/// Say what this host can do, and which faults work here
///
/// Changes nothing. Of what is missing it says what to do about it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  squall doctor
  squall doctor --output json | jq '.faults[] | select(.works | not)'

Exit codes: 0 experiments can run here, 6 something stands in the way of every one")]
pub struct Args {
    /// For people or for scripts
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// All that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Findings {
    squall: &'static str,
    host: HostFacts,
    faults: Vec<FaultFinding>,
    checks: Vec<Check>,
}

/// Whether one kind of fault works here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FaultFinding {
    name: &'static str,
    summary: &'static str,
    works: bool,
    /// Features that it needs and the host has not.
    missing: Vec<&'static str>,
    undone: Undone,
}

/// Something that concerns every experiment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    name: &'static str,
    good: bool,
    /// No experiment can run until it is put right.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    blocking: bool,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// Looks, and prints.
pub fn run(args: Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let host = squall_sys::facts_in_full();
    let faults = registry().faults.iter().map(|fault| finding(fault.meta(), &host)).collect();
    let findings = Findings { squall: env!("CARGO_PKG_VERSION"), faults, checks: checks(cx), host };
    match args.output {
        Output::Json => cx.json(&findings)?,
        Output::Text => print(cx, &findings)?,
    }
    let blocked = findings.checks.iter().any(|check| check.blocking) || findings.faults.iter().all(|fault| !fault.works);
    Ok(if blocked { ExitCode::from(exit::FAILED) } else { ExitCode::SUCCESS })
}

fn finding(meta: &'static Meta, host: &HostFacts) -> FaultFinding {
    let missing: Vec<&str> = meta.needs.iter().copied().filter(|need| !host.features.get(*need).is_some_and(|f| f.available)).collect();
    FaultFinding { name: meta.name, summary: meta.summary, works: missing.is_empty(), missing, undone: meta.undone }
}

fn checks(cx: &Context) -> Vec<Check> {
    let mut checks = Vec::new();
    match cx.state_dir() {
        Ok(state) => {
            checks.push(writable(&state));
            checks.push(stop_file(&state));
            checks.push(left_behind(&state));
        }
        Err(error) => checks.push(Check {
            name: "state directory",
            good: false,
            blocking: true,
            detail: error.to_string(),
            hint: Some("give another place with --state-dir or SQUALL_STATE_DIR".into()),
        }),
    }
    checks.push(match Policies::load(&[]) {
        Ok(policies) if policies.names().is_empty() => {
            Check { name: "policy", good: true, blocking: false, detail: "none applies".into(), hint: None }
        }
        Ok(policies) => Check { name: "policy", good: true, blocking: false, detail: policies.names().join(", "), hint: None },
        Err(error) => Check {
            name: "policy",
            good: false,
            blocking: true,
            detail: error.to_string().lines().next().unwrap_or_default().to_owned(),
            hint: Some("nothing may run until the policy can be read".into()),
        },
    });
    checks
}

/// Whether an undo could be written and synced: the way that the ledger goes, in a file without a name.
fn writable(state: &StateDir) -> Check {
    let tried = tempfile_in(state).and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]).and_then(|()| file.sync_all()));
    let path = state.path().display();
    match tried {
        Ok(()) => Check {
            name: "state directory",
            good: true,
            blocking: false,
            detail: format!("{path} takes undos, and syncs them"),
            hint: None,
        },
        Err(error) => Check {
            name: "state directory",
            good: false,
            blocking: true,
            detail: format!("an undo cannot be put on disk in {path}: {error}"),
            hint: Some("make room there, or give another place with --state-dir or SQUALL_STATE_DIR".into()),
        },
    }
}

/// A file that nobody sees and that is gone when it is closed (`O_TMPFILE`, `open(2)`).
fn tempfile_in(state: &StateDir) -> std::io::Result<std::fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(state.path(), flags, Mode::RUSR | Mode::WUSR);
    match opened {
        Ok(fd) => Ok(fd.into()),
        // Some file systems have no such files.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let path = state.path().join(format!("doctor-{}", std::process::id()));
            let file = std::fs::File::create_new(&path)?;
            std::fs::remove_file(path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}

fn stop_file(state: &StateDir) -> Check {
    match state.stopped() {
        None => Check { name: "stop file", good: true, blocking: false, detail: "not there".into(), hint: None },
        Some(says) => Check {
            name: "stop file",
            good: false,
            blocking: true,
            detail: format!(
                "{} is there{}",
                state.stop_file().display(),
                if says.is_empty() { String::new() } else { format!(" ({says})") }
            ),
            hint: Some("`squall stop --unblock` removes it".into()),
        },
    }
}

fn left_behind(state: &StateDir) -> Check {
    let (good, detail) = match squall_undo::recoverable(state) {
        Ok(runs) if runs.is_empty() => (true, "no dead run has left anything".to_owned()),
        Ok(runs) => (
            false,
            format!(
                "{} dead runs are not put right: {}",
                runs.len(),
                runs.iter().map(|(run, _)| run.as_str()).collect::<Vec<_>>().join(", ")
            ),
        ),
        Err(error) => (false, format!("runs cannot be looked at: {error}")),
    };
    Check { name: "left behind", good, blocking: false, detail, hint: (!good).then(|| "`squall recover` puts it right".to_owned()) }
}

fn print(cx: &Context, findings: &Findings) -> anyhow::Result<()> {
    let host = &findings.host;
    cx.result(format!(
        "squall {}, Linux {}, {} cores, {} of memory ({} available), uid {}",
        findings.squall, host.kernel, host.cores, host.memory, host.memory_available, host.uid
    ))?;
    cx.result("")?;
    cx.result(cx.style(Style::Bold, "This host"))?;
    let width = host.features.keys().map(String::len).chain(findings.checks.iter().map(|c| c.name.len())).max().unwrap_or_default();
    for (name, feature) in &host.features {
        row(cx, feature.available, false, name, width, &feature.detail, feature.hint.as_deref())?;
    }
    for check in &findings.checks {
        row(cx, check.good, check.blocking, check.name, width, &check.detail, check.hint.as_deref())?;
    }
    cx.result("")?;
    cx.result(cx.style(Style::Bold, "Faults"))?;
    let width = findings.faults.iter().map(|fault| fault.name.len()).max().unwrap_or_default();
    for fault in &findings.faults {
        let missing = (!fault.works).then(|| format!("needs {}: see above", fault.missing.join(", ")));
        row(cx, fault.works, !fault.works, fault.name, width, fault.summary, missing.as_deref())?;
    }
    let works = findings.faults.iter().filter(|fault| fault.works).count();
    cx.result("")?;
    let sum = format!("{works} of {} faults work here.", findings.faults.len());
    match findings.checks.iter().filter(|check| check.blocking).map(|check| check.name).collect::<Vec<_>>().as_slice() {
        [] => cx.result(sum),
        names => cx.result(format!("{sum} No experiment can run: {}.", names.join(", "))),
    }
}

/// One line, and one with what to do under it.
fn row(cx: &Context, good: bool, bad: bool, name: &str, width: usize, detail: &str, hint: Option<&str>) -> anyhow::Result<()> {
    let mark = match (good, bad) {
        (true, _) => cx.style(Style::Green, "yes"),
        // Missing, and not needed by everything.
        (false, false) => cx.style(Style::Yellow, "no "),
        (false, true) => cx.style(Style::Red, "no "),
    };
    cx.result(format!("  {mark}  {name:width$}  {detail}"))?;
    if let Some(hint) = hint {
        cx.result(format!("       {:width$}  {}", "", cx.style(Style::Dim, hint)))?;
    }
    Ok(())
}
